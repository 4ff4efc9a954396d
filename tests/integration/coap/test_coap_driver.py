"""The CoAP driver against npm coap, an implementation that shares no code with it, on both event loops."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from peers.coap.rig import Recorder, free_port, point, running

from address_space import clock
from address_space.catalogue import ValueType
from address_space.quality import Quality, StatusCode, TimeFlag, status_of
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint, Link, LinkLost, PointChange


def driver(port: int, *points: BoundPoint, **config: Any) -> CoapDriver:
    settings = {"timeout": 2.0, "keepalive": 1.0, "ack_timeout": 0.3, **config}
    return CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{port}", **settings), points)


async def supervise(device: CoapDriver, link: Link) -> None:
    """What the supervisor does: run again after a loss."""
    while True:
        with contextlib.suppress(LinkLost):
            await device.run(link)
        await asyncio.sleep(0.1)


def status(recorder: Recorder, row: int) -> StatusCode:
    return status_of(recorder.last[row][1])


async def test_values_are_fetched_and_followed_with_receive_time(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/temp", payload="21.5", maxAge=60)
    before = clock.now()
    async with running(driver(peer.ready["port"], point(1, "/temp")), recorder):
        await recorder.until(lambda: 1 in recorder.last)
        assert recorder.ups >= 1
        for value in (22, 23, 24):
            await peer.say(path="/temp", payload=str(value), maxAge=60)
        await recorder.until(lambda: recorder.seen[1] == [21.5, 22, 23, 24])
    value, quality, ticks = recorder.last[1]
    assert value == 24
    assert quality == TimeFlag.RECEIVED
    assert before <= ticks <= clock.now()
    assert recorder.counters["notifications"] == 3
    assert recorder.counters["receive_buffer_octets"] > 0


async def test_one_resource_feeds_many_points_and_is_asked_for_once(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    stated = time.time() - 5
    pack = (
        f'[{{"bn":"urn:dev:1/","bt":{stated},"n":"t","u":"K","v":300}},{{"n":"open","vb":true}},{{"n":"id","vs":"X1"}}]'
    )
    await peer.say(path="/senml", payload=pack, format=110, maxAge=60)
    points = [
        point(1, "/senml", name="t", quantity="temperature"),
        point(2, "/senml", name="open", cdc="SPS", value_type=ValueType.BOOLEAN),
        point(3, "/senml", name="open", cdc="DPS", value_type=ValueType.INT32),
        point(4, "/senml", name="id", cdc="VSS", value_type=ValueType.STRING),
    ]
    async with running(driver(peer.ready["port"], *points), recorder):
        await recorder.until(lambda: len(recorder.last) == 4)
    assert recorder.counters["requests"] == 1
    assert [recorder.last[row][0] for row in (1, 2, 3, 4)] == [pytest.approx(26.85), 1.0, 2.0, "X1"]
    assert all(quality == 0 for _, quality, _ in recorder.last.values()), "the device gave the time itself"
    assert abs(clock.to_unix(recorder.last[1][2]) - stated) < 0.001


async def test_older_records_of_a_pack_are_late_once(node_peer: Callable[..., Any], recorder: Recorder) -> None:
    peer = await node_peer(free_port())
    now = round(time.time())
    pack = f'[{{"bn":"a","bt":{now},"v":3}},{{"t":-20,"v":1}},{{"t":-10,"v":2}}]'
    await peer.say(path="/log", payload=pack, format=110, maxAge=1)
    async with running(driver(peer.ready["port"], point(1, "/log", name="a")), recorder):
        await recorder.until(lambda: recorder.counters["responses"] >= 2)
    assert [(row, value) for row, value, _ in recorder.late] == [(1, 1.0), (1, 2.0)]
    assert set(recorder.seen[1]) == {3.0}


async def test_cbor_pointers_and_polling(node_peer: Callable[..., Any], recorder: Recorder) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/c", hex="a16162a16163fb4004000000000000", format=60, maxAge=60)  # {"b": {"c": 2.5}}
    fields = {"pointer": "/b/c", "observe": False, "poll": 0.3}
    async with running(driver(peer.ready["port"], point(1, "/c", **fields)), recorder):
        await recorder.until(lambda: recorder.counters["responses"] >= 3)
    assert recorder.last[1][0] == 2.5
    assert recorder.counters["notifications"] == 0


async def test_a_killed_server_ends_the_link_and_observations_return_by_themselves(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    port = free_port()
    peer = await node_peer(port)
    for number in range(5):
        await peer.say(path=f"/r{number}", payload="1", maxAge=60)
    device = driver(port, *(point(number, f"/r{number}") for number in range(5)))
    task = asyncio.create_task(supervise(device, recorder))
    try:
        await recorder.until(lambda: len(recorder.last) == 5)
        await peer.kill()
        await asyncio.sleep(1.5)
        assert recorder.counters["requests"] > 5, "the silence is looked into"
        await peer.start()
        for number in range(5):
            await peer.say(path=f"/r{number}", payload="2", maxAge=60)
        await recorder.until(lambda: all(recorder.last[row][0] == 2 for row in range(5)))
        notified = recorder.counters["notifications"]
        for number in range(5):
            await peer.say(path=f"/r{number}", payload="3", maxAge=60)
        await recorder.until(lambda: all(recorder.last[row][0] == 3 for row in range(5)))
        assert recorder.counters["notifications"] == notified + 5
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_restarted_unnoticed_is_found_out_and_all_observations_return(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    port = free_port()
    peer = await node_peer(port)
    for number in range(5):
        await peer.say(path=f"/r{number}", payload="1", maxAge=600)
    async with running(driver(port, *(point(number, f"/r{number}") for number in range(5))), recorder) as task:
        await recorder.until(lambda: len(recorder.last) == 5)
        await peer.kill()
        await peer.start()
        for number in range(5):
            await peer.say(path=f"/r{number}", payload="2", maxAge=600)
        # Long before Max-Age: silence makes it ask for one, and what that says makes it ask for all.
        await recorder.until(lambda: all(recorder.last[row][0] == 2 for row in range(5)), 5)
        assert not task.done()


async def test_freshness_becomes_quality_and_a_silent_host_ends_the_link(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/temp", payload="5", maxAge=1)
    device = driver(peer.ready["port"], point(1, "/temp"), timeout=8.0, ack_timeout=2.0, keepalive=None)
    async with running(device, recorder):
        await recorder.until(lambda: 1 in recorder.last)
        assert status(recorder, 1) is StatusCode.Good
        await peer.say(path="/temp", payload="6", maxAge=1, silent=True)  # the last word, then nothing
        await recorder.until(lambda: recorder.last[1][0] == 6)
        stated = recorder.last[1][2]
        await recorder.until(lambda: status(recorder, 1) is StatusCode.UncertainLastUsableValue, 3)
        assert recorder.last[1][1] & Quality.OLD_DATA
        await recorder.until(lambda: status(recorder, 1) is StatusCode.UncertainNoCommunicationLastUsableValue, 4)
        assert recorder.last[1][0] == 6
        assert recorder.last[1][2] == stated, "the source time is that of the value, not of its ageing"


async def test_nothing_answers_within_its_time_and_the_link_is_lost(recorder: Recorder) -> None:
    deaf, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    try:
        device = driver(deaf.get_extra_info("sockname")[1], point(1, "/temp"), timeout=0.6)
        began = time.monotonic()
        with pytest.raises(LinkLost, match="does not answer"):
            await device.run(recorder)
        assert 0.5 < time.monotonic() - began < 8.0
        assert recorder.ups == 0
        assert recorder.last == {}
    finally:
        deaf.close()
        await asyncio.sleep(0)


async def test_a_dead_host_does_not_deafen_the_ear_for_a_living_one(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    """An ICMP error of one host must leave all others alone, before, while and after."""
    peer = await node_peer(free_port())
    await peer.say(path="/temp", payload="1", maxAge=60)
    async with running(driver(peer.ready["port"], point(1, "/temp")), recorder):
        await recorder.until(lambda: 1 in recorder.last)
        for value in (2, 3, 4):
            with pytest.raises(LinkLost):
                await driver(free_port(), point(9, "/temp"), timeout=1.0).run(Recorder(recorder.data_directory))
            await peer.say(path="/temp", payload=str(value), maxAge=60)
            await recorder.until(lambda value=value: recorder.last[1][0] == value, 3)
    second = Recorder(recorder.data_directory)
    async with running(driver(peer.ready["port"], point(1, "/temp")), second):
        await second.until(lambda: 1 in second.last)


async def test_a_path_that_is_not_there_leaves_the_others_alone_and_is_found_when_it_comes(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/good", payload="1", maxAge=60)
    await peer.say(path="/ill", payload="", code="5.00")
    points = [point(1, "/good"), point(2, "/absent"), point(3, "/ill")]
    async with running(driver(peer.ready["port"], *points), recorder):
        await recorder.until(lambda: len(recorder.last) == 3)
        assert status(recorder, 1) is StatusCode.Good
        assert status(recorder, 2) is StatusCode.BadConfigurationError
        assert status(recorder, 3) is StatusCode.BadDeviceFailure
        assert recorder.counters["responses_4xx"] >= 1
        assert recorder.counters["responses_5xx"] >= 1
        await peer.say(path="/absent", payload="7", maxAge=60)
        await peer.say(path="/ill", payload="8", maxAge=60)
        await recorder.until(lambda: recorder.last[2][0] == 7 and recorder.last[3][0] == 8)
        assert status(recorder, 2) is status(recorder, 3) is StatusCode.Good


async def test_malformed_payloads_cost_a_count_each_and_nothing_else(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/s", payload='[{"n":"a","v":1}]', format=110, maxAge=60)
    async with running(driver(peer.ready["port"], point(1, "/s", name="a")), recorder) as task:
        await recorder.until(lambda: 1 in recorder.last)
        damaged = ["", "5b", "ffff", "5b7b7d5d", "5b" * 900, "00", "7b226e223a317d"]
        for number, octets in enumerate(damaged, 1):
            await peer.say(path="/s", hex=octets, format=110, maxAge=60)
            await recorder.until(lambda number=number: recorder.counters["payload_errors"] == number)
        await peer.say(path="/s", hex="9f" * 100, format=112, maxAge=60)
        await peer.say(path="/s", payload="1", format=9999, maxAge=60)
        await recorder.until(lambda: recorder.counters["payload_errors"] == len(damaged) + 2)
        assert recorder.seen[1] == [1.0], "no value was made up"
        assert status(recorder, 1) is StatusCode.Good
        await peer.say(path="/s", payload='[{"n":"a","v":2}]', format=110, maxAge=60)
        await recorder.until(lambda: recorder.last[1][0] == 2)
        assert not task.done()


async def test_a_payload_that_never_fits_the_mapping_is_a_configuration_error(
    node_peer: Callable[..., Any], recorder: Recorder
) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/s", payload='[{"n":"a","v":1},{"n":"v","u":"V","v":230}]', format=110, maxAge=60)
    points = [
        point(1, "/s", name="nothing"),
        point(2, "/s", name="v", quantity="temperature"),
        point(3, "/s", name="a"),
    ]
    async with running(driver(peer.ready["port"], *points), recorder):
        await recorder.until(lambda: len(recorder.last) == 3)
    assert status(recorder, 1) is StatusCode.BadConfigurationError
    assert status(recorder, 2) is StatusCode.BadConfigurationError, "volts are no temperature"
    assert status(recorder, 3) is StatusCode.Good


async def test_points_come_and_go_without_a_new_association(node_peer: Callable[..., Any], recorder: Recorder) -> None:
    peer = await node_peer(free_port())
    for path in ("/a", "/b"):
        await peer.say(path=path, payload="1", maxAge=60)
    first, second = point(1, "/a"), point(2, "/b")
    device = driver(peer.ready["port"], first)
    async with running(device, recorder) as task:
        await recorder.until(lambda: 1 in recorder.last)
        await device.update(PointChange(added=[second]))
        await recorder.until(lambda: 2 in recorder.last)
        await device.update(PointChange(removed=[first]))
        await peer.say(path="/a", payload="5", maxAge=60)
        await peer.say(path="/b", payload="6", maxAge=60)
        await recorder.until(lambda: recorder.last[2][0] == 6)
        assert recorder.last[1][0] == 1
        assert not task.done()
