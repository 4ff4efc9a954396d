"""Health index: sub-scores to one figure, class, advice (spec 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

LEAST_CONFIDENCE = 0.6
WEIGHTS: Mapping[str, float] = {
    "wear": 3.0,
    "mechanism": 3.0,
    "drive": 2.0,
    "coil": 1.0,
    "gas": 3.0,
    "discharge": 2.0,
    "thermal": 2.0,
    "age": 1.0,
}
"""Weights of the parts. A part that the switchgear does not have at all (gas in an air switch) is left out of them."""


class Condition(IntEnum):
    """Class of condition; the numbers are those of the enumeration `ConditionKind`."""

    UNKNOWN = 0
    GOOD = 1
    FAIR = 2
    POOR = 3
    CRITICAL = 4
    BLOCKED = 5


HEALTH_KIND: Mapping[Condition, int] = {
    Condition.UNKNOWN: 2,
    Condition.GOOD: 1,
    Condition.FAIR: 1,
    Condition.POOR: 2,
    Condition.CRITICAL: 3,
    Condition.BLOCKED: 3,
}
"""HealthKind of 61850 (1 Ok, 2 Warning, 3 Alarm). Nothing known is no Ok."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict.

    Attributes:
        index: 0 to 100; None without any sub-score.
        confidence: used weight over all weight; below 0.6 the index is uncertain.
        worst_part: name of the part with the lowest score, empty without any.
        advice: a sentence.
    """

    index: float | None
    condition: Condition
    confidence: float
    worst_part: str
    advice: str

    @property
    def kind(self) -> int:
        """HealthKind of 61850."""
        return HEALTH_KIND[self.condition]

    @property
    def certain(self) -> bool:
        """Whether enough parts are known."""
        return self.confidence >= LEAST_CONFIDENCE


def score(value: float, warn: float, alarm: float, good: float = 0.0) -> float:
    """Sub-score 0 to 100 of a figure: 100 up to `good`, 50 at the warning, 30 at the alarm, then on to 0.

    So one part at its warning takes a healthy whole from good to fair, one at its alarm to critical (see `index`).
    Works both ways round: the limits may also lie below `good` (a gas pressure).
    """
    if warn < good or alarm < warn:
        value, warn, alarm, good = -value, -warn, -alarm, -good
    if value <= good:
        return 100.0
    if value <= warn:
        return 100.0 - 50.0 * (value - good) / max(warn - good, 1e-12)
    if value <= alarm:
        return 50.0 - 20.0 * (value - warn) / max(alarm - warn, 1e-12)
    return max(0.0, 30.0 - 30.0 * (value - alarm) / max(alarm - good, 1e-12))


def score_of_stage(stage: int) -> float:
    """Sub-score of a part of which only a verdict is known: 100, 50, 30."""
    return (100.0, 50.0, 30.0)[stage]


def index(scores: Mapping[str, float | None], weights: Mapping[str, float] = WEIGHTS) -> tuple[float | None, float]:
    """(health index, confidence): H = min(sum w s / sum w, 1.25 min s + 10), over the parts with a score.

    Args:
        scores: by part, 0 to 100; None where there is no data.
        weights: of the parts that the switchgear has.
    """
    known = {part: value for part, value in scores.items() if value is not None and part in weights}
    total = sum(weights.values())
    if not known or total <= 0:
        return None, 0.0
    used = sum(weights[part] for part in known)
    mean = sum(weights[part] * value for part, value in known.items()) / used
    return min(mean, 1.25 * min(known.values()) + 10.0), used / total


def condition_of(value: float | None, *, blocked: bool = False) -> Condition:
    """Class of an index: from 85 good, from 70 fair, from 50 poor, else critical; blocked whatever the index says."""
    if blocked:
        return Condition.BLOCKED
    if value is None:
        return Condition.UNKNOWN
    limits = ((85.0, Condition.GOOD), (70.0, Condition.FAIR), (50.0, Condition.POOR))
    return next((found for limit, found in limits if value >= limit), Condition.CRITICAL)


ADVICE: Mapping[str, str] = {
    "wear": "measure the contacts, plan their replacement",
    "mechanism": "inspect and lubricate the mechanism, measure travel and times",
    "drive": "inspect the spring-charging motor, its supply and the tightness of the drive",
    "coil": "measure coil resistance and control voltage",
    "gas": "search the leak, top up the gas",
    "discharge": "locate the discharge, check terminations and humidity",
    "thermal": "check the contact resistance of joints and terminations",
    "age": "exercise the switch, plan maintenance",
}


def assess(
    scores: Mapping[str, float | None], *, blocked: bool = False, weights: Mapping[str, float] = WEIGHTS
) -> Health:
    """The health of one piece of switchgear from its sub-scores."""
    value, confidence = index(scores, weights)
    found = condition_of(value, blocked=blocked)
    known = {part: one for part, one in scores.items() if one is not None and part in weights}
    worst = min(known, key=lambda part: known[part]) if known else ""
    if blocked:
        return Health(value, found, confidence, worst, "operation is blocked: do not switch, find the cause on site")
    if not known:
        return Health(value, found, confidence, worst, "no data: check the sensors and the mapping")
    if known[worst] >= 70.0:
        advice = "nothing to do"
    else:
        advice = ("soon: " if known[worst] < 40.0 else "at the next occasion: ") + ADVICE.get(worst, worst)
    if confidence < LEAST_CONFIDENCE:
        advice += "; only part of it is known"
    return Health(value, found, confidence, worst, advice)
