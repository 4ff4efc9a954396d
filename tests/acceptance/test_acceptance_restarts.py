"""Broker and gateway die by kill -9 during traffic and commands; everything recovers, nothing is sent twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest
from peers.acceptance.feeder import BAY61850, DEVICES, LINK, OPERATOR, SLOW104, STATE_TOPIC, Feeder, Subscriber
from peers.acceptance.processes import OpcUaClient
from peers.waiting import wait_until


def complete(feeder: Feeder, subscriber: Subscriber, points: int) -> Callable[[], bool]:
    def check() -> bool:
        states = {(subscriber.last.get(f"twin/s/{LINK[name]}") or {}).get("state") for name in DEVICES}
        return (
            len(subscriber.of("v")) == points
            and len(subscriber.of("m")) == points
            and (subscriber.last.get(STATE_TOPIC) or {}).get("state") == "online"
            and states == {"up"}
        )

    return check


def test_the_mirror_recovers_from_a_killed_broker(feeder: Feeder, watching: OpcUaClient) -> None:
    points = len(watching.now)
    wait_until(lambda: feeder.gateway.health()["mqtt"] == "connected", 10)
    feeder.broker.kill()
    wait_until(lambda: feeder.gateway.health()["mqtt"] != "connected", 10)
    # The rest goes on without a broker.
    changes = len(watching.changes)
    feeder.devices["rtu"].order(ioa=1013, value=77)
    wait_until(lambda: watching.now["dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB"]["value"] == 77, 5)
    assert {each["status"] for each in watching.changes[changes:]} == {"Good"}
    feeder.broker.start()  # with nothing retained any more
    wait_until(lambda: feeder.gateway.health()["mqtt"] == "connected", 10)
    subscriber = feeder.subscriber("after-broker")
    wait_until(complete(feeder, subscriber, points), 10, lambda: len(subscriber.last))
    assert subscriber.of("v")["dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB"]["v"] == 77
    wait_until(lambda: feeder.gateway.metrics()["twin_gateway_mqtt_due"] == 0, 10)
    fresh = feeder.subscriber("retained")  # what a subscriber that comes later finds
    wait_until(complete(feeder, fresh, points), 10, lambda: len(fresh.last))
    feeder.devices["rtu"].order(ioa=1013, value=51)
    wait_until(lambda: subscriber.of("v")["dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB"]["v"] == 51, 5)
    subscriber.stop()
    fresh.stop()


def test_a_killed_gateway_comes_back_and_repeats_no_command(feeder: Feeder) -> None:
    watching, operator = feeder.client("watching-on"), feeder.client("operating", **OPERATOR)
    points = watching.addresses()
    watching.watch(points)
    subscriber = feeder.subscriber("will")
    wait_until(complete(feeder, subscriber, len(points)), 10)
    ied, rtu = feeder.devices["ied"], feeder.devices["rtu"]
    moving = {"ied": f"{BAY61850}/QA1", "rtu": f"{SLOW104}/QA1"}
    shown = {"ied": f"{BAY61850}/QA1/XCBR1/Pos", "rtu": f"{SLOW104}/QA1/CSWI1/Pos"}
    wanted = {name: watching.now[address]["value"] == 1 for name, address in shown.items()}
    before = {"ied": len(ied.said("operated")), "rtu": len(rtu.said("command"))}
    ied.order(ref="LD0/CSWI1.Pos", travel=2.5)
    chosen = operator.command(f"{moving['ied']}/CSWI1", "Select", *_inputs(wanted["ied"]))
    assert chosen["status"] == "Good", chosen
    request = {name: uuid.uuid4().hex for name in moving}
    asked = {
        name: operator.ask_command(
            f"{equipment}/CSWI1",
            "Operate",
            *_inputs(wanted[name]),
            ("String", "killed on the way"),
            ("String", request[name]),
        )
        for name, equipment in moving.items()
    }
    wait_until(lambda: all(watching.now[address]["value"] == 0 for address in shown.values()), 5)
    killed, reconnects = time.monotonic(), len(watching.events)
    feeder.gateway.kill()
    wait_until(lambda: subscriber.last[STATE_TOPIC]["state"] == "offline", 30, lambda: subscriber.last[STATE_TOPIC])
    will = time.monotonic() - killed
    for number in asked.values():  # the clients are told; they do not wait for ever
        with pytest.raises((ConnectionError, AssertionError)):
            operator.answer(number, 12)
    feeder.gateway.start()
    feeder.settle()
    # Both clients come back by themselves, the subscription with them.
    wait_until(lambda: "connection_reestablished" in watching.events[reconnects:], 30, lambda: watching.events)
    first = len(watching.changes)
    wait_until(
        lambda: {each["address"] for each in watching.changes[first:]} >= {LINK["rtu"] + "/LCCH1/RxCnt"},
        30,
        lambda: watching.events,
    )
    wait_until(
        lambda: set(watching.statuses(points).values()) == {"Good"},
        20,
        lambda: {name: each for name, each in watching.statuses(points).items() if each != "Good"},
    )
    wait_until(complete(feeder, subscriber, len(points)), 15)
    # The devices went on with what they had been told, once.
    for name, address in shown.items():
        wait_until(lambda name=name, address=address: watching.now[address]["value"] == (2 if wanted[name] else 1), 10)
    assert len(ied.said("operated")) == before["ied"] + 1
    assert len(rtu.said("command")) == before["rtu"] + 1
    # Asked again under the same request id: nobody knows what came of it, and nothing is sent.
    again = feeder.client("asking-again", **OPERATOR)
    for name, equipment in moving.items():
        answer = again.command(
            f"{equipment}/CSWI1", "Operate", *_inputs(wanted[name]), ("String", ""), ("String", request[name])
        )
        assert (answer["status"], answer["outputs"][2]) == ("BadTimeout", "request"), answer
        assert "not repeated" in answer["outputs"][3]
    time.sleep(3)
    assert len(ied.said("operated")) == before["ied"] + 1
    assert len(rtu.said("command")) == before["rtu"] + 1
    kinds = [each["kind"] for each in feeder.audit() if each["details"].get("requestId") in request.values()]
    assert kinds == ["command.operate"] * 2 + ["command.operate.repeated"] * 2, "on disk before they left"
    ied.order(ref="LD0/CSWI1.Pos", travel=0.12)
    assert will < 25, "the Will comes with the keep-alive of 15 s at the latest"
    for client in (watching, operator, again):
        client.leave()
    subscriber.stop()


def _inputs(value: bool) -> list[tuple[str, object]]:
    return [("String", "Pos"), ("Boolean", value), ("Boolean", False), ("Boolean", True), ("Boolean", True)]
