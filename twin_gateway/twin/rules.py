"""Rules: which value of which data object is which condition. Tables of rules are data, this is how they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from functools import lru_cache

Value = bool | int | float | str


class DeviceState(IntEnum):
    """State of a device; the numbers are those of the enumeration `DeviceStateKind` and rise with precedence."""

    UNKNOWN = 0
    INITIALISING = 1
    OK = 2
    DEGRADED = 3
    LOCAL = 4
    TEST = 5
    FAULT = 6
    UNREACHABLE = 7
    RETIRED = 8


class Check(StrEnum):
    """How a value is looked at."""

    TRUE = "true"  # holds while true
    FALSE = "false"  # holds while false
    IN = "in"  # holds while one of `values`
    ABOVE = "above"  # holds from values[0] on until below values[1]
    BELOW = "below"  # holds from values[0] down until above values[1]
    DIFFERS = "differs"  # holds while it is not what the data object `other` beside it says
    RISES = "rises"  # happens when a counter steps up
    BECOMES = "becomes"  # happens when it becomes one of `values`


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table of conditions.

    Attributes:
        ln: regular expression that the class of the logical node must match as a whole (`LPHD`, `P(TOC|IOC)`).
        data: data object, with its part where there is one (`PhyHealth`, `PhyNam/serNum`).
        test, values, other: see `Check`.
        code: of the alarm list; empty: the rule makes a state of the device and no alarm.
        severity: 1 to 1000.
        text: a sentence without the place, which is told by the address.
        delay: s for which it must hold.
        hold: s for which a counter that rose keeps the alarm; 0: it is an event without a state.
        state: what it makes of the device that the data object belongs to.
    """

    ln: str
    data: str
    test: Check
    code: str
    severity: int
    text: str
    values: tuple[float, ...] = ()
    other: str = ""
    delay: float = 0.0
    hold: float = 0.0
    state: DeviceState = DeviceState.OK

    def holds(self, value: Value, before: Value | None, active: bool, other: Value | None = None) -> bool:
        """Whether the condition holds (or has just happened).

        Args:
            value: as it is now.
            before: as it was, None for the first value; a first value makes nothing happen.
            active: whether the condition held before, for the limits with hysteresis.
            other: value of the data object beside it.
        """
        if self.test is Check.DIFFERS:
            return other is not None and value != other
        if isinstance(value, str):
            return False
        match self.test:
            case Check.TRUE:
                return bool(value)
            case Check.FALSE:
                return not value
            case Check.IN:
                return float(value) in self.values
            case Check.ABOVE:
                return value >= self.values[0] or (active and value >= self.values[-1])
            case Check.BELOW:
                return value <= self.values[0] or (active and value <= self.values[-1])
            case Check.RISES:
                return before is not None and not isinstance(before, str) and value > before
            case Check.BECOMES:
                return before is not None and before != value and float(value) in self.values
        raise AssertionError(self.test)

    @property
    def momentary(self) -> bool:
        """Whether it happens rather than holds."""
        return self.test in (Check.RISES, Check.BECOMES)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a value means under one code: the rule that holds, None when none does any more."""

    code: str
    rule: Rule | None


class RuleTable:
    """The rules, found by the class of a logical node and the data object. Of rules with one code the first counts.

    Raises:
        ValueError: a limit is missing.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        for rule in self.rules:
            if rule.test in (Check.IN, Check.BECOMES, Check.ABOVE, Check.BELOW) and not rule.values:
                raise ValueError(f"{rule.ln}/{rule.data}: the test {rule.test} needs values")
        self._patterns = [(re.compile(rule.ln + r"\Z"), rule) for rule in self.rules]
        self._found = lru_cache(maxsize=16_384)(self._find)

    def of(self, ln_class: str, data: str) -> tuple[Rule, ...]:
        """Rules for a data object (with its part), in the order of the table."""
        return self._found(ln_class, data)

    def _find(self, ln_class: str, data: str) -> tuple[Rule, ...]:
        # Data objects that may occur many times carry a number (TmChSt1), as in the catalogue.
        names = {data, data.rstrip("0123456789")}
        return tuple(rule for pattern, rule in self._patterns if rule.data in names and pattern.match(ln_class))

    def with_limits(self, limits: dict[tuple[str, str], tuple[float, ...]]) -> RuleTable:
        """The table with other limits for some (class, data object)."""
        return RuleTable(
            replace(rule, values=limits[rule.ln, rule.data]) if (rule.ln, rule.data) in limits else rule
            for rule in self.rules
        )

    def with_times(self, delays: dict[str, float], hold: float | None = None) -> RuleTable:
        """The table with other delays by code, for rules that have one, and another hold (s) for rising counters."""
        changed = (
            replace(rule, delay=delays.get(rule.code, rule.delay)) if rule.delay else rule for rule in self.rules
        )
        return RuleTable(replace(rule, hold=hold) if rule.hold and hold is not None else rule for rule in changed)


def judge(
    rules: Sequence[Rule],
    value: Value,
    before: Value | None,
    active: frozenset[str] = frozenset(),
    other: Value | None = None,
) -> tuple[list[Verdict], list[Rule]]:
    """(verdict of each code that has a state, rules that have just happened), of the rules of one data object.

    Rules without a code but with a device state have a verdict under `state:<name>`.
    """
    verdicts: dict[str, Rule | None] = {}
    happened: list[Rule] = []
    for rule in rules:
        code = rule.code or f"state:{rule.state.name}"
        if rule.momentary:
            if rule.holds(value, before, False):
                happened.append(rule)
        elif verdicts.get(code) is None:
            verdicts[code] = rule if rule.holds(value, before, code in active, other) else None
    return [Verdict(code, rule) for code, rule in verdicts.items()], happened
