"""Closed switches as one node: rows, and currents of switches by Kirchhoff."""

from __future__ import annotations

import numpy as np
import pytest

from twin_gateway.grid.model import CimClass, Equipment
from twin_gateway.simulate.feeder.contraction import contract


def switch(name: str, one: str, other: str) -> Equipment:
    return Equipment(name, CimClass.LOAD_BREAK_SWITCH, (one, other))


def test_a_switch_carries_what_leaves_the_nodes_behind_it() -> None:
    # source a -- s1 -- b (takes 2) -- s2 -- c (takes 3); s2 is written the other way round
    made = contract("abc", [switch("s1", "a", "b"), switch("s2", "c", "b")])
    assert made.count == 1
    leaving = np.zeros(3, complex)
    for node, amperes in (("a", -5.0), ("b", 2.0), ("c", 3.0)):
        leaving[made.index[node]] = amperes
    assert made.through(leaving) == pytest.approx([5.0, -3.0])


def test_nodes_without_a_switch_between_them_have_rows_of_their_own() -> None:
    made = contract("abcd", [switch("s", "b", "c")])
    assert made.count == 3
    assert made.row("b") == made.row("c")
    assert len({made.row(node) for node in "abd"}) == 3
    assert made.row("x") == -1


def test_parallel_switches_together_carry_the_current_once() -> None:
    made = contract("ab", [switch("s1", "a", "b"), switch("s2", "a", "b")])
    leaving = np.array([-4.0 + 0j, 4.0 + 0j])
    assert made.through(leaving).sum() == pytest.approx(4.0)
