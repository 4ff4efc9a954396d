"""What a ReadValueId asks of a value: IndexRange and DataEncoding (Part 4, 7.21 and 7.24)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, encode_text

_RE_RANGE = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?\Z")


class Wanted(NamedTuple):
    """One ReadValueId; NodeId and DataEncoding on the wire."""

    node_id: bytes
    attribute: int
    index_range: str | None
    encoding: bytes


def index_ranges(text: str) -> list[tuple[int, int]] | None:
    """(first, last) of each dimension of a NumericRange; None when it is none."""
    found = []
    for part in text.split(","):
        match = _RE_RANGE.match(part)
        if match is None or (match[2] is not None and int(match[2]) <= int(match[1])):
            return None
        found.append((int(match[1]), int(match[2] or match[1])))
    return found


def restrict(data_value: Any, index_range: str | None, encoding: bytes) -> Any:
    """A DataValue cut to an IndexRange; DataEncoding on the wire is checked.

    Raises:
        OperationError: with the status of the operation.
    """
    variant = data_value.Value
    if encoding[2:6] != b"\xff\xff\xff\xff":
        if variant is None or variant.VariantType != ua.VariantType.ExtensionObject:
            raise OperationError(ua.StatusCodes.BadDataEncodingInvalid)
        if encoding != b"\x00\x00" + encode_text("Default Binary"):
            raise OperationError(ua.StatusCodes.BadDataEncodingUnsupported)
    if not index_range:
        return data_value
    ranges = index_ranges(index_range)
    if ranges is None:
        raise OperationError(ua.StatusCodes.BadIndexRangeInvalid)
    low, high = ranges[0]
    value = None if variant is None else variant.Value
    # Nothing here has further dimensions.
    if variant is None or len(ranges) > 1 or not isinstance(value, (list, str, bytes)) or low >= len(value):
        raise OperationError(ua.StatusCodes.BadIndexRangeNoData)
    data_value.Value = ua.Variant(value[low : high + 1], variant.VariantType, is_array=variant.is_array)
    return data_value
