"""Clock offset of a device: median of three fresh samples against limits by kind of device (spec 7.2)."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

SAMPLES = 3


@dataclass(frozen=True, slots=True)
class ClockLimits:
    """Offsets in s from which on a clock is warned of and alarmed."""

    warn: float
    alarm: float


IED_LIMITS = ClockLimits(0.1, 1.0)
METER_LIMITS = ClockLimits(30.0, 180.0)
WARN_SEVERITY, ALARM_SEVERITY = 400, 500


@dataclass(slots=True)
class ClockOffset:
    """Offset of one clock, s; positive: the device is ahead.

    Attributes:
        delay: s that a sample may take to arrive: a device is behind only by what exceeds it.
    """

    delay: float = 0.0
    _offsets: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def add(self, device: float, received: float) -> None:
        """A fresh sample: device time and receive time, s since 1970."""
        offset = device - received
        self._offsets.append(offset if offset >= 0 else min(0.0, offset + self.delay))

    def read(self, offset: float) -> None:
        """The clock itself was read (delay is known then): that counts alone."""
        self._offsets.extend((offset,) * SAMPLES)

    @property
    def offset(self) -> float | None:
        """Median of the last three samples, None before there are three."""
        return statistics.median(self._offsets) if len(self._offsets) == SAMPLES else None

    def stage(self, limits: ClockLimits) -> int:
        """0 fine or not known, 1 warning, 2 alarm."""
        offset = self.offset
        if offset is None:
            return 0
        return 2 if abs(offset) >= limits.alarm else 1 if abs(offset) >= limits.warn else 0
