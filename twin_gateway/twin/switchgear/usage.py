"""Operations since maintenance and time without operation (spec 6.2.8)."""

from __future__ import annotations

IDLE_LIMIT_H = 365.25 * 24.0
"""Twelve months: longer without operation, and a switch should be exercised."""


def since_maintenance(counter: int, at_maintenance: int) -> int:
    """Operations since the last maintenance; a counter that starts anew counts from zero."""
    return counter - at_maintenance if counter >= at_maintenance else counter


def idle_hours(last_operation: float, now: float) -> float:
    """Hours since the last operation (times in s), never negative."""
    return max(0.0, now - last_operation) / 3600.0


def needs_exercise(hours: float, limit: float = IDLE_LIMIT_H) -> bool:
    """Whether it has stood too long."""
    return hours > limit
