"""Every alarm of the devices, D01 to D10, raised and cleared through table, journal and events."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.supervision.supervised_plant import (
    BAY,
    IED,
    IED_LINK,
    METER_LINK,
    METER_POINTS,
    METERS,
    PLACE,
    RTU_LINK,
    Rig,
)

from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.supervision_settings import SupervisionSettings
from twin_gateway.twin.rules import DeviceState as S


def test_a_healthy_plant_has_no_alarm_and_is_ok(rig: Rig) -> None:
    assert not rig.bench.codes()
    assert rig.state(IED) is S.OK
    assert rig.bench.value(f"{PLACE}/St") == S.OK
    assert rig.bench.value(f"{PLACE}/DevCnt") == 4
    assert rig.bench.value(f"{PLACE}/OkCnt") == 4
    assert rig.bench.value(f"{BAY}/_/twSUPV1/St") == S.OK
    assert rig.bench.value("dso1/_/_/_/_/_/twSUPV1/OkCnt") == 4


STATES = [
    ("D01", "LCCH1/RedChLiv", 0, 1, 400, S.DEGRADED, 0.0),
    ("D01", "LCCH1/ChLiv", 0, 1, 700, S.UNREACHABLE, 0.0),
    ("D02", "LTMS1/TmSynLkd", 4, 1, 500, S.DEGRADED, 31.0),
    ("D02", "LTMS1/TmSyn", 0, 2, 500, S.DEGRADED, 31.0),
    ("D04", "LPHD1/PhyHealth", 2, 1, 400, S.DEGRADED, 0.0),
    ("D04", "LPHD1/PhyHealth", 3, 1, 700, S.FAULT, 0.0),
    ("D04", "LLN0/Health", 3, 1, 700, S.FAULT, 0.0),
    ("D05", "LGOS1/St", 0, 1, 800, S.DEGRADED, 3.0),
    ("D05", "LGOS1/RxConfRevNum", 6, 5, 700, S.DEGRADED, 3.0),
    ("D05", "LGOS1/NdsCom", 1, 0, 400, S.DEGRADED, 0.0),
    ("D06", "LLN0/Beh", 3, 1, 400, S.TEST, 61.0),
    ("D06", "LLN0/Beh", 2, 1, 400, S.DEGRADED, 61.0),
    ("D06", "LPHD1/Sim", 1, 0, 400, S.TEST, 61.0),
    ("D08", "LPHD1/OutOv", 1, 0, 650, S.DEGRADED, 0.0),
    ("D10", "LPHD1/PwrSupAlm", 1, 0, 600, S.DEGRADED, 0.0),
    ("D10", "ZBAT1/BatLo", 1, 0, 600, S.DEGRADED, 0.0),
]


@pytest.mark.parametrize(("code", "point", "bad", "good", "severity", "state", "delay"), STATES)
async def test_conditions_that_the_device_tells_are_raised_and_cleared(
    rig: Rig, code: str, point: str, bad: int, good: int, severity: int, state: S, delay: float
) -> None:
    address = f"{IED}/{point}"
    rig.bench.told()
    await rig.write({address: bad})
    if delay:
        assert (code, address) not in rig.bench.codes()
        await rig.go(delay)
    assert (code, address) in rig.bench.codes()
    assert rig.state(IED) is state
    await rig.write({address: good})
    assert not rig.bench.codes()
    assert rig.state(IED) is S.OK
    told = [event for event in rig.bench.told() if event.address == address]
    assert [(event.code, event.state, event.severity) for event in told] == [
        (code, "active", severity),
        (code, "inactive", severity),
    ]


async def test_local_control_is_a_state_and_no_alarm_of_the_device(rig: Rig) -> None:
    await rig.write({f"{IED}/LLN0/Loc": 1})
    assert rig.state(IED) is S.LOCAL
    assert not rig.bench.codes()


async def test_restarts_and_watchdogs_are_events(rig: Rig) -> None:
    rig.bench.told()
    await rig.write({f"{IED}/LPHD1/NumPwrUp": 5, f"{IED}/LPHD1/WacTrg": 1})
    told = rig.bench.told()
    assert {(event.code, event.state, event.severity) for event in told} == {("D07", "event", 500)}
    assert len(told) == 2


async def test_rising_security_counters_alarm_until_ten_minutes_are_quiet(rig: Rig) -> None:
    address = f"{IED}/GSAL1/AuthFail"
    await rig.write({address: 3})
    assert ("D09", address) in rig.bench.codes()
    await rig.go(599.0)
    assert ("D09", address) in rig.bench.codes()
    await rig.go(2.0)
    assert not rig.bench.codes()


# ---- links -----------------------------------------------------------------------------------------------------------


async def test_one_alarm_stands_for_a_link_that_is_down_and_says_how_many_are_behind_it(rig: Rig) -> None:
    link = rig.bench.links["meters"]
    rig.bench.told()
    link.state, link.reason = LinkState.DOWN, "connection refused"
    rig.bench.table.link_lost("meters")
    await rig.go()
    assert rig.bench.codes() == {("D01", METER_LINK)}
    (event,) = rig.bench.told()
    assert "3 devices" in event.text and ("children", "3") in event.details
    assert all(rig.state(meter) is S.UNREACHABLE for meter in METERS)
    assert rig.function.index.devices[METERS[0]].state.reason == f"unreachable because of {METER_LINK}"
    link.state = LinkState.UP
    rig.bench.write(dict.fromkeys(METER_POINTS, 101))
    await rig.go()
    assert not rig.bench.codes()
    assert [event.state for event in rig.bench.told()] == ["inactive"]
    assert rig.state(METERS[0]) is S.OK


async def test_a_child_still_bad_a_minute_after_its_links_recovery_alarms_itself(rig: Rig) -> None:
    link = rig.bench.links["meters"]
    link.state = LinkState.DOWN
    rig.bench.table.link_lost("meters")
    await rig.go()
    link.state = LinkState.UP
    rig.bench.write({point: 101 for point in METER_POINTS if METERS[0] not in point})
    await rig.go()
    assert not rig.bench.codes()
    assert rig.state(METERS[0]) is S.UNREACHABLE
    await rig.go(61.0)
    assert rig.bench.codes() == {("D01", METERS[0])}
    rig.bench.write(dict.fromkeys(METER_POINTS, 102))
    await rig.go()
    assert not rig.bench.codes()


async def test_when_no_link_is_left_the_gateway_itself_is_the_cause(rig: Rig) -> None:
    for name, link in rig.bench.links.items():
        link.state = LinkState.DOWN
        rig.bench.table.link_lost(name)
    await rig.go()
    assert rig.bench.codes() == {("D01", "dso1/_sys/gw1")}


async def test_alarms_of_a_link_that_flaps_are_one(rig: Rig) -> None:
    link = rig.bench.links["rtu"]
    rig.bench.told()
    for _ in range(8):
        link.state = LinkState.DOWN
        await rig.go(10.0)
        link.state = LinkState.UP
        await rig.go(10.0)
    assert rig.bench.codes() == {("D01", RTU_LINK)}
    assert rig.function.index.devices[RTU_LINK].state.reason == "flapping"
    active = [event for event in rig.bench.told() if event.state == "active"]
    assert len(active) == 6
    await rig.go(601.0)
    assert not rig.bench.codes()


async def test_a_link_is_given_time_to_come_up_after_the_start(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SupervisionSettings(settle=30.0))
    link = rig.bench.links["rtu"]
    link.state, link.counters["connects"] = LinkState.CONNECTING, 0
    await rig.start()
    assert rig.state(RTU_LINK) is S.INITIALISING
    await rig.go(30.0)
    assert ("D01", RTU_LINK) in rig.bench.codes()
    await rig.function.store.close()


async def test_counters_of_a_link_that_should_not_rise_alarm_for_a_while(rig: Rig) -> None:
    rig.bench.links["ied"].counters["reports_missed"] = 3
    await rig.go()
    assert ("D08", IED_LINK) in rig.bench.codes()
    await rig.go(601.0)
    assert not rig.bench.codes()


async def test_values_of_a_lost_link_clear_nothing(rig: Rig) -> None:
    await rig.write({f"{IED}/ZBAT1/BatLo": 1})
    rig.bench.links["ied"].state = LinkState.DOWN
    rig.bench.table.link_lost("ied")
    await rig.go()
    assert ("D10", f"{IED}/ZBAT1/BatLo") in rig.bench.codes()
