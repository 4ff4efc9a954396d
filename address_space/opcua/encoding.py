"""Wire layouts of values: numpy records whose memory is the OPC UA binary encoding, and a slower path for text.

All columns are one-dimensional and of one length. Times are FILETIME ticks, statuses StatusCodes, types the built-in
type numbers of `ValueType`. The layouts hold on little-endian machines, which numpy's explicit `<` types ensure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.point import Raw, Ticks, Words
from address_space.quality import StatusCode

Octets = npt.NDArray[np.uint8]

NO_VALUE = 0
"""Layout without a value, for points that never had one or are retired."""
OVERFLOW_BIT: Final = 0x480
"""InfoType DataValue and the Overflow bit (Part 4, 7.39.1): the item's queue has lost samples."""

STATUS_CODE: Final = 19
"""Built-in type of values that are StatusCodes themselves (aggregates of quality)."""
NULL_EXTENSION = b"\x00\x00\x00"
NULL_ARRAY = b"\xff\xff\xff\xff"
_VALUELESS = np.uint32(StatusCode.BadWaitingForInitialData & StatusCode.BadNodeIdUnknown)
_CODE_MASK = np.uint32(0xFFFF_0000 ^ StatusCode.BadWaitingForInitialData ^ StatusCode.BadNodeIdUnknown)
"""Two codes at one comparison: BadWaitingForInitialData and BadNodeIdUnknown differ in two bits, and neither of the
other two codes that differ from them in these bits only (0x8030, 0x8036) is ever that of a value."""
_DATA_CHANGE = b"\x01\x00\x2b\x03\x01"
_STATUS_CHANGE = b"\x01\x00\x34\x03\x01"


class Stamps(IntEnum):
    """TimestampsToReturn (Part 4, 7.40)."""

    SOURCE = 0
    SERVER = 1
    BOTH = 2
    NEITHER = 3


class Values(NamedTuple):
    """Columns of values on their way to the wire.

    Attributes:
        raw: value bits as in the point table, uint64; of text points the key into the texts that go with them.
        status: StatusCodes, uint32.
        source: SourceTimestamps in ticks, int64.
        server: ServerTimestamps in ticks, int64.
    """

    raw: Raw
    status: Words
    source: Ticks
    server: Ticks

    def __len__(self) -> int:
        return len(self.raw)

    def pick(self, which: Any) -> Values:
        """The values at some positions, or where a mask is true."""
        return Values(self.raw[which], self.status[which], self.source[which], self.server[which])

    def with_status(self, status: Words) -> Values:
        """The same values with other StatusCodes."""
        return Values(self.raw, status, self.source, self.server)


_NUMBERS: dict[int, str] = {
    ValueType.BOOLEAN: "u1",
    ValueType.INT32: "<i4",
    ValueType.UINT32: "<u4",
    ValueType.INT64: "<i8",
    ValueType.DOUBLE: "<f8",
    STATUS_CODE: "<u4",
}


@cache
def record_type(value_type: int, stamps: int, *, handle: bool) -> np.dtype[np.void]:
    """Packed record of a DataValue, or of a MonitoredItemNotification with `handle`; type 0 has no value."""
    fields: list[tuple[str, str]] = [("handle", "<u4")] if handle else []
    fields.append(("mask", "u1"))
    if value_type != NO_VALUE:
        fields += [("type", "u1"), ("value", _NUMBERS[value_type])]
    fields.append(("status", "<u4"))
    if stamps in (Stamps.SOURCE, Stamps.BOTH):
        fields.append(("source", "<i8"))
    if stamps in (Stamps.SERVER, Stamps.BOTH):
        fields.append(("server", "<i8"))
    return np.dtype(fields)


def _mask(value: bool, stamps: int) -> int:
    mask = 0x02 | (0x01 if value else 0)
    if stamps in (Stamps.SOURCE, Stamps.BOTH):
        mask |= 0x04
    return mask | (0x08 if stamps in (Stamps.SERVER, Stamps.BOTH) else 0)


def _number_column(raw: Raw, value_type: int) -> npt.NDArray[Any]:
    dtype = np.dtype(_NUMBERS[value_type])
    column = np.ascontiguousarray(raw).view(dtype)
    return column if dtype.itemsize == 8 else column[:: 8 // dtype.itemsize]


def _records(value_type: int, stamps: int, handles: Words | None, values: Values) -> npt.NDArray[np.void]:
    dtype = record_type(value_type, stamps, handle=handles is not None)
    records = np.empty(len(values), dtype)
    if handles is not None:
        records["handle"] = handles
    records["mask"] = _mask(value_type != NO_VALUE, stamps)
    if value_type != NO_VALUE:
        records["type"] = value_type
        records["value"] = _number_column(values.raw, value_type)
    records["status"] = values.status
    if stamps in (Stamps.SOURCE, Stamps.BOTH):
        records["source"] = values.source
    if stamps in (Stamps.SERVER, Stamps.BOTH):
        records["server"] = values.server
    return records


def layouts(types: Octets, status: Words) -> Octets:
    """Layout of each record: its value type; `NO_VALUE` where the point waits for its first value, or is retired."""
    waiting = (status & _CODE_MASK) == _VALUELESS
    return np.where(waiting, np.uint8(NO_VALUE), types) if waiting.any() else types


def notification_items(
    handles: Words, types: Octets, stamps: Octets, values: Values, texts: Mapping[int, str]
) -> list[bytes]:
    """MonitoredItemNotifications in pieces; the order of the records of one handle is kept.

    Args:
        handles: client handles.
        types: value types.
        stamps: `Stamps` of each.
        values: what to send.
        texts: texts of the text points.
    """
    kinds = layouts(types, values.status)
    keys = _keys(kinds, stamps)
    first = int(keys[0])
    if (keys == first).all():
        if first >> 2 != ValueType.STRING:
            return [_records(first >> 2, first & 3, handles, values).tobytes()]
    elif kinds is not types and _interleaved(handles, kinds == NO_VALUE):
        return [_in_order(keys, handles, values, texts)]
    parts: list[bytes] = []
    for key in np.nonzero(np.bincount(keys))[0].tolist():
        where = np.nonzero(keys == key)[0]
        if key >> 2 == ValueType.STRING:
            parts += _text_records(key & 3, handles[where], values.pick(where), texts)
        else:
            parts.append(_records(key >> 2, key & 3, handles[where], values.pick(where)).tobytes())
    return parts


def data_values(types: Octets, stamps: int, values: Values, texts: Mapping[int, str]) -> bytes:
    """DataValues one after the other in the order of the columns; arguments as of `notification_items`."""
    kinds = layouts(types, values.status)
    first = int(kinds[0])
    if first != ValueType.STRING and (kinds == first).all():
        return _records(first, stamps, None, values).tobytes()
    return _in_order(_keys(kinds, stamps), None, values, texts)


def _keys(kinds: Octets, stamps: Octets | int) -> npt.NDArray[np.uint8]:
    """Layout and timestamps in one number."""
    return (kinds << 2 | np.uint8(stamps) if isinstance(stamps, int) else kinds << 2 | stamps).astype(np.uint8)


def _text_records(stamps: int, handles: Words | None, values: Values, texts: Mapping[int, str]) -> list[bytes]:
    heads = [b""] * len(values) if handles is None else [handle.to_bytes(4, "little") for handle in handles.tolist()]
    # What follows the text: status and timestamps have the layout of a record without a value.
    tails = _records(NO_VALUE, stamps, None, values).view(np.uint8).reshape(len(values), -1)[:, 1:].tobytes()
    size = len(tails) // len(values)
    mask = _mask(True, stamps)
    records = []
    for index, key in enumerate(values.raw.tolist()):
        data = texts.get(key, "").encode()
        body = struct.pack("<BBi", mask, ValueType.STRING, len(data)) + data
        records.append(heads[index] + body + tails[index * size : (index + 1) * size])
    return records


def _interleaved(handles: Words, without: npt.NDArray[np.bool_]) -> bool:
    """Whether some item has records with and without a value, whose order would be lost by grouping."""
    return bool(len(np.intersect1d(handles[without], handles[~without])))


def _in_order(keys: npt.NDArray[np.uint8], handles: Words | None, values: Values, texts: Mapping[int, str]) -> bytes:
    """Records of different layouts in the order of the columns."""
    sizes = np.empty(len(keys), np.int64)
    encoded: list[tuple[npt.NDArray[np.intp], Octets | list[bytes]]] = []
    for key in np.unique(keys).tolist():
        where = np.nonzero(keys == key)[0]
        picked = None if handles is None else handles[where]
        if key >> 2 == ValueType.STRING:
            lines = _text_records(key & 3, picked, values.pick(where), texts)
            sizes[where] = [len(line) for line in lines]
            encoded.append((where, lines))
        else:
            records = _records(key >> 2, key & 3, picked, values.pick(where))
            sizes[where] = records.dtype.itemsize
            encoded.append((where, records.view(np.uint8).reshape(len(where), -1)))
    starts = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    for where, content in encoded:
        if isinstance(content, list):
            for start, line in zip(starts[where].tolist(), content, strict=True):
                out[start : start + len(line)] = np.frombuffer(line, np.uint8)
        else:
            out[starts[where][:, None] + np.arange(content.shape[1])] = content
    return out.tobytes()


def data_change(items: list[bytes], count: int) -> list[bytes]:
    """ExtensionObject of a DataChangeNotification with `count` encoded items, in pieces."""
    size = sum(len(piece) for piece in items)
    return [_DATA_CHANGE + struct.pack("<ii", size + 8, count), *items, NULL_ARRAY]


def status_change(status: int) -> bytes:
    """ExtensionObject of a StatusChangeNotification without diagnostics."""
    return _STATUS_CHANGE + struct.pack("<iIB", 5, status, 0)


def notification_message(sequence: int, count: int, parts: list[bytes]) -> bytes:
    """NotificationMessage of `count` ExtensionObjects, given in pieces, published now."""
    return b"".join((struct.pack("<Iqi", sequence, clock.now(), count), *parts))


def status_array(codes: npt.ArrayLike) -> bytes:
    """StatusCode array with its length."""
    column = np.asarray(codes, "<u4")
    return struct.pack("<i", len(column)) + column.tobytes()
