"""Seconds since 1970 that never jump: the time of the start, and what the monotonic clock has counted since."""

from __future__ import annotations

import time

from address_space import clock


class SteadyClock:
    """Time-outs must not run off when somebody sets the clock of the machine."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The present, s."""
        return time.monotonic() + self._offset

    def of(self, ticks: int) -> float:
        """Seconds of FILETIME ticks."""
        return clock.to_unix(ticks)
