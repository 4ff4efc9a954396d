"""HistoryRead (Part 4, 5.11.3) over the port `HistoryReader`.

History is what the devices delivered: there is no HistoryUpdate, so it answers BadServiceUnsupported.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from asyncua.common.utils import ServiceError

from address_space.catalogue import ValueType
from address_space.opcua.encoding import NULL_EXTENSION
from address_space.opcua.event_records import SERVER
from address_space.opcua.history_columns import part_of
from address_space.opcua.history_events import EventDetails, EventReading, filter_of
from address_space.opcua.history_points import ContinuationPoints, Reading, Unfinished
from address_space.opcua.history_processed import (
    AtTimeDetails,
    AtTimeReading,
    ProcessedDetails,
    ProcessedReading,
    aggregate_of,
)
from address_space.opcua.history_raw import RawDetails, RawReading
from address_space.opcua.space import Node, NodeClass
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NO_DIAGNOSTICS,
    NULL_STRING,
    OperationError,
    Reader,
    numeric_identifier,
    pack_i32,
    pack_u32,
)
from address_space.ports import HistoryReader, Right

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler, Processor
    from address_space.opcua.request import Request
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

RAW, PROCESSED, AT_TIME, EVENTS = 649, 652, 655, 646
_NOT_OFFERED = frozenset({18651, 23500, 32800})
"""ReadEventDetailsSorted, ReadAnnotationDataDetails, ReadEventDetails2: known, but no node has them here."""
_VALUE_OCTETS, _EVENT_OCTETS = 34, 512
_MOST_SECONDS = 60.0
"""One request is worked on for so long at most; what is not read by then answers BadTimeout."""
_READINGS_AT_ONCE = 4
_TEXT_SHARE = 5
_CODES = ua.StatusCodes
_log = logging.getLogger(__name__)

Details = RawDetails | ProcessedDetails | AtTimeDetails | EventDetails
_READERS: dict[int, Callable[[Reader], Details]] = {
    RAW: RawDetails.read,
    PROCESSED: ProcessedDetails.read,
    AT_TIME: AtTimeDetails.read,
    EVENTS: EventDetails.read,
}


class Wanted(NamedTuple):
    """One HistoryReadValueId; NodeId and DataEncoding on the wire."""

    node_id: bytes
    index_range: str | None
    encoding: bytes
    point: bytes


@dataclass(slots=True)
class _Asked:
    """One HistoryRead request."""

    number: int
    kind: int
    details: Details | None
    stamps: int
    release: bool
    nodes: list[Wanted]
    page: int
    until: float


class HistoryService:
    """What HistoryRead keeps between requests.

    Attributes:
        points: continuation points.
        readings: nodes that are being read now, over all sessions, are this many at most.
    """

    def __init__(self, server: InternalServer) -> None:
        self.server = server
        self.points = ContinuationPoints(server.limits.max_history_continuation_points)
        self.readings = asyncio.Semaphore(_READINGS_AT_ONCE)
        self._numbers = itertools.count(1)

    def parse(self, processor: Processor, request: Request) -> _Asked:
        """A request, checked as a whole.

        Raises:
            ServiceError: the ServiceResult of what is wrong.
        """
        limits, reader = self.server.limits, request.reader()
        kind, details = _details(reader)
        stamps, release = reader.i32(), reader.boolean()
        nodes = [
            Wanted(reader.node_id(), reader.text(), reader.qualified_name(), reader.octets() or b"")
            for _ in range(reader.array(16))
        ]
        if not nodes:
            raise ServiceError(_CODES.BadNothingToDo)
        if len(nodes) > (limits.max_nodes_per_history_events if kind == EVENTS else limits.max_nodes_per_history_data):
            raise ServiceError(_CODES.BadTooManyOperations)
        if not release:
            if not 0 <= stamps <= 3 or (stamps == 3 and kind != EVENTS):
                raise ServiceError(_CODES.BadTimestampsToReturnInvalid)
            if kind not in _READERS and kind not in _NOT_OFFERED:
                raise ServiceError(_CODES.BadHistoryOperationInvalid)
            if isinstance(details, ProcessedDetails) and len(details.aggregates) != len(nodes):
                raise ServiceError(_CODES.BadAggregateListMismatch)
        page = min(limits.max_history_values, max(1, limits.max_history_values_per_answer // len(nodes)))
        octets = processor.response_limit
        if octets:
            each = _EVENT_OCTETS if kind == EVENTS else _VALUE_OCTETS
            page = min(page, max(1, octets // 2 // len(nodes) // each))
        patience = min(request.timeout_hint / 1000 or _MOST_SECONDS, _MOST_SECONDS)
        until = asyncio.get_running_loop().time() + patience
        return _Asked(next(self._numbers), kind, details, stamps, release, nodes, page, until)

    async def read(self, processor: Processor, request: Request, asked: _Asked, session: Session) -> None:
        """Read all nodes one after the other and answer."""
        results = []
        for number, wanted in enumerate(asked.nodes):
            try:
                results.append(await self._one(session, asked, number, wanted))
            except OperationError as error:
                results.append(pack_u32(error.status) + NULL_STRING + NULL_EXTENSION)
        processor.respond(request, 667, pack_i32(len(results)), *results, NO_DIAGNOSTICS)

    async def _one(self, session: Session, asked: _Asked, number: int, wanted: Wanted) -> bytes:
        if asked.release:
            self.points.take(session, wanted.point)
            return pack_u32(0) + NULL_STRING + NULL_EXTENSION
        if wanted.point:
            unfinished = self.points.take(session, wanted.point)
            if unfinished.node_id != wanted.node_id or unfinished.details != asked.kind:
                raise OperationError(_CODES.BadContinuationPointInvalid)
            _, node = self._place(session, asked, wanted)
            reading = unfinished.reading
            # This request may name more nodes than the one before.
            reading.page = min(reading.page, self._page(asked, node))
        else:
            reading = self._reading(session, asked, number, wanted)
        try:
            async with asyncio.timeout_at(asked.until), self.readings:
                answer = await reading.next()
        except TimeoutError as error:
            raise OperationError(_CODES.BadTimeout) from error
        except KeyError as error:
            raise OperationError(_CODES.BadHistoryOperationUnsupported) from error
        except RuntimeError as error:
            _log.warning("the history of %s could not be read: %s", wanted.node_id, error)
            raise OperationError(_CODES.BadResourceUnavailable) from error
        point = NULL_STRING
        if answer.more:
            kept = self.points.keep(session, Unfinished(wanted.node_id, asked.kind, reading, asked.number))
            point = pack_i32(len(kept)) + kept
        return pack_u32(answer.status) + point + answer.data

    def _place(self, session: Session, asked: _Asked, wanted: Wanted) -> tuple[HistoryReader, Node | None]:
        """The port and the node, None for the Server object.

        Raises:
            OperationError: BadNodeIdUnknown, BadUserAccessDenied, BadHistoryOperationUnsupported.
        """
        server, rights = self.server, session.rights
        node = server.space.find_wire(wanted.node_id)
        if node is None:
            if server.types.node_references(wanted.node_id) is None:
                raise OperationError(_CODES.BadNodeIdUnknown)
        elif not rights.allows(Right.BROWSE, node.owner):
            raise OperationError(_CODES.BadNodeIdUnknown)
        history = server.ports.history
        if history is None or asked.kind in _NOT_OFFERED:
            raise OperationError(_CODES.BadHistoryOperationUnsupported)
        if asked.kind == EVENTS:
            notifier = numeric_identifier(wanted.node_id) == SERVER if node is None else node.is_notifier
            if not notifier or (node is not None and server.space.node_class(node) != NodeClass.OBJECT):
                raise OperationError(_CODES.BadHistoryOperationUnsupported)
            return history, node
        if node is None or not node.is_point:
            raise OperationError(_CODES.BadHistoryOperationUnsupported)
        if not rights.allows(Right.READ, node.owner):
            raise OperationError(_CODES.BadUserAccessDenied)
        if not history.keeps(node.owner):
            raise OperationError(_CODES.BadHistoryOperationUnsupported)
        return history, node

    def _page(self, asked: _Asked, node: Node | None) -> int:
        """Values or events of one answer; fewer texts, which are encoded one by one."""
        text = node is not None and asked.kind != EVENTS and self._type(node) == ValueType.STRING
        return max(1, asked.page // _TEXT_SHARE) if text else asked.page

    def _type(self, node: Node) -> int:
        return int(self.server.table.value_type[node.row])

    def _reading(self, session: Session, asked: _Asked, number: int, wanted: Wanted) -> Reading:
        server, details = self.server, asked.details
        history, node = self._place(session, asked, wanted)
        if isinstance(details, EventDetails):
            feed = server.event_feed
            place = None if node is None else node.owner
            filter_ = filter_of(details, feed.types)
            return EventReading(history, feed.records, session.rights, place, details, filter_, asked.page)
        if node is None or details is None:
            raise OperationError(_CODES.BadHistoryOperationUnsupported)
        value_type, page = self._type(node), self._page(asked, node)
        part = part_of(wanted.index_range, wanted.encoding, value_type)
        if isinstance(details, RawDetails):
            return RawReading(history, node.owner, details, part, asked.stamps, page)
        if isinstance(details, AtTimeDetails):
            return AtTimeReading(history, server.table, node.owner, details, part, asked.stamps, page)
        aggregate = aggregate_of(details.aggregates[number], value_type)
        return ProcessedReading(history, server.table, node.owner, details, aggregate, part, asked.stamps, page)


def _details(reader: Reader) -> tuple[int, Details | None]:
    """The number of the details' encoding, 0 for none that is known, and the details."""
    number = numeric_identifier(reader.node_id()) or 0
    encoding = reader.u8()
    body = reader.octets() if encoding else None
    make = _READERS.get(number)
    if body is None or make is None or encoding != 1:
        return (number if number in _NOT_OFFERED else 0), None
    return number, make(Reader(body, 0))


def history_read(processor: Processor, request: Request) -> None:
    """HistoryRead: beside the connection's other requests."""
    session = processor.session
    if session is None:
        raise ServiceError(_CODES.BadSessionIdInvalid)
    service = processor.iserver.history
    asked = service.parse(processor, request)
    processor.spawn(service.read(processor, request, asked, session), request)


RAW_HANDLERS: dict[int, Handler] = {664: history_read}
"""Request type id -> handler."""
