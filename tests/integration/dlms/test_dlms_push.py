"""What meters send unasked: the sender is gurux-dlms in a process of its own, the meter pydlms-client's simulator."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from peers.ports import free_port
from peers.waiting import until

from address_space.events import EventJournal
from address_space.table import PointTable
from twin_gateway.drivers.dlms import push_listener
from twin_gateway.drivers.dlms.push_listener import listener_at
from twin_gateway.drivers.link import LinkState, LinkSupervisor

pytestmark = pytest.mark.timeout(300)

TITLE = b"TWM\0\0\0\0\1".hex()
COLUMNS = ["1/0-0:42.0.0/2", "3/1-0:32.7.0/2", "3/1-0:1.8.0/2"]
SCRIPT = str(Path(__file__).with_name("gurux_push.py"))


@pytest.fixture
def port():
    return free_port()


@pytest.fixture(scope="module")
def _sender():
    with subprocess.Popen(
        [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def octets(_sender):
    """Has gurux-dlms send one push; what it sent."""

    def send(port, counter=-1, voltage=2402, device=1, how="tcp"):
        _sender.stdin.write(json.dumps([port, how, counter, voltage, device]) + "\n")
        _sender.stdin.flush()
        return bytes.fromhex(_sender.stdout.readline())

    return send


def points(dlms):
    return [dlms.point(0, "1-0:32.7.0", quantity="voltage"), dlms.point(1, "1-0:1.8.0", quantity="active energy")]


def only(port, **fields):
    """A device section of a meter that is never called, whose scalers are kept from before."""
    return {"listen": f"127.0.0.1:{port}", "only": True, "columns": COLUMNS} | fields


def keep(link, **fields):
    known = {"scalers": {"3/1-0:32.7.0/3": [-1, 35], "3/1-0:1.8.0/3": [0, 30]}} | fields
    (link.data_directory / "dlms-push-m1.json").write_text(json.dumps(known))


class Listening:
    """A driver of a meter that is only listened to."""

    def __init__(self, driver, link, port):
        self.driver, self.link, self.port = driver, link, port

    async def __aenter__(self):
        self.task = asyncio.create_task(self.driver.run(self.link))
        await until(lambda: self.task.done() or listener_at("127.0.0.1", self.port)._datagrams is not None)

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_ciphered_push_is_understood_by_the_push_setup_read_at_connect(dlms, log_meter, link, port, octets):
    config = dlms.config(log_meter, "hls-gmac", poll=60.0, push={"listen": f"127.0.0.1:{port}"})
    async with dlms.Running(dlms.Driver("m1", config, points(dlms)), link):
        await link.until(lambda: link.values)
        assert link.values[0] == 230.1
        sent = octets(port, counter=7)
        await link.until(lambda: link.counters["pushes"])
    assert link.values == {0: 240.2, 1: 123456.0} and link.source_time[0]
    # In the capture the push stands beside what was polled, each with its own connection.
    flows = {record.flow.local[1]: record.octets for record in link.ring.records()}
    assert flows[port] == sent and len(flows) >= 2


async def test_an_old_counter_is_refused_also_after_a_restart(dlms, link, port, octets):
    keep(link)
    config = dlms.config(1, "hls-gmac", push=only(port, meter_title=TITLE))
    async with Listening(dlms.Driver("m1", config, points(dlms)), link, port):
        sent = octets(port, counter=7)
        await link.until(link.is_up.is_set)
        with socket.create_connection(("127.0.0.1", port)) as replay:
            replay.sendall(sent)
            await link.until(lambda: link.counters["push_security_errors"] == 1)
    assert [code for code, _ in link.events] == ["D09"]
    again = dlms.MemoryLink(link.data_directory)
    async with Listening(dlms.Driver("m1", config, points(dlms)), again, port):
        with socket.create_connection(("127.0.0.1", port)) as replay:
            replay.sendall(sent)
            await again.until(lambda: again.counters["push_security_errors"] == 1)
        assert not again.values and not again.is_up.is_set()
        octets(port, counter=8, voltage=2410, how="udp")
        await again.until(lambda: again.values.get(0) == 241.0)


async def test_a_push_that_is_not_authentic_changes_nothing(dlms, link, port, octets):
    keep(link)
    config = dlms.config(1, "hls-gmac", push=only(port, meter_title=TITLE))
    async with Listening(dlms.Driver("m1", config, points(dlms)), link, port):
        sent = bytearray(octets(port, counter=9))
        await link.until(lambda: link.counters["pushes"])
        before = dict(link.values)
        sent[-1] ^= 1
        # A counter beyond all others, and a wrong tag: nothing moves on.
        at = sent.index(b"\x30\x00\x00\x00\x09") + 1
        sent[at : at + 4] = b"\x7f\xff\xff\xff"
        with socket.create_connection(("127.0.0.1", port)) as forged:
            forged.sendall(sent)
            await link.until(lambda: link.counters["push_security_errors"] == 1)
        assert link.values == before
        octets(port, counter=10, voltage=2350)
        await link.until(lambda: link.values[0] == 235.0)


async def test_a_device_with_keys_hears_no_plain_push(dlms, link, port, octets):
    keep(link)
    config = dlms.config(1, "hls-gmac", push=only(port, meter_title=TITLE))
    async with Listening(dlms.Driver("m1", config, points(dlms)), link, port):
        octets(port)
        await link.until(lambda: any(code == "D09" and "unknown meter" in text for code, text in link.events))
    assert not link.values


async def test_plain_pushes_are_told_apart_by_logical_device_or_by_name(dlms, link, port, octets):
    keep(link)
    (other := link.data_directory.parent / "other").mkdir()
    second = dlms.MemoryLink(other, "m2")
    by_name = only(port, by="name", name="TWM0000000000001")
    by_device = dlms.config(1, "none", logical_device=5, push=only(port))
    async with Listening(dlms.Driver("m1", by_device, points(dlms)), link, port):
        octets(port, device=5, voltage=2222)
        await link.until(lambda: link.values.get(0) == 222.2)
        octets(port, device=6)
        await link.until(lambda: any("logical device 6" in text for _, text in link.events))
        (other / "dlms-push-m2.json").write_text((link.data_directory / "dlms-push-m1.json").read_text())
        named = dlms.Driver("m2", dlms.config(1, "none", logical_device=9, push=by_name), points(dlms))
        async with Listening(named, second, port):
            await until(lambda: listener_at("127.0.0.1", port)._by_name)
            octets(port, device=77, voltage=2111)
            await second.until(lambda: second.values.get(0) == 211.1)
    assert link.values[0] == 222.2


async def test_an_unprotected_datagram_is_refused_unless_the_section_takes_it(dlms, link, port, octets):
    keep(link)
    driver = dlms.Driver("m1", dlms.config(1, "none", push=only(port)), points(dlms))
    async with Listening(driver, link, port):
        octets(port, how="udp")
        await link.until(lambda: link.counters["push_security_errors"])
    assert not link.values
    again = dlms.MemoryLink(link.data_directory)
    driver = dlms.Driver("m1", dlms.config(1, "none", push=only(port, plain_udp=True)), points(dlms))
    async with Listening(driver, again, port):
        octets(port, how="udp")
        await again.until(lambda: again.values.get(0) == 240.2)


async def test_more_than_the_rate_is_dropped_and_told(dlms, link, port, octets):
    keep(link)
    driver = dlms.Driver("m1", dlms.config(1, "none", push=only(port, rate=3)), points(dlms))
    async with Listening(driver, link, port):
        sent = octets(port)
        with socket.create_connection(("127.0.0.1", port)) as flood:
            flood.sendall(sent * 6)
            await link.until(lambda: link.counters["push_losses"] >= 4)
    assert link.counters["pushes"] == 3 and [code for code, _ in link.events] == ["D08"]


async def test_connections_and_nonsense_have_limits(dlms, link, port, octets, monkeypatch):
    monkeypatch.setattr(push_listener, "CONNECTIONS_AN_ADDRESS", 2)
    driver = dlms.Driver("m1", dlms.config(1, "none", push=only(port)), points(dlms))
    async with Listening(driver, link, port):
        openings = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, _ = openings[2]
        assert await asyncio.wait_for(reader.read(), 5) == b""  # one too many
        first, sender = openings[0]
        sender.write(b"\0\1\0\7\0\1\xff\xff")  # announces more than is taken
        assert await asyncio.wait_for(first.read(), 5) == b""
        third, sender = openings[1]
        sender.write(b"\0\1\0\1\0\1\0\2\x0f\0" * 20)  # truncated notifications
        assert await asyncio.wait_for(third.read(), 5) == b""
        for _, writer in openings:
            writer.close()
    assert link.counters["push_errors"] == push_listener.STRIKES
    assert link.counters["push_connections"] == 1 and link.counters["push_malformed"] == 1


async def test_a_meter_that_only_pushes_is_down_when_it_falls_silent(dlms, link, port, octets):
    keep(link)
    driver = dlms.Driver("m1", dlms.config(1, "none", push=only(port, silence=1.0)), points(dlms))
    task = asyncio.create_task(driver.run(link))
    await until(lambda: listener_at("127.0.0.1", port)._datagrams is not None)
    octets(port)
    await link.until(link.is_up.is_set)
    with pytest.raises(ConnectionError, match="nothing was pushed"):
        await task
    # It is still heard, until the link ends for good.
    octets(port, voltage=2345)
    await link.until(lambda: link.values[0] == 234.5)
    driver.retire()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_link_that_is_removed_while_it_waits_to_reconnect_hears_nothing_any_more(dlms, tmp_path, port):
    # Nobody answers at port 1, so the link waits most of the time.
    driver = dlms.Driver("m1", dlms.config(1, "none", push={"listen": f"127.0.0.1:{port}"}), points(dlms))
    supervisor = LinkSupervisor(
        "m1", driver, table=PointTable(), events=EventJournal(), address="g/_sys/_/_/_/m1", data_directory=tmp_path
    )
    task = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.state is LinkState.DOWN and "not connected yet" not in supervisor.reason)
    (await asyncio.open_connection("127.0.0.1", port))[1].close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
