"""Energy meters: what they see of the grid, what they count, and the quarter hours before the start. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.model import Meter

Complex = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class MeterState:
    """One meter.

    Attributes:
        model: record of the grid model.
        members: rows of the loads and generators behind it; empty for meters at transformers and switches.
        volts, amperes: of the phases A, B, C.
        power: W + j var by phase, positive when drawn out of the network (`direction` has been applied).
        drawn, given: Wh counted so far; `reactive_drawn`, `reactive_given` varh.
        connected: position of its disconnector.
        bypass: share of the load that flows past it, 0 to 1.
    """

    model: Meter
    members: tuple[int, ...] = ()
    volts: Floats = field(default_factory=lambda: np.zeros(3))
    amperes: Floats = field(default_factory=lambda: np.zeros(3))
    power: Complex = field(default_factory=lambda: np.zeros(3, complex))
    drawn: float = 0.0
    given: float = 0.0
    reactive_drawn: float = 0.0
    reactive_given: float = 0.0
    connected: bool = True
    bypass: float = 0.0

    @property
    def total(self) -> complex:
        """W + j var of all phases."""
        return complex(self.power.sum())

    def measure(self, volts: Floats, power: Complex) -> None:
        """Take the present voltages and the power that flows past it, before any bypass."""
        phases = self.model.phases.replace("N", "")
        if len(phases) == 1:
            # A meter with one phase calls it phase A, whichever it is connected to.
            order = "ABC".index(phases)
            volts = np.array([volts[order], 0.0, 0.0])
            power = np.array([power[order], 0.0, 0.0])
        self.volts = volts
        self.power = power * (1.0 - self.bypass) * self.model.direction
        self.amperes = np.where(volts > 1.0, np.abs(self.power) / np.maximum(volts, 1.0), 0.0)

    def count(self, seconds: float) -> None:
        """Count what flows for some time: the sum of the phases, as a meter with balancing registers."""
        hours, total = seconds / 3600.0, self.total
        self.drawn += max(total.real, 0.0) * hours
        self.given += max(-total.real, 0.0) * hours
        self.reactive_drawn += max(total.imag, 0.0) * hours
        self.reactive_given += max(-total.imag, 0.0) * hours
