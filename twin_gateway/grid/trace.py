"""The way from a place in the grid to its source, through every piece of equipment."""

from __future__ import annotations

from collections import deque

from twin_gateway.grid.model import CimClass, Grid
from twin_gateway.grid.zones import Flags, ZoneGraph


class Tracer:
    """Finds shortest ways (fewest pieces of equipment) over closed switches; made once for a grid."""

    def __init__(self, grid: Grid, graph: ZoneGraph) -> None:
        self._graph = graph
        self._grid = grid
        self._near: dict[str, list[tuple[str, str, int]]] = {}
        self._sources: dict[str, str] = {}
        for item in grid.equipment.values():
            if item.cim_class is CimClass.SOURCE:
                self._sources.setdefault(item.nodes[0], item.address)
            if item.cim_class is CimClass.GROUND_DISCONNECTOR:
                continue
            device = graph.device.get(item.address, -1)
            for node in item.nodes[1:]:
                self._near.setdefault(item.nodes[0], []).append((item.address, node, device))
                self._near.setdefault(node, []).append((item.address, item.nodes[0], device))

    def trace(self, address: str, closed: Flags) -> list[str] | None:
        """Equipment from a node or piece of equipment to the nearest source, both ends included; None when it is dead.

        Args:
            address: of a connectivity node or equipment.
            closed: of each device of the graph.

        Raises:
            KeyError: nothing of this address in the grid.
        """
        start: tuple[str, ...] = (address,)
        first: list[str] = []
        if address not in self._grid.nodes:
            item = self._grid.equipment[address]
            device = self._graph.device.get(address, -1)
            # From an open switch the way begins at its first terminal; it is itself on no way.
            start = item.nodes if device < 0 or closed[device] else item.nodes[:1]
            first = [address]
        before: dict[str, tuple[str, str]] = {}
        queue, seen = deque(start), set(start)
        while queue:
            node = queue.popleft()
            source = self._sources.get(node)
            if source is not None:
                way = [source]
                while node in before:
                    equipment, node = before[node]
                    way.append(equipment)
                way += [item for item in first if item != way[-1]]
                return way[::-1]
            for equipment, other, device in self._near.get(node, ()):
                if other not in seen and (device < 0 or closed[device]):
                    seen.add(other)
                    before[other] = (equipment, node)
                    queue.append(other)
        return None
