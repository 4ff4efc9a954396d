"""What one meter sends unasked: who may use up its rate, another meter behind the device, a port that is taken."""

import asyncio
import socket
from collections import Counter

import pytest
from peers.ports import free_port
from peers.waiting import until

from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.contract import LinkLost
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.ciphering import Ciphering, Key
from twin_gateway.drivers.dlms.ciphering import Counter as Invocations
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.push import PushReceiver
from twin_gateway.drivers.dlms.wrapper import frame

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
FIRST, SECOND = b"TWM\0\0\0\0\1", b"TWM\0\0\0\0\2"
FLOW = Flow(Carrier.UDP, ("127.0.0.1", 4059), ("127.0.0.1", 5000))


class Link:
    name = "m1"

    def __init__(self):
        self.counters, self.errors = Counter(), []

    def count(self, counter, by=1):
        self.counters[counter] += by

    def error(self, text, address=""):
        self.errors.append(text)

    def event(self, *_args, **_more):
        pass

    up = connected = traffic = event


def message(title, counter, altered=False):
    plain = b"\x0f\0\0\0\1\0" + bytes((Tag.STRUCTURE, 1)) + encode(Tag.UINT32, counter)
    sealed = Ciphering(title, Key(EK), Key(AK), Invocations(counter)).protect_general(plain)
    return sealed[:-1] + bytes((sealed[-1] ^ altered,))


def receiver_of(tmp_path, delivered, **push):
    section = {"listen": f"127.0.0.1:{free_port()}", "columns": ["1/0-0:96.1.0/2"]} | push
    keys = {"authentication": AK.hex(), "encryption": EK.hex()}
    config = DlmsConfig.model_validate({"host": "127.0.0.1", "security": "hls-gmac", "keys": keys, "push": section})
    cipher = Ciphering(b"TWG\0\0\0\0\1", Key(EK), Key(AK), Invocations(1, 0))
    return PushReceiver(config, config.push, tmp_path / "push.json", cipher, lambda *what: delivered.append(what))


async def test_what_is_not_authentic_does_not_use_up_the_rate_of_the_meter(tmp_path):
    delivered, link = [], Link()
    receiver = receiver_of(tmp_path, delivered, rate=5, meter_title=FIRST.hex())
    await receiver.open(link)
    try:
        for _ in range(20):
            assert not receiver.take(message(FIRST, 7, altered=True), FLOW, b"")
        assert receiver.take(message(FIRST, 7), FLOW, b"") and len(delivered) == 1
        for counter in range(8, 20):
            receiver.take(message(FIRST, counter), FLOW, b"")
        assert len(delivered) == 5 and link.counters["push_losses"] == 8
    finally:
        receiver.close()


async def test_the_counter_of_pushes_is_on_disk_soon_and_nobody_waits_for_it(tmp_path, monkeypatch):
    delivered, link, synced = [], Link(), []
    monkeypatch.setattr("twin_gateway.drivers.dlms.push.sync_file", lambda path: synced.append(path.read_bytes()))
    receiver = receiver_of(tmp_path, delivered, meter_title=FIRST.hex())
    await receiver.open(link)
    try:
        for counter in (7, 8, 9):
            assert receiver.take(message(FIRST, counter), FLOW, b"")
        assert not synced
        await until(lambda: synced)
        assert receiver.take(message(FIRST, 10), FLOW, b"")
    finally:
        receiver.close()
    await until(lambda: len(synced) == 2)
    assert [b'"counter": 9' in synced[0], b'"counter": 10' in synced[1]] == [True, True]


async def test_a_disk_that_fails_is_told_when_the_counter_of_pushes_is_not_safe(tmp_path, monkeypatch):
    def fails(_path):
        raise OSError(5, "Input/output error")

    delivered, link = [], Link()
    monkeypatch.setattr("twin_gateway.drivers.dlms.push.sync_file", fails)
    receiver = receiver_of(tmp_path, delivered, meter_title=FIRST.hex())
    await receiver.open(link)
    assert receiver.take(message(FIRST, 7), FLOW, b"")
    receiver.close()
    await until(lambda: link.errors)
    assert "power failure" in link.errors[0] and link.counters["push_errors"] == 1


async def test_another_meter_behind_the_device_begins_with_a_counter_of_its_own(tmp_path):
    delivered, link = [], Link()
    receiver = receiver_of(tmp_path, delivered)
    await receiver.open(link)
    try:
        await receiver.learn(None, FIRST, "")
        assert receiver.take(message(FIRST, 5000), FLOW, b"")
        await receiver.learn(None, SECOND, "")
        assert receiver.take(message(SECOND, 3), FLOW, b"") and len(delivered) == 2
        assert not receiver.take(message(SECOND, 3), FLOW, b"")
    finally:
        receiver.close()


async def test_a_port_that_is_taken_is_told_at_once_and_had_as_soon_as_it_is_free(tmp_path):
    delivered, link = [], Link()
    receiver = receiver_of(tmp_path, delivered, only=True, meter_title=FIRST.hex())
    with socket.create_server(receiver._push.where):
        await receiver.open(link)
        with pytest.raises(LinkLost, match="cannot be heard"):
            await receiver.only(link)
    await receiver.open(link)
    task = asyncio.create_task(receiver.only(link))
    try:
        assert receiver.take(message(FIRST, 1), FLOW, b"")
        await until(lambda: not receiver.heard.is_set())
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        receiver.close()


async def test_a_concentrator_is_not_cut_off_for_a_meter_that_nobody_knows(tmp_path):
    delivered, link = [], Link()
    receiver = receiver_of(tmp_path, delivered, meter_title=FIRST.hex())
    await receiver.open(link)
    _, writer = await asyncio.open_connection(*receiver._push.where)
    try:
        for number in range(30):
            writer.write(frame(1, 1, message(FIRST, number)) + frame(2, 1, message(SECOND, number)))
        await until(lambda: link.counters["push_strangers"] == 30)
        assert len(delivered) == 30 and not writer.transport.is_closing()
    finally:
        writer.close()
        receiver.close()
