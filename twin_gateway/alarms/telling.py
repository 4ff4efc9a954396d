"""How a change of a condition is told: one event and one line of the log."""

from __future__ import annotations

import logging

from address_space.events import Event
from twin_gateway.alarms.entry import Entry
from twin_gateway.alarms.machine import Change

log = logging.getLogger(__name__)
_HIGH = 800
"""Severity from which on an alarm is a warning in the log."""
_BY_PEOPLE = frozenset(Change) - {Change.ACTIVE, Change.INACTIVE, Change.SUPPRESSED}


def told(entry: Entry, change: Change) -> Event:
    """The event of a change that the condition has been through already; the log has its line, too."""
    condition, text, details = entry.condition, entry.condition.text, entry.details
    if change in _BY_PEOPLE:
        text, details = f"{condition.text} ({change})", ()
    level = logging.WARNING if change is Change.ACTIVE and condition.severity >= _HIGH else logging.INFO
    log.log(level, "alarm %s %s %d at %s: %s", condition.code, change, condition.severity, condition.address, text)
    return Event(
        condition.code,
        text,
        condition.severity,
        condition.address,
        source_time=condition.source_time if condition.source_time != condition.received else 0,
        received=condition.received,
        time_quality=entry.time_quality,
        state=str(change),
        actor=condition.user,
        correlation=condition.correlation,
        value=condition.value,
        details=details,
        condition=condition,
    )
