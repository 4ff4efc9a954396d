"""Checks of a whole grid model: voltages, parts without a source, addresses alike, phases that end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from twin_gateway.grid.model import CimClass, Equipment, Grid, TransformerData
from twin_gateway.mapping.read import Map, Source

_FAR: Final = 0.25
_CLOSE: Final = 1e-6


@dataclass(slots=True)
class Located:
    """Where something of the grid model is written."""

    source: Source
    offset: int
    entry: Map | None = None

    def field(self, name: str) -> int:
        """Offset of a field's value; of the entry when it has no such field."""
        return self.entry.value_at(name) if self.entry is not None and name in self.entry else self.offset


def check_grid(grid: Grid, where: Mapping[str, Located]) -> None:
    """Report what contradicts itself in a grid whose parts could all be read.

    Raises:
        TooManyProblemsError: a file has more errors than help anybody.
    """
    for item in grid.equipment.values():
        located = where[item.address]
        if isinstance(item.data, TransformerData):
            _transformer(grid, item, item.data, located)
        elif len(item.nodes) == 2:
            first, second = (grid.nodes[node].nominal for node in item.nodes)
            if abs(first - second) > _CLOSE * first:
                message = f"a {item.cim_class} between {first:g} V and {second:g} V"
                hint = "a transformer is between different voltages"
                located.source.report(located.field("nodes"), "TG706", message, hint)
    _alike([*grid.nodes, *grid.equipment, *grid.meters], where)
    _unfed(grid, where)


def _transformer(grid: Grid, item: Equipment, data: TransformerData, located: Located) -> None:
    for node, rated, name in zip(item.nodes, (data.u1, data.u2), ("u1", "u2"), strict=False):
        nominal = grid.nodes[node].nominal
        if abs(rated - nominal) > _FAR * nominal:
            message = f"{name} is {rated:g} V, its node {node} has {nominal:g} V"
            swapped = f"side 1 is the first node: are {item.nodes[0]} and {item.nodes[1]} the right way round?"
            located.source.report(located.field(name), "TG706", message, swapped)


def _alike(addresses: Iterable[str], where: Mapping[str, Located]) -> None:
    seen: dict[str, str] = {}
    for address in addresses:
        other = seen.setdefault(address.lower(), address)
        if other != address and address in where:
            located = where[address]
            located.source.report(located.offset, "TG703", f"{address} and {other} differ only in upper and lower case")


def parts(grid: Grid) -> list[set[str]]:
    """Nodes that hang together when every switch is closed, the largest part first."""
    above = {node: node for node in grid.nodes}

    def top(node: str) -> str:
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    for item in grid.equipment.values():
        for node in item.nodes[1:]:
            above[top(node)] = top(item.nodes[0])
    found: dict[str, set[str]] = {}
    for node in grid.nodes:
        found.setdefault(top(node), set()).add(node)
    return sorted(found.values(), key=len, reverse=True)


def _unfed(grid: Grid, where: Mapping[str, Located]) -> None:
    sources = {node for item in grid.of(CimClass.SOURCE) for node in item.nodes}
    if not sources and grid.nodes:
        located = where[next(iter(grid.nodes))]
        located.source.warn(0, "TG707", "the grid has no EnergySource: all of it is dead")
        return
    for part in parts(grid):
        if part & sources:
            continue
        first = next(item for item in where if item in part)
        located = where[first]
        many = f"{len(part)} connectivity nodes" if len(part) > 1 else "one connectivity node"
        located.source.warn(located.offset, "TG707", f"{many} ({first}) can be fed by no source, whatever the switches")
