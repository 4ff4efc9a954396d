"""What may stand in braces: parameters, arithmetic `{ioa+10}`, lists `{A,B,C}`, ranges `{01..12}`; and `1020..1022`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product
from typing import Any, Final

from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Seq, core_value

MAX_CHOICES: Final = 10_000
_LARGEST: Final = 2**53
_BRACE = re.compile(r"(?<!\$)\{([^{}]*)\}")
_RANGE = re.compile(r"(-?[0-9]{1,15})\s*\.\.\s*(-?[0-9]{1,15})\Z")
_SHIFTED = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*([+-])\s*([0-9]{1,15})\s*\Z")
_TOKEN = re.compile(r"\s*(?:([0-9]{1,15})|([A-Za-z_][A-Za-z0-9_]*)|([-+*()]))")

Scalar = str | int | float


class PatternError(ValueError):
    """A brace, range or arithmetic is wrong; `code` is that of the problem, `hint` may say what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def has_pattern(text: str) -> bool:
    """Whether a text needs any of the functions of this module."""
    return "{" in text or ".." in text


def is_expression(inside: str) -> bool:
    """Whether what stands between braces is a parameter or arithmetic, not a list or a range."""
    return "," not in inside and ".." not in inside


def substitute(text: str, arguments: Mapping[str, Scalar]) -> Scalar:
    """Fill the parameters of one text. A text that is one expression becomes its value, of the value's type.

    Raises:
        PatternError: for an unknown name or arithmetic that cannot be computed.
    """
    if "{" not in text:
        return text
    whole = _BRACE.fullmatch(text)
    if whole is not None and is_expression(whole[1]):
        return evaluate(whole[1], arguments)
    return _BRACE.sub(lambda m: str(evaluate(m[1], arguments)) if is_expression(m[1]) else m[0], text)


Failed = Callable[[int, PatternError], None]


def fill(value: Any, arguments: Mapping[str, Scalar], failed: Failed, at: int, *, trial: bool = False) -> Any:
    """A value of any shape with its parameters filled; keeps the positions. What cannot be filled becomes `BROKEN`.

    With `trial` the arguments are only examples: what depends on them is computed and then left open as `BROKEN`.
    """
    if type(value) is str:
        try:
            filled = substitute(value, arguments)
        except PatternError as error:
            failed(at, error)
            return BROKEN
        return BROKEN if trial and filled != value else filled
    if isinstance(value, Map):
        out = Map()
        out.start, out.marks = value.start, value.marks
        for i, (key, item) in enumerate(value.items()):
            kind = type(item)
            if kind is int or (kind is str and "{" not in item):
                out[key] = item
                continue
            out[key] = fill(item, arguments, failed, value.marks[2 * i + 1], trial=trial)
        return out
    if isinstance(value, Seq):
        row = Seq(
            fill(item, arguments, failed, mark, trial=trial) for item, mark in zip(value, value.marks, strict=True)
        )
        row.start, row.marks = value.start, value.marks
        return row
    return value


def evaluate(expression: str, arguments: Mapping[str, Scalar]) -> Scalar:
    """The value of `ioa`, `ioa+10`, `2*(n-1)`; whole numbers only, except that a single name may be text.

    Raises:
        PatternError: for an unknown name, text in arithmetic, or a result beyond 2**53.
    """
    name = expression.strip()
    if name in arguments:
        return arguments[name]
    shifted = _shifted(expression)
    if shifted is not None:
        whole_number = arguments.get(shifted[0])
        if isinstance(whole_number, int):
            return _bounded(whole_number + shifted[1], expression)
    tokens: list[str] = []
    at = 0
    while at < len(expression) and expression[at:].strip():
        match = _TOKEN.match(expression, at)
        if match is None or len(tokens) > 64:
            raise PatternError("TG307", f"'{{{expression}}}' is neither a parameter nor arithmetic with + - * ( )")
        tokens.append(match[0].strip())
        at = match.end()
    if not tokens:
        raise PatternError("TG307", "there is nothing between the braces")
    value, rest = _sum(tokens, 0, arguments, expression)
    if rest != len(tokens):
        raise PatternError("TG307", f"'{{{expression}}}' is neither a parameter nor arithmetic with + - * ( )")
    return value


@lru_cache(maxsize=4096)
def _shifted(expression: str) -> tuple[str, int] | None:
    """Parameter and number of `ioa+10` and `ioa-1`, which most of arithmetic is; None for anything else."""
    match = _SHIFTED.match(expression)
    if match is None:
        return None
    return match[1], int(match[3]) if match[2] == "+" else -int(match[3])


def _sum(tokens: list[str], at: int, arguments: Mapping[str, Scalar], whole: str) -> tuple[int, int]:
    value, at = _product(tokens, at, arguments, whole)
    while at < len(tokens) and tokens[at] in "+-":
        right, after = _product(tokens, at + 1, arguments, whole)
        value = value + right if tokens[at] == "+" else value - right
        at = after
    return _bounded(value, whole), at


def _product(tokens: list[str], at: int, arguments: Mapping[str, Scalar], whole: str) -> tuple[int, int]:
    value, at = _atom(tokens, at, arguments, whole)
    while at < len(tokens) and tokens[at] == "*":
        right, at = _atom(tokens, at + 1, arguments, whole)
        value = _bounded(value * right, whole)
    return value, at


def _atom(tokens: list[str], at: int, arguments: Mapping[str, Scalar], whole: str) -> tuple[int, int]:
    if at >= len(tokens):
        raise PatternError("TG307", f"'{{{whole}}}' ends too early")
    word = tokens[at]
    if word == "(":
        value, at = _sum(tokens, at + 1, arguments, whole)
        if at >= len(tokens) or tokens[at] != ")":
            raise PatternError("TG307", f"'{{{whole}}}' lacks a closing parenthesis")
        return value, at + 1
    if word == "-":
        value, at = _atom(tokens, at + 1, arguments, whole)
        return -value, at
    if word.isdigit():
        return int(word), at + 1
    if word not in arguments:
        if word in "+*)":
            raise PatternError("TG307", f"'{{{whole}}}' is neither a parameter nor arithmetic with + - * ( )")
        hint = did_you_mean(word, arguments) or ("" if arguments else "parameters exist only in templates")
        raise PatternError("TG307", f"no parameter '{word}' here", hint)
    value_of = arguments[word]
    if not isinstance(value_of, int):
        raise PatternError("TG307", f"parameter '{word}' is text: no arithmetic with it")
    return value_of, at + 1


def _bounded(value: int, whole: str) -> int:
    if abs(value) > _LARGEST:
        raise PatternError("TG307", f"'{{{whole}}}' is beyond 2**53")
    return value


def choices(text: str) -> list[str] | None:
    """All texts that the brace lists and brace ranges of a text stand for, in order; None when it has none.

    Raises:
        PatternError: for a range that cannot be read, or more than `MAX_CHOICES` texts.
    """
    if "{" not in text:
        return None
    parts = _BRACE.split(text)
    if len(parts) == 1:
        return None
    options: list[list[str]] = []
    count = 1
    for i, part in enumerate(parts):
        if i % 2 == 0:
            options.append([part])
            continue
        own = _range_texts(part) if ".." in part else [item.strip() for item in part.split(",")]
        if "" in own or len(own) == 0:
            raise PatternError("TG309", f"an item of '{{{part}}}' is empty")
        count *= len(own)
        if count > MAX_CHOICES:
            raise PatternError("TG309", f"more than {MAX_CHOICES} points in one line")
        options.append(own)
    return ["".join(row) for row in product(*options)]


def spread(text: str) -> list[Scalar] | None:
    """All values that a field stands for: a range of numbers `1020..1022`, or braces; None when it is one value.

    Raises:
        PatternError: as `choices`.
    """
    if "{" in text:
        texts = choices(text)
        if texts is None:
            return None
        if _BRACE.fullmatch(text):
            return [value if isinstance(value := core_value(t), (int, float)) else t for t in texts]
        return list(texts)
    match = _RANGE.match(text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    _check_range(first, last, text)
    return list(range(first, last + 1))


def _range_texts(part: str) -> list[str]:
    match = _RANGE.match(part.strip())
    if match is None:
        raise PatternError("TG309", f"'{{{part}}}' is not a range of numbers, as in '{{1..3}}'")
    first, last = int(match[1]), int(match[2])
    _check_range(first, last, part)
    width = len(match[1]) if match[1].startswith("0") else 0
    return [str(i).zfill(width) for i in range(first, last + 1)]


def _check_range(first: int, last: int, text: str) -> None:
    if last < first:
        raise PatternError("TG309", f"the range '{text}' runs backwards")
    if last - first >= MAX_CHOICES:
        raise PatternError("TG309", f"the range '{text}' counts more than {MAX_CHOICES}")
