"""Monitored items as clients ask for them: requests read without objects, parameters checked and revised."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import DataChangeFilter, EventFilter, MonitoredItemCreateRequest, MonitoringParameters

from address_space import clock
from address_space.catalogue import ValueType
from address_space.opcua.index_range import index_ranges
from address_space.opcua.items import EACH_CYCLE, TRIGGER_STATUS, TRIGGER_TIMESTAMP, TRIGGER_VALUE
from address_space.opcua.wire import Reader, decode
from address_space.point import PointProfile

VALUE_ATTRIBUTE = 13
_PLAIN_VALUE = b"\x0d\x00\x00\x00" + b"\xff\xff\xff\xff" + b"\x00\x00\xff\xff\xff\xff"
"""Attribute Value, no IndexRange, no DataEncoding."""
_STRING_NODE = struct.Struct("<BHi")
_PLAIN_REST = struct.Struct("<IId3sIB")
"""Mode, handle, sampling interval, no filter, queue size, discard policy."""
_QUEUE = struct.Struct("<IB")
_FILTER = b"\x01\x00\xd4\x02\x01\x10\x00\x00\x00"
"""ExtensionObject head of a DataChangeFilter (i=724), 16 octets."""
_DEADBAND = struct.Struct("<IId")
_NUMERIC = frozenset({ValueType.INT32, ValueType.UINT32, ValueType.INT64, ValueType.DOUBLE})
PERCENT = 2
"""DeadbandType of a deadband in percent of the point's range."""
_LONGEST_SAMPLING = 86_400_000.0


class Filter(NamedTuple):
    """A data change filter; `status` is Bad when it was another kind of filter."""

    trigger: int = TRIGGER_VALUE
    kind: int = 0
    value: float = 0.0
    status: int = 0


class Parameters(NamedTuple):
    """MonitoringParameters of one item."""

    handle: int
    sampling: float
    filter: Filter
    queue: int
    oldest: bool


class WantedItem(NamedTuple):
    """A monitored item on the Value of a string NodeId in the points' namespace.

    Attributes:
        place: number in the request.
        start: where it stands in the request's data.
        status: Bad when IndexRange or DataEncoding cannot be.
    """

    place: int
    start: int
    address: str
    mode: int
    handle: int
    sampling: float
    filter: Filter
    queue: int
    oldest: bool
    status: int = 0


NO_FILTER = Filter()


def read_create(
    reader: Reader, places: Iterable[int], namespace: int
) -> tuple[list[WantedItem], list[tuple[int, MonitoredItemCreateRequest]]]:
    """Items to create: those that may be points, and the others as asyncua reads them, with their places."""
    wanted: list[WantedItem] = []
    others: list[tuple[int, MonitoredItemCreateRequest]] = []
    data, position = reader.data, reader.position
    size = len(data)
    for index in places:
        kind, node_namespace, length = _STRING_NODE.unpack_from(data, position) if position + 7 <= size else (0, 0, 0)
        if kind == 3 and node_namespace == namespace and length >= 0:
            end = position + 7 + length
            after = end + len(_PLAIN_VALUE)
            if data[end:after] == _PLAIN_VALUE:
                mode, handle, sampling, empty, queue, oldest = _PLAIN_REST.unpack_from(data, after)
                filter_, at = NO_FILTER, after + _PLAIN_REST.size
                if empty == b"\x00\x00\x00":
                    read = True
                elif read := data[after + 16 : after + 16 + len(_FILTER)] == _FILTER:
                    at = after + 16 + len(_FILTER)
                    filter_ = Filter(*_DEADBAND.unpack_from(data, at))
                    queue, oldest = _QUEUE.unpack_from(data, at + 16)
                    at += 21
                if read:
                    address = data[position + 7 : end].decode()
                    wanted.append(
                        WantedItem(index, position, address, mode, handle, sampling, filter_, queue, oldest != 0)
                    )
                    position = at
                    continue
        reader.position = position
        start = position
        item = read_object(reader)
        position = reader.position
        point = _as_point(index, start, item, namespace)
        if point is None:
            others.append((index, item))
        else:
            wanted.append(point)
    reader.position = position
    return wanted, others


def read_object(reader: Reader) -> MonitoredItemCreateRequest:
    """The item at the reader in asyncua's form."""
    item: MonitoredItemCreateRequest
    item, reader.position = decode(MonitoredItemCreateRequest, reader.data, reader.position)
    return item


def _read_filter(data: bytes, position: int) -> tuple[Filter, int] | None:
    """The filter at a position and where it ends; None for what is not read here."""
    if data[position : position + 3] == b"\x00\x00\x00":
        return NO_FILTER, position + 3
    if data[position : position + len(_FILTER)] == _FILTER:
        return Filter(*_DEADBAND.unpack_from(data, position + len(_FILTER))), position + len(_FILTER) + 16
    return None


def read_parameters(reader: Reader) -> tuple[Parameters, Any]:
    """MonitoringParameters at the reader; also as asyncua reads them when the filter is not a data change filter."""
    data, start = reader.data, reader.position
    handle, sampling = struct.unpack_from("<Id", data, start)
    read = _read_filter(data, start + 12)
    if read is not None:
        filter_, at = read
        queue, oldest = _QUEUE.unpack_from(data, at)
        reader.position = at + 5
        return Parameters(handle, sampling, filter_, queue, oldest != 0), None
    objects, reader.position = decode(MonitoringParameters, data, start)
    return parameters_of(objects), objects


def parameters_of(objects: MonitoringParameters) -> Parameters:
    """Parameters of asyncua's form."""
    return Parameters(
        int(objects.ClientHandle),
        float(objects.SamplingInterval),
        _filter_of(objects.Filter),
        int(objects.QueueSize),
        bool(objects.DiscardOldest),
    )


def _filter_of(filter_: Any) -> Filter:
    if isinstance(filter_, DataChangeFilter):
        return Filter(int(filter_.Trigger), int(filter_.DeadbandType), float(filter_.DeadbandValue))
    if filter_ is None or (hasattr(filter_, "TypeId") and filter_.TypeId.Identifier == 0):
        return NO_FILTER
    if isinstance(filter_, EventFilter):
        return Filter(status=int(StatusCodes.BadFilterNotAllowed))
    return Filter(status=int(StatusCodes.BadMonitoredItemFilterUnsupported))


def _as_point(index: int, start: int, item: MonitoredItemCreateRequest, namespace: int) -> WantedItem | None:
    read = item.ItemToMonitor
    node = read.NodeId
    if node.NamespaceIndex != namespace or not isinstance(node.Identifier, str) or read.AttributeId != VALUE_ATTRIBUTE:
        return None
    status = 0
    if read.IndexRange:
        if index_ranges(read.IndexRange) is not None:
            # A part of a text; nothing of other points.
            return None
        status = StatusCodes.BadIndexRangeInvalid
    elif read.DataEncoding is not None and read.DataEncoding.Name:
        status = StatusCodes.BadDataEncodingInvalid
    return WantedItem(
        index, start, node.Identifier, int(item.MonitoringMode), *parameters_of(item.RequestedParameters), int(status)
    )


def check_filter(filter_: Filter, kind: ValueType, profile: PointProfile) -> tuple[int, int, float]:
    """(status, trigger, deadband in units of the value) of a filter on a point."""
    if filter_ is NO_FILTER:
        return 0, TRIGGER_VALUE, 0.0
    if filter_.status:
        return filter_.status, TRIGGER_VALUE, 0.0
    trigger = filter_.trigger
    if trigger not in {TRIGGER_STATUS, TRIGGER_VALUE, TRIGGER_TIMESTAMP}:
        return int(StatusCodes.BadMonitoredItemFilterInvalid), TRIGGER_VALUE, 0.0
    if filter_.kind == 0 or trigger == TRIGGER_STATUS:
        return 0, trigger, 0.0
    if kind not in _NUMERIC:
        return int(StatusCodes.BadFilterNotAllowed), trigger, 0.0
    value = filter_.value
    if filter_.kind not in {1, PERCENT} or not math.isfinite(value) or value < 0:
        return int(StatusCodes.BadDeadbandFilterInvalid), trigger, 0.0
    if filter_.kind == PERCENT:
        if profile.low is None or profile.high is None or profile.high <= profile.low:
            return int(StatusCodes.BadMonitoredItemFilterUnsupported), trigger, 0.0
        if value > 100:
            return int(StatusCodes.BadDeadbandFilterInvalid), trigger, 0.0
        value = value / 100 * (profile.high - profile.low)
    # Part 4, 7.22.2: with a deadband, the timestamp trigger is the same as status and value.
    return 0, trigger if value == 0 else TRIGGER_VALUE, value


def revise_sampling(requested: float, publishing: float) -> tuple[float, int]:
    """(revised interval in milliseconds, sampling in ticks or `EACH_CYCLE`).

    Args:
        requested: milliseconds; negative or no number for the publishing interval, 0 for every change.
        publishing: publishing interval in milliseconds.
    """
    if requested == 0:
        return 0.0, 0
    if not requested >= 0 or requested == publishing:
        return publishing, EACH_CYCLE
    revised = min(requested, _LONGEST_SAMPLING)
    return revised, max(round(revised * clock.TICKS_PER_SECOND / 1000), 1)
