"""Reports of IEC 61850-8-1: header fields, and samples through a cache of layouts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from address_space.point import TextSample

from . import values as mms
from .errors import MmsProtocolError
from .layout import Columns, Layout
from .plan import Plan
from .walk import Walk, walk

REASON_DATA_CHANGE = 0x40
REASON_QUALITY_CHANGE = 0x20
REASON_DATA_UPDATE = 0x10
REASON_INTEGRITY = 0x08
REASON_GENERAL_INTERROGATION = 0x04

_SEQUENCE, _ENTRY_TIME, _REASONS, _DATA_SET = 0x4000, 0x2000, 0x1000, 0x0800
_REFERENCES, _OVERFLOW, _ENTRY_ID, _CONFIGURATION, _SEGMENTS = 0x0400, 0x0200, 0x0100, 0x0080, 0x0040

_LAYOUTS_ALIKE = 8
"""Layouts of one length and one inclusion that are kept: they differ in the lengths of single values."""
_LAYOUTS = 2048
_LAYOUT_OCTETS = 1 << 18
"""Octets of all messages of which layouts are kept; a layout needs eight times as much. There is room for 2 000 members
that change one at a time, not for reports that never come again as they are.
"""
_PLACES = 16
"""Places of the inclusion that are looked at in messages of one length."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A report control block that has been enabled.

    Attributes:
        key: what the receiver knows it by.
        report_id: RptID that its reports carry.
        data_set: DatSet that its reports carry (`domain/LN$name`).
        plan: what to take out of them.
    """

    key: Hashable
    report_id: str
    data_set: str
    plan: Plan


@dataclass(slots=True)
class Report:
    """One report.

    Attributes:
        key: of the subscription.
        columns: the samples.
        reasons: reasons for inclusion of all members together (`REASON_*`); 0 when the report has none.
        sequence: SqNum, or None.
        segment: SubSqNum, or None.
        entry_id: EntryID of a buffered report, or None.
        entry_time: TimeOfEntry in FILETIME ticks; 0 for none. It is the time of buffering, not of the values.
        overflow: the device lost entries before this one.
        revision: ConfRev, or None.
        more: further segments of the same report follow.
        digest: hash of members, values and reasons of a buffered report, equal for equal contents; 0 for others.
    """

    key: Hashable
    columns: Columns
    reasons: int
    sequence: int | None
    entry_id: bytes | None
    entry_time: int
    overflow: bool
    revision: int | None
    more: bool
    segment: int | None = None
    digest: int = 0


@dataclass(slots=True)
class _Shape:
    """A cached layout of reports: the samples and where the header fields lie, as (start, stop), (0, 0) for none.

    `inclusion` are the octets that say which members are there; `contents` is where they begin, behind which only
    members and reasons follow.
    """

    layout: Layout
    subscription: Subscription
    reasons: int
    sequence: tuple[int, int]
    entry_time: tuple[int, int]
    overflow: tuple[int, int]
    entry_id: tuple[int, int]
    revision: tuple[int, int]
    more: tuple[int, int]
    segment: tuple[int, int]
    inclusion: tuple[int, int]
    contents: int


class UnknownReport(MmsProtocolError):  # noqa: N818 - it is no error of the peer: a report of a block that was just given up
    """A report of a control block that nobody subscribed."""


class ReportDecoder:
    """Decodes the reports of one association.

    Attributes:
        walked: reports that had to be walked; the others fitted a cached layout.
    """

    def __init__(self) -> None:
        self._subscriptions: dict[str, list[Subscription]] = {}
        # length of the message -> where the inclusion may lie in it; and (length, where, inclusion) -> layouts
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._shapes: dict[tuple[int, int, bytes], list[_Shape]] = {}
        self._count = self._octets = 0
        self.walked = 0

    def subscribe(self, subscription: Subscription) -> None:
        """Take the reports of a block; one with the same key is replaced."""
        self.unsubscribe(subscription.key)
        self._subscriptions.setdefault(subscription.report_id, []).append(subscription)

    def unsubscribe(self, key: Hashable) -> None:
        """Forget a block."""
        for report_id, all_of_it in tuple(self._subscriptions.items()):
            kept = [s for s in all_of_it if s.key != key]
            if kept:
                self._subscriptions[report_id] = kept
            else:
                del self._subscriptions[report_id]
        self._forget()

    def _forget(self) -> None:
        self._shapes.clear()
        self._places.clear()
        self._count = self._octets = 0

    def decode(self, buffer: bytes, start: int, stop: int) -> Report:
        """The report in `buffer[start:stop]`, a list of access results.

        Raises:
            UnknownReport: nobody subscribed the block.
            MmsProtocolError: it is no report of 61850-8-1.
        """
        length = stop - start
        octets = np.frombuffer(buffer, np.uint8, length, start)
        for first, last in self._places.get(length, ()):
            known = self._shapes.get((length, first, buffer[start + first : start + last]), ())
            for shape in known:
                if shape.layout.fits(octets):
                    return self._report(shape, octets, buffer[start:stop])
        shape = self._shape(buffer, start, stop, octets)
        self._keep(shape, octets)
        return self._report(shape, octets, buffer[start:stop])

    def _keep(self, shape: _Shape, octets: mms.Octets) -> None:
        length = len(octets)
        if length > _LAYOUT_OCTETS // 2:
            return
        if self._count >= _LAYOUTS or self._octets + length > _LAYOUT_OCTETS:
            self._forget()
        places = self._places.setdefault(length, [])
        if shape.inclusion not in places:
            if len(places) >= _PLACES:
                return
            places.append(shape.inclusion)
        first, last = shape.inclusion
        alike = self._shapes.setdefault((length, first, octets[first:last].tobytes()), [])
        alike.insert(0, shape)
        self._count += 1
        self._octets += length
        if len(alike) > _LAYOUTS_ALIKE:
            alike.pop()
            self._count -= 1
            self._octets -= length

    def _shape(self, buffer: bytes, start: int, stop: int, octets: mms.Octets) -> _Shape:
        self.walked += 1
        found = walk(buffer, start, stop)
        header = _Header(buffer, found)
        options = header.options
        sequence = header.take(options & _SEQUENCE)
        entry_time = header.take(options & _ENTRY_TIME, mms.BINARY_TIME)
        data_set = header.text(options & _DATA_SET)
        overflow = header.take(options & _OVERFLOW, mms.BOOLEAN)
        entry_id = header.take(options & _ENTRY_ID, mms.OCTETS)
        revision = header.take(options & _CONFIGURATION)
        segment = header.take(options & _SEGMENTS)
        more = header.take(options & _SEGMENTS, mms.BOOLEAN)
        contents = found.starts[found.items[header.item]] if header.item < len(found.items) - 1 else start
        inclusion, included = header.inclusion()
        # what is left: references (if any), values, reasons (if any), as many of each as members are included
        if options & _REFERENCES:
            header.item += len(included)
        first = header.item
        expected = len(included) * (2 if options & _REASONS else 1)
        if len(found.items) - 1 - first != expected:
            raise MmsProtocolError(f"report with {len(found.items) - 1 - first} results where {expected} belong")
        subscription = self._subscription(header.report_id, data_set)
        if included and included[-1] >= len(subscription.plan.members):
            raise MmsProtocolError("report of more members than its data set has")
        layout = Layout(octets, found, subscription.plan, base=start, included=included, first=first)
        fixed = [0, 1, *header.fixed]
        reasons = 0
        if options & _REASONS:
            for item in range(first + len(included), first + expected):
                leaf = found.items[item]
                if found.tags[leaf] != mms.BIT_STRING or found.stops[leaf] - found.starts[leaf] < 2:
                    raise MmsProtocolError("reason code is no bit string")
                reasons |= buffer[found.starts[leaf] + 1]
                fixed.append(item)
        pinned = [found.items[item] for item in fixed]
        layout.pin(octets, [(found.starts[leaf] - start, found.stops[leaf] - start) for leaf in pinned])
        shift = _shift(start)
        return _Shape(
            layout, subscription, reasons, shift(sequence), shift(entry_time), shift(overflow), shift(entry_id),
            shift(revision), shift(more), shift(segment), shift(inclusion), contents - start,
        )  # fmt: skip

    def _subscription(self, report_id: str, data_set: str) -> Subscription:
        candidates = self._subscriptions.get(report_id, ())
        for subscription in candidates:
            if not data_set or subscription.data_set == data_set:
                return subscription
        raise UnknownReport(f"report {report_id!r} of data set {data_set!r} was not subscribed")

    @staticmethod
    def _report(shape: _Shape, octets: mms.Octets, message: bytes) -> Report:
        def number(place: tuple[int, int]) -> int | None:
            return int.from_bytes(message[place[0] : place[1]], "big") if place[1] else None

        first, last = shape.entry_id
        return Report(
            shape.subscription.key,
            shape.layout.columns(octets),
            shape.reasons,
            number(shape.sequence),
            message[first:last] if last else None,
            mms.entry_ticks(message[slice(*shape.entry_time)]),
            bool(number(shape.overflow)),
            number(shape.revision),
            bool(number(shape.more)),
            number(shape.segment),
            hash(message[shape.contents :]) if last else 0,
        )


class ReadDecoder:
    """Decodes the answers to one read that is asked again and again."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._layouts: list[Layout] = []

    def decode(self, buffer: bytes, start: int, stop: int) -> Columns:
        """The samples in `buffer[start:stop]`, the access results of all members of the plan.

        Raises:
            MmsProtocolError: no MMS data, or another number of results.
        """
        octets = np.frombuffer(buffer, np.uint8, stop - start, start)
        for layout in self._layouts:
            if layout.length == len(octets) and layout.fits(octets):
                return layout.columns(octets)
        found = walk(buffer, start, stop)
        members = len(self.plan.members)
        if len(found.items) - 1 != members:
            raise MmsProtocolError(f"{len(found.items) - 1} results for {members} variables")
        layout = Layout(octets, found, self.plan, base=start, included=range(members), first=0)
        self._layouts = [layout, *self._layouts[: _LAYOUTS_ALIKE - 1]]
        return layout.columns(octets)

    def refused(self, word: int) -> Columns:
        """What a refusal of the whole read says: the last values with the quality `word`."""
        plan = self.plan
        numbers = np.nonzero(~plan.text)[0]
        values = np.where(plan.seen[numbers], plan.last_value[numbers], 0.0)
        texts = [TextSample(int(row), "", word) for row in plan.rows[plan.text]]
        quality = np.full(len(numbers), word, np.uint32)
        return Columns(plan.rows[numbers], values, quality, np.zeros(len(numbers), np.int64), texts, 1)


class _Header:
    """Cursor over the leading results of a report."""

    def __init__(self, buffer: bytes, found: Walk) -> None:
        self._buffer = buffer
        self._found = found
        self.item = 0
        self.fixed: list[int] = []
        self.report_id = self.text(1)
        start, stop = self.take(1, mms.BIT_STRING)
        self.options = int.from_bytes((buffer[start + 1 : stop] + b"\0\0")[:2], "big")

    def take(self, present: int, tag: int | None = None) -> tuple[int, int]:
        """Offsets of the content of the next result if it is present; (0, 0) when not."""
        if not present:
            return 0, 0
        found = self._found
        if self.item >= len(found.items) - 1 or not found.simple[self.item]:
            raise MmsProtocolError("report header too short")
        leaf = found.items[self.item]
        self.item += 1
        if tag is not None and found.tags[leaf] != tag:
            raise MmsProtocolError(f"report header field {self.item} has tag 0x{found.tags[leaf]:02X}")
        return found.starts[leaf], found.stops[leaf]

    def text(self, present: int) -> str:
        """The next result as text; it belongs to the shape."""
        if present:
            self.fixed.append(self.item)
        start, stop = self.take(present, mms.VISIBLE)
        return self._buffer[start:stop].decode("latin-1")

    def inclusion(self) -> tuple[tuple[int, int], list[int]]:
        """Where the bit string lies, and numbers of the included members; it belongs to the shape."""
        self.fixed.append(self.item)
        start, stop = self.take(1, mms.BIT_STRING)
        if stop - start < 1:
            raise MmsProtocolError("inclusion without bits")
        bits = np.unpackbits(np.frombuffer(self._buffer, np.uint8, stop - start - 1, start + 1))
        unused = self._buffer[start]
        if unused > 7:
            raise MmsProtocolError("bit string with more than 7 unused bits")
        return (start, stop), [int(index) for index in np.nonzero(bits[: len(bits) - unused])[0]]


def _shift(base: int) -> Callable[[tuple[int, int]], tuple[int, int]]:
    def shift(place: tuple[int, int]) -> tuple[int, int]:
        return (place[0] - base, place[1] - base) if place[1] else place

    return shift
