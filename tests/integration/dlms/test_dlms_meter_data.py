"""Event logs, load profiles with status octets, the clock, and which meter it is: against pydlms-client's simulator."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from address_space import clock
from address_space.quality import Quality, StatusCode
from twin_gateway.drivers.contract import LinkLost, LinkService

pytestmark = pytest.mark.timeout(300)


def section(dlms, log_meter, **fields):
    return dlms.config(log_meter, "hls-gmac", poll=30.0, **fields)


def logged(link):
    return [text for code, text in link.events if "log 0-0:99.98.0" in text]


async def test_a_log_becomes_events_with_the_meters_time_and_nothing_comes_twice(dlms, log_meter, link):
    config = section(dlms, log_meter, model="idis", logs=["0-0:99.98.0"], log_poll=0.1)
    log_meter.order(event=[120, 40])
    log_meter.order(event=[60, 212])
    async with dlms.Running(dlms.Driver("m1", config, []), link):
        await link.until(lambda: len(logged(link)) == 2)
        log_meter.order(event=[1, 41])
        await link.until(lambda: len(logged(link)) == 3)
        await asyncio.sleep(0.4)
    texts = logged(link)
    assert "terminal cover removed (code 40" in texts[0] and "event (code 212" in texts[1]
    assert "terminal cover closed" in texts[2]
    codes = [code for code, text in link.events if text in texts]
    assert codes == ["L04", "meter", "meter"]
    moment = clock.to_datetime(link.event_times[link.events.index((codes[0], texts[0]))])
    assert abs((datetime.now(UTC) - moment).total_seconds() - 120) < 10
    again = dlms.MemoryLink(link.data_directory)
    log_meter.order(event=[0, 2])
    async with dlms.Running(dlms.Driver("m1", config, []), again):
        await again.until(lambda: logged(again))
        await asyncio.sleep(0.3)
    assert len(logged(again)) == 1 and "power up" in logged(again)[0]


async def test_positions_are_kept_only_once_what_they_stand_for_is_on_disk(dlms, log_meter, link):
    config = section(dlms, log_meter, logs=["0-0:99.98.0"], log_poll=0.1)
    link.kept_until = lambda: 0  # the history has not written anything yet
    log_meter.order(event=[5, 17])
    async with dlms.Running(dlms.Driver("m1", config, []), link):
        await link.until(lambda: logged(link))
    again = dlms.MemoryLink(link.data_directory)
    async with dlms.Running(dlms.Driver("m1", config, []), again):
        await again.until(lambda: any("code 17" in text for text in logged(again)))


async def test_a_log_that_the_meter_does_not_have_costs_only_a_count(dlms, log_meter, link):
    config = section(dlms, log_meter, logs=["0-0:99.98.7"], log_poll=0.1)
    async with dlms.Running(dlms.Driver("m1", config, [dlms.point(0, "1-0:32.7.0")]), link):
        await link.until(lambda: link.counters["logs_absent"] and link.values)
    assert link.values[0] == 230.1


@pytest.mark.parametrize("selection", ["range", "entry", "none"])
async def test_gaps_of_a_profile_are_filled_after_an_outage_oldest_first(dlms, log_meter, link, selection):
    fields = {"profile_poll": 0.1, "status_bits": "idis", "selection": selection, "profile_depth": 7200.0}
    config = section(dlms, log_meter, **fields)
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0")]
    for ago in (5000, 4940):
        log_meter.order(row=[ago, 0, ago])
    async with dlms.Running(dlms.Driver("m1", config, points), link):
        await link.until(lambda: link.counters["profile_rows"] == 2)
    log_meter.order(row=[4000, 0x80, 4000])
    log_meter.order(row=[3940, 0, 3940])
    again = dlms.MemoryLink(link.data_directory)
    async with dlms.Running(dlms.Driver("m1", config, points), again):
        await again.until(lambda: again.counters["profile_rows"] == 2)
        await asyncio.sleep(0.3)
    late = [batch for batch in again.batches if batch.late]
    assert [value for batch in late for value in batch.values] == [4000.0, 3940.0]
    words = [int(word) for batch in late for word in batch.quality]
    assert words[0] & Quality.PARTIAL and not words[1] & Quality.PARTIAL


async def test_rows_that_the_meter_has_overwritten_are_told_as_lost(dlms, log_meter, link):
    config = section(dlms, log_meter, profile_poll=0.1, profile_depth=10 * 86_400)
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0")]
    # 600 rows of a minute are kept: ten hours.
    log_meter.order(row=[60, 0, 1])
    async with dlms.Running(dlms.Driver("m1", config, points), link):
        await link.until(lambda: link.counters["profile_rows"] == 1)
    path = link.data_directory / "dlms-profiles-m1.json"
    kept = json.loads(path.read_text())
    kept["1-0:99.1.0"]["until"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path.write_text(json.dumps(kept))
    again = dlms.MemoryLink(link.data_directory)
    async with dlms.Running(dlms.Driver("m1", config, points), again):
        await again.until(lambda: again.counters["profile_losses"])
    assert [code for code, text in again.events if "overwritten" in text] == ["D08"]


async def test_a_clock_that_was_set_back_takes_the_position_with_it(dlms, log_meter, link):
    config = section(dlms, log_meter, profile_poll=0.1, profile_depth=7200.0, clock_check=0.1)
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy", profile="1-0:99.1.0")]
    log_meter.order(clock=3600.0)
    log_meter.order(row=[30, 0, 1])
    async with dlms.Running(dlms.Driver("m1", config, points), link):
        await link.until(lambda: link.counters["profile_rows"] == 1)
        log_meter.order(clock=0.0)
        log_meter.order(row=[20, 0, 2])
        await link.until(lambda: link.counters["profile_rows"] == 2)
    assert link.counters["clock_set_back"] >= 1


async def test_a_clock_is_set_in_steps_of_the_limit_and_told(dlms, log_meter, link):
    log_meter.order(clock=-50.0)
    config = section(dlms, log_meter, clock_set="30 s", clock_check=0.2)
    driver = dlms.Driver("m1", config, [])
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["clock_sets"] == 2)
        await link.until(lambda: any("right again" in text for _, text in link.events))
    sets = [text for code, text in link.events if code == "clock"]
    assert "was -50.0 s off and was set by +30.0 s" in sets[0] and "at most 30 s at a time" in sets[0]
    assert abs(driver.clock_error) < 2


async def test_a_clock_is_not_touched_unless_the_section_says_so(dlms, log_meter, link):
    log_meter.order(clock=-500.0)
    driver = dlms.Driver("m1", section(dlms, log_meter, clock_check=0.1), [])
    assert (await driver.serve(LinkService.SYNCHRONISE)).status == StatusCode.BadNoCommunication
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["clock_reads"] >= 2)
        outcome = await driver.serve(LinkService.SYNCHRONISE)
    assert outcome.status == StatusCode.BadUserAccessDenied and "never set" in outcome.text
    assert not link.counters["clock_sets"] and driver.clock_error == pytest.approx(-500, abs=2)


async def test_a_person_may_set_the_clock_within_the_limit(dlms, log_meter, link):
    log_meter.order(clock=5.0)
    driver = dlms.Driver("m1", section(dlms, log_meter, clock_set="1 min"), [])
    async with dlms.Running(driver, link):
        await link.until(lambda: link.counters["clock_reads"])
        outcome = await driver.serve(LinkService.SYNCHRONISE)
    assert outcome.good and abs(driver.clock_error) < 2


async def test_an_interrogation_is_answered_when_all_registers_were_read(dlms, log_meter, link):
    driver = dlms.Driver("m1", section(dlms, log_meter), [dlms.point(0, "1-0:1.8.0"), dlms.point(1, "1-0:99.8.0")])
    async with dlms.Running(driver, link):
        await link.until(lambda: link.values)
        log_meter.order(energy=99_000_001)
        outcome = await driver.serve(LinkService.INTERROGATE)
        assert outcome.good and link.values[0] == 99_000_001.0
    assert "object undefined" in link.last_errors["g/a/s/LV1/_/M1/MMXU1/P1"]


async def test_a_replaced_meter_and_a_register_that_counts_less_are_told(dlms, log_meter, link):
    points = [dlms.point(0, "1-0:1.8.0", quantity="active energy")]
    driver = dlms.Driver("m1", dlms.config(log_meter, "hls-gmac", poll=0.1), points)
    async with dlms.Running(driver, link):
        await link.until(lambda: link.values)
        log_meter.order(energy=17)
        await link.until(lambda: link.counters["rollovers"])
        log_meter.order(energy=5)
        await link.until(lambda: link.counters["register_resets"])
    assert not any(code == "D03" for code, _ in link.events)
    log_meter.order(serial="00000999")
    again = dlms.MemoryLink(link.data_directory)
    async with dlms.Running(dlms.Driver("m1", section(dlms, log_meter), points), again):
        await again.until(lambda: again.counters["replacements"])
    assert ("D03", "The meter behind m1 was replaced: serial number 00000999 instead of 00000001") in again.events


async def test_objects_are_found_with_their_access_rights(dlms, log_meter, link):
    driver = dlms.Driver("m1", section(dlms, log_meter), [])
    with pytest.raises(LinkLost):
        await driver.objects()
    async with dlms.Running(driver, link):
        objects = {(item.class_id, item.name): item for item in await driver.objects()}
        found = {item.fields["obis"]: item for item in await driver.discover()}
    volts = objects[3, bytes((1, 0, 32, 7, 0, 255))]
    assert volts.attributes[2] == 1 and volts.readable(2)
    assert found["1-0:32.7.0"].unit == "V" and "2 r" in found["1-0:32.7.0"].description
    assert "1/0-0:96.10.1/2" in found["1-0:99.1.0"].description
