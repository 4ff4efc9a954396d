"""View services: Browse, BrowseNext, TranslateBrowsePathsToNodeIds, RegisterNodes; raw octets in and out."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from asyncua.common.utils import ServiceError

from address_space.opcua.space import Node, Reference
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NULL_ARRAY,
    NULL_NAME,
    NULL_NODE_ID,
    NULL_STRING,
    NULL_TEXT,
    OperationError,
    Reader,
    numeric_identifier,
    numeric_key,
    numeric_node_id,
    pack_i32,
    pack_u32,
)
from address_space.ports import Right

if TYPE_CHECKING:
    from address_space.opcua.access import Access
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

_FORWARD, _INVERSE, _BOTH = 0, 1, 2
_BREATH = 200
"""References of one node after which other work may have its turn."""
_MASK_TYPE, _MASK_FORWARD, _MASK_CLASS, _MASK_NAME, _MASK_DISPLAY, _MASK_DEFINITION = 1, 2, 4, 8, 16, 32
_WHOLE_PATH = b"\xff\xff\xff\xff"


class Wanted(NamedTuple):
    """One BrowseDescription.

    Attributes:
        node_id: on the wire.
        direction: 0 forward, 1 inverse, 2 both.
        types: reference types taken; None for all.
        classes: NodeClass mask; 0 for all.
        mask: ResultMask.
    """

    node_id: bytes
    direction: int
    types: frozenset[int] | None
    classes: int
    mask: int


def _result(status: int, point: bytes | None, references: list[bytes]) -> bytes:
    continuation = NULL_STRING if point is None else pack_i32(len(point)) + point
    return b"".join((pack_u32(status), continuation, pack_i32(len(references)), *references))


def _failed(status: int) -> bytes:
    return pack_u32(status) + NULL_STRING + NULL_ARRAY


# ---- Browse ----------------------------------------------------------------------------------------------------


def browse(processor: Processor, request: Request) -> Awaitable[None] | None:
    """Browse."""
    server, session = processor.iserver, _session(processor)
    reader = request.reader()
    view = reader.node_id()
    reader.i64()
    reader.u32()
    most = reader.u32()
    count = _operations(reader.array(13), server.limits.max_nodes_per_browse)
    if numeric_identifier(view) != 0:
        raise ServiceError(ua.StatusCodes.BadViewIdUnknown)
    limit = min(most or server.limits.max_references, server.limits.max_references)
    results = (piece for _ in range(count) for piece in _browsed(server, session, _description(reader), limit))
    return processor.respond_list(request, 530, count, results)


def _browsed(
    server: InternalServer, session: Session, description: tuple[bytes, int, bytes, bool, int, int], limit: int
) -> Iterator[bytes]:
    try:
        references = _encoded(server, session, _check(server, description))
        yield from _part(session, references, limit, server.limits.max_continuation_points)
    except OperationError as error:
        yield _failed(error.status)


def _description(reader: Reader) -> tuple[bytes, int, bytes, bool, int, int]:
    return reader.node_id(), reader.i32(), reader.node_id(), reader.boolean(), reader.u32(), reader.u32()


def _check(server: InternalServer, description: tuple[bytes, int, bytes, bool, int, int]) -> Wanted:
    node_id, direction, reference_type, subtypes, classes, mask = description
    if direction not in {_FORWARD, _INVERSE, _BOTH}:
        raise OperationError(ua.StatusCodes.BadBrowseDirectionInvalid)
    return Wanted(node_id, direction, _types(server, reference_type, subtypes), classes, mask)


def _types(server: InternalServer, reference_type: bytes, subtypes: bool) -> frozenset[int] | None:
    number = numeric_key(reference_type)
    if number == 0:
        return None
    taken = None if number is None else server.types.references(number, subtypes=subtypes)
    if taken is None:
        raise OperationError(ua.StatusCodes.BadReferenceTypeIdInvalid)
    return taken


def _references(server: InternalServer, node_id: bytes, access: Access) -> Iterable[Reference]:
    """All references of a node that the caller may see."""
    node = server.space.find_wire(node_id)
    if node is None:
        references = server.types.node_references(node_id)
        if references is None:
            raise OperationError(ua.StatusCodes.BadNodeIdUnknown)
        return itertools.chain(references, server.space.added(node_id, access.language))
    if not access.allows(Right.BROWSE, node.owner):
        # Whoever may not see a node is not told that it exists.
        raise OperationError(ua.StatusCodes.BadNodeIdUnknown)
    return server.space.references(node, access.language)


def _encoded(server: InternalServer, session: Session, wanted: Wanted) -> Iterator[bytes]:
    access = session.rights
    references = _references(server, wanted.node_id, access)
    return _filtered(references, wanted, access)


def _filtered(references: Iterable[Reference], wanted: Wanted, access: Access) -> Iterator[bytes]:
    _, direction, types, classes, mask = wanted
    allows = access.allows
    for reference in references:
        type_id, forward, _, _, _, node_class, _, address = reference
        if direction != _BOTH and forward == (direction == _INVERSE):
            continue
        if (types is not None and type_id not in types) or (classes and not classes & node_class):
            continue
        if address is not None and not allows(Right.BROWSE, address):
            continue
        yield encode_reference(reference, mask)


_TYPE_IDS: dict[int, bytes] = {}


def _type_id(number: int) -> bytes:
    found = _TYPE_IDS.get(number)
    if found is None:
        found = _TYPE_IDS[number] = numeric_node_id(number & 0xFFFF_FFFF, number >> 32)
    return found


def encode_reference(reference: Reference, mask: int) -> bytes:
    """ReferenceDescription on the wire; fields outside the ResultMask are null."""
    type_id, forward, target, name, display, node_class, definition, _ = reference
    return b"".join(
        (
            _type_id(type_id) if mask & _MASK_TYPE else NULL_NODE_ID,
            b"\x01" if forward and mask & _MASK_FORWARD else b"\x00",
            target,
            name if mask & _MASK_NAME else NULL_NAME,
            display if mask & _MASK_DISPLAY else NULL_TEXT,
            pack_i32(node_class if mask & _MASK_CLASS else 0),
            definition if mask & _MASK_DEFINITION else NULL_NODE_ID,
        )
    )


def _part(session: Session, references: Iterator[bytes], limit: int, points: int) -> Iterator[bytes]:
    """The next part of a node's references as a BrowseResult, after empty pieces when they are many."""
    part: list[bytes] = []
    while len(part) < limit and (some := list(itertools.islice(references, min(_BREATH, limit - len(part))))):
        part += some
        if len(some) == _BREATH:
            yield b""
    more = next(references, None) if len(part) == limit else None
    if more is None:
        yield _result(0, None, part)
        return
    if len(session.continuation) >= points:
        raise OperationError(ua.StatusCodes.BadNoContinuationPoints)
    point = secrets.token_bytes(16)
    session.continuation[point] = (limit, itertools.chain((more,), references))
    yield _result(0, point, part)


def browse_next(processor: Processor, request: Request) -> Awaitable[None] | None:
    """BrowseNext: go on with, or give back, continuation points."""
    server, session = processor.iserver, _session(processor)
    reader = request.reader()
    release = reader.boolean()
    count = _operations(reader.array(4), server.limits.max_nodes_per_browse)
    most = server.limits.max_continuation_points
    results = (piece for _ in range(count) for piece in _gone_on(session, reader.octets() or b"", release, most))
    return processor.respond_list(request, 536, count, results)


def _gone_on(session: Session, point: bytes, release: bool, most: int) -> Iterator[bytes]:
    kept = session.continuation.pop(point, None)
    if kept is None:
        yield _failed(ua.StatusCodes.BadContinuationPointInvalid)
    elif release:
        yield _result(0, None, [])
    else:
        limit, references = kept
        yield from _part(session, references, limit, most)


# ---- TranslateBrowsePathsToNodeIds -------------------------------------------------------------------------------


class _Step(NamedTuple):
    types: frozenset[int] | None
    inverse: bool
    name: bytes


def translate(processor: Processor, request: Request) -> Awaitable[None] | None:
    """TranslateBrowsePathsToNodeIds."""
    server, session = processor.iserver, _session(processor)
    reader = request.reader()
    count = _operations(reader.array(6), server.limits.max_nodes_per_translate)
    results = (piece for _ in range(count) for piece in _path(server, session.rights, reader))
    return processor.respond_list(request, 557, count, results)


def _path(server: InternalServer, access: Access, reader: Reader) -> Iterator[bytes]:
    start = reader.node_id()
    elements = [
        (reader.node_id(), reader.boolean(), reader.boolean(), reader.qualified_name()) for _ in range(reader.array(9))
    ]
    try:
        yield from _translated(server, access, start, elements)
    except OperationError as error:
        yield pack_u32(error.status) + NULL_ARRAY


def _translated(
    server: InternalServer, access: Access, start: bytes, elements: list[tuple[bytes, bool, bool, bytes]]
) -> Iterator[bytes]:
    if not elements:
        raise OperationError(ua.StatusCodes.BadNothingToDo)
    if len(elements) > server.limits.max_path_elements:
        raise OperationError(ua.StatusCodes.BadQueryTooComplex)
    steps = []
    for reference_type, inverse, subtypes, name in elements:
        if name[2:6] == NULL_STRING or len(name) == 6:
            raise OperationError(ua.StatusCodes.BadBrowseNameInvalid)
        steps.append(_Step(_types(server, reference_type, subtypes), inverse, name))
    targets = [start]
    for number, step in enumerate(steps):
        found: dict[bytes, None] = {}
        for target in targets:
            try:
                for node_id in _follow(server, access, target, step):
                    if node_id:
                        found[node_id] = None
                    else:
                        yield node_id
            except OperationError:
                if number == 0:
                    raise
        targets = list(found)
        if not targets:
            raise OperationError(ua.StatusCodes.BadNoMatch)
    yield b"".join((pack_u32(0), pack_i32(len(targets)), *(target + _WHOLE_PATH for target in targets)))


def _follow(server: InternalServer, access: Access, node_id: bytes, step: _Step) -> Iterator[bytes]:
    """NodeIds that a step leads to; empty ones in between when there is much to look through."""
    space = server.space
    node = space.find_wire(node_id)
    if node is not None and not step.inverse and step.name.startswith(space.prefix[1:3]):
        child = _named_child(server, node, step)
        if child is not None:
            if access.allows(Right.BROWSE, child.owner) and access.allows(Right.BROWSE, node.owner):
                yield space.node_id(child.identifier)
            return
    for number, reference in enumerate(_references(server, node_id, access), 1):
        if number % _BREATH == 0:
            yield b""
        if reference.name != step.name or reference.forward == step.inverse:
            continue
        if step.types is not None and reference.type_id not in step.types:
            continue
        if reference.address is None or access.allows(Right.BROWSE, reference.address):
            yield reference.target


def _named_child(server: InternalServer, node: Node, step: _Step) -> Node | None:
    """A place, function or point right below, without going through all its siblings' references."""
    try:
        name = step.name[6:].decode()
    except UnicodeDecodeError:
        return None
    child = server.space.child(node, name)
    if child is None:
        return None
    relation = server.space.relation(node)
    return child if step.types is None or relation in step.types else None


# ---- RegisterNodes -------------------------------------------------------------------------------------------------


def register_nodes(processor: Processor, request: Request) -> None:
    """RegisterNodes: every NodeId is as fast as it can be, so each is its own alias."""
    limit = processor.iserver.limits.max_nodes_per_register
    reader = request.reader()
    count = _operations(reader.array(2), limit)
    processor.respond(request, 563, pack_i32(count), *(reader.node_id() for _ in range(count)))


def unregister_nodes(processor: Processor, request: Request) -> None:
    """UnregisterNodes."""
    _operations(request.reader().array(2), processor.iserver.limits.max_nodes_per_register)
    processor.respond(request, 569)


def _operations(count: int, limit: int) -> int:
    if not count:
        raise ServiceError(ua.StatusCodes.BadNothingToDo)
    if count > limit:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)
    return count


def _session(processor: Processor) -> Session:
    if processor.session is None:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    return processor.session


RAW_HANDLERS: dict[int, Handler] = {
    527: browse,
    533: browse_next,
    554: translate,
    560: register_nodes,
    566: unregister_nodes,
}
"""Request type id -> handler."""
