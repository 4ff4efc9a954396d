"""Clock offset of a device: median of three fresh samples, and what of it is certain against limits (spec 7.2).

A clock that is behind looks like a way that is slow: both make samples late. A clock that is ahead is certain, for no
sample comes before it was taken. So a clock counts as behind only after a run of samples over some time of which not
one came quickly, and then by the smallest lateness of that run.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

SAMPLES = 3
BEHIND_SAMPLES = 4
"""A run of late samples is no shorter."""
BEHIND_S = 30.0
"""A run of late samples lasts so long at least, s."""
FALLS_BELOW = 0.8
"""A stage is left below this part of its limit."""


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
        limits: from which offset on a sample counts as late.
        hold: s that late samples must go on before the clock is behind for certain.
    """

    delay: float = 0.0
    limits: ClockLimits = IED_LIMITS
    hold: float = BEHIND_S
    _offsets: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _read: bool = False
    _late: int = 0
    _late_from: float = 0.0
    _late_until: float = 0.0
    _least: float = 0.0
    _stage: int = 0

    def add(self, device: float, received: float) -> None:
        """A fresh sample: device time and receive time, s since 1970."""
        offset = device - received
        offset = offset if offset >= 0 else min(0.0, offset + self.delay)
        self._offsets.append(offset)
        self._read = False
        threshold = self.limits.warn * (FALLS_BELOW if self._stage else 1.0)
        if offset > -threshold:
            self._late = 0
            return
        if not self._late or received < self._late_until:
            self._late, self._late_from, self._least = 0, received, offset
        self._late += 1
        self._late_until = received
        self._least = max(self._least, offset)

    def read(self, offset: float) -> None:
        """The clock itself was read (delay is known then): that counts alone."""
        self._offsets.extend((offset,) * SAMPLES)
        self._read = True

    @property
    def offset(self) -> float | None:
        """Median of the last three samples, None before there are three."""
        return statistics.median(self._offsets) if len(self._offsets) == SAMPLES else None

    @property
    def certain(self) -> float:
        """What the clock is off for certain, s: 0 as long as slow ways may explain it."""
        offset = self.offset
        if offset is None:
            return 0.0
        if offset >= 0 or self._read:
            return offset
        long = self._late >= BEHIND_SAMPLES and self._late_until - self._late_from >= self.hold
        return self._least if long else 0.0

    def stage(self) -> int:
        """0 fine or not known, 1 warning, 2 alarm; one that is reached is left only some way below its limit."""
        size, before = abs(self.certain), self._stage
        alarm = self.limits.alarm * (FALLS_BELOW if before == 2 else 1.0)
        warn = self.limits.warn * (FALLS_BELOW if before else 1.0)
        self._stage = 2 if size >= alarm else 1 if size >= warn else 0
        return self._stage
