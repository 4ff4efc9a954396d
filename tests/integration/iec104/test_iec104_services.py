"""System commands of a 104 link: interrogation, clock, test command, and what their answers tell."""

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from peers.iec104.scripted import ScriptedStation, association, point, single

from address_space.quality import StatusCode
from twin_gateway.drivers.contract import LinkService, ServingDriver
from twin_gateway.drivers.iec104.codec import encode
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver


def _asked(station, number):
    return sum(asdu.type == number for asdu in station.received)


async def test_an_interrogation_is_good_when_the_station_has_ended_it():
    async with (
        ScriptedStation(answers=[single(5, 1, cause=20)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (driver, link),
    ):
        await link.until(lambda: link.samples(0))
        before = _asked(station, 100)
        outcome = await driver.serve(LinkService.INTERROGATE)
        assert (outcome.status, outcome.sent) == (StatusCode.Good, True)
        assert _asked(station, 100) == before + 1
        assert len(link.samples(0)) == 2


async def test_the_clock_is_set_when_it_is_asked_for():
    async with ScriptedStation() as station, association(station, []) as (driver, link):
        await link.until(lambda: _asked(station, 100))
        outcome = await driver.serve(LinkService.SYNCHRONISE)
        assert outcome.status == StatusCode.Good
        assert _asked(station, 103) == 1


async def test_without_an_association_nothing_is_sent():
    driver = Iec104Driver("rtu", Iec104Config(host="127.0.0.1", common_address=1), [])
    assert isinstance(driver, ServingDriver)
    outcome = await driver.serve(LinkService.INTERROGATE)
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)


async def test_a_test_command_asks_every_station_and_its_answer_must_carry_the_same_counter():
    def mirror(connection, asdu):
        if asdu.type == 107:
            wrong = asdu.objects[0]._replace(value=asdu.objects[0].value + asdu.common_address - 1)
            connection.send(encode(asdu._replace(cause=7, objects=(wrong,))))

    async with (
        ScriptedStation(on_asdu=mirror) as station,
        association(station, [], common_address=[1, 2]) as (driver, link),
    ):
        outcome = await driver.serve(LinkService.TEST)
        assert outcome.status == StatusCode.Bad
        assert "station 2" in outcome.text
        assert "station 1" not in outcome.text
        assert link.counters["test_errors"] == 1
        assert _asked(station, 107) == 2


async def test_a_station_that_does_not_answer_the_test_command_is_told_and_the_link_stays():
    async with (
        ScriptedStation(on_asdu=lambda *_: None) as station,
        association(station, [], test_interval=0.1, answer_timeout=0.1) as (driver, link),
    ):
        await link.until(lambda: link.counters["test_commands_unanswered"] >= 2)
        assert not driver.running.done()


async def test_the_clock_is_set_in_the_zone_of_the_link_with_its_summer_bit():
    async with (
        ScriptedStation() as station,
        association(station, [], time_zone="Pacific/Auckland", summer_bit=False) as (driver, link),
    ):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        await driver.serve(LinkService.SYNCHRONISE)
        (stamp,) = [asdu.objects[0].time for asdu in station.received if asdu.type == 103]
        there = datetime.now(ZoneInfo("Pacific/Auckland")).replace(tzinfo=UTC)
        assert abs(stamp.ms / 1000 - there.timestamp()) < 30
        assert stamp.flags == 0


async def test_a_clock_that_goes_back_is_told_and_the_station_is_interrogated_again():
    async with (
        ScriptedStation() as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        present = time.time_ns() // 1_000_000
        station.send(single(5, 1, at=present))
        await link.until(lambda: len(link.samples(0)) == 1)
        station.send(single(5, 0, at=present - 3_600_000))
        await link.until(lambda: _asked(station, 100) == 2)
        assert link.counters["clock_steps"] == 1
        assert [code for code, _ in link.events] == ["D02"]
        # the value of the clock that went back is the present one all the same
        assert link.samples(0)[-1][0] == 0


async def test_answers_to_the_command_of_another_originator_confirm_nothing():
    def answer_another(connection, asdu):
        connection.send(encode(asdu._replace(cause=7, originator=9)))

    async with (
        ScriptedStation(on_asdu=answer_another) as station,
        association(station, [], originator=5, answer_timeout=0.2) as (driver, link),
    ):
        await link.until(lambda: _asked(station, 100))
        assert not (await driver.serve(LinkService.TEST)).good
        assert link.counters["foreign_answers"] == 1
        assert {asdu.originator for asdu in station.received} == {5}


async def test_a_clock_confirmation_with_the_time_that_was_shows_how_wrong_it_went():
    def earlier(connection, asdu):
        told = asdu.objects[0].time
        was = asdu.objects[0]._replace(time=told._replace(ms=told.ms - 1500))
        connection.send(encode(asdu._replace(cause=7, objects=(was,))))

    async with ScriptedStation(on_asdu=earlier, clock=False) as station, association(station, []) as (driver, link):
        await link.until(lambda: link.counters["interrogations_confirmed"])
        assert (await driver.serve(LinkService.SYNCHRONISE)).good
        assert link.counters["clock_answer_ms"] == -1500
