"""Every alarm of devices (D) and switchgear (C), raised and cleared on the simulated feeder over real protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from peers.feeder.rig import AREA, HEAD, IED, FieldRig
from peers.waiting import patient, until

from address_space.events import Event
from address_space.ports import Caller
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinFunction
from twin_gateway.functions.process_alarms import ProcessAlarms, ProcessSettings, make_process_alarms
from twin_gateway.functions.supervision import Supervision
from twin_gateway.gateway import Gateway
from twin_gateway.security.users import User

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
OLGA, EVE = Caller("olga", frozenset({"Operator"})), Caller("eve", frozenset({"Engineer"}))
_PASSWORD = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
USERS = {"olga": User(password=_PASSWORD, roles=("Operator",)), "eve": User(password=_PASSWORD, roles=("Engineer",))}
QA1, HEALTH = f"{HEAD}/QA1", f"{HEAD}/QA1/twHLTH1"
LINK = "dso1/_sys/gw1/_/_/ied-f01"
ROOM = f"{AREA}/PS01/MV1/_/_/MENV1/SmokAlm"
PLATES = """\
switchgear: 1
grid: dso1
place: north
equipment:
  PS01/MV1/F01/QA1:
    {medium: vacuum, rated_current: 630 A, breaking_current: 20 kA, operations: 10000, breaking_operations: 50,
     opening_time: 42 ms, closing_time: 58 ms, motor_time: 8.1 s, coil_current: 3.4 A,
     gas: sf6, fill: 140 kPa, alarm: 130 kPa, block: 120 kPa}
"""
TOLD: tuple[tuple[str, str, Any], ...] = (
    ("C01", f"{QA1}/SCBR1/AbrWrn", True),
    ("C03", f"{QA1}/SOPM1/EnBlk", True),
    ("C04", f"{QA1}/SIMG1/InsAlm", True),
    ("C05", f"{QA1}/SPDC1/PaDschAlm", True),
    ("C07", f"{HEAD}/_/SARC1/FADet", True),
    ("C08", f"{QA1}/SCBR1/ColAlm", True),
    ("C10", ROOM, True),
    ("D01", f"{IED}/LCCH1/RedChLiv", False),
    ("D02", f"{IED}/LTMS1/TmSynLkd", 4),
    ("D04", f"{IED}/LPHD1/PhyHealth", 3),
    ("D05", f"{IED}/LGOS1/St", False),
    ("D06", f"{IED}/LLN0/Beh", 2),
    ("D08", f"{IED}/LPHD1/OutOv", True),
    ("D09", f"{IED}/GSAL1/AuthFail", 7),
    ("D10", f"{IED}/ZBAT1/BatLo", True),
    ("P01", f"{IED}/PTRC1/Tr", True),
    ("P04", f"{IED}/RBRF1/OpEx", True),
    ("P06", f"{IED}/PSDE1/Str", True),
    ("S04", f"{QA1}/XCBR1/Loc", True),
)
"""What devices tell by themselves: the alarm stands at the point."""
WORKED_OUT: tuple[tuple[str, str, str, Any], ...] = (
    ("C02", f"{HEALTH}/Mech", f"{QA1}/SCBR1/OpTmOpn", 0.060),
    ("C04", f"{HEALTH}/Gas", f"{QA1}/SIMG1/Pres", 115_000.0),
    ("C06", f"{HEALTH}/Therm", f"{HEAD}/_/STMP1/Tmp", 110.0),
    ("D03", IED, f"{IED}/LPHD1/PhyNam/serNum", "F01Q1-0099"),
)
"""What follows from values: the alarm stands at the result or at the device."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldRig]:
    made = FieldRig(tmp_path_factory.mktemp("alarms"), files=("ps01", "sensors"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(rig: FieldRig) -> AsyncIterator[Gateway]:
    supervision = {"settle": 5, "delays": {"D02": "1 s", "D05": "1 s", "D06": "1 s"}, "counter_hold": "4 s"}
    plates = rig.folder / "plates.yaml"
    plates.write_text(PLATES)
    switchgear = {"nameplates": str(plates), "settle": 1, "joint_confirm": 3}
    twin = rig.twin(supervision=supervision, switchgear=switchgear, flisr={"mode": "off"})
    made = await rig.gateway(USERS, twin=twin)
    tasks = [asyncio.create_task(function.run()) for function in _process_alarms(made)]
    await until(lambda: made.table.find(f"{IED}/GSAL1/AuthFail") >= 0)
    await until(lambda: made.table.status[made.table.find(f"{IED}/GSAL1/AuthFail")] == 0)
    await asyncio.sleep(2.0)
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await made.stop()


def _process_alarms(gateway: Gateway) -> list[TwinFunction]:
    """The alarms of protection and switching, where the gateway has not made them itself."""
    if any(isinstance(function, ProcessAlarms) for function in gateway.twin.functions):
        return []
    supervision = _supervision(gateway)
    sent = gateway.desk.last_sent
    return [make_process_alarms(supervision.context, ProcessSettings(), sent, mark=supervision.mark_of_place)]


def _supervision(gateway: Gateway) -> Supervision:
    return next(function for function in gateway.twin.functions if isinstance(function, Supervision))


async def inject(rig: FieldRig, do: str, **order: Any) -> None:
    await asyncio.to_thread(lambda: rig.inject(do, **order))


async def all_of(conditions: dict[str, Callable[[], bool]], seconds: float = 20.0) -> None:
    """Wait until every condition has held once; fails with the names of those that have not."""
    missing = dict(conditions)
    try:
        async with patient(seconds):
            while missing:
                missing = {name: condition for name, condition in missing.items() if not condition()}
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {seconds:g} s: {', '.join(missing)}")


async def test_a_healthy_feeder_has_no_such_alarm(gateway: Gateway) -> None:
    standing = [(alarm.code, alarm.address, alarm.text) for alarm in gateway.alarms.active()]
    assert not [line for line in standing if line[0][0] in "CDPS"], standing


async def test_every_alarm_is_raised_and_cleared(rig: FieldRig, gateway: Gateway) -> None:
    alarms, told = gateway.alarms, gateway.events.cursor("test")
    expected = {(code, address) for code, address, _ in TOLD} | {(code, address) for code, address, _, _ in WORKED_OUT}
    expected.add(("C09", f"{HEALTH}/ConditionCls"))
    for address, value in [(point, value) for _, point, value in TOLD] + [(p, v) for _, _, p, v in WORKED_OUT]:
        await inject(rig, "value", address=address, value=value)
    await inject(rig, "value", address=f"{IED}/LPHD1/NumPwrUp", value=9)
    await all_of({f"{code} {address}": lambda key=(code, address): alarms.holds(*key) for code, address in expected})
    for address in [point for _, point, _ in TOLD] + [point for _, _, point, _ in WORKED_OUT]:
        truth = {"value": "F01Q1-0001"} if address.endswith("serNum") else {}  # nothing in the field tells a name
        await inject(rig, "value", address=address, **truth)
    await all_of(
        {f"{code} {address} over": lambda key=(code, address): not alarms.holds(*key) for code, address in expected}
    )
    events: list[Event] = told.take()
    states = {(event.code, event.address, event.state) for event in events}
    missing = [key for key in expected for state in ("active", "inactive") if (*key, state) not in states]
    assert not missing
    assert ("D07", f"{IED}/LPHD1/NumPwrUp", "event") in states
    told.close()


async def test_a_lost_device_is_one_alarm_and_its_return_ends_it(rig: FieldRig, gateway: Gateway) -> None:
    told = gateway.events.cursor("test")
    await inject(rig, "lose", device="ied-f01")
    await until(lambda: gateway.alarms.holds("D01", LINK))
    state = gateway.table.find(f"{IED}/twSUPV1/St")
    await until(lambda: gateway.table.value(state) == 7)
    await inject(rig, "restore", device="ied-f01")
    await until(lambda: not gateway.alarms.holds("D01", LINK), 20)
    await until(lambda: gateway.table.value(state) == 2, 20)
    lost = [(event.address, event.state) for event in told.take() if event.code == "D01"]
    assert lost == [(LINK, "active"), (LINK, "inactive")]
    told.close()


async def test_a_wrong_clock_is_told(rig: FieldRig, gateway: Gateway) -> None:
    await inject(rig, "clock", device="ied-f01", offset=-5.0)
    for k in range(6):  # what changes by itself is too slow for a test
        await inject(rig, "value", address=f"{HEAD}/_/STMP2/Tmp", value=30.0 + k)
        await asyncio.sleep(0.3)
    await until(lambda: gateway.alarms.holds("D02", IED))
    await inject(rig, "clock", device="ied-f01", offset=0.0)
    for k in range(6):
        await inject(rig, "value", address=f"{HEAD}/_/STMP2/Tmp", value=40.0 - k)
        await asyncio.sleep(0.3)
    await until(lambda: not gateway.alarms.holds("D02", IED))
    await inject(rig, "reset")


async def test_links_are_interrogated_and_their_clocks_set_by_those_who_may(gateway: Gateway) -> None:
    supervision = _supervision(gateway)
    place = supervision.specs()[0].owner
    for link in ("ied-f01", "rtu-ps01"):
        result = await supervision.call(place, "RequestGI", [link], OLGA)
        assert result.status == StatusCode.Good, result
    assert (await supervision.call(place, "SyncTime", ["rtu-ps01"], EVE)).status == StatusCode.Good
    assert (await supervision.call(place, "SyncTime", ["ied-f01"], EVE)).status == StatusCode.BadNotSupported
    assert (await supervision.call(place, "SyncTime", ["rtu-ps01"], OLGA)).status == StatusCode.BadUserAccessDenied
    report = await supervision.call(place, "DeviceReport", [HEAD], OLGA)
    assert report.outputs[0] == [IED]
