"""HistoryRead of events (Part 11, 6.5.2): those of the grid's event journal, by the filter of the request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from address_space.opcua.event_filter import EventFilter, compile_filter
from address_space.opcua.history_columns import history_event
from address_space.opcua.history_raw import LAST_TIME, Answer, moment
from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, Reader, decode
from address_space.ports import HistoryReader, Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.event_records import EventRecords
    from address_space.opcua.event_types import EventTypes

_GOOD_NO_DATA = int(ua.StatusCodes.GoodNoData)
_AT_ONCE = 200
_MOST_LOOKED_AT = 20_000
"""Events that one part goes through at most, when few pass the filter."""


@dataclass(frozen=True, slots=True)
class EventDetails:
    """ReadEventDetails; times in ticks, 0 for none; the filter as asyncua has it."""

    most: int
    start: int
    end: int
    filter: Any

    @staticmethod
    def read(reader: Reader) -> EventDetails:
        """Off the wire."""
        most, start, end = reader.u32(), moment(reader.i64()), moment(reader.i64())
        wanted = decode(ua.EventFilter, reader.data, reader.position)[0]
        reader.position = len(reader.data)
        return EventDetails(most, start, end, wanted)


def filter_of(details: EventDetails, types: EventTypes) -> EventFilter:
    """The filter, compiled.

    Raises:
        OperationError: BadEventFilterInvalid and the like.
    """
    compiled, result = compile_filter(details.filter, types)
    if compiled is None:
        raise OperationError(result.status)
    return compiled


@dataclass(slots=True)
class EventReading:
    """Events at and below one place.

    Args:
        history: the port.
        records: makes the fields of events.
        access: rights of the caller: events of what he may not read are left out.
        place: address; empty for the whole grid, None for all events of the server.
        details: what was asked.
        filter: its filter.
        page: events of one answer at most.

    Raises:
        OperationError: BadInvalidTimestampArgument when less than two of start, end and number are given.
    """

    history: HistoryReader
    records: EventRecords
    access: Access
    place: str | None
    details: EventDetails
    filter: EventFilter
    page: int
    _resume: int | None = field(default=None, init=False)
    _given: int = field(default=0, init=False)
    _done: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        asked = self.details
        if not (asked.start and asked.end) and not (asked.most and (asked.start or asked.end)):
            raise OperationError(ua.StatusCodes.BadInvalidTimestampArgument)

    @property
    def reverse(self) -> bool:
        """Whether later events come first."""
        asked = self.details
        return not asked.start or (bool(asked.end) and asked.end < asked.start)

    def _range(self) -> tuple[int, int]:
        asked = self.details
        if not asked.end:
            return asked.start, LAST_TIME
        if self.reverse:
            return (asked.end + 1, asked.start + 1) if asked.start else (0, asked.end + 1)
        return asked.start, max(asked.end, asked.start + 1)

    async def next(self) -> Answer:
        """The next part."""
        asked = self.details
        single = not (asked.start and asked.end)
        room = self.page
        if asked.most:
            room = min(room, asked.most - self._given if single else asked.most)
        rows: list[bytes] = []
        looked = 0
        low, high = self._range()
        while not self._done and len(rows) < room and looked < _MOST_LOOKED_AT:
            # Never more than there is room for, so that no event is read and not told.
            limit = min(_AT_ONCE, room - len(rows))
            events, self._resume = await self.history.events(
                self.place or "", low, high, limit, reverse=self.reverse, resume=self._resume
            )
            looked += len(events)
            self._done = self._resume is None
            for event in events:
                record = self.records.of_event(event)
                if self.place == "" and not event.address:
                    continue
                if self.access.allows(Right.READ, record.address) and self.filter.passes(record):
                    rows.append(record.row(self.filter))
            await asyncio.sleep(0)
        self._given += len(rows)
        more = not self._done and not (single and self._given >= asked.most)
        return Answer(0 if self._given or more else _GOOD_NO_DATA, history_event(rows), more)
