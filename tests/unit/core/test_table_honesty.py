"""What the table never makes up: communication that is lost stays lost, no 1970, quality passes every deadband."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Batch, Point, PointProfile
from address_space.quality import Quality, StatusCode, TimeFlag
from address_space.table import PointTable

BAY = "dso1/north/PS01/MV1/F05"
SECOND = clock.TICKS_PER_SECOND
DAY = 86_400 * SECOND
NOW = clock.from_unix(1_800_000_000)


def make(**changes: object) -> PointTable:
    """Rows 0 TotW and 1 Pos of rtu1, row 2 Pos of rtu2."""
    table = PointTable()
    for name, link in (("F05/_/MMXU1/TotW", "rtu1"), ("F05/QA1/XCBR1/Pos", "rtu1"), ("F06/QA1/XCBR1/Pos", "rtu2")):
        address = f"dso1/north/PS01/MV1/{name}"
        profile = PointProfile.of(classify(parse(address)))
        table.add([Point(address, replace(profile, **changes) if "TotW" in name else profile, link)])  # type: ignore[arg-type]  # test
    return table


def test_a_dead_point_stays_bad_while_the_link_is_tried_again_and_again() -> None:
    table = make()
    table.ingest(Batch.of([1], [2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    assert table.sweep(now=NOW + DAY + SECOND) == 1
    cursor = table.journal.cursor("test")
    assert table.link_lost("rtu1", now=NOW + DAY + 30 * SECOND) == 0
    assert table.sample(1).status == StatusCode.BadNoCommunication
    assert cursor.take() == []


def test_a_point_that_never_came_back_dies_although_its_link_did_come_back() -> None:
    table = make()
    table.ingest(Batch.of([0, 1], [5.0, 2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    table.ingest(Batch.of([1], [2], 0, NOW + SECOND), now=NOW + SECOND)
    table.link_lost("rtu1", now=NOW + DAY - SECOND)
    assert table.sweep(now=NOW + DAY + SECOND) == 1
    assert table.sample(0).status == StatusCode.BadNoCommunication
    assert table.sample(1).status == StatusCode.UncertainNoCommunicationLastUsableValue
    assert table.sweep(now=NOW + 2 * DAY) == 1


def test_a_point_that_the_driver_itself_calls_lost_dies_too() -> None:
    table = make()
    table.ingest(Batch.of([0], [5.0], 0, NOW), now=NOW)
    lost = int(Quality.QUESTIONABLE | Quality.OLD_DATA | Quality.COMM_LOST)
    table.ingest(Batch.of([0], [5.0], lost, NOW), now=NOW)
    assert table.sweep(now=NOW + SECOND) == 0
    assert table.sweep(now=NOW + DAY) == 0
    assert table.sweep(now=NOW + DAY + 3 * SECOND) == 1
    assert table.sample(0).status == StatusCode.BadNoCommunication


def test_a_point_that_came_back_and_was_lost_again_is_counted_anew() -> None:
    table = make()
    table.ingest(Batch.of([1], [2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    table.ingest(Batch.of([1], [1], 0, NOW + DAY), now=NOW + DAY - SECOND)
    table.link_lost("rtu1", now=NOW + DAY)
    assert table.sweep(now=NOW + DAY + 10 * SECOND) == 0


def test_the_loss_of_one_device_leaves_all_others_alone() -> None:
    table = make()
    table.ingest(Batch.of([1, 2], [2, 2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    table.link_lost("nobody", now=NOW)
    table.sweep(now=NOW + 2 * DAY)
    assert table.sample(1).status == StatusCode.BadNoCommunication
    assert table.sample(2).status == StatusCode.Good


def test_points_added_after_a_loss_are_not_lost() -> None:
    table = make()
    table.ingest(Batch.of([1], [2], 0, NOW), now=NOW)
    table.link_lost("rtu1", now=NOW)
    address = "dso1/north/PS01/MV1/F07/QA1/XCBR1/Pos"
    row = table.add([Point(address, PointProfile.of(classify(parse(address))), "rtu3")])[0]
    table.ingest(Batch.of([row], [1], 0, NOW + SECOND), now=NOW + SECOND)
    assert table.sweep(now=NOW + 2 * DAY) == 1
    assert table.sample(row).status == StatusCode.Good


@pytest.mark.parametrize("seconds", [0, 35, 86_400 * 365 * 3])
@pytest.mark.parametrize("late", [False, True])
def test_a_clock_that_counts_from_1970_gives_no_time(seconds: int, late: bool) -> None:
    table = make()
    live, replayed = table.journal.cursor("test"), table.late.cursor("test")
    table.ingest(Batch.of([1], [2], 0, clock.UNIX_EPOCH_TICKS + seconds * SECOND, late=late), now=NOW)
    (chunk,) = (replayed if late else live).take()
    assert chunk.source_time[0] == NOW
    assert chunk.quality[0] & TimeFlag.RECEIVED


def test_a_switch_that_is_idle_for_twenty_years_keeps_its_time() -> None:
    table = make()
    table.ingest(Batch.of([1], [2], 0, NOW - 7305 * DAY), now=NOW)
    assert table.sample(1).source_time == NOW - 7305 * DAY


def test_a_clock_three_seconds_ahead_is_replaced_and_one_second_ahead_kept() -> None:
    table = make()
    table.ingest(Batch.of([1, 2], [2, 2], 0, [NOW + 3 * SECOND, NOW + SECOND]), now=NOW)
    assert [table.sample(row).source_time for row in (1, 2)] == [NOW, NOW + SECOND]
    assert table.sample(1).quality & TimeFlag.FUTURE


def test_within_the_deadband_another_quality_of_the_same_status_is_still_taken() -> None:
    table = make(deadband=10.0)
    first, second = int(Quality.QUESTIONABLE | Quality.OSCILLATORY), int(Quality.QUESTIONABLE | Quality.INCONSISTENT)
    table.ingest(Batch.of([0], [100.0], first, NOW), now=NOW)
    table.ingest(Batch.of([0], [101.0], second, NOW), now=NOW)
    assert table.sample(0).quality & Quality.INCONSISTENT
    assert not table.sample(0).quality & Quality.OSCILLATORY


def test_infinities_and_large_integers_pass_a_deadband_without_a_warning() -> None:
    table = make(deadband=10.0)
    for value in (np.inf, np.inf, -np.inf, np.nan, np.nan, 1.0):
        table.ingest(Batch.of([0, 1], [value, 2], 0, NOW), now=NOW)
    assert table.sample(0).value == 1.0
    assert table.counters.not_a_number == 5
