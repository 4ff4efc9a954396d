"""The point table: drivers write batches, every accepted change goes once into the journal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.editing import PointEdits
from address_space.ingest import occurrences, raw_of, repeated, resolve_time, well_formed
from address_space.journal import Chunk, Journal
from address_space.point import Batch
from address_space.quality import TIME_MASK, TimeFlag, status_column

_NOT_TIME = np.uint32(~TIME_MASK & 0xFFFF_FFFF)
_RECEIVED = np.uint32(TimeFlag.RECEIVED)


class PointTable(PointEdits):
    """Points are rows; drivers write batches; every accepted change goes once into the journal.

    A row is never given to another point: one that is retired stays as it is, and is found no more.

    See `PointColumns` for the columns, `PointStates` and `PointEdits` for what changes them besides samples.

    Args:
        journal_capacity: changes that are kept for slow consumers.
    """

    def __init__(self, *, journal_capacity: int = 1 << 20) -> None:
        super().__init__(journal_capacity=journal_capacity)
        self.late: Journal[Chunk] = Journal(100_000)
        self.timestamp_readers = 0
        """Consumers that also want changes of the source time alone; while zero these are not journalled."""
        self._text_numbers = itertools.count(1)

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
