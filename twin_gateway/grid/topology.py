"""Live topology: islands, supply, earthing and loops from switch positions, unknown ones taken both ways (spec 2.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.arrays import components
from twin_gateway.grid.cycles import on_cycle
from twin_gateway.grid.model import Grid, Position
from twin_gateway.grid.zones import Flags, Indexes, Positions, ZoneGraph, zone_graph

_CLOSED = np.int8(Position.CLOSED)
_UNKNOWN = np.int8(Position.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a zone is fed from.

    Attributes:
        sources: addresses of the energy sources, sorted; empty for a dead zone.
        feeders: addresses of the feeders whose heads it is fed through, sorted; empty on busbars.
    """

    sources: tuple[str, ...] = ()
    feeders: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The feeders, or the sources of what is before any feeder; several with commas."""
        return ",".join(self.feeders or self.sources)


@dataclass(slots=True)
class TopologyState:
    """The grid with every switch either open or closed. Arrays have one entry a zone.

    Attributes:
        closed: of each device.
        section: zones joined without passing the head of a feeder, as the lowest zone number among them.
        island: zones joined at all, likewise.
        energised: a source is in the island.
        earthed: an earthing switch that is closed is in the island.
        looped: on a closed loop, or on a way between two sources.
        fed: key of the `Feed` in `feeds`; 0 for dead zones.
        feeds: by key.
        fed_by: what the feeds followed from (heads, their sections, those of the sources), and the sections with keys.
    """

    closed: Flags
    section: Indexes
    island: Indexes
    energised: Flags
    earthed: Flags
    looped: Flags
    fed: Indexes
    feeds: Mapping[int, Feed] = field(default_factory=lambda: {0: Feed()})
    fed_by: tuple[bytes, list[int], list[int]] = (b"", [], [])


@dataclass(slots=True)
class LiveTopology:
    """Positions of all devices and what follows from them.

    `dark` takes unknown switches as open, `light` as closed. Whoever wants to be sure that a zone is dead asks `light`,
    whoever wants to be sure that it is earthed asks `dark`: the answers `energised` and `earthed` of this class do so.

    Attributes:
        graph: zones and switches.
        positions: of each device, int8; change them with `update` only.
    """

    graph: ZoneGraph
    positions: Positions
    dark: TopologyState
    light: TopologyState

    @staticmethod
    def of(grid: Grid | ZoneGraph, positions: Positions | None = None) -> LiveTopology:
        """The topology of a grid in some positions, the normal ones unless given."""
        graph = grid if isinstance(grid, ZoneGraph) else zone_graph(grid)
        places = graph.normal.copy() if positions is None else positions.astype(np.int8, copy=True)
        empty = np.zeros(graph.zone_count, bool)
        none = np.zeros(0, np.intp)
        states = [
            TopologyState(np.zeros(len(graph.devices), bool), none, none, empty, empty, empty, none) for _ in range(2)
        ]
        live = LiveTopology(graph, places, states[0], states[1])
        for state in states:
            state.section = np.arange(graph.zone_count)
        everything = np.arange(len(graph.devices))
        live._settle(live.dark, everything, places == _CLOSED)
        live._settle(live.light, everything, places != np.int8(Position.OPEN))
        return live

    def copy(self) -> LiveTopology:
        """The same state, to try something on; the graph is shared."""
        return LiveTopology(self.graph, self.positions.copy(), replace(self.dark), replace(self.light))

    def tried(self, changes: Mapping[str, Position]) -> LiveTopology:
        """A copy with some devices in other positions, by their addresses.

        Raises:
            KeyError: an address is no device of the grid.
        """
        other = self.copy()
        numbers = np.array([self.graph.device[address] for address in changes], np.intp)
        other.update(numbers, np.array(list(changes.values()), np.int8))
        return other

    def update(self, devices: Indexes, positions: Positions) -> bool:
        """Take new positions of some devices; False when none of them is new."""
        new = self.positions[devices] != positions
        if not new.any():
            return False
        self.positions[devices] = positions
        now = self.positions[devices]
        for state, closed in (
            (self.dark, now == _CLOSED),
            (self.light, now != np.int8(Position.OPEN)),
        ):
            differ = state.closed[devices] != closed
            if differ.any():
                # of a device that occurs twice the position kept above counts, and is the same in both places
                self._settle(state, devices[differ], closed[differ])
        return True

    def adopt(self, other: LiveTopology) -> None:
        """Become what a copy has become, as one step: for computations beside the event loop."""
        self.positions, self.dark, self.light = other.positions, other.dark, other.light

    # ---- answers --------------------------------------------------------------------------------------------------

    @property
    def energised(self) -> Flags:
        """Zones that are or may be live: no zone is called dead while a switch of unknown position could feed it."""
        return self.light.energised

    @property
    def earthed(self) -> Flags:
        """Zones that are earthed for certain."""
        return self.dark.earthed

    @property
    def looped(self) -> Flags:
        """Zones that are or may be on a loop or between two sources."""
        return self.light.looped

    @property
    def uncertain(self) -> Flags:
        """Zones whose supply, earthing or loops depend on a switch of unknown position."""
        dark, light = self.dark, self.light
        return np.asarray(
            (dark.energised != light.energised)
            | (dark.earthed != light.earthed)
            | (dark.looped != light.looped)
            | (dark.fed != light.fed)
        )

    @property
    def island_uncertain(self) -> Flags:
        """Zones whose island is larger when switches of unknown position are closed."""
        count = self.graph.zone_count
        sizes = [np.bincount(state.island, minlength=count)[state.island] for state in (self.dark, self.light)]
        return np.asarray(sizes[0] != sizes[1])

    @property
    def unknown(self) -> Indexes:
        """Devices whose position is not known."""
        return np.flatnonzero(self.positions == _UNKNOWN)

    @property
    def deviating(self) -> Indexes:
        """Devices known to be in another than their normal position."""
        return np.flatnonzero((self.positions != self.graph.normal) & (self.positions != _UNKNOWN))

    def position(self, address: str) -> Position:
        """Position of a device (KeyError when there is no such)."""
        return Position(int(self.positions[self.graph.device[address]]))

    def feed(self, zone: int) -> Feed:
        """What feeds a zone for certain (unknown switches open)."""
        return self.dark.feeds[int(self.dark.fed[zone])]

    def neighbours(self, zone: int) -> list[tuple[str, Position, int]]:
        """Switches of a zone with their position and the zone at the other end."""
        ends = self.graph.ends
        found: list[tuple[str, Position, int]] = []
        for number in np.flatnonzero((ends[:, 0] == zone) | (ends[:, 1] == zone)):
            other = int(ends[number, 1] if ends[number, 0] == zone else ends[number, 0])
            found.append((self.graph.devices[number], Position(int(self.positions[number])), other))
        return found

    # ---- computing ------------------------------------------------------------------------------------------------

    def _settle(self, state: TopologyState, devices: Indexes, closed: Flags) -> None:
        """Put devices into positions and compute the state anew, sections only where they are touched."""
        graph = self.graph
        # New arrays, so that a copy and whoever holds the old ones keep what they have.
        state.closed = state.closed.copy()
        state.closed[devices] = closed
        heads = np.zeros(graph.switch_count, bool)
        heads[graph.head] = True
        switches = devices[devices < graph.switch_count]
        touched = switches[~heads[switches]]
        if len(touched):
            state.section = self._sections(state, touched, heads)
        switched = state.closed[: graph.switch_count]
        shut = graph.head[switched[graph.head]]
        ends = state.section[graph.ends[shut]]
        state.island = components(graph.zone_count, ends[:, 0], ends[:, 1])[state.section]
        state.energised = self._marked(state.island, graph.source_zone)
        earths = state.closed[graph.switch_count :]
        state.earthed = self._marked(state.island, graph.earth_zone[earths].ravel())
        state.looped = self._loops(state, switched)
        state.fed = self._fed(state)

    def _marked(self, island: Indexes, zones: Indexes) -> Flags:
        """Zones whose island holds one of some zones."""
        mark = np.zeros(self.graph.zone_count, bool)
        mark[island[zones]] = True
        return np.asarray(mark[island])

    def _sections(self, state: TopologyState, touched: Indexes, heads: Flags) -> Indexes:
        graph, section = self.graph, state.section
        mark = np.zeros(graph.zone_count, bool)
        mark[section[graph.ends[touched].ravel()]] = True
        inside = mark[section]
        zones = np.flatnonzero(inside)
        closed = state.closed[: graph.switch_count]
        edges = np.flatnonzero(closed & ~heads & inside[graph.ends[:, 0]] & inside[graph.ends[:, 1]])
        local = np.empty(graph.zone_count, np.intp)
        local[zones] = np.arange(len(zones))
        ends = local[graph.ends[edges]]
        out = section.copy()
        out[zones] = zones[components(len(zones), ends[:, 0], ends[:, 1])]
        return out

    def _loops(self, state: TopologyState, switched: Flags) -> Flags:
        """Zones on loops; only islands with more edges than a tree has are looked into."""
        graph, island = self.graph, state.island
        count = graph.zone_count
        shut = np.flatnonzero(switched)
        feeding = np.unique(graph.source_zone)
        edges = np.bincount(island[graph.ends[shut, 0]], minlength=count)
        inputs = np.bincount(island[feeding], minlength=count)
        spare = edges - np.bincount(island, minlength=count) + 1 + np.maximum(inputs - 1, 0)
        spare[island != np.arange(count)] = 0  # not the number of an island
        suspect = spare[island] > 0
        if not suspect.any():
            return graph.meshed.copy()
        shut = shut[suspect[graph.ends[shut, 0]]]
        feeding = feeding[suspect[feeding]]
        # All sources are one vertex more, so that a way between two of them is a cycle.
        first = np.concatenate([graph.ends[shut, 0], feeding])
        second = np.concatenate([graph.ends[shut, 1], np.full(len(feeding), count)])
        return np.asarray(on_cycle(count + 1, first, second)[:count] | graph.meshed)

    def _fed(self, state: TopologyState) -> Indexes:
        """Feeds by section: those with sources by themselves, others through the heads nearest to a source."""
        graph, section = self.graph, state.section
        ends, roots = section[graph.ends[graph.head]], section[graph.source_zone]
        shut = state.closed[graph.head]
        cause = b"".join((shut.tobytes(), ends.tobytes(), roots.tobytes()))
        if state.fed_by[0] != cause:
            feeds = self._feeds(shut.tolist(), ends.tolist(), roots.tolist())
            # The hash is a key that both states of a topology and all copies of it share without keeping a register.
            keys = {label: hash(feed) or 1 for label, feed in feeds.items()}
            state.fed_by = (cause, list(keys), list(keys.values()))
            state.feeds = {0: Feed(), **{keys[label]: feed for label, feed in feeds.items()}}
        numbers = np.zeros(graph.zone_count, np.intp)
        numbers[state.fed_by[1]] = state.fed_by[2]
        return np.asarray(numbers[section])

    def _feeds(self, shut: list[bool], ends: list[list[int]], roots: list[int]) -> dict[int, Feed]:
        """Feeds of the sections that are live, by their labels."""
        graph = self.graph
        sources: dict[int, set[str]] = {}
        feeders: dict[int, set[str]] = {}
        for address, label in zip(graph.sources, roots, strict=True):
            sources.setdefault(label, set()).add(address)
        near: dict[int, list[tuple[int, str]]] = {}
        for name, closed, (a, b) in zip(graph.feeders, shut, ends, strict=True):
            if closed and a != b:
                near.setdefault(a, []).append((b, name))
                near.setdefault(b, []).append((a, name))
        done = set(sources)
        front = list(sources)
        while front:
            following: dict[int, None] = {}
            for here in front:
                for other, name in near.get(here, ()):
                    if other in done:
                        continue
                    sources.setdefault(other, set()).update(sources[here])
                    feeders.setdefault(other, set()).add(name)
                    following[other] = None
            done.update(following)
            front = list(following)
        return {
            label: Feed(tuple(sorted(names)), tuple(sorted(feeders.get(label, ())))) for label, names in sources.items()
        }


def as_positions(graph: ZoneGraph, positions: Mapping[str, Position]) -> Positions:
    """Positions by address as an array over the devices, normal where none is given."""
    out = graph.normal.copy()
    for address, position in positions.items():
        out[graph.device[address]] = position
    return out


def customers_in(graph: ZoneGraph, zones: Flags) -> int:
    """Customers in marked zones."""
    return int(graph.customers[zones].sum())


def names_of(graph: ZoneGraph, numbers: Iterable[int] | npt.NDArray[np.intp]) -> list[str]:
    """Addresses of devices by their numbers."""
    return [graph.devices[int(number)] for number in numbers]
