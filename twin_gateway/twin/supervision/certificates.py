"""Certificates: how long they are still valid (spec 9.2, D09)."""

from __future__ import annotations

WARN_D = 30.0
WARN_SEVERITY, EXPIRED_SEVERITY = 500, 900


def certificate_stage(not_after: float, now: float, warn_d: float = WARN_D) -> int:
    """0 valid, 1 expires within 30 days, 2 expired; times in s since 1970."""
    return 2 if now >= not_after else 1 if not_after - now < warn_d * 86_400.0 else 0
