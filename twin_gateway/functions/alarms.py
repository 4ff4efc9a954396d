"""What functions say of alarms: conditions raised and cleared by code and address, with delays (spec 9).

The states that people change (acknowledged, shelved, …) are those of the book, `twin_gateway.alarms.store`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from address_space.events import Event, EventJournal
from twin_gateway.alarms.entry import Kind
from twin_gateway.alarms.machine import Finding
from twin_gateway.alarms.store import ConditionBook


@dataclass(slots=True)
class Alarm:
    """One condition as its source sees it.

    Attributes:
        code: of the alarm list (`C04`).
        address: what it is about.
        severity: 1 to 1000.
        since: monotonic time since which the condition holds; the alarm is active after its delay.
        active: it has been raised.
        marked: `test`, `suppressed` or empty; a suppressed one is told as that and not as an alarm.
        source_time: device time at which the condition began, FILETIME ticks; 0 when no device told it.
        time_quality: what is to be said of that time, as `quality.time_names`.
        limit, status, kind: as of `Finding` and `ConditionBook.raise_`.
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
    limit: str = ""
    status: int = 0
    kind: Kind | None = None


class Alarms:
    """Keeps what holds at present and tells the book: when a condition becomes an alarm, changes, and ends.

    Args:
        events: where events without a state go.
        book: of all conditions; one in memory unless given.
        monotonic: clock of the delays.
    """

    def __init__(
        self,
        events: EventJournal,
        book: ConditionBook | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self.book = book or ConditionBook(events, monotonic=monotonic)
        self._now = monotonic
        self._alarms: dict[tuple[str, str], Alarm] = {}
        self._unripe: dict[tuple[str, str], Alarm] = {}

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
        limit: str = "",
        status: int = 0,
        kind: Kind | None = None,
    ) -> None:
        """The condition holds. An active one speaks again only when its severity, limit or mark has changed."""
        key = (code, address)
        alarm = self._alarms.get(key)
        louder = (
            alarm is not None
            and alarm.active
            and (alarm.severity, alarm.marked, alarm.limit) != (severity, marked, limit)
        )
        if alarm is None:
            alarm = self._alarms[key] = Alarm(code, address, text, severity, self._now(), delay)
        if louder or not alarm.source_time:
            alarm.source_time, alarm.time_quality = source_time, time_quality
        alarm.text, alarm.severity, alarm.marked, alarm.delay = text, severity, marked, delay
        alarm.correlation, alarm.value, alarm.details = correlation or alarm.correlation, value, details
        alarm.limit, alarm.status, alarm.kind = limit, status, kind
        if louder:
            self._tell(alarm, anew=True)
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
        status: int = 0,
    ) -> None:
        """The condition is over; nothing happens when there was none. The value is the one that ended it."""
        alarm = self._alarms.pop((code, address), None)
        self._unripe.pop((code, address), None)
        if (alarm is not None and alarm.active) or self.book.waits(address, code):
            self.book.clear(
                address,
                code,
                text,
                value=value,
                status=status,
                source_time=source_time,
                time_quality=time_quality,
            )

    def set(self, holds: bool, code: str, address: str, text: str, severity: int, *, delay: float = 0.0) -> None:
        """`raise_` or `clear`, as the condition is."""
        if holds:
            self.raise_(code, address, text, severity, delay=delay)
        else:
            self.clear(code, address)

    def end(self, addresses: Collection[str], text: str) -> None:
        """Nothing is said of these addresses any more: what is active there is over."""
        for key in [key for key in self._alarms if key[1] in addresses]:
            self.clear(*key, text)
        for address in addresses:
            for condition in list(self.book.at(address)):
                if condition.active:
                    self.book.clear(address, condition.code, text)

    def tick(self) -> None:
        """Let conditions whose delay is over become alarms; to be called about every second."""
        for _ in self.ripening():
            pass

    def ripening(self) -> Iterator[None]:
        """The same in parts: thousands become alarms together when a large part of the grid has changed."""
        for key, alarm in list(self._unripe.items()):
            if self._unripe.get(key) is alarm:
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
        if alarm.active:
            return
        key = (alarm.code, alarm.address)
        # What was an alarm before the restart of the gateway is one still: it has waited then.
        if self._now() - alarm.since >= alarm.delay or self.book.waits(alarm.address, alarm.code):
            alarm.active = True
            self._unripe.pop(key, None)
            self._tell(alarm, anew=False)
        else:
            self._unripe[key] = alarm

    def _tell(self, alarm: Alarm, *, anew: bool) -> None:
        finding = Finding(
            alarm.text,
            alarm.severity,
            limit=alarm.limit,
            value=alarm.value,
            status=alarm.status,
            correlation=alarm.correlation,
            source_time=alarm.source_time,
        )
        self.book.raise_(
            alarm.address,
            alarm.code,
            finding,
            kind=alarm.kind,
            suppressed=alarm.marked == "suppressed",
            anew=anew,
            details=(*alarm.details, ("marked", alarm.marked)) if alarm.marked else alarm.details,
            time_quality=alarm.time_quality,
        )
