"""The first look at mapping files: what each is, and about how much work it will be, before any is resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from twin_gateway.mapping.read import MAX_BYTES
from twin_gateway.mapping.workers import Task

_POINTS_OF_USE: Final = 20
"""Points that a place with a template has, as a guess."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a first look at a file tells; digest empty when it cannot be read.

    Attributes:
        templates: it may hold templates; uses: it may use some.
        points: how many it may come to, as a guess.
    """

    task: Task
    digest: str = ""
    templates: bool = False
    uses: bool = False
    points: int = 0


def look(files: Sequence[Path], beside: Mapping[Path, Path] | None) -> list[Seen]:
    """The first look at every file, in their order."""
    return [
        _look(Task(index, path, str(path), beside.get(path) if beside is not None else None))
        for index, path in enumerate(files)
    ]


def _look(task: Task) -> Seen:
    try:
        if not task.path.is_file() or task.path.stat().st_size > MAX_BYTES:
            return Seen(task)
        data = task.path.read_bytes()
    except (OSError, ValueError):
        # Whoever resolves the file says so.
        return Seen(task)
    uses = data.count(b"use:")
    points = data.count(b"\n") + uses * _POINTS_OF_USE
    return Seen(task, sha256(data).hexdigest(), b"templates" in data, b"use" in data, points)
