"""The zone model: nodes joined by anything but switches are one zone, switches are its edges (spec 3.3)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import (
    CimClass,
    Equipment,
    Grid,
    LineData,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
    TransformerData,
)
from twin_gateway.twin.flisr.elements import (
    Branch,
    Load,
    Source,
    Switch,
    Zone,
    current_limit,
    line_branch,
    source_of,
    transformer_branch,
)
from twin_gateway.twin.flisr.records import SwitchState

MEDIUM_VOLTAGE = 1000.0
"""V; nodes below it are counted at the transformer that feeds them."""
Positions: TypeAlias = npt.NDArray[np.int8]
"""`Position` of each switch by its number."""
UNKNOWN, OPEN, CLOSED = int(Position.UNKNOWN), int(Position.OPEN), int(Position.CLOSED)
"""As plain numbers, for arrays."""
_NO_POSITION = frozenset({CimClass.FUSE, CimClass.JUMPER})


@dataclass(slots=False)
class Network:
    """A grid model made ready for FLISR: numbered nodes, zones, switches. Made once, then read only.

    Attributes:
        grid: what it was made of.
        nodes: addresses by number.
        nominal: V by number.
        zone_of: zone by node.
        zones, switches, branches, loads, sources: see their classes; switches in the order of their addresses.
        earthing: address of each earthing switch -> zones it earths.
        heads: feeder address -> number of the switch at its head.
    """

    grid: Grid
    nodes: tuple[str, ...]
    nominal: tuple[float, ...]
    zone_of: tuple[int, ...]
    zones: tuple[Zone, ...]
    switches: tuple[Switch, ...]
    branches: tuple[Branch, ...]
    loads: tuple[Load, ...]
    sources: tuple[Source, ...]
    earthing: Mapping[str, tuple[int, ...]]
    heads: Mapping[str, int]

    @cached_property
    def normal(self) -> Mapping[str, Position]:
        """Normal position of every switch of the grid."""
        return self.grid.normal_positions()

    @cached_property
    def zone_index(self) -> dict[str, int]:
        """Number by address of the zone."""
        return {zone.address: i for i, zone in enumerate(self.zones)}

    @cached_property
    def switch_index(self) -> dict[str, int]:
        """Number by address of the switch."""
        return {switch.address: i for i, switch in enumerate(self.switches)}

    @cached_property
    def switches_at(self) -> list[list[int]]:
        """Switches of each zone."""
        table: list[list[int]] = [[] for _ in self.zones]
        for i, switch in enumerate(self.switches):
            table[switch.zones[0]].append(i)
            if switch.zones[1] != switch.zones[0]:
                table[switch.zones[1]].append(i)
        return table

    @cached_property
    def branches_at(self) -> list[list[int]]:
        """Branches of each node."""
        table: list[list[int]] = [[] for _ in self.nodes]
        for i, branch in enumerate(self.branches):
            for node in branch.nodes:
                table[node].append(i)
        return table

    @cached_property
    def loads_at(self) -> list[list[int]]:
        """Loads of each node."""
        table: list[list[int]] = [[] for _ in self.nodes]
        for i, load in enumerate(self.loads):
            table[load.node].append(i)
        return table

    @cached_property
    def trunk(self) -> list[bool]:
        """Per zone: on the source's side of the feeder heads, in the normal switching state.

        Where no head is declared below a source, its own zone is the trunk alone.
        """
        heads = set(self.heads.values())
        marked = [False] * len(self.zones)
        for source in self.sources:
            start = self.zone_of[source.node]
            seen, stack, headed = {start}, [start], False
            while stack:
                for number in self.switches_at[zone := stack.pop()]:
                    if number in heads:
                        headed = True
                        continue
                    switch = self.switches[number]
                    beyond = switch.other(zone)
                    if not switch.rating.normal_open and beyond not in seen:
                        seen.add(beyond)
                        stack.append(beyond)
            for zone in seen if headed else {start}:
                marked[zone] = True
        return marked

    @cached_property
    def arrays(self) -> NetworkArrays:
        """The same as arrays."""
        return NetworkArrays(self)

    def positions(self, states: Mapping[str, SwitchState]) -> Positions:
        """Position of every switch by number; what nobody tells is unknown, but fuses and jumpers are normal."""
        result = self._untold.copy()
        index = self.switch_index
        for address, state in states.items():
            if address in index:
                result[index[address]] = state.position
        return result

    @cached_property
    def _untold(self) -> Positions:
        """Positions where nobody tells them."""
        return np.array(
            [
                (OPEN if switch.rating.normal_open else CLOSED) if switch.cim_class in _NO_POSITION else UNKNOWN
                for switch in self.switches
            ],
            np.int8,
        )

    def earthed(self, positions: Mapping[str, Position]) -> set[int]:
        """Zones that an earthing switch earths, or may earth: one that is not known to be open counts as closed."""
        return {
            zone
            for address, zones in self.earthing.items()
            if positions.get(address, Position.UNKNOWN) is not Position.OPEN
            for zone in zones
        }

    def zone_of_equipment(self, address: str) -> int | None:
        """Number of the zone that a line, load, generator or node is in; None for switches and what is not known."""
        item = self.grid.equipment.get(address)
        node = address if item is None else item.nodes[0]
        if item is not None and item.is_switch:
            return None
        number = self._node_number.get(node)
        return None if number is None else self.zone_of[number]

    @cached_property
    def _node_number(self) -> dict[str, int]:
        return {address: i for i, address in enumerate(self.nodes)}


class NetworkArrays:
    """Arrays of a network, by number.

    Attributes:
        zone_of: zone of each node.
        branch_ends, switch_ends: n x 2, nodes.
        switch_zones: n x 2.
        impedance, susceptance, branch_limit: of branches, per unit; inf when unlimited.
        transformer: of branches.
        switch_limit: per unit; inf when unlimited.
    """

    def __init__(self, network: Network) -> None:
        """Take them from the records."""
        self.zone_of = np.array(network.zone_of, np.int64)
        self.branch_ends = np.array([branch.nodes for branch in network.branches], np.int64).reshape(-1, 2)
        self.switch_ends = np.array([switch.nodes for switch in network.switches], np.int64).reshape(-1, 2)
        self.switch_zones = np.array([switch.zones for switch in network.switches], np.int64).reshape(-1, 2)
        self.impedance = np.array([branch.impedance for branch in network.branches], np.complex128)
        self.susceptance = np.array([branch.susceptance for branch in network.branches], np.float64)
        self.branch_limit = np.array(
            [np.inf if branch.limit is None else branch.limit for branch in network.branches], np.float64
        )
        self.transformer = np.array([branch.transformer for branch in network.branches], bool)
        self.switch_limit = np.array(
            [
                np.inf
                if switch.rating.i_max is None
                else current_limit(switch.rating.i_max, network.nominal[switch.nodes[0]])
                for switch in network.switches
            ],
            np.float64,
        )


def compile_network(grid: Grid) -> Network:
    """The network of a grid model.

    Nodes below 1 kV are not part of it: their loads and generators count at the primary side of the transformer that
    feeds them (of the first by address where there are several). Transformer ratios are taken as nominal.
    """
    low, primary = _low_voltage(grid)
    nodes = tuple(address for address in grid.nodes if address not in low)
    number = {address: i for i, address in enumerate(nodes)}
    nominal = tuple(grid.nodes[address].nominal for address in nodes)

    def place(address: str) -> int | None:
        return number.get(primary.get(address, address))

    joined = _Union(len(nodes))
    switch_items: list[Equipment] = []
    branches: list[Branch] = []
    loads: list[Load] = []
    sources: list[Source] = []
    for item in grid.equipment.values():
        at = [number[node] for node in item.nodes if node in number]
        if item.cim_class is CimClass.GROUND_DISCONNECTOR:
            continue
        if item.is_switch:
            if len(at) == 2:
                switch_items.append(item)
        elif isinstance(item.data, LineData) and len(at) == 2:
            branches.append(line_branch(item.address, (at[0], at[1]), item.data, nominal[at[0]]))
            joined.join(at[0], at[1])
        elif isinstance(item.data, TransformerData) and len(at) >= 2:
            for end in at[1:]:
                branches.append(transformer_branch(item.address, (at[0], end), item.data))
                joined.join(at[0], end)
        elif isinstance(item.data, LoadData):
            node = place(item.nodes[0])
            if node is not None:
                loads.append(Load(item.address, node, item.data))
        elif isinstance(item.data, SourceData) and at:
            sources.append(source_of(item.address, at[0], item.data, nominal[at[0]]))
    zone_of, zones = _zones(grid, nodes, joined, branches=branches, loads=loads, sources=sources, place=place)
    switches = tuple(
        Switch(
            item.address,
            item.cim_class,
            item.data if isinstance(item.data, SwitchRating) else SwitchRating(),
            (number[item.nodes[0]], number[item.nodes[1]]),
            (zone_of[number[item.nodes[0]]], zone_of[number[item.nodes[1]]]),
        )
        for item in sorted(switch_items, key=lambda item: item.address)
    )
    earthing = {
        item.address: tuple(sorted({zone_of[number[node]] for node in item.nodes if node in number}))
        for item in grid.of(CimClass.GROUND_DISCONNECTOR)
    }
    index = {switch.address: i for i, switch in enumerate(switches)}
    heads = {address: index[feeder.head] for address, feeder in grid.feeders.items() if feeder.head in index}
    return Network(
        grid, nodes, nominal, zone_of, zones, switches, tuple(branches), tuple(loads), tuple(sources), earthing, heads
    )


class _Union:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def find(self, item: int) -> int:
        above = self._above
        while above[item] != item:
            above[item] = above[above[item]]
            item = above[item]
        return item

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self._above[max(a, b)] = min(a, b)


def _low_voltage(grid: Grid) -> tuple[set[str], dict[str, str]]:
    """Nodes below 1 kV, and for those that a transformer feeds the node of its primary side."""
    low = {address for address, node in grid.nodes.items() if node.nominal < MEDIUM_VOLTAGE}
    neighbours: dict[str, list[str]] = {address: [] for address in low}
    feeds: list[tuple[str, str, str]] = []
    for item in grid.equipment.values():
        if len(item.nodes) < 2 or item.cim_class is CimClass.GROUND_DISCONNECTOR:
            continue
        if isinstance(item.data, SwitchRating) and item.data.normal_open:
            continue
        inside = [node for node in item.nodes if node in low]
        for a, b in itertools.pairwise(inside):
            neighbours[a].append(b)
            neighbours[b].append(a)
        if item.cim_class is CimClass.TRANSFORMER and inside and item.nodes[0] not in low:
            feeds += [(item.address, item.nodes[0], node) for node in inside]
    primary: dict[str, str] = {}
    for _, above, start in sorted(feeds):
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in primary:
                primary[node] = above
                stack += neighbours[node]
    return low, primary


def _zones(
    grid: Grid,
    nodes: tuple[str, ...],
    joined: _Union,
    *,
    branches: Iterable[Branch],
    loads: Iterable[Load],
    sources: Iterable[Source],
    place: Callable[[str], int | None],
) -> tuple[tuple[int, ...], tuple[Zone, ...]]:
    """Zone of each node, and the zones in the order of their first nodes."""
    number: dict[int, int] = {}
    zone_of = tuple(number.setdefault(joined.find(i), len(number)) for i in range(len(nodes)))
    members: list[list[int]] = [[] for _ in number]
    for node, zone in enumerate(zone_of):
        members[zone].append(node)
    lines: list[list[str]] = [[] for _ in number]
    length = [0.0] * len(number)
    busbars: list[list[str]] = [[] for _ in number]
    consumers: list[list[str]] = [[] for _ in number]
    generators: list[list[str]] = [[] for _ in number]
    fed = {zone_of[source.node] for source in sources}
    for branch in branches:
        data = grid.equipment[branch.address].data
        if isinstance(data, LineData):
            lines[zone_of[branch.nodes[0]]].append(branch.address)
            length[zone_of[branch.nodes[0]]] += data.length
    for load in loads:
        consumers[zone_of[load.node]].append(load.address)
    for item in grid.of(CimClass.GENERATOR, CimClass.BUSBAR):
        at = place(item.nodes[0])
        if at is not None:
            (generators if item.cim_class is CimClass.GENERATOR else busbars)[zone_of[at]].append(item.address)
    zones = []
    for zone, within in enumerate(members):
        named = lines[zone] or busbars[zone] or [nodes[node] for node in within]
        zones.append(
            Zone(
                min(named),
                tuple(within),
                length[zone],
                tuple(sorted(lines[zone])),
                tuple(sorted(consumers[zone])),
                tuple(sorted(generators[zone])),
                zone in fed,
            )
        )
    return zone_of, tuple(zones)
