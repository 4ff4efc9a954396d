"""The gateway starts when nothing else is there, takes in what comes, and leaves in good order on SIGTERM."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.acceptance.feeder import LINK, STATE_TOPIC, Feeder, owner
from peers.waiting import wait_until

# What each protocol says when it ends an association: STOPDT act, MMS conclude-request, RLRQ with its reason.
FAREWELL = {"rtu": b"\x68\x04\x13\x00\x00\x00", "ied": b"\x8b\x00", "meter": b"\x62\x03\x80\x01\x00"}


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Feeder]:
    """A gateway with nothing around it."""
    feeder = Feeder(tmp_path, tapped=True)
    try:
        feeder.add_users()
        feeder.gateway.start()
        yield feeder
    finally:
        feeder.stop()


def test_starts_alone_takes_in_what_comes_and_stops_in_good_order(lonely: Feeder) -> None:
    # It serves at once, and no value is made up.
    client = lonely.client("early")
    addresses = client.addresses()
    client.watch(addresses)
    field = [address for address in addresses if owner(address)]
    assert len(field) > 40
    assert set(client.statuses(field).values()) == {"BadWaitingForInitialData"}
    assert {client.now[address]["value"] for address in field} == {None}
    assert {client.now[address]["status"] for address in addresses if not owner(address)} == {"Good"}
    health = lonely.gateway.health()
    assert health["status"] == "ok"
    assert set(health["links_down"]) == set(LINK)
    assert health["mqtt"] != "connected"

    # Then everything comes by itself.
    lonely.broker.start()
    lonely.start_devices()
    wait_until(
        lambda: set(client.statuses(addresses).values()) == {"Good"},
        60,
        lambda: {name: status for name, status in client.statuses(addresses).items() if status != "Good"},
    )
    wait_until(lambda: lonely.gateway.health()["mqtt"] == "connected", 10)
    subscriber = lonely.subscriber()
    wait_until(lambda: len(subscriber.of("v")) == len(addresses), 10)
    assert subscriber.last[STATE_TOPIC]["state"] == "online"

    # And it leaves at once, telling everybody.
    began = time.monotonic()
    assert lonely.gateway.terminate(30) == 0
    assert time.monotonic() - began < 20
    wait_until(lambda: subscriber.last[STATE_TOPIC]["state"] == "offline", 5)
    assert subscriber.last[STATE_TOPIC]["t"] is not None, "said by itself; the Will cannot know the time"
    for name, octets in FAREWELL.items():
        ends = [bytes(sent[-64:]).hex() for sent in lonely.taps[name].sent]
        assert any(octets in sent[-64:] for sent in lonely.taps[name].sent), f"{name}: {ends}"
    assert "Traceback" not in lonely.gateway.complaint()


def test_a_port_that_is_taken_is_said_in_a_sentence(lonely: Feeder) -> None:
    same = (lonely.folder / "gateway.yaml").read_text("utf-8")
    (lonely.folder / "second.yaml").write_text(f"{same}data_directory: second\n", "utf-8")
    second = lonely.gateway.__class__(lonely.folder, 0, 0, "second.yaml")
    second.errors = lonely.folder / "second.stderr"
    second.start_only()
    try:
        assert wait_until(lambda: None if second.running else [second.process.returncode], 20) == [1]
        assert "Traceback" not in second.complaint()
        assert "address already in use" in second.complaint().lower()
    finally:
        second.stop()
