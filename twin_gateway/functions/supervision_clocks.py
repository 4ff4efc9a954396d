"""Clocks of devices, followed by the source times of what changes by itself (spec 7.2)."""

from __future__ import annotations

import numpy as np

from address_space import clock
from address_space.journal import Chunk
from address_space.quality import Quality, TimeFlag
from twin_gateway.functions.supervision_devices import DeviceIndex

_NO_DEVICE_TIME = int(TimeFlag.RECEIVED | TimeFlag.INVALID | TimeFlag.SUBSTITUTED | TimeFlag.FUTURE)
_STALE = int(Quality.COMM_LOST | Quality.NOT_INITIALISED | Quality.INVALID | Quality.OLD_DATA | Quality.SUBSTITUTED)
_AHEAD_S = 2.0


class ClockWatch:
    """Tells the clock offset of each link's device from the changes of its points."""

    def __init__(self, index: DeviceIndex) -> None:
        self._index = index
        self._fresh = np.zeros(0, bool)
        self._last_source = np.zeros(0, np.int64)

    def grow(self, size: int) -> None:
        """Make room for points that were added."""
        more = size - len(self._fresh)
        self._fresh = np.concatenate([self._fresh, np.zeros(more, bool)])
        self._last_source = np.concatenate([self._last_source, np.zeros(more, np.int64)])

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes of numbers."""
        rows = chunk.rows
        links = self._index.link_of_row[rows]
        usable = (links >= 0) & (chunk.quality & np.uint32(_STALE) == 0)
        # A value that was good before and has a newer time now is fresh; what an interrogation brings is not.
        known = usable & self._fresh[rows] & (chunk.source_time > self._last_source[rows])
        ahead = known & (chunk.quality & np.uint32(TimeFlag.FUTURE) != 0)
        timed = known & (chunk.quality & np.uint32(_NO_DEVICE_TIME) == 0)
        self._fresh[rows] = usable
        self._last_source[rows] = chunk.source_time
        received = clock.to_unix(chunk.received)
        for number in np.unique(links[timed | ahead]).tolist():
            mine, offset = links == number, self._index.order[number].clock
            if (mine & ahead).any():
                offset.add(received + _AHEAD_S, received)
                continue
            # Of the samples that came together the youngest was under way the shortest.
            newest = int(chunk.source_time[mine & timed].max())
            offset.add(clock.to_unix(newest), received)
