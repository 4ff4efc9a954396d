"""Samples of history on their way to the wire: columns, IndexRange and DataEncoding, HistoryData (Part 11, 6.6)."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.opcua.encoding import NO_VALUE, Values, data_values
from address_space.opcua.untyped import ua
from address_space.opcua.wire import OperationError, encode_text, pack_i32
from address_space.point import Raw, Ticks, Words
from address_space.ports import HistoryValues

_HISTORY_DATA, _HISTORY_MODIFIED_DATA, _HISTORY_EVENT = 658, 11227, 661
_EMPTY_CODES = np.array((0x8032_0000, 0x8074_0000, 0x809B_0000, 0x809D_0000), np.uint32)
"""BadWaitingForInitialData, BadTypeMismatch, BadNoData and BadDataLost stand where there is no value."""
_RE_RANGE = re.compile(r"(\d{1,10})(?::(\d{1,10}))?\Z")
_INDEX_RANGE_NO_DATA = np.uint32(int(ua.StatusCodes.BadIndexRangeNoData))


def without_value(status: Words) -> npt.NDArray[np.bool_]:
    """Which StatusCodes of samples say that there is no value."""
    return np.isin(status & np.uint32(0xFFFF_0000), _EMPTY_CODES)


@dataclass(frozen=True, slots=True)
class Columns:
    """DataValues in columns of one length.

    Attributes:
        kinds: type number of each value, 0 for none, uint8.
        raw: value bits, uint64; of texts the position in `texts`.
        status, source, server: StatusCodes and timestamps.
        texts: texts that `raw` refers to.
    """

    kinds: npt.NDArray[np.uint8]
    raw: Raw
    status: Words
    source: Ticks
    server: Ticks
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.raw)

    @staticmethod
    def of(values: HistoryValues) -> Columns:
        """Samples as the history has them; Bad ones without a value are empty."""
        kinds = np.where(without_value(values.status), NO_VALUE, values.value_type).astype(np.uint8)
        texts = values.texts or ()
        raw = np.arange(len(values), dtype=np.uint64) if values.texts is not None else values.raw
        return Columns(kinds, raw, values.status, values.source, values.server, texts)

    @staticmethod
    def blank(status: int, moments: Sequence[int]) -> Columns:
        """DataValues of nothing but a status, at some times."""
        count, times = len(moments), np.array(moments, np.int64)
        return Columns(
            np.zeros(count, np.uint8), np.zeros(count, np.uint64), np.full(count, status, np.uint32), times, times
        )

    def pick(self, which: npt.NDArray[np.int64] | slice) -> Columns:
        """Some of them, in the order of the positions."""
        return replace(
            self,
            kinds=self.kinds[which],
            raw=self.raw[which],
            status=self.status[which],
            source=self.source[which],
            server=self.server[which],
        )

    def joined(self, others: Sequence[Columns]) -> Columns:
        """These and others, one after the other."""
        parts = [self, *others]
        if len(parts) == 1:
            return self
        texts: tuple[str, ...] = ()
        raws = []
        for part in parts:
            raws.append(np.where(part.kinds == ValueType.STRING, part.raw + np.uint64(len(texts)), part.raw))
            texts += part.texts
        return Columns(
            np.concatenate([part.kinds for part in parts]),
            np.concatenate(raws),
            np.concatenate([part.status for part in parts]),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.server for part in parts]),
            texts,
        )

    def encode(self, stamps: int) -> bytes:
        """An array of DataValues on the wire."""
        if not len(self):
            return pack_i32(0)
        values = Values(self.raw, self.status, self.source, self.server)
        return pack_i32(len(self)) + data_values(self.kinds, stamps, values, dict(enumerate(self.texts)))


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a text that an IndexRange names: first and last character."""

    first: int
    last: int

    def of(self, columns: Columns) -> Columns:
        """The same part of each text; where a text is shorter BadIndexRangeNoData and nothing else."""
        short = np.array([len(text) <= self.first for text in columns.texts], np.bool_)
        missing = np.zeros(len(columns), np.bool_)
        of_text = columns.kinds == ValueType.STRING
        missing[of_text] = short[columns.raw[of_text].astype(np.int64)]
        return replace(
            columns,
            kinds=np.where(missing, NO_VALUE, columns.kinds).astype(np.uint8),
            status=np.where(missing, _INDEX_RANGE_NO_DATA, columns.status).astype(np.uint32),
            texts=tuple(text[self.first : self.last + 1] for text in columns.texts),
        )


def part_of(index_range: str | None, encoding: bytes, value_type: int) -> Part | None:
    """What an IndexRange and a DataEncoding (on the wire) ask of values of a type; None for whole values.

    Raises:
        OperationError: BadIndexRangeInvalid, BadIndexRangeNoData (a number has no parts), BadDataEncodingInvalid.
    """
    if encoding[2:6] != b"\xff\xff\xff\xff":
        raise OperationError(ua.StatusCodes.BadDataEncodingInvalid)
    if not index_range:
        return None
    match = _RE_RANGE.match(index_range)
    if match is None:
        known = all(_RE_RANGE.match(each) for each in index_range.split(","))
        raise OperationError(ua.StatusCodes.BadIndexRangeNoData if known else ua.StatusCodes.BadIndexRangeInvalid)
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if match[2] is not None and last <= first:
        raise OperationError(ua.StatusCodes.BadIndexRangeInvalid)
    if value_type != ValueType.STRING:
        raise OperationError(ua.StatusCodes.BadIndexRangeNoData)
    return Part(first, last)


def _extension(number: int, body: bytes) -> bytes:
    return struct.pack("<BBHBi", 1, 0, number, 1, len(body)) + body


def history_data(values: bytes) -> bytes:
    """ExtensionObject of HistoryData."""
    return _extension(_HISTORY_DATA, values)


def history_modified_data(values: bytes, modifications: Sequence[tuple[int, int, str]]) -> bytes:
    """ExtensionObject of HistoryModifiedData; modifications as in `HistoryValues`."""
    infos = [struct.pack("<qi", time, kind) + encode_text(user or None) for time, kind, user in modifications]
    return _extension(_HISTORY_MODIFIED_DATA, values + pack_i32(len(infos)) + b"".join(infos))


def history_event(rows: Sequence[bytes]) -> bytes:
    """ExtensionObject of HistoryEvent: arrays of Variants, one an event."""
    return _extension(_HISTORY_EVENT, pack_i32(len(rows)) + b"".join(rows))
