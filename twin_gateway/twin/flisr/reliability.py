"""Expected reliability of radial feeders by failure modes and effects (Billinton and Allan; checked on RBTS bus 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HOURS_A_YEAR = 8760.0


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """Consumers at the end of a lateral.

    Attributes:
        customers: number.
        power: W, average.
        lateral: km of line between the main line and them.
        section: which section of the main line the lateral leaves at its end, from 0.
        transformer: a transformer of the utility feeds them.
    """

    customers: int
    power: float
    lateral: float
    section: int
    transformer: bool = True


@dataclass(frozen=True, slots=True)
class RadialFeeder:
    """A main line in sections with laterals.

    Attributes:
        main: km of each section, from the source.
        points: load points.
    """

    main: tuple[float, ...]
    points: tuple[LoadPoint, ...]


@dataclass(frozen=True, slots=True)
class FailureData:
    """Rates and times.

    Attributes:
        line_rate: failures a km and year.
        line_repair: h.
        transformer_rate: failures a year.
        transformer_repair: h of repair or replacement.
        switching: h until a fault is isolated and what can be fed again is fed.
        fuses: laterals are fused; else their faults interrupt the feeder.
        disconnectors: the main line can be parted between any two sections.
        alternative: a tie at the end of the main line can feed it.
    """

    line_rate: float
    line_repair: float
    transformer_rate: float
    transformer_repair: float
    switching: float
    fuses: bool = True
    disconnectors: bool = True
    alternative: bool = True


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a load point, or a system, has to expect.

    Attributes:
        saifi: interruptions a year (a customer).
        saidi: h a year (a customer).
        caidi: h an interruption; 0 without any.
        asai: availability, 0 to 1.
        ens: Wh a year not supplied.
    """

    saifi: float
    saidi: float
    caidi: float
    asai: float
    ens: float


def expectation(feeders: Iterable[RadialFeeder], data: FailureData) -> Expectation:
    """Indices of a system: those of the load points, weighted by customers.

    Raises:
        ValueError: there are no customers.
    """
    customers, interruptions, hours, energy = 0, 0.0, 0.0, 0.0
    for feeder in feeders:
        for point, (rate, outage) in zip(feeder.points, point_outages(feeder, data), strict=True):
            customers += point.customers
            interruptions += rate * point.customers
            hours += outage * point.customers
            energy += outage * point.power
    if not customers:
        raise ValueError("indices need at least one customer")
    saidi = hours / customers
    return Expectation(
        saifi=interruptions / customers,
        saidi=saidi,
        caidi=hours / interruptions if interruptions else 0.0,
        asai=1.0 - saidi / HOURS_A_YEAR,
        ens=energy,
    )


def point_outages(feeder: RadialFeeder, data: FailureData) -> list[tuple[float, float]]:
    """Of each load point: interruptions a year and hours a year without supply."""
    result = []
    for point in feeder.points:
        rate = outage = 0.0
        for section, length in enumerate(feeder.main):
            failures = length * data.line_rate
            rate += failures
            outage += failures * _hours(data, section, point.section, data.line_repair)
        for other in feeder.points:
            own = other is point
            if not own and data.fuses:
                continue
            failures = other.lateral * data.line_rate
            rate += failures
            outage += failures * (
                data.line_repair if own else _hours(data, other.section, point.section, data.line_repair)
            )
            if other.transformer:
                rate += data.transformer_rate
                outage += data.transformer_rate * (
                    data.transformer_repair
                    if own
                    else _hours(data, other.section, point.section, data.transformer_repair)
                )
        result.append((rate, outage))
    return result


def _hours(data: FailureData, failed: int, fed: int, repair: float) -> float:
    """Hours that a load point at one section waits when another section, or what hangs unfused from it, has failed."""
    if not data.disconnectors or failed == fed:
        return repair
    if failed < fed:
        # nearer to the source: only a tie can feed it before the repair
        return data.switching if data.alternative else repair
    return data.switching
