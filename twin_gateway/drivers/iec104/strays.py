"""What a station sends and no point takes: unknown types, stations and objects, counted and listed, bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from address_space import clock
from twin_gateway.drivers.contract import Stray
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.types import MAX_ADDRESS, TYPES

MOST = 1000
"""Objects that are listed; the one that has been silent longest makes room."""
UNKNOWN_TYPE, UNKNOWN_STATION, UNKNOWN_ADDRESS, OTHER_TYPE = (
    "unknown type",
    "unknown station",
    "unknown address",
    "other type",
)
_Key = tuple[int, int]  # type, common address << 24 | object address


class _Seen:
    __slots__ = ("count", "first", "last", "reason", "value")

    def __init__(self, reason: str, at: int) -> None:
        self.reason, self.first = reason, at
        self.count, self.last = 0, at
        self.value: float | str = ""


class Strays:
    """The list of one link; it outlives associations.

    Attributes:
        dropped: objects that had to make room.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._seen: OrderedDict[_Key, _Seen] = OrderedDict()

    def __len__(self) -> int:
        """Number of objects listed."""
        return len(self._seen)

    def note(self, columns: Columns, reason: str) -> None:
        """Objects of known types, in order of arrival."""
        at = clock.now()
        keys = columns.type.astype(np.int64) << 40 | columns.common_address.astype(np.int64) << 24 | columns.address
        # of the reversed column the first place of a key is the last of the column itself
        unique, place, counts = np.unique(keys[::-1], return_index=True, return_counts=True)
        newest = np.argsort(-place)[-MOST:]
        values = columns.value[::-1][place[newest]]
        for key, count, value in zip(unique[newest].tolist(), counts[newest].tolist(), values.tolist(), strict=True):
            seen = self._of((key >> 40, key & 0xFF_FFFF_FFFF), reason, at)
            seen.count += count
            seen.value = value

    def note_unknown(self, asdu: bytes) -> bool:
        """An ASDU that cannot be decoded: whether its type is the reason, then it is listed by its first object."""
        if len(asdu) < 6 or asdu[0] in TYPES:
            return False
        address = int.from_bytes(asdu[6:9], "little")
        key = (asdu[0], int.from_bytes(asdu[4:6], "little") << 24 | address)
        seen = self._of(key, UNKNOWN_TYPE, clock.now())
        seen.count += 1
        seen.value = asdu[9:25].hex(" ")
        return True

    def forget(self, mapped: Callable[[int, int], bool]) -> None:
        """What has been mapped meanwhile (type, key of the object) is a stray no more."""
        for key in [key for key in self._seen if mapped(*key)]:
            del self._seen[key]

    def list(self) -> Sequence[Stray]:
        """Everything kept, newest last."""
        return [
            Stray(
                {
                    "common_address": key >> 24,
                    "ioa": key & MAX_ADDRESS,
                    "type": TYPES[number].name if number in TYPES else number,
                },
                seen.reason,
                seen.count,
                seen.first,
                seen.last,
                seen.value if isinstance(seen.value, str) else f"{seen.value:g}",
            )
            for (number, key), seen in self._seen.items()
        ]

    def _of(self, key: _Key, reason: str, at: int) -> _Seen:
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(reason, at)
            if len(self._seen) > MOST:
                self._seen.popitem(last=False)
                self.dropped += 1
        else:
            self._seen.move_to_end(key)
        seen.last, seen.reason = at, reason
        return seen
