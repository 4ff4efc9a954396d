"""Point lines that say the same of neighbours become one line with braces: `MMXU1/A/phs{A,B,C}`, `GGIO1/Ind{1..8}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from twin_gateway.engineering.draft import PointDraft, Value

_SEPARATOR = re.compile(r"([-:.*])")
_NUMBERED = re.compile(r"([A-Za-z]+)([1-9]\d{0,3})\Z")
_FUNCTION_AND_DATA: Final = 2


def gather(points: Sequence[PointDraft]) -> list[PointDraft]:
    """The lines in their order, neighbours joined where that takes nothing away."""
    out: list[PointDraft] = []
    i = 0
    while i < len(points):
        run = 1
        best: PointDraft | None = None
        while i + run < len(points) and run < 64:
            joined = _joined(points[i : i + run + 1])
            if joined is None:
                break
            run, best = run + 1, joined
        out.append(points[i] if best is None else best)
        i += run if best is not None else 1
    return out


def _joined(points: Sequence[PointDraft]) -> PointDraft | None:
    """One line for all of these; None when they differ in more than the end of their keys."""
    first = points[0]
    stem, _, _ = first.key.rpartition("/")
    if any(point.comment != first.comment or point.key.rpartition("/")[0] != stem for point in points):
        return None
    leaves = [point.key.rpartition("/")[2] for point in points]
    pattern = _braces(leaves, phases=stem.count("/") >= _FUNCTION_AND_DATA - 1)
    if pattern is None or any(list(point.fields) != list(first.fields) for point in points):
        return None
    fields: dict[str, Value] = {}
    for name in first.fields:
        values = [point.fields[name] for point in points]
        column = _column(name, values, leaves, pattern)
        if column is None:
            return None
        fields[name] = column
    return PointDraft(f"{stem}/{pattern}", fields, first.comment)


def _braces(leaves: Sequence[str], *, phases: bool) -> str | None:
    """The end of the key with braces: numbers that go up by one, or the phases of one data object."""
    numbered = [_NUMBERED.match(leaf) for leaf in leaves]
    if all(numbered) and len({match[1] for match in numbered if match}) == 1:
        numbers = [int(match[2]) for match in numbered if match]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return f"{leaves[0].rstrip('0123456789')}{{{numbers[0]}..{numbers[-1]}}}"
    if phases and all(leaf.startswith("phs") and len(leaf) > len("phs") for leaf in leaves):
        return "phs{" + ",".join(leaf.removeprefix("phs") for leaf in leaves) + "}"
    return None


def _column(name: str, values: Sequence[Value], leaves: Sequence[str], pattern: str) -> Value | None:
    """What a field says for all of them at once; None when it cannot."""
    head = values[0]
    if isinstance(head, str) and all(
        isinstance(value, str) and value.endswith(f".{leaf}") and value[: -len(leaf)] == head[: -len(leaves[0])]
        for value, leaf in zip(values, leaves, strict=True)
    ):
        return head[: -len(leaves[0])] + pattern
    if (
        name == "ioa"
        and isinstance(head, int)
        and all(value == head + i and isinstance(value, int) for i, value in enumerate(values))
    ):
        return f"{head}..{head + len(values) - 1}"
    if all(type(value) is type(head) and value == head for value in values) and not isinstance(head, dict):
        return head
    return _codes(values) if name == "obis" else None


def _codes(values: Sequence[Value]) -> str | None:
    """OBIS codes that differ in one number: `1-0:{32,52,72}.7.0`."""
    parts = [_SEPARATOR.split(value) if isinstance(value, str) else [] for value in values]
    columns = list(zip(*parts, strict=True)) if len({len(row) for row in parts}) == 1 else []
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or len(set(columns[varying[0]])) != len(values):
        return None
    at = varying[0]
    return "".join((*parts[0][:at], "{", ",".join(columns[at]), "}", *parts[0][at + 1 :]))
