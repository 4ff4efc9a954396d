"""Checking the fields of a point line, table-driven: one small function per field, made once per protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from address_space import units
from address_space.address import parse
from twin_gateway.drivers.contract import FieldKind, FieldSpec, ProtocolSpec
from twin_gateway.durations import duration
from twin_gateway.mapping.field_error import FieldError, bool_value, kind_of
from twin_gateway.mapping.former import point_former_list
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.quantity import QuantityError, quantity
from twin_gateway.mapping.read import Map, Seq

Check = Callable[[Any], Any]
_ROLES = ("read", "command", "backup", "verify")
_MAX_TEXT = 1024
_RE_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_ALIAS = {
    "mrid": _UUID,
    "rds": re.compile(r"[=\-+%#]\S{1,200}\Z"),
    "oid": re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,40}\Z"),
}


class NotTextError(FieldError):
    """A plain number or word stands where text is wanted: the caller may try again with what was written."""


def text_value(value: Any) -> str:
    """One line of text that is not empty."""
    if type(value) is not str:
        if isinstance(value, bool | int | float):
            raise NotTextError("TG203", f"text expected, not {kind_of(value)}", "put it in quotes")
        raise FieldError("TG203", f"text expected, not {kind_of(value)}", _brace_hint(value))
    if not value or len(value) > _MAX_TEXT or "\n" in value:
        raise FieldError("TG207", "the text is empty" if not value else "one line of at most 1024 characters expected")
    return value


def names_value(value: Any) -> tuple[tuple[str, str], ...]:
    """(LocaleId, name) of a name in several languages `{en: …, de: …}`; of a plain name with an empty LocaleId."""
    if not isinstance(value, Map):
        return (("", text_value(value)),)
    for locale in value:
        if type(locale) is not str or not _RE_LOCALE.match(locale):
            raise FieldError("TG207", f"{locale!r} is no language", "write names as {en: Feeder 5, de: Abgang 5}")
    if not value:
        raise FieldError("TG207", "the name is empty")
    return tuple((locale, text_value(name)) for locale, name in value.items())


def number_value(value: Any) -> float:
    """A finite number without a unit."""
    if type(value) not in (int, float):
        raise FieldError("TG203", f"a number expected, not {kind_of(value)}", _brace_hint(value))
    if not math.isfinite(value) or abs(value) > 1e300:
        raise FieldError("TG206", f"{value} is not finite")
    return float(value)


def factor_value(value: Any) -> float:
    """A number other than zero."""
    number = number_value(value)
    if number == 0:
        raise FieldError("TG206", "a scale of 0 would make every value 0")
    return number


def duration_value(value: Any) -> float:
    """Seconds of a text such as `15 min`."""
    if type(value) is not str:
        hint = f"'{value} s'?" if type(value) in (int, float) else ""
        raise FieldError("TG505", f"a duration with its unit expected, not {kind_of(value)}", hint)
    try:
        return duration(value)
    except ValueError as error:
        raise FieldError("TG505", str(error)) from error


def unit_value(value: Any) -> units.Unit:
    """A unit the service knows."""
    if value == 1 and type(value) is int:
        value = "1"
    try:
        return units.unit(text_value(value))
    except units.UnitError as error:
        raise FieldError("TG502", f"no unit '{value}'", did_you_mean(value, units.symbols())) from error


def quantity_value(value: Any) -> tuple[float, units.Unit | None]:
    """A number with its unit."""
    if type(value) in (int, float):
        number, unit = number_value(value), None
    else:
        try:
            number, unit = quantity(text_value(value))
        except QuantityError as error:
            raise FieldError("TG504", str(error)) from error
        except units.UnitError as error:
            symbol = value.strip().lstrip("+-0123456789.eE").strip()
            raise FieldError("TG502", f"no unit '{symbol}'", did_you_mean(symbol, units.symbols())) from error
    return number, unit


def difference_value(value: Any, name: str = "a hysteresis or tolerance") -> tuple[float, units.Unit | None]:
    """A number, zero or more, with its unit."""
    number, unit = quantity_value(value)
    if number < 0:
        raise FieldError("TG206", f"{name} is zero or more")
    return number, unit


def deadband_value(value: Any) -> tuple[float, units.Unit | None]:
    """A number, zero or more, with its unit."""
    return difference_value(value, "a deadband")


def alias_list(value: Any) -> tuple[str, ...]:
    """Alias texts `scheme:value`, one or a list."""
    if not isinstance(value, Seq):
        return (_alias(text_value(value)),)
    for item in value:
        if type(item) is not str:
            raise FieldError("TG203", f"text expected, not {kind_of(item)}", "scheme:value, as in 'rds:=C1.Q5'")
    return tuple(_alias(text_value(item)) for item in value)


def _alias(text: str) -> str:
    scheme, colon, value = text.partition(":")
    if not colon or not value:
        raise FieldError("TG511", f"'{text}' is not an alias", "scheme:value, as in 'mrid:…' or 'was:…'")
    if scheme in ("104", "61850", "dlms", "coap"):
        raise FieldError("TG511", f"aliases of the scheme '{scheme}' come by themselves")
    if scheme == "was":
        try:
            parse(value)
        except ValueError as error:
            raise FieldError("TG511", f"'{value}' is not a former address: {error}") from error
        return text
    if scheme not in _ALIAS:
        raise FieldError(
            "TG511", f"no alias scheme '{scheme}'", did_you_mean(scheme, (*_ALIAS, "was")) or "mrid, rds, oid, was"
        )
    if not _ALIAS[scheme].match(value):
        form = {"mrid": "a lower-case UUID", "rds": "a designation as in '=C1.Q5-QA1'", "oid": "numbers with dots"}[
            scheme
        ]
        raise FieldError("TG511", f"'{value}' is not {form}")
    return text


def choice_value(value: Any, choices: tuple[str, ...]) -> str:
    """One of some texts."""
    if type(value) is str and value in choices:
        return value
    text = text_value(value)
    known = ", ".join(choices) if len(choices) <= 8 else f"the {len(choices)} known ones"
    raise FieldError("TG204", f"'{text}' is not one of {known}", did_you_mean(text, choices))


GATES = ("Loc", "CILO", "Pos")
"""Gates of a command that pass without a point only where the mapping says that the device has none."""


def absent_value(value: Any) -> tuple[str, ...]:
    """Names of gates, one or a list."""
    items = value if isinstance(value, Seq) else [value]
    return tuple(choice_value(item, GATES) for item in items)


def _brace_hint(value: object) -> str:
    return "put a text that begins with { in quotes" if isinstance(value, Map) else ""


def _protocol_check(spec: FieldSpec) -> Check:
    low, high, choices = spec.low, spec.high, frozenset(spec.choices)

    def bounded(value: Any) -> Any:
        if (low is not None and value < low) or (high is not None and value > high):
            if low is not None and high is not None:
                raise FieldError("TG206", f"{value} is not between {low:.15g} and {high:.15g}")
            raise FieldError(
                "TG206",
                f"{value} is {'less' if low is not None else 'more'} than {low if low is not None else high:.15g}",
            )
        return value

    def whole(value: Any) -> int:
        if type(value) is int:
            return bounded(value)  # type: ignore[no-any-return] # bounded gives back what it got
        if type(value) is float and value.is_integer() and abs(value) < 2**53:
            return bounded(int(value))  # type: ignore[no-any-return] # as above
        raise FieldError("TG203", f"a whole number expected, not {kind_of(value)}", _brace_hint(value))

    def chosen(value: Any) -> str:
        return value if type(value) is str and value in choices else choice_value(value, spec.choices)

    if spec.kind is FieldKind.TEXT:
        pattern = re.compile(spec.pattern) if spec.pattern else None

        def formed(value: Any) -> str:
            text = text_value(value)
            if pattern is not None and not pattern.fullmatch(text):
                raise FieldError("TG207", f"'{text}' does not have the right form", spec.help)
            return text

        return formed
    checks: dict[FieldKind, Check] = {
        FieldKind.INT: whole,
        FieldKind.NUMBER: lambda value: bounded(number_value(value)),
        FieldKind.CHOICE: chosen,
        FieldKind.BOOL: bool_value,
        FieldKind.DURATION: duration_value,
    }
    return checks[spec.kind]


COMMON: dict[str, Check] = {
    "unit": unit_value,
    "scale": factor_value,
    "offset": number_value,
    "deadband": deadband_value,
    "stale_after": duration_value,
    "invert": bool_value,
    "display_name": names_value,
    "display_unit": unit_value,
    "aliases": alias_list,
    "was": point_former_list,
    "share": bool_value,
    "role": lambda value: choice_value(value, _ROLES),
    "device": text_value,
}
"""Fields that every point line may have, whatever the protocol."""


@dataclass(frozen=True, slots=True)
class PointTable:
    """The compiled field table of one protocol.

    Attributes:
        protocol: check of each protocol field.
        control: check of each control field.
        required, control_required: fields without which a point or control makes no sense.
        known, control_known: all names, for hints.
    """

    protocol: dict[str, Check]
    control: dict[str, Check]
    required: tuple[str, ...]
    control_required: tuple[str, ...]
    known: tuple[str, ...]
    control_known: tuple[str, ...]


@cache
def _compiled(points: tuple[FieldSpec, ...], controls: tuple[FieldSpec, ...], models: tuple[str, ...]) -> PointTable:
    protocol = _checks(points)
    control = _checks(controls)
    control["model"] = lambda value: choice_value(value, models)
    control["absent"] = absent_value
    control["feedback"] = bool_value
    return PointTable(
        protocol,
        control,
        tuple(f.name for f in points if f.required),
        tuple(f.name for f in controls if f.required),
        (*protocol, *COMMON, "control", "alarm"),
        tuple(control),
    )


def _checks(specs: Iterable[FieldSpec]) -> dict[str, Check]:
    return {spec.name: _protocol_check(spec) for spec in specs}


def point_table(spec: ProtocolSpec) -> PointTable:
    """The compiled field table of a protocol; made once."""
    return _compiled(spec.point_fields, spec.control_fields, spec.control_models)
