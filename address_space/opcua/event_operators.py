"""Operators of a where clause (Part 4, 7.7.3): each from its operands to a value, with the logic of three values."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from address_space.opcua.event_values import (
    BOOLEAN,
    NODE_ID,
    NULL,
    Field,
    bitwise,
    cast,
    equal,
    less,
    text_of,
)

if TYPE_CHECKING:
    from address_space.opcua.event_records import EventRecord

Operand = Callable[["EventRecord", Sequence[Field]], Field]
"""(event, results of all elements) -> value."""
_TRUE: Field = (BOOLEAN, True)
_FALSE: Field = (BOOLEAN, False)
MOST_LITERALS = 1_000

EQUALS, IS_NULL, GREATER, LESS, GREATER_OR_EQUAL, LESS_OR_EQUAL, LIKE, NOT, BETWEEN, IN_LIST = range(10)
AND, OR, CAST, IN_VIEW, OF_TYPE, RELATED_TO, BITWISE_AND, BITWISE_OR = range(10, 18)
COUNTS = {
    EQUALS: (2, 2),
    IS_NULL: (1, 1),
    GREATER: (2, 2),
    LESS: (2, 2),
    GREATER_OR_EQUAL: (2, 2),
    LESS_OR_EQUAL: (2, 2),
    LIKE: (2, 2),
    NOT: (1, 1),
    BETWEEN: (3, 3),
    IN_LIST: (2, MOST_LITERALS),
    AND: (2, 2),
    OR: (2, 2),
    CAST: (2, 2),
    OF_TYPE: (1, 1),
    BITWISE_AND: (2, 2),
    BITWISE_OR: (2, 2),
}
"""Least and most operands of each operator that is offered."""
UNSUPPORTED = frozenset({IN_VIEW, RELATED_TO})
"""InView and RelatedTo are not for event filters (Part 4, 7.22.3)."""


def truth(value: bool | None) -> Field:
    """A Boolean that may be null."""
    return NULL if value is None else _TRUE if value else _FALSE


def logical(field: Field) -> bool | None:
    """True, False or null of a value in a logical place; what is no Boolean is null."""
    kind, value = field
    if kind == BOOLEAN:
        return bool(value)
    converted = cast(field, BOOLEAN)
    return None if converted[1] is None else bool(converted[1])


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def both(left: bool | None, right: bool | None) -> bool | None:
    """AND of three values."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: bool | None, right: bool | None) -> bool | None:
    """OR of three values."""
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def like_pattern(text: str) -> re.Pattern[str]:
    """The expression of a Like pattern: `%` any run, `_` one character, `[..]` a list, `[^..]` none of it.

    A backslash escapes what follows it.
    Runs are matched shortest first and never again (atomic groups), so no pattern takes more than linear time.

    Raises:
        ValueError: when a list is not closed or runs backwards, or nothing follows an escape.
    """
    segments: list[list[str]] = [[]]
    position = 0
    while position < len(text):
        each = text[position]
        if each == "%":
            segments.append([])
        elif each == "_":
            segments[-1].append(".")
        elif each == "[":
            closing = text.find("]", position + 2 + (text[position + 1 : position + 2] == "^"))
            if closing < 0:
                raise ValueError("a list of characters is not closed")
            inner = text[position + 1 : closing]
            inverse, inner = ("^", inner[1:]) if inner.startswith("^") else ("", inner)
            listed = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
            segments[-1].append(f"[{inverse}{listed}]")
            position = closing
        elif each == "\\":
            position += 1
            if position >= len(text):
                raise ValueError("nothing follows the escape")
            segments[-1].append(re.escape(text[position]))
        else:
            segments[-1].append(re.escape(each))
        position += 1
    parts = ["".join(segment) for segment in segments]
    middle = "".join(f"(?>.*?{part})" for part in parts[1:-1] if part)
    last = f".*{parts[-1]}" if len(parts) > 1 else ""
    end = "" if len(parts) > 1 and not parts[-1] else r"\Z"
    try:
        return re.compile(f"{parts[0]}{middle}{last}{end}", re.DOTALL)
    except re.error as error:
        raise ValueError(f"{text!r} is no Like pattern: {error}") from error


def _like(operands: Sequence[Operand]) -> Operand:
    value, pattern = operands
    compiled: dict[str, re.Pattern[str] | None] = {}

    def evaluate(record: EventRecord, results: Sequence[Field]) -> Field:
        text, wanted = text_of(value(record, results)), text_of(pattern(record, results))
        if text is None or wanted is None:
            return NULL
        if wanted not in compiled:
            if len(compiled) > 16:
                compiled.clear()
            try:
                compiled[wanted] = like_pattern(wanted)
            except ValueError:
                compiled[wanted] = None
        expression = compiled[wanted]
        return NULL if expression is None else truth(expression.match(text) is not None)

    return evaluate


def _compared(decide: Callable[[Field, Field], bool | None]) -> Callable[[Sequence[Operand]], Operand]:
    def make(operands: Sequence[Operand]) -> Operand:
        left, right = operands
        return lambda record, results: truth(decide(left(record, results), right(record, results)))

    return make


def _joined(decide: Callable[[bool | None, bool | None], bool | None]) -> Callable[[Sequence[Operand]], Operand]:
    return _compared(lambda left, right: decide(logical(left), logical(right)))


def _between(operands: Sequence[Operand]) -> Operand:
    value, low, high = operands

    def evaluate(record: EventRecord, results: Sequence[Field]) -> Field:
        middle = value(record, results)
        return truth(
            both(_not(less(middle, low(record, results))), _not(less(high(record, results), middle))),
        )

    return evaluate


def _in_list(operands: Sequence[Operand]) -> Operand:
    value, *listed = operands

    def evaluate(record: EventRecord, results: Sequence[Field]) -> Field:
        wanted = value(record, results)
        if wanted[1] is None:
            return NULL
        return truth(any(equal(wanted, each(record, results)) for each in listed))

    return evaluate


def _bits(operate: Callable[[int, int], int]) -> Callable[[Sequence[Operand]], Operand]:
    def make(operands: Sequence[Operand]) -> Operand:
        left, right = operands
        return lambda record, results: bitwise(left(record, results), right(record, results), operate)

    return make


def _of_type(operands: Sequence[Operand]) -> Operand:
    [wanted] = operands

    def evaluate(record: EventRecord, results: Sequence[Field]) -> Field:
        kind, value = wanted(record, results)
        return NULL if kind != NODE_ID or value is None else truth(record.is_a(value))

    return evaluate


def _is_null(operands: Sequence[Operand]) -> Operand:
    [value] = operands
    return lambda record, results: truth(value(record, results)[1] is None)


def _negated(operands: Sequence[Operand]) -> Operand:
    [value] = operands
    return lambda record, results: truth(_not(logical(value(record, results))))


MAKERS: dict[int, Callable[[Sequence[Operand]], Operand]] = {
    EQUALS: _compared(equal),
    IS_NULL: _is_null,
    GREATER: _compared(lambda left, right: less(right, left)),
    LESS: _compared(less),
    GREATER_OR_EQUAL: _compared(lambda left, right: _not(less(left, right))),
    LESS_OR_EQUAL: _compared(lambda left, right: _not(less(right, left))),
    LIKE: _like,
    NOT: _negated,
    BETWEEN: _between,
    IN_LIST: _in_list,
    AND: _joined(both),
    OR: _joined(either),
    OF_TYPE: _of_type,
    BITWISE_AND: _bits(operator.and_),
    BITWISE_OR: _bits(operator.or_),
}
"""Operator -> what makes its element of the operands; Cast is made by the filter, which knows the type."""


def cast_to(value: Operand, kind: int) -> Operand:
    """Cast to a built-in type."""
    return lambda record, results: cast(value(record, results), kind)
