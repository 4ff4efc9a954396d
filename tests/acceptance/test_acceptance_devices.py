"""A device dies by kill -9: its own points say so in time, all others stay Good, and it comes back by itself."""

from __future__ import annotations

import time

import pytest
from peers.acceptance.feeder import DEVICES, LINK, Feeder, owner
from peers.acceptance.processes import OpcUaClient
from peers.waiting import wait_until

# 10 s for those that hold an association; the poll of 1 s for the meter; stale_after, 5 s, for the sensor. A second for
# the machine.
NOTICED_WITHIN = {"ied": 10.0, "rtu": 10.0, "meter": 2.0, "sensor": 6.0}


@pytest.mark.parametrize("name", DEVICES)
def test_a_killed_device_takes_only_its_own_points_along(feeder: Feeder, watching: OpcUaClient, name: str) -> None:
    own = [address for address in watching.now if owner(address) == name]
    others = [address for address in watching.now if owner(address) != name]
    assert own
    wait_until(lambda: set(watching.statuses(watching.now).values()) == {"Good"}, 15, lambda: watching.statuses(own))
    subscriber = feeder.subscriber(f"death-{name}")
    wait_until(lambda: f"twin/s/{LINK[name]}" in subscriber.last, 5)
    first = len(watching.changes)
    killed = time.monotonic()
    feeder.devices[name].kill()
    wait_until(
        lambda: "Good" not in watching.statuses(own).values(), NOTICED_WITHIN[name] + 1, lambda: watching.statuses(own)
    )
    noticed = max(watching.now[address]["at"] for address in own) - killed
    assert noticed <= NOTICED_WITHIN[name]
    # The last value is still shown, as what it is.
    assert set(watching.statuses(own).values()) == {"UncertainNoCommunicationLastUsableValue"}
    assert [address for address in own if watching.now[address]["value"] is None] == []
    wait_until(lambda: watching.now[f"{LINK[name]}/LCCH1/ChLiv"]["value"] is False, 5)
    wait_until(lambda: (subscriber.last.get(f"twin/s/{LINK[name]}") or {}).get("state") in {"down", "connecting"}, 5)
    event = wait_until(lambda: subscriber.of("e").get(LINK[name]), 5)
    assert (event["code"], event["state"]) == ("D01", "active")
    assert name in feeder.gateway.health()["links_down"]

    feeder.devices[name].start()
    wait_until(lambda: set(watching.statuses(own).values()) == {"Good"}, 20, lambda: watching.statuses(own))
    wait_until(lambda: subscriber.last[f"twin/s/{LINK[name]}"]["state"] == "up", 5)
    disturbed = {each["address"]: each["status"] for each in watching.changes[first:] if each["address"] in others}
    assert set(disturbed.values()) <= {"Good"}, disturbed
    subscriber.stop()
