"""The contracted grid: zones of connectivity nodes joined by equipment that is no switch, and switches between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.arrays import components
from twin_gateway.grid.model import CimClass, Equipment, Grid, LoadData, Position, SwitchRating

Indexes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class ZoneGraph:
    """Zones and switches as arrays; made once for a grid.

    Devices are all switches with a position: first those between two nodes, then the earthing switches.

    Attributes:
        nodes: address of each connectivity node; `number` is the inverse.
        zone: zone of each node. Zones are numbered from 0 by their first node.
        zone_count: number of zones.
        first_node: lowest number of a node in each zone.
        devices: address of each device; `device` is the inverse.
        ratings: of each device.
        normal: position of each device in the normal switching state (`Position`), int8.
        switch_count: how many of the devices are between two nodes.
        ends: zones at both ends of each switch, shape (switches, 2); twice the same for one that bridges equipment.
        earth_zone: zones that each earthing switch earths, shape (earthing switches, 2); twice the same with one
            terminal.
        sources: address of each energy source.
        source_zone: zone of each.
        meshed: zones whose own equipment makes a loop.
        feeders: address of each feeder.
        head: number of the switch at the head of each.
        customers: customers in each zone.
        equipment_zone: zone of the first terminal of all other equipment, by its address.
    """

    nodes: tuple[str, ...]
    number: Mapping[str, int]
    zone: Indexes
    zone_count: int
    first_node: Indexes
    devices: tuple[str, ...]
    device: Mapping[str, int]
    ratings: tuple[SwitchRating, ...]
    normal: Positions
    switch_count: int
    ends: Indexes
    earth_zone: Indexes
    sources: tuple[str, ...]
    source_zone: Indexes
    meshed: Flags
    feeders: tuple[str, ...]
    head: Indexes
    customers: Indexes
    equipment_zone: Mapping[str, int]

    def members(self, zone: int) -> tuple[str, ...]:
        """Addresses of the connectivity nodes of a zone."""
        return tuple(self.nodes[number] for number in np.flatnonzero(self.zone == zone))

    def zone_of(self, address: str) -> int:
        """Zone of a connectivity node or of equipment (its first terminal); -1 when it has none."""
        number = self.number.get(address)
        if number is not None:
            return int(self.zone[number])
        found = self.equipment_zone.get(address)
        if found is not None:
            return found
        device = self.device.get(address)
        if device is None:
            return -1
        if device < self.switch_count:
            return int(self.ends[device, 0])
        return int(self.earth_zone[device - self.switch_count, 0])


def zone_graph(grid: Grid) -> ZoneGraph:
    """Contract a grid."""
    nodes = tuple(grid.nodes)
    number = {address: index for index, address in enumerate(nodes)}
    joins: list[tuple[int, int]] = []
    switches: list[Equipment] = []
    earths: list[Equipment] = []
    fixed: list[Equipment] = []
    for item in grid.equipment.values():
        if item.cim_class is CimClass.GROUND_DISCONNECTOR:
            earths.append(item)
        elif item.is_switch:
            switches.append(item)
        else:
            fixed.append(item)
            first = number[item.nodes[0]]
            joins.extend((first, number[node]) for node in item.nodes[1:])
    edges = np.array(joins, np.intp).reshape(-1, 2)
    roots = components(len(nodes), edges[:, 0], edges[:, 1])
    first_node, zone = np.unique(roots, return_inverse=True)
    count = len(first_node)
    size = np.bincount(zone, minlength=count)
    inside = np.bincount(zone[edges[:, 0]], minlength=count) if len(edges) else np.zeros(count, np.intp)
    devices = [*switches, *earths]
    ratings = tuple(item.data if isinstance(item.data, SwitchRating) else SwitchRating() for item in devices)
    device = {item.address: index for index, item in enumerate(devices)}
    sources = [item for item in fixed if item.cim_class is CimClass.SOURCE]
    feeders = [feeder for feeder in grid.feeders.values() if device.get(feeder.head, len(devices)) < len(switches)]
    customers = np.zeros(count, np.intp)
    for item in fixed:
        if isinstance(item.data, LoadData):
            customers[zone[number[item.nodes[0]]]] += item.data.customers

    def zones(items: list[Equipment]) -> Indexes:
        pairs = [(zone[number[item.nodes[0]]], zone[number[item.nodes[-1]]]) for item in items]
        return np.array(pairs, np.intp).reshape(-1, 2)

    return ZoneGraph(
        nodes=nodes,
        number=number,
        zone=zone.astype(np.intp),
        zone_count=count,
        first_node=first_node.astype(np.intp),
        devices=tuple(item.address for item in devices),
        device=device,
        ratings=ratings,
        normal=np.array([Position.OPEN if r.normal_open else Position.CLOSED for r in ratings], np.int8),
        switch_count=len(switches),
        ends=zones(switches),
        earth_zone=zones(earths),
        sources=tuple(item.address for item in sources),
        source_zone=zones(sources)[:, 0],
        meshed=inside > size - 1,
        feeders=tuple(feeder.address for feeder in feeders),
        head=np.array([device[feeder.head] for feeder in feeders], np.intp),
        customers=customers,
        equipment_zone={item.address: int(zone[number[item.nodes[0]]]) for item in fixed},
    )
