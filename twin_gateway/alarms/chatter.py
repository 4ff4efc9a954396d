"""Chattering: a condition that becomes active more than ten times a minute, and how it is kept from being told."""

from __future__ import annotations

from twin_gateway.alarms.machine import Change

MOST_PER_MINUTE = 10
MINUTE_S = 60.0
SHELVED_S = 600.0
"""How long the gateway shelves what chatters."""
SPEAKS_EVERY_S = MINUTE_S / MOST_PER_MINUTE
_BY_ITS_SOURCE = frozenset({Change.ACTIVE, Change.INACTIVE, Change.SUPPRESSED})


class Chatter:
    """Beginnings of one condition within the last minute, and when it may speak next while it is kept quiet.

    Args:
        begun: when it began for the first time, s.
    """

    __slots__ = ("_begun", "_speaks_at")

    def __init__(self, begun: float) -> None:
        self._begun = [begun]
        self._speaks_at: float | None = None

    def began(self, now: float) -> bool:
        """It became active; whether that makes more than ten within a minute. `now` in s, monotonic."""
        self._begun = [*self._begun[-MOST_PER_MINUTE:], now]
        return len(self._begun) > MOST_PER_MINUTE and now - self._begun[0] <= MINUTE_S

    def quiet(self, now: float) -> None:
        """From now on it speaks at most ten times a minute."""
        self._speaks_at = now + SPEAKS_EVERY_S

    def holds_back(self, change: Change, now: float) -> bool:
        """Whether a change is not told now; the newest of them is told when it may speak again."""
        return change in _BY_ITS_SOURCE and not self.may_speak(now)

    def may_speak(self, now: float) -> bool:
        """Whether its turn has come; that takes the turn."""
        if self._speaks_at is None:
            return True
        if now < self._speaks_at:
            return False
        self._speaks_at = now + SPEAKS_EVERY_S
        return True
