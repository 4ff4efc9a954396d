"""Alarm rules of points: the `alarm:` of a point line, its fields checked and made fit for the kind of value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from address_space import units
from address_space.address import AddressError, parse
from address_space.catalogue import ValueType, enumeration
from address_space.point import PointProfile
from twin_gateway.mapping.field_error import FieldError, bool_value, kind_of
from twin_gateway.mapping.fields import (
    Check,
    choice_value,
    difference_value,
    duration_value,
    quantity_value,
    text_value,
)
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import Seq

LIMITS: Final = ("lolo", "lo", "hi", "hihi")
"""In the order in which their values must rise."""
CLASSES: Final = ("Process", "Maintenance", "System", "Safety")
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,7}\Z")
_MOST_NORMAL: Final = 64
_DEFAULT_CODES: Final = {"limits": "A01", "normal": "A02", "target": "A03"}

Quantity = tuple[float, units.Unit | None]


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """One rule of one point; numbers in published units.

    Attributes:
        code: of the alarm list; own rules are A01 (limits), A02 (off normal) and A03 (discrepancy) unless given.
        limits: lolo, lo, hi, hihi; None where there is none. Empty for a rule without limits.
        hysteresis: how far a value must come back from a limit until that is over.
        exclusive: one limit at a time (ExclusiveLimit), else an outer one means the inner one too (NonExclusiveLimit).
        normal: values that are normal; anything else is an alarm. Empty for a rule of another kind.
        target: address of the point that this one should agree with; empty for a rule of another kind.
        tolerance: how far the two may be apart.
        delay: s that it must last.
        severity, severity_outer: 1 to 1000; the outer one is that of lolo and hihi. 0 leaves it to the alarm list.
        condition_class: empty leaves it to the alarm list; so does None of `acknowledge` and `confirm`.
        text: what it is about, for people; empty for the point's own name.
    """

    code: str
    limits: tuple[float | None, ...] = ()
    hysteresis: float = 0.0
    exclusive: bool = True
    normal: tuple[int, ...] = ()
    target: str = ""
    tolerance: float = 0.0
    delay: float = 0.0
    severity: int = 0
    severity_outer: int = 0
    condition_class: str = ""
    text: str = ""
    acknowledge: bool | None = None
    confirm: bool | None = None


class RuleError(ValueError):
    """The rule does not fit the point; `inside` names the field at fault."""

    def __init__(self, inside: str, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.inside = inside
        self.code = code
        self.hint = hint


def _severity(value: Any) -> int:
    if type(value) is not int:
        raise FieldError("TG203", f"a whole number expected, not {kind_of(value)}")
    if not 1 <= value <= 1000:
        raise FieldError("TG206", f"{value} is not between 1 and 1000")
    return value


def _code(value: Any) -> str:
    text = text_value(value)
    if not _CODE.match(text):
        raise FieldError(
            "TG207", f"'{text}' does not have the right form", "two to eight capitals and digits, as in P08"
        )
    return text


def _normal(value: Any) -> tuple[bool | int | str, ...]:
    items = value if isinstance(value, Seq) else [value]
    if not items:
        raise FieldError("TG207", "at least one normal value is needed")
    for item in items:
        if type(item) not in (bool, int, str):
            raise FieldError("TG203", f"true, false, a number or the name of a state expected, not {kind_of(item)}")
    return tuple(items)


def _address(value: Any) -> str:
    text = text_value(value)
    try:
        parse(text)
    except AddressError as error:
        raise FieldError("TG401", f"'{text}' is not an address: {error}") from error
    return text


ALARM_FIELDS: Mapping[str, Check] = {
    **dict.fromkeys(LIMITS, quantity_value),
    **dict.fromkeys(("hysteresis", "tolerance"), difference_value),
    "exclusive": bool_value,
    "normal": _normal,
    "target": _address,
    "delay": duration_value,
    "severity": _severity,
    "severity_outer": _severity,
    "code": _code,
    "class": lambda value: choice_value(value, CLASSES),
    "text": text_value,
    "acknowledge": bool_value,
    "confirm": bool_value,
}
"""Check of each field of `alarm:`."""


def make_rule(fields: Mapping[str, Any], profile: PointProfile, tail: str) -> AlarmRule:
    """The rule of checked fields for a point with a profile; `tail` names the point in messages.

    Raises:
        RuleError: it fits neither the kind of value nor its unit, or says nothing.
    """
    kind = _kind(fields, tail)
    foreign = _OF[kind]
    for name in fields:
        if name in _BELONGS and _BELONGS[name] != kind:
            raise RuleError(name, "TG513", f"'{name}' does not go with {foreign}")
    more = _MADE[kind](fields, profile, tail)
    return AlarmRule(
        code=fields.get("code", _DEFAULT_CODES[kind]),
        delay=fields.get("delay", 0.0),
        severity=fields.get("severity", 0),
        condition_class=fields.get("class", ""),
        text=fields.get("text", ""),
        acknowledge=fields.get("acknowledge"),
        confirm=fields.get("confirm"),
        **more,
    )


_OF = {"limits": "limits", "normal": "'normal'", "target": "'target'"}
_BELONGS = {
    **dict.fromkeys((*LIMITS, "hysteresis", "exclusive", "severity_outer"), "limits"),
    "normal": "normal",
    "target": "target",
    "tolerance": "target",
}


def _kind(fields: Mapping[str, Any], tail: str) -> str:
    for name in fields:
        if name in LIMITS:
            return "limits"
        if name in ("normal", "target"):
            return name
    hint = "a limit (hihi, hi, lo, lolo), normal or target"
    raise RuleError("", "TG513", f"the alarm of {tail} says nothing that could be wrong", hint)


def _limits(fields: Mapping[str, Any], profile: PointProfile, tail: str) -> dict[str, Any]:
    if profile.value_type is not ValueType.DOUBLE:
        name = next(name for name in fields if name in LIMITS)
        raise RuleError(name, "TG509", f"{tail} is no measured value: it has no limits", "normal?")
    limits: list[float | None] = []
    highest = ("", float("-inf"))
    for name in LIMITS:
        if name not in fields:
            limits.append(None)
            continue
        value = _published(name, fields[name], profile, tail, difference=False)
        if value <= highest[1]:
            raise RuleError(name, "TG513", f"{name} is not above {highest[0]}")
        highest = (name, value)
        limits.append(value)
    hysteresis = 0.0
    if "hysteresis" in fields:
        hysteresis = _published("hysteresis", fields["hysteresis"], profile, tail, difference=True)
        given = [value for value in limits if value is not None]
        if any(above - below <= hysteresis for below, above in pairwise(given)):
            raise RuleError("hysteresis", "TG513", "the limits are nearer to each other than the hysteresis")
    severity = fields.get("severity", 0)
    return {
        "limits": tuple(limits),
        "hysteresis": hysteresis,
        "exclusive": fields.get("exclusive", True),
        "severity_outer": fields.get("severity_outer", severity),
    }


def _normals(fields: Mapping[str, Any], profile: PointProfile, tail: str) -> dict[str, Any]:
    if profile.value_type in (ValueType.DOUBLE, ValueType.STRING):
        what = "a measured value: it has limits" if profile.value_type is ValueType.DOUBLE else "a text"
        raise RuleError("normal", "TG509", f"{tail} is {what}")
    normal = tuple(_state(value, profile, tail) for value in fields["normal"])
    if profile.value_type is ValueType.BOOLEAN and len(set(normal)) == 2:
        raise RuleError("normal", "TG513", f"all states of {tail} are normal: it could never be an alarm")
    return {"normal": normal}


def _state(value: bool | int | str, profile: PointProfile, tail: str) -> int:
    boolean = profile.value_type is ValueType.BOOLEAN
    states = (("0", "false", "off"), ("1", "true", "on")) if boolean else ()
    labels = {label.lower(): number for number, names in enumerate(states) for label in names}
    labels |= {label.lower(): number for number, label in enumeration(profile.enumeration)}
    if isinstance(value, str):
        number = labels.get(value.lower())
        if number is None:
            known = sorted(labels)
            hint = did_you_mean(value, known) or ("one of " + ", ".join(known) if known else "a number")
            raise RuleError("normal", "TG204", f"{tail} has no state '{value}'", hint)
        return number
    if isinstance(value, bool) and not boolean:
        raise RuleError("normal", "TG203", f"{tail} is not true or false", "a number or the name of a state")
    if not 0 <= value < (2 if boolean else _MOST_NORMAL):
        raise RuleError("normal", "TG206", f"{value} is no state of {tail}")
    return int(value)


def _targets(fields: Mapping[str, Any], profile: PointProfile, tail: str) -> dict[str, Any]:
    if profile.value_type is ValueType.STRING:
        raise RuleError("target", "TG509", f"{tail} is a text")
    more: dict[str, Any] = {"target": fields["target"]}
    if "tolerance" in fields:
        if profile.value_type is not ValueType.DOUBLE:
            raise RuleError("tolerance", "TG509", f"{tail} is no measured value: it agrees or it does not")
        more["tolerance"] = _published("tolerance", fields["tolerance"], profile, tail, difference=True)
    return more


_MADE: Mapping[str, Callable[[Mapping[str, Any], PointProfile, str], dict[str, Any]]] = {
    "limits": _limits,
    "normal": _normals,
    "target": _targets,
}


def _published(name: str, given: Quantity, profile: PointProfile, tail: str, *, difference: bool) -> float:
    """A number in the published unit; the zero of temperature scales counts, but not in differences."""
    number, unit = given
    published = profile.unit
    if unit is None:
        if published is not None and published.symbol != "1" and number != 0:
            raise RuleError(name, "TG504", f"{number:g} of what", f"'{number:g} {published.symbol}'?")
        return number
    if published is None:
        raise RuleError(name, "TG503", f"the unit of {tail} is not known here", "say unit, or a bare number")
    if unit.quantity != published.quantity:
        what = f"'{unit.symbol}' is {unit.quantity}, but {tail} is {published.quantity}"
        raise RuleError(name, "TG503", what, f"as in '{published.symbol}'")
    gain, bias = units.conversion(unit, published)
    return number * gain + (0.0 if difference else bias)
