"""The simulated feeder as a gateway sees it over 61850 and 104: faults, switching by command, injected troubles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from peers.feeder.rig import AREA, BREAKER, HEAD, IED, FieldRig
from peers.waiting import until

from address_space import clock
from address_space.ports import Caller, Command, Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.injection import InjectionSettings, make_injection
from twin_gateway.gateway import Gateway
from twin_gateway.security.users import User

RECLOSING = f"{IED}/RREC1/AutoRecSt"
OPEN, CLOSED, READY, LOCKED_OUT, NOT_READY = 1, 2, 1, 10, 12
OLGA = Caller("olga", frozenset({"Operator"}))
USERS = {"olga": User(password="$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", roles=("Operator",))}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(rig: FieldRig) -> AsyncIterator[Gateway]:
    commands = {"feedback_timeout": 3, "min_interval": 0.05}
    made = await rig.gateway(USERS, commands=commands, data_directory=str(rig.folder / "fault"))
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def view(rig: FieldRig, gateway: Gateway) -> View:
    """The gateway on a field that is as at its start."""
    found = View(rig, gateway)
    await found.inject("reset")
    await until(lambda: not gateway.health()[1]["links_down"], 20)
    await until(lambda: found[BREAKER] == CLOSED and found[RECLOSING] == READY)
    await until(lambda: found[f"{HEAD}/_/MMXU1/TotW"] > 3.8e6)
    return found


class View:
    """Values of the gateway by address, and orders to the field."""

    def __init__(self, rig: FieldRig, gateway: Gateway) -> None:
        self._rig, self.gateway = rig, gateway

    def _row(self, address: str) -> int:
        full = address if address.startswith("dso1/") else f"{AREA}/{address}"
        row = self.gateway.table.find(full)
        assert row >= 0, full
        return row

    def __getitem__(self, address: str) -> float:
        value = self.gateway.table.sample(self._row(address)).value
        return float("nan") if value is None else float(value)

    def status(self, address: str) -> int:
        return int(self.gateway.table.status[self._row(address)])

    def time(self, address: str) -> float:
        """Unix time of the device."""
        return int(self.gateway.table.source_time[self._row(address)]) / 1e7 - 11_644_473_600

    def follow(self, address: str) -> Callable[[], list[float]]:
        """Gives every value that has come in since the last call, however short it stood."""
        row, cursor = self._row(address), self.gateway.table.journal.cursor("test")
        return lambda: [float(raw) for chunk in cursor.take() for raw in chunk.raw[chunk.rows == row]]

    async def inject(self, do: str, **order: Any) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: self._rig.inject(do, **order))

    async def operate(self, address: str, value: int | bool) -> Outcome:
        """Select where that is needed, and operate."""
        full = f"{AREA}/{address}"
        command = Command(Verb.SELECT, full, value, clock.now())
        await self.gateway.desk.select(command, OLGA)
        return await self.gateway.desk.operate(Command(Verb.OPERATE, full, value, clock.now()), OLGA)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_fault_trips_locks_out_and_sets_the_indicators_on_its_way(view: View) -> None:
    began = time.time()
    await view.inject("fault", line="L08")
    await until(lambda: view[RECLOSING] == LOCKED_OUT, 10)
    assert view[BREAKER] == OPEN
    passed = "RMU08/MV1/C08/_/SFPI1/FltInd"
    await until(lambda: view[passed] == 1)
    assert began - 0.1 < view.time(passed) < time.time()
    assert view["RMU09/MV1/C08/_/SFPI1/FltInd"] == view["RMU19/MV1/C18/_/SFPI1/FltInd"] == 0
    await until(lambda: view["RMU30/MV1/T01/_/MMXU1/TotW"] == 0)
    await until(lambda: view["RMU30/MV1/C29/_/SVPI1/Prs"] == 0)
    assert view["PS01/MV1/E01/_/MMXU1/PhV/phsA"] > 7000
    await until(lambda: 1000 < view[f"{HEAD}/QA1/SCBR1/SwA"] < 3000)


async def test_a_temporary_fault_is_cleared_by_the_first_reclosing(view: View) -> None:
    seen: set[float] = set()
    told = view.follow(RECLOSING)

    def ready_again() -> bool:
        seen.update(told())
        return seen > {READY} and view[RECLOSING] == READY

    await view.inject("fault", line="L20", kind="phase-phase", temporary=True)
    await until(ready_again, 10)
    assert view[BREAKER] == CLOSED
    assert LOCKED_OUT not in seen
    assert 3.0 in seen, "successful"


async def test_a_blocked_recloser_leaves_the_breaker_open(view: View) -> None:
    outcome = await view.operate("PS01/MV1/F01/QA1/GGIO1/SPCSO1", value=True)
    assert outcome.good, outcome
    await until(lambda: view[f"{IED}/RREC1/Blk"] == 1)
    await view.inject("fault", line="L08", temporary=True)
    await until(lambda: view[BREAKER] == OPEN)
    await asyncio.sleep(1.5)
    assert (view[BREAKER], view[RECLOSING]) == (OPEN, NOT_READY)


async def test_an_opened_switch_takes_flow_and_voltage_from_what_is_behind_it(view: View) -> None:
    outcome = await view.operate("RMU06/MV1/C05/QB1/CSWI1/Pos", OPEN)
    assert outcome.good, outcome
    await until(lambda: view["RMU18/MV1/T01/_/MMXU1/PhV/phsA"] == 0)
    await until(lambda: 1.6e6 < view["PS01/MV1/F01/_/MMXU1/TotW"] < 1.9e6)
    await until(lambda: view["RMU06/MV1/C06/_/SVPI1/Prs"] == 0)
    outcome = await view.operate("RMU29/MV1/C37/QB1/CSWI1/Pos", CLOSED)
    assert outcome.good, outcome
    await until(lambda: view["RMU18/MV1/T01/_/MMXU1/PhV/phsA"] > 6000)


async def test_a_stuck_switch_confirms_and_does_not_move_and_a_refusing_one_refuses(view: View) -> None:
    await view.inject("stick", switch="RMU06/MV1/C05/QB1")
    outcome = await view.operate("RMU06/MV1/C05/QB1/CSWI1/Pos", OPEN)
    assert not outcome.good
    assert outcome.sent
    assert view["RMU06/MV1/C05/QB1/XSWI1/Pos"] == CLOSED
    await view.inject("stick", switch="RMU07/MV1/C06/QB1", how="refuse")
    outcome = await view.operate("RMU07/MV1/C06/QB1/CSWI1/Pos", OPEN)
    assert not outcome.good
    assert view["RMU07/MV1/C06/QB1/XSWI1/Pos"] == CLOSED


async def test_a_stuck_breaker_fails_and_the_infeed_trips(view: View) -> None:
    await view.inject("stick", switch="F01/QA1")
    await view.inject("fault", line="L03")
    await until(lambda: view[f"{IED}/RBRF1/OpEx"] == 1)
    await until(lambda: view["PS01/MV1/E01/QA1/XCBR1/Pos"] == OPEN)
    assert view[BREAKER] == CLOSED


async def test_a_lost_device_loses_its_link_alone_and_comes_back(view: View) -> None:
    for device, point in (("rtu-rmu05", "RMU05/MV1/C05/_/MMXU1/TotW"), ("ied-e01", "PS01/MV1/E01/_/MMXU1/TotW")):
        await view.inject("lose", device=device)
        await until(lambda device=device: set(view.gateway.health()[1]["links_down"]) == {device}, 15)
        assert view.status(point) == StatusCode.UncertainNoCommunicationLastUsableValue
        await view.inject("restore", device=device)
        await until(lambda: not view.gateway.health()[1]["links_down"], 20)
        await until(lambda point=point: view.status(point) == StatusCode.Good)


async def test_a_wrong_clock_shows_in_the_times_of_its_device_only(view: View) -> None:
    await view.inject("clock", device="rtu-rmu06", offset=-30)
    for switch, offset in (("RMU06/MV1/C06/QB1", -30), ("RMU07/MV1/C07/QB1", 0)):
        began = time.time()
        outcome = await view.operate(f"{switch}/CSWI1/Pos", OPEN)
        assert outcome.good, outcome
        assert view[f"{switch}/XSWI1/Pos"] == OPEN
        assert began + offset <= view.time(f"{switch}/XSWI1/Pos") <= time.time() + offset


async def test_an_indicator_lies_in_both_directions(view: View) -> None:
    silent, loud = "RMU04/MV1/C03/_/SFPI1/FltInd", "RMU25/MV1/C24/_/SFPI1/FltInd"
    await view.inject("lie", indicator="RMU04/MV1/C03", shows="off")
    await view.inject("lie", indicator="RMU25/MV1/C24", shows="on")
    await until(lambda: view[loud] == 1)
    await view.inject("fault", line="L08")
    await until(lambda: view["RMU08/MV1/C08/_/SFPI1/FltInd"] == 1)
    assert view[silent] == 0
    await view.inject("lie", indicator="RMU04/MV1/C03", shows="normal")
    await until(lambda: view[silent] == 1)


async def test_a_forced_point_tells_what_it_is_told_with_its_quality_until_it_is_released(view: View) -> None:
    alarm, load = f"{HEAD}/QA1/SIMG1/InsAlm", "RMU06/MV1/T01/_/MMXU1/TotW"
    await view.inject("value", address=alarm, value=True)
    await view.inject("value", address=load, value=12_000, quality="invalid")
    await until(lambda: view[alarm] == 1)
    await until(lambda: view.status(load) == StatusCode.Bad)
    await view.inject("value", address=alarm)
    await view.inject("value", address=load)
    await until(lambda: view[alarm] == 0)
    await until(lambda: view.status(load) == StatusCode.Good)
    assert view[load] == pytest.approx(60e3, rel=1e-3)


SUPERVISED = {
    f"{IED}/LPHD1/PhyHealth": 3,
    f"{IED}/LPHD1/PwrSupAlm": True,
    f"{IED}/LPHD1/NumPwrUp": 4,
    f"{IED}/LPHD1/Sim": True,
    f"{IED}/LLN0/Beh": 3,
    f"{IED}/LLN0/Health": 2,
    f"{IED}/LTMS1/TmSynLkd": 3,
    f"{IED}/LCCH1/RedChLiv": False,
    f"{IED}/LGOS1/St": False,
    f"{IED}/LGOS1/RxConfRevNum": 2,
    f"{IED}/GSAL1/AuthFail": 5,
    f"{IED}/ZBAT1/Vol": 88.5,
    f"{HEAD}/QA1/SCBR1/ColAlm": True,
    f"{HEAD}/QA1/SCBR1/AccmAbr": 85.0,
    f"{HEAD}/QA1/SOPM1/EnBlk": True,
    f"{HEAD}/QA1/SIMG1/InsBlk": True,
    f"{HEAD}/QA1/SPDC1/PaDschAlm": True,
    f"{HEAD}/_/STMP2/Tmp": 92.0,
    f"{HEAD}/_/SARC1/FADet": True,
    f"{AREA}/RMU06/LV1/_/RTU1/LPHD1/PhyHealth": 3,
    f"{AREA}/RMU06/LV1/_/RTU1/ZBAT1/Vol": 21.0,
    f"{AREA}/RMU06/MV1/C05/QB1/XSWI1/Loc": True,
}


async def test_every_supervised_point_can_be_forced_and_comes_back(view: View) -> None:
    before = {address: view[address] for address in SUPERVISED}
    assert not [address for address, value in SUPERVISED.items() if before[address] == value]
    for address, value in SUPERVISED.items():
        await view.inject("value", address=address, value=value)
    missing = dict(SUPERVISED)

    def all_told() -> bool:
        for address in [name for name, value in missing.items() if view[name] == pytest.approx(float(value))]:
            del missing[address]
        return not missing

    try:
        await until(all_told, 10)
    except TimeoutError:
        pytest.fail(f"not told: {missing}")
    for address in SUPERVISED:
        await view.inject("value", address=address)
    close = {address: pytest.approx(value, rel=0.05, abs=0.5) for address, value in before.items()}
    await until(lambda: all(view[address] == value for address, value in close.items()), 10)


async def test_a_text_of_an_ied_can_be_forced_and_comes_back(view: View) -> None:
    table = view.gateway.table
    row = table.find(f"{IED}/LPHD1/PhyNam/swRev")
    assert row >= 0
    await until(lambda: table.sample(row).value == "1.0.3")
    await view.inject("value", address=f"{IED}/LPHD1/PhyNam/swRev", value="2.0.0")
    await until(lambda: table.sample(row).value == "2.0.0", 10)
    await view.inject("value", address=f"{IED}/LPHD1/PhyNam/swRev")
    await until(lambda: table.sample(row).value == "1.0.3", 10)


async def test_a_wrong_injection_is_refused_in_a_sentence(view: View) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("fault", {"line": "L99"}, "no equipment L99"),
        ("lose", {"device": "rtu-x"}, "no device rtu-x"),
        ("value", {"address": "SIMG1/InsAlm", "value": True}, "SIMG1/InsAlm"),
        ("bypass", {"meter": "SP140004", "share": 3}, "less than or equal to 1"),
        ("dance", {}, "dance"),
    ]
    for do, order, words in wrong:
        with pytest.raises(AssertionError, match=words):
            await view.inject(do, **order)


async def test_injections_are_methods_of_the_area_for_operators(view: View, rig: FieldRig) -> None:
    context = cast(TwinContext, SimpleNamespace(place=AREA, audit=view.gateway.audit))
    assert make_injection(context, InjectionSettings()).specs() == ()
    injection = make_injection(context, InjectionSettings(control=rig.field.control))
    functions = {spec.name: spec for spec in injection.specs() if spec.owner == AREA}
    assert {"InjectFault", "ClearFault", "StickSwitch", "LoseLink", "RestoreLink", "SetClockOffset"} <= functions.keys()
    assert {"LieIndicator", "BypassMeter", "ForceValue", "ResetSimulation"} <= functions.keys()
    assert {functions[name].right for name in ("InjectFault", "ResetSimulation")} == {"operate"}
    result = await injection.call(AREA, "InjectFault", ["L30", "", False], OLGA)
    assert result.status == StatusCode.Good
    assert result.outputs == (f"{AREA}/L30/MV1/_/WB1",)
    await until(lambda: view[BREAKER] == OPEN)
    result = await injection.call(AREA, "ClearFault", ["L29"], OLGA)
    assert result.status & 0x8000_0000
    assert "L29" in result.text
