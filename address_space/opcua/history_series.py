"""Out of the history what aggregates need: the samples of a range, and usable ones before and behind it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.aggregates_series import AggregateConfiguration, Series
from address_space.catalogue import ValueType
from address_space.opcua.history_raw import LAST_TIME
from address_space.ports import HistoryReader, HistoryValues
from address_space.table import PointTable

MOST_SAMPLES = 1_000_000
"""Samples of one point that one answer is computed from."""
_PAGE, _PAGE_OF_TEXTS = 200_000, 5_000
_NEAR, _FAR = 32, 4096
"""Samples that are looked at, in one go and at most, for a usable one outside of the range."""


class TooManyError(Exception):
    """More samples than can be worked on at once; `reached` is how far they go, ticks."""

    def __init__(self, reached: int) -> None:
        super().__init__(reached)
        self.reached = reached


class Loaded(NamedTuple):
    """Samples of one point with what they are computed from.

    Attributes:
        values: in order of time.
        series: the same as numbers; None when there are none.
    """

    values: HistoryValues
    series: Series | None


def stepped(table: PointTable, row: int) -> bool:
    """Whether the values of a point hold until the next one: everything but measured values."""
    return int(table.value_type[row]) != ValueType.DOUBLE


def joined(parts: list[HistoryValues]) -> HistoryValues:
    """Parts of one point's samples, one after the other; at least one part."""
    if len(parts) == 1:
        return parts[0]
    texts: tuple[str, ...] | None = None
    if parts[0].texts is not None:
        texts = tuple(text for part in parts for text in part.texts or ())
    return HistoryValues(
        parts[0].value_type,
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.status for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.server for part in parts]),
        texts,
    )


def turned(values: HistoryValues) -> HistoryValues:
    """The other way round."""
    return picked(values, slice(None, None, -1))


def picked(values: HistoryValues, which: npt.NDArray[np.int64] | slice) -> HistoryValues:
    """Some samples, by position."""
    texts = None
    if values.texts is not None:
        texts = tuple(np.array(values.texts, object)[which].tolist())
    return HistoryValues(
        values.value_type, values.raw[which], values.status[which], values.source[which], values.server[which], texts
    )


def numbers(values: HistoryValues) -> npt.NDArray[np.float64]:
    """The values as float64; texts as numbers that differ where the texts do."""
    if values.texts is not None:
        numbers_of: dict[str, int] = {}  # an array of texts would take as much for each as for the longest
        return np.array([numbers_of.setdefault(text, len(numbers_of)) for text in values.texts], np.float64)
    raw, kind = np.ascontiguousarray(values.raw), values.value_type
    if kind == ValueType.DOUBLE:
        return raw.view(np.float64)
    if kind == ValueType.BOOLEAN:
        return (raw & np.uint64(1)).astype(np.float64)
    if kind == ValueType.UINT32:
        return (raw & np.uint64(0xFFFF_FFFF)).astype(np.float64)
    if kind == ValueType.INT32:
        return (raw & np.uint64(0xFFFF_FFFF)).astype(np.uint32).view(np.int32).astype(np.float64)
    return raw.view(np.int64).astype(np.float64)


class SeriesLoader:
    """Loads series of one point.

    Args:
        history: the port.
        table: what the point is, and what it is now.
        address: of the point.
        configuration: which samples are usable.
    """

    def __init__(
        self, history: HistoryReader, table: PointTable, address: str, configuration: AggregateConfiguration
    ) -> None:
        self._history, self._table, self._address = history, table, address
        self._row = table.find(address)
        self.configuration = configuration

    async def over(self, low: int, high: int, *, reverse: bool) -> tuple[list[HistoryValues], bool]:
        """Samples from `low` up to and with `high` and usable ones around them, for `made`.

        Raises:
            KeyError: when nothing of the point is kept.
            TooManyError: when they are too many; with `reverse` they were counted from the high end.
        """
        inside = await self._inside(low, high + 1, reverse=reverse)
        before, _ = await self.outside(low, back=True, least=2)
        after, _ = await self.outside(high + 1, back=False, least=1)
        return [before, *inside, after], not len(after)

    async def _inside(self, low: int, high: int, *, reverse: bool) -> list[HistoryValues]:
        parts: list[HistoryValues] = []
        resume: tuple[int, int] | None = None
        count = 0
        text = self._row >= 0 and int(self._table.value_type[self._row]) == ValueType.STRING
        most = _PAGE_OF_TEXTS if text else _PAGE
        while True:
            page = await self._history.raw(self._address, low, high, most, reverse=reverse, resume=resume)
            count += len(page.values)
            parts.append(turned(page.values) if reverse else page.values)
            resume = page.resume
            if resume is None:
                return parts[::-1] if reverse else parts
            if count >= MOST_SAMPLES:
                raise TooManyError(int(page.values.source[-1]))

    async def outside(self, moment: int, *, back: bool, least: int) -> tuple[HistoryValues, bool]:
        """Samples before a time, or from it on, until some are usable; in order of time; whether that were all."""
        parts: list[HistoryValues] = []
        resume: tuple[int, int] | None = None
        usable = count = 0
        limit = _NEAR
        start, end = (0, moment) if back else (moment, LAST_TIME)
        while True:
            page = await self._history.raw(self._address, start, end, limit, reverse=back, resume=resume)
            parts.append(turned(page.values) if back else page.values)
            usable += int((~self.bad(page.values)).sum())
            count += len(page.values)
            resume = page.resume
            if resume is None or usable >= least or count >= _FAR:
                return joined(parts[::-1] if back else parts), resume is None
            limit = _FAR

    def bad(self, values: HistoryValues) -> npt.NDArray[np.bool_]:
        """Samples that aggregates do not use."""
        limit = 0x4000_0000 if self.configuration.treat_uncertain_as_bad else 0x8000_0000
        bad = values.status >= limit
        return bad | ~np.isfinite(numbers(values)) if values.value_type == ValueType.DOUBLE else bad

    def made(self, parts: list[HistoryValues], *, newest: bool) -> Loaded:
        """The series of some parts in order of time; `newest` tells that there is nothing behind them."""
        values = joined(parts)
        if not len(values):
            return Loaded(values, None)
        until = self._until(values) if newest else None
        series = Series.of(
            values.source,
            numbers(values),
            values.status,
            stepped=stepped(self._table, self._row),
            configuration=self.configuration,
            until=until,
        )
        if series is not None and len(series) != len(values):
            # Marks without a value at the ends are no data; positions have to agree.
            first = int(np.nonzero((values.status & np.uint32(0xFFFF_0000)) != 0x809B_0000)[0][0])
            values = picked(values, slice(first, first + len(series)))
        return Loaded(values, series)

    def _until(self, values: HistoryValues) -> int | None:
        """Now, when the live point still is as the newest sample: only changes are kept, so it holds until then."""
        table, row = self._table, self._row
        if row < 0 or int(table.status[row]) != int(values.status[-1]):
            return None
        if values.texts is not None:
            same = str(table.value(row) or "") == values.texts[-1]
        else:
            same = int(table.raw[row]) == int(values.raw[-1])
        return clock.now() if same else None
