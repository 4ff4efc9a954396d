"""Points that are edited at work: they are retired, or become something else at the same address."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from address_space import clock
from address_space.catalogue import ValueType
from address_space.edits import Edit, EditKind, Trial, another_meaning, rescaled
from address_space.journal import Journal
from address_space.point import Batch, Point, Rows
from address_space.quality import Quality, StatusCode, TimeFlag, status_column
from address_space.states import PointStates

SEMANTICS_CHANGED = 0x4000
"""Bit of a StatusCode (Part 4, 7.39.1): what the value means has changed, its properties are to be read again."""


class PointEdits(PointStates):
    """Columns of points that can be edited; each edit goes once into a journal of its own.

    Args:
        journal_capacity: changes that are kept for slow consumers.
    """

    def __init__(self, *, journal_capacity: int = 1 << 20) -> None:
        super().__init__(journal_capacity=journal_capacity)
        self.edits: Journal[Edit] = Journal()
        """What became of points themselves: retired, or changed in what they are."""
        self.edition = 0
        """Counts the edits."""
        self.retired = 0
        """Rows that are no points any more."""

    def retire(self, rows: Rows, *, now: int | None = None) -> int:
        """Take points out; who follows them is told BadNodeIdUnknown once. Returns how many there were.

        Their addresses are free for new points, in rows of their own. `address` and `profile` still know what the rows
        were, for what has not been read from the journals yet.
        """
        rows = np.unique(rows).astype(np.int32)
        rows = rows[self.is_point(rows)]
        if len(rows):
            self._retire(rows, self.tree.remove(self.node[rows]), now)
        return len(rows)

    def trial(self) -> Trial:
        """Try with it what `exchange` is to do; to be made where nothing else changes the table."""
        return Trial(self.tree, len(self))

    def exchange(self, rows: Rows, points: Sequence[Point], trial: Trial, *, now: int | None = None) -> range:
        """Retire some points and add others, which takes a short time when it has been tried; rows of those added.

        Raises:
            AddressError: when an address is malformed, or taken since it was tried; nothing is changed then.
            ValueError: a link or a source finds no number; nothing is changed then.
        """
        rows = np.unique(rows).astype(np.int32)
        rows = rows[self.is_point(rows)]
        gone = trial.gone(self.tree, len(self), rows)
        if gone is None:
            trial = self.trial()
            gone = trial.exchange(rows, [point.address for point in points])
        numbers = self._numbers(points)
        self._retire(rows, gone, now)
        return self._add_numbered(points, numbers, trial.tree)

    def _retire(self, rows: Rows, gone: Rows, now: int | None) -> None:
        """Let rows be no points any more; `gone` are the nodes that have gone with them, or go right after."""
        if not len(rows):
            return
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
        self.retired += len(rows)
        self._edited(Edit(EditKind.RETIRED, rows, gone))

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
        # Points share profiles and links: to look at each whether it is known costs more than all the rest.
        kinds = {id(point.profile): point.profile for point in points}
        types = {key: profile.value_type for key, profile in kinds.items()}
        wanted = np.array([types[id(point.profile)] for point in points], np.uint8)
        nodes = self.tree.find_many([point.address for point in points])
        same = (nodes >= 0) & (self.tree.row[nodes] == rows) & (wanted == self.value_type[rows])
        if not same.all():
            first = int(np.argmin(same))
            text = f"{points[first].address} cannot be changed in row {rows[first]}: it is another point"
            raise ValueError(text)
        numbers_of = {key: self.profile_number(profile) for key, profile in kinds.items()}
        profiles = np.array([numbers_of[id(point.profile)] for point in points], np.uint32)
        links_of = {name: self.link_number(name) for name in {point.link for point in points}}
        links = np.array([links_of[point.link] for point in points], np.uint16)
        sources = np.array([self.source_number(point.source) for point in points], np.uint64)
        self._take_profiles()
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

    def _edited(self, edit: Edit) -> None:
        self.edition += 1
        self.edits.append(edit)
