"""Event filters (Part 4, 7.22.3): compiled once to clauses and one function; what is wrong is told clause by clause."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncua.ua.ua_binary import struct_to_binary

from address_space.opcua.event_operators import CAST, COUNTS, MAKERS, UNSUPPORTED, Operand, cast_to, like_pattern
from address_space.opcua.event_operators import LIKE as LIKE_OPERATOR
from address_space.opcua.event_operators import OF_TYPE as OF_TYPE_OPERATOR
from address_space.opcua.event_types import BASE_EVENT, EventTypes, key_of
from address_space.opcua.event_values import NODE_ID, Field, built_in, canonical, from_variant, text_of
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NULL_ARRAY, encode_node_id, pack_i32, pack_u32

if TYPE_CHECKING:
    from address_space.opcua.event_records import EventRecord

ATTRIBUTE_NODE_ID, ATTRIBUTE_VALUE = 1, 13
MOST_CLAUSES, MOST_OPERANDS = 500, 1_000
"""Select clauses, and operands of all elements of the where clause together."""
_LAST_ATTRIBUTE = 27
_RE_RANGE = re.compile(r"(\d{1,9})(?::(\d{1,9}))?\Z")
_CODES = ua.StatusCodes


class Clause(NamedTuple):
    """One select clause, or an operand on a field.

    Attributes:
        type_id: events of other types have null here; BaseEventType for events of any type.
        key: of the browse path (see `key_of`); empty for the event itself.
        attribute: `ATTRIBUTE_VALUE`, or `ATTRIBUTE_NODE_ID` of what is in the address space.
        part: (first, last) of an IndexRange on a text or octets; None for all.
    """

    type_id: bytes
    key: str
    attribute: int
    part: tuple[int, int] | None = None


Where = Callable[["EventRecord"], bool]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What an item takes of events and gives of each.

    Attributes:
        clauses: fields in order; None for one that can never be there.
        where: whether an event passes; None for every event.
        row_key, where_key: of the clauses and of `where`, the same for equal ones only: what has been worked out of an
            event for one item is found by them for all.
    """

    clauses: tuple[Clause | None, ...]
    where: Where | None = None
    row_key: bytes = b""
    where_key: bytes = b""

    def passes(self, record: EventRecord) -> bool:
        """Whether the event is to be told."""
        if self.where is None:
            return True
        known = record.passed.get(self.where_key)
        if known is None:
            known = record.passed[self.where_key] = self.where(record)
        return known


@dataclass(slots=True)
class FilterResult:
    """EventFilterResult.

    Attributes:
        status: of the operation; Bad when there can be no such item.
        selects: StatusCode of each select clause.
        elements: (StatusCode, StatusCodes of its operands) of each where element.
    """

    status: int
    selects: list[int]
    elements: list[tuple[int, list[int]]]

    @property
    def flawless(self) -> bool:
        """Whether there is nothing to tell."""
        return not any(self.selects) and not any(status for status, _ in self.elements)

    def encode(self) -> bytes:
        """The ExtensionObject; null when there is nothing to tell."""
        if self.flawless:
            return b"\x00\x00\x00"
        body = [pack_i32(len(self.selects)), *(pack_u32(status) for status in self.selects), NULL_ARRAY]
        body.append(pack_i32(len(self.elements)))
        for status, operands in self.elements:
            body += [pack_u32(status), pack_i32(len(operands)), *(pack_u32(each) for each in operands), NULL_ARRAY]
        body.append(NULL_ARRAY)
        octets = b"".join(body)
        return b"\x01\x00\xe0\x02\x01" + pack_i32(len(octets)) + octets


class _BadError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = int(status)


def compile_filter(wanted: Any, types: EventTypes) -> tuple[EventFilter | None, FilterResult]:
    """The filter of an asyncua EventFilter and what is to be told of it; None when it cannot be used.

    A select clause that can never be there gives null in every event and its StatusCode in the result; at least one
    has to be good. Any error in the where clause makes the filter useless.
    """
    selects = list(wanted.SelectClauses or [])
    elements = list((wanted.WhereClause.Elements if wanted.WhereClause is not None else None) or [])
    result = FilterResult(0, [], [])
    if not selects:
        result.status = int(_CODES.BadEventFilterInvalid)
        return None, result
    operands = sum(max(len(each.FilterOperands or ()), 1) for each in elements)
    if len(selects) > MOST_CLAUSES or operands > MOST_OPERANDS:
        result.status = int(_CODES.BadTooManyOperations)
        return None, result
    clauses: list[Clause | None] = []
    for each in selects:
        try:
            clauses.append(_clause(each, types))
            result.selects.append(0)
        except _BadError as error:
            clauses.append(None)
            result.selects.append(error.status)
    where = _where(elements, types, result)
    if any(status for status, _ in result.elements) or all(result.selects):
        result.status = int(_CODES.BadEventFilterInvalid)
        return None, result
    where_key = b"" if where is None else _key(struct_to_binary(wanted.WhereClause))
    return EventFilter(tuple(clauses), where, _key(repr(clauses).encode()), where_key), result


def _key(octets: bytes) -> bytes:
    return blake2b(octets, digest_size=16).digest()


def _clause(operand: Any, types: EventTypes) -> Clause:
    type_id = canonical(encode_node_id(operand.TypeDefinitionId))
    if type_id in {b"\x00\x00"}:
        type_id = BASE_EVENT
    if not types.known(type_id):
        raise _BadError(_CODES.BadTypeDefinitionInvalid)
    attribute = int(operand.AttributeId)
    if not 1 <= attribute <= _LAST_ATTRIBUTE:
        raise _BadError(_CODES.BadAttributeIdInvalid)
    names = list(operand.BrowsePath or [])
    if any(not each.Name for each in names):
        raise _BadError(_CODES.BadBrowseNameInvalid)
    if not names:
        if attribute != ATTRIBUTE_NODE_ID:
            raise _BadError(_CODES.BadAttributeIdInvalid)
        return Clause(type_id, "", attribute)
    key = key_of(names)
    if any("/" in each.Name for each in names) or not types.may_have(type_id, key):
        raise _BadError(_CODES.BadNodeIdUnknown)
    if attribute not in {ATTRIBUTE_NODE_ID, ATTRIBUTE_VALUE}:
        raise _BadError(_CODES.BadAttributeIdInvalid)
    return Clause(type_id, key, attribute, _range(operand.IndexRange))


def _range(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    match = _RE_RANGE.match(text)
    if match is None or (match[2] is not None and int(match[2]) <= int(match[1])):
        raise _BadError(_CODES.BadIndexRangeInvalid)
    return int(match[1]), int(match[2] or match[1])


# ---- where -----------------------------------------------------------------------------------------------------


def _where(elements: Sequence[Any], types: EventTypes, result: FilterResult) -> Where | None:
    """The function of a where clause; errors go into the result.

    Elements refer only to later ones, so that they are worked out once each from the last to the first.
    """
    made: list[Operand] = []
    for index, element in enumerate(elements):
        status, operands, statuses = _element(element, index, len(elements), types)
        result.elements.append((status, statuses))
        if operands is not None:
            made.append(operands)
    if not elements or any(status for status, _ in result.elements):
        return None
    backwards = list(reversed(list(enumerate(made))))

    def passes(record: EventRecord) -> bool:
        results: list[Field] = [(0, None)] * len(made)
        for index, work in backwards:
            results[index] = work(record, results)
        kind, value = results[0]
        return kind == 1 and bool(value)

    return passes


def _element(element: Any, index: int, count: int, types: EventTypes) -> tuple[int, Operand | None, list[int]]:
    operator = int(element.FilterOperator)
    given = list(element.FilterOperands or [])
    if operator in UNSUPPORTED:
        return int(_CODES.BadFilterOperatorUnsupported), None, []
    if operator not in COUNTS:
        return int(_CODES.BadFilterOperatorInvalid), None, []
    least, most = COUNTS[operator]
    if not least <= len(given) <= most:
        return int(_CODES.BadFilterOperandCountMismatch), None, []
    operands: list[Operand] = []
    statuses: list[int] = []
    for number, each in enumerate(given):
        try:
            operands.append(_operand(each, index, count, types))
            _check_literal(operator, number, each, types)
            statuses.append(0)
        except _BadError as error:
            statuses.append(error.status)
    if any(statuses):
        return int(_CODES.BadFilterOperandInvalid), None, statuses
    if operator == CAST:
        kind = built_in(encode_node_id(given[1].Value.Value))
        return 0, cast_to(operands[0], int(kind or 0)), statuses
    return 0, MAKERS[operator](operands), statuses


def _operand(operand: Any, index: int, count: int, types: EventTypes) -> Operand:
    if isinstance(operand, ua.LiteralOperand):
        try:
            literal = from_variant(operand.Value)
        except Exception as error:  # asyncua's encoder does not take all that its decoder does
            raise _BadError(_CODES.BadFilterLiteralInvalid) from error
        return lambda record, results: literal
    if isinstance(operand, ua.ElementOperand):
        target = int(operand.Index)
        # Only forward, which keeps the elements a tree without circles.
        if not index < target < count:
            raise _BadError(_CODES.BadFilterOperandInvalid)
        return lambda record, results: results[target]
    if isinstance(operand, ua.SimpleAttributeOperand):
        clause = _clause(operand, types)
        return lambda record, results: record.value(clause)
    # AttributeOperand is for queries, not for events.
    raise _BadError(_CODES.BadFilterOperandInvalid)


def _check_literal(operator: int, number: int, operand: Any, types: EventTypes) -> None:
    """Literals that can be checked beforehand: the types of Cast and OfType, the pattern of Like."""
    literal = from_variant(operand.Value) if isinstance(operand, ua.LiteralOperand) else None
    if operator == CAST and number == 1:
        if literal is None or literal[0] != NODE_ID:
            raise _BadError(_CODES.BadFilterOperandInvalid)
        if built_in(literal[1]) is None:
            raise _BadError(_CODES.BadFilterLiteralInvalid)
    elif operator == OF_TYPE_OPERATOR and literal is not None:
        if literal[0] != NODE_ID:
            raise _BadError(_CODES.BadFilterLiteralInvalid)
        if not types.known(literal[1]):
            raise _BadError(_CODES.BadTypeDefinitionInvalid)
    elif operator == LIKE_OPERATOR and number == 1 and literal is not None:
        pattern = text_of(literal)
        if pattern is None:
            raise _BadError(_CODES.BadFilterLiteralInvalid)
        try:
            like_pattern(pattern)
        except ValueError as error:
            raise _BadError(_CODES.BadFilterLiteralInvalid) from error
