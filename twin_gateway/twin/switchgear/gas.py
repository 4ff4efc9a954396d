"""Insulating gas: density and pressure at 20 degC, liquefaction, leakage (spec 6.2.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.twin.switchgear.robust import Trend, theil_sen

Floats = npt.NDArray[np.float64]
KELVIN = 273.15
NORMAL_K = 293.15
AMBIENT_PA = 101_325.0
YEAR_S = 365.25 * 86_400.0
LEAK_WINDOWS_D = (7.0, 30.0, 90.0)
LEAK_ALARM_PERCENT = 0.5
MOST_K_PER_H = 5.0
_ITERATIONS = 60
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Gas:
    """Equation of state p = R rho T (1 + rho (c0 + c1 (300/T) + c2 (300/T)^2 + c3 rho)); all c zero: ideal gas.

    Attributes:
        constant: specific gas constant, J/(kg K).
        coefficients: c0, c1, c2 in m3/kg, c3 in m6/kg2.
        saturation: (density kg/m3, degC below which that density condenses), ascending; empty: it does not here.
    """

    name: str
    constant: float
    coefficients: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    saturation: tuple[tuple[float, float], ...] = ()


SF6 = Gas(
    "sf6",
    56.9268,
    (-8.4607e-5, 6.8185e-4, -2.4475e-3, 6.9192e-7),
    ((30.0, -38.4), (40.0, -30.3), (50.0, -23.7)),
)
"""Fitted to a reference equation: 0.07 percent for -40 to 80 degC and 1 to 60 kg/m3, gas phase only."""
_MOLAR = 8.314462618
GASES = {
    "sf6": SF6,
    "air": Gas("air", _MOLAR / 0.0289647),
    "n2": Gas("n2", _MOLAR / 0.0280134),
    "co2": Gas("co2", _MOLAR / 0.0440095),
}
"""Gases known by name; mixtures are described by their own constant and coefficients."""


def _correction(gas: Gas, density: Floats, kelvin: Floats) -> Floats:
    c0, c1, c2, c3 = gas.coefficients
    t = 300.0 / kelvin
    return 1.0 + density * (c0 + c1 * t + c2 * t * t + c3 * density)


def pressure(gas: Gas, density: Floats | float, celsius: Floats | float) -> Floats:
    """Absolute pressure, Pa, of a density (kg/m3) at a temperature (degC); arrays of one shape."""
    rho, kelvin = np.asarray(density, float), np.asarray(celsius, float) + KELVIN
    return np.asarray(gas.constant * rho * kelvin * _correction(gas, rho, kelvin))


def density(gas: Gas, absolute: Floats | float, celsius: Floats | float) -> Floats:
    """Density, kg/m3, by fixed point from p/(R T); not a number where it does not converge (no gas phase there)."""
    p, kelvin = np.asarray(absolute, float), np.asarray(celsius, float) + KELVIN
    with np.errstate(all="ignore"):
        ideal = p / (gas.constant * kelvin)
        rho = ideal
        for _ in range(_ITERATIONS):
            previous, rho = rho, ideal / _correction(gas, rho, kelvin)
            moved = np.abs(rho - previous)
            if not (moved > _TOLERANCE * np.abs(rho)).any():
                break
        settled = np.isfinite(rho) & (rho > 0) & (moved <= 1e-6 * np.abs(rho))
    return np.where(settled & (p > 0) & (kelvin > 0), rho, np.nan)


def at_20(gas: Gas, absolute: Floats | float, celsius: Floats | float) -> Floats:
    """Absolute pressure at 20 degC, Pa, of the same amount of gas."""
    rho = density(gas, absolute, celsius)
    return pressure(gas, rho, np.full(np.shape(rho), NORMAL_K - KELVIN))


def absolute(gauge: float, ambient: float | None = None, altitude: float = 0.0) -> float:
    """Absolute pressure, Pa, of a gauge pressure; ambient as measured, else standard atmosphere at `altitude` m."""
    return gauge + (ambient_pressure(altitude) if ambient is None else ambient)


def ambient_pressure(altitude: float) -> float:
    """Pa of the standard atmosphere (ISO 2533) at an altitude in m."""
    return float(AMBIENT_PA * (1.0 - 2.25577e-5 * altitude) ** 5.25588)


def condensation_point(gas: Gas, rho: float) -> float:
    """Temperature in degC below which gas of a density condenses; minus infinity where it never does here.

    Between the known points ln(rho) is linear in 1/T (Clausius-Clapeyron), the outer lines are extended.
    """
    if not gas.saturation or not rho > 0:
        return -math.inf
    logs = [(math.log(r), 1.0 / (t + KELVIN)) for r, t in gas.saturation]
    x = math.log(rho)
    index = next((k for k in range(1, len(logs)) if x <= logs[k][0]), len(logs) - 1)
    (x0, y0), (x1, y1) = logs[index - 1], logs[index]
    return 1.0 / (y0 + (y1 - y0) * (x - x0) / (x1 - x0)) - KELVIN


def condensing(gas: Gas, known_density: float, celsius: float) -> bool:
    """Whether gas of a known filling condenses: a density computed from pressure is then not the filling."""
    return celsius < condensation_point(gas, known_density)


@dataclass(frozen=True, slots=True)
class GasLimits:
    """Stages from the nameplate, absolute Pa at 20 degC; there is no general default."""

    fill: float
    alarm: float
    block: float


def stage(p20: float, limits: GasLimits) -> int:
    """0 fine, 1 alarm, 2 block."""
    return 2 if p20 <= limits.block else 1 if p20 <= limits.alarm else 0


def in_equilibrium(times: Floats, celsius: Floats, most_k_per_h: float = MOST_K_PER_H) -> npt.NDArray[np.bool_]:
    """Which samples (times in s ascending, degC, shape (n,)) may be used.

    Where it warms or cools too fast the gas has another temperature than the sensor: a sample counts when the change
    since the one before is slow enough.
    """
    usable = np.ones(len(times), bool)
    if len(times) > 1:
        hours = np.maximum(np.diff(times), 1.0) / 3600.0
        usable[1:] = np.abs(np.diff(celsius)) / hours <= most_k_per_h
        usable[0] = usable[1]
    return usable


@dataclass(frozen=True, slots=True)
class Leak:
    """A trend of the pressure at 20 degC.

    Attributes:
        percent_per_year: positive when gas is lost, of the filling pressure.
        window_d: days of history it was found in.
        significant: the trend is more than noise (Mann-Kendall, 1 percent).
        days_to_alarm: until the alarm pressure is reached; None when it is not leaking significantly.
    """

    percent_per_year: float
    window_d: float
    significant: bool
    days_to_alarm: float | None
    trend: Trend

    @property
    def alarming(self) -> bool:
        """Whether more than half a percent a year is lost, and surely."""
        return self.significant and self.percent_per_year > LEAK_ALARM_PERCENT


def leak(
    times: Floats, p20: Floats, limits: GasLimits, now: float, windows_d: Sequence[float] = LEAK_WINDOWS_D
) -> Leak | None:
    """Leakage over the shortest window with a significant loss, else over the longest that has data.

    Args:
        times: s, ascending; shape (n,).
        p20: Pa at 20 degC of samples in equilibrium; shape (n,).
        limits: of the nameplate.
        now: s.
        windows_d: days of history to look at, the shortest first.

    Returns:
        None when no window is at least half covered by five samples or more.
    """
    last: Leak | None = None
    for days in windows_d:
        inside = times > now - days * 86_400.0
        if inside.sum() < 5 or now - times[inside][0] < days * 43_200.0:
            continue
        trend = theil_sen(times[inside] - now, p20[inside])
        if trend is None:
            continue
        rate = -trend.slope * YEAR_S / limits.fill * 100.0
        to_alarm = None
        if trend.significant and trend.slope < 0:
            to_alarm = max(0.0, (trend.level - limits.alarm) / -trend.slope / 86_400.0)
        last = Leak(rate, days, trend.significant, to_alarm, trend)
        if last.alarming:
            return last
    return last
