"""Alarm rules from the mapping file to conditions: limits, states, comparisons, delays, maintenance, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.alarm_book import Desk
from peers.loop_watch import LoopWatch

from address_space import clock
from address_space.conditions import Condition
from address_space.events import Event
from address_space.point import Batch
from address_space.quality import Quality
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.rule_alarms import AT_ONCE, RuleAlarms
from twin_gateway.functions.slices import each, in_slices, pieces
from twin_gateway.mapping.check import check

BAY = "dso1/north/PS01/MV1/F01"
VOLTAGE, POWER, HEALTH = f"{BAY}/_/MMXU1/PhV/phsA", f"{BAY}/_/MMXU1/TotW", f"{BAY}/IED1/LPHD1/PhyHealth"
DOOR, POS, OTHER = f"{BAY}/_/GGIO1/Ind1", f"{BAY}/QA1/XCBR1/Pos", f"{BAY}/QA2/XCBR1/Pos"
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
templates:
  measured:
    protocol: iec104
    params: {ioa: int, high: number}
    points:
      _/MMXU1/PhV/phsA:
        {ioa: "{ioa}", type: M_ME_TF_1, unit: V, display_name: Busbar,
         alarm: {hihi: 23 kV, hi: "{high} kV", lo: 18 kV, lolo: 17 kV, hysteresis: 200 V,
                 severity: 500, severity_outer: 800, confirm: true}}
devices:
  rtu1:
    protocol: iec104
    host: 10.4.7.10
    common_address: 7
    at:
      MV1/F01:
        use: measured
        with: {ioa: 1001, high: 22}
        points:
          _/MMXU1/TotW:
            {ioa: 1002, type: M_ME_TF_1, unit: W, alarm: {hi: 4 MW, delay: 10 s, exclusive: false, code: P08}}
          IED1/LPHD1/PhyHealth:
            {ioa: 1003, type: M_ME_TE_1, alarm: {normal: [ok, 2], class: Maintenance, severity: 300}}
          _/GGIO1/Ind1: {ioa: 1004, type: M_SP_TB_1, alarm: {normal: false, text: Door, acknowledge: false}}
          QA1/XCBR1/Pos:
            {ioa: 1005, type: M_DP_TB_1, alarm: {target: dso1/north/PS01/MV1/F01/QA2/XCBR1/Pos, delay: 2 s}}
          QA2/XCBR1/Pos: {ioa: 1006, type: M_DP_TB_1}
"""


class Rig:
    """The rules of a mapping on a table, on a clock that the test turns."""

    def __init__(self, folder: Path, desk: Desk, text: str = MAPPING) -> None:
        path = folder / "station.yaml"
        path.write_text(text)
        mapping, problems = check([path])
        assert mapping is not None, [str(problem) for problem in problems]
        self.desk = desk
        self.table = PointTable()
        self.table.add(point.point(device.name) for device, point in mapping.points())
        self.alarms = Alarms(desk.events, desk.book, monotonic=lambda: desk.time)
        self.marked = ""
        rules = {point.address: point.alarm for _, point in mapping.points() if point.alarm is not None}
        self.rules = RuleAlarms(
            self.table, self.alarms, rules, mark=lambda _address: self.marked, monotonic=lambda: desk.time
        )
        self.rules.resume()
        self._journal = self.table.journal.cursor("test")

    def write(self, address: str, value: float, quality: int = 0) -> None:
        row = self.table.find(address)
        assert row >= 0
        self.table.ingest(Batch.of([row], [value], quality, self.desk.start), now=self.desk.start)
        self.judge()

    def judge(self) -> None:
        for chunk in self._journal.take():
            self.rules.take(chunk)
        for _ in self.rules.telling():
            pass

    def condition(self, address: str, code: str) -> Condition | None:
        return self.desk.book.get(f"{address}${code}")

    def told(self) -> list[tuple[str, str]]:
        return [(event.code, event.state) for event in self.desk.told()]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    return Rig(tmp_path, Desk())


def _walk(rig: Rig, address: str, values: list[float]) -> list[Event]:
    for value in values:
        rig.write(address, value)
    return rig.desk.told()


def test_a_voltage_walks_through_its_limits_of_a_template(rig: Rig) -> None:
    events = _walk(rig, VOLTAGE, [20e3, 22.1e3, 23.5e3, 21.9e3, 21.7e3, 16e3, 20e3])
    assert [(each.state, each.severity, each.condition.limit) for each in events if each.condition] == [
        ("active", 500, "High"),
        ("active", 800, "HighHigh"),
        ("active", 500, "High"),
        ("inactive", 500, ""),
        ("active", 800, "LowLow"),
        ("inactive", 800, ""),
    ]
    assert events[0].text == "Busbar: 22100 V is above 22000 V"
    assert events[4].text == "Busbar: 16000 V is below 17000 V"
    condition = rig.condition(VOLTAGE, "A01")
    assert condition is not None
    assert (condition.type_name, condition.condition_class) == ("ExclusiveLimitAlarmType", "Process")
    assert (condition.value, condition.acked) == (20e3, False)


def test_what_lasts_no_longer_than_its_delay_is_no_alarm(rig: Rig) -> None:
    rig.write(POWER, 5e6)
    rig.desk.time += 9.9
    rig.alarms.tick()
    rig.write(POWER, 3e6)
    assert rig.told() == []
    rig.write(POWER, 5e6)
    rig.desk.time += 10.0
    rig.alarms.tick()
    assert rig.told() == [("P08", "active")]
    condition = rig.condition(POWER, "P08")
    assert condition is not None and condition.type_name == "NonExclusiveLimitAlarmType"


def test_any_state_but_the_normal_ones_is_an_alarm_of_the_class_that_the_rule_says(rig: Rig) -> None:
    for value, told in ((1, []), (2, []), (3, [("A02", "active")]), (1, [("A02", "inactive")])):
        rig.write(HEALTH, value)
        assert rig.told() == told
    condition = rig.condition(HEALTH, "A02")
    assert condition is not None
    assert (condition.condition_class, condition.severity, condition.type_name) == (
        "Maintenance",
        300,
        "OffNormalAlarmType",
    )


def test_a_boolean_off_normal_without_acknowledgement_is_done_when_it_is_over(rig: Rig) -> None:
    rig.write(DOOR, 1)
    condition = rig.condition(DOOR, "A02")
    assert condition is not None
    assert (condition.text, condition.value, condition.acked) == ("Door: on is not normal", True, True)
    rig.write(DOOR, 0)
    condition = rig.condition(DOOR, "A02")
    assert condition is not None and not condition.retain


def test_two_points_that_disagree_are_a_discrepancy_whichever_of_them_moves(rig: Rig) -> None:
    rig.write(POS, 2)
    assert rig.told() == [], "what has no value yet disagrees with nothing"
    rig.write(OTHER, 1)
    rig.desk.time += 2.0
    rig.alarms.tick()
    assert rig.told() == [("A03", "active")]
    condition = rig.condition(POS, "A03")
    assert condition is not None and condition.type_name == "DiscrepancyAlarmType"
    assert condition.text == f"XCBR1/Pos: on, but off at {OTHER}"
    rig.write(OTHER, 2)
    assert rig.told() == [("A03", "inactive")]


def test_a_bad_value_neither_begins_nor_ends_an_alarm(rig: Rig) -> None:
    rig.write(VOLTAGE, 25e3, int(Quality.INVALID))
    assert rig.told() == []
    rig.write(VOLTAGE, 25e3)
    assert rig.told() == [("A01", "active")]
    rig.write(VOLTAGE, 20e3, int(Quality.INVALID))
    assert rig.told() == []


def test_a_test_value_makes_a_marked_alarm(rig: Rig) -> None:
    rig.write(DOOR, 1, int(Quality.TEST))
    (event,) = rig.desk.told()
    assert event.details == (("marked", "test"),)


def test_a_real_value_behind_a_test_value_makes_a_real_alarm_of_it(rig: Rig) -> None:
    rig.write(DOOR, 1, int(Quality.TEST))
    rig.desk.told()
    rig.write(DOOR, 1)
    (event,) = rig.desk.told()
    assert (event.state, event.details) == ("active", ())


@pytest.mark.parametrize(
    ("before", "values", "told"),
    [(0, [1, 0], ["active", "inactive"]), (1, [0, 1], ["inactive", "active"]), (1, [0, 1, 0], ["inactive", "active"])],
    ids=["a pulse", "a gap", "a gap and its end"],
)
def test_a_point_that_changes_twice_in_one_batch_is_judged_twice(
    rig: Rig, before: float, values: list[float], told: list[str]
) -> None:
    rig.write(DOOR, before)
    rig.desk.told()
    row, count = rig.table.find(DOOR), len(values)
    rig.table.ingest(Batch.of([row] * count, values, 0, rig.desk.start), now=rig.desk.start)
    rig.judge()
    assert rig.desk.states()[:2] == told
    condition = rig.condition(DOOR, "A02")
    assert condition is not None and condition.active == bool(values[-1])


def test_hysteresis_counts_within_one_batch_too(rig: Rig) -> None:
    row = rig.table.find(VOLTAGE)
    rig.table.ingest(Batch.of([row] * 3, [22.1e3, 21.9e3, 21.85e3], 0, rig.desk.start), now=rig.desk.start)
    rig.judge()
    assert rig.desk.states() == ["active"]


async def test_maintenance_suppresses_and_its_end_brings_the_alarm(rig: Rig) -> None:
    rig.marked = "suppressed"
    rig.write(VOLTAGE, 22.5e3)
    assert rig.told() == [("A01", "suppressed")]
    rig.marked = ""
    await rig.rules.tick()
    assert rig.told() == [("A01", "active")]


def test_the_alarm_has_the_time_of_the_device(rig: Rig) -> None:
    row = rig.table.find(VOLTAGE)
    device = rig.desk.start - 3 * clock.TICKS_PER_SECOND
    rig.table.ingest(Batch.of([row], [25e3], 0, device), now=rig.desk.start)
    rig.judge()
    (event,) = rig.desk.told()
    assert (event.source_time, event.value) == (device, 25e3)


@pytest.mark.parametrize(
    ("value", "active"), [(21.9e3, True), (21.7e3, False), (22.5e3, True)], ids=["within hysteresis", "back", "out"]
)
async def test_after_a_restart_the_source_is_judged_again_with_its_hysteresis(
    tmp_path: Path, value: float, active: bool
) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = Desk(path)
    await desk.book.open()
    Rig(tmp_path, desk).write(VOLTAGE, 22.5e3)
    await desk.book.close()
    again = Desk(path)
    await again.book.open()
    rig = Rig(tmp_path, again)
    rig.write(VOLTAGE, value)
    assert rig.told() == ([] if active else [("A01", "inactive")])
    condition = rig.condition(VOLTAGE, "A01")
    assert condition is not None and condition.active is active and condition.retain
    await again.book.close()


async def test_a_rule_of_another_class_and_kind_makes_the_condition_that_was_kept_one_of_those(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    desk = Desk(path)
    await desk.book.open()
    Rig(tmp_path, desk).write(VOLTAGE, 22.5e3)
    await desk.book.close()
    again = Desk(path)
    await again.book.open()
    changed = MAPPING.replace("hysteresis: 200 V,", "hysteresis: 200 V, class: Safety, exclusive: false,")
    rig = Rig(tmp_path, again, changed)
    rig.write(VOLTAGE, 22.5e3)
    condition = rig.condition(VOLTAGE, "A01")
    assert condition is not None
    assert (condition.condition_class, condition.type_name) == ("Safety", "NonExclusiveLimitAlarmType")
    await again.book.close()


async def test_ten_thousand_rules_that_fire_at_once_lose_nothing_and_leave_the_loop_free(tmp_path: Path) -> None:
    head, _, _ = MAPPING.partition("templates:")
    rtu = "devices:\n  rtu1: {protocol: iec104, host: 10.4.7.10, common_address: 7, at: {\n"
    alarm = "type: M_SP_TB_1, alarm: {normal: false}"
    bays = [
        f"    MV1/F{number}: {{points: {{_/GGIO1/Ind1: {{ioa: {number}, {alarm}}}}}}}" for number in range(1, 10_001)
    ]
    text = head + rtu + ",\n".join(bays) + "\n  }}\n"
    desk = Desk(most=20_000)
    rig = Rig(tmp_path, desk, text)
    rows: Any = range(10_000)
    rig.table.ingest(Batch.of(list(rows), [1.0] * 10_000, 0, desk.start), now=desk.start)
    with LoopWatch() as watch:
        for chunk in rig._journal.take():
            await each(rig.rules.take, pieces(chunk, AT_ONCE))
        await in_slices(rig.rules.telling())
        await asyncio.sleep(0)
        worst, report = watch.worst_own, watch.report()  # what the test does next is no part of it
    assert desk.book.counts().active == 10_000
    assert len({event.address for event in desk.told()}) == 10_000
    assert worst.own < 0.02, report
