"""Switching checks on the topology: would a movement energise, parallel, or break what it must not (spec 10.2).

Zones (maximal sets of connectivity nodes joined by equipment without a position) are nodes of a graph, switches its
edges. A switch whose position is not known is taken as closed wherever that is the worse: so both ways are safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from twin_gateway.grid.model import CimClass, Grid, Position, SwitchRating

_INFEED = frozenset({CimClass.SOURCE, CimClass.GENERATOR})
_CARRIES = _INFEED | {CimClass.LOAD, CimClass.SHUNT}


class Rule(StrEnum):
    """What a movement would break."""

    ENERGISES_EARTH = "energises an earthed zone"
    ENERGISES_TAG = "energises a tagged zone"
    FEEDS_FAULT = "feeds a faulted zone"
    PARALLELS = "ties two live sources"
    LOOPS = "closes a loop"
    OPENS_UNDER_LOAD = "opens under load a switch that is not load-break"
    EARTHS_LIVE = "earths a zone that may be live"


NEVER_OVERRIDDEN = frozenset({Rule.ENERGISES_EARTH, Rule.ENERGISES_TAG, Rule.EARTHS_LIVE})


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a movement would break, with a sentence that names addresses.

    Attributes:
        tagged: people's tags stand against it.
    """

    rule: Rule
    text: str
    tagged: bool = False

    @property
    def overridable(self) -> bool:
        """Whether two persons may decide otherwise: never for tags and earths."""
        return self.rule not in NEVER_OVERRIDDEN

    def same(self, other: Violation) -> bool:
        """Whether it is about the same danger; the measured current may have changed since."""
        return self.rule is other.rule and (self.text == other.text or self.rule is Rule.OPENS_UNDER_LOAD)


@dataclass(slots=True)
class SwitchingState:
    """What the checks look at.

    Attributes:
        positions: by address of the switch; what is missing is unknown.
        tagged, faulted: address of any equipment or node -> why the zone of it must not be energised.
        earthed: the same for portable earths.
        allow_parallel: switches that may close a loop or tie two sources.
        allow_loop: switches that may close a loop of one and the same source.
        currents: A, by address of the switch, only where it is measured with Good quality.
        no_current: A, below which a switch carries nothing worth breaking.
    """

    positions: Mapping[str, Position]
    tagged: Mapping[str, str] = field(default_factory=dict)
    earthed: Mapping[str, str] = field(default_factory=dict)
    faulted: Mapping[str, str] = field(default_factory=dict)
    allow_parallel: frozenset[str] = frozenset()
    allow_loop: frozenset[str] = frozenset()
    currents: Mapping[str, float] = field(default_factory=dict)
    no_current: float = 1.0


class SwitchingChecks:
    """The zone graph of a grid, made once, and the checks on it. Each check visits only what hangs together."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._zone_of_node = _zones(grid)
        self._zone: dict[str, tuple[int, ...]] = {node: (zone,) for node, zone in self._zone_of_node.items()}
        count = max(self._zone_of_node.values(), default=-1) + 1
        self._beside: list[list[tuple[str, int]]] = [[] for _ in range(count)]
        self._infeed: dict[int, str] = {}
        self._sources: dict[int, str] = {}
        self._carries: set[int] = set()
        self._earths: dict[int, list[str]] = {}
        for item in grid.equipment.values():
            zones = tuple(self._zone_of_node[node] for node in item.nodes)
            self._zone[item.address] = zones
            if item.cim_class is CimClass.GROUND_DISCONNECTOR:
                self._earths.setdefault(zones[0], []).append(item.address)
            elif item.is_switch:
                self._beside[zones[0]].append((item.address, zones[1]))
                self._beside[zones[1]].append((item.address, zones[0]))
            if item.cim_class is CimClass.SOURCE:
                self._sources[zones[0]] = item.address
            if item.cim_class in _INFEED:
                self._infeed[zones[0]] = item.address
            if item.cim_class in _CARRIES:
                self._carries.update(zones)

    def zones_of(self, address: str) -> tuple[int, ...]:
        """Zones that a node or equipment touches; empty for what the grid does not know."""
        return self._zone.get(address, ())

    def check(self, switch: str, *, opening: bool, state: SwitchingState) -> Violation | None:
        """The first rule that moving a switch would break; None when it breaks none, or the grid has no such switch."""
        item = self._grid.equipment.get(switch)
        if item is None or not item.is_switch:
            return None
        zones = self._zone[switch]
        if item.cim_class is CimClass.GROUND_DISCONNECTOR:
            return None if opening else self._earths_live(switch, zones[0], state)
        if opening:
            rating = item.data if isinstance(item.data, SwitchRating) else SwitchRating()
            return None if rating.load_break else self._opens_under_load(switch, zones, state)
        if state.positions.get(switch) is Position.CLOSED:
            return None
        return self._closes(switch, zones, state)

    # ---- the rules ------------------------------------------------------------------------------------------------

    def _closes(self, switch: str, zones: tuple[int, ...], state: SwitchingState) -> Violation | None:
        one = self._reach(zones[0], state.positions, switch)
        other = self._reach(zones[1], state.positions, switch)
        live = self._live(one | other, state.positions, switch)
        found: list[Violation] = []
        for near, far in ((one, zones[1]), (other, zones[0])):
            infeed = self._first(self._infeed, near)
            if not infeed:
                continue
            # A way that may be closed already is no proof that what lies beyond is live already.
            energised = self._reach(far, state.positions, switch, live) - live
            found += [
                Violation(rule, f"Closing {switch} {rule}: {what}, from {infeed}", tagged)
                for rule, what, tagged in self._forbidden(energised, state)
            ]
        if found:
            # What nobody may override comes before what two persons may.
            return min(found, key=lambda violation: violation.overridable)
        if switch in state.allow_parallel:
            return None
        if zones[1] in one:
            if switch in state.allow_loop:
                return None
            return Violation(
                Rule.LOOPS, f"Closing {switch} {Rule.LOOPS}: both its sides are, or may be, joined already"
            )
        first, second = self._first(self._sources, one), self._first(self._sources, other)
        if first and second:
            return Violation(Rule.PARALLELS, f"Closing {switch} {Rule.PARALLELS}: {first} and {second}")
        return None

    def _opens_under_load(self, switch: str, zones: tuple[int, ...], state: SwitchingState) -> Violation | None:
        current = state.currents.get(switch)
        if (current is not None and current < state.no_current) or state.positions.get(switch) is Position.OPEN:
            return None
        one = self._reach(zones[0], state.positions, switch)
        other = self._reach(zones[1], state.positions, switch)
        for near, far in ((one, other), (other, one)):
            infeed = self._first(self._infeed, near)
            if infeed and not self._carries.isdisjoint(far):
                measured = f"{current:.0f} A measured" if current is not None else "no current measured as zero"
                rule = Rule.OPENS_UNDER_LOAD
                return Violation(rule, f"Opening {switch} {rule}: fed from {infeed}, {measured}")
        return None

    def _earths_live(self, switch: str, zone: int, state: SwitchingState) -> Violation | None:
        infeed = self._first(self._infeed, self._reach(zone, state.positions, switch))
        if not infeed:
            return None
        return Violation(Rule.EARTHS_LIVE, f"Closing {switch} {Rule.EARTHS_LIVE}: from {infeed}")

    def _forbidden(self, zones: set[int], state: SwitchingState) -> Iterator[tuple[Rule, str, bool]]:
        """Rule, what stands against energising the zones, and whether that is a tag."""
        for zone in sorted(zones & self._earths.keys()):
            for switch in self._earths[zone]:
                position = state.positions.get(switch, Position.UNKNOWN)
                if position is not Position.OPEN:
                    said = "is closed" if position is Position.CLOSED else "is in no known position"
                    yield Rule.ENERGISES_EARTH, f"{switch} {said}", False
        groups = (
            (Rule.ENERGISES_EARTH, state.earthed),
            (Rule.ENERGISES_TAG, state.tagged),
            (Rule.FEEDS_FAULT, state.faulted),
        )
        for rule, marked in groups:
            for address, why in marked.items():
                if not zones.isdisjoint(self.zones_of(address)):
                    yield rule, f"{address} ({why})", rule is not Rule.FEEDS_FAULT

    # ---- the graph ------------------------------------------------------------------------------------------------

    def _live(self, zones: set[int], positions: Mapping[str, Position], without: str) -> set[int]:
        """Those zones that are live for certain: joined with a source by switches known to be closed."""
        seen = zones & self._sources.keys()
        waiting = deque(seen)
        while waiting:
            for switch, zone in self._beside[waiting.popleft()]:
                if zone not in seen and switch != without and positions.get(switch) is Position.CLOSED:
                    seen.add(zone)
                    waiting.append(zone)
        return seen

    def _reach(
        self, start: int, positions: Mapping[str, Position], without: str, stops: Set[int] = frozenset()
    ) -> set[int]:
        """Zones joined with one by switches that are closed or not known, without one switch and not beyond `stops`."""
        if start in stops:
            return {start}
        seen, waiting = {start}, deque((start,))
        while waiting:
            for switch, zone in self._beside[waiting.popleft()]:
                if zone in seen or zone in stops or switch == without or positions.get(switch) is Position.OPEN:
                    continue
                seen.add(zone)
                waiting.append(zone)
        return seen

    @staticmethod
    def _first(marked: Mapping[int, str], zones: Iterable[int]) -> str:
        return min((marked[zone] for zone in zones if zone in marked), default="")


def _zones(grid: Grid) -> dict[str, int]:
    """Zone number of every connectivity node (union-find)."""
    parent = {node: node for node in grid.nodes}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for item in grid.equipment.values():
        if not item.is_switch:
            for node in item.nodes[1:]:
                parent[root(node)] = root(item.nodes[0])
    numbers: dict[str, int] = {}
    return {node: numbers.setdefault(root(node), len(numbers)) for node in grid.nodes}
