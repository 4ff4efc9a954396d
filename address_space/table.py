"""The point table: newest value, quality and times of every point in numpy columns, and the journal of changes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.edits import Edit, EditKind, another_meaning, rescaled
from address_space.imposed import Imposed
from address_space.ingest import Scaling, occurrences, raw_of, repeated, resolve_time, values_of, well_formed
from address_space.journal import Chunk, Journal
from address_space.point import Batch, Point, PointProfile, Raw, Rows, Sample, Ticks, Words
from address_space.quality import TIME_MASK, Quality, StatusCode, TimeFlag, status_column
from address_space.tree import NO_NODE, AddressTree

_NOT_TIME = np.uint32(~TIME_MASK & 0xFFFF_FFFF)
_RECEIVED = np.uint32(TimeFlag.RECEIVED)
_TEXT_SOURCE = 1 << 63
SEMANTICS_CHANGED = 0x4000
"""Bit of a StatusCode (Part 4, 7.39.1): what the value means has changed, its properties are to be read again."""


@dataclass(slots=True)
class TableCounters:
    """What the table has done with samples since the start."""

    samples: int = 0
    changes: int = 0
    in_deadband: int = 0
    late: int = 0
    time_replaced: int = 0
    not_a_number: int = 0


class PointTable:
    """Points are rows; drivers write batches; every accepted change goes once into the journal.

    A row is never given to another point: one that is retired stays as it is, and is found no more.

    Columns (one entry a row): `raw` value bits uint64 (little-endian, the value in the low bytes, see `ValueType`),
    `status`, `source_time`, `received`, `quality`, `value_type`, `profile` number, `link` number, `source`.
    """

    def __init__(self, *, journal_capacity: int = 1 << 20) -> None:
        self.tree = AddressTree()
        self.journal: Journal[Chunk] = Journal(journal_capacity)
        self.late: Journal[Chunk] = Journal(100_000)
        self.edits: Journal[Edit] = Journal()
        """What became of points themselves: retired, or changed in what they are."""
        self.edition = 0
        """Counts the edits."""
        self.retired = 0
        """Rows that are no points any more."""
        self.counters = TableCounters()
        self.timestamp_readers = 0
        """Consumers that also want changes of the source time alone; while zero these are not journalled."""
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
        self._lost_since: Ticks = np.empty(0, np.int64)  # made with the first loss; 0 where nothing is lost
        self._source_texts: list[str] = []
        self._source_text_ids: dict[str, int] = {}
        self._imposed = Imposed()
        self._texts: dict[int, str] = {}
        self._text_numbers = itertools.count(1)
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
        start = len(self)
        rows = self.add_columns(
            (point.address for point in points),
            [self.profile_number(point.profile) for point in points],
            [self.link_number(point.link) for point in points],
            [self.source_number(point.source) for point in points],
        )
        for row, point in enumerate(points, start):
            self._name(row, point)
        return rows

    def add_columns(
        self, addresses: Iterable[str], profiles: Sequence[int], links: Sequence[int], sources: Sequence[int]
    ) -> range:
        """The fast way in for very many points: numbers as of `profile_number`, `link_number`, `source_number`.

        Raises:
            AddressError: when an address is malformed or taken; nothing is added then.
        """
        start, count = len(self), len(profiles)
        added = self.tree.add(addresses, start)
        if added != count:
            raise ValueError(f"{added} addresses but {count} profiles")
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
            self._scaling = Scaling(self._profiles)
        return number

    def link_number(self, name: str) -> int:
        """Number of a link name, from 0 (the service itself, empty name); at most 65 535 links."""
        number = self._link_ids.get(name)
        if number is None:
            number = self._link_ids[name] = len(self._links)
            if number > 0xFFFF:
                raise ValueError("more than 65 535 links in one table")
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

    # ---- what points are, changed at work -------------------------------------------------------------------------

    def retire(self, rows: Rows, *, now: int | None = None) -> int:
        """Take points out; who follows them is told BadNodeIdUnknown once. Returns how many there were.

        Their addresses are free for new points, in rows of their own. `address` and `profile` still know what the rows
        were, for what has not been read from the journals yet.
        """
        rows = np.unique(rows).astype(np.int32)
        rows = rows[self.is_point(rows)]
        if not len(rows):
            return 0
        moment = clock.now() if now is None else now
        for row in rows.tolist():
            for kept in (self._texts, self._display_names, self._translations):
                kept.pop(row, None)
        self.quality[rows] = np.uint32(Quality.NOT_INITIALISED | TimeFlag.RECEIVED)
        self.status[rows] = StatusCode.BadNodeIdUnknown
        self.source_time[rows] = self.received[rows] = moment
        self.counters.changes += len(rows)
        self._journal_state(rows, moment)
        self._link[rows], self._source[rows] = 0, 0
        self._link_rows.clear()
        gone = self.tree.remove(self.node[rows])
        self.retired += len(rows)
        self._edited(Edit(EditKind.RETIRED, rows, gone))
        return len(rows)

    def is_point(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows are points and not retired."""
        return np.asarray(self.tree.row[self.node[rows]] == rows)

    def without_retired(self, batch: Batch) -> Batch:
        """A batch without the samples of retired points."""
        there = self.is_point(batch.rows)
        told = self.is_point(np.array([sample.row for sample in batch.texts], np.int32))
        if there.all() and told.all():
            return batch
        texts = [sample for sample, point in zip(batch.texts, told.tolist(), strict=True) if point]
        columns = (batch.rows[there], batch.values[there], batch.quality[there], batch.source_time[there])
        return Batch(*columns, batch.late, texts)

    def change(self, rows: Rows, points: Sequence[Point], *, now: int | None = None) -> None:
        """Let points be something else at the same address: scale, unit, deadband, names, binding.

        The present value is scaled anew. Where the meaning of the value changes (unit, range), the next thing that
        followers get of it has the bit SemanticsChanged (Part 8, 5.2). The value of a former binding is old data.

        Args:
            rows: of the points, each once.
            points: what they are from now on; the type of the value stays.
            now: time of the change in ticks.

        Raises:
            ValueError: another address, or another type of the value; nothing is changed then.
        """
        for row, point in zip(rows.tolist(), points, strict=True):
            if self.address(row) != point.address or self.value_type[row] != point.profile.value_type:
                raise ValueError(f"{point.address} cannot be changed in row {row}: it is another point")
        profiles = np.array([self.profile_number(point.profile) for point in points], np.uint32)
        links = np.array([self.link_number(point.link) for point in points], np.uint16)
        sources = np.array([self.source_number(point.source) for point in points], np.uint64)
        raw, words, status = self.raw[rows], self.quality[rows], self.status[rows]
        heard = words & np.uint32(Quality.NOT_INITIALISED) == 0
        numbers = heard & (self.value_type[rows] != ValueType.STRING)
        raw[numbers], words[numbers] = rescaled(
            self._scaling,
            self._profile[rows][numbers],
            profiles[numbers],
            (self.value_type[rows][numbers], raw[numbers], words[numbers]),
        )
        other = heard & ((links != self._link[rows]) | (sources != self._source[rows]))
        words[other] |= np.uint32(Quality.OLD_DATA)
        words[other & (words & np.uint32(Quality.INVALID) == 0)] |= np.uint32(Quality.QUESTIONABLE)
        requalified = words != self.quality[rows]
        status[requalified] = status_column(words[requalified])
        means = another_meaning(self._profiles, self._profile[rows], profiles)
        told = (raw != self.raw[rows]) | (status != self.status[rows]) | means
        self._profile[rows], self._link[rows], self._source[rows] = profiles, links, sources
        self.raw[rows], self.quality[rows], self.status[rows] = raw, words, status
        self._link_rows.clear()
        for row, point in zip(rows.tolist(), points, strict=True):
            self._display_names.pop(row, None)
            self._translations.pop(row, None)
            self._name(row, point)
        moment = clock.now() if now is None else now
        for which, bit in ((told & ~means, 0), (means, SEMANTICS_CHANGED)):
            if which.any():
                self._journal_state(rows[which], moment, more=bit)
        self.counters.changes += int(np.count_nonzero(told))
        self._edited(Edit(EditKind.CHANGED, rows, np.empty(0, np.int32)))

    def _name(self, row: int, point: Point) -> None:
        if point.display_name:
            self._display_names[row] = point.display_name
        if point.display_names:
            self._translations[row] = point.display_names

    def _edited(self, edit: Edit) -> None:
        self.edition += 1
        self.edits.append(edit)

    # ---- reading --------------------------------------------------------------------------------------------------

    def find(self, address: str) -> int:
        """Row of an address; -1 when it is no point."""
        node = self.tree.find(address)
        return int(self.tree.row[node]) if node != NO_NODE else NO_NODE

    def address(self, row: int) -> str:
        """Canonical address of a row."""
        return self.tree.address(int(self.node[row]))

    def profile(self, row: int) -> PointProfile:
        """Profile of a row."""
        return self._profiles[int(self._profile[row])]

    def fingerprint(self) -> str:
        """Identity of what the points are, 16 hexadecimal digits: addresses, profiles, bindings and display names.

        The values do not count. A million points take about 30 ms.
        """
        tree = self.tree
        digest = hashlib.blake2b(digest_size=8)
        for texts in (tree.name_ids, self._links, self._source_texts, map(repr, self._profiles)):
            digest.update("\n".join(texts).encode() + b"\0")
        for column in (tree.parent, tree.name_id, tree.level, tree.row, self._profile, self._link, self._source):
            digest.update(np.ascontiguousarray(column).data)
        digest.update(repr((sorted(self._display_names.items()), sorted(self._translations.items()))).encode())
        return digest.hexdigest()

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

    # ---- writing --------------------------------------------------------------------------------------------------

    def ingest(self, batch: Batch, *, now: int | None = None) -> int:
        """Take a batch: times, scale, deadband, status; returns how many changes went into the journal.

        Args:
            batch: see `Batch`; rows must exist.
            now: receive time in ticks; the present when not given.
        """
        received = clock.now() if now is None else now
        if batch.texts:
            self._ingest_texts(batch, received)
        count = len(batch.rows)
        if not count:
            return 0
        counters = self.counters
        counters.samples += count
        rows, values = batch.rows, batch.values
        source_time, quality, replaced = resolve_time(batch.source_time, batch.quality, received)
        counters.time_replaced += replaced
        types = self.value_type[rows]
        scaling = self._scaling
        if scaling.active:
            values = scaling.apply(self._profile[rows], types, values)
        raw, quality, bad = raw_of(values, types, quality)
        counters.not_a_number += bad
        quality = self._imposed.over(rows, quality)
        status = status_column(quality)
        chunk = Chunk(rows, raw, status, source_time, received, quality)
        if batch.late:
            counters.late += count
            self.late.append(chunk)
            return 0
        return self._write_with_deadband(chunk) if scaling.has_deadband else self._write(chunk)

    def _write(self, chunk: Chunk) -> int:
        rows, raw, status, source_time = chunk.rows, chunk.raw, chunk.status, chunk.source_time
        old_raw, old_status, old_quality = self.raw[rows], self.status[rows], self.quality[rows]
        order = repeated(rows)
        if order is not None:
            # A row that occurs again is compared with its own predecessor in the batch.
            ordered = rows[order]
            again = np.nonzero(ordered[1:] == ordered[:-1])[0]
            old_raw[order[again + 1]] = raw[order[again]]
            old_status[order[again + 1]] = status[order[again]]
            old_quality[order[again + 1]] = chunk.quality[order[again]]
        changed = (raw != old_raw) | (status != old_status)
        requalified = (chunk.quality ^ old_quality) & _NOT_TIME != 0
        # A source time is that of the last change. The time of reception stands for it where the device gives none, so
        # it does not move on while the device says the same again.
        again_rx = ~changed & ~requalified & (chunk.quality & old_quality & _RECEIVED != 0)
        if again_rx.any():
            source_time = np.where(again_rx, self.source_time[rows], source_time)
            chunk = replace(chunk, source_time=source_time)
        # Many raw qualities make one status: who shows them must learn of a change, who shows the status need not.
        stamped = requalified
        if self.timestamp_readers:
            stamped |= source_time != self.source_time[rows]
        stamped &= ~changed
        if order is not None and (stamped.any() or again_rx.any()):
            # Each point once in a chunk, or what only has a newer time would come before or after what it belongs to.
            return sum(self._write(_pick(chunk, part)) for part in occurrences(rows))
        self.raw[rows] = raw
        self.status[rows] = status
        self.source_time[rows] = source_time
        self.received[rows] = chunk.received
        self.quality[rows] = chunk.quality
        if stamped.any():
            self.journal.append(replace(_pick(chunk, stamped), timestamp_only=True))
        count = int(np.count_nonzero(changed))
        if count:
            self.counters.changes += count
            self.journal.append(chunk if count == len(rows) else _pick(chunk, changed))
        return count

    def _write_with_deadband(self, chunk: Chunk) -> int:
        rows, raw = chunk.rows, chunk.raw
        band = self._scaling.deadband[self._profile[rows]]
        if not band.any():
            return self._write(chunk)
        written = 0
        for part in occurrences(rows):
            picked = rows[part]
            with np.errstate(invalid="ignore"):  # infinities, and integers that are no floats: never near
                near = np.abs(raw[part].view(np.float64) - self.raw[picked].view(np.float64)) < band[part]
            quality = (chunk.quality[part] ^ self.quality[picked]) & _NOT_TIME
            quiet = near & (band[part] > 0) & (quality == 0) & (chunk.status[part] == self.status[picked])
            # The value is as good as unchanged; that the device still delivers it is remembered for staleness.
            self.received[picked[quiet]] = chunk.received
            self.counters.in_deadband += int(np.count_nonzero(quiet))
            keep = part[~quiet]
            if len(keep):
                written += self._write(_pick(chunk, keep))
        return written

    def _ingest_texts(self, batch: Batch, received: int) -> None:
        samples = well_formed(batch.texts)
        rows = np.array([sample.row for sample in samples], np.int32)
        quality = np.array([sample.quality for sample in samples], np.uint32)
        times = np.array([sample.source_time for sample in samples], np.int64)
        source_time, quality, replaced = resolve_time(times, quality, received)
        quality = self._imposed.over(rows, quality)
        status = status_column(quality)
        self.counters.samples += len(samples)
        self.counters.time_replaced += replaced
        numbers = np.array([next(self._text_numbers) for _ in samples], np.uint64)
        texts = tuple(sample.text for sample in samples)
        chunk = Chunk(rows, numbers, status, source_time, received, quality, texts)
        if batch.late:
            self.counters.late += len(samples)
            self.late.append(chunk)
            return
        changed, requalified = np.zeros(len(samples), bool), np.zeros(len(samples), bool)
        for index, sample in enumerate(samples):
            row = sample.row
            changed[index] = self._texts.get(row) != sample.text or self.status[row] != status[index]
            requalified[index] = (int(self.quality[row]) ^ int(quality[index])) & int(_NOT_TIME) != 0
            if not changed[index] and not requalified[index] and self.quality[row] & quality[index] & _RECEIVED:
                source_time[index] = self.source_time[row]  # as for numbers: the time of the last change
            self._texts[row] = sample.text
            self.status[row], self.quality[row] = status[index], quality[index]
            self.source_time[row] = source_time[index]
        self.raw[rows] = numbers
        self.received[rows] = received
        requalified &= ~changed
        if requalified.any():
            self.journal.append(replace(_pick(chunk, requalified), timestamp_only=True))
        if changed.any():
            self.counters.changes += int(np.count_nonzero(changed))
            self.journal.append(chunk if changed.all() else _pick(chunk, changed))

    # ---- what time and links do to points -------------------------------------------------------------------------

    def link_lost(self, link: str, *, now: int | None = None) -> int:
        """All points of a link lose communication; value and source time stay. Returns how many changed."""
        return self.comm_lost(self.rows_of_link(link), now=now)

    def comm_lost(self, rows: Rows, *, now: int | None = None) -> int:
        """Some points of a link lose communication (an unreachable device behind a concentrator).

        Points that have lost it already stay as they are: what counts is when they were lost first.
        """
        received = clock.now() if now is None else now
        rows = rows[self.quality[rows] & np.uint32(Quality.COMM_LOST) == 0]
        if not len(rows):
            return 0
        self._lost_times()[rows] = received
        return self._set_quality(rows, self.quality[rows] | np.uint32(Quality.COMM_LOST), received)

    def impose(self, rows: Rows, flags: int, *, now: int | None = None) -> int:
        """Add quality flags to whatever the devices say of some points, now and from now on (see `Imposed`).

        Args:
            rows: of the points, at least one.
            flags: the flags that are added, all of them; 0 ends it.
            now: time of the change in ticks.

        Returns:
            How many points changed their status.
        """
        rows = rows[self.is_point(rows)]
        if not len(rows):
            return 0
        words = self._imposed.change(rows, flags, self.quality[rows])
        return self._set_quality(rows, words, clock.now() if now is None else now)

    def _lost_times(self) -> Ticks:
        missing = len(self) - len(self._lost_since)
        if missing:
            self._lost_since = np.concatenate([self._lost_since, np.zeros(missing, np.int64)])
        return self._lost_since

    def sweep(self, *, now: int | None = None, dead_after: float = 86_400.0) -> int:
        """Mark what has become old: points past their `stale_after`, points lost for more than `dead_after` seconds.

        To be called about once a second. Returns how many points changed.
        """
        present = clock.now() if now is None else now
        return self._sweep_stale(present) + self._sweep_dead(present, dead_after)

    def _sweep_stale(self, present: int) -> int:
        if not self._scaling.has_stale:
            return 0
        limit = self._scaling.stale_ticks[self._profile]
        skip = np.uint32(Quality.OLD_DATA | Quality.COMM_LOST | Quality.NOT_INITIALISED)
        stale = (limit > 0) & (present - self.received > limit) & (self.quality & skip == 0)
        rows = np.nonzero(stale)[0].astype(np.int32)
        if not len(rows):
            return 0
        words = self.quality[rows] | np.uint32(Quality.OLD_DATA)
        good = words & np.uint32(Quality.INVALID) == 0
        words[good] |= np.uint32(Quality.QUESTIONABLE)
        return self._set_quality(rows, words, None)

    def _sweep_dead(self, present: int, dead_after: float) -> int:
        # Drivers that know single points as lost say so in the quality: those count from when it is first seen here.
        lost = self.quality & np.uint32(Quality.COMM_LOST) != 0
        if not len(self._lost_since) and not lost.any():
            return 0
        since = self._lost_times()
        since[~lost] = 0
        since[lost & (since == 0)] = present
        usable = self.status == StatusCode.UncertainNoCommunicationLastUsableValue
        dead = usable & lost & (present - since > dead_after * clock.TICKS_PER_SECOND)
        rows = np.nonzero(dead)[0].astype(np.int32)
        if not len(rows):
            return 0
        return self._set_quality(rows, self.quality[rows], None, status=StatusCode.BadNoCommunication)

    def _set_quality(self, rows: Rows, words: Words, received: int | None, status: int | None = None) -> int:
        codes = status_column(words) if status is None else np.full(len(rows), status, np.uint32)
        changed = codes != self.status[rows]
        requalified = ~changed & (words != self.quality[rows])
        self.quality[rows] = words
        self.status[rows] = codes
        moment = clock.now() if received is None else received
        if requalified.any():
            self._journal_state(rows[requalified], moment, timestamp_only=True)
        count = int(np.count_nonzero(changed))
        if count:
            self.counters.changes += count
            self._journal_state(rows[changed], moment)
        return count

    def _journal_state(self, rows: Rows, received: int, *, timestamp_only: bool = False, more: int = 0) -> None:
        texts = self.value_type[rows] == ValueType.STRING
        for picked, is_text in ((rows[~texts], False), (rows[texts], True)):
            if len(picked):
                self.journal.append(
                    Chunk(
                        picked,
                        self.raw[picked],
                        self.status[picked] | np.uint32(more),
                        self.source_time[picked],
                        received,
                        self.quality[picked],
                        tuple(self._texts.get(int(row), "") for row in picked) if is_text else None,
                        timestamp_only,
                    )
                )


def _pick(chunk: Chunk, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Chunk:
    texts = chunk.texts
    return Chunk(
        chunk.rows[which],
        chunk.raw[which],
        chunk.status[which],
        chunk.source_time[which],
        chunk.received,
        chunk.quality[which],
        None if texts is None else tuple(texts[index] for index in np.arange(len(texts))[which]),
    )
