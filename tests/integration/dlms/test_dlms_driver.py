"""The driver against the meters of pydlms-client, in a process of their own."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import uvloop
from peers.waiting import patient

from address_space import clock
from address_space.ports import Verb
from address_space.quality import Quality, StatusCode, status_of
from twin_gateway.drivers.contract import DeviceCommand, LinkLost, PointChange

pytestmark = pytest.mark.timeout(300)

REGISTERS = {
    0: ("1-0:1.8.0", "active energy", 123456.0),
    1: ("1-0:2.8.0", "active energy", 4321000.0),
    2: ("1-0:16.7.0", "active power", -1520.0),
    3: ("1-0:3.8.0", "reactive energy", 5.0),  # varh; canonical is kvarh
    4: ("1-0:32.7.0", "voltage", 230.1),
    5: ("1-0:31.7.0", "current", 5.23),
}


def registers(dlms):
    return [dlms.point(row, obis, quantity=quantity) for row, (obis, quantity, _) in REGISTERS.items()]


@pytest.mark.parametrize("security", ["none", "lls", "hls-gmac"])
async def test_registers_arrive_scaled_and_in_canonical_units(dlms, pydlms_meters, link, security):
    peer = pydlms_meters()
    driver = dlms.Driver("m1", dlms.config(peer, security), registers(dlms))
    async with dlms.Running(driver, link):
        await link.until(lambda: len(link.batches) >= 2)
    assert link.values == {row: value for row, (_, _, value) in REGISTERS.items()}
    assert set(link.quality.values()) == {0}
    assert set(link.source_time.values()) == {0}  # registers have no time of their own
    assert link.counters["polls"] >= 2


@pytest.mark.parametrize("hls_key", ["global", "dedicated"])
async def test_a_dedicated_key_works_both_ways_of_hls(dlms, pydlms_meters, link, hls_key):
    peer = pydlms_meters()
    config = dlms.config(peer, "hls-gmac", dedicated_key=True, hls_key=hls_key)
    async with dlms.Running(dlms.Driver("m1", config, registers(dlms)), link):
        await link.until(lambda: len(link.batches) >= 1)
    assert link.values[4] == 230.1


async def test_without_with_list_the_driver_falls_back_to_single_requests(dlms, pydlms_meters, link):
    peer = pydlms_meters(without="list")
    driver = dlms.Driver("m1", dlms.config(peer, "hls-gmac"), registers(dlms))
    async with dlms.Running(driver, link):
        await link.until(lambda: link.batches)
        assert not driver._session.association.can_list
    assert link.values == {row: value for row, (_, _, value) in REGISTERS.items()}


async def test_data_access_results_become_quality(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    points = [
        dlms.point(0, "1-0:1.8.0", quantity="active energy"),
        dlms.point(1, "1-0:14.7.0", quantity="frequency"),  # there, but without a value
        dlms.point(2, "1-0:99.9.0", quantity="voltage", **{"class": 3}),  # not there
        dlms.point(3, "1-0:32.7.0", quantity="current"),  # is a voltage
    ]
    async with dlms.Running(dlms.Driver("m1", dlms.config(peer), points), link):
        await link.until(lambda: link.batches)
    assert link.quality[0] == 0
    assert link.quality[1] == Quality.QUESTIONABLE | Quality.OLD_DATA
    assert status_of(link.quality[2]) is StatusCode.BadConfigurationError
    assert status_of(link.quality[3]) is StatusCode.BadConfigurationError
    assert any(code == "mapping" and "P3" in text and "voltage" in text for code, text in link.events)


async def test_an_extended_register_has_the_time_of_its_capture(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    points = [dlms.point(0, "1-0:1.6.0", quantity="active power")]
    async with dlms.Running(dlms.Driver("m1", dlms.config(peer), points), link):
        await link.until(lambda: link.batches)
    assert link.values[0] == 7000.0
    assert link.source_time[0] == clock.from_datetime(datetime(2026, 10, 1, tzinfo=UTC))


async def test_a_unit_in_the_mapping_is_what_is_delivered(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", unit="kWh")]
    async with dlms.Running(dlms.Driver("m1", dlms.config(peer), points), link):
        await link.until(lambda: link.batches)
    assert link.values[0] == pytest.approx(123.456)


async def test_serial_number_and_clock_are_read(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    points = [dlms.point(0, "0-0:96.1.0", "VSS"), dlms.point(1, "0-0:1.0.0", "INS")]
    driver = dlms.Driver("m1", dlms.config(peer), points)
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["clock_reads"])
    assert link.texts[0] == f"{peer.device:08}"
    # The meter shows local time, UTC+2, with its deviation.
    assert abs(driver.clock_error) < 2
    assert abs(link.values[1]) < 2


async def test_an_inverted_deviation_shows_as_clock_error(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    driver = dlms.Driver("m1", dlms.config(peer, deviation="inverted"), [dlms.point(0, "1-0:1.8.0")])
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["clock_reads"])
    assert driver.clock_error == pytest.approx(4 * 3600, abs=5)
    assert link.counters["clock_skewed"] == 1
    assert [code for code, _ in link.events] == ["D02"]


@pytest.mark.parametrize("without", ["-", "selective"])
async def test_a_whole_profile_of_2880_rows_arrives_late_with_its_own_times(dlms, pydlms_meters, link, without):
    peer = pydlms_meters(rows=2880, without=without)
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0")]
    config = dlms.config(peer, "hls-gmac", profile_depth=30.5 * 86_400, poll=30.0)
    async with dlms.Running(dlms.Driver("m1", config, points), link):
        await link.until(lambda: link.counters["profile_rows"] >= 2880, 30.0)
    late = [batch for batch in link.batches if batch.late]
    assert len(late) >= 31 if without == "-" else len(late) == 1  # a day a request: a command never waits long
    times = [int(t) for batch in late for t in batch.source_time]
    values = [float(v) for batch in late for v in batch.values]
    steps = {after - before for before, after in pairwise(times)}
    assert len(times) == 2880 and steps == {900 * clock.TICKS_PER_SECOND}
    assert values == [1000.0 + 7 * row for row in range(2880)]
    assert link.values[0] == 123456.0  # the live value stays


async def test_rows_are_delivered_once_also_over_a_restart(dlms, pydlms_meters, link):
    peer = pydlms_meters(rows=8)
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0")]
    for _ in range(2):
        config = dlms.config(peer, profile_poll=0.2, poll=30.0)
        async with dlms.Running(dlms.Driver("m1", config, points), link):
            await link.until(lambda: link.counters["profile_rows"] >= 8)
            await asyncio.sleep(0.5)
    assert link.counters["profile_rows"] == 8


async def test_a_register_that_the_profile_lacks_is_told(dlms, pydlms_meters, link):
    peer = pydlms_meters(rows=8)
    points = [dlms.point(0, "1-0:2.8.0", quantity="active energy", profile="1-0:99.1.0")]
    async with dlms.Running(dlms.Driver("m1", dlms.config(peer), points), link):
        await link.until(lambda: link.events)
    assert link.events[0][0] == "mapping" and "does not capture 1-0:2.8.0" in link.events[0][1]


def command(point, value, verb=Verb.OPERATE, timeout=5.0, **more):
    return DeviceCommand(verb, point, value, "c1", timeout=timeout, **more)


@pytest.mark.parametrize("security", ["none", "hls-gmac"])
async def test_disconnect_and_reconnect_answer_when_the_position_followed(dlms, pydlms_meters, link, security):
    peer = pydlms_meters()
    position = dlms.point(0, "0-0:96.3.10", "DPC", control={"model": "disconnect"})
    driver = dlms.Driver("m1", dlms.config(peer, security, poll=30.0), [position])
    async with dlms.Running(driver, link):
        await link.until(lambda: link.values.get(0) == 2)
        outcome = await driver.execute(command(position, 1))
        assert outcome.good and outcome.sent and outcome.command_id == "c1"
        assert link.values[0] == 1  # at once, not with the next poll
        assert (await driver.execute(command(position, True))).good
        assert link.values[0] == 2


async def test_selecting_and_testing_are_refused_before_anything_is_sent(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    position = dlms.point(0, "0-0:96.3.10", "DPC", control={"model": "disconnect"})
    driver = dlms.Driver("m1", dlms.config(peer, poll=30.0), [position])
    async with dlms.Running(driver, link):
        for wrong in (
            command(position, 1, Verb.SELECT),
            command(position, 1, test=True),
            command(position, 3),
        ):
            outcome = await driver.execute(wrong)
            assert not outcome.good and not outcome.sent
        await link.until(lambda: link.values.get(0) == 2)


async def test_a_refused_action_names_the_meters_reason(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    position = dlms.point(0, "0-0:96.3.11", "DPC", control={"model": "disconnect"}, **{"class": 70})
    driver = dlms.Driver("m1", dlms.config(peer, poll=30.0), [position])
    async with dlms.Running(driver, link):
        outcome = await driver.execute(command(position, 1))
    assert not outcome.good and outcome.sent and "refused" in outcome.text


async def test_without_an_association_there_is_no_command(dlms, link):
    position = dlms.point(0, "0-0:96.3.10", "DPC", control={"model": "disconnect"})
    outcome = await dlms.Driver("m1", dlms.config(1), [position]).execute(command(position, 1))
    assert outcome.status == StatusCode.BadNoCommunication and not outcome.sent


async def test_points_come_and_go_without_a_new_association(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    first, second = dlms.point(0, "1-0:1.8.0", quantity="active energy"), dlms.point(1, "1-0:32.7.0")
    driver = dlms.Driver("m1", dlms.config(peer, poll=30.0), [first])
    async with dlms.Running(driver, link):
        await link.until(lambda: 0 in link.values)
        session = driver._session
        await driver.update(PointChange(added=[second], removed=[first]))
        await link.until(lambda: 1 in link.values)
        assert driver._session is session
    assert link.values[1] == 230.1
    assert [list(batch.rows) for batch in link.batches] == [[0], [1]]


async def test_discovery_lists_objects_with_units(dlms, pydlms_meters, link):
    peer = pydlms_meters()
    driver = dlms.Driver("m1", dlms.config(peer, poll=30.0), [])
    with pytest.raises(ConnectionError):
        await driver.discover()
    async with dlms.Running(driver, link):
        found = {item.fields["obis"]: item for item in await driver.discover()}
    assert found["1-0:32.7.0"].unit == "V"
    assert found["0-0:96.3.10"].cdc == "DPC"
    assert found["1-0:99.1.0"].description.startswith("load profile or log, version 1")
    assert found["1-0:99.1.0"].description.endswith(": 8/0-0:1.0.0/2, 3/1-0:1.8.0/2")
    assert found["1-0:1.8.0"].fields["profile"] == "1-0:99.1.0"
    assert "methods 1, 2" in found["0-0:96.3.10"].description


@pytest.mark.parametrize(
    ("security", "fields", "says"),
    [
        ("lls", {"password": "wrong"}, "authentication failed"),
        ("hls-gmac", {"keys": {"authentication": "00" * 16, "encryption": "00" * 16}}, "exception-response"),
        ("none", {"client": 77}, "association refused"),
    ],
)
async def test_wrong_secrets_end_the_attempt_with_the_reason(dlms, pydlms_meters, link, security, fields, says):
    peer = pydlms_meters()
    driver = dlms.Driver("m1", dlms.config(peer, security, **fields), registers(dlms))
    with pytest.raises(LinkLost, match=says):
        await driver.run(link)
    assert not link.is_up.is_set()


async def test_a_meter_that_has_seen_higher_counters_is_followed_forward(dlms, pydlms_meters, tmp_path):
    peer = pydlms_meters()
    for attempt in range(2):
        directory = tmp_path / str(attempt)  # the second gateway has lost its counters
        directory.mkdir()
        link = dlms.MemoryLink(directory)
        driver = dlms.Driver("m1", dlms.config(peer, "hls-gmac"), registers(dlms))
        if attempt:
            driver._opener._counter = await counter_at_one(directory)
        async with dlms.Running(driver, link):
            await link.until(lambda link=link: link.batches)
        assert link.counters["counter_errors"] == attempt


async def counter_at_one(directory):
    from twin_gateway.drivers.dlms.counters import CounterStore

    return (await CounterStore.shared(directory / "dlms-counters.journal")).counter("lost", 1)


async def test_killed_meters_are_noticed_and_read_again_after_their_restart(dlms, pydlms_meters, link):
    peer = pydlms_meters(own=True)
    driver = dlms.Driver("m1", dlms.config(peer, "hls-gmac"), registers(dlms))
    async with dlms.Running(driver, link) as task:
        await link.until(lambda: link.batches)
        peer.kill()
        with pytest.raises(LinkLost):
            async with patient(5):
                await asyncio.shield(task)
    with pytest.raises(LinkLost):
        await driver.run(link)
    peer.restart()
    link.batches.clear()
    link.is_up.clear()
    async with dlms.Running(driver, link):
        await link.until(lambda: link.batches)
    assert link.values[4] == 230.1


async def test_a_silent_host_costs_a_time_out_not_a_hang(dlms, link):
    async def swallow(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = dlms.Driver("m1", dlms.config(port, timeout=0.3), registers(dlms))
    try:
        with pytest.raises(LinkLost, match="no answer within"):
            async with patient(3):
                await driver.run(link)
    finally:
        server.close()
        await asyncio.sleep(0.05)
    assert link.counters["timeouts"] == 1


def test_the_driver_runs_under_uvloop_too(dlms, pydlms_meters, link):
    peer = pydlms_meters(own=True)

    async def main():
        link.is_up, link.news = asyncio.Event(), asyncio.Event()
        driver = dlms.Driver("m1", dlms.config(peer, "hls-gmac"), registers(dlms))
        async with dlms.Running(driver, link) as task:
            await link.until(lambda: len(link.batches) >= 2)
            peer.kill()
            with pytest.raises(LinkLost):
                async with patient(5):
                    await asyncio.shield(task)

    uvloop.run(main())
    assert link.values[4] == 230.1
