"""An engineer tests commands over OPC UA while the device shows test mode: node-opcua asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peers.acceptance.feeder import BAY61850
from peers.acceptance.processes import OpcUaClient
from peers.commissioning_bed import PASSWORD, Bed

SWITCH = f"{BAY61850}/QA1/CSWI1"
IN_SERVICE, IN_TEST = 1, 3


@pytest.fixture
def tested(running: Bed) -> Iterator[Bed]:
    """The device is in test mode, and in service again after the test."""
    try:
        running.set_mode(IN_TEST)
        yield running
    finally:
        running.set_mode(IN_SERVICE)


def connected(bed: Bed, user: str) -> OpcUaClient:
    return bed.feeder.client(user, secure=True, user=user, password=PASSWORD)


def inputs(*, test: bool) -> list[tuple[str, Any]]:
    return [("String", "Pos"), ("Boolean", True), ("Boolean", test), ("Boolean", True), ("Boolean", True)]


def operate(client: OpcUaClient, *, test: bool) -> dict[str, Any]:
    return client.command(SWITCH, "Operate", *inputs(test=test), ("String", "relay test"), ("String", ""))


def executable(client: OpcUaClient) -> bool:
    (found,) = client("read", nodes=[f"ns=2;s={SWITCH}#Operate"], attribute="UserExecutable")
    return bool(found["value"])


def test_an_engineer_selects_and_operates_a_test_command_and_gives_a_selection_back(tested: Bed) -> None:
    before, erik = tested.carried_out(), connected(tested, "erik")
    assert executable(erik)
    assert erik.command(SWITCH, "Select", *inputs(test=True))["status"] == "Good"
    assert operate(erik, test=True)["status"] == "Good"
    assert erik.command(SWITCH, "Select", *inputs(test=True))["status"] == "Good"
    given_back = erik.command(SWITCH, "Cancel", ("String", "Pos"))
    assert given_back["status"] == "Good", given_back
    assert tested.carried_out() == before
    asked = ("command.select", "command.operate", "command.cancel")
    own = [each for each in tested.feeder.audit() if each["user"] == "erik" and each["kind"] in asked]
    assert [each["kind"] for each in own[-4:]] == [*asked[:2], asked[0], asked[2]]
    assert all(each["details"]["test"] for each in own[-4:])


def test_an_engineer_gives_no_command_that_is_no_test(tested: Bed) -> None:
    before, erik = tested.carried_out(), connected(tested, "erik")
    refused = operate(erik, test=False)
    assert (refused["status"], refused["outputs"][2]) == ("BadUserAccessDenied", "role")
    assert tested.carried_out() == before
    assert tested.feeder.audit()[-1]["text"].startswith("User 'erik' may not operate")


def test_an_engineer_tests_nothing_that_is_in_service(running: Bed) -> None:
    before, erik = running.carried_out(), connected(running, "erik")
    refused = operate(erik, test=True)
    assert (refused["status"], refused["outputs"][2]) == ("BadUserAccessDenied", "role")
    assert "test it only while its Beh shows test mode" in refused["outputs"][3]
    assert running.carried_out() == before


def test_an_observer_may_not_even_test(tested: Bed) -> None:
    otto = connected(tested, "otto")
    assert not executable(otto)
    refused = operate(otto, test=True)
    assert (refused["status"], refused["outputs"][2]) == ("BadUserAccessDenied", "role")
