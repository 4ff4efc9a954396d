"""What hangs from a feeder and what could feed it instead, from the live topology (spec 6.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_gateway.grid.model import CimClass, Grid, LineData, Position, SwitchRating, TransformerData
from twin_gateway.grid.topology import LiveTopology, customers_in
from twin_gateway.grid.zones import ZoneGraph


@dataclass(frozen=True, slots=True)
class Tie:
    """An open switch over which a part of a feeder could be fed another way.

    Attributes:
        switch: its address.
        other: feeders, or else sources, on its other side: the feeder itself when the switch joins two of its branches.
    """

    switch: str
    other: str


@dataclass(frozen=True, slots=True)
class Downstream:
    """What a feeder feeds at present.

    Attributes:
        transformers: addresses, sorted.
        customers: behind them.
        ties: sorted by address.
    """

    transformers: tuple[str, ...] = ()
    customers: int = 0
    ties: tuple[Tie, ...] = ()


class FeederAreas:
    """Answers what hangs from the feeders of a grid; what does not change is looked up once.

    Args:
        grid: with the transformers.
        graph: its zones.
    """

    def __init__(self, grid: Grid, graph: ZoneGraph) -> None:
        found = sorted(grid.of(CimClass.TRANSFORMER), key=lambda item: item.address)
        self._graph = graph
        self._transformers = tuple(item.address for item in found)
        ends = [(at, graph.zone_of(node)) for at, item in enumerate(found) for node in item.nodes]
        self._end = np.array(ends, np.intp).reshape(-1, 2)

    def downstream(self, live: LiveTopology, feeder: str) -> Downstream:
        """Transformers, customers and ties of a feeder (address of its bay); empty when it is none of the grid.

        A zone belongs to the feeder when it is fed through its head for certain.
        """
        keys = [key for key, feed in live.dark.feeds.items() if feeder in feed.feeders]
        mine = np.isin(live.dark.fed, keys)
        if not mine.any():
            return Downstream()
        graph = self._graph
        numbers = np.unique(self._end[mine[self._end[:, 1]], 0])
        opened = np.flatnonzero(live.positions[: graph.switch_count] == Position.OPEN)
        first, second = graph.ends[opened, 0], graph.ends[opened, 1]
        # Inside the feeder those count that rest open: they are there to feed one branch from the other.
        inside = mine[first] & mine[second] & (first != second) & (graph.normal[opened] == Position.OPEN)
        between = (first >= 0) & (second >= 0) & ((mine[first] != mine[second]) | inside)
        beyond = np.where(mine[first], second, first)[between]
        ties = []
        for number, zone in zip(opened[between].tolist(), beyond.tolist(), strict=True):
            other = live.feed(zone)
            if other.sources:
                ties.append(Tie(graph.devices[number], str(other)))
        return Downstream(
            tuple(self._transformers[number] for number in numbers.tolist()),
            customers_in(graph, mine),
            tuple(sorted(ties, key=lambda tie: tie.switch)),
        )


def downstream(grid: Grid, live: LiveTopology, feeder: str) -> Downstream:
    """What hangs from one feeder; see `FeederAreas`."""
    return FeederAreas(grid, live.graph).downstream(live, feeder)


def rating_of(grid: Grid, feeder: str, own: float | None = None) -> float | None:
    """A: least of the ratings of the head, of the line behind it, and of the nameplate; None when none is known."""
    ratings = [] if own is None else [own]
    known = grid.feeders.get(feeder)
    head = grid.equipment.get(known.head) if known is not None else None
    if head is not None:
        if isinstance(head.data, SwitchRating) and head.data.i_max is not None:
            ratings.append(head.data.i_max)
        lines = (item.data for item in grid.of(CimClass.LINE) if head.nodes[-1] in item.nodes)
        ratings += [line.i_max for line in lines if isinstance(line, LineData) and line.i_max is not None]
    return min(ratings, default=None)


def loading(current: float | None, rating: float | None) -> float | None:
    """Percent of the rating; None when either is unknown."""
    return None if current is None or not rating else 100.0 * current / rating


def rated_power(grid: Grid, transformers: tuple[str, ...]) -> float:
    """VA of transformers together."""
    found = (grid.equipment[address].data for address in transformers)
    return sum(data.s for data in found if isinstance(data, TransformerData))
