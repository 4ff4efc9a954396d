"""HistoryRead of raw and of modified values (Part 11, 6.5.3), part by part."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from address_space import clock
from address_space.opcua.history_columns import Columns, Part, history_data, history_modified_data
from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, Reader
from address_space.ports import HistoryReader, HistoryValues

LAST_TIME = 2_650_467_743_999_999_999
"""9999-12-31T23:59:59.9999999Z, the greatest DateTime."""
_GOOD_NO_DATA = int(ua.StatusCodes.GoodNoData)
_BOUND_NOT_FOUND = int(ua.StatusCodes.BadBoundNotFound)


class _Stage(Enum):
    START, DATA, END, DONE = range(4)


class Answer(NamedTuple):
    """One part of what was asked of a node.

    Attributes:
        status: of the operation.
        data: ExtensionObject on the wire.
        more: there is more to read.
    """

    status: int
    data: bytes
    more: bool


@dataclass(frozen=True, slots=True)
class RawDetails:
    """ReadRawModifiedDetails; times in ticks, 0 for none."""

    modified: bool
    start: int
    end: int
    most: int
    bounds: bool

    @staticmethod
    def read(reader: Reader) -> RawDetails:
        """Off the wire."""
        return RawDetails(reader.boolean(), moment(reader.i64()), moment(reader.i64()), reader.u32(), reader.boolean())


def moment(ticks: int) -> int:
    """A DateTime as ticks within what can be: 0 for none."""
    return min(max(ticks, 0), LAST_TIME)


@dataclass(slots=True)
class RawReading:
    """One node's raw or modified values, from where the last part ended.

    Args:
        history: the port.
        address: the point.
        details: what was asked.
        part: of texts; None for all.
        stamps: TimestampsToReturn.
        page: values of one answer at most.

    Raises:
        OperationError: BadInvalidTimestampArgument when less than two of start, end and number are given,
            BadBoundNotSupported for bounds of modified values.
    """

    history: HistoryReader
    address: str
    details: RawDetails
    part: Part | None
    stamps: int
    page: int
    _resume: tuple[int, int] | None = field(default=None, init=False)
    _stage: _Stage = field(default=_Stage.DATA, init=False)
    _given: int = field(default=0, init=False)
    _last: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        asked = self.details
        if not (asked.start and asked.end) and not (asked.most and (asked.start or asked.end)):
            raise OperationError(ua.StatusCodes.BadInvalidTimestampArgument)
        if asked.modified and asked.bounds:
            raise OperationError(ua.StatusCodes.BadBoundNotSupported)
        if asked.bounds:
            self._stage = _Stage.START

    @property
    def reverse(self) -> bool:
        """Whether later values come first."""
        asked = self.details
        return not asked.start or (bool(asked.end) and asked.end < asked.start)

    @property
    def _open(self) -> bool:
        """Whether only one time was given: the number asked for is all there will be."""
        return not (self.details.start and self.details.end)

    def _range(self) -> tuple[int, int]:
        """The values between the bounds: `low <= time < high`."""
        asked = self.details
        if self._open:
            return (0, asked.end + 1) if self.reverse else (asked.start, LAST_TIME)
        if asked.start == asked.end:
            return asked.start, asked.start + 1
        return (asked.end + 1, asked.start + 1) if self.reverse else (asked.start, asked.end)

    async def next(self) -> Answer:
        """The next part; raises KeyError when nothing of the point is kept any more."""
        asked = self.details
        room = self.page
        if asked.most:
            room = min(room, asked.most - self._given if self._open else asked.most)
        pieces: list[Columns] = []
        modified: tuple[tuple[int, int, str], ...] = ()
        if self._stage is _Stage.START:
            pieces.append(await self._start_bound())
            room -= len(pieces[0])
            self._stage = _Stage.DATA
        if self._stage is _Stage.DATA and room > 0:
            low, high = self._range()
            page = await self.history.raw(
                self.address, low, high, room, reverse=self.reverse, resume=self._resume, modified=asked.modified
            )
            self._resume, modified = page.resume, page.values.modified or ()
            pieces.append(Columns.of(page.values))
            room -= len(page.values)
            if page.resume is None:
                exact = asked.start == asked.end and len(page.values) > 0
                self._stage = _Stage.END if asked.bounds and not exact else _Stage.DONE
        if self._stage is _Stage.END and room > 0:
            found = [piece for piece in pieces if len(piece)]
            last = int(found[-1].source[-1]) if found else self._last
            pieces.append(await self._end_bound(last))
            self._stage = _Stage.DONE
        return self._answer(pieces, modified)

    def _answer(self, pieces: list[Columns], modified: tuple[tuple[int, int, str], ...]) -> Answer:
        columns = pieces[0].joined(pieces[1:]) if pieces else Columns.blank(0, ())
        if len(columns):
            self._last = int(columns.source[-1])
        self._given += len(columns)
        more = self._stage is not _Stage.DONE and not (self._open and self._given >= self.details.most)
        if self.part is not None:
            columns = self.part.of(columns)
        encoded = columns.encode(self.stamps)
        data = history_modified_data(encoded, modified) if self.details.modified else history_data(encoded)
        return Answer(0 if self._given or more else _GOOD_NO_DATA, data, more)

    async def _start_bound(self) -> Columns:
        """Nothing when there are values at the time itself: they come with the others."""
        anchor = self.details.start or self.details.end
        before, after = await self.history.bracket(self.address, np.array((anchor,), np.int64))
        if before.source[0] == anchor:
            return Columns.blank(0, ())
        return _bound(after if self.reverse else before, anchor)

    async def _end_bound(self, last: int) -> Columns:
        """`last` is the time of the value before; without an end the missing bound stands a second behind it."""
        end = self.details.end
        if self._open:
            step = -clock.TICKS_PER_SECOND if self.reverse else clock.TICKS_PER_SECOND
            return Columns.blank(_BOUND_NOT_FOUND, ((last or self.details.start or end) + step,))
        before, after = await self.history.bracket(self.address, np.array((end,), np.int64))
        return _bound(before if self.reverse or before.source[0] == end else after, end)


def _bound(values: HistoryValues, missing: int) -> Columns:
    """The sample, or BadBoundNotFound at the time asked for when there is none."""
    return Columns.of(values) if values.source[0] else Columns.blank(_BOUND_NOT_FOUND, (missing,))
