"""One monitored switchgear: its points, its operations, and what is kept of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from address_space.address import function_name
from address_space.table import PointTable
from twin_gateway.functions.switchgear_store import KEEP_ROWS, Entry, Kept
from twin_gateway.twin.switchgear.gas import Leak
from twin_gateway.twin.switchgear.nameplate import Nameplate
from twin_gateway.twin.switchgear.thermal import JointFollower
from twin_gateway.twin.switchgear.wear import POLES, PoleWear

MONITORS = frozenset({"SCBR", "SSWI", "SIMG", "SIML", "SOPM", "SPDC"})
"""Logical nodes by which an equipment is known as monitored."""
ROLES = frozenset(
    {
        *(f"{x}/{name}" for x in ("XCBR", "XSWI") for name in ("Pos", "OpCnt")),
        *(f"{s}/{name}" for s in ("SCBR", "SSWI") for name in ("SwA", "AccmAbr", "OpTmOpn", "OpTmCls", "ColA", "Tmp")),
        *(f"{s}/{name}" for s in ("SCBR", "SSWI") for name in ("OpTmOpnSet", "OpTmClsSet", "ColAlm")),
        *(f"SOPM/{name}" for name in ("MotTm", "MotStrNum", "MotA", "EnBlk", "MotAlm")),
        *(f"SIMG/{name}" for name in ("Pres", "Den", "Tmp", "InsAlm")),
        *(f"SPDC/{name}" for name in ("AcuPaDsch", "UhfPaDsch", "AppPaDsch", "PaDschAlm")),
        *(f"MMXU/A/phs{pole}" for pole in POLES),
        "CSWI/OpOpn",
        "CSWI/OpCls",
        "CSWI/Pos",
    }
)
"""Data objects that are followed, as class and data object."""
_MOST_HISTORY = 12_000
CURRENT_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Operation:
    """One movement: `time` s since 1970 on the device's clock; `timed`: that clock is the device's own."""

    opening: bool
    time: float
    timed: bool
    due: float


@dataclass(slots=True)
class Switchgear:
    """One monitored equipment.

    Attributes:
        place, bay: addresses.
        rows: role -> row; the equipment's own points before those of the bay.
        joints: sensor -> row of `STMP…/Tmp`; phases where there are three.
        warmth: what is believed of each of them.
        currents: pole -> latest samples (time, A).
        commands: role of `CSWI/Op…` -> time of the last command on the device's clock.
        position, starts: last reading since the start of position and of the counter of motor starts.
        pending: operations whose values may still be on their way.
        marks: single values that are kept.
        history: kind -> entries in order of time.
        unsaved: new entries; wear and marks are saved whenever something is.
        leak, leak_due, due: last leak rate, when it is to be found anew, and when all is to be assessed anew (s).
        dirty, changed: to be assessed; to be saved.
    """

    place: str
    nameplate: Nameplate
    rows: dict[str, int] = field(default_factory=dict)
    joints: dict[str, int] = field(default_factory=dict)
    warmth: dict[str, JointFollower] = field(default_factory=dict)
    currents: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    commands: dict[str, float] = field(default_factory=dict)
    pending: list[Operation] = field(default_factory=list)
    position: int = 0
    starts: float | None = None
    wear: PoleWear = field(default_factory=PoleWear)
    marks: dict[str, float] = field(default_factory=dict)
    history: dict[str, deque[Entry]] = field(default_factory=dict)
    unsaved: list[Entry] = field(default_factory=list)
    leak: Leak | None = None
    leak_due: float = 0.0
    due: float = 0.0
    dirty: bool = True
    changed: bool = False

    @property
    def bay(self) -> str:
        """Address of the bay."""
        return self.place.rsplit("/", 1)[0]

    def row(self, *roles: str) -> int:
        """Row of the first role that is mapped, -1 when none is."""
        return next((self.rows[role] for role in roles if role in self.rows), -1)

    def note(self, kind: str, time: float, value: float, more: float = 0.0) -> None:
        """Put a value into the history."""
        entry = Entry(self.place, kind, time, value, more)
        self.history.setdefault(kind, deque(maxlen=KEEP_ROWS.get(kind, _MOST_HISTORY))).append(entry)
        self.unsaved.append(entry)
        self.dirty = True

    def values(self, kind: str) -> list[float]:
        """Values of one kind, oldest first."""
        return [entry.value for entry in self.history.get(kind, ())]

    def last(self, kind: str) -> Entry | None:
        """The newest entry of one kind."""
        entries = self.history.get(kind)
        return entries[-1] if entries else None

    def before(self, time: float) -> dict[str, float]:
        """Current of each pole before a moment (device time): the highest of the last second, else the latest."""
        found: dict[str, float] = {}
        for pole, samples in self.currents.items():
            earlier = [(at, value) for at, value in samples if at <= time]
            if earlier:
                near = [value for at, value in earlier if at > time - CURRENT_WINDOW_S]
                found[pole] = max(near) if near else earlier[-1][1]
        return found

    def restore(self, kept: Kept | None) -> None:
        """Take up what was kept; without it the wear begins with the nameplate's start values."""
        if kept is not None:
            self.marks.update(kept.marks)
            for kind, entries in kept.history.items():
                self.history[kind] = deque(entries, maxlen=KEEP_ROWS.get(kind, _MOST_HISTORY))
        if kept is not None and kept.wear is not None:
            self.wear = kept.wear
        else:
            self.wear.percent.update(self.nameplate.wear_start)


def find_switchgear(table: PointTable, nameplates: Mapping[str, Nameplate]) -> dict[str, Switchgear]:
    """Every equipment that has a nameplate or monitoring, with its points, by place."""
    tree = table.tree
    places = dict.fromkeys(place for place in nameplates if tree.find(place) >= 0)
    names = {number for text, number in tree.name_ids.items() if class_of(text) in MONITORS}
    if names:
        for node in range(len(tree)):
            if tree.level[node] == 7 and int(tree.name_id[node]) in names:
                above = int(tree.parent[node])
                if tree.level[above] == 6:
                    places.setdefault(tree.address(above))
    found = {place: Switchgear(place, nameplates.get(place, Nameplate())) for place in places}
    taken: set[str] = set()
    for one in found.values():
        _collect(one, table, tree.find(one.place))
    # Where only the mode of a monitoring node is mapped (as with the rest of an IED) there is nothing to assess.
    found = {place: one for place, one in found.items() if one.rows or place in nameplates}
    # A bay's own sensors belong to its breaker, else to the first equipment that is monitored in it.
    for one in sorted(found.values(), key=lambda one: "XCBR/Pos" not in one.rows):
        if one.bay not in taken and tree.find(one.bay) >= 0:
            taken.add(one.bay)
            _collect(one, table, tree.find(one.bay))
    for one in found.values():
        one.currents = {pole: deque(maxlen=16) for pole in POLES if f"MMXU/A/phs{pole}" in one.rows}
        if len(one.joints) == len(POLES):
            one.joints = dict(zip(POLES, (one.joints[name] for name in sorted(one.joints)), strict=True))
    return found


def _collect(one: Switchgear, table: PointTable, place: int) -> None:
    tree = table.tree
    for function in tree.children(place):
        if tree.level[function] != 7:
            continue
        name = tree.name(function)
        ln_class = class_of(name)
        for data, row in _rows_below(table, function):
            role = f"{ln_class}/{data}"
            if role in ROLES:
                one.rows.setdefault(role, row)
            elif role == "STMP/Tmp":
                one.joints.setdefault(name, row)


def _rows_below(table: PointTable, node: int, head: str = "") -> Iterator[tuple[str, int]]:
    tree = table.tree
    for child in tree.children(node):
        name = f"{head}{tree.name(child)}"
        if tree.row[child] >= 0:
            yield name, int(tree.row[child])
        yield from _rows_below(table, child, f"{name}/")


def class_of(text: str) -> str:
    """Class of a logical node by its name; empty when it is none."""
    named = function_name(text)
    return named.ln_class if named is not None else ""
