"""Values of event fields: (built-in type, value) pairs, their octets, comparison and conversion (Part 4, 7.7.3)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from address_space import clock
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    encode_node_id,
    encode_text,
    encode_variant,
    localized_text,
    numeric_identifier,
    numeric_node_id,
    pack_i32,
)

Field = tuple[int, Any]
"""Built-in type number and value. DateTimes are FILETIME ticks, NodeIds and QualifiedNames octets, LocalizedTexts and
Strings `str`, ByteStrings `bytes`; of type `OPAQUE` a whole Variant in octets, which is equal or not, nothing else."""

BOOLEAN, BYTE, UINT16, INT32, UINT32, INT64, UINT64, DOUBLE, STRING, DATE_TIME = 1, 3, 5, 6, 7, 8, 9, 11, 12, 13
BYTE_STRING, NODE_ID, EXPANDED_NODE_ID, STATUS_CODE, QUALIFIED_NAME, LOCALIZED_TEXT = 15, 17, 18, 19, 20, 21
OPAQUE = 255
NULL: Field = (0, None)
NULL_VARIANT = b"\x00"

_FORMATS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d", 13: "q", 19: "I"}
_RANGES = {
    2: (-(1 << 7), (1 << 7) - 1),
    3: (0, (1 << 8) - 1),
    4: (-(1 << 15), (1 << 15) - 1),
    5: (0, (1 << 16) - 1),
    6: (-(1 << 31), (1 << 31) - 1),
    7: (0, (1 << 32) - 1),
    8: (-(1 << 63), (1 << 63) - 1),
    9: (0, (1 << 64) - 1),
    19: (0, (1 << 32) - 1),
}
_NUMERIC = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 19})
_INTEGERS = frozenset(_RANGES) - {19}
_TEXTS = frozenset({STRING, QUALIFIED_NAME, LOCALIZED_TEXT})
_BASE_TYPES = {290: DOUBLE, 294: DATE_TIME, 295: STRING, 26: DOUBLE, 27: INT64, 28: UINT32, 288: UINT32, 289: UINT32}
"""Data types that are built-in ones under another name: Duration, UtcTime, LocaleId, Number, Counter, ..."""


def _octets(value: bytes) -> bytes:
    return pack_i32(len(value)) + value


_PACK: dict[int, Callable[[Any], bytes]] = {
    **{kind: struct.Struct(f"<{form}").pack for kind, form in _FORMATS.items()},
    STRING: encode_text,
    BYTE_STRING: _octets,
    NODE_ID: bytes,
    QUALIFIED_NAME: bytes,
    LOCALIZED_TEXT: localized_text,
}
_HEADS = {kind: bytes((kind,)) for kind in _PACK}


def encode(field: Field) -> bytes:
    """Variant octets of a field."""
    kind, value = field
    if value is None:
        return NULL_VARIANT
    if kind == OPAQUE:
        return bytes(value)
    return _HEADS[kind] + _PACK[kind](value)


_FEW_VALUES = frozenset({BOOLEAN, UINT16, STATUS_CODE, LOCALIZED_TEXT, NODE_ID, STRING})
_octets_of_few = lru_cache(maxsize=16_384)(encode)


def encode_known(field: Field) -> bytes:
    """The same, quicker for what events have again and again: states, types, names."""
    kind, value = field
    if kind in _FEW_VALUES and value is not None:
        return _octets_of_few(field)
    return encode(field)


def from_variant(variant: Any) -> Field:
    """The field of an asyncua Variant (literal operands, fields of audit events)."""
    value = variant.Value
    if value is None:
        return NULL
    kind = int(variant.VariantType)
    if isinstance(value, list):
        return OPAQUE, encode_variant(variant)
    if kind in {NODE_ID, EXPANDED_NODE_ID}:
        return NODE_ID, canonical(encode_node_id(ua.NodeId(value.Identifier, value.NamespaceIndex, value.NodeIdType)))
    if kind == LOCALIZED_TEXT:
        return LOCALIZED_TEXT, _clean(value.Text or "")
    if kind == DATE_TIME:
        return DATE_TIME, clock.from_datetime(value if value.tzinfo else value.replace(tzinfo=UTC))
    if kind == STATUS_CODE:
        return STATUS_CODE, int(value.value)
    if kind == STRING:
        return STRING, _clean(value)
    if kind in _NUMERIC or kind == BYTE_STRING:
        return kind, value
    return OPAQUE, encode_variant(variant)


def _clean(text: str) -> str:
    """The text with a mark for octets that are no UTF-8, which asyncua's decoder keeps as halves of surrogates."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def canonical(node_id: bytes) -> bytes:
    """The shortest form of a NodeId, so that equal ones have equal octets."""
    number = numeric_identifier(node_id)
    if number is not None:
        return numeric_node_id(number)
    if node_id[0] == 2:
        namespace, identifier = struct.unpack_from("<HI", node_id, 1)
        return numeric_node_id(identifier, namespace)
    return node_id


def text_of(field: Field) -> str | None:
    """Text of a String, LocalizedText or QualifiedName; None for anything else."""
    kind, value = field
    if value is None or kind not in _TEXTS:
        return None
    if kind == QUALIFIED_NAME:
        return bytes(value[6:]).decode()
    return str(value)


def _number(field: Field) -> float | int | None:
    kind, value = field
    if kind in _NUMERIC:
        return value  # type: ignore[no-any-return]  # numeric kinds have numbers
    text = text_of(field)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def pair(left: Field, right: Field) -> tuple[Any, Any] | None:
    """Two values made comparable by the implicit conversions; None when there is none (the result is then null)."""
    (kind, value), (other_kind, other) = left, right
    if value is None or other is None:
        return None
    if kind == other_kind:
        return value, other
    if kind in _NUMERIC or other_kind in _NUMERIC:
        numbers = _number(left), _number(right)
        return None if numbers[0] is None or numbers[1] is None else numbers
    if kind in _TEXTS and other_kind in _TEXTS:
        return text_of(left), text_of(right)
    return None


def equal(left: Field, right: Field) -> bool | None:
    """Whether two fields are equal; None when they cannot be compared."""
    both = pair(left, right)
    return None if both is None else bool(both[0] == both[1])


def less(left: Field, right: Field) -> bool | None:
    """Whether the left one is less; None when the two have no order."""
    both = pair(left, right)
    if both is None or (left[0] == right[0] and left[0] not in _NUMERIC | _TEXTS | {DATE_TIME}):
        return None
    if any(isinstance(each, float) and math.isnan(each) for each in both):
        return None
    return bool(both[0] < both[1])


def built_in(data_type: bytes) -> int | None:
    """Built-in type number of a data type's NodeId; None when `cast` does not know it."""
    number = numeric_identifier(data_type)
    if number is None:
        return None
    number = _BASE_TYPES.get(number, number)
    return number if number in _PACK else None


def cast(field: Field, kind: int) -> Field:
    """The field converted to a built-in type; null where that is not possible (Part 4, table of conversions)."""
    source, value = field
    if value is None or source == kind:
        return field
    if kind in {STRING, LOCALIZED_TEXT}:
        text = _as_text(field)
        return NULL if text is None else (kind, text)
    if kind == DATE_TIME:
        return _as_time(field)
    if kind == NODE_ID and source == STRING:
        try:
            return NODE_ID, canonical(encode_node_id(ua.NodeId.from_string(value)))
        except (ua.UaError, struct.error):  # the latter for a namespace that is too large
            return NULL
    if kind == BOOLEAN:
        return _as_boolean(field)
    number = _number(field)
    if number is None or kind not in _NUMERIC:
        return NULL
    return _as_number(number, kind)


def _as_number(number: float, kind: int) -> Field:
    if kind in {10, DOUBLE}:
        return kind, float(number)
    if isinstance(number, float):
        if not math.isfinite(number):
            return NULL
        # Rounded half up, away from zero, as the standard's table wants.
        number = math.floor(abs(number) + 0.5) * (1 if number >= 0 else -1)
    low, high = _RANGES[kind]
    return (kind, int(number)) if low <= number <= high else NULL


def _as_boolean(field: Field) -> Field:
    text = text_of(field)
    if text is not None:
        known = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())
        return NULL if known is None else (BOOLEAN, known)
    number = _number(field)
    return NULL if number is None else (BOOLEAN, number != 0)


def _as_time(field: Field) -> Field:
    text = text_of(field)
    if text is None:
        return NULL
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return NULL
    return DATE_TIME, clock.from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _as_text(field: Field) -> str | None:
    kind, value = field
    if kind == BOOLEAN:
        return "true" if value else "false"
    if kind == DATE_TIME:
        try:
            return clock.iso(value)
        except OverflowError:  # before the year 1 or after 9999
            return None
    if kind in _NUMERIC:
        return str(value)
    return text_of(field)


def bitwise(left: Field, right: Field, operate: Callable[[int, int], int]) -> Field:
    """AND or OR of two integers, of the wider type; null for anything else."""
    if left[0] not in _INTEGERS or right[0] not in _INTEGERS or left[1] is None or right[1] is None:
        return NULL
    return max(left[0], right[0]), operate(left[1], right[1])
