"""Active conditions: raised and cleared by code and address, with delays; every change is an event (spec 9)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from address_space.events import Event, EventJournal

log = logging.getLogger(__name__)
_HIGH = 800
"""Severity from which on an alarm is a warning in the log."""


@dataclass(slots=True)
class Alarm:
    """One condition.

    Attributes:
        code: of the alarm list (`C04`).
        address: what it is about.
        severity: 1 to 1000.
        since: monotonic time since which the condition holds; the alarm is active after its delay.
        active: it has been raised.
        marked: `test`, `suppressed` or empty; a suppressed one makes no event.
        source_time: device time at which the condition began, FILETIME ticks; 0 when no device told it.
        time_quality: what is to be said of that time, as `quality.time_names`.
    """

    code: str
    address: str
    text: str
    severity: int
    since: float
    delay: float = 0.0
    active: bool = False
    marked: str = ""
    correlation: str = ""
    value: float | str | None = None
    details: tuple[tuple[str, str], ...] = field(default=())
    source_time: int = 0
    time_quality: str | None = None


class Alarms:
    """Keeps what holds at present; one event when a condition becomes an alarm, one when it ends.

    Args:
        events: where the events go.
        monotonic: clock of the delays.
    """

    def __init__(self, events: EventJournal, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._now = monotonic
        self._alarms: dict[tuple[str, str], Alarm] = {}

    def raise_(
        self,
        code: str,
        address: str,
        text: str,
        severity: int,
        *,
        delay: float = 0.0,
        marked: str = "",
        correlation: str = "",
        value: float | str | None = None,
        details: tuple[tuple[str, str], ...] = (),
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """The condition holds. An active one speaks again only when its severity or mark has changed."""
        key = (code, address)
        alarm = self._alarms.get(key)
        louder = alarm is not None and alarm.active and (alarm.severity, alarm.marked) != (severity, marked)
        if alarm is None:
            alarm = self._alarms[key] = Alarm(code, address, text, severity, self._now(), delay)
        if louder or not alarm.source_time:
            alarm.source_time, alarm.time_quality = source_time, time_quality
        alarm.text, alarm.severity, alarm.marked, alarm.delay = text, severity, marked, delay
        alarm.correlation, alarm.value, alarm.details = correlation or alarm.correlation, value, details
        if louder:
            self._tell(alarm, "active")
        self._ripen(alarm)

    def clear(
        self,
        code: str,
        address: str,
        text: str = "",
        *,
        value: float | str | None = None,
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """The condition is over; nothing happens when there was none. The value is the one that ended it."""
        alarm = self._alarms.pop((code, address), None)
        if alarm is not None and alarm.active:
            alarm.text = text or f"{alarm.text} (over)"
            alarm.value, alarm.source_time, alarm.time_quality = value, source_time, time_quality
            self._tell(alarm, "inactive")

    def set(self, holds: bool, code: str, address: str, text: str, severity: int, *, delay: float = 0.0) -> None:
        """`raise_` or `clear`, as the condition is."""
        if holds:
            self.raise_(code, address, text, severity, delay=delay)
        else:
            self.clear(code, address)

    def tick(self) -> None:
        """Let conditions whose delay is over become alarms; to be called about every second."""
        for _ in self.ripening():
            pass

    def ripening(self) -> Iterator[None]:
        """The same in parts: thousands become alarms together when a large part of the grid has changed."""
        for key, alarm in list(self._alarms.items()):
            if self._alarms.get(key) is alarm:
                self._ripen(alarm)
            yield

    def event(self, code: str, address: str, text: str, severity: int, **more: object) -> None:
        """A record that has no state; further members as of `Event`."""
        self._events.append(Event(code, text, severity, address, **more))  # type: ignore[arg-type]  # as of Event

    def active(self, prefix: str = "") -> Iterator[Alarm]:
        """Active alarms at and below an address."""
        for alarm in self._alarms.values():
            if alarm.active and (not prefix or alarm.address == prefix or alarm.address.startswith(f"{prefix}/")):
                yield alarm

    def holds(self, code: str, address: str) -> bool:
        """Whether an alarm is active."""
        alarm = self._alarms.get((code, address))
        return alarm is not None and alarm.active

    def _ripen(self, alarm: Alarm) -> None:
        if not alarm.active and self._now() - alarm.since >= alarm.delay:
            alarm.active = True
            self._tell(alarm, "active")

    def _tell(self, alarm: Alarm, state: str) -> None:
        if alarm.marked == "suppressed":
            return
        details = (*alarm.details, ("marked", alarm.marked)) if alarm.marked else alarm.details
        level = logging.WARNING if alarm.severity >= _HIGH and state == "active" else logging.INFO
        log.log(level, "alarm %s %s %d at %s: %s", alarm.code, state, alarm.severity, alarm.address, alarm.text)
        self._events.append(
            Event(
                alarm.code,
                alarm.text,
                alarm.severity,
                alarm.address,
                state=state,
                correlation=alarm.correlation,
                value=alarm.value,
                details=details,
                source_time=alarm.source_time,
                time_quality=alarm.time_quality,
            )
        )
