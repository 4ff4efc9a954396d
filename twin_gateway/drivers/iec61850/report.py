"""Reports of IEC 61850-8-1: header fields, and samples through a cache of layouts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

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

_LAYOUTS_OF_A_LENGTH = 8
_LAYOUTS = 512


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

    `contents` is where the inclusion begins, behind which only members and reasons follow.
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
        self._shapes: dict[int, list[_Shape]] = {}
        self._count = 0
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
        self._shapes.clear()
        self._count = 0

    def decode(self, buffer: bytes, start: int, stop: int) -> Report:
        """The report in `buffer[start:stop]`, a list of access results.

        Raises:
            UnknownReport: nobody subscribed the block.
            MmsProtocolError: it is no report of 61850-8-1.
        """
        octets = np.frombuffer(buffer, np.uint8, stop - start, start)
        known = self._shapes.get(stop - start)
        if known is not None:
            for index, shape in enumerate(known):
                if shape.layout.fits(octets):
                    if index:
                        known.insert(0, known.pop(index))
                    return self._report(shape, octets)
        shape = self._shape(buffer, start, stop, octets)
        if known is None:
            if self._count >= _LAYOUTS:
                self._shapes.clear()
                self._count = 0
            known = self._shapes[stop - start] = []
        known.insert(0, shape)
        self._count += 1
        if len(known) > _LAYOUTS_OF_A_LENGTH:
            known.pop()
            self._count -= 1
        return self._report(shape, octets)

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
        included = header.inclusion()
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
            shift(revision), shift(more), shift(segment), contents - start,
        )  # fmt: skip

    def _subscription(self, report_id: str, data_set: str) -> Subscription:
        candidates = self._subscriptions.get(report_id, ())
        for subscription in candidates:
            if not data_set or subscription.data_set == data_set:
                return subscription
        raise UnknownReport(f"report {report_id!r} of data set {data_set!r} was not subscribed")

    @staticmethod
    def _report(shape: _Shape, octets: mms.Octets) -> Report:
        def content(place: tuple[int, int]) -> bytes:
            return octets[place[0] : place[1]].tobytes()

        return Report(
            shape.subscription.key,
            shape.layout.columns(octets),
            shape.reasons,
            int.from_bytes(content(shape.sequence), "big") if shape.sequence[1] else None,
            content(shape.entry_id) if shape.entry_id[1] else None,
            mms.entry_ticks(content(shape.entry_time)),
            any(content(shape.overflow)),
            int.from_bytes(content(shape.revision), "big") if shape.revision[1] else None,
            any(content(shape.more)),
            int.from_bytes(content(shape.segment), "big") if shape.segment[1] else None,
            hash(octets[shape.contents :].tobytes()) if shape.entry_id[1] else 0,
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
        self._layouts = [layout, *self._layouts[: _LAYOUTS_OF_A_LENGTH - 1]]
        return layout.columns(octets)


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

    def inclusion(self) -> list[int]:
        """Numbers of the included members; the bit string belongs to the shape."""
        self.fixed.append(self.item)
        start, stop = self.take(1, mms.BIT_STRING)
        if stop - start < 1:
            raise MmsProtocolError("inclusion without bits")
        bits = np.unpackbits(np.frombuffer(self._buffer, np.uint8, stop - start - 1, start + 1))
        unused = self._buffer[start]
        if unused > 7:
            raise MmsProtocolError("bit string with more than 7 unused bits")
        return [int(index) for index in np.nonzero(bits[: len(bits) - unused])[0]]


def _shift(base: int) -> Callable[[tuple[int, int]], tuple[int, int]]:
    def shift(place: tuple[int, int]) -> tuple[int, int]:
        return (place[0] - base, place[1] - base) if place[1] else place

    return shift
