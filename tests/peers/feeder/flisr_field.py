"""FLISR on the simulated 33-bus feeder over real protocols: a field, a gateway in this process, people, and a count of
what the devices were told.

world = await FlisrField.make(folder)                    # the demo's field with fast protection
world = await FlisrField.make(folder, two_feeders=True)  # lines 38 and 19 to 21 on a feeder of their own
await world.fresh()                                      # everything as at the start, no event, no tags
await world.fault("L08"); await world.reach("WAIT_CONFIRM"); await world.confirm()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.feeder.rig import AREA, BREAKER, DEMO, HEAD, IED, FieldRig
from peers.ports import free_port
from peers.waiting import patient, until

from address_space import clock
from address_space.events import Event
from address_space.ports import Caller, Command, Outcome, Verb
from twin_gateway.functions.flisr.function import FlisrFunction
from twin_gateway.gateway import Gateway
from twin_gateway.security.users import User
from twin_gateway.twin.flisr.sequence import Sequence

FLISR = f"{AREA}/_/_/_/_/twFLSR1"
F2 = f"{AREA}/PS01/MV1/F02"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
PEOPLE = {"olga": "Operator", "paul": "Operator", "sofia": "Supervisor", "otto": "Observer"}
OLGA, PAUL, SOFIA, OTTO = (Caller(name, frozenset({role}), "127.0.0.1:1") for name, role in PEOPLE.items())
USERS = {name: User(password=HASH, roles=(role,)) for name, role in PEOPLE.items()}  # type: ignore[arg-type]
FIELD = (
    "--still", "--dead-times", "0.3", "--reclaim", "1", "--trip-time", "0.15", "--travel", "0.2", "--trip-hold", "0.5",
    "--indicator-reset", "1",
)  # fmt: skip
QUICK: dict[str, Any] = {
    "lockout": 0.3, "collect": 0.5, "settle": 0.2, "dead": 0.3, "current_zero": 0.2, "retry_pause": 0.2,
    "patience": 4.0, "breaker": 4.0, "load_break": 4.0, "command": 1.0, "onto_fault": 1.0, "tick": 0.1,
    "load_sample": 0.5, "load_mean": 20.0, "load_gap": 0.5, "deadline": 4.0, "block": 0.001, "poll": 3.0,
    "operations_per_hour": 1000, "manual": 0.5, "reach": 1.3,
}  # fmt: skip
COMMANDS = {"feedback_timeout": 2.0, "device_timeout": 3.0, "min_interval": 0.05}
OVER = ("RESTORED", "PARTIAL", "BLOCKED", "ABORTED")

_NEIGHBOUR_GRID = """\
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 12.66 kV, LV1: 400 V}
equipment:
  PS01/MV1/F02/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L38/MV1/_/CN1]}
  L38/MV1/_/WB1: {class: ACLineSegment, nodes: [L38/MV1/_/CN1, L38/MV1/_/CN2], r: 0.2 ohm, x: 0.1 ohm, i_max: 300 A}
  RMU19/MV1/C38/QB1: {class: LoadBreakSwitch, nodes: [L38/MV1/_/CN2, RMU19/MV1/_/CN1]}
  RMU17/MV1/T02/LD1: {class: EnergyConsumer, node: RMU17/MV1/_/CN1, customers: 3}
indicators:
  RMU19/MV1/C38/_/SFPI1/FltInd: {at: RMU19/MV1/C38/QB1, terminal: 1}
measurements:
  PS01/MV1/F02/_/MMXU1/A/phsA: {at: PS01/MV1/F02/QA1, terminal: 1}
  RMU19/MV1/C38/_/MMXU1/A/phsA: {at: RMU19/MV1/C38/QB1, terminal: 1}
feeders:
  PS01/MV1/F02:
    head: PS01/MV1/F02/QA1
    trip: [PS01/MV1/F02/_/PTRC1/Tr]
    reclosing: PS01/MV1/F02/_/RREC1/AutoRecSt
    reclose_block: PS01/MV1/F02/QA1/GGIO1/SPCSO1
    busbar_trip: [PS01/MV1/_/IED9/PDIF1/Op]
    pickup: 300 A
    neutral: resistance
"""
_NEIGHBOUR_DEVICES = """\
mapping: 1
grid: dso1
devices:
  rtu-f02:
    protocol: iec104
    place: north/PS01
    host: 127.0.0.1
    port: {f02}
    common_address: 102
    t1: 4 s
    t2: 2 s
    t3: 4 s
    at:
      MV1/F02:
        points:
          QA1/CSWI1/Pos: {{ioa: 1, type: M_DP_TB_1, control: {{ioa: 4001, type: C_DC_NA_1, model: sbo-normal,
                           absent: [Loc, CILO]}}}}
          QA1/XCBR1/Pos: {{ioa: 1, type: M_DP_TB_1, share: true}}
          PTRC1/Tr: {{ioa: 2, type: M_SP_TB_1}}
          RREC1/AutoRecSt: {{ioa: 3, type: M_ST_TB_1}}
          QA1/GGIO1/SPCSO1: {{ioa: 4, type: M_SP_TB_1, control: {{ioa: 4004, type: C_SC_NA_1, absent: [Loc]}}}}
          MMXU1/A/phsA: {{ioa: 5, type: M_ME_TF_1, unit: A, deadband: 0.5 A}}
      MV1/_/IED9:
        points:
          PDIF1/Op: {{ioa: 20, type: M_SP_TB_1}}
  rtu-c38:
    protocol: iec104
    place: north/RMU19
    host: 127.0.0.1
    port: {c38}
    common_address: 138
    t1: 4 s
    t2: 2 s
    t3: 4 s
    at: {{MV1/C38: {{use: line-cubicle, with: {{ioa: 100}}}}}}
"""


def line(number: int) -> str:
    return f"{AREA}/L{number:02}/MV1/_/WB1"


def bus(number: int) -> str:
    """The zone of a ring-main unit."""
    return f"{AREA}/RMU{number:02}/MV1/_/CN1"


def cubicle(number: int, towards: int) -> str:
    """The load-break switch of a ring-main unit towards a line."""
    return f"{AREA}/RMU{number:02}/MV1/C{towards:02}/QB1"


def indicator(number: int, towards: int) -> str:
    return f"{AREA}/RMU{number:02}/MV1/C{towards:02}/_/SFPI1/FltInd"


def _neighbour(folder: Path) -> dict[str, Any]:
    """A second feeder: the switch of RMU02 towards L18 is the open point between the two."""
    text = (DEMO / "grid.yaml").read_text("utf-8")
    for old, new in (
        ("RMU02/MV1/C18/QB1: {class: LoadBreakSwitch, nodes: [RMU02/MV1/_/CN1, L18/MV1/_/CN1]}", "normal: open"),
        ("    neutral: resistance", "    busbar_trip: [PS01/MV1/_/IED9/PDIF1/Op]"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, f"{old}\n{new}" if "busbar" in new else f"{old[:-1]}, {new}}}")
    own, more = folder / "grid.yaml", folder / "neighbour.yaml"
    own.write_text(text, "utf-8")
    more.write_text(_NEIGHBOUR_GRID, "utf-8")
    devices = _NEIGHBOUR_DEVICES.format(f02=free_port(), c38=free_port())
    return {"grid": own, "more_grid": [more], "more_mappings": {"neighbour.yaml": devices}}


class FlisrField:
    """The field, the gateway on it, and what has been seen."""

    def __init__(self, rig: FieldRig, settings: dict[str, Any]) -> None:
        self.rig = rig
        self._settings = settings
        self.gateway: Gateway
        self.told: list[Event] = []
        self._mark = 0

    @classmethod
    async def make(cls, folder: Path, *, two_feeders: bool = False, **settings: Any) -> FlisrField:
        rig = FieldRig(folder, arguments=FIELD, **(_neighbour(folder) if two_feeders else {}))
        made = cls(rig, {**QUICK, **settings})
        try:
            await asyncio.to_thread(rig.start)
            await made.start()
        except BaseException:
            rig.field.stop()
            raise
        return made

    async def start(self) -> None:
        """A gateway on the field; after `stop` another one on the same data directory."""
        twin = self.rig.twin(flisr=self._settings)
        self.gateway = await self.rig.gateway(USERS, twin=twin, commands=COMMANDS)
        self._events = self.gateway.events.cursor("test")
        await until(lambda: self.flisr.cases.ready)

    async def stop(self) -> None:
        await self.gateway.stop()

    async def end(self) -> None:
        await self.stop()
        await asyncio.to_thread(self.rig.stop)

    # ---- looking --------------------------------------------------------------------------------------------------

    @property
    def flisr(self) -> FlisrFunction:
        return next(each for each in self.gateway.twin.functions if isinstance(each, FlisrFunction))

    def value(self, address: str) -> Any:
        row = self.gateway.table.find(address)
        assert row >= 0, address
        return self.gateway.table.sample(row).value

    def sequence(self, feeder: str = HEAD) -> Sequence:
        case = self.flisr.cases.case(feeder)
        assert case is not None, f"no event of {feeder}"
        return case.sequence

    def state(self, feeder: str = HEAD) -> str:
        case = self.flisr.cases.case(feeder)
        return "IDLE" if case is None else case.sequence.state.name

    async def reach(self, *states: str, feeder: str = HEAD, seconds: float = 40.0) -> Sequence:
        """The sequence, once it is in one of these states."""
        try:
            await until(lambda: self.state(feeder) in states, seconds)
        except TimeoutError as error:
            case = self.flisr.cases.case(feeder)
            said = (case.sequence.stamps, case.sequence.reason, case.sequence.history) if case else self.events()[-9:]
            raise AssertionError(f"not {states} but {self.state(feeder)}: {said}") from error
        return self.sequence(feeder) if states != ("IDLE",) else None  # type: ignore[return-value]

    async def until(self, what: Callable[[], object], seconds: float = 20.0) -> None:
        await until(what, seconds)

    def events(self, code: str = "") -> list[str]:
        """Texts of the events since the last `fresh`."""
        self.told += self._events.take()
        return [f"{each.code} {each.address} {each.text}" for each in self.told if code in ("", each.code)]

    def commanded(self) -> list[str]:
        """What devices were told to do since the last `fresh`, as `open RMU08/C08`: a 104 device says every command
        that it has confirmed, the bay unit what it has moved."""
        found = []
        for said in self.rig.field.said("value")[self._mark :]:
            address = said.get("commanded") or said.get("moved", "")
            if "moved" in said and "/XCBR1/" not in address:
                continue
            place = address.split("/")
            if place[-1] == "Pos":
                verb = {1: "open", 2: "close"}.get(int(said["value"]), str(said["value"]))
                found.append(f"{verb} {place[2]}/{place[4]}")
        return found

    def last_trip(self, feeder: str = HEAD) -> float | None:
        """When FLISR has last taken note of a trip."""
        return self.flisr._watches[feeder].last_trip

    def stays_dead(self, number: int) -> bool:
        """Whether a ring-main unit has no voltage, as its devices tell."""
        return not self.value(f"{AREA}/RMU{number:02}/MV1/T01/_/MMXU1/PhV/phsA")

    # ---- doing ----------------------------------------------------------------------------------------------------

    async def inject(self, do: str, **order: Any) -> dict[str, Any]:
        return await asyncio.to_thread(lambda: self.rig.inject(do, **order))

    async def fault(self, place: str) -> None:
        await self.inject("fault", line=place)

    async def call(self, name: str, *arguments: Any, caller: Caller = OLGA) -> dict[str, Any]:
        """Outputs of a FLISR method by name, and its status."""
        spec = next(spec for spec in self.gateway.twin.specs() if (spec.owner, spec.name) == (FLISR, name))
        result = await self.gateway.twin.call(FLISR, name, arguments, caller)
        names = [argument.name for argument in spec.outputs]
        return {"status": result.status, **dict(zip(names, result.outputs, strict=True))}

    async def confirm(self, feeder: str = HEAD) -> dict[str, Any]:
        """Confirm the offered plan; loads that change while one looks at it make new ones."""
        for _ in range(5):
            await self.reach("WAIT_CONFIRM", feeder=feeder)
            plan = await self.call("Plan", feeder)
            answer = await self.call("Confirm", plan["planId"], plan["hash"])
            if not answer["status"]:
                return answer
            await asyncio.sleep(0.3)
        raise AssertionError(answer)

    async def half_way(self, fault: str) -> None:
        """Carried out step by step until the head is closed again; the next step waits for its word."""
        await self.set_mode("confirm-step")
        await self.fault(fault)
        await self.confirm()
        await self.release_all(until=lambda: "close PS01/F01" in self.commanded() and self.state() == "WAIT_CONFIRM")
        assert self.state() == "WAIT_CONFIRM", self.sequence().reason
        await asyncio.sleep(1.5)  # longer than a trip counts as closed onto the fault

    async def release_all(self, until: Callable[[], bool] = lambda: False) -> None:
        """Give the word for every step that waits for one, until the plan is over or something else is so."""
        async with patient(60):
            while not until() and self.state() not in OVER:
                step = self.sequence().under_way
                if self.state() == "WAIT_CONFIRM" and step is not None:
                    await self.call("Execute", self.sequence().offer.id, step.step.n)  # type: ignore[union-attr]
                await asyncio.sleep(0.1)

    async def set_mode(self, mode: str, feeder: str = HEAD) -> None:
        if mode == "auto":
            await self.call("SetMode", feeder, mode, caller=SOFIA)
        answer = await self.call("SetMode", feeder, mode)
        assert answer["done"] is True, answer

    async def operate(self, switch: str, *, close: bool) -> Outcome:
        """A person commands a switch, selecting it first."""
        address = f"{switch}/CSWI1/Pos"
        chosen = Command(Verb.SELECT, address, close, clock.now())
        outcome = await self.gateway.desk.select(chosen, OLGA)
        if not outcome.good:
            return outcome
        return await self.gateway.desk.operate(
            Command(Verb.OPERATE, address, close, clock.now(), reason="by hand"), OLGA
        )

    async def fresh(self) -> None:
        """No event, no tags, no mode but advise, and the field as at its start."""
        feeders = list(self.flisr.cases.feeders)
        await self.inject("reset")
        for feeder in feeders:
            async with patient(20):
                while self.state(feeder) != "IDLE":
                    await self.call("Stop", feeder)
                    event = self.sequence(feeder).trigger.event
                    await self.call("EndEvent", feeder, event, "test over", caller=SOFIA)
                    await asyncio.sleep(0.05)
            await self.set_mode("advise", feeder)
        for tag in list(self.gateway.tags or ()):
            for who in (SOFIA, PAUL):
                await self.call("ClearTag", tag.address, str(tag.kind), "test over", caller=who)
        await until(lambda: not self.gateway.health()[1]["links_down"], 25)
        for feeder in feeders:
            recloser = IED if feeder == HEAD else f"{feeder}/_"
            await until(lambda feeder=feeder: self.value(f"{feeder}/QA1/XCBR1/Pos") == 2)
            await until(lambda recloser=recloser: self.value(f"{recloser}/RREC1/AutoRecSt") == 1)
            block = f"{feeder}/QA1/GGIO1/SPCSO1"
            await until(lambda block=block: not self.value(block))
        eye = self.flisr.eye
        normal = eye.network.grid.normal_positions()
        await until(lambda: eye.positions() == normal)
        await until(lambda: not any(self.value(each) for each in eye.network.grid.indicators))
        await until(lambda: eye.supplied() == set(range(len(eye.network.zones))))
        await until(lambda: not self.stays_dead(18) and not self.stays_dead(33))
        await asyncio.sleep(1.2)  # some samples of the loads, and trips that are over
        assert all(self.state(feeder) == "IDLE" for feeder in feeders)
        self.events()
        self.told.clear()
        self._mark = len(self.rig.field.said("value"))


__all__ = [
    "AREA", "BREAKER", "F2", "FLISR", "HEAD", "IED", "OLGA", "OTTO", "OVER", "PAUL", "SOFIA", "FlisrField", "bus",
    "cubicle", "indicator", "line",
]  # fmt: skip
