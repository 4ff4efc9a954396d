"""Waiting after failed logins: growing, for each client and user, in bounded memory."""

from __future__ import annotations

import pytest

from twin_gateway.security.backoff import FORGOTTEN_AFTER_S, MOST_REMEMBERED, LoginBackoff


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> LoginBackoff:
    return LoginBackoff(clock)


def fail(backoff: LoginBackoff, times: int, client: str = "10.0.0.9", user: str = "anna") -> None:
    for _ in range(times):
        backoff.failed(client, user)


def test_a_few_failures_cost_nothing(backoff: LoginBackoff) -> None:
    fail(backoff, 4)
    assert backoff.wait("10.0.0.9", "anna") == 0


def test_each_further_failure_doubles_the_wait_up_to_a_quarter_of_an_hour(backoff: LoginBackoff) -> None:
    fail(backoff, 5)
    waits = [backoff.wait("10.0.0.9", "anna")]
    for _ in range(12):
        fail(backoff, 1)
        waits.append(backoff.wait("10.0.0.9", "anna"))
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 900


def test_the_wait_passes(backoff: LoginBackoff, clock: Clock) -> None:
    fail(backoff, 5)
    clock.now += 5.1
    assert backoff.wait("10.0.0.9", "anna") <= 0


def test_others_at_other_places_do_not_wait(backoff: LoginBackoff) -> None:
    fail(backoff, 10)
    assert backoff.wait("10.0.0.8", "anna") == 0
    assert backoff.wait("10.0.0.9", "otto") == 0


def test_one_client_with_many_names_waits_with_all_of_them(backoff: LoginBackoff) -> None:
    for number in range(25):
        backoff.failed("10.0.0.9", f"user{number}")
    assert backoff.wait("10.0.0.9", "anna") > 0
    assert backoff.wait("10.0.0.8", "anna") == 0


def test_a_user_guessed_at_from_many_places_is_kept_out_for_a_minute_at_most(backoff: LoginBackoff) -> None:
    for number in range(60):
        backoff.failed(f"10.0.1.{number}", "anna")
    assert 0 < backoff.wait("10.0.0.8", "anna") <= 60


def test_success_of_one_user_does_not_wipe_out_guesses_at_others(backoff: LoginBackoff) -> None:
    for number in range(25):
        backoff.failed("10.0.0.9", f"user{number}")
    backoff.succeeded("10.0.0.9", "mallory")
    assert backoff.wait("10.0.0.9", "anna") > 0


def test_old_failures_are_forgotten(backoff: LoginBackoff, clock: Clock) -> None:
    fail(backoff, 10)
    clock.now += FORGOTTEN_AFTER_S + 1
    fail(backoff, 1)
    assert backoff.wait("10.0.0.9", "anna") <= 0


def test_memory_is_bounded(backoff: LoginBackoff) -> None:
    for number in range(2 * MOST_REMEMBERED):
        backoff.failed(f"10.{number >> 8}.0.{number & 255}", f"user{number}")
    assert len(backoff) == MOST_REMEMBERED
