"""The point table: samples in, changes out; scale, deadband, time rules, staleness, link loss, late samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from address_space import clock
from address_space.address import AddressError, parse
from address_space.catalogue import ValueType, classify
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.quality import Quality, StatusCode, TimeFlag
from address_space.table import PointTable

BAY = "dso1/north/PS01/MV1/F05"
SECOND = clock.TICKS_PER_SECOND
NOW = clock.from_unix(1_800_000_000)


def profile(address: str, **changes: object) -> PointProfile:
    from dataclasses import replace

    return replace(PointProfile.of(classify(parse(f"{BAY}/{address}"))), **changes)  # type: ignore[arg-type]  # test


def make(**changes: object) -> tuple[PointTable, dict[str, int]]:
    table = PointTable()
    names = [
        "QA1/XCBR1/Pos",
        "_/MMXU1/TotW",
        "_/MMXU1/Hz",
        "_/PTRC1/Tr/phsA",
        "IED1/LPHD1/PhyNam/serNum",
        "QA1/XCBR1/OpCnt",
    ]
    points = [
        Point(f"{BAY}/{name}", profile(name, **(changes if name == "_/MMXU1/TotW" else {})), "rtu1", 100 + number)
        for number, name in enumerate(names)
    ]
    rows = table.add(points)
    return table, dict(zip((name.rpartition("/")[2] for name in names), rows, strict=True))


def test_a_new_point_waits_for_data_and_has_a_time_of_today() -> None:
    table, rows = make()
    sample = table.sample(rows["TotW"])
    assert sample.value is None
    assert sample.status == StatusCode.BadWaitingForInitialData
    assert abs(sample.source_time - clock.now()) < 60 * SECOND


def test_a_sample_keeps_the_devices_value_time_and_quality() -> None:
    table, rows = make()
    old = NOW - 90 * 86_400 * SECOND
    table.ingest(Batch.of([rows["Pos"], rows["TotW"]], [2, 12.5], [0, int(Quality.OLD_DATA)], [old, NOW]), now=NOW)
    position, power = table.sample(rows["Pos"]), table.sample(rows["TotW"])
    assert (position.value, position.status, position.source_time, position.received) == (2, 0, old, NOW)
    assert (power.value, power.status) == (12.5, StatusCode.UncertainLastUsableValue)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [("Pos", 3.0, 3), ("phsA", 1.0, True), ("OpCnt", -5.0, -5), ("TotW", -1.5, -1.5), ("phsA", 0.0, False)],
)
def test_values_have_the_type_of_their_point(name: str, given: float, value: object) -> None:
    table, rows = make()
    table.ingest(Batch.of([rows[name]], [given], 0, NOW), now=NOW)
    got = table.value(rows[name])
    assert got == value
    assert type(got) is type(value)


def test_a_mixed_batch_keeps_every_type_apart() -> None:
    table, rows = make()
    order = ["TotW", "Pos", "phsA", "OpCnt", "Hz"]
    table.ingest(Batch.of([rows[name] for name in order], [1.5, 2, 1, 7, 49.99], 0, NOW), now=NOW)
    assert [table.value(rows[name]) for name in order] == [1.5, 2, True, 7, 49.99]


@pytest.mark.parametrize(
    ("given", "flags"), [(0, TimeFlag(0)), (NOW, TimeFlag.INVALID), (NOW + 3 * SECOND, TimeFlag(0))]
)
def test_missing_invalid_and_future_times_become_the_receive_time_and_say_so(given: int, flags: TimeFlag) -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Hz"]], [50], int(flags), given), now=NOW)
    sample = table.sample(rows["Hz"])
    assert sample.source_time == NOW
    assert sample.quality & TimeFlag.RECEIVED
    assert bool(sample.quality & TimeFlag.FUTURE) == (given > NOW)
    assert sample.status == StatusCode.Good
    assert table.counters.time_replaced == 1


def test_a_merely_unsynchronised_time_is_kept_and_flagged() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Hz"]], [50], int(TimeFlag.NOT_SYNCHRONISED), NOW - SECOND), now=NOW)
    sample = table.sample(rows["Hz"])
    assert sample.source_time == NOW - SECOND
    assert sample.quality & TimeFlag.NOT_SYNCHRONISED


def test_a_receive_time_is_that_of_the_last_change_and_stays_while_the_device_says_the_same() -> None:
    table, rows = make()
    row, later = rows["Hz"], NOW + 60 * SECOND
    table.ingest(Batch.of([row], [50]), now=NOW)
    table.ingest(Batch.of([row, row], [50, 50]), now=later)
    assert (table.sample(row).source_time, table.sample(row).received) == (NOW, later)
    table.ingest(Batch.of([row], [50], int(Quality.OLD_DATA | Quality.QUESTIONABLE)), now=later)
    assert table.sample(row).source_time == later
    table.ingest(Batch.of([row, row, row], [51, 50, 50]), now=later + SECOND)
    assert table.sample(row).source_time == later + SECOND


def test_a_devices_own_newer_time_is_taken_also_for_the_same_value() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW), now=NOW)
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW + SECOND), now=NOW + SECOND)
    assert table.sample(rows["Hz"]).source_time == NOW + SECOND


def test_scale_and_unit_are_applied_once() -> None:
    table, rows = make(gain=1000.0, bias=5.0)
    table.ingest(Batch.of([rows["TotW"], rows["Hz"]], [2, 50], 0, NOW), now=NOW)
    assert table.value(rows["TotW"]) == 2005.0
    assert table.value(rows["Hz"]) == 50.0


def test_tenths_are_published_as_people_write_them() -> None:
    table, rows = make(gain=0.1)
    table.ingest(Batch.of([rows["TotW"], rows["Hz"]], [272, 50], 0, NOW), now=NOW)
    assert (table.value(rows["TotW"]), table.value(rows["Hz"])) == (27.2, 50.0)


def test_inverted_states_change_places_and_intermediate_stays() -> None:
    table = PointTable()
    table.add(
        [
            Point(f"{BAY}/QA1/XCBR1/Pos", profile("QA1/XCBR1/Pos", invert=True)),
            Point(f"{BAY}/_/PTRC1/Tr", profile("_/PTRC1/Tr", invert=True)),
        ]
    )
    for given, shown in ((1, 2), (2, 1), (0, 0), (3, 3)):
        table.ingest(Batch.of([0, 1], [given, given & 1], 0, NOW), now=NOW)
        assert table.value(0) == shown
        assert table.value(1) is not bool(given & 1)


def test_what_is_no_number_becomes_invalid_and_is_counted() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["TotW"], rows["OpCnt"]], [float("nan"), 1e12], 0, NOW), now=NOW)
    assert table.sample(rows["TotW"]).status == StatusCode.Bad
    assert table.sample(rows["OpCnt"]).status == StatusCode.Bad
    assert table.value(rows["OpCnt"]) == 2**31 - 1
    assert table.counters.not_a_number == 2


def test_only_changes_are_journalled() -> None:
    table, rows = make()
    cursor = table.journal.cursor("test")
    for value, expected in ((1.0, 1), (1.0, 0), (2.0, 1)):
        assert table.ingest(Batch.of([rows["TotW"]], [value], 0, NOW), now=NOW) == expected
    assert table.ingest(Batch.of([rows["TotW"]], [2.0], int(Quality.INVALID), NOW), now=NOW) == 1
    values = [float(chunk.raw.view(np.float64)[0]) for chunk in cursor.take()]
    assert values == [1.0, 2.0, 2.0]


def test_repeated_points_in_one_batch_are_compared_with_their_predecessor() -> None:
    table, rows = make()
    cursor = table.journal.cursor("test")
    row, other = rows["TotW"], rows["Hz"]
    written = table.ingest(Batch.of([row, other, row, row, row], [1, 50, 1, 2, 1], 0, NOW), now=NOW)
    assert written == 4
    (chunk,) = cursor.take()
    assert [(int(r), float(v)) for r, v in zip(chunk.rows, chunk.raw.view(np.float64), strict=True)] == [
        (row, 1.0), (other, 50.0), (row, 2.0), (row, 1.0),
    ]  # fmt: skip
    assert table.value(row) == 1.0


def test_a_newer_time_alone_is_journalled_only_for_those_who_ask() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW), now=NOW)
    cursor = table.journal.cursor("test")
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW + 1), now=NOW + 1)
    assert cursor.take() == []
    table.timestamp_readers += 1
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW + 2), now=NOW + 2)
    (chunk,) = cursor.take()
    assert chunk.timestamp_only
    assert table.sample(rows["Hz"]).source_time == NOW + 2


def test_another_raw_quality_of_the_same_status_is_journalled() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Hz"]], [50], int(Quality.OPERATOR_BLOCKED), NOW), now=NOW)
    cursor = table.journal.cursor("test")
    table.ingest(Batch.of([rows["Hz"]], [50], int(Quality.OPERATOR_BLOCKED), NOW), now=NOW + 1)
    assert cursor.take() == []
    table.ingest(Batch.of([rows["Hz"]], [50], int(Quality.OLD_DATA | Quality.QUESTIONABLE), NOW + 2), now=NOW + 2)
    (chunk,) = cursor.take()
    assert chunk.timestamp_only
    assert int(chunk.quality[0]) == Quality.OLD_DATA | Quality.QUESTIONABLE


def test_deadband_holds_small_changes_back_but_never_a_change_of_quality() -> None:
    table, rows = make(deadband=5.0)
    row = rows["TotW"]
    shown = []
    for value, quality in ((100, 0), (103, 0), (104.9, 0), (105, 0), (101, 0), (101, int(Quality.INVALID))):
        table.ingest(Batch.of([row], [value], quality, NOW), now=NOW)
        shown.append(table.value(row))
    assert shown == [100, 100, 100, 105, 105, 101]
    assert table.counters.in_deadband == 3


def test_slow_drift_passes_the_deadband_because_it_is_held_against_the_last_passed_value() -> None:
    table, rows = make(deadband=0.5)
    cursor = table.journal.cursor("test")
    values = [step * 0.1 for step in range(41)]
    table.ingest(Batch.of([rows["TotW"]] * 41, values, 0, NOW), now=NOW)
    passed = [float(v) for chunk in cursor.take() for v in chunk.raw.view(np.float64)]
    assert 7 <= len(passed) <= 9
    assert max(abs(a - b) for a, b in pairwise(passed)) < 0.65


def test_texts_take_the_side_column_and_the_same_journal() -> None:
    table, rows = make()
    cursor = table.journal.cursor("test")
    row = rows["serNum"]
    for text in ("A1", "A1", "B2"):
        table.ingest(Batch.of([], [], texts=[TextSample(row, text, 0, NOW)]), now=NOW)
    assert table.sample(row).value == "B2"
    assert [chunk.texts for chunk in cursor.take()] == [("A1",), ("B2",)]
    table.link_lost("rtu1", now=NOW + 1)
    assert table.sample(row).value == "B2"
    assert any(chunk.texts == ("B2",) for chunk in cursor.take())


@pytest.mark.parametrize(("text", "kept"), [("A\ud800B", "A\ufffdB"), ("\udc00", "\ufffd"), ("Größe 𝄞", "Größe 𝄞")])
def test_a_text_that_utf_8_cannot_carry_is_made_one_that_it_can(text: str, kept: str) -> None:
    table, rows = make()
    table.ingest(Batch.of([], [], texts=[TextSample(rows["serNum"], text)]), now=NOW)
    assert table.sample(rows["serNum"]).value == kept


def test_a_text_said_again_keeps_its_time_and_another_raw_quality_is_journalled() -> None:
    table, rows = make()
    row = rows["serNum"]
    table.ingest(Batch.of([], [], texts=[TextSample(row, "A1")]), now=NOW)
    cursor = table.journal.cursor("test")
    table.ingest(Batch.of([], [], texts=[TextSample(row, "A1")]), now=NOW + SECOND)
    assert table.sample(row).source_time == NOW
    assert cursor.take() == []
    blocked = int(Quality.OPERATOR_BLOCKED)
    table.ingest(Batch.of([], [], texts=[TextSample(row, "A1", blocked, NOW + SECOND)]), now=NOW + SECOND)
    table.ingest(Batch.of([], [], texts=[TextSample(row, "A1", blocked | int(Quality.OLD_DATA), NOW)]), now=NOW)
    chunks = cursor.take()
    assert [int(chunk.quality[0]) for chunk in chunks] == [blocked, blocked | int(Quality.OLD_DATA)]
    assert table.sample(row).quality == blocked | int(Quality.OLD_DATA)


def test_a_lost_link_is_told_of_a_point_whose_status_was_bad_before() -> None:
    table, rows = make()
    cursor = table.journal.cursor("test")
    table.link_lost("rtu1", now=NOW)
    told = {int(row): chunk for chunk in cursor.take() for row in chunk.rows}
    assert set(told) == set(rows.values())
    assert all(chunk.timestamp_only for chunk in told.values())


def test_late_samples_never_become_the_live_value_and_are_kept_for_their_readers() -> None:
    table, rows = make()
    live, late = table.journal.cursor("live"), table.late.cursor("late")
    table.ingest(Batch.of([rows["Hz"]], [50], 0, NOW), now=NOW)
    live.take()
    table.ingest(Batch.of([rows["Hz"]], [49], 0, NOW - 60 * SECOND, late=True), now=NOW)
    assert table.value(rows["Hz"]) == 50
    assert live.take() == []
    (chunk,) = late.take()
    assert chunk.source_time.tolist() == [NOW - 60 * SECOND]
    assert table.counters.late == 1


def test_a_lost_link_changes_the_status_of_its_own_points_only_and_keeps_value_and_time() -> None:
    table, rows = make()
    other = table.add([Point(f"{BAY}/QB1/XSWI1/Pos", profile("QA1/XCBR1/Pos"), "rtu2")])[0]
    never = rows["OpCnt"]
    table.ingest(Batch.of([rows["Pos"], rows["Hz"], other], [2, 50, 1], [0, int(Quality.INVALID), 0], NOW), now=NOW)
    cursor = table.journal.cursor("test")
    table.link_lost("rtu1", now=NOW + SECOND)
    assert table.sample(rows["Pos"]) == table.sample(rows["Pos"])
    lost = table.sample(rows["Pos"])
    assert (lost.value, lost.status, lost.source_time) == (2, StatusCode.UncertainNoCommunicationLastUsableValue, NOW)
    assert table.sample(rows["Hz"]).status == StatusCode.BadNoCommunication
    assert table.sample(never).status == StatusCode.BadWaitingForInitialData
    assert table.sample(other).status == StatusCode.Good
    assert sum(len(chunk) for chunk in cursor.take() if not chunk.timestamp_only) == 2
    assert table.sample(rows["Pos"]).status == StatusCode.UncertainNoCommunicationLastUsableValue
    table.ingest(Batch.of([rows["Pos"]], [2], 0, NOW + 2 * SECOND), now=NOW + 2 * SECOND)
    assert table.sample(rows["Pos"]).status == StatusCode.Good


def test_a_link_lost_for_a_day_makes_its_points_bad() -> None:
    table, rows = make()
    table.ingest(Batch.of([rows["Pos"]], [2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    assert table.sweep(now=NOW + 86_000 * SECOND) == 0
    assert table.sweep(now=NOW + 86_401 * SECOND) == 1
    assert table.sample(rows["Pos"]).status == StatusCode.BadNoCommunication
    assert table.sweep(now=NOW + 90_000 * SECOND) == 0


def test_a_value_past_its_time_counts_as_old_until_the_next_sample() -> None:
    table, rows = make(stale_after=10.0)
    table.ingest(Batch.of([rows["TotW"], rows["Hz"]], [1, 50], 0, NOW), now=NOW)
    assert table.sweep(now=NOW + 9 * SECOND) == 0
    assert table.sweep(now=NOW + 11 * SECOND) == 1
    sample = table.sample(rows["TotW"])
    assert (sample.value, sample.status) == (1.0, StatusCode.UncertainLastUsableValue)
    assert sample.source_time == NOW
    assert table.sample(rows["Hz"]).status == StatusCode.Good
    table.ingest(Batch.of([rows["TotW"]], [1], 0, NOW + 12 * SECOND), now=NOW + 12 * SECOND)
    assert table.sample(rows["TotW"]).status == StatusCode.Good


def test_a_value_held_in_its_deadband_does_not_become_stale() -> None:
    table, rows = make(stale_after=10.0, deadband=5.0)
    table.ingest(Batch.of([rows["TotW"]], [100], 0, NOW), now=NOW)
    table.ingest(Batch.of([rows["TotW"]], [101], 0, NOW + 8 * SECOND), now=NOW + 8 * SECOND)
    assert table.sweep(now=NOW + 15 * SECOND) == 0


def test_bindings_lead_there_and_back() -> None:
    table, rows = make()
    assert table.binding(rows["TotW"]) == ("rtu1", 101)
    assert table.rows_bound_to("rtu1", 101) == [rows["TotW"]]
    text = table.add([Point(f"{BAY}/QB1/XSWI1/Pos", profile("QA1/XCBR1/Pos"), "ied1", "LD0/XSWI1.Pos")])[0]
    assert table.binding(text) == ("ied1", "LD0/XSWI1.Pos")
    assert table.rows_bound_to("ied1", "LD0/XSWI1.Pos") == [text]
    assert table.rows_bound_to("ied1", "LD0/XSWI2.Pos") == []
    assert table.links == ("rtu1", "ied1")


def test_a_refused_addition_leaves_the_table_as_it_was() -> None:
    table, _rows = make()
    before = len(table)
    with pytest.raises(AddressError):
        table.add(
            [Point(f"{BAY}/QB1/XSWI1/Pos", profile("QA1/XCBR1/Pos")), Point("no address", profile("QA1/XCBR1/Pos"))]
        )
    assert len(table) == before
    assert len(table.node) == before
    assert table.find(f"{BAY}/QB1/XSWI1/Pos") == -1
    assert table.value_type.dtype == np.uint8
    assert ValueType(int(table.value_type[0])) is ValueType.INT32
