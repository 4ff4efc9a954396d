"""Availability and mean time between failures over thirty days, from time spent in states (spec 7.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from twin_gateway.twin.rules import DeviceState

DAY_S = 86_400.0
WINDOW_D = 30
_DOWN = frozenset({DeviceState.UNREACHABLE, DeviceState.FAULT})
_UNCOUNTED = frozenset({DeviceState.UNKNOWN, DeviceState.INITIALISING, DeviceState.TEST, DeviceState.RETIRED})


@dataclass(slots=True)
class Day:
    """Seconds up, seconds that count, failures that began, of one day (UTC)."""

    up: float = 0.0
    counted: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Ledger:
    """Book of one device; days older than the window are dropped.

    Attributes:
        days: by day number since 1970.
    """

    days: dict[int, Day] = field(default_factory=dict)
    state: DeviceState = DeviceState.UNKNOWN
    since: float | None = None

    def account(self, state: DeviceState, now: float) -> None:
        """From now (s since 1970) on the device is in a state; the time before belongs to the state it was in."""
        if self.since is not None:
            self._book(self.state, self.since, now)
        if state in _DOWN and self.state not in _DOWN and self.since is not None and self.state not in _UNCOUNTED:
            self._day(now).failures += 1
        self.state, self.since = state, max(now, self.since or now)

    def _book(self, state: DeviceState, start: float, end: float) -> None:
        if state in _UNCOUNTED:
            return
        while start < end:
            until = min(end, (start // DAY_S + 1) * DAY_S)
            day = self._day(start)
            day.counted += until - start
            day.up += 0.0 if state in _DOWN else until - start
            start = until

    def _day(self, at: float) -> Day:
        number = int(at // DAY_S)
        day = self.days.get(number)
        if day is None:
            day = self.days[number] = Day()
            for old in [key for key in self.days if key <= number - WINDOW_D]:
                del self.days[old]
        return day

    def availability(self) -> float | None:
        """Percent of the counted time of the window that it was up; None when no time counted."""
        counted = sum(day.counted for day in self.days.values())
        return 100.0 * sum(day.up for day in self.days.values()) / counted if counted > 0 else None

    def mtbf_h(self) -> float | None:
        """Hours up for each failure in the window; None without a failure."""
        failures = sum(day.failures for day in self.days.values())
        return sum(day.up for day in self.days.values()) / failures / 3600.0 if failures else None
