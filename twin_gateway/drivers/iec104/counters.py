"""Integrated totals: the counter interrogations that are sent, and what sequence number and flags of a reading tell."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from address_space.quality import Quality
from twin_gateway.drivers.iec104.columns import Columns
from twin_gateway.drivers.iec104.types import TYPES, Family

GENERAL = 5
"""RQT: all counters; 1 to 4 are the groups."""
IS_COUNTER = np.zeros(256, bool)
"""By type number: the type is a counter reading."""
for _number, _known in TYPES.items():
    IS_COUNTER[_number] = _known.family is Family.COUNTER


_ALL = np.uint32(0xFFFF_FFFF)


class Freeze(IntEnum):
    """FRZ: what a counter interrogation does beside reading."""

    READ = 0
    FREEZE = 1
    FREEZE_RESET = 2
    RESET = 3


FREEZES = {"none": Freeze.READ, "freeze": Freeze.FREEZE, "freeze-reset": Freeze.FREEZE_RESET, "reset": Freeze.RESET}
"""What the configuration calls them."""


def qualifiers(groups: Sequence[int], freeze: Freeze, *, read: bool = True) -> list[tuple[int, bool]]:
    """QCC octets in order of sending, and whether the station ends each with a termination.

    A request that freezes or resets is only confirmed; the frozen values are then read by a request of its own, unless
    the station sends them by itself (`read` False).

    Args:
        groups: 1 to 4, empty for all counters at once.
        freeze: what the station is to do before it is read.
        read: whether it is read by request.
    """
    wanted = [(group or GENERAL) for group in groups] or [GENERAL]
    acts = [(freeze << 6 | group, False) for group in wanted] if freeze is not Freeze.READ else []
    return acts + ([(group, True) for group in wanted] if read or not acts else [])


class Reading(NamedTuple):
    """What is to be told of a batch of readings.

    Attributes:
        missed: readings that the sequence numbers say were made and never came.
        adjusted, carried: keys of counters that were set, or ran over, since their last reading.
    """

    missed: int
    adjusted: list[int]
    carried: list[int]


class Sequences:
    """Sequence numbers of the counters of a link, by the places of their keys in the index.

    A station that does not use sequence numbers sends 0 for ever; one that starts anew begins at 0 or 1. Neither is a
    loss. A reading that is read again keeps its number.
    """

    def __init__(self, keys: npt.NDArray[np.int64], before: Sequences | None = None) -> None:
        self._keys = keys
        self._last = np.full(len(keys), -1, np.int8)
        self._flags = np.zeros(len(keys), np.uint32)
        if before is not None and len(before._keys) and len(keys):
            _, mine, others = np.intersect1d(keys, before._keys, assume_unique=True, return_indices=True)
            self._last[mine], self._flags[mine] = before._last[others], before._flags[others]

    def last(self, key: int) -> int:
        """Sequence number of the last reading of an object; -1 when there was none."""
        at = int(np.searchsorted(self._keys, key))
        return int(self._last[at]) if at < len(self._keys) and self._keys[at] == key else -1

    def take(self, columns: Columns, at: npt.NDArray[np.intp]) -> Reading:
        """Readings in order of arrival; `at` is the place of each in the keys."""
        order = np.argsort(at, kind="stable")
        places, numbers, words = at[order], columns.extra[order].astype(np.int8), columns.quality[order]
        first = np.ones(len(places), bool)
        first[1:] = places[1:] != places[:-1]
        last = np.ones(len(places), bool)
        last[:-1] = first[1:]
        before, words_before = np.empty_like(numbers), np.empty_like(words)
        before[1:], words_before[1:] = numbers[:-1], words[:-1]
        before[first], words_before[first] = self._last[places[first]], self._flags[places[first]]
        step = (numbers - before) & 31
        missed = (before >= 0) & (step > 1) & (numbers > 1)
        self._last[places[last]], self._flags[places[last]] = numbers[last], words[last]
        # the same reading read again says nothing new; without sequence numbers only the flag's coming does
        rising = words & (np.where(before < 0, _ALL, np.where(step > 0, _ALL, ~words_before)))
        adjusted, carried = rising & np.uint32(Quality.ADJUSTED) != 0, rising & np.uint32(Quality.CARRY) != 0
        keys = self._keys[places]
        return Reading(
            int((step[missed].astype(np.int64) - 1).sum()),
            np.unique(keys[adjusted]).tolist(),
            np.unique(keys[carried]).tolist(),
        )
