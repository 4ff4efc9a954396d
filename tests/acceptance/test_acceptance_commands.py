"""Commands from an OPC UA client to the devices and back: followed, refused with reasons, audited, never repeated."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from peers.acceptance.feeder import BAY104, BAY61850, Feeder
from peers.acceptance.processes import OpcUaClient
from peers.waiting import wait_until

OPEN, CLOSED = False, True
SWITCH = {"ied": f"{BAY61850}/QA1", "rtu": f"{BAY104}/QA1"}
MIN_INTERVAL = 0.25
"""Two commands to one switch must be at least so far apart; the feeder's gateway is set to a little less."""
REFUSING = f"{BAY104}/QA2/CSWI1"


def select_inputs(value: bool) -> list[tuple[str, Any]]:
    return [("String", "Pos"), ("Boolean", value), ("Boolean", False), ("Boolean", True), ("Boolean", True)]


def operate_inputs(value: bool, request: str = "", reason: str = "acceptance") -> list[tuple[str, Any]]:
    return [*select_inputs(value), ("String", reason), ("String", request)]


def select(client: OpcUaClient, equipment: str, value: bool) -> dict[str, Any]:
    time.sleep(MIN_INTERVAL)
    return client.command(f"{equipment}/CSWI1", "Select", *select_inputs(value))


def operate(client: OpcUaClient, equipment: str, value: bool, request: str = "") -> dict[str, Any]:
    return client.command(f"{equipment}/CSWI1", "Operate", *operate_inputs(value, request))


def carried_out(feeder: Feeder) -> int:
    """Commands that the devices say they carried out."""
    return len(feeder.devices["ied"].said("operated")) + len(feeder.devices["rtu"].said("command"))


def other(client: OpcUaClient, equipment: str) -> bool:
    """The position that the switch is not in."""
    time.sleep(MIN_INTERVAL)  # what was operated just now has been notified
    return wait_until(lambda: {1: [CLOSED], 2: [OPEN]}.get(client.now[f"{equipment}/XCBR1/Pos"]["value"]), 5)[0]


@pytest.mark.parametrize("device", SWITCH)
def test_an_operator_operates_a_breaker_and_sees_it_follow(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient, device: str
) -> None:
    equipment = SWITCH[device]
    for _ in range(2):  # there and back
        wanted = other(watching, equipment)
        first, done = len(watching.changes), carried_out(feeder)
        chosen = select(operator, equipment, wanted)
        assert chosen["status"] == "Good", chosen
        operated = operate(operator, equipment, wanted)
        assert operated["status"] == "Good", operated
        command_id, _add_cause, gate, _text = operated["outputs"]
        assert command_id
        assert gate == ""
        position = 2 if wanted else 1
        for function in ("XCBR1", "CSWI1"):
            address = f"{equipment}/{function}/Pos"
            wait_until(lambda address=address, position=position: watching.now[address]["value"] == position, 3)
            assert watching.now[address]["status"] == "Good"
            way = [each["value"] for each in watching.changes[first:] if each["address"] == address]
            assert way == [0, position], "it leaves its position before it arrives"
        assert carried_out(feeder) == done + 1


def test_current_stops_when_the_breaker_opens(feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient) -> None:
    equipment, current = SWITCH["ied"], f"{BAY61850}/_/MMXU1/A/phsA"
    if other(watching, equipment) is CLOSED:
        assert select(operator, equipment, CLOSED)["status"] == "Good"
        assert operate(operator, equipment, CLOSED)["status"] == "Good"
    wait_until(lambda: watching.now[current]["value"] > 50, 5)
    assert select(operator, equipment, OPEN)["status"] == "Good"
    assert operate(operator, equipment, OPEN)["status"] == "Good"
    wait_until(lambda: watching.now[current]["value"] == 0, 5)


@pytest.mark.parametrize("device", SWITCH)
def test_observers_may_not_operate(feeder: Feeder, watching: OpcUaClient, observer: OpcUaClient, device: str) -> None:
    done = carried_out(feeder)
    wanted = other(watching, SWITCH[device])
    for client in (observer, watching):  # a user with the wrong role, and nobody
        assert select(client, SWITCH[device], wanted)["status"] == "BadUserAccessDenied"
        assert operate(client, SWITCH[device], wanted)["status"] == "BadUserAccessDenied"
    assert carried_out(feeder) == done


def test_a_wrong_password_is_no_session(feeder: Feeder) -> None:
    with pytest.raises(ConnectionError, match="BadUserAccessDenied"):
        feeder.client("intruder", secure=True, user="olga", password="guessed")
    wait_until(lambda: any(each["kind"] == "login.refused" and each["user"] == "olga" for each in feeder.audit()), 5)


def test_the_interlock_of_the_device_refuses_with_its_reason(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    equipment, done = SWITCH["ied"], carried_out(feeder)
    wanted = other(watching, equipment)
    subscriber = feeder.subscriber("interlock")
    feeder.devices["ied"].order(ref="LD0/CSWI1.Pos", interlocked=True)
    try:
        refused = select(operator, equipment, wanted)
    finally:
        feeder.devices["ied"].order(ref="LD0/CSWI1.Pos", interlocked=False)
    assert refused["status"] == "BadInvalidState"
    command_id, add_cause, gate, text = refused["outputs"]
    assert (add_cause, gate) == (10, "device")
    assert "interlock" in text.lower()
    event = wait_until(lambda: subscriber.of("e").get(f"{equipment}/CSWI1/Pos"), 5)
    assert (event["code"], event["correlation"]) == ("S05", command_id)
    assert carried_out(feeder) == done
    # The refusal is over as soon as its cause is.
    assert select(operator, equipment, wanted)["status"] == "Good"
    assert operator.command(f"{equipment}/CSWI1", "Cancel", ("String", "Pos"))["status"] == "Good"
    subscriber.stop()


def test_a_release_that_is_missing_refuses_before_anything_is_sent(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    equipment, done = SWITCH["rtu"], carried_out(feeder)
    wanted = other(watching, equipment)
    release, ioa = ("EnaCls", 1007) if wanted else ("EnaOpn", 1006)
    feeder.devices["rtu"].order(ioa=ioa, value=0)
    wait_until(lambda: watching.now[f"{equipment}/CILO1/{release}"]["value"] is False, 5)
    try:
        refused = select(operator, equipment, wanted)
    finally:
        feeder.devices["rtu"].order(ioa=ioa, value=1)
    _command_id, add_cause, gate, text = refused["outputs"]
    assert (refused["status"], add_cause, gate) == ("BadInvalidState", 10, "interlock")
    assert f"{release} does not release" in text
    assert carried_out(feeder) == done
    wait_until(lambda: watching.now[f"{equipment}/CILO1/{release}"]["value"] is True, 5)


def test_a_negative_confirmation_of_a_104_device_is_a_refusal(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    done = carried_out(feeder)
    refused = operator.command(REFUSING, "Operate", *operate_inputs(OPEN))
    command_id, _add_cause, gate, text = refused["outputs"]
    assert refused["status"].startswith("Bad"), refused
    assert refused["status"] != "BadTimeout"
    assert command_id
    assert gate == "device"
    assert "negative" in text.lower()
    assert watching.now[f"{REFUSING}/Pos"]["value"] == 2
    assert carried_out(feeder) == done


def test_operating_without_selecting_is_refused_where_the_model_asks_for_it(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    for equipment in SWITCH.values():
        done = carried_out(feeder)
        refused = operate(operator, equipment, other(watching, equipment))
        assert (refused["status"], refused["outputs"][1:3]) == ("BadInvalidState", [18, "selection"])
        assert carried_out(feeder) == done


def test_attempt_and_outcome_are_in_the_audit_journal(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    equipment = SWITCH["rtu"]
    wanted = other(watching, equipment)
    selected = select(operator, equipment, wanted)
    operated = operate(operator, equipment, wanted)
    refused = operator.command(REFUSING, "Operate", *operate_inputs(OPEN))
    assert (selected["status"], operated["status"]) == ("Good", "Good")
    expected = (("select", selected, 0), ("operate", operated, 0), ("operate", refused, None))
    for verb, answer, status in expected:
        records = [each for each in feeder.audit() if each["command_id"] == answer["outputs"][0]]
        assert [each["kind"] for each in records] == [f"command.{verb}", f"command.{verb}.outcome"]
        attempt, outcome = records
        assert {each["user"] for each in records} == {"olga"}
        assert {each["address"].rpartition("/")[2] for each in records} == {"Pos"}
        assert attempt["client"].startswith("127.0.0.1")
        assert outcome["time"] >= attempt["time"]
        assert outcome["text"] == answer["outputs"][3]
        assert outcome["status"] == status if status is not None else outcome["status"] & 0x8000_0000


def test_the_same_request_gets_the_first_answer_and_is_not_sent_again(
    feeder: Feeder, watching: OpcUaClient, operator: OpcUaClient
) -> None:
    equipment, request = SWITCH["rtu"], uuid.uuid4().hex
    wanted = other(watching, equipment)
    assert select(operator, equipment, wanted)["status"] == "Good"
    first = operate(operator, equipment, wanted, request)
    assert first["status"] == "Good"
    done = carried_out(feeder)
    assert operate(operator, equipment, wanted, request) == first
    elsewhere = operate(operator, equipment, not wanted, request)
    assert (elsewhere["status"], elsewhere["outputs"][2]) == ("BadInvalidArgument", "request")
    time.sleep(0.5)
    assert carried_out(feeder) == done
