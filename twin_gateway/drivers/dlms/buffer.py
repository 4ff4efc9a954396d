"""The buffer of one profile object (load profile or event log), read piece by piece: what is new since the last time.

Pieces go from the oldest to the newest and overlap a little; a row that was delivered is recognised by its time and
content. A meter's clock that was set back takes the position back with it, so that nothing captured since is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.clock import MeterTime, zone_time
from twin_gateway.drivers.dlms.contact import Contact
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.positions import MOST_RECENT, RECENT, Position, row_key
from twin_gateway.drivers.dlms.services import by_entry, by_range

BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD, SORT_METHOD, ENTRIES_IN_USE, PROFILE_ENTRIES = 2, 3, 4, 5, 7, 8
_NEWEST_FIRST = 2
"""Sort method of a buffer whose row 1 is the newest."""
LONGEST_PIECE = timedelta(days=1)
"""Longer spans are read in several requests, so that a reading or a command never waits for a month of rows."""
ROWS_A_PIECE = 200
MOST_ROWS = 10_000
"""Rows taken of a buffer that can only be read by number."""
_TWICE = timedelta(hours=2)
"""From the beginning of the hour that comes twice to its end."""
_LONGEST_PERIOD_S = 10 * 366 * 86_400
_LONGEST_BUFFER_S = 100 * 366 * 86_400
_AHEAD = timedelta(minutes=30)
"""Rows of a clock that is no further ahead wait until their time has come: it would be replaced otherwise."""
_SET_BACK = timedelta(seconds=60)
"""A position so far ahead of the meter's clock means that the clock was set back."""


@dataclass(slots=True)
class Shape:
    """What a profile object says of itself.

    Attributes:
        captured: its columns.
        clock: column of the time; -1 when there is none.
        period: seconds between two rows; 0 when rows come with events, or when it is unknown or beyond reason.
        capacity: rows kept; 0 when unknown.
        newest_first: row 1 is the newest.
    """

    captured: list[Attribute]
    clock: int = -1
    period: int = 0
    capacity: int = 0
    newest_first: bool = False


def captured_of(capture_objects: Value) -> list[Attribute]:
    """Columns from the capture_objects attribute.

    Raises:
        MalformedApduError: not a list of capture objects.
    """
    if not isinstance(capture_objects, list):
        raise MalformedApduError("capture_objects is not an array")
    captured = []
    for item in capture_objects:
        match item:
            case [int(class_id), bytes(name), int(number), *_] if len(name) == 6:
                captured.append(Attribute(class_id, name, number))
            case _:
                raise MalformedApduError("capture_objects holds something that is no capture object")
    return captured


def shape_of(capture_objects: Value, period: object = 0, capacity: object = 0, sort: object = 0) -> Shape:
    """The shape from capture_objects, capture_period, profile_entries and sort_method; the latter may be refusals.

    Raises:
        MalformedApduError: not a list of capture objects.
    """
    captured = captured_of(capture_objects)
    clock = Attribute(obis.CLOCK, obis.CLOCK_LN, 2)
    at = captured.index(clock) if clock in captured else -1
    seconds = _natural(period)
    return Shape(
        captured, at, seconds if seconds <= _LONGEST_PERIOD_S else 0, _natural(capacity), sort == _NEWEST_FIRST
    )


def _natural(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass(slots=True)
class Row:
    """One row of a buffer: its time by the meter's clock, and its cells."""

    time: MeterTime
    cells: list[Value]


@dataclass(slots=True)
class Piece:
    """What one reading brought.

    Attributes:
        rows: new ones, the oldest first if the buffer is sorted by time.
        bad: rows that could not be read.
        known: rows left out, as they were delivered before.
        again: rows of a time that was delivered before with other content; they are among `rows`.
        more: whether older rows are still to come after this piece.
        lost: the span whose rows were not read: overwritten before, or too many.
    """

    rows: list[Row] = field(default_factory=list)
    bad: int = 0
    known: int = 0
    again: int = 0
    more: bool = False
    lost: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How the rows of a buffer are to be understood.

    Attributes:
        zone, sign: of times without deviation, and of the deviation.
        null_repeats: null-data stands for a time one period later, and for a value that did not change.
        repeats: equal rows of one time are several events, not one row sent twice.
    """

    zone: tzinfo = UTC
    sign: int = 1
    null_repeats: bool = False
    repeats: bool = False


def new_rows(buffer: Value, shape: Shape, position: Position, rules: Rules, after: datetime | None = None) -> Piece:
    """The rows of a buffer that were not delivered before; they count as delivered from here on.

    Args:
        buffer: rows as decoded; null-data is no rows.
        shape: of the profile.
        position: its position; the rows are added to its recent ones, `until` is left alone.
        rules: see there.
        after: rows at or before this time are left out.

    Raises:
        MalformedApduError: the buffer is no array.
    """
    piece = Piece()
    previous: datetime | None = None
    above: list[Value] | None = None
    seen: Counter[str] = Counter()
    for cells in _oldest_first(_array(buffer), shape, rules):
        if not isinstance(cells, list) or len(cells) <= shape.clock:
            piece.bad += 1
            continue
        cell = cells[shape.clock]
        if cell is None and previous is not None and shape.period:
            time = _next(previous, shape.period)
        else:
            time = zone_time(cell, rules.zone, rules.sign, previous)
        if time is None or time.utc is None:
            piece.bad += 1
            continue
        if rules.null_repeats and above is not None and len(above) == len(cells):
            cells = [old if new is None else new for old, new in zip(above, cells, strict=True)]
        previous, above = time.utc, cells
        if after is not None and time.utc <= after:
            piece.known += 1
            continue
        content = [cell for column, cell in enumerate(cells) if column != shape.clock]
        key = row_key(time.utc, content)
        if rules.repeats:
            seen[key] += 1
            key = row_key(time.utc, content, seen[key] - 1)
        elif position.until is not None and time.utc <= position.until and key not in position.recent:
            piece.again += position.knows_time(time.utc)
        if position.add(key):
            piece.rows.append(Row(time, cells))
        else:
            piece.known += 1
    return piece


def _next(moment: datetime, period: int) -> MeterTime | None:
    try:
        return MeterTime(moment + timedelta(seconds=period))
    except OverflowError:
        return None


def _array(buffer: Value) -> list[Value]:
    if buffer is None:
        return []
    if not isinstance(buffer, list):
        raise MalformedApduError("profile buffer is not an array")
    return buffer


def _oldest_first(buffer: list[Value], shape: Shape, rules: Rules) -> list[Value]:
    """The rows by rising time where the meter sends the newest first: the order tells equal local times apart."""
    if len(buffer) < 2:
        return buffer
    first, last = (_time_of(buffer[at], shape, rules) for at in (0, -1))
    return buffer[::-1] if first is not None and last is not None and first > last else buffer


def remembered(period: int, overlap: timedelta) -> int:
    """How many rows must be remembered one by one so that none of a profile comes twice."""
    if not period:
        return RECENT
    return max(RECENT, min(MOST_RECENT, (_TWICE + overlap) // timedelta(seconds=period) + 2))


class Buffer:
    """Reads the buffer of one profile object.

    Args:
        name: logical name.
        shape: of the object.
        position: until when it is known.
        depth: how far back it is read the first time.
        overlap: how far back of the position every reading starts.
        rules: how to understand rows.
    """

    def __init__(
        self, name: bytes, shape: Shape, position: Position, rules: Rules, *, depth: timedelta, overlap: timedelta
    ) -> None:
        self.name = name
        self.shape = shape
        self.position = position
        self._depth = depth
        self._overlap = overlap
        self._rules = rules

    async def read(self, contact: Contact) -> Piece:
        """The next piece. Its position is kept by the caller, once the rows are delivered.

        Raises:
            DlmsError: the meter refused or answered nonsense.
            OSError: the connection ended.
        """
        try:
            return await self._read(contact)
        except OverflowError as error:
            raise MalformedApduError(f"the meter's clock is beyond reason: {error}") from error

    async def _read(self, contact: Contact) -> Piece:
        position, shape = self.position, self.shape
        asked, now = datetime.now(UTC), contact.meter_now
        if position.until is not None and position.until > now + _SET_BACK:
            contact.link.count("clock_set_back")
            # It may have been set back as long ago as the last reading, and has captured rows since.
            position.until = now - (max(asked - position.read, timedelta(0)) if position.read else self._depth)
        start = self._start(now)
        lost = self._overwritten(start)
        kind = _selection(contact)
        if kind == "range":
            # Some meters send all they have. Within two hours they may mean another local time than we do.
            after = start - _TWICE
            now = asked if asked < now < asked + _AHEAD else now
            end = min(start + self._span(), now + timedelta(seconds=1))
            zone = self._rules.zone
            bounds = by_range(start.astimezone(zone), end.astimezone(zone), self._rules.sign)
            buffer = await contact.get(Attribute(obis.PROFILE, self.name, BUFFER), bounds)
        else:
            end, after = now, start - timedelta(microseconds=1)
            if kind == "entry":
                buffer, behind = await self._by_entry(contact, start)
                if behind is not None and position.until is not None:
                    lost = position.until, behind
            else:
                buffer = await contact.get(Attribute(obis.PROFILE, self.name, BUFFER))
        piece = new_rows(buffer, shape, position, self._rules, after)
        piece.more, piece.lost = end < now, lost
        newest = max((row.time.utc for row in piece.rows if row.time.utc is not None), default=None)
        # A piece of the past that was read is done with, also when nothing was captured in it.
        for reached in (end if piece.more else newest, lost[1] if lost is not None else None):
            if reached is not None and (position.until is None or reached > position.until):
                position.until = reached
        position.read = asked
        return piece

    def _start(self, now: datetime) -> datetime:
        until = self.position.until
        start = now - self._depth if until is None else until - self._overlap
        zone = self._rules.zone
        local = start.astimezone(zone)
        if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            # Within the hour that comes twice: the order of rows tells which, so it is read from before it.
            start -= _TWICE
        if self.shape.period and self.shape.capacity:
            # Nothing older is there any more; asking for it would only take time.
            kept = min(self.shape.period * (self.shape.capacity + 1), _LONGEST_BUFFER_S)
            start = max(start, now - timedelta(seconds=kept))
        return start

    def _overwritten(self, start: datetime) -> tuple[datetime, datetime] | None:
        until = self.position.until
        if until is None or not self.shape.period or start <= until:
            return None
        return until, start

    def _span(self) -> timedelta:
        if not self.shape.period:
            return LONGEST_PIECE
        return max(min(LONGEST_PIECE, timedelta(seconds=self.shape.period * ROWS_A_PIECE)), self._overlap * 2)

    async def _by_entry(self, contact: Contact, start: datetime) -> tuple[Value, datetime | None]:
        """Rows from `start` on, found from the newest back, in the order of the buffer.

        Behind them, if there are too many to read all: the time of the oldest of them.
        """
        attribute, newest_first = Attribute(obis.PROFILE, self.name, BUFFER), self.shape.newest_first
        used = _natural(await contact.get(Attribute(obis.PROFILE, self.name, ENTRIES_IN_USE)))
        rows: list[Value] = []
        read = 0
        while read < used:
            count = min(ROWS_A_PIECE, used - read)
            low = read + 1 if newest_first else used - read - count + 1
            part = _array(await contact.get(attribute, by_entry(low, low + count - 1)))
            rows = rows + part if newest_first else part + rows
            read += count
            oldest = _time_of(part[-1 if newest_first else 0], self.shape, self._rules) if part else None
            if not part or (oldest is not None and oldest < start):
                break
            if read >= MOST_ROWS and read < used:
                return rows, oldest
        return rows, None


def _time_of(cells: Value, shape: Shape, rules: Rules) -> datetime | None:
    if not isinstance(cells, list) or not 0 <= shape.clock < len(cells):
        return None
    time = zone_time(cells[shape.clock], rules.zone, rules.sign)
    return time.utc if time is not None else None


def _selection(contact: Contact) -> str:
    """How the buffer is read: `range`, `entry` or `none`."""
    if not contact.session.association.can_select:
        return "none"
    return contact.config.selection


async def shape_from(contact: Contact, name: bytes) -> Shape:
    """The shape of a profile object, read from the meter.

    Raises:
        DlmsError: its columns cannot be read.
        OSError: the connection ended.
    """
    wanted = [CAPTURE_OBJECTS, CAPTURE_PERIOD, PROFILE_ENTRIES, SORT_METHOD]
    answers = await contact.get_many([Attribute(obis.PROFILE, name, number) for number in wanted])
    objects, *others = answers
    if isinstance(objects, DlmsError):
        raise objects
    return shape_of(objects, *others)
