"""Points as rows of numpy columns: how they are added, what each is, and its newest value, quality and times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space import fingerprint as hashes
from address_space.catalogue import ValueType
from address_space.ingest import Scaling, values_of
from address_space.point import Point, PointProfile, Raw, Rows, Sample, Ticks, Words
from address_space.quality import Quality, TimeFlag
from address_space.tree import NO_NODE, AddressTree

_TEXT_SOURCE = 1 << 63


@dataclass(slots=True)
class TableCounters:
    """What the table has done with samples since the start."""

    samples: int = 0
    changes: int = 0
    in_deadband: int = 0
    late: int = 0
    time_replaced: int = 0
    not_a_number: int = 0


class PointColumns:
    """The columns of a point table, which see.

    Columns (one entry a row): `raw` value bits uint64 (little-endian, the value in the low bytes, see `ValueType`),
    `status`, `source_time`, `received`, `quality`, `value_type`, `profile` number, `link` number, `source`.
    """

    def __init__(self) -> None:
        self.tree = AddressTree()
        self.counters = TableCounters()
        self.raw: Raw = np.empty(0, np.uint64)
        self.status: Words = np.empty(0, np.uint32)
        self.source_time: Ticks = np.empty(0, np.int64)
        self.received: Ticks = np.empty(0, np.int64)
        self.quality: Words = np.empty(0, np.uint32)
        self.value_type: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self.node: Rows = np.empty(0, np.int32)
        self._profile: npt.NDArray[np.uint32] = np.empty(0, np.uint32)
        self._link: npt.NDArray[np.uint16] = np.empty(0, np.uint16)
        self._source: Raw = np.empty(0, np.uint64)
        self._profiles: list[PointProfile] = []
        self._profile_ids: dict[PointProfile, int] = {}
        self._scaling = Scaling([])
        self._links: list[str] = [""]
        self._link_ids: dict[str, int] = {"": 0}
        self._link_rows: dict[int, Rows] = {}
        self._source_texts: list[str] = []
        self._source_text_ids: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self._display_names: dict[int, str] = {}
        self._translations: dict[int, tuple[tuple[str, str], ...]] = {}

    def __len__(self) -> int:
        return len(self.raw)

    # ---- building -------------------------------------------------------------------------------------------------

    def add(self, points: Iterable[Point]) -> range:
        """Add points; returns their rows, in order.

        Raises:
            AddressError: when an address is malformed or taken; nothing is added then.
        """
        points = list(points)
        return self._add_numbered(points, self._numbers(points), None)

    def _numbers(self, points: Sequence[Point]) -> tuple[list[int], list[int], list[int]]:
        """Numbers of profile, link and source of each point."""
        # Points share their profiles: to look at each whether it is known costs as much as all the rest.
        kinds = {id(point.profile): point.profile for point in points}
        numbers = {key: self.profile_number(profile) for key, profile in kinds.items()}
        return (
            [numbers[id(point.profile)] for point in points],
            [self.link_number(point.link) for point in points],
            [self.source_number(point.source) for point in points],
        )

    def _add_numbered(
        self, points: Sequence[Point], numbers: tuple[list[int], list[int], list[int]], tree: AddressTree | None
    ) -> range:
        """Add points, with their numbers; they are in a tree already, if one is given."""
        rows = self._add_columns((point.address for point in points), *numbers, tree)
        for row, point in zip(rows, points, strict=True):
            self._name(row, point)
        return rows

    def add_columns(
        self, addresses: Iterable[str], profiles: Sequence[int], links: Sequence[int], sources: Sequence[int]
    ) -> range:
        """The fast way in for very many points: numbers as of `profile_number`, `link_number`, `source_number`.

        Raises:
            AddressError: when an address is malformed or taken; nothing is added then.
        """
        return self._add_columns(addresses, profiles, links, sources, None)

    def _add_columns(
        self,
        addresses: Iterable[str],
        profiles: Sequence[int],
        links: Sequence[int],
        sources: Sequence[int],
        tree: AddressTree | None,
    ) -> range:
        start, count = len(self), len(profiles)
        if tree is None:
            added = self.tree.add(addresses, start)
            if added != count:
                raise ValueError(f"{added} addresses but {count} profiles")
        else:
            self.tree.become(tree)
        self._take_profiles()
        profile = np.asarray(profiles, np.uint32)
        types = np.array([int(entry.value_type) for entry in self._profiles], np.uint8)
        now = clock.now()
        self.value_type = np.concatenate([self.value_type, types[profile] if count else np.empty(0, np.uint8)])
        self._profile = np.concatenate([self._profile, profile])
        self._link = np.concatenate([self._link, np.asarray(links, np.uint16)])
        self._source = np.concatenate([self._source, np.asarray(sources, np.uint64)])
        self.raw = np.concatenate([self.raw, np.zeros(count, np.uint64)])
        self.status = np.concatenate([self.status, np.full(count, 0x8032_0000, np.uint32)])
        self.source_time = np.concatenate([self.source_time, np.full(count, now, np.int64)])
        self.received = np.concatenate([self.received, np.full(count, now, np.int64)])
        waiting = np.uint32(Quality.NOT_INITIALISED | TimeFlag.RECEIVED)
        self.quality = np.concatenate([self.quality, np.full(count, waiting, np.uint32)])
        tree_rows = self.tree.row
        nodes = np.nonzero(tree_rows >= start)[0]
        node = np.empty(count, np.int32)
        node[tree_rows[nodes] - start] = nodes
        self.node = np.concatenate([self.node, node])
        self._link_rows.clear()
        return range(start, start + count)

    def profile_number(self, profile: PointProfile) -> int:
        """Number of an interned profile."""
        number = self._profile_ids.get(profile)
        if number is None:
            number = self._profile_ids[profile] = len(self._profiles)
            self._profiles.append(profile)
        return number

    def _take_profiles(self) -> None:
        """Let rows have profiles that are new; all at once, for it takes as long as there are profiles."""
        if len(self._scaling.gain) < len(self._profiles):
            self._scaling = Scaling(self._profiles)

    def link_number(self, name: str) -> int:
        """Number of a link name, from 0 (the service itself, empty name); at most 65 535 links."""
        number = self._link_ids.get(name)
        if number is None:
            number = len(self._links)
            if number > 0xFFFF:
                raise ValueError("more than 65 535 links in one table")
            self._link_ids[name] = number
            self._links.append(name)
        return number

    def source_number(self, source: int | str) -> int:
        """A binding inside its link as one number; texts are interned."""
        if isinstance(source, int):
            if not 0 <= source < _TEXT_SOURCE:
                raise ValueError(f"a source number has 63 bits, not {source}")
            return source
        number = self._source_text_ids.get(source)
        if number is None:
            number = self._source_text_ids[source] = len(self._source_texts)
            self._source_texts.append(source)
        return _TEXT_SOURCE | number

    def name(self, row: int, display_name: str, display_names: tuple[tuple[str, str], ...] = ()) -> None:
        """Give a point its readable names, as of `Point`."""
        if display_name:
            self._display_names[row] = display_name
        if display_names:
            self._translations[row] = display_names

    def _name(self, row: int, point: Point) -> None:
        self.name(row, point.display_name, point.display_names)

    # ---- reading --------------------------------------------------------------------------------------------------

    def find(self, address: str) -> int:
        """Row of an address; -1 when it is no point."""
        node = self.tree.find(address)
        return int(self.tree.row[node]) if node != NO_NODE else NO_NODE

    def is_point(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows are points and not retired."""
        return np.asarray(self.tree.row[self.node[rows]] == rows)

    def address(self, row: int) -> str:
        """Canonical address of a row."""
        return self.tree.address(int(self.node[row]))

    def profile(self, row: int) -> PointProfile:
        """Profile of a row."""
        return self._profiles[int(self._profile[row])]

    def fingerprint(self) -> str:
        """Identity of what the points are, 16 hexadecimal digits: addresses, profiles, bindings and display names.

        Neither the values nor the order of the rows count. A million points take about 0.1 s.
        """
        return self.fingerprint_later()()

    def fingerprint_later(self) -> Callable[[], str]:
        """The fingerprint of now, to be computed in a thread while the table goes on."""
        tree = self.tree
        node, gone, names = self.node, tree.gone, list(tree.name_ids)
        rows = np.nonzero(tree.row[node] == np.arange(len(node)))[0]
        places = (tree.parent, tree.level, tree.name_id)
        columns = (self._profile[rows], self._link[rows], self._source[rows])
        profiles, links, sources = list(self._profiles), list(self._links), list(self._source_texts)
        named, translated = dict(self._display_names), dict(self._translations)

        def compute() -> str:
            parent, level, name = places
            nodes = hashes.of_nodes(parent, level, hashes.of_texts(names)[name])
            profile, link, source = columns
            text = source >= np.uint64(_TEXT_SOURCE)
            source[text] = hashes.of_texts(sources)[source[text] & np.uint64(_TEXT_SOURCE - 1)]
            display = hashes.of_rows(named, len(node))[rows]
            further = hashes.of_rows({row: repr(names) for row, names in translated.items()}, len(node))[rows]
            points = (
                nodes[node[rows]],
                hashes.of_texts(map(repr, profiles))[profile],
                hashes.of_texts(links)[link],
                source,
                display,
                further,
            )
            return hashes.together(nodes[~gone], hashes.mixed(*points))

        return compute

    def display_name(self, row: int) -> str:
        """Display name from the mapping; empty when there is none."""
        return self._display_names.get(row, "")

    def display_names(self, row: int) -> tuple[tuple[str, str], ...]:
        """(LocaleId, name) of a row in further languages."""
        return self._translations.get(row, ())

    def binding(self, row: int) -> tuple[str, int | str]:
        """(link name, source) of a row; the link is empty for points of the service itself."""
        source = int(self._source[row])
        where: int | str = self._source_texts[source & ~_TEXT_SOURCE] if source & _TEXT_SOURCE else source
        return self._links[self._link[row]], where

    def rows_bound_to(self, link: str, source: int | str) -> list[int]:
        """Rows with a binding (more than one where the mapping shares a protocol point)."""
        rows = self.rows_of_link(link)
        if isinstance(source, str) and source not in self._source_text_ids:
            return []
        return [int(row) for row in rows[self._source[rows] == np.uint64(self.source_number(source))]]

    def rows_of_link(self, link: str) -> Rows:
        """All rows of a link, int32."""
        number = self._link_ids.get(link)
        if number is None:
            return np.empty(0, np.int32)
        rows = self._link_rows.get(number)
        if rows is None:
            rows = self._link_rows[number] = np.nonzero(self._link == number)[0].astype(np.int32)
        return rows

    def places_of_links(self, names: Sequence[str], rows: Rows) -> npt.NDArray[np.int32]:
        """Of each row the place of its link among some names, -1 for any other; also for a thread that only reads."""
        column = self._link[rows]
        place_of = {name: place for place, name in enumerate(names)}
        places = np.array([place_of.get(name, -1) for name in tuple(self._links)], np.int32)
        return np.asarray(places[column])

    @property
    def links(self) -> tuple[str, ...]:
        """Names of all links, without the service's own empty name."""
        return tuple(self._links[1:])

    def value(self, row: int) -> bool | int | float | str | None:
        """Value of a row; None before the first sample."""
        if self.quality[row] & Quality.NOT_INITIALISED:
            return None
        if self.value_type[row] == ValueType.STRING:
            return self._texts.get(row, "")
        return values_of(self.raw[row : row + 1], ValueType(int(self.value_type[row])))[0]

    def sample(self, row: int) -> Sample:
        """Value, status, times and quality of a row."""
        return Sample(
            self.value(row),
            int(self.status[row]),
            int(self.source_time[row]),
            int(self.received[row]),
            int(self.quality[row]),
        )
