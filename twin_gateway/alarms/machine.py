"""The states of one condition and what changes them (OPC 10000-9, 5.5 to 5.8): pure functions of records.

Every function takes the condition as it is and gives it as it is afterwards, or None where nothing changes. A change
gets a new EventId; those before it stay good for Acknowledge, Confirm and AddComment until the condition asks for
acknowledgement anew (it became active again, or worse): nobody acknowledges what he has not seen.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from address_space import clock
from address_space.conditions import Condition
from address_space.ports import ConditionVerb
from address_space.quality import StatusCode

MAX_SHELVING_S = 86_400.0
"""Nothing is shelved for longer than a day."""
EVENT_IDS_KEPT = 16
"""Earlier EventIds that are still taken, of one condition."""

UNSHELVED, TIMED, ONE_SHOT = "Unshelved", "TimedShelved", "OneShotShelved"


class Change(StrEnum):
    """What has happened, as the state of the event says it."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    COMMENTED = "commented"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    SUPPRESSED = "suppressed"
    UNSUPPRESSED = "unsuppressed"
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Demands:
    """What a condition wants of people.

    Attributes:
        acknowledge: to be acknowledged when it became active.
        confirm: to be confirmed after that.
    """

    acknowledge: bool = True
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What the source of a condition says.

    Attributes:
        text: a sentence.
        limit: of limit alarms: `HighHigh`, `High`, `Low`, `LowLow`.
        value, status: of the source at that moment; status as StatusCode.
        source_time: device time, FILETIME ticks; 0 for none.
    """

    text: str
    severity: int
    limit: str = ""
    value: bool | int | float | str | None = None
    status: int = 0
    correlation: str = ""
    source_time: int = 0


def event_id() -> bytes:
    """A new EventId: 16 octets that nobody can guess."""
    return secrets.token_bytes(16)


def raised(
    condition: Condition,
    finding: Finding,
    demands: Demands,
    now: int,
    *,
    suppressed: bool | None = None,
    anew: bool = False,
) -> Condition | None:
    """The source says that it holds: active, or worse or better than before, or nothing new.

    What became worse (severity or limit) is to be acknowledged again, what became better is not. A suppressed one
    is not told as an alarm and so asks for no acknowledgement; when it is unsuppressed it does. `suppressed` of None
    leaves that as it is; `anew` says that there is something new to tell although nothing of that has changed.
    """
    changed = suppressed is not None and condition.suppressed != suppressed
    if changed:
        condition = replace(condition, suppressed=bool(suppressed), suppressed_time=now)
    same = condition.active and (condition.severity, condition.limit) == (finding.severity, finding.limit)
    if same and not changed and not anew:
        return None
    worse = not condition.active or finding.severity > condition.severity or (changed and not suppressed)
    if condition.active and not worse and finding.severity == condition.severity:
        worse = _outwards(condition.limit, finding.limit)
    more: dict[str, Any] = {}
    if not condition.active:
        more["active_time"] = now
    if finding.severity != condition.severity:
        more.update(last_severity=condition.severity, severity_time=now)
    if finding.status != condition.status:
        more["status_time"] = now
    asks = worse and demands.acknowledge and condition.enabled and not condition.suppressed
    more.update(_asking(condition, now) if asks else _next_id(condition))
    return replace(
        condition,
        active=True,
        text=finding.text,
        severity=finding.severity,
        limit=finding.limit,
        value=finding.value,
        status=finding.status,
        correlation=finding.correlation or condition.correlation,
        source_time=finding.source_time or now,
        received=now,
        user="",
        **more,
    )


def _outwards(before: str, now: str) -> bool:
    return now not in ("", before) and (now in ("HighHigh", "LowLow") or before[:1] != now[:1])


def cleared(condition: Condition, finding: Finding, now: int) -> Condition | None:
    """The source says that it is over. The severity stays what it was: that is what people look back at."""
    if not condition.active:
        return None
    return replace(
        condition,
        active=False,
        active_time=now,
        text=finding.text,
        limit="",
        value=finding.value,
        status=finding.status,
        status_time=now if finding.status != condition.status else condition.status_time,
        source_time=finding.source_time or now,
        received=now,
        user="",
        **_next_id(condition),
    )


def unshelved(condition: Condition, now: int, user: str = "") -> Condition | None:
    """The shelving is over: its time, its one occurrence, or a person said so."""
    if condition.shelving == UNSHELVED:
        return None
    return _told(condition, now, user, shelving=UNSHELVED, shelved_until=0, shelving_time=now)


def shelved(condition: Condition, duration: float, now: int, user: str = "", *, once: bool = False) -> Condition:
    """Shelved for a time in s, or for one occurrence (and at most `MAX_SHELVING_S`)."""
    until = now + round(min(duration, MAX_SHELVING_S) * clock.TICKS_PER_SECOND)
    return _told(condition, now, user, shelving=ONE_SHOT if once else TIMED, shelved_until=until, shelving_time=now)


def refusal(condition: Condition, verb: ConditionVerb, seen: bytes | None, duration: float) -> int:
    """0 when the verb can be done now, else the StatusCode that Part 9 gives its method (5.5.4 to 5.8.17).

    `seen` is the EventId that the caller names; only Acknowledge, Confirm and AddComment look at it. `duration` is
    that of a timed shelving, s.
    """
    if verb is ConditionVerb.ENABLE:
        return StatusCode.BadConditionAlreadyEnabled if condition.enabled else 0
    if not condition.enabled:
        already = verb is ConditionVerb.DISABLE
        return StatusCode.BadConditionAlreadyDisabled if already else StatusCode.BadConditionDisabled
    if verb in _NAMES_AN_EVENT and seen not in (condition.event_id, *condition.earlier):
        return StatusCode.BadEventIdUnknown
    refused, status = _REFUSED.get(verb, _NEVER)
    if refused(condition):
        return status
    if verb is ConditionVerb.SHELVE and not 0.0 < duration <= MAX_SHELVING_S:
        return StatusCode.BadShelvingTimeOutOfRange
    return 0


_NAMES_AN_EVENT = frozenset({ConditionVerb.ACKNOWLEDGE, ConditionVerb.CONFIRM, ConditionVerb.COMMENT})
_NEVER: tuple[Callable[[Condition], bool], int] = (lambda _condition: False, 0)
_REFUSED: dict[ConditionVerb, tuple[Callable[[Condition], bool], int]] = {
    ConditionVerb.ACKNOWLEDGE: (lambda condition: condition.acked, StatusCode.BadConditionBranchAlreadyAcked),
    ConditionVerb.CONFIRM: (lambda condition: condition.confirmed, StatusCode.BadConditionBranchAlreadyConfirmed),
    ConditionVerb.SHELVE: (lambda condition: condition.shelving == TIMED, StatusCode.BadConditionAlreadyShelved),
    ConditionVerb.SHELVE_ONCE: (
        lambda condition: condition.shelving == ONE_SHOT,
        StatusCode.BadConditionAlreadyShelved,
    ),
    ConditionVerb.UNSHELVE: (lambda condition: condition.shelving == UNSHELVED, StatusCode.BadConditionNotShelved),
}


def acted(
    condition: Condition,
    verb: ConditionVerb,
    demands: Demands,
    now: int,
    *,
    user: str,
    comment: str | None = None,
    duration: float = 0.0,
) -> tuple[Condition, Change] | None:
    """What a person's act makes of a condition; None when it is so already. The caller has asked `refusal`."""
    if comment is not None:
        condition = replace(condition, comment=comment, comment_user=user, comment_time=now)
    if verb is ConditionVerb.ACKNOWLEDGE:
        confirmed: dict[str, Any] = {"confirmed": False, "confirmed_time": now} if demands.confirm else {}
        return _told(condition, now, user, acked=True, acked_time=now, **confirmed), Change.ACKNOWLEDGED
    if verb is ConditionVerb.CONFIRM:
        return _told(condition, now, user, confirmed=True, confirmed_time=now), Change.CONFIRMED
    if verb is ConditionVerb.COMMENT:
        return _told(condition, now, user), Change.COMMENTED
    if verb in (ConditionVerb.SHELVE, ConditionVerb.SHELVE_ONCE):
        once = verb is ConditionVerb.SHELVE_ONCE
        return shelved(condition, MAX_SHELVING_S if once else duration, now, user, once=once), Change.SHELVED
    if verb is ConditionVerb.UNSHELVE:
        over = unshelved(condition, now, user)
        return None if over is None else (over, Change.UNSHELVED)
    if verb is ConditionVerb.DISABLE:
        return _told(condition, now, user, enabled=False, enabled_time=now), Change.DISABLED
    if verb is ConditionVerb.ENABLE:
        return _enabled(condition, demands, now, user), Change.ENABLED
    suppress = verb is ConditionVerb.SUPPRESS
    if condition.suppressed == suppress:
        return None if comment is None else (_told(condition, now, user), Change.COMMENTED)
    if suppress:
        return _told(condition, now, user, suppressed=True, suppressed_time=now), Change.SUPPRESSED
    since, unseen = condition.suppressed_time, max(condition.active_time, condition.severity_time)
    asking = _asking(condition, now) if _asks_again(condition, demands, unseen >= since) else {}
    return _told(condition, now, user, suppressed=False, suppressed_time=now, **asking), Change.UNSUPPRESSED


def _enabled(condition: Condition, demands: Demands, now: int, user: str) -> Condition:
    since = condition.enabled_time
    unseen = max(condition.active_time, condition.severity_time, condition.suppressed_time)
    asks = not condition.suppressed and _asks_again(condition, demands, unseen >= since)
    return _told(condition, now, user, enabled=True, enabled_time=now, **(_asking(condition, now) if asks else {}))


def _asks_again(condition: Condition, demands: Demands, unseen: bool) -> bool:
    """What happened while it was disabled or suppressed has been seen by nobody: now it asks for acknowledgement."""
    return condition.active and demands.acknowledge and unseen


def _asking(condition: Condition, now: int) -> dict[str, Any]:
    """To be acknowledged, by its new EventId only."""
    more: dict[str, Any] = {"event_id": event_id(), "earlier": ()}
    if condition.acked:
        more.update(acked=False, acked_time=now)
    if not condition.confirmed:
        more.update(confirmed=True, confirmed_time=now)
    return more


def _told(condition: Condition, now: int, user: str, **changes: Any) -> Condition:
    changes = _next_id(condition) | changes
    return replace(condition, user=user, received=now, source_time=now, **changes)


def _next_id(condition: Condition) -> dict[str, Any]:
    return {
        "event_id": event_id(),
        "earlier": (condition.event_id, *condition.earlier[: EVENT_IDS_KEPT - 1]) if condition.event_id else (),
    }
