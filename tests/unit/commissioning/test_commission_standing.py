"""The life cycle of an address as its records say it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.record import (
    Approval,
    CommandTest,
    Known,
    Record,
    Result,
    State,
    Trial,
    standing_of,
)

ADDRESS = "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"
VALUE = Binding("104:rtu/7/1000", "v1")
COMMANDED = Binding("104:rtu/7/1000", "v1", "104:rtu/7/5000", "c1")


def record(result: Result = Result.CONFIRMED, binding: Binding = VALUE, **more: Any) -> Record:
    kept = Record(
        1, ADDRESS, result, False, "ines", ("Installer",), "2026-11-23T10:00:00.000Z", "", {"good": True}, binding, "r"
    )
    return replace(kept, **more)


def after(how: Trial, digest: str = "c1") -> CommandTest:
    return CommandTest(ADDRESS, digest, how, "1", "", "ines", "2026-11-23T10:00:00.000Z")


APPROVED = Approval(ADDRESS, "c1", "erik", "2026-11-23T10:00:00.000Z")


def test_an_address_without_a_device_is_registered_and_one_with_a_device_is_bound() -> None:
    assert standing_of(Known(), Binding("", "")).state is State.REGISTERED
    assert standing_of(Known(), VALUE).state is State.BOUND


def test_a_confirmed_value_is_verified_and_by_the_sign_off_commissioned() -> None:
    assert standing_of(Known(record()), VALUE).state is State.VERIFIED
    assert standing_of(Known(record(signed=3)), VALUE).state is State.COMMISSIONED


def test_what_was_failed_is_failed_whoever_signs() -> None:
    found = standing_of(Known(record(Result.FAILED, note="wrong bay", signed=3)), VALUE)
    assert (found.state, found.why) == (State.FAILED, "wrong bay")


def test_what_was_skipped_is_as_far_as_its_value() -> None:
    assert standing_of(Known(record(Result.SKIPPED)), VALUE).state is State.VERIFIED
    assert standing_of(Known(record(Result.SKIPPED, reading={"good": False})), VALUE).state is State.BOUND


@pytest.mark.parametrize(
    ("known", "missing"),
    [
        (Known(record(binding=COMMANDED)), "its command has not been tested"),
        (Known(record(binding=COMMANDED), after(Trial.REFUSED), APPROVED), "its command: refused"),
        (Known(record(binding=COMMANDED), after(Trial.NOT_IN_TEST), APPROVED), "not in test mode"),
        (Known(record(binding=COMMANDED), after(Trial.OPERATED)), "an engineer has not approved"),
        (Known(record(binding=COMMANDED), after(Trial.OPERATED, "c0"), APPROVED), "has not been tested"),
        (
            Known(record(binding=COMMANDED), after(Trial.OPERATED), replace(APPROVED, digest="c0")),
            "an engineer has not approved",
        ),
    ],
)
def test_a_command_is_tested_and_approved_before_anything_is_signed(known: Known, missing: str) -> None:
    found = standing_of(known, COMMANDED)
    assert found.state is State.VERIFIED
    assert missing in found.why


@pytest.mark.parametrize("how", [Trial.OPERATED, Trial.SELECTED, Trial.NO_TEST_MODE])
def test_a_command_is_tested_as_far_as_its_protocol_goes(how: Trial) -> None:
    known = Known(record(binding=COMMANDED), after(how), APPROVED)
    assert standing_of(known, COMMANDED).why == "not signed off"


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (replace(VALUE, digest="v2", text="104:rtu/7/1001"), "was 104:rtu/7/1000, is 104:rtu/7/1001"),
        (replace(VALUE, digest="v2"), "its binding has changed (with other settings)"),
        (COMMANDED, "its command binding has changed (was none, is 104:rtu/7/5000)"),
    ],
)
def test_a_record_is_void_when_the_binding_is_another(now: Binding, why: str) -> None:
    found = standing_of(Known(record(signed=3)), now)
    assert found.state is State.VOID
    assert why in found.why


def test_a_record_is_void_when_a_command_goes_to_another_endpoint() -> None:
    known = Known(record(binding=COMMANDED, signed=3), after(Trial.OPERATED), APPROVED)
    assert standing_of(known, COMMANDED).state is State.COMMISSIONED
    found = standing_of(known, replace(COMMANDED, command_digest="c2"))
    assert (found.state, found.why) == (State.VOID, "its command binding has changed (with other settings)")
