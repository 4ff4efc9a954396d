"""How late a request is, whatever the client's clock says."""

from __future__ import annotations

import pytest

from address_space import clock
from address_space.opcua.delay import RequestDelay

SECOND = clock.TICKS_PER_SECOND
NOW = clock.from_unix(1_800_000_000)


def delays(pairs: list[tuple[float, float]]) -> list[float]:
    """Delays in seconds of requests that came at and were told to be of (seconds)."""
    made = RequestDelay()
    return [made.of(NOW + round(came * SECOND), NOW + round(told * SECOND)) / SECOND for came, told in pairs]


@pytest.mark.parametrize("wrong", [0.0, -3600.0, 3600.0])
def test_a_request_that_was_held_up_is_late_whatever_the_clients_clock_says(wrong: float) -> None:
    assert delays([(0, wrong), (1, 1 + wrong), (9, 2 + wrong), (10, 10 + wrong)]) == [0, 0, 7, 0]


def test_a_quicker_request_shows_that_the_others_were_slow() -> None:
    assert delays([(5, 0), (5.1, 5.1), (6, 5.5)]) == [0, 0, 0.5]


def test_a_client_without_times_or_with_always_the_same_is_never_late() -> None:
    made = RequestDelay()
    assert [made.of(NOW + second * SECOND, 0) for second in range(5)] == [0] * 5
    assert [made.of(NOW + second * SECOND, NOW) for second in range(5)] == [0] * 5


def test_a_clock_that_is_set_back_makes_late_for_two_minutes_at_most() -> None:
    found = delays([(second, second - (30 if second > 10 else 0)) for second in range(0, 200, 5)])
    assert max(found) == 30
    assert found[-10:] == [0] * 10


def test_after_a_long_pause_what_was_known_still_counts() -> None:
    assert delays([(0, 0), (3600, 3590)]) == [0, 10]
