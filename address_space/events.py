"""The event journal: what happened, beside what changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from address_space import clock
from address_space.conditions import Condition
from address_space.journal import Cursor, Journal


@dataclass(frozen=True, slots=True)
class Event:
    """One event record.

    Attributes:
        code: code of the alarm list (`D01`) or a short word (`late`, `refused`).
        text: a sentence.
        severity: 1 to 1000, as in OPC UA.
        address: what it is about; empty for the gateway as a whole.
        source_time: device time in FILETIME ticks; the time of the record when the device gave none.
        time_quality: what is to be said of the source time (`rx` for the gateway's own).
        state: `event`; of a condition `active`, `inactive`, `acknowledged`, `confirmed`, `commented`, `shelved`,
            `unshelved`, `suppressed`, `unsuppressed`, `enabled`, `disabled`.
        correlation: joins all records of one fault or command.
        value, quality: of the point at that moment, where there is one.
        condition: the condition as it is after this change; None for events without a state.
    """

    code: str
    text: str
    severity: int = 400
    address: str = ""
    source_time: int = 0
    received: int = 0
    time_quality: str | None = None
    state: str = "event"
    actor: str = ""
    correlation: str = ""
    value: bool | int | float | str | None = None
    quality: str = ""
    id: int = 0
    details: tuple[tuple[str, str], ...] = field(default=())
    condition: Condition | None = None

    def __len__(self) -> int:
        return 1


class EventJournal:
    """Bounded run of events with cursors; ids are given in order."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._journal: Journal[Event] = Journal(capacity)
        self._ids = itertools.count(1)
        self.total = 0

    def append(self, event: Event) -> Event:
        """Number and time the event and put it into the journal; returns it as kept."""
        received = event.received or clock.now()
        source_time = event.source_time or received
        time_quality = event.time_quality if event.source_time else "rx"
        event = replace(
            event, id=next(self._ids), received=received, source_time=source_time, time_quality=time_quality
        )
        self.total += 1
        self._journal.append(event)
        return event

    def cursor(self, name: str, on_data: Callable[[], None] | None = None) -> Cursor[Event]:
        """A cursor at the head, as of `Journal.cursor`."""
        return self._journal.cursor(name, on_data)

    @property
    def cursors(self) -> tuple[Cursor[Event], ...]:
        """The open cursors, for metrics."""
        return self._journal.cursors
