"""An operator looks: browsing, units, live changes with device time and quality, the same by MQTT, health."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from peers.acceptance.feeder import (
    BAY104,
    BAY61850,
    DEVICES,
    LINK,
    METER,
    SENSOR,
    STATE_TOPIC,
    SYSTEM,
    Feeder,
    Subscriber,
    recently,
)
from peers.acceptance.processes import OpcUaClient
from peers.waiting import wait_until

INVALID, BLOCKED, NOT_TOPICAL, SUBSTITUTED = 0x80, 0x10, 0x40, 0x20


@pytest.fixture
def subscriber(feeder: Feeder) -> Iterator[Subscriber]:
    """mosquitto_sub with all that is retained."""
    subscribed = feeder.subscriber()
    wait_until(lambda: subscribed.of("v") and subscribed.of("s"), 5)
    yield subscribed
    subscribed.stop()


def milliseconds(text: str) -> float:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_a_breaker_position_is_found_from_objects_by_browsing(feeder: Feeder, watching: OpcUaClient) -> None:
    node = "i=85"
    for name in ("Grid", *f"{BAY61850}/QA1/XCBR1/Pos".split("/")):
        children = {each["name"]: each["nodeId"] for each in watching("browse", nodeId=node)}
        assert name in children, f"{name} is not among {sorted(children)}"
        node = children[name]
    assert node == f"ns=2;s={BAY61850}/QA1/XCBR1/Pos"
    path = "/2:Grid/2:dso1/2:north/2:PS01/2:MV1/2:F05/2:QA1/2:XCBR1/2:Pos"
    found = watching("path", start="i=85", path=path)
    assert found == {"status": "Good", "targets": [f"ns=2;s={BAY104}/QA1/XCBR1/Pos"]}


def test_a_breaker_position_says_its_type_and_its_states(feeder: Feeder, watching: OpcUaClient) -> None:
    address = f"{BAY104}/QA1/XCBR1/Pos"
    assert watching.read(address, "DataType")["value"] == "ns=0;i=6"
    states = watching.read(f"{address}#EnumValues")["value"]
    assert [(each["value"][1], each["displayName"]["text"]) for each in states] == [
        (0, "intermediate-state"),
        (1, "off"),
        (2, "on"),
        (3, "bad-state"),
    ]


@pytest.mark.parametrize(
    ("address", "symbol", "unece"),
    [
        (f"{BAY61850}/_/MMXU1/TotW", "W", 5723220),
        (f"{BAY104}/_/MMXU1/PPV/phsAB", "V", 5655636),
        (f"{METER}/MMTR1/DmdWh", "W.h", 5720146),
        (f"{SENSOR}/STMP1/Tmp", "°C", 4408652),
    ],
)
def test_measured_values_have_their_engineering_unit(
    feeder: Feeder, watching: OpcUaClient, address: str, symbol: str, unece: int
) -> None:
    unit = watching.read(f"{address}#EngineeringUnits")["value"]
    assert unit["unitId"] == unece
    assert unit["namespaceUri"] == "http://www.opcfoundation.org/UA/units/un/cefact"
    assert watching.read(address, "DataType")["value"] == "ns=0;i=11"


def test_all_points_of_all_devices_are_good(feeder: Feeder, watching: OpcUaClient) -> None:
    wait_until(
        lambda: set(watching.statuses(watching.now).values()) == {"Good"},
        10,
        lambda: {name: status for name, status in watching.statuses(watching.now).items() if status != "Good"},
    )


def test_changes_carry_the_time_of_the_device(feeder: Feeder, watching: OpcUaClient) -> None:
    at = recently(0.8)
    feeder.devices["ied"].order(ref="LD0/XSWI1.Pos", value=1, time=at)
    feeder.devices["rtu"].order(ioa=1001, value=1, time=at)
    for address in (f"{BAY61850}/QB1/XSWI1/Pos", f"{BAY104}/QB1/XSWI1/Pos"):
        change = wait_until(lambda address=address: watching.now[address]["value"] == 1 and watching.now[address], 5)
        assert change["status"] == "Good"
        assert milliseconds(change["source"]) == pytest.approx(at * 1000, abs=1)
        assert milliseconds(change["server"]) > at * 1000 + 100
    back = recently(0.1)
    feeder.devices["ied"].order(ref="LD0/XSWI1.Pos", value=2, time=back)
    feeder.devices["rtu"].order(ioa=1001, value=2, time=back)
    wait_until(lambda: watching.now[f"{BAY61850}/QB1/XSWI1/Pos"]["value"] == 2, 5)
    wait_until(lambda: watching.now[f"{BAY104}/QB1/XSWI1/Pos"]["value"] == 2, 5)


def test_values_of_meter_and_sensor_follow_the_device(feeder: Feeder, watching: OpcUaClient) -> None:
    feeder.devices["meter"].order(meter="m1", obis="1-0:16.7.0", value=987)
    feeder.devices["sensor"].order(device="sensor", path="/senml", name="temp", value=55.5)
    wait_until(lambda: watching.now[f"{METER}/MMXU1/TotW"]["value"] == 987, 5)
    wait_until(lambda: watching.now[f"{SENSOR}/STMP1/Tmp"]["value"] == 55.5, 5)


@pytest.mark.parametrize(
    ("octet", "status", "word"),
    [
        (INVALID, "Bad", "invalid"),
        (BLOCKED, "UncertainLastUsableValue", "operatorBlocked"),
        (NOT_TOPICAL, "UncertainLastUsableValue", "oldData"),
        (SUBSTITUTED, "GoodLocalOverride", "substituted"),
    ],
)
def test_mqtt_shows_the_quality_that_opc_ua_shows(
    feeder: Feeder, watching: OpcUaClient, subscriber: Subscriber, octet: int, status: str, word: str
) -> None:
    address = f"{BAY104}/_/MMXU1/A/phsA"
    for given, name, said in ((octet, status, word), (0, "Good", "good")):
        feeder.devices["rtu"].order(ioa=1012, value=60, quality=given)
        wait_until(lambda name=name: watching.now[address]["status"] == name, 5)
        wait_until(lambda said=said: said in subscriber.of("v").get(address, {"q": ""})["q"], 5)
        change, payload = watching.now[address], subscriber.of("v")[address]
        assert (payload["v"], payload["s"]) == (change["value"], change["code"])
        assert milliseconds(payload["t"]) == pytest.approx(milliseconds(change["source"]), abs=1)


def test_mqtt_shows_another_quality_also_where_the_status_stays(feeder: Feeder, subscriber: Subscriber) -> None:
    address = f"{BAY104}/_/MMXU1/A/phsC"
    for octet, word in ((BLOCKED, "operatorBlocked"), (NOT_TOPICAL, "oldData"), (0, "good")):
        feeder.devices["rtu"].order(ioa=1014, value=52, quality=octet)
        wait_until(
            lambda word=word: word in subscriber.of("v").get(address, {"q": ""})["q"], 5, lambda: subscriber.of("v")
        )


def test_mqtt_shows_the_values_that_opc_ua_shows(feeder: Feeder, watching: OpcUaClient, subscriber: Subscriber) -> None:
    wait_until(lambda: len(subscriber.of("v")) == len(watching.now), 10, lambda: len(subscriber.of("v")))
    retained = len(subscriber.all)
    time.sleep(3)
    messages = [
        (topic, payload) for topic, payload in subscriber.all[retained:] if topic.startswith("twin/v/dso1/north")
    ]
    assert len(messages) > 15, "devices send more often than that"
    time.sleep(0.5)
    seen = {(each["address"], each["value"], each["code"], milliseconds(each["source"])) for each in watching.changes}
    for topic, payload in messages:
        address = topic.removeprefix("twin/v/")
        at = milliseconds(payload["t"])
        same = [(address, payload["v"], payload["s"], at + off) in seen for off in (-1, 0, 1)]
        assert any(same), f"only MQTT has {topic} {payload}"
    # What does not move is the same in both at any time.
    for address in (f"{BAY104}/QA1/XCBR1/Pos", f"{BAY61850}/QA1/XCBR1/Pos"):
        payload, change = subscriber.of("v")[address], watching.now[address]
        assert (payload["v"], payload["s"]) == (change["value"], change["code"])
        assert milliseconds(payload["t"]) == pytest.approx(milliseconds(change["source"]), abs=1)


def test_mqtt_says_what_every_point_is_and_how_the_links_do(
    feeder: Feeder, watching: OpcUaClient, subscriber: Subscriber
) -> None:
    wait_until(lambda: len(subscriber.of("m")) == len(watching.now), 10)
    power = subscriber.of("m")[f"{BAY104}/_/MMXU1/TotW"]
    assert (power["unit"], power["type"], power["link"]) == ("W", "Double", "rtu")
    assert power["binding"] == "104:rtu/7/1010"
    assert subscriber.of("m")[f"{BAY104}/QA1/CSWI1/Pos"]["controllable"] is True
    assert subscriber.last[STATE_TOPIC]["state"] == "online"
    assert {subscriber.last[f"twin/s/{LINK[name]}"]["state"] for name in DEVICES} == {"up"}


def test_an_alias_of_each_protocol_resolves(feeder: Feeder, watching: OpcUaClient) -> None:
    aliases = {
        "104:rtu/7/1010": f"{BAY104}/_/MMXU1/TotW",
        "61850:F07Q1/LD0/MMXU1.TotW": f"{BAY61850}/_/MMXU1/TotW",
        "dlms:meter/1/3/1.0.16.7.0.255/2": f"{METER}/MMXU1/TotW",
    }
    for alias, address in aliases.items():
        found = watching.command("#Grid", "Resolve", ("String", alias))
        assert (found["status"], found["outputs"][0]) == ("Good", address), alias


def test_health_and_metrics_tell_how_the_gateway_does(feeder: Feeder, watching: OpcUaClient) -> None:
    health = feeder.gateway.health()
    assert (health["status"], health["links"], health["links_down"]) == ("ok", 4, {})
    assert health["mqtt"] == "connected"
    assert health["points"] == len(watching.now)
    before = feeder.gateway.metrics()
    assert all(before[f'twin_gateway_link_up{{link="{name}"}}'] == 1 for name in DEVICES)
    assert before["twin_gateway_opcua_sessions"] >= 1
    time.sleep(1.5)
    after = feeder.gateway.metrics()
    for name in DEVICES:
        samples = f'twin_gateway_link_total{{link="{name}",what="samples"}}'
        assert after[samples] > before[samples], name
    assert after["twin_gateway_mqtt_acknowledged_total"] > before["twin_gateway_mqtt_acknowledged_total"]
    lost = {name: value for name, value in after.items() if value and ("lost" in name or "dropped" in name)}
    assert not lost
    assert after["twin_gateway_lost_changes_total"] == 0


def test_the_gateway_shows_its_links_as_points(feeder: Feeder, watching: OpcUaClient) -> None:
    own = f"{SYSTEM}/_/_/_/twGWAY1"
    wait_until(lambda: watching.now[f"{own}/LnkUpCnt"]["value"] == 4, 5)
    assert watching.now[f"{own}/LnkCnt"]["value"] == 4
    assert all(watching.now[f"{LINK[name]}/LCCH1/ChLiv"]["value"] is True for name in DEVICES)
    received = watching.now[f"{LINK['rtu']}/LCCH1/RxCnt"]["value"]
    wait_until(lambda: watching.now[f"{LINK['rtu']}/LCCH1/RxCnt"]["value"] > received, 5)
