"""What a person may ask of a 104 link: a general interrogation, and the clock to be set."""

from peers.iec104.scripted import ScriptedStation, association, point, single

from address_space.quality import StatusCode
from twin_gateway.drivers.contract import LinkService, ServingDriver
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
