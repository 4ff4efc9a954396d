"""The checks by name: which part of the standard asks what, and which client asks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Check:
    """One named behaviour of the standard.

    Attributes:
        part: part and clause, as `Part 4 5.10.2`.
        behaviour: what it asks.
        ours_only: why stock asyncua is not asked; empty when it is.
    """

    part: str
    behaviour: str
    ours_only: str = ""


def check(part: str, behaviour: str, *, ours_only: str = "") -> Callable[[_Function], _Function]:
    """Makes an `async def test_…` a check of the suite, run on the loop of the shared server."""

    def register(function: _Function) -> _Function:
        marked = pytest.mark.asyncio(loop_scope="session")(function)
        return pytest.mark.conformance(Check(part, behaviour, ours_only))(marked)

    return register
