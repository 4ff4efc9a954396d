"""Contact wear: what each interruption takes of the life of a pole (spec 6.2.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

DEFAULT_ARC_S = 0.010
EXPONENTS = {"vacuum": 1.8, "sf6": 1.7}
"""Exponent of the law of permitted operations by the medium that interrupts; the usual range is 1.5 to 2.2."""
WARN_PERCENT, ALARM_PERCENT = 80.0, 100.0


@dataclass(frozen=True, slots=True)
class WearData:
    """What the maker says about the contacts.

    Attributes:
        rated_current: A.
        breaking_current: rated breaking current, A.
        operations: permitted at up to the rated current (mechanical life).
        breaking_operations: permitted at the rated breaking current.
        exponent: of the law between the two.
        curve: the maker's points (A, permitted operations), ascending in current, at most ten; empty: the law counts.
    """

    rated_current: float
    breaking_current: float
    operations: float
    breaking_operations: float
    exponent: float = EXPONENTS["vacuum"]
    curve: tuple[tuple[float, float], ...] = ()

    def permitted(self, current: float) -> float:
        """Operations permitted at a current in A (rms), a number that need not be whole.

        With a curve: straight lines in log-log between its points, the first and last line extended, never more than
        `operations`. Without: N = N_r (I_r / I)^a above the rated current, N_m up to it.
        """
        current = abs(current)
        if self.curve:
            return _from_curve(self.curve, current, self.operations)
        if current <= self.rated_current:
            return self.operations
        return self.breaking_operations * float((self.breaking_current / current) ** self.exponent)

    def wear(self, current: float) -> float:
        """Percent of the life that one interruption of a current (A, rms) takes: 100 / N(I)."""
        return 100.0 / self.permitted(current)

    def remaining(self, wear_percent: float, current: float) -> int:
        """Operations at a current (A) that are left until the wear is 100 percent."""
        return max(0, math.floor((ALARM_PERCENT - wear_percent) / 100.0 * self.permitted(current) + 1e-9))


def _from_curve(curve: Sequence[tuple[float, float]], current: float, most: float) -> float:
    if current <= curve[0][0] or len(curve) == 1:
        return min(most, curve[0][1]) if current <= curve[0][0] else curve[0][1]
    logs = [(math.log(i), math.log(n)) for i, n in curve]
    x = math.log(current)
    index = next((k for k in range(1, len(logs)) if x <= logs[k][0]), len(logs) - 1)
    (x0, y0), (x1, y1) = logs[index - 1], logs[index]
    return min(most, math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0)))


def arc_i2t(current: float, arc_s: float | None = None) -> float:
    """A² s of an arc at a constant rms current (A) lasting `arc_s` seconds, 10 ms where that is not known."""
    return current * current * (DEFAULT_ARC_S if arc_s is None else arc_s)


def i2t(samples: npt.NDArray[np.float64], step_s: float) -> float:
    """A² s of sampled current (A, momentary values, shape (n,)) by the trapezoidal rule."""
    squares = samples * samples
    return float((squares[:-1] + squares[1:]).sum() / 2.0 * step_s)


def stage(wear_percent: float, warn: float = WARN_PERCENT, alarm: float = ALARM_PERCENT) -> int:
    """0 fine, 1 warning, 2 alarm."""
    return 2 if wear_percent >= alarm else 1 if wear_percent >= warn else 0


POLES = ("A", "B", "C")


@dataclass(slots=True)
class PoleWear:
    """Accumulated wear of the three poles; durable state of one equipment.

    Attributes:
        percent: wear of each pole.
        a2s: sum of I² t of each pole, A² s.
        openings: counted since the start value.
    """

    percent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(POLES, 0.0))
    a2s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(POLES, 0.0))
    openings: int = 0

    def interrupt(self, data: WearData | None, currents: dict[str, float], arc_s: float | None = None) -> None:
        """Count one opening. `currents`: A by pole; a pole that is missing takes the highest of the others.

        Without maker's data only the sum of I² t and the number are kept.
        """
        self.openings += 1
        if not currents:
            currents = dict.fromkeys(POLES, 0.0)
        highest = max(currents.values())
        for pole in POLES:
            current = currents.get(pole, highest)
            self.a2s[pole] += arc_i2t(current, arc_s)
            if data is not None:
                self.percent[pole] += data.wear(current)

    @property
    def worst(self) -> float:
        """Highest wear of the poles, percent."""
        return max(self.percent.values())
