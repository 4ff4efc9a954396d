"""Customers on a low-voltage street: what they draw over the day, what their meter counts. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

_SHAPES = {
    "house": (0.45, 0.55, 19.5),
    "shop": (0.25, 0.75, 14.0),
    "school": (0.20, 0.80, 11.0),
    "pump": (0.70, 0.30, 6.0),
}
"""Share that is always drawn, share that swings with the hour, hour of the peak."""
_RESTLESS = 0.06
_MEMORY_S = 90.0
_PHASES = ((0.38, 0.33, 0.29), (0.30, 0.37, 0.33), (0.33, 0.29, 0.38), (0.34, 0.33, 0.33))


def shape(kind: str, hour: float) -> float:
    """Load over the day, 0 to 1, of a kind of customer."""
    base, swing, peak = _SHAPES[kind]
    return base + swing * 0.5 * (1.0 + math.cos((hour - peak) * math.pi / 12.0))


def sun(hour: float) -> float:
    """Output of a photovoltaic roof over the day, 0 to 1, on a clear day."""
    return max(0.0, math.sin((hour - 6.0) * math.pi / 12.0))


@dataclass(slots=True)
class Energy:
    """Counters of a meter: Wh and varh, drawn from the grid (`drawn`) and given to it (`given`)."""

    drawn: float = 0.0
    given: float = 0.0
    reactive_drawn: float = 0.0
    reactive_given: float = 0.0

    def count(self, watts: float, var: float, seconds: float) -> None:
        """Count what flows for some time."""
        hours = seconds / 3600.0
        self.drawn += max(watts, 0.0) * hours
        self.given += max(-watts, 0.0) * hours
        self.reactive_drawn += max(var, 0.0) * hours
        self.reactive_given += max(-var, 0.0) * hours


@dataclass(slots=True)
class Customer:
    """One connection point with its meter.

    Attributes:
        site: name of the connection point.
        kind: see `shape`.
        peak: W.
        roof: peak of a photovoltaic roof, W.
        ohm: resistance of the street up to here, a phase.
        phases: share of each phase.
        power_factor: of what is drawn.
        connected: position of the disconnector in the meter.
        watts, amperes, volts: of each phase, watts negative when given to the grid.
    """

    site: str
    kind: str
    peak: float
    roof: float = 0.0
    ohm: float = 0.02
    phases: tuple[float, float, float] = _PHASES[0]
    power_factor: float = 0.97
    connected: bool = True
    energy: Energy = field(default_factory=Energy)
    watts: list[float] = field(default_factory=lambda: [0.0] * 3)
    amperes: list[float] = field(default_factory=lambda: [0.0] * 3)
    volts: list[float] = field(default_factory=lambda: [0.0] * 3)
    unrest: float = 0.0

    @property
    def power(self) -> float:
        """W, negative when given to the grid."""
        return sum(self.watts)

    @property
    def reactive(self) -> float:
        """var; a roof gives none."""
        return max(self.power, 0.0) * math.tan(math.acos(self.power_factor))

    @property
    def loss(self) -> float:
        """W lost in the street up to here."""
        return self.ohm * sum(current * current for current in self.amperes)

    def step(self, volts: float, hour: float, seconds: float, noise: random.Random) -> None:
        """Draw for some time from a street with a voltage (phase to neutral at the transformer); 0 is an outage."""
        fade = math.exp(-seconds / _MEMORY_S)
        self.unrest = self.unrest * fade + noise.gauss(0.0, _RESTLESS) * math.sqrt(1.0 - fade * fade)
        wanted = self.peak * shape(self.kind, hour) * max(0.2, 1.0 + self.unrest) - self.roof * sun(hour)
        for phase, share in enumerate(self.phases):
            watts = wanted * share if volts and self.connected else 0.0
            # The voltage at the end of a resistance that carries a given power.
            here = 0.5 * (volts + math.sqrt(max(0.0, volts * volts - 4.0 * self.ohm * watts)))
            factor = self.power_factor if watts > 0 else 1.0
            self.watts[phase] = watts
            self.volts[phase] = here
            self.amperes[phase] = abs(watts) / (here * factor) if here else 0.0
        self.energy.count(self.power, self.reactive, seconds)


def street(area: str, roofs: tuple[int, ...] = (4,)) -> list[Customer]:
    """The nine customers of a low-voltage area; those numbered in `roofs` have a photovoltaic roof."""
    kinds = ("house", "house", "shop", "house", "school", "house", "pump", "house", "shop")
    peaks = (42e3, 38e3, 61e3, 24e3, 55e3, 46e3, 18e3, 35e3, 27e3)
    found = []
    for number, (kind, peak) in enumerate(zip(kinds, peaks, strict=True), 1):
        customer = Customer(
            f"SP{area}{number:02}",
            kind,
            peak,
            roof=60e3 if number in roofs else 0.0,
            ohm=0.008 + 0.003 * number,
            phases=_PHASES[number % len(_PHASES)],
        )
        customer.energy.drawn = peak * 1000.0 + 137.0 * number
        customer.energy.reactive_drawn = peak * 210.0
        if customer.roof:
            customer.energy.given = 3_512_000.0
        found.append(customer)
    return found
