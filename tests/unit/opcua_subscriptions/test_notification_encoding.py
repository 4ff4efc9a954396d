from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from address_space import clock
from address_space.catalogue import ValueType
from address_space.opcua.encoding import (
    Stamps,
    Values,
    data_change,
    data_values,
    notification_items,
    notification_message,
    status_change,
)

SOURCE = clock.from_unix(1_700_000_000.25)
SERVER = SOURCE + 5_000_000
RAWS = {
    ValueType.BOOLEAN: (1, True),
    ValueType.INT32: (0xFFFF_FFFF, -1),
    ValueType.UINT32: (4_000_000_000, 4_000_000_000),
    ValueType.INT64: (2**64 - 5, -5),
    ValueType.DOUBLE: (int(np.float64(2.5).view(np.uint64)), 2.5),
    ValueType.STRING: (7, "Öl"),
}
TEXTS = {7: "Öl"}


def values_of(*raws: int, status: int = 0) -> Values:
    count = len(raws)
    return Values(
        np.array(raws, np.uint64),
        np.full(count, status, np.uint32),
        np.full(count, SOURCE, np.int64),
        np.full(count, SERVER, np.int64),
    )


def decode(pieces: list[bytes], count: int) -> list[Any]:
    buffer = Buffer(b"".join(pieces))
    items = [struct_from_binary(ua.MonitoredItemNotification, buffer) for _ in range(count)]
    assert len(buffer) == 0
    return items


def octets(*numbers: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.array(numbers, np.uint8)


@pytest.mark.parametrize("kind", list(ValueType))
def test_every_value_type_reads_back_with_value_status_and_both_times(kind: ValueType) -> None:
    raw, value = RAWS[kind]
    [item] = decode(
        notification_items(
            np.array([9], np.uint32), octets(kind), octets(Stamps.BOTH), values_of(raw, status=0x4094_0000), TEXTS
        ),
        1,
    )
    assert item.ClientHandle == 9
    assert (item.Value.Value.Value, item.Value.Value.VariantType) == (value, ua.VariantType(kind))
    assert item.Value.StatusCode.value == 0x4094_0000
    assert item.Value.SourceTimestamp == clock.to_datetime(SOURCE)
    assert item.Value.ServerTimestamp == clock.to_datetime(SERVER)


@pytest.mark.parametrize("kind", [ValueType.DOUBLE, ValueType.STRING])
@pytest.mark.parametrize("stamps", list(Stamps))
def test_only_the_asked_for_timestamps_are_sent(stamps: Stamps, kind: ValueType) -> None:
    [item] = decode(
        notification_items(np.array([1], np.uint32), octets(kind), octets(stamps), values_of(RAWS[kind][0]), TEXTS), 1
    )
    assert (item.Value.SourceTimestamp is not None) == (stamps in {Stamps.SOURCE, Stamps.BOTH})
    assert (item.Value.ServerTimestamp is not None) == (stamps in {Stamps.SERVER, Stamps.BOTH})


def test_mixed_types_and_timestamps_keep_the_handle_of_each_value() -> None:
    kinds = list(ValueType) * 3
    raws = [RAWS[kind][0] for kind in kinds]
    stamps = octets(*(index % 4 for index in range(len(kinds))))
    handles = np.arange(len(kinds), dtype=np.uint32)
    pieces = notification_items(handles, octets(*kinds), stamps, values_of(*raws), TEXTS)
    got = {item.ClientHandle: item.Value.Value.Value for item in decode(pieces, len(kinds))}
    assert got == {index: RAWS[kind][1] for index, kind in enumerate(kinds)}


def test_a_point_that_never_had_a_value_is_sent_without_one() -> None:
    [item] = decode(
        notification_items(
            np.array([1], np.uint32), octets(11), octets(Stamps.BOTH), values_of(0, status=0x8032_0000), {}
        ),
        1,
    )
    assert item.Value.Value is None or item.Value.Value.Value is None
    assert item.Value.StatusCode.name == "BadWaitingForInitialData"


def test_an_item_keeps_its_order_when_it_waits_for_data_in_between() -> None:
    one = int(np.float64(1.0).view(np.uint64))
    values = values_of(0, one, 0, one)
    status = np.array([0, 0, 0x8032_0000, 0], np.uint32)
    pieces = notification_items(
        np.array([5, 5, 5, 6], np.uint32), octets(11, 11, 11, 11), octets(2, 2, 2, 2), values.with_status(status), {}
    )
    items = decode(pieces, 4)
    assert [item.Value.StatusCode.value for item in items if item.ClientHandle == 5] == [0, 0, 0x8032_0000]


def test_data_values_come_in_the_order_of_the_columns() -> None:
    kinds = [12, 11, 1, 12, 6, 7, 8]
    raws = [RAWS[ValueType(kind)][0] for kind in kinds]
    buffer = Buffer(data_values(octets(*kinds), Stamps.SOURCE, values_of(*raws), TEXTS))
    got = [struct_from_binary(ua.DataValue, buffer).Value.Value for _ in kinds]
    assert got == [RAWS[ValueType(kind)][1] for kind in kinds]
    assert len(buffer) == 0


def test_a_message_is_what_an_independent_decoder_expects() -> None:
    items = notification_items(np.array([3], np.uint32), octets(11), octets(2), values_of(0), {})
    parts = [*data_change(items, 1), status_change(0x800A_0000)]
    buffer = Buffer(notification_message(42, 2, parts))
    message = struct_from_binary(ua.NotificationMessage, buffer)
    assert len(buffer) == 0
    assert message.SequenceNumber == 42
    changes, ended = message.NotificationData
    assert [item.ClientHandle for item in changes.MonitoredItems] == [3]
    assert ended.Status.name == "BadTimeout"
