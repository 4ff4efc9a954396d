"""The checks by name: which part of the standard asks what, and which client asks it."""

from __future__ import annotations

import re
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


def case(part: str, behaviour: str, *values: Any, ours_only: str = "") -> Any:
    """One check of several that share a test: the values of its parameters."""
    name = re.sub(r"[^a-z0-9]+", "_", behaviour.lower()).strip("_")
    return pytest.param(*values, marks=pytest.mark.conformance(Check(part, behaviour, ours_only)), id=name)


def each(names: str, *cases: Any) -> Callable[[_Function], _Function]:
    """Makes an `async def test_…` as many checks as there are cases."""

    def register(function: _Function) -> _Function:
        marked = pytest.mark.asyncio(loop_scope="session")(function)
        return pytest.mark.parametrize(names, cases)(marked)

    return register


def check(part: str, behaviour: str, *, ours_only: str = "") -> Callable[[_Function], _Function]:
    """Makes an `async def test_…` a check of the suite, run on the loop of the shared server."""

    def register(function: _Function) -> _Function:
        marked = pytest.mark.asyncio(loop_scope="session")(function)
        return pytest.mark.conformance(Check(part, behaviour, ours_only))(marked)

    return register
