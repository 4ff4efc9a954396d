"""Reading the store against numbers worked out from the generated samples with numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from address_space import clock
from twin_gateway.history.housekeeping import keep_house
from twin_gateway.history.reading import Reader
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import HistoryStore
from twin_gateway.history.values import DATA_LOST, bits_of, numbers_of

DAY = clock.from_unix(1_772_323_200)
SECOND = clock.TICKS_PER_SECOND
DAY_TICKS = 86_400 * SECOND
A, B, TEXT = "dso1/n/PS1/MV1/F1/QA1/MMXU1/TotW", "dso1/n/PS1/MV1/F1/QA1/MMXU1/Hz", "dso1/n/PS1/MV1/F1/QA1/LPHD1/PhyNam"
SETTINGS = HistorySettings(reserve_mb=0)


class Bench:
    """A store with a clock of its own, and what was put into it."""

    def __init__(self, folder: Path) -> None:
        self.now = DAY
        self.told: list[tuple[str, int, str]] = []
        self.store = HistoryStore(folder, SETTINGS, now=lambda: self.now, tell=lambda *said: self.told.append(said))
        self.store.open()
        self.index = dict(zip((A, B, TEXT), self.store.learn([A, B, TEXT], [11, 11, 12]).tolist(), strict=True))

    def put(self, address: str, times: list[int], values: list[float], *, late: bool = False, status: int = 0) -> None:
        count = len(times)
        self.store.add(
            np.full(count, self.index[address], np.int32),
            np.array(times, np.int64),
            np.full(count, self.now, np.int64),
            np.array(values, float),
            np.full(count, status, np.uint32),
            late=late,
        )
        self.store.commit()

    def close_day(self) -> None:
        """The next day begins, yesterday goes to a file."""
        self.now += DAY_TICKS
        self.store.commit(force=True)
        keep_house(self.store)

    def read(self, address: str, start: int = 0, end: int = 1 << 61, limit: int = 0, **more: object) -> list[float]:
        reader = Reader(self.store)
        try:
            return reader.raw(address, start, end, limit, **more).samples.value.tolist()  # type: ignore[arg-type]  # as of raw
        finally:
            reader.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def walk(seed: int, count: int, span: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return DAY + random.integers(0, span, count), np.round(random.normal(0, 100, count), 3)


@pytest.mark.parametrize("closed", [False, True], ids=["open day", "closed day"])
def test_raw_gives_all_samples_of_the_time_in_order_and_those_of_one_time_as_they_came(
    bench: Bench, closed: bool
) -> None:
    times, values = walk(1, 5_000, 2_000)  # many of them at the same time
    bench.put(A, times.tolist(), values.tolist())
    bench.put(B, times.tolist(), (-values).tolist())
    if closed:
        bench.close_day()
    start, end = DAY + 300, DAY + 1_500
    order = np.argsort(times, kind="stable")
    inside = (times[order] >= start) & (times[order] < end)
    assert bench.read(A, start, end) == values[order][inside].tolist()
    assert bench.read(A, start, end, reverse=True) == values[order][inside][::-1].tolist()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_pages_neither_lose_nor_repeat_samples_of_one_time(bench: Bench, reverse: bool) -> None:
    times, values = walk(2, 1_000, 40)
    bench.put(A, times[:600].tolist(), values[:600].tolist())
    bench.close_day()
    bench.put(A, times[600:].tolist(), values[600:].tolist())
    order = np.argsort(times, kind="stable")
    expected = values[order][::-1] if reverse else values[order]
    reader, found, resume = Reader(bench.store), [], None
    while True:
        page = reader.raw(A, 0, 1 << 61, 7, reverse=reverse, resume=resume)
        found += page.samples.value.tolist()
        assert len(page.samples) <= 7
        if (resume := page.resume) is None:
            break
    assert found == expected.tolist()


def test_a_page_that_holds_the_rest_exactly_is_the_last(bench: Bench) -> None:
    bench.put(A, [DAY, DAY + 1, DAY + 2], [1, 2, 3])
    assert Reader(bench.store).raw(A, 0, 1 << 61, 3).resume is None


def test_a_late_sample_replaces_the_one_of_its_time_and_stands_among_the_others_otherwise(bench: Bench) -> None:
    bench.put(A, [DAY + 10, DAY + 20, DAY + 30], [1, 2, 3])
    bench.put(A, [DAY + 20, DAY + 25], [22, 25], late=True)
    assert bench.read(A) == [1, 22, 25, 3]


def test_late_data_of_a_closed_day_are_merged_when_they_are_read(bench: Bench) -> None:
    bench.put(A, [DAY + 10, DAY + 20, DAY + 30], [1, 2, 3])
    bench.close_day()
    bench.put(A, [DAY + 20, DAY + 25], [22, 25], late=True)
    assert bench.read(A) == [1, 22, 25, 3]
    bench.close_day()
    assert bench.read(A) == [1, 22, 25, 3]
    assert bench.read(A, limit=2, reverse=True) == [3, 25]


def test_of_late_samples_of_one_time_the_last_one_counts(bench: Bench) -> None:
    bench.put(A, [DAY + 20], [1], late=True)
    bench.put(A, [DAY + 20], [2], late=True)
    assert bench.read(A) == [2]


def test_a_sample_said_again_after_a_late_one_of_its_time_is_the_same_sample(bench: Bench) -> None:
    bench.put(A, [DAY + 20], [22], late=True)
    bench.put(A, [DAY + 20], [22])
    assert bench.read(A) == [22]
    bench.put(A, [DAY + 20], [23])
    assert bench.read(A) == [22, 23]


def test_modified_values_are_the_replaced_ones_and_the_insertions_with_the_time_of_the_change(bench: Bench) -> None:
    bench.put(A, [DAY + 10, DAY + 20], [1, 2])
    bench.now += 5 * SECOND
    bench.put(A, [DAY + 20, DAY + 25], [22, 25], late=True)
    page = Reader(bench.store).raw(A, 0, 1 << 61, 0, modified=True)
    assert page.modified is not None
    insert, replace = 1, 2
    assert page.samples.value.tolist() == [2, 25]
    assert page.modified[0].tolist() == [DAY + 5 * SECOND] * 2
    assert page.modified[1].tolist() == [replace, insert]


def test_a_late_copy_of_what_is_there_modifies_nothing(bench: Bench) -> None:
    bench.put(A, [DAY + 20], [2])
    bench.put(A, [DAY + 20], [2], late=True)
    assert bench.read(A) == [2]
    assert len(Reader(bench.store).raw(A, 0, 1 << 61, 0, modified=True).samples) == 0


@pytest.mark.parametrize("wanted", [3, 2_000], ids=["few times", "many times"])
def test_neighbours_of_times_are_the_newest_before_or_at_and_the_oldest_after(bench: Bench, wanted: int) -> None:
    times, values = walk(3, 3_000, 50_000)
    bench.put(A, times[:1_500].tolist(), values[:1_500].tolist())
    bench.close_day()
    bench.put(A, times[1_500:].tolist(), values[1_500:].tolist())
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    asked = DAY + np.random.default_rng(4).integers(-500, 50_500, wanted)
    before, after = Reader(bench.store).bracket(A, asked)
    left = np.searchsorted(times, asked, "right") - 1
    right = left + 1
    has_left, has_right = left >= 0, right < len(times)
    assert before.samples.time.tolist() == np.where(has_left, times[left], 0).tolist()
    assert after.samples.time.tolist() == np.where(has_right, times[np.minimum(right, len(times) - 1)], 0).tolist()
    assert before.samples.value[has_left].tolist() == values[left[has_left]].tolist()
    assert after.samples.value[has_right].tolist() == values[right[has_right]].tolist()


def test_neighbours_are_the_same_when_pages_end_within_samples_of_one_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_gateway.history.reading._PAGE", 16)
    times, values = walk(5, 1_000, 120)
    bench.put(A, times.tolist(), values.tolist())
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    asked = np.arange(DAY, DAY + 119)
    before, after = Reader(bench.store).bracket(A, asked)
    left = np.searchsorted(times, asked, "right") - 1
    assert before.samples.value.tolist() == values[left].tolist()
    assert after.samples.value.tolist() == values[left + 1].tolist()


def test_a_restart_is_a_gap_with_data_lost_and_what_is_older_is_confirmed(bench: Bench, tmp_path: Path) -> None:
    bench.put(A, [DAY + 10], [1])
    bench.now = DAY + 100 * SECOND
    bench.store.close()
    bench.now = DAY + 500 * SECOND
    bench.store.open()
    bench.now = DAY + 510 * SECOND
    bench.put(A, [DAY + 10], [1])  # the device still says the same
    page = Reader(bench.store).raw(A, DAY + 11, 1 << 61, 0)
    assert page.samples.time.tolist() == [DAY + 100 * SECOND, DAY + 510 * SECOND]
    assert page.samples.status.tolist() == [DATA_LOST, 0]
    assert np.isnan(page.samples.value[0]) and page.samples.value[1] == 1
    bench.put(A, [DAY + 520 * SECOND], [2])
    assert len(bench.read(A, DAY + 501 * SECOND)) == 2


def test_a_series_that_is_newer_than_a_gap_does_not_show_it(bench: Bench) -> None:
    bench.put(A, [DAY], [1])
    bench.store.note_gap(DAY + 1, DAY + 2, "overload")
    bench.now = DAY + 10
    (index,) = bench.store.learn(["dso1/n/PS1/MV1/F9/QA1/MMXU1/Hz"], [11]).tolist()
    bench.index["new"] = index
    bench.put("new", [DAY + 20], [5])
    assert bench.read("dso1/n/PS1/MV1/F9/QA1/MMXU1/Hz") == [5]


def test_losses_that_follow_each_other_are_one_gap(bench: Bench) -> None:
    bench.store.note_gap(DAY, DAY + SECOND, "overload")
    bench.store.note_gap(DAY + 2 * SECOND, DAY + 3 * SECOND, "overload")
    assert [(gap.begin, gap.end) for gap in bench.store.gaps] == [(DAY, DAY + 3 * SECOND)]


def test_nothing_kept_is_a_key_error(bench: Bench) -> None:
    with pytest.raises(KeyError):
        Reader(bench.store).raw("dso1/n/none", 0, 1, 1)


def test_texts_and_a_missing_value_come_back_as_they_were(bench: Bench) -> None:
    index = np.full(2, bench.index[TEXT], np.int32)
    moments = np.array([DAY, DAY + 1])
    bench.store.add(
        index,
        moments,
        moments,
        np.full(2, np.nan),
        np.zeros(2, np.uint32),
        text=np.array(["Zähler", ""], object),
    )
    bench.put(A, [DAY], [float("nan")], status=0x8000_0000)
    bench.close_day()
    assert Reader(bench.store).raw(TEXT, 0, 1 << 61, 0).samples.text.tolist() == ["Zähler", ""]
    page = Reader(bench.store).raw(A, 0, 1 << 61, 0)
    assert np.isnan(page.samples.value[0]) and page.samples.status[0] == 0x8000_0000


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (1, [0, 1]),
        (6, [0, 1, -1, -(2**31), 2**31 - 1]),
        (7, [0, 2**32 - 1]),
        (8, [0, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]),
    ],
    ids=["Boolean", "Int32", "UInt32", "Int64"],
)
def test_whole_numbers_keep_every_bit(bench: Bench, kind: int, numbers: list[int]) -> None:
    mask = 0xFFFF_FFFF if kind in (6, 7) else 0xFFFF_FFFF_FFFF_FFFF
    raw = np.array([number & mask for number in numbers], np.uint64)
    value, wide = numbers_of(raw, np.full(len(raw), kind, np.uint8))
    text = np.full(len(raw), None, object)
    text[wide] = [str(number) for number in raw[wide].view(np.int64).tolist()]
    (index,) = bench.store.learn([f"dso1/n/PS1/MV1/F1/QA1/GGIO1/Cnt{kind}"], [kind])
    moments = np.arange(len(raw)) + DAY
    bench.store.add(
        np.full(len(raw), index, np.int32), moments, moments, value, np.zeros(len(raw), np.uint32), text=text
    )
    bench.close_day()
    page = Reader(bench.store).raw(f"dso1/n/PS1/MV1/F1/QA1/GGIO1/Cnt{kind}", 0, 1 << 61, 0)
    assert bits_of(page.samples, kind).tolist() == raw.tolist()


def test_events_are_found_by_place_and_time_in_both_directions_and_in_pages(bench: Bench) -> None:
    places = ["dso1/n", "dso1/n/PS1", "dso1/north", "dso1/n/PS2"]
    records = [(DAY + number // 3, places[number % 4], f"{number}") for number in range(40)]
    bench.store.add_events(records[:20])
    bench.close_day()
    bench.store.add_events(records[20:])
    bench.store.commit()
    expected = [text for moment, place, text in records if place != "dso1/north" and DAY + 2 <= moment < DAY + 12]
    for reverse in (False, True):
        found, resume, reader = [], None, Reader(bench.store)
        while True:
            page, resume = reader.events("dso1/n", DAY + 2, DAY + 12, 4, reverse=reverse, resume=resume)
            found += page
            if resume is None:
                break
        assert found == (expected[::-1] if reverse else expected)
    assert len(Reader(bench.store).events("", 0, 1 << 61, 0)[0]) == 40
