"""A wrong value of a field of a YAML file, and the words that say what a value is."""

from __future__ import annotations

from typing import Any

from twin_gateway.mapping.read import Map, Seq

_MOST_SHOWN = 40


class FieldError(ValueError):
    """A value is wrong for its field; `code` is that of the problem."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def kind_of(value: object) -> str:
    """What a value is, in the words of the messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Map):
        return "a mapping"
    if isinstance(value, Seq):
        return "a list"
    if isinstance(value, int | float):
        return f"the number {value}"
    text = str(value)
    return f"the text '{text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + '...'}'"


def bool_value(value: Any) -> bool:
    """True or false.

    Raises:
        FieldError: it is neither.
    """
    if type(value) is bool:
        return value
    raise FieldError("TG203", f"true or false expected, not {kind_of(value)}")
