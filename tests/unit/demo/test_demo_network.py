"""The solved network: sums at nodes, dead parts, rings."""

from __future__ import annotations

import pytest

from twin_gateway.demo.network import Branch, Network

NETWORK = Network(
    "grid",
    [
        Branch("line", "grid", "a", 0.5 + 0.3j, ("s1",)),
        Branch("left", "a", "b", 0.4 + 0.2j, ("s2",)),
        Branch("right", "a", "b", 0.8 + 0.4j, ("s3",)),
    ],
)
VOLTS = 11_547.0


def solve(*opened: str, load: complex = 600e3 + 200e3j):
    return NETWORK.solve(VOLTS, lambda switch: switch not in opened, {"b": load})


def test_power_that_flows_in_is_what_is_drawn_and_what_is_lost():
    state = solve("s3")
    current = state.flows["line"].current
    lost = 3 * current**2 * 0.9
    assert state.flows["line"].power.real == pytest.approx(600e3 + lost, rel=1e-6)


def test_a_ring_shares_the_current_by_impedance():
    state = solve()
    left, right = state.flows["left"].current, state.flows["right"].current
    assert left == pytest.approx(2 * right, rel=1e-6)
    assert left + right == pytest.approx(state.flows["line"].current, rel=1e-6)


def test_behind_an_open_switch_there_is_neither_voltage_nor_current():
    state = solve("s1")
    assert state.voltage["a"] == state.voltage["b"] == 0
    assert all(flow.current == 0 for flow in state.flows.values())


def test_an_open_end_has_voltage_and_no_current():
    state = NETWORK.solve(VOLTS, lambda switch: switch != "s3", {})
    assert abs(state.voltage["b"]) == pytest.approx(VOLTS)
    assert state.flows["left"].current == pytest.approx(0, abs=1e-6)
