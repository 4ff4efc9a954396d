"""Reliability indices of interruptions (IEEE Std 1366) and what restoration has saved (spec 3.9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

MINUTES_A_YEAR = 525_600.0
SUSTAINED = 5.0
"""Minutes; longer interruptions are sustained (EN 50160 takes 3)."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """Customers who were without supply for the same time.

    Attributes:
        customers: number.
        minutes: duration.
        power: W that they would have drawn.
    """

    customers: int
    minutes: float
    power: float = 0.0


@dataclass(frozen=True, slots=True)
class Indices:
    """Indices of a period.

    Attributes:
        saifi: sustained interruptions a customer.
        saidi: minutes of sustained interruption a customer.
        caidi: minutes a sustained interruption; 0 without any.
        asai: availability, 0 to 1.
        maifi: momentary interruptions a customer.
        ens: Wh not supplied, in sustained and momentary interruptions.
    """

    saifi: float
    saidi: float
    caidi: float
    asai: float
    maifi: float
    ens: float


def indices(
    interruptions: Iterable[Interruption],
    served: int,
    *,
    period: float = MINUTES_A_YEAR,
    threshold: float = SUSTAINED,
) -> Indices:
    """Indices of some interruptions.

    Args:
        interruptions: of the period.
        served: customers served in all.
        period: minutes.
        threshold: minutes above which an interruption is sustained.

    Raises:
        ValueError: nobody is served.
    """
    if served <= 0:
        raise ValueError("indices need at least one customer served")
    events = list(interruptions)
    lasting = [event for event in events if event.minutes > threshold]
    count = sum(event.customers for event in lasting)
    minutes = sum(event.customers * event.minutes for event in lasting)
    saidi = minutes / served
    return Indices(
        saifi=count / served,
        saidi=saidi,
        caidi=minutes / count if count else 0.0,
        asai=1.0 - saidi / period,
        maifi=sum(event.customers for event in events if 0.0 < event.minutes <= threshold) / served,
        ens=sum(event.power * event.minutes for event in events) / 60.0,
    )


def saved(
    interruptions: Iterable[Interruption],
    served: int,
    repair: float,
    *,
    period: float = MINUTES_A_YEAR,
    threshold: float = SUSTAINED,
) -> Indices:
    """How much lower each index is than if everybody had waited for the repair.

    `asai` is higher; `maifi` is often negative, because what was long has become momentary.

    Args:
        interruptions: as they were.
        served: customers served in all.
        repair: minutes from the fault until everything is repaired.
        period: minutes.
        threshold: minutes above which an interruption is sustained.
    """
    events = list(interruptions)
    waiting = [replace(event, minutes=repair) for event in events]
    had = indices(events, served, period=period, threshold=threshold)
    would = indices(waiting, served, period=period, threshold=threshold)
    return Indices(
        saifi=would.saifi - had.saifi,
        saidi=would.saidi - had.saidi,
        caidi=would.caidi - had.caidi,
        asai=had.asai - would.asai,
        maifi=would.maifi - had.maifi,
        ens=would.ens - had.ens,
    )
