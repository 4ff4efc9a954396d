"""Regions: connected parts of the grid with a closed boundary of metered terminals, derived from the switch positions.

The grid is a graph of connectivity nodes and equipment, joined by terminals. Metered boundary terminals and open
switches cut it; what still hangs together is a *cell*. A cell with a metered boundary and no unmetered source has a
balance. Voltage levels and areas are sums of cells, in which inner boundaries cancel, so that the losses of children
add up to that of their parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    Grid,
    Measurement,
    Meter,
    MeterRole,
    Position,
    Quantity,
    TransformerData,
)

LOW_VOLTAGE = 1000.0
"""V line to line; below it is low voltage."""
PLACE_LEVELS = 6
PHASES = "ABC"


class RegionKind(StrEnum):
    """Kinds of region (spec 4.1)."""

    FEEDER = "feeder"
    TRANSFORMER = "transformer"
    LV_AREA = "lvarea"
    PHASE = "phase"
    BUSBAR = "busbar"
    VLEVEL = "vlevel"
    AREA = "area"


@dataclass(frozen=True, slots=True)
class Term:
    """One meter in the balance of a region.

    Attributes:
        meter: address of the meter (of a measured point, where the energy is the mean power times the interval).
        sign: at the boundary +1 when what the meter counts as drawn (`Dmd`) flows into the region, -1 when out of it;
            0 for a member inside, whose `Dmd` is consumption and whose `Sup` is feed-in.
        weight: share of its energy that belongs here (a moved customer, a third of a three-phase meter in a phase).
        phase: letter when only the energy of this phase counts; empty for all.
    """

    meter: str
    sign: int = 0
    weight: float = 1.0
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the grid with a balance.

    Attributes:
        place: the place that it is about (`dso1/north/TS14/LV1`).
        boundary, members: terms of the meters; members hold customers and generation.
        unmetered: loads without meter or measured power.
        equipment: lines and transformers that cause its technical loss.
        infeed: connectivity nodes at its metered boundary on the inside.
        cells: keys of the cells that it is made of.
        phase: letter of a `phase` region.
        uncertain: it depends on switches whose position is not known.
        changed: its members or boundary changed within the interval.
    """

    kind: RegionKind
    place: str
    boundary: tuple[Term, ...]
    members: tuple[Term, ...]
    unmetered: tuple[str, ...] = ()
    equipment: tuple[str, ...] = ()
    infeed: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    phase: str = ""
    uncertain: bool = False
    changed: bool = False

    @property
    def key(self) -> str:
        """Address of the function that tells its results (`…/TS14/LV1/_/_/twLOSS1`; phases A to C are 2 to 4)."""
        return f"{padded(self.place)}/twLOSS{PHASES.index(self.phase) + 2 if self.phase else 1}"

    def shape(self) -> tuple[object, ...]:
        """What must stay the same for two balances to be comparable."""
        return self.boundary, self.members, self.unmetered


def padded(place: str) -> str:
    """A place with `_` up to the sixth level, in front of a function."""
    return place + "/_" * (PLACE_LEVELS - place.count("/") - 1)


def trimmed(place: str) -> str:
    """A place without trailing `_`."""
    while place.endswith("/_"):
        place = place[:-2]
    return place


def level(address: str, count: int) -> str:
    """The first `count` levels of an address, without trailing `_`."""
    return trimmed("/".join(address.split("/")[:count]))


def meters_of(grid: Grid) -> dict[str, Meter]:
    """The grid's meters, and measured powers where there is none: at loads, generators and the heads of feeders.

    Such a measured point stands in under its own address. Its class is that of its accuracy.
    """
    meters = dict(grid.meters)
    taken = {meter.equipment for meter in meters.values()}
    heads = {feeder.head for feeder in grid.feeders.values()}
    for item in grid.measurements.values():
        role = _stands_in(grid, item, heads)
        if role is None or item.equipment in taken:
            continue
        taken.add(item.equipment)
        meters[item.point] = Meter(
            item.point,
            item.equipment,
            role=role,
            terminal=item.terminal,
            direction=item.direction,
            phases=grid.equipment[item.equipment].phases.replace("N", ""),
            accuracy_class=item.accuracy * 100,
        )
    return meters


def _stands_in(grid: Grid, item: Measurement, heads: set[str]) -> MeterRole | None:
    if item.quantity is not Quantity.P or item.phase or item.equipment not in grid.equipment:
        return None
    if item.equipment in heads:
        return MeterRole.BOUNDARY
    match grid.equipment[item.equipment].cim_class:
        case CimClass.LOAD:
            return MeterRole.CUSTOMER
        case CimClass.GENERATOR:
            return MeterRole.GENERATION
        case _:
            return None


def regions(
    grid: Grid, positions: Mapping[str, Position], meters: Mapping[str, Meter] | None = None
) -> dict[str, Region]:
    """All regions in a switching state, by key; each area and voltage level after its cells.

    Args:
        grid: the model.
        positions: of the switches; those not named are in their normal position. With unknown ones the state is looked
            at twice (unknown = open, unknown = closed), and regions that differ are uncertain.
        meters: of `meters_of`, when it is at hand.
    """
    meters = meters_of(grid) if meters is None else meters
    state = {**grid.normal_positions(), **positions}
    unknown = [address for address, position in state.items() if position == Position.UNKNOWN]
    closed = _regions(grid, {**state, **dict.fromkeys(unknown, Position.CLOSED)}, meters)
    if not unknown:
        return closed
    opened = _regions(grid, {**state, **dict.fromkeys(unknown, Position.OPEN)}, meters)
    found = {**opened, **closed}
    for key, region in found.items():
        other = opened.get(key)
        if other is None or key not in closed or other.shape() != closed[key].shape():
            found[key] = replace(region, uncertain=True)
    return found


def regions_over(
    grid: Grid,
    history: Iterable[tuple[float, str, int]],
    start: float,
    stop: float,
    *,
    meters: Mapping[str, Meter] | None = None,
    split: bool = False,
) -> dict[str, Region]:
    """Regions of an interval from the switch positions over it.

    Args:
        grid: the model.
        history: (Unix seconds, switch, `Position`): what holds at `start`, then changes in order of time.
        start: of the interval, Unix seconds.
        stop: its end.
        meters: of `meters_of`, when it is at hand.
        split: count what moved by the share of time that it was connected here; else the state at the end of the
            interval is taken and what differed is marked `changed`.
    """
    meters = meters_of(grid) if meters is None else meters
    state: dict[str, Position] = {}
    phases: list[tuple[float, dict[str, Region]]] = []
    since = start
    changes = sorted(history)
    for moment, switch, position in changes:
        known = state.get(switch)
        if known == position:
            continue
        if moment > since:
            phases.append((min(moment, stop) - since, regions(grid, state, meters)))
            since = moment
        state[switch] = Position(position)
    phases.append((max(stop - since, 0.0), regions(grid, state, meters)))
    last = phases[-1][1]
    if len(phases) == 1:
        return last
    result: dict[str, Region] = {}
    for key in dict.fromkeys([*last, *(key for _, part in phases for key in part)]):
        states = [(share, part.get(key)) for share, part in phases]
        shapes = {None if region is None else region.shape() for _, region in states}
        newest = next(region for _, region in reversed(states) if region is not None)
        if len(shapes) == 1:
            result[key] = newest
        elif split:
            result[key] = _split(newest, states, stop - start)
        else:
            result[key] = replace(newest, changed=True)
    return result


def _split(newest: Region, states: list[tuple[float, Region | None]], length: float) -> Region:
    weights: dict[Term, float] = {}
    edges: dict[Term, None] = {}
    for share, region in states:
        if region is not None:
            for term in region.members:
                weights[term] = weights.get(term, 0.0) + share / length * term.weight
            edges.update(dict.fromkeys(region.boundary))
    members = tuple(replace(term, weight=min(weight, 1.0)) for term, weight in weights.items())
    # A boundary meter counts what flows whenever it flows: through an open switch that is nothing.
    return replace(newest, members=members, boundary=tuple(edges))


# ---- cells ----------------------------------------------------------------------------------------------------------


class NodeSets:
    """Disjoint sets of names: connectivity nodes and equipment that hang together."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        """Name that stands for the set of another one."""
        parent = self._parent
        root = parent.setdefault(name, name)
        while parent[root] != root:
            root = parent[root]
        while parent[name] != root:
            parent[name], name = root, parent[name]
        return root

    def join(self, one: str, other: str) -> None:
        """Make one set of two."""
        self._parent[self.find(one)] = self.find(other)


def _regions(grid: Grid, state: Mapping[str, Position], meters: Mapping[str, Meter]) -> dict[str, Region]:
    cells = _cells(grid, state, meters)
    found: dict[str, Region] = {}
    for cell in cells:
        # Two feeders that are tied together are one cell; the feeders share its balance under the first's address.
        if cell.key not in found:
            found[cell.key] = cell
    singles = list(found.values())
    for region in singles:
        if region.kind is RegionKind.LV_AREA:
            for phase in _phases(region, meters):
                found[phase.key] = phase
    for kind, depth in ((RegionKind.VLEVEL, 4), (RegionKind.AREA, 2)):
        groups: dict[str, list[Region]] = {}
        for region in singles:
            parts = region.place.split("/")
            if len(parts) < 3:
                continue
            place = level(region.place, 2) if depth == 2 else "/".join([*parts[:2], "_", parts[3]])
            groups.setdefault(place, []).append(region)
        for place, children in groups.items():
            found.setdefault(f"{padded(place)}/twLOSS1", _sum(kind, place, children))
    return found


def _sum(kind: RegionKind, place: str, children: list[Region]) -> Region:
    signs: dict[str, int] = {}
    for child in children:
        for term in child.boundary:
            signs[term.meter] = signs.get(term.meter, 0) + term.sign
    return Region(
        kind,
        place,
        tuple(Term(meter, sign) for meter, sign in signs.items() if sign),
        tuple(term for child in children for term in child.members),
        tuple(load for child in children for load in child.unmetered),
        tuple(item for child in children for item in child.equipment),
        cells=tuple(child.key for child in children),
        uncertain=any(child.uncertain for child in children),
    )


def _phases(region: Region, meters: Mapping[str, Meter]) -> Iterable[Region]:
    for phase in PHASES:
        members = []
        for term in region.members:
            phases = meters[term.meter].phases.replace("N", "") or PHASES
            if phase in phases:
                members.append(replace(term, weight=term.weight / len(phases), phase=phase if len(phases) > 1 else ""))
        yield replace(
            region,
            kind=RegionKind.PHASE,
            boundary=tuple(replace(term, phase=phase) for term in region.boundary),
            members=tuple(members),
            phase=phase,
            cells=(region.key,),
        )


def _cells(grid: Grid, state: Mapping[str, Position], meters: Mapping[str, Meter]) -> list[Region]:
    edges = {
        (meter.equipment, meter.terminal): address
        for address, meter in meters.items()
        if meter.role is MeterRole.BOUNDARY and meter.equipment in grid.equipment
    }
    sets = NodeSets()
    for item in grid.equipment.values():
        sets.find(item.address)
        if item.is_switch and state.get(item.address) != Position.CLOSED:
            continue
        if item.cim_class is CimClass.GROUND_DISCONNECTOR:
            continue
        for number, node in enumerate(item.nodes, 1):
            if (item.address, number) not in edges:
                sets.join(item.address, node)
    contents: dict[str, list[Equipment]] = {}
    for item in grid.equipment.values():
        contents.setdefault(sets.find(item.address), []).append(item)
    nodes: dict[str, list[str]] = {}
    for node in grid.nodes:
        nodes.setdefault(sets.find(node), []).append(node)
    boundary: dict[str, list[tuple[Term, str]]] = {}
    for (equipment, number), address in edges.items():
        terminals = grid.equipment[equipment].nodes
        if number > len(terminals):
            continue
        node, direction = terminals[number - 1], meters[address].direction
        inside, outside = sets.find(equipment), sets.find(node)
        if inside != outside:
            boundary.setdefault(inside, []).append((Term(address, direction), equipment))
            boundary.setdefault(outside, []).append((Term(address, -direction), node))
    places = _by_equipment(meters)
    result = []
    for root, terms in boundary.items():
        cell = _cell(grid, meters, contents.get(root, []), nodes.get(root, []), terms, metered=places)
        if cell is not None:
            result.append(cell)
    return result


def _by_equipment(meters: Mapping[str, Meter]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for address, meter in meters.items():
        if meter.role is not MeterRole.BOUNDARY:
            found.setdefault(meter.equipment, []).append(address)
    return found


def _cell(
    grid: Grid,
    meters: Mapping[str, Meter],
    contents: list[Equipment],
    nodes: list[str],
    terms: list[tuple[Term, str]],
    *,
    metered: Mapping[str, list[str]],
) -> Region | None:
    members: list[Term] = []
    unmetered, elements = [], []
    for item in contents:
        if item.cim_class is CimClass.SOURCE:
            return None  # what the source delivers is not counted: the boundary is open
        found = metered.get(item.address, [])
        members += [Term(address) for address in found]
        if item.cim_class in (CimClass.LOAD, CimClass.GENERATOR) and not found:
            unmetered.append(item.address)
        if item.cim_class in (CimClass.LINE, CimClass.TRANSFORMER):
            elements.append(item.address)
    if not members and not unmetered and not elements and len(terms) < 2:
        return None
    where = _place(grid, meters, contents, nodes, terms)
    if where is None:
        return None
    kind, place = where
    return Region(
        kind,
        place,
        tuple(term for term, _ in terms),
        tuple(members),
        tuple(unmetered),
        tuple(elements),
        tuple(dict.fromkeys(_inner(grid, inner, nodes) for _, inner in terms)),
        (f"{padded(place)}/twLOSS1",),
    )


def _inner(grid: Grid, inner: str, nodes: list[str]) -> str:
    """Connectivity node just inside a boundary: the node itself, or the other end of the equipment that is inside."""
    if inner in grid.nodes:
        return inner
    inside = set(nodes)
    return next((node for node in grid.equipment[inner].nodes if node in inside), inner)


def _place(
    grid: Grid,
    meters: Mapping[str, Meter],
    contents: list[Equipment],
    nodes: list[str],
    terms: list[tuple[Term, str]],
) -> tuple[RegionKind, str] | None:
    transformers = [item for item in contents if item.cim_class is CimClass.TRANSFORMER]
    if not nodes:
        return (RegionKind.TRANSFORMER, transformers[0].address) if len(transformers) == 1 else None
    highest = max(grid.nodes[node].nominal for node in nodes)
    lines = any(item.cim_class is CimClass.LINE for item in contents)
    loads = any(item.cim_class is CimClass.LOAD for item in contents)
    if highest < LOW_VOLTAGE:
        return RegionKind.LV_AREA, _lv_place(grid, meters, transformers, nodes, terms)
    if not lines and not loads:
        bars = [item for item in contents if item.cim_class is CimClass.BUSBAR]
        return RegionKind.BUSBAR, level(bars[0].address if bars else nodes[0], 4)
    heads = {feeder.head: feeder.address for feeder in grid.feeders.values()}
    for term, _ in terms:
        if meters[term.meter].equipment in heads:
            return RegionKind.FEEDER, heads[meters[term.meter].equipment]
    return RegionKind.FEEDER, level(meters[terms[0][0].meter].equipment, 5)


def _lv_place(
    grid: Grid,
    meters: Mapping[str, Meter],
    transformers: list[Equipment],
    nodes: list[str],
    terms: list[tuple[Term, str]],
) -> str:
    """Site of the feeding transformer at the low-voltage level of its secondary node."""
    feeding = [grid.equipment[meters[term.meter].equipment] for term, _ in terms]
    inside = set(nodes)
    for item in [*transformers, *feeding]:
        if isinstance(item.data, TransformerData):
            for node in item.nodes:
                if node in inside:
                    return level(node, 4)
    for _, inner in terms:
        if inner in inside:
            return level(inner, 4)
    return level(nodes[0], 4)
