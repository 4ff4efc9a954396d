"""What people want to do to a condition: which rights it takes, what the audit keeps of it, what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from address_space.conditions import Condition
from address_space.ports import AuditRecord, Caller, ConditionVerb, Right
from twin_gateway.alarms import machine
from twin_gateway.alarms.machine import Change, Demands

MAX_COMMENT = 1000
MAX_LOCALE = 100
_SHELVES = (Right.SUPERVISE, Right.CONFIGURE)

RIGHTS: Mapping[ConditionVerb, tuple[Right, ...]] = {
    ConditionVerb.ACKNOWLEDGE: (Right.OPERATE,),
    ConditionVerb.CONFIRM: (Right.OPERATE,),
    ConditionVerb.COMMENT: (Right.OPERATE,),
    ConditionVerb.SHELVE: _SHELVES,
    ConditionVerb.SHELVE_ONCE: _SHELVES,
    ConditionVerb.UNSHELVE: _SHELVES,
    ConditionVerb.SUPPRESS: _SHELVES,
    ConditionVerb.UNSUPPRESS: _SHELVES,
    ConditionVerb.ENABLE: (Right.CONFIGURE,),
    ConditionVerb.DISABLE: (Right.CONFIGURE,),
}
"""Any of these rights on the source is enough (spec 9.1: operators acknowledge, supervisors and engineers shelve)."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act; members as of `ConditionStore.act`."""

    verb: ConditionVerb
    caller: Caller
    event_id: bytes | None = None
    comment: str | None = None
    locale: str = ""
    duration: float = 0.0

    @property
    def legible(self) -> bool:
        """Whether the comment is a line of text, and its locale the name of one, that an audit can keep."""
        comment, locale = self.comment or "", self.locale
        return len(comment) <= MAX_COMMENT and len(locale) <= MAX_LOCALE and f"{comment}{locale}".isprintable()

    def refusal(self, condition: Condition) -> int:
        """0, or the StatusCode with which the condition refuses it as it is."""
        return machine.refusal(condition, self.verb, self.event_id, self.duration)

    def record(self, condition: Condition, now: int) -> AuditRecord:
        """What the audit keeps of it."""
        details: dict[str, Any] = {"condition": condition.id, "roles": sorted(self.caller.roles)}
        if self.comment is not None:
            details |= {"comment": self.comment, "locale": self.locale}
        if self.verb is ConditionVerb.SHELVE:
            details["seconds"] = self.duration
        kind, caller = f"condition.{self.verb.replace(' ', '-')}", self.caller
        return AuditRecord(now, kind, caller.user, caller.client, condition.address, details=details)

    def done(self, condition: Condition, demands: Demands, now: int) -> tuple[Condition, Change] | None:
        """The condition afterwards; None when it is so already."""
        user, comment, duration = self.caller.user, self.comment, self.duration
        return machine.acted(condition, self.verb, demands, now, user=user, comment=comment, duration=duration)
