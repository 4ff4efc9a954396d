"""What the store does with days, files, sizes, damage and a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from address_space import clock
from twin_gateway.history import housekeeping
from twin_gateway.history.database import HistoryPausedError
from twin_gateway.history.housekeeping import check_files, keep_house
from twin_gateway.history.reading import Reader
from twin_gateway.history.segments import write_segment
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import DAMAGED, HistoryStore, day_start
from twin_gateway.history.values import DATA_LOST

DAY = clock.from_unix(1_772_323_200)
SECOND = clock.TICKS_PER_SECOND
DAY_TICKS = 86_400 * SECOND
ADDRESS, OTHER = "dso1/n/PS1/MV1/F1/QA1/MMXU1/TotW", "dso1/n/PS1/MV1/F1/QA1/MMXU1/Hz"


class Kept:
    """A store in a folder with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = DAY
        self.told: list[tuple[str, int, str]] = []
        self.store = self.made()
        self.store.open()

    def made(self, **settings: int) -> HistoryStore:
        """A store that is not open yet."""
        settings = {"reserve_mb": 0, **settings}
        return HistoryStore(
            self.folder,
            HistorySettings.model_validate(settings),
            now=lambda: self.now,
            tell=lambda *said: self.told.append(said),
        )

    def again(self, **settings: int) -> None:
        """Close and open, perhaps with other settings."""
        self.store.close()
        self.store = self.made(**settings)
        self.store.open()

    def put(self, values: list[float], address: str = ADDRESS) -> None:
        """Commit samples, one a second from now on."""
        (index,) = self.store.learn([address], [11])
        times = self.now + SECOND * np.arange(len(values))
        count = len(values)
        status = np.zeros(count, np.uint32)
        self.store.add(np.full(count, index, np.int32), times, times, np.array(values, float), status)
        self.store.commit()

    def next_day(self) -> None:
        """Day after day, as the process goes on."""
        self.now += DAY_TICKS
        self.store.commit(force=True)
        keep_house(self.store)

    def read(self, address: str = ADDRESS) -> list[float]:
        """Values that are there, without the marks of gaps."""
        reader = Reader(self.store)
        try:
            samples = reader.raw(address, 0, 1 << 61, 0).samples
        finally:
            reader.close()
        return samples.value[samples.status != DATA_LOST].tolist()

    def files(self) -> list[str]:
        """Closed files by name."""
        return sorted(path.name for path in self.folder.glob("*.parquet"))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.store.close()


def test_a_day_that_is_over_becomes_one_sorted_file_that_duckdb_reads_by_hand(kept: Kept) -> None:
    kept.put([3, 1, 2])
    kept.put([5], OTHER)
    kept.next_day()
    assert kept.files() == ["sample-00000001-2026-03-01.parquet"]
    rows = duckdb.sql(f"SELECT address, time, value FROM '{kept.folder}/sample-*.parquet'").fetchall()
    assert [(address, value) for address, _, value in rows] == [(ADDRESS, 3), (ADDRESS, 1), (ADDRESS, 2), (OTHER, 5)]
    assert [moment for _, moment, _ in rows[:3]] == [DAY, DAY + SECOND, DAY + 2 * SECOND]
    assert kept.read() == [3, 1, 2]


def test_what_was_committed_is_there_after_a_restart_and_numbers_stay(kept: Kept) -> None:
    kept.put([1])
    kept.put([2], OTHER)
    kept.next_day()
    number = kept.store.series(OTHER)[0]
    kept.again()
    # another mapping: other points come first
    kept.put([9], "dso1/n/PS1/MV1/F1/QA1/MMXU1/TotVA")
    assert kept.store.series(OTHER)[0] == number
    assert kept.read(OTHER) == [2]
    assert kept.read() == [1]


def test_a_point_whose_type_has_changed_keeps_its_history(kept: Kept) -> None:
    kept.put([1])
    kept.store.learn([ADDRESS], [6])
    kept.store.commit(force=True)
    kept.again()
    assert kept.store.series(ADDRESS)[1] == 6
    assert kept.read() == [1]


def test_a_crash_after_the_file_was_written_and_before_the_table_went_leaves_each_sample_once(kept: Kept) -> None:
    kept.put([1, 2])
    kept.now += DAY_TICKS
    kept.store.commit(force=True)
    segment = kept.store.segments[0]
    write_segment(kept.store.cursor(), segment, kept.folder)
    (kept.folder / "sample-00000009-2026-03-09.unfinished").write_bytes(b"half a file")
    kept.again()
    assert kept.read() == [1, 2]
    assert not list(kept.folder.glob("*.unfinished"))


def test_the_oldest_days_go_when_there_are_more_than_are_kept(kept: Kept) -> None:
    kept.again(retention_days=3)
    for number in range(5):
        kept.put([number])
        kept.next_day()
    assert kept.read() == [2, 3, 4]
    deleted = [text for _, _, text in kept.told if "deleted" in text]
    assert deleted[0].startswith("History of 2026-03-01")
    assert kept.store.counters.removed == 2


def test_a_clock_that_jumps_far_ahead_deletes_no_more_than_one_day(kept: Kept) -> None:
    kept.again(retention_days=3)
    for number in range(3):
        kept.put([number])
        kept.next_day()
    kept.now += 4_000 * DAY_TICKS
    kept.put([7])
    keep_house(kept.store)
    assert kept.read() == [1, 2, 7]


def test_a_clock_that_is_set_back_loses_nothing_and_keeps_the_order_of_arrival(kept: Kept) -> None:
    kept.now += DAY_TICKS
    kept.put([1])
    kept.now -= DAY_TICKS
    kept.put([2])
    keep_house(kept.store)
    kept.now += DAY_TICKS
    kept.put([3])  # same time as the first
    assert kept.read() == [2, 1, 3]


def test_the_oldest_segments_go_when_the_folder_is_too_large(kept: Kept) -> None:
    kept.again(max_size_mb=5, segment_rows=50_000)
    random = np.random.default_rng(1)
    written = 0
    for _ in range(8):
        kept.put(random.normal(0, 1, 100_000).tolist())
        written += 100_000
        kept.now += 100_000 * SECOND // 100
        keep_house(kept.store)
    assert kept.store.octets() <= 5 << 20
    there = len(kept.read())
    assert 0 < there < written
    assert kept.store.counters.removed > 0


def test_a_damaged_file_is_put_aside_and_told_and_its_day_is_a_gap(kept: Kept) -> None:
    kept.put([1])
    kept.next_day()
    kept.put([2])
    kept.next_day()
    path = kept.folder / kept.files()[0]
    path.write_bytes(path.read_bytes()[:-20])
    kept.again()
    assert kept.read() == [2]
    assert any(code == "G02" and "2026-03-01" in text for code, _, text in kept.told)
    assert list(kept.folder.glob("*.damaged"))
    page = Reader(kept.store).raw(ADDRESS, 0, 1 << 61, 0)
    assert (day_start("2026-03-01"), DATA_LOST) in zip(
        page.samples.time.tolist(), page.samples.status.tolist(), strict=True
    )


def test_a_file_that_is_damaged_while_it_is_in_use_does_not_stop_the_reading_of_others(kept: Kept) -> None:
    kept.put([1])
    kept.next_day()
    kept.put([2])
    kept.next_day()
    path = kept.folder / kept.files()[0]
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(bytes(content))
    assert kept.read() == [2]


def test_without_its_database_the_addresses_come_from_the_files(kept: Kept) -> None:
    kept.put([1, 2])
    kept.put([5], OTHER)
    kept.next_day()
    kept.store.close()
    kept.store.path.write_bytes(b"no database at all" * 1000)
    kept.store = kept.made()
    kept.store.open()
    assert any("damaged" in text for _, _, text in kept.told)
    assert kept.read() == [1, 2]
    kept.put([6], OTHER)
    assert kept.read(OTHER) == [5, 6]


def test_with_too_little_space_nothing_is_written_and_all_of_it_waits(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.put([1])
    monkeypatch.setattr(kept.store, "settings", HistorySettings(reserve_mb=1 << 30))
    with pytest.raises(HistoryPausedError):
        kept.put([2, 3])
    assert kept.store.waiting == 2
    assert kept.read() == [1]
    monkeypatch.undo()
    kept.store.commit()
    assert kept.read() == [1, 2, 3]


def test_a_second_process_with_the_same_folder_is_refused(kept: Kept, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from twin_gateway.history.store import *\n"
        "try: HistoryStore(Path(sys.argv[1])).open()\n"
        "except HistoryPausedError as error: print('refused', error)\n"
    )
    kept.put([1])
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused")
    assert kept.read() == [1]


def test_a_database_that_fails_does_not_condemn_the_files(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.put([1, 2])
    kept.next_day()

    class Failed:
        def execute(self, *_: object) -> None:
            raise duckdb.FatalException("the database has been invalidated")

        def close(self) -> None:
            """Nothing to give back."""

    monkeypatch.setattr(kept.store, "cursor", Failed)
    assert check_files(kept.store) == 0
    monkeypatch.undo()
    assert kept.read() == [1, 2]


def test_a_damaged_file_of_events_is_no_gap_of_samples(kept: Kept) -> None:
    kept.put([1])
    kept.store.add_events([(DAY, ADDRESS, "{}")])
    kept.store.commit()
    kept.next_day()
    kept.store.close()
    [path] = kept.folder.glob("event-*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    kept.store = kept.made()
    kept.store.open("", kept.now)
    assert any(code == "G02" for code, _, _ in kept.told)
    assert not any(gap.reason == DAMAGED for gap in kept.store.gaps)


def test_what_is_too_old_goes_also_while_days_cannot_be_closed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        kept.put([number])
        kept.next_day()
    kept.again(retention_days=1)
    kept.put([3])

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(housekeeping, "write_segment", full)
    with pytest.raises(HistoryPausedError, match="no space"):
        kept.next_day()
    assert kept.files() == []


def test_gaps_go_with_the_last_samples_that_they_interrupted(kept: Kept) -> None:
    kept.put([1])
    kept.store.note_gap(kept.now + SECOND, kept.now + 2 * SECOND, "overload")
    kept.next_day()
    kept.again(retention_days=1)
    for number in range(2):
        kept.put([number])
        kept.next_day()
    assert not any(gap.reason == "overload" for gap in kept.store.gaps)


def test_a_device_whose_clock_is_ahead_hides_no_gap_when_the_database_is_gone(kept: Kept) -> None:
    (index,) = kept.store.learn([ADDRESS], [11])
    ahead = np.array([kept.now + 400 * DAY_TICKS])
    kept.store.add(np.array([index], np.int32), ahead, np.array([kept.now]), np.ones(1), np.zeros(1, np.uint32))
    kept.store.commit()
    kept.next_day()
    kept.store.close()
    kept.store.path.unlink()
    kept.store = kept.made()
    kept.store.open("", kept.now)
    assert [gap.reason for gap in kept.store.gaps] == ["stopped"]
