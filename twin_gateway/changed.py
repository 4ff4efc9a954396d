"""Who wants the running mapping changed, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_gateway.applying import Applied
    from twin_gateway.mapping.problem import Problem


class ChangeError(Exception):
    """Nothing has changed; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants a change, for the audit journal: a user of this machine, and by which way (`command`, `watch`)."""

    user: str
    by: str = "command"


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of it.

    Attributes:
        applied: None when nothing was done: the files have errors, or are those that run already.
        problems: of the files, errors first.
        errors: how many of them are errors.
        notes: sentences on what else there is to know.
    """

    applied: Applied | None
    problems: tuple[Problem, ...] = ()
    errors: int = 0
    notes: tuple[str, ...] = ()
