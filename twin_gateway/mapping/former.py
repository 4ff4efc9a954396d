"""What a `was:` may say: a former address, until when it leads to the new one, and at a place of which function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from address_space.address import AddressError, parse
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.problem import did_you_mean

FORMER_DAYS: Final = 400
"""How long a former address leads to the new one when the file does not say until when."""
_FORMER_KEYS: Final = ("address", "until", "function")


@dataclass(frozen=True, slots=True)
class FormerText:
    """One item of a `was:` as written; `function` only at a place."""

    address: str
    until: date | None = None
    function: str = ""

    @property
    def over(self) -> bool:
        """Whether its last day has passed (UTC): it leads nowhere any more."""
        return self.until is not None and self.until < datetime.now(UTC).date()


def former_list(value: Any) -> tuple[FormerText, ...]:
    """The items of a `was:`: an address, `{address: …, until: 2027-11-30}`, or a list of these.

    Raises:
        FieldError: when one of them cannot be read.
    """
    return tuple(_former(item) for item in (value if isinstance(value, list) else [value]))


def point_former_list(value: Any) -> tuple[FormerText, ...]:
    """The same at a point, where `function` makes no sense and the address is that of a point."""
    found = former_list(value)
    for item in found:
        if item.function:
            raise FieldError("TG201", "'function' belongs to a 'was' at a place")
        if not parse(item.address).path:
            raise FieldError("TG412", f"'{item.address}' is no address of a point", "function and data object follow")
    return found


def _former(value: Any) -> FormerText:
    fields = value if isinstance(value, dict) else {"address": value}
    for name in fields:
        if name not in _FORMER_KEYS:
            raise FieldError("TG201", f"no field '{name}' in was", did_you_mean(str(name), _FORMER_KEYS))
    given, function = fields.get("address"), fields.get("function", "")
    if type(given) is not str:
        raise FieldError("TG203", f"a former address expected, not {kind_of(given)}", "as in dso1/north/PS01/MV1/F05")
    if type(function) is not str:
        raise FieldError("TG203", f"the name of a function expected, not {kind_of(function)}", "as in MMXU2")
    try:
        parse(given)
    except AddressError as error:
        raise FieldError("TG511", f"'{given}' is not a former address: {error}") from error
    return FormerText(given, day(fields["until"]) if fields.get("until") is not None else None, function)


def day(value: Any) -> date:
    """A date `2026-11-30`.

    Raises:
        FieldError: when it is none.
    """
    try:
        # The basic form 20261130 and week dates are left out: one way to write a date.
        if type(value) is str and len(value) == len("2026-11-30") and value.count("-") == 2:
            return date.fromisoformat(value)
    except ValueError as error:
        raise FieldError("TG207", f"'{value}' is no date: {error}", "year-month-day, as in 2026-11-30") from error
    raise FieldError("TG207", f"a date expected, not {kind_of(value)}", "year-month-day, as in 2026-11-30")


def same_depth(was: str, address: str) -> None:
    """A place can only have been a place of the same level, a function a function.

    Raises:
        FieldError: when the levels differ.
    """
    before, now = was.count("/") + 1, address.count("/") + 1
    if before != now:
        what = f"'{was}' has {before} levels, '{address}' has {now}"
        raise FieldError("TG412", what, "name what stood at the same level; points may each have a 'was' of their own")
