"""Results of the live topology as points: per connectivity node and in total; only what has changed is written."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Batch, PointProfile, Rows, TextSample, Ticks, Words
from address_space.quality import Quality
from address_space.table import PointTable
from twin_gateway.functions.contract import TwinContext
from twin_gateway.grid.topology import LiveTopology

FUNCTION = "twTOPO1"
NODE_POINTS = ("Energised", "Earthed", "Looped", "Uncertain", "Island", "FedFrom")
TOTALS = ("DeadCnt", "LoopCnt", "IslCnt", "UnkCnt")
_BATCH = 4000
_TEXTS = 1000  # texts are taken one by one
_UNCERTAIN = np.uint32(Quality.QUESTIONABLE)
_NEVER = np.uint32(0xFFFF_FFFF)

Numbers = npt.NDArray[np.int64]


def function_of(place: str) -> str:
    """Address of the `twTOPO1` object of a place of any level."""
    return f"{place}{'/_' * (5 - place.count('/'))}/{FUNCTION}"


class _Column:
    """One data object over all nodes: rows, and what was written last."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.values: Numbers = np.zeros(len(rows), np.int64)
        self.words: Words = np.full(len(rows), _NEVER, np.uint32)

    def changed(self, values: Numbers, words: Words) -> npt.NDArray[np.intp]:
        """Nodes whose value or quality is another one than written; they count as written from now on."""
        found = np.flatnonzero((values != self.values) | (words != self.words))
        self.values, self.words = values, words
        return found


class TopologyPoints:
    """Adds the points and writes them.

    Args:
        context: see `TwinContext`.
        live: the topology whose nodes and totals are published.
        nodes: whether there are points for every node.
    """

    def __init__(self, context: TwinContext, live: LiveTopology, *, nodes: bool = True) -> None:
        self._context = context
        self._table: PointTable = context.table
        self.owner = function_of(context.place)
        context.results.add(f"{self.owner}/{name}" for name in TOTALS)
        graph = live.graph
        area = context.place + "/"
        self._inside = np.array([address.startswith(area) for address in graph.nodes], bool)
        self._columns: dict[str, _Column] = {}
        self._totals: dict[str, tuple[int, int]] = {}
        if nodes:
            self._add_nodes(graph.nodes)

    def _add_nodes(self, nodes: tuple[str, ...]) -> None:
        """Points of all nodes in one go: with ten thousand switches they are a hundred thousand."""
        table = self._table
        addresses = [f"{node}/{FUNCTION}/{name}" for node in nodes for name in NODE_POINTS]
        profiles = [
            table.profile_number(PointProfile.of(classify(parse(f"{nodes[0]}/{FUNCTION}/{name}")))) if nodes else 0
            for name in NODE_POINTS
        ]
        new = table.tree.find_many(addresses) < 0
        wanted = [address for address, absent in zip(addresses, new, strict=True) if absent]
        kinds = np.tile(np.array(profiles, np.uint32), len(nodes))[new].tolist()
        none = table.link_number("")
        table.add_columns(wanted, kinds, [none] * len(wanted), [table.source_number(0)] * len(wanted))
        rows = table.tree.row[table.tree.find_many(addresses)].reshape(len(nodes), len(NODE_POINTS))
        for index, name in enumerate(NODE_POINTS):
            self._columns[name] = _Column(rows[:, index].astype(np.int32))

    def write(self, live: LiveTopology, source_time: int) -> Iterator[int]:
        """Write what has changed, in batches; yields the number of samples after each, so that others may run.

        Args:
            live: as it is now.
            source_time: of the newest input, FILETIME ticks; 0 for now.
        """
        ticks = source_time or clock.now()
        for name, column in self._columns.items():
            values, words = self._of_nodes(live, name)
            found = column.changed(values, words)
            size = _TEXTS if name == "FedFrom" else _BATCH
            for start in range(0, len(found), size):
                part = found[start : start + size]
                rows, quality = column.rows[part], words[part]
                if name == "FedFrom":
                    feeds = live.dark.feeds
                    texts = [
                        TextSample(int(row), str(feeds[int(key)]), int(word), ticks)
                        for row, key, word in zip(rows, values[part], quality, strict=True)
                    ]
                    self._table.ingest(Batch.of([], [], texts=texts))
                else:
                    times: Ticks = np.full(len(part), ticks, np.int64)
                    self._table.ingest(Batch(rows, values[part].astype(np.float64), quality, times))
                yield len(part)
        self._write_totals(live, ticks)

    def _of_nodes(self, live: LiveTopology, name: str) -> tuple[Numbers, Words]:
        """Values and qualities of one data object over all nodes; uncertain where both ways differ."""
        zone, dark, light = live.graph.zone, live.dark, live.light
        if name == "Island":
            # A number from 1 that stays while the island keeps its first node.
            values, unsure = live.graph.first_node[dark.island] + 1, live.island_uncertain
        elif name == "Uncertain":
            values, unsure = live.uncertain.astype(np.int64), np.zeros(live.graph.zone_count, bool)
        elif name == "FedFrom":
            values, unsure = dark.fed, dark.fed != light.fed
        elif name == "Energised":
            values, unsure = live.energised.astype(np.int64), dark.energised != light.energised
        elif name == "Earthed":
            values, unsure = live.earthed.astype(np.int64), dark.earthed != light.earthed
        else:
            values, unsure = live.looped.astype(np.int64), dark.looped != light.looped
        words = np.where(unsure, _UNCERTAIN, np.uint32(0)).astype(np.uint32)
        return values.astype(np.int64)[zone], words[zone]

    def _write_totals(self, live: LiveTopology, ticks: int) -> None:
        zone, inside = live.graph.zone, self._inside
        energised, looped = live.energised[zone][inside], live.looped[zone][inside]
        islands = live.dark.island[zone][inside & live.dark.energised[zone]]
        sure = {
            "DeadCnt": not (live.dark.energised != live.light.energised)[zone][inside].any(),
            "LoopCnt": not (live.dark.looped != live.light.looped)[zone][inside].any(),
            "IslCnt": not live.island_uncertain[zone][inside].any(),
            "UnkCnt": True,
        }
        values = {
            "DeadCnt": int(np.count_nonzero(~energised)),
            "LoopCnt": int(np.count_nonzero(looped)),
            "IslCnt": int(np.count_nonzero(np.bincount(islands))),
            "UnkCnt": len(live.unknown),
        }
        for name, value in values.items():
            now = value, 0 if sure[name] else int(_UNCERTAIN)
            if self._totals.get(name) != now:
                self._totals[name] = now
                self._context.results.write({f"{self.owner}/{name}": value}, now[1], ticks)


def bay_of(address: str) -> str:
    """The first five levels of an address, fillers included."""
    levels = parse(address).place
    return "/".join((*levels, *("_",) * (5 - len(levels)))[:5])
