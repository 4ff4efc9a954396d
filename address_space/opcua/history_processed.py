"""HistoryRead of aggregates and of values at given times (Part 11, 6.5.4 and 6.5.5), part by part."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from address_space.aggregates import AGGREGATES, Aggregate, Result
from address_space.aggregates_series import (
    BAD_NO_DATA,
    AggregateConfiguration,
    Intervals,
    Series,
    interval_count,
    intervals,
)
from address_space.aggregates_values import Processed
from address_space.catalogue import ValueType
from address_space.opcua.encoding import NO_VALUE, STATUS_CODE
from address_space.opcua.history_columns import Columns, Part, history_data, without_value
from address_space.opcua.history_raw import Answer, moment
from address_space.opcua.history_series import Loaded, SeriesLoader, TooManyError, joined, picked
from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, Reader, numeric_identifier
from address_space.ports import HistoryReader, HistoryValues
from address_space.table import PointTable

DEFAULTS = AggregateConfiguration()
"""AggregateConfiguration of every point, told in its HA Configuration."""
AGGREGATE_IDS: dict[int, str] = {int(getattr(ua.ObjectIds, f"AggregateFunction_{name}")): name for name in AGGREGATES}
"""NodeId numbers (namespace 0) of the AggregateFunction objects that are offered -> names."""
_TICKS_PER_MS = 10_000
_DIFFERENCES = {ValueType.UINT32: ValueType.INT64}
"""A difference of unsigned numbers may be negative."""
_IN_THREAD = 20_000
"""Samples from which on computing goes to a thread, so that the event loop does not wait for it."""
_WORK_OF_AN_INTERVAL = 10
"""Samples that take as long as one interval does."""


@dataclass(frozen=True, slots=True)
class ProcessedDetails:
    """ReadProcessedDetails; times in ticks, 0 for none.

    Attributes:
        interval: ProcessingInterval in ms.
        aggregates: NodeIds on the wire, one a node.
        configuration: None for the server's defaults.
    """

    start: int
    end: int
    interval: float
    aggregates: tuple[bytes, ...]
    configuration: AggregateConfiguration | None

    @staticmethod
    def read(reader: Reader) -> ProcessedDetails:
        """Off the wire."""
        start, end, interval = moment(reader.i64()), moment(reader.i64()), reader.f64()
        aggregates = tuple(reader.node_id() for _ in range(reader.array(2)))
        defaults, uncertain, bad, good, sloped = (
            reader.boolean(),
            reader.boolean(),
            reader.u8(),
            reader.u8(),
            reader.boolean(),
        )
        configuration = None if defaults else AggregateConfiguration(uncertain, bad, good, sloped)
        return ProcessedDetails(start, end, interval, aggregates, configuration)


@dataclass(frozen=True, slots=True)
class AtTimeDetails:
    """ReadAtTimeDetails; times in ticks."""

    times: npt.NDArray[np.int64]
    simple: bool

    @staticmethod
    def read(reader: Reader) -> AtTimeDetails:
        """Off the wire."""
        count = reader.array(8)
        times = np.frombuffer(reader.data, "<i8", count, reader.position).astype(np.int64)
        reader.position += 8 * count
        return AtTimeDetails(times, reader.boolean())


def aggregate_of(node_id: bytes, value_type: int) -> Aggregate:
    """The aggregate of a NodeId on the wire.

    Raises:
        OperationError: BadAggregateNotSupported for an unknown one, BadAggregateInvalidInputs when it is not defined
            for values of the type.
    """
    name = AGGREGATE_IDS.get(numeric_identifier(node_id) or 0)
    if name is None:
        raise OperationError(ua.StatusCodes.BadAggregateNotSupported)
    aggregate = AGGREGATES[name]
    if not aggregate.suits(text=value_type == ValueType.STRING, boolean=value_type == ValueType.BOOLEAN):
        raise OperationError(ua.StatusCodes.BadAggregateInvalidInputs)
    return aggregate


def columns_of(processed: Processed, loaded: Loaded, result: Result) -> Columns:
    """DataValues of an aggregate's results; both timestamps are that of the interval."""
    value_type = loaded.values.value_type
    kind = {
        Result.DOUBLE: int(ValueType.DOUBLE),
        Result.INT32: int(ValueType.INT32),
        Result.STATUS: STATUS_CODE,
        Result.SOURCE: value_type,
        Result.DIFFERENCE: int(_DIFFERENCES.get(ValueType(value_type), ValueType(value_type))),
    }[result]
    empty = np.isnan(processed.value)
    raw = _raw(np.where(empty, 0.0, processed.value), kind)
    texts: tuple[str, ...] = ()
    if result is Result.SOURCE:
        taken = processed.sample >= 0
        if loaded.values.texts is not None:
            texts, raw = loaded.values.texts, processed.sample.clip(0).astype(np.uint64)
            empty |= ~taken
        else:
            raw = np.where(taken, loaded.values.raw[processed.sample], raw)
            # A raw value may be not a number by itself.
            empty &= ~taken | without_value(processed.status)
    kinds = np.where(empty, NO_VALUE, kind).astype(np.uint8)
    return Columns(kinds, raw, processed.status, processed.time, processed.time, texts)


def _raw(values: npt.NDArray[np.float64], kind: int) -> npt.NDArray[np.uint64]:
    if kind == ValueType.DOUBLE:
        return np.ascontiguousarray(values).view(np.uint64)
    return np.rint(values).astype(np.int64).view(np.uint64)


async def _compute(work: Callable[[], bytes], size: int) -> bytes:
    return await asyncio.to_thread(work) if size > _IN_THREAD else work()


@dataclass(slots=True)
class ProcessedReading:
    """One node's aggregate, interval by interval.

    Args:
        history: the port.
        table: what the point is.
        address: the point.
        details: what was asked.
        aggregate: which of its aggregates.
        part: of texts; None for all.
        stamps: TimestampsToReturn.
        page: intervals of one answer at most.

    Raises:
        OperationError: BadInvalidTimestampArgument without start and end, BadInvalidArgument when they are the same or
            the interval is none, BadAggregateInvalidInputs or BadAggregateConfigurationRejected for a configuration.
    """

    history: HistoryReader
    table: PointTable
    address: str
    details: ProcessedDetails
    aggregate: Aggregate
    part: Part | None
    stamps: int
    page: int
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        asked = self.details
        if not asked.start or not asked.end:
            raise OperationError(ua.StatusCodes.BadInvalidTimestampArgument)
        if asked.start == asked.end or not asked.interval >= 0 or math.isinf(asked.interval):
            raise OperationError(ua.StatusCodes.BadInvalidArgument)
        configuration = asked.configuration
        if configuration is not None and max(configuration.percent_bad, configuration.percent_good) > 100:
            raise OperationError(ua.StatusCodes.BadAggregateConfigurationRejected)
        if configuration is not None and not configuration.valid:
            raise OperationError(ua.StatusCodes.BadAggregateInvalidInputs)

    @property
    def interval(self) -> int:
        """ProcessingInterval in ticks; 0 for the whole range."""
        wanted = self.details.interval
        return max(1, round(min(wanted, 1e15) * _TICKS_PER_MS)) if wanted else 0

    async def next(self) -> Answer:
        """The next part.

        Raises:
            KeyError: when nothing of the point is kept any more.
            OperationError: BadTooManyOperations when one interval has more samples than can be worked on.
        """
        asked = self.details
        total = interval_count(asked.start, asked.end, self.interval)
        limits = intervals(asked.start, asked.end, self.interval, self._done, self.page)
        loader = SeriesLoader(self.history, self.table, self.address, asked.configuration or DEFAULTS)
        try:
            parts, newest = await self._load(loader, limits)
        except TooManyError as error:
            limits = _reached(limits, error.reached)
            if not len(limits.low):
                raise OperationError(ua.StatusCodes.BadTooManyOperations) from error
            parts, newest = await self._load(loader, limits)
        self._done += len(limits.low)
        work = sum(len(part) for part in parts) + _WORK_OF_AN_INTERVAL * len(limits.low)
        data = await _compute(lambda: self._data(loader.made(parts, newest=newest), limits), work)
        return Answer(0, data, self._done < total)

    async def _load(self, loader: SeriesLoader, limits: Intervals) -> tuple[list[HistoryValues], bool]:
        return await loader.over(int(limits.low[0]), int(limits.high[-1]), reverse=limits.reverse)

    def _data(self, loaded: Loaded, limits: Intervals) -> bytes:
        columns = self._columns(loaded, limits)
        if limits.reverse:
            columns = columns.pick(slice(None, None, -1))
        if self.part is not None:
            columns = self.part.of(columns)
        return history_data(columns.encode(self.stamps))

    def _columns(self, loaded: Loaded, limits: Intervals) -> Columns:
        if loaded.series is None:
            return Columns.blank(BAD_NO_DATA, limits.start.tolist())
        # Bad samples may have any value, not a number among them; nothing comes of it.
        with np.errstate(invalid="ignore", over="ignore"):
            return columns_of(self.aggregate.of(loaded.series, limits), loaded, self.aggregate.result)


def _reached(limits: Intervals, reached: int) -> Intervals:
    """The intervals, from the first one asked for, of which all samples were there."""
    whole = limits.low > reached if limits.reverse else limits.high < reached
    return Intervals(limits.low[whole], limits.high[whole], limits.reverse)


@dataclass(slots=True)
class AtTimeReading:
    """One node's values at given times.

    Args:
        history: the port.
        table: what the point is.
        address: the point.
        details: what was asked.
        part: of texts; None for all.
        stamps: TimestampsToReturn.
        page: times of one answer at most.

    Raises:
        OperationError: BadInvalidTimestampArgument without times, or with one that is none.
    """

    history: HistoryReader
    table: PointTable
    address: str
    details: AtTimeDetails
    part: Part | None
    stamps: int
    page: int
    _done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        times = self.details.times
        if not len(times) or (times <= 0).any():
            raise OperationError(ua.StatusCodes.BadInvalidTimestampArgument)

    async def next(self) -> Answer:
        """The next part; raises KeyError when nothing of the point is kept any more."""
        times = self.details.times[self._done : self._done + self.page]
        self._done += len(times)
        loader = SeriesLoader(self.history, self.table, self.address, DEFAULTS)
        before, after = await self.history.bracket(self.address, times)
        loaded = await self._around(loader, times, before, after)
        data = await _compute(lambda: self._data(times, loaded, before), _WORK_OF_AN_INTERVAL * len(times))
        return Answer(0, data, self._done < len(self.details.times))

    def _data(self, times: npt.NDArray[np.int64], loaded: Loaded, before: HistoryValues) -> bytes:
        columns = self._columns(times, loaded)
        exact = before.source == times
        if exact.any():
            # A value that is there is given as it is, whatever its status.
            of_raw = Columns.of(picked(before, np.nonzero(exact)[0]))
            order = np.arange(len(times))
            order[exact] = len(times) + np.arange(int(exact.sum()))
            columns = columns.joined([of_raw]).pick(order)
        if self.part is not None:
            columns = self.part.of(columns)
        return history_data(columns.encode(self.stamps))

    def _columns(self, times: npt.NDArray[np.int64], loaded: Loaded) -> Columns:
        if loaded.series is None:
            return Columns.blank(BAD_NO_DATA, times.tolist())
        series = loaded.series
        with np.errstate(invalid="ignore", over="ignore"):
            return self._bounds(times, series, loaded)

    def _bounds(self, times: npt.NDArray[np.int64], series: Series, loaded: Loaded) -> Columns:
        bound = series.simple_bounds(times) if self.details.simple else series.interpolated_bounds(times)
        made = Processed(times, np.where(bound.there, bound.value, np.nan), bound.status, bound.sample)
        return columns_of(made, loaded, Result.SOURCE)

    async def _around(
        self, loader: SeriesLoader, times: npt.NDArray[np.int64], before: HistoryValues, after: HistoryValues
    ) -> Loaded:
        """The samples right around the times, and where these are not usable those up to the next usable ones."""
        parts = [
            picked(before, np.nonzero(before.source > 0)[0]),
            picked(after, np.nonzero(after.source > 0)[0]),
        ]
        if not self.details.simple:
            for moments, values, back in ((before.source, before, True), (after.source, after, False)):
                doubtful = np.unique(moments[(values.source > 0) & loader.bad(values)])
                for each in doubtful.tolist():
                    found, _ = await loader.outside(each + 1 if back else each, back=back, least=1)
                    parts.append(found)
        merged = joined([part for part in parts if len(part)] or parts[:1])
        _, first = np.unique(merged.source[::-1], return_index=True)
        newest = bool(len(after) and (after.source == 0).any())
        return loader.made([picked(merged, len(merged) - 1 - first)], newest=newest)
