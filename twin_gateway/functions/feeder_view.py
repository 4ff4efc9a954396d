"""The operational view of a feeder: everything about its bay in one call, and a summary as points (spec 6.4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.ports import Argument, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.data_objects import data_below
from twin_gateway.functions.results import Value
from twin_gateway.functions.slices import Slices
from twin_gateway.grid.model import Position
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.twin.supervision.rollup import function_of
from twin_gateway.twin.switchgear.feeder import Downstream, FeederAreas, loading, rating_of

FUNCTION = "twFDRV1"
RESULTS = (
    *("LodPct", "AlmCnt", "AlmSev", "ConditionCls", "FltTm", "FltPhs", "FltA", "FltDiskm"),
    *("TieCnt", "Ties", "TrfCnt", "CusCnt", "Refs"),
)
ITEMS: tuple[tuple[str, str], ...] = (
    ("position", r"X(CBR|SWI)/Pos"),
    ("local", r"(XCBR|XSWI|CSWI|LLN0)/(Loc|LocKey|LocSta)"),
    ("interlock", r"CILO/Ena(Opn|Cls)"),
    ("current", r"MMXU/A/.*"),
    ("voltage", r"MMXU/(PhV|PPV)/.*"),
    ("power", r"MMXU/Tot(W|VAr|VA|PF)"),
    ("frequency", r"MMXU/Hz"),
    ("voltage present", r"SVPI/.*"),
    ("trip", r"P[A-Z]{3}/(Tr|Op)(/phs.)?"),
    ("start", r"P[A-Z]{3}/Str(/.*)?"),
    ("fault location", r"RFLO/.*"),
    ("reclosing", r"RREC/.*"),
    ("breaker failure", r"RBRF/.*"),
    ("fault passage", r"SFPI/.*"),
    ("health", r"(HLTH/(HealthIdx|HealthCls|ConditionCls|Advice)|.*/(EEHealth|PhyHealth))"),
    ("device", r"SUPV/(St|StRsn)"),
)
"""What the view collects: name of the item, and the data objects (class/object) by regular expression."""
_COMPILED = tuple((name, re.compile(pattern + r"\Z")) for name, pattern in ITEMS)
_INT, _UINT, _STRING = 6, 7, 12


@dataclass(slots=True)
class View:
    """One feeder bay: its points (item, row, address), what the topology last said, and all addresses in one text."""

    bay: str
    items: list[tuple[str, int, str]]
    below: Downstream
    topology: object = None
    references: str = ""
    rows: npt.NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    seen: object = None


class FeederViews:
    """The views of all feeder bays.

    Args:
        context: see `TwinContext`.
        bays: addresses of the bays.
        rated: A of the nameplate of a bay's switchgear; None when not known.
        topology: the live topology when somebody keeps one; else this follows the positions by itself.
        tags: texts of the safety tags that stand at an address.
    """

    def __init__(
        self,
        context: TwinContext,
        bays: Sequence[str],
        *,
        rated: Callable[[str], float | None],
        topology: Callable[[], LiveTopology] | None = None,
        tags: Callable[[str], Sequence[str]] = lambda _address: (),
    ) -> None:
        self._context, self._rated, self._tags = context, rated, tags
        self._live = LiveTopology.of(context.grid) if topology is None and context.grid.equipment else None
        self._topology = topology
        self._views: dict[str, View] = {}
        self._published: dict[str, Value] = {}
        self._ratings: dict[str, float | None] = {}
        self._areas: FeederAreas | None = None
        self._seen: object = None
        self._size = -1
        self._bays = tuple(bays)
        self._rows_size = -1
        self._rows = self._switches = np.empty(0, np.intp)
        context.results.add(f"{function_of(bay, FUNCTION)}/{name}" for bay in bays for name in RESULTS)

    def spec(self) -> MethodSpec:
        """`GetFeederView`, at the area."""
        outputs = (
            Argument("items", _STRING, "what each is (position, current, trip, …)", True),
            Argument("references", _STRING, "address of each", True),
            Argument("values", _STRING, "value of each as text, empty before the first", True),
            Argument("statuses", _UINT, "OPC UA StatusCode of each", True),
            Argument("times", _STRING, "source time of each", True),
            Argument("ties", _STRING, "open switches to what could feed it", True),
            Argument("tieFeeders", _STRING, "what is on the other side of each", True),
            Argument("transformers", _STRING, "fed by it at present", True),
            Argument("customers", _INT, "behind it at present"),
            Argument("alarms", _STRING, "code, severity, address and text of each active alarm", True),
            Argument("tags", _STRING, "safety tags in the bay", True),
            Argument("summary", _STRING, "one line"),
        )
        inputs = (Argument("bay", _STRING, "address of the bay"),)
        text = "Everything about a feeder bay"
        return MethodSpec(self._context.place, "GetFeederView", inputs, outputs, Right.READ, text)

    def call(self, bay: str, caller: Caller) -> MethodResult:
        """The view of one bay, of any bay that has points."""
        empty: tuple[Any, ...] = ([], [], [], [], [], [], [], [], 0, [], [], "")
        if not self._context.policy.permits(caller, Right.READ, bay):
            return MethodResult(StatusCode.BadUserAccessDenied, empty, f"not allowed on {bay}")
        view = self._view(bay)
        if not view.items:
            return MethodResult(StatusCode.BadNoMatch, empty, f"there is no bay {bay} with points")
        self._follow_topology()
        below = self._below(bay)
        table = self._context.table
        columns: list[tuple[str, str, str, int, str]] = []
        for name, row, address in view.items:
            sample = table.sample(row)
            text = "" if sample.value is None else str(sample.value)
            columns.append((name, address, text, sample.status, clock.iso(sample.source_time)))
        lists = [list(column) for column in zip(*columns, strict=True)]
        alarms = sorted(self._context.alarms.active(bay), key=lambda alarm: -alarm.severity)
        lines = [f"{alarm.code} {alarm.severity} {alarm.address} {alarm.text}" for alarm in alarms]
        result = (
            *lists,
            [tie.switch for tie in below.ties],
            [tie.other for tie in below.ties],
            list(below.transformers),
            below.customers,
            lines,
            list(self._tags(bay)),
            self._summary(bay, below),
        )
        return MethodResult(StatusCode.Good, result)

    async def publish(self) -> None:
        """Write the summaries of all feeder bays, what has changed of them; to be called at most once a second."""
        self._follow_topology()
        table = self._context.table
        marks = Counter("/".join(alarm.address.split("/")[:5]) for alarm in self._context.alarms.active())
        slices = Slices()
        for bay in self._bays:
            view = self._view(bay)
            if view.topology is not self._seen:
                await slices.pause()
                view.below, view.topology = self._below(bay), self._seen
                await slices.pause()
            # A bay of which nothing has changed has the summary that it had.
            rows = view.rows
            seen = (table.raw[rows].tobytes(), table.status[rows].tobytes(), marks[bay], view.below)
            if seen != view.seen:
                view.seen = seen
                self._write(bay, view)
            await slices.pause()

    def _write(self, bay: str, view: View) -> None:
        head, missing = f"{function_of(bay, FUNCTION)}/", object()
        values = {head + name: value for name, value in self._values(bay, view.below).items()}
        new = {address: value for address, value in values.items() if self._published.get(address, missing) != value}
        self._published |= new
        if new:
            self._context.results.write(new)

    # ---- collecting -----------------------------------------------------------------------------------------------

    def _view(self, bay: str) -> View:
        if len(self._context.table) != self._size:
            self._size = len(self._context.table)
            self._views.clear()
            self._seen = None
        view = self._views.get(bay)
        if view is None:
            address = self._context.table.address
            items = [(name, row, address(row)) for name, row in self._collect(bay)]
            view = View(bay, items, self._below(bay), self._seen, ",".join(text for _, _, text in items))
            view.rows = np.array([row for _, row, _ in items], np.intp)
            if bay in self._bays:
                self._views[bay] = view
        return view

    def _collect(self, bay: str) -> Iterator[tuple[str, int]]:
        tree = self._context.table.tree
        node = tree.find(bay)
        if node < 0 or tree.level[node] != 5:
            return
        found = [(name, row) for data, row in data_below(tree, node) if (name := _item(data))]
        order = {name: number for number, (name, _) in enumerate(ITEMS)}
        yield from sorted(found, key=lambda pair: order[pair[0]])

    def _follow_topology(self) -> None:
        live = self._topology() if self._topology is not None else self._follow()
        if live is None:
            return
        seen = (id(live), live.positions.tobytes())
        if seen != self._seen:
            self._seen = seen
            self._live = live  # the views follow one by one

    def _follow(self) -> LiveTopology | None:
        live = self._live
        if live is None:
            return None
        table, graph = self._context.table, live.graph
        if self._rows_size != len(table):
            self._rows_size = len(table)
            rows = [table.find(rating.position) if rating.position else -1 for rating in graph.ratings]
            self._switches = np.array([number for number, row in enumerate(rows) if row >= 0], np.intp)
            self._rows = np.array([row for row in rows if row >= 0], np.intp)
        if len(self._rows):
            values = (table.raw[self._rows] & np.uint64(0xFF)).astype(np.int8)
            known = (table.status[self._rows] & np.uint32(0x8000_0000) == 0) & ((values == 1) | (values == 2))
            live.update(self._switches, np.where(known, values, np.int8(Position.UNKNOWN)).astype(np.int8))
        return live

    def _below(self, bay: str) -> Downstream:
        if self._live is None or bay not in self._context.grid.feeders:
            return Downstream()
        if self._areas is None:
            self._areas = FeederAreas(self._context.grid, self._live.graph)
        return self._areas.downstream(self._live, bay)

    # ---- summary --------------------------------------------------------------------------------------------------

    def _values(self, bay: str, below: Downstream) -> dict[str, Value]:
        alarms = list(self._context.alarms.active(bay))
        if bay not in self._ratings:
            self._ratings[bay] = rating_of(self._context.grid, bay, self._rated(bay))
        load = loading(self._current(bay), self._ratings[bay])
        fault = self._fault(bay)
        return {
            "LodPct": None if load is None else round(load, 1),
            "AlmCnt": len(alarms),
            "AlmSev": max((alarm.severity for alarm in alarms), default=0),
            "ConditionCls": self._condition(bay),
            **fault,
            "TieCnt": len(below.ties),
            "Ties": ",".join(tie.switch for tie in below.ties),
            "TrfCnt": len(below.transformers),
            "CusCnt": below.customers,
            "Refs": self._view(bay).references,
        }

    def _summary(self, bay: str, below: Downstream) -> str:
        values = self._values(bay, below)
        load = "load unknown" if values["LodPct"] is None else f"{values['LodPct']} % of its rating"
        return (
            f"{load}; {values['AlmCnt']} alarms (highest {values['AlmSev']}); {below.customers} customers behind "
            f"{len(below.transformers)} transformers; {len(below.ties)} ties"
        )

    def _usable(self, bay: str, item: str, ending: str = "") -> list[tuple[str, float, int]]:
        """(address, number, source time) of the usable points of an item."""
        table = self._context.table
        found = []
        for name, row, address in self._view(bay).items:
            if name == item and address.endswith(ending) and table.status[row] & 0x8000_0000 == 0:
                value = table.value(row)
                if value is not None and not isinstance(value, str):
                    found.append((address, float(value), int(table.source_time[row])))
        return found

    def _current(self, bay: str) -> float | None:
        phases = [value for address, value, _ in self._usable(bay, "current") if address[-4:-1] == "phs"]
        return max(phases, default=None)

    def _condition(self, bay: str) -> int | None:
        classes = [int(value) for _, value, _ in self._usable(bay, "health", "/ConditionCls")]
        return max(classes, default=None)

    def _fault(self, bay: str) -> dict[str, Value]:
        """The last trip: when, which phases, current at that time where a device says it, distance."""
        trips = [(address, value, time) for address, value, time in self._usable(bay, "trip") if value]
        result: dict[str, Value] = {}
        if trips:
            last = max(time for _, _, time in trips)
            phases = sorted({address[-1] for address, _, _ in trips if address[-4:-1] == "phs"})
            result = {"FltTm": clock.iso(last), "FltPhs": "".join(phases)}
        before = f"{function_of(bay, FUNCTION)}/"
        for name in ("FltTm", "FltPhs"):
            # The contacts fall back, the last fault stays.
            result.setdefault(name, self._published.get(before + name) or "")
        currents = [value for _, value, _ in self._usable(bay, "fault passage", "/FltA/phsA")]
        table = self._context.table
        switched = [
            value
            for row in (table.find(f"{self._head(bay)}/SCBR1/SwA"),)
            if row >= 0 and table.status[row] & 0x8000_0000 == 0 and isinstance(value := table.value(row), float)
        ]
        result["FltA"] = max([*currents, *switched], default=None) if result["FltTm"] else None
        distance = [value for _, value, _ in self._usable(bay, "fault location", "/FltDiskm")]
        result["FltDiskm"] = distance[0] if distance else None
        return result

    def _head(self, bay: str) -> str:
        feeder = self._context.grid.feeders.get(bay)
        return feeder.head if feeder is not None else f"{bay}/QA1"


def _item(data: str) -> str:
    return next((name for name, pattern in _COMPILED if pattern.match(data)), "")
