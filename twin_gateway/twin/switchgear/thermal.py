"""Temperature of joints, cable terminations and busbars (spec 6.2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXPONENT = 1.6
LEAST_LOAD = 0.3
PHASE_WARN_K, PHASE_ALARM_K = 10.0, 25.0
WARN_C, ALARM_C = 90.0, 105.0
STEP_K, RATE_K_S = 10.0, 0.2
"""Metal does not get warmer or colder faster than this: a step for noise, and so much in a second."""
CONFIRM_S = 30.0
"""A reading that has jumped counts when it has stayed for so long, unless set otherwise."""


@dataclass(slots=True)
class JointFollower:
    """What is believed of one sensor: no jump that metal cannot make, unless it stays.

    Attributes:
        confirm: s after which a reading that has jumped and stayed counts.
        celsius: the believed temperature, degC; None before there was one.
        doubted: a reading has jumped and has not stayed long enough yet.
    """

    confirm: float = CONFIRM_S
    celsius: float | None = None
    doubted: bool = False
    _at: float = field(default=0.0)
    _since: float = field(default=0.0)

    def take(self, reading: float, now: float) -> float:
        """The temperature to go by after a reading (degC) at a time (s)."""
        believed = self.celsius
        allowed = STEP_K + RATE_K_S * max(0.0, now - self._at)
        if believed is None or abs(reading - believed) <= allowed:
            self.celsius, self._at, self.doubted = reading, now, False
            return reading
        if not self.doubted:
            self.doubted, self._since = True, now
        if now - self._since >= self.confirm:
            self.celsius, self._at, self.doubted = reading, now, False
            return reading
        return believed


def normalised_excess(
    celsius: float, ambient: float, current: float, rated: float, exponent: float = EXPONENT
) -> float | None:
    """Excess over ambient as it would be at rated current, K: dT (I_n / I)^1.6; None below 0.3 I_n."""
    if rated <= 0 or current <= LEAST_LOAD * rated:
        return None
    return (celsius - ambient) * float((rated / current) ** exponent)


@dataclass(frozen=True, slots=True)
class ThermalVerdict:
    """What is to be said of the temperatures of one place.

    Attributes:
        stage: 0 fine, 1 warning, 2 alarm.
        hottest: degC.
        spread: between the hottest and the coldest phase, K; None with one sensor.
        reason: `temperature` or `phases`, whichever made the stage.
    """

    stage: int
    hottest: float
    spread: float | None
    reason: str


def judge(
    celsius: Mapping[str, float], *, warn: float = WARN_C, alarm: float = ALARM_C, by_phase: bool = True
) -> ThermalVerdict | None:
    """Judge temperatures (degC by phase or sensor) of one place; None without any.

    With `by_phase` the sensors sit at the phases of one joint, so that they may be compared.
    """
    if not celsius:
        return None
    hottest = max(celsius.values())
    spread = hottest - min(celsius.values()) if by_phase and len(celsius) > 1 else None
    hot = 2 if hottest > alarm else 1 if hottest > warn else 0
    apart = 0 if spread is None else 2 if spread > PHASE_ALARM_K else 1 if spread > PHASE_WARN_K else 0
    if not hot and not apart:
        return ThermalVerdict(0, hottest, spread, "")
    return ThermalVerdict(max(hot, apart), hottest, spread, "temperature" if hot >= apart else "phases")
