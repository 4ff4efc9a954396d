"""Two feeders with a tie between them, a field that answers, and FLISR on a real table, desk, tags and journals.

SRC - busbar - F01/QA1 - L11 - RMU11 - L12 - RMU12 - L13 - RMU13 - L30 (open at RMU13) - RMU23
             - F02/QA1 - L21 - RMU21 - L22 - RMU22 - L23 - RMU23
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.waiting import patient

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import Event, EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.ports import Caller, MethodResult, Outcome, Right
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.audit.journal import AuditJournal
from twin_gateway.commands.desk import CommandDesk, DeskSettings
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.tags import TagStore
from twin_gateway.commands.target import build_target
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, LinkService
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.flisr.function import FlisrFunction
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    FaultIndicator,
    Feeder,
    Grid,
    LineData,
    LoadData,
    Measurement,
    Quantity,
    SourceData,
    SwitchRating,
)

AREA = "dso1/north"
F1, F2 = f"{AREA}/PS01/MV1/F01", f"{AREA}/PS01/MV1/F02"
FLISR = f"{AREA}/_/_/_/_/twFLSR1"
BUS = f"{AREA}/PS01/MV1/_/CN1"
OLGA = Caller("olga", frozenset({"Operator"}), "127.0.0.1:1")
PAUL = Caller("paul", frozenset({"Operator"}), "127.0.0.1:2")
SOFIA = Caller("sofia", frozenset({"Supervisor"}), "127.0.0.1:3")
EMIL = Caller("emil", frozenset({"Engineer"}), "127.0.0.1:4")
OTTO = Caller("otto", frozenset({"Observer"}), "127.0.0.1:5")
_RIGHTS = {
    "Observer": {Right.READ},
    "Operator": {Right.READ, Right.OPERATE},
    "Supervisor": {Right.READ, Right.OPERATE, Right.SUPERVISE},
    "Engineer": {Right.READ, Right.CONFIGURE},
}
QUICK: dict[str, Any] = {
    "lockout": 0.2,
    "collect": 0.2,
    "settle": 0.1,
    "dead": 0.2,
    "current_zero": 0.1,
    "retry_pause": 0.1,
    "patience": 1.0,
    "breaker": 1.0,
    "load_break": 1.0,
    "command": 0.3,
    "onto_fault": 1.0,
    "tick": 0.05,
    "load_sample": 0.1,
}


class Roles:
    """Rights by role, everywhere."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return any(right in _RIGHTS.get(role, set()) for role in caller.roles)


def rmu(number: int) -> str:
    return f"{AREA}/RMU{number}/MV1"


def cubicle(number: int, line: int) -> str:
    """The load-break switch of a ring-main unit towards a line."""
    return f"{rmu(number)}/C{line}/QB1"


def line(number: int) -> str:
    return f"{AREA}/L{number}/MV1/_/WB1"


HEAD1, HEAD2 = f"{F1}/QA1", f"{F2}/QA1"
TIE = cubicle(13, 30)
SPANS = {11: (0, 11), 12: (11, 12), 13: (12, 13), 21: (0, 21), 22: (21, 22), 23: (22, 23), 30: (13, 23)}


def make_grid(**feeder: Any) -> Grid:
    grid = Grid()
    grid.add([ConnectivityNode(BUS, 12_660.0)])
    grid.add([Equipment(f"{AREA}/PS01/MV1/_/SRC1", CimClass.SOURCE, (BUS,), SourceData())])
    for number in (11, 12, 13, 21, 22, 23):
        grid.add([ConnectivityNode(f"{rmu(number)}/_/CN1", 12_660.0)])
        load = LoadData(100e3, 60e3, customers=40)
        grid.add([Equipment(f"{rmu(number)}/T01/LD1", CimClass.LOAD, (f"{rmu(number)}/_/CN1",), load)])
    for number, (start, end) in SPANS.items():
        ends = [f"{AREA}/L{number}/MV1/_/CN{side}" for side in (1, 2)]
        grid.add(ConnectivityNode(node, 12_660.0) for node in ends)
        grid.add(
            [Equipment(line(number), CimClass.LINE, (ends[0], ends[1]), LineData(0.3, 0.2, length=1.0, i_max=300.0))]
        )
        for node, at in ((ends[0], start), (ends[1], end)):
            if at:
                _add_switch(
                    grid, cubicle(at, number), CimClass.LOAD_BREAK_SWITCH, (node, f"{rmu(at)}/_/CN1"), number, at
                )
            else:
                head = HEAD1 if number == 11 else HEAD2
                _add_switch(grid, head, CimClass.BREAKER, (BUS, node), number, at)
    for bay, head in ((F1, HEAD1), (F2, HEAD2)):
        values: dict[str, Any] = {
            "trip": (f"{bay}/IED1/PTRC1/Tr",),
            "start": (f"{bay}/IED1/PTOC1/Str", f"{bay}/IED1/PSDE1/Str"),
            "reclosing": f"{bay}/IED1/RREC1/AutoRecSt",
            "reclose_block": f"{bay}/QA1/GAPC1/SPCSO1",
            "breaker_failure": (f"{bay}/IED1/RBRF1/OpEx",),
            "busbar_trip": (f"{AREA}/PS01/MV1/_/IED9/PDIF1/Op",),
            "load_shedding": (f"{bay}/IED1/PTUF1/Op",),
            "pickup": 450.0,
            **feeder,
        }
        grid.feeders[bay] = Feeder(bay, head, **values)
    return grid


def _add_switch(grid: Grid, address: str, kind: CimClass, nodes: tuple[str, str], number: int, at: int) -> None:
    ln = "XCBR1" if kind is CimClass.BREAKER else "XSWI1"
    rating = SwitchRating(
        normal_open=address == TIE, position=f"{address}/{ln}/Pos", command=f"{address}/CSWI1/Pos", i_max=630.0
    )
    grid.add([Equipment(address, kind, nodes, rating)])
    bay = "/".join(address.split("/")[:5])
    current = f"{bay}/_/MMXU1/A/phsA"
    grid.measurements[current] = Measurement(current, Quantity.I, address)
    if kind is not CimClass.BREAKER:
        indicator = f"{bay}/_/SFPI1/FltInd"
        grid.indicators[indicator] = FaultIndicator(indicator, address)


@dataclass
class Field:
    """The devices: they move when told, unless they are stuck, and tell currents, voltages and passages."""

    table: PointTable
    grid: Grid
    name: str = "rtu"
    travel: float = 0.05
    stuck: set[str] = field(default_factory=set)
    refuse: dict[str, Outcome] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    live_islands: set[str] = field(default_factory=set)
    recloses: bool = False
    times: dict[str, int] = field(default_factory=dict)
    got: list[DeviceCommand] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closed = {item.address: not rating.normal_open for item, rating in self.grid.switches()}
        self.blocked: dict[str, bool] = {}

    def put(self, address: str, value: float, quality: int = 0, time: int = 0) -> None:
        self.table.ingest(Batch.of([self.table.find(address)], [value], quality, time or clock.now()))

    def tell(self) -> None:
        """Everything as it is."""
        live = self.live()
        for item, rating in self.grid.switches():
            position = 2 if self.closed[item.address] else 1
            self.put(rating.position, position)
            self.put(rating.command, position)
            bay = "/".join(item.address.split("/")[:5])
            current = 20.0 if self.closed[item.address] and set(item.nodes) <= live else 0.0
            self.put(f"{bay}/_/MMXU1/A/phsA", current)
            if item.cim_class is not CimClass.BREAKER and f"{bay}/_/SVPI1/Prs" not in self.silent:
                self.put(f"{bay}/_/SVPI1/Prs", item.nodes[0] in live)

    def live(self) -> set[str]:
        seen, stack = {BUS, *self.live_islands}, [BUS, *self.live_islands]
        while stack:
            node = stack.pop()
            for item in self.grid.equipment.values():
                if node in item.nodes and self.closed.get(item.address, True):
                    further = set(item.nodes) - seen
                    seen |= further
                    stack += further
        return seen

    async def execute(self, command: DeviceCommand) -> Outcome:
        self.got.append(command)
        address = command.point.address
        await asyncio.sleep(self.travel)
        if address in self.refuse:
            return self.refuse[address]
        switch = "/".join(address.split("/")[:6])
        if address.endswith("SPCSO1"):
            self.put(address, float(command.value or 0))
        elif address.endswith("IndRs"):
            self.put(address.replace("IndRs", "FltInd"), 0)
        elif switch not in self.stuck:
            self.closed[switch] = command.value == 2
            self.tell()
            self.protect()
        return Outcome(0, sent=True)

    async def serve(self, service: LinkService) -> Outcome:
        """A general interrogation: every indicator that can answers."""
        for address in self.grid.indicators:
            if address not in self.silent:
                self.put(
                    address, float(bool(self.table.value(self.table.find(address)))), 0, self.times.get(address, 0)
                )
        return Outcome(0, sent=True)

    def path(self, target: str, feeder: str) -> list[str]:
        """Switches that fault current passes from a feeder's head to a line."""
        numbers = [11, 12, 13, 30] if feeder == F1 else [21, 22, 23, 30]
        passed: list[str] = []
        for number in numbers:
            start, end = SPANS[number] if number != 30 or feeder == F1 else (23, 13)
            first = cubicle(start, number) if start else (HEAD1 if feeder == F1 else HEAD2)
            passed.append(first)
            if line(number) == target:
                return passed
            passed.append(cubicle(end, number))
        return passed

    def protect(self) -> None:
        """Protection: a live fault trips the head that feeds it."""
        for target in self.faults:
            node = self.grid.equipment[target].nodes[0]
            if node not in self.live():
                continue
            for bay, head in ((F1, HEAD1), (F2, HEAD2)):
                if self.closed[head]:
                    self.closed[head] = False
                    if node in self.live():
                        self.closed[head] = True
                        continue
                    self._trip(bay, self.path(target, bay))
                    break

    def _trip(self, bay: str, passed: list[str]) -> None:
        self.put(f"{bay}/IED1/PTOC1/Str", 1)
        self.put(f"{bay}/IED1/PTRC1/Tr", 1)
        for switch in passed:
            place = "/".join(switch.split("/")[:5])
            indicator = f"{place}/_/SFPI1/FltInd"
            if self.table.find(indicator) >= 0 and indicator not in self.silent:
                self.put(indicator, 1)
                self.times[indicator] = clock.now()
        self.tell()
        self.put(f"{bay}/IED1/PTRC1/Tr", 0)
        self.put(f"{bay}/IED1/RREC1/AutoRecSt", 2 if self.recloses else 10)


def point_names(grid: Grid) -> list[str]:
    names = [*grid.measurements, *grid.indicators]
    for item, rating in grid.switches():
        names += [rating.position, rating.command]
        if item.cim_class is not CimClass.BREAKER:
            bay = "/".join(item.address.split("/")[:5])
            names += [f"{bay}/_/SVPI1/Prs", f"{bay}/_/SFPI1/IndRs"]
    for feeder in grid.feeders.values():
        names += [*feeder.trip, *feeder.start, *feeder.breaker_failure, *feeder.busbar_trip, *feeder.load_shedding]
        names += [each for each in (feeder.reclosing, feeder.reclose_block, feeder.scheme) if each not in ("", "none")]
    return list(dict.fromkeys(names))


@dataclass
class Rig:
    table: PointTable
    field: Field
    desk: CommandDesk
    flisr: FlisrFunction
    events: EventJournal
    audit: AuditJournal
    tags: TagStore
    told: list[Event]
    task: asyncio.Task[None]
    worker: Worker

    async def call(self, name: str, *arguments: Any, caller: Caller = OLGA) -> MethodResult:
        return await self.flisr.call(FLISR, name, arguments, caller)

    async def outputs(self, name: str, *arguments: Any, caller: Caller = OLGA) -> dict[str, Any]:
        result = await self.call(name, *arguments, caller=caller)
        spec = next(spec for spec in self.flisr.specs() if spec.name == name)
        names = [argument.name for argument in spec.outputs]
        assert len(result.outputs) == len(names)
        return {"status": result.status, **dict(zip(names, result.outputs, strict=True))}

    def state(self, feeder: str = F1) -> str:
        case = self.flisr.cases.case(feeder)
        return "IDLE" if case is None else case.sequence.state.name

    async def until(self, what: Callable[[], bool], seconds: float = 15.0) -> None:
        async with patient(seconds):
            while not what():
                await asyncio.sleep(0.02)

    async def reach(self, state: str, feeder: str = F1, seconds: float = 15.0) -> None:
        try:
            await self.until(lambda: self.state(feeder) == state, seconds)
        except TimeoutError as error:
            case = self.flisr.cases.case(feeder)
            said = None if case is None else (case.sequence.stamps, case.sequence.reason, case.sequence.history)
            raise AssertionError(f"not {state}: {self.state(feeder)}: {said}") from error

    def fault(self, number: int) -> None:
        self.field.faults.add(line(number))
        self.field.protect()

    def moved(self) -> list[str]:
        """Switching commands that reached devices, as `open L12`…"""
        return [
            f"{'close' if command.value == 2 else 'open'} {'/'.join(command.point.address.split('/')[2:6])}"
            for command in self.field.got
            if command.point.address.endswith("CSWI1/Pos")
        ]

    def codes(self) -> list[str]:
        self.told += self.events_cursor.take()
        return [event.code for event in self.told]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.desk.drain()
        await self.tags.close()
        await self.audit.close()


async def build(
    folder: Path,
    grid: Grid | None = None,
    *,
    worker: Worker | None = None,
    field_: Field | None = None,
    before: Callable[[Rig], None] = lambda _: None,
    **settings: Any,
) -> Rig:
    grid = grid or make_grid()
    table, events = PointTable(), EventJournal()
    names = point_names(grid)
    table.add([Point(name, PointProfile.of(classify(parse(name))), "rtu") for name in names])
    device = field_ or Field(table, grid)
    device.table = table
    for name in names:
        device.put(name, 0)
    for bay in grid.feeders.values():
        if bay.reclosing not in ("", "none"):
            device.put(bay.reclosing, 1)
    device.tell()
    policy: Any = Roles()
    audit = AuditJournal(folder / "audit.sqlite")
    await audit.open()
    tags = TagStore(folder / "tags.sqlite", policy=policy, audit=audit, events=events)
    await tags.open()
    interlock = TwinInterlock(table, grid, tags, policy=policy, audit=audit)
    commands = [rating.command for _, rating in grid.switches()]
    commands += [feeder.reclose_block for feeder in grid.feeders.values() if feeder.reclose_block]
    commands += [name for name in names if name.endswith("IndRs")]
    targets = []
    for name in commands:
        row = table.find(name)
        profile = table.profile(row)
        control = {"model": "direct-normal", "absent": ("Loc", "CILO")}
        if name.endswith("IndRs"):
            control["feedback"] = False  # type: ignore[assignment]
        bound = BoundPoint(row, name, profile.cdc, profile.value_type, {}, control)
        targets.append(build_target(table, bound, device))
    desk = CommandDesk(
        table, targets, policy=policy, audit=audit, events=events, tags=tags, interlock=interlock,
        settings=DeskSettings(feedback_timeout=0.3, min_interval=0.0),
    )  # fmt: skip
    shared = worker or Worker()
    context = TwinContext(
        table, events, Alarms(events), ResultPoints(table), shared, grid, AREA, desk, policy, audit, folder
    )
    flisr = FlisrFunction(context, FlisrSettings(**{**QUICK, **settings}), {"rtu": device}, worker)

    async def run() -> None:
        before(rig)
        await flisr.run()

    rig = Rig(table, device, desk, flisr, events, audit, tags, [], asyncio.create_task(run()), shared)
    rig.events_cursor = events.cursor("test")  # type: ignore[attr-defined]
    # it has read its journal and looked at what stands at the start
    await rig.until(lambda: flisr.cases.ready and len(flisr._watched) > 0, 30.0)
    await asyncio.sleep(0.3)
    return rig


async def automatic(rig: Rig, feeder: str = F1) -> Rig:
    """The feeder is made automatic by two persons."""
    await rig.call("SetMode", feeder, "auto", caller=SOFIA)
    assert (await rig.call("SetMode", feeder, "auto", caller=PAUL)).outputs[0] is True
    return rig


async def confirmed(rig: Rig, feeder: str = F1) -> Rig:
    """The offered plan is confirmed."""
    await rig.reach("WAIT_CONFIRM", feeder)
    offered = await rig.outputs("Plan", feeder)
    answer = await rig.call("Confirm", offered["planId"], offered["hash"])
    assert answer.status == StatusCode.Good, answer.text
    return rig
