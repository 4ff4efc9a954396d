"""Malformed ASDUs: 39 types by seven malformations; each costs one counted error and nothing else."""

import pytest
from peers.iec104.scripted import ScriptedStation, association, point, single

from twin_gateway.drivers.iec104.apci import Limits

# type -> octets of one information element with its time tag, as the standard lays it out
ELEMENT_OCTETS = {
    1: 1,
    3: 1,
    5: 2,
    7: 5,
    9: 3,
    11: 3,
    13: 5,
    15: 5,
    20: 5,
    21: 2,
    30: 8,
    31: 8,
    32: 9,
    33: 12,
    34: 10,
    35: 10,
    36: 12,
    37: 12,
    38: 10,
    39: 11,
    40: 11,
    45: 1,
    46: 1,
    47: 1,
    48: 3,
    49: 3,
    50: 5,
    51: 4,
    58: 8,
    63: 12,
    70: 1,
    100: 1,
    101: 1,
    102: 0,
    103: 7,
    105: 1,
    107: 9,
    110: 3,
    113: 1,
}
ADDRESS = (100).to_bytes(3, "little")


def asdu(number, structure, body):
    return bytes((number, structure, 3, 0, 1, 0)) + body


def malformations(number):
    """Seven frames of a type; the first is well-formed but belongs to no point."""
    octets = ELEMENT_OCTETS[number]
    whole, short = b"\x01" * octets, b"\x01" * max(0, octets - 1)
    yield "stray", asdu(number, 1, ADDRESS + whole)
    yield "element cut", asdu(number, 1, ADDRESS + short)
    yield "objects missing", asdu(number, 5, ADDRESS + whole)
    yield "rest of the sequence missing", asdu(number, 0x82, ADDRESS + whole)
    yield "sequence cut", asdu(number, 0x81, ADDRESS + short)
    yield "no object announced", asdu(number, 0, b"")
    yield "no object there", asdu(number, 1, b"")


FRAMES = [(number, what, octets) for number in ELEMENT_OCTETS for what, octets in malformations(number)]


def test_there_are_273_of_them():
    assert len(FRAMES) == 273


@pytest.mark.parametrize("number", ELEMENT_OCTETS)
async def test_each_malformed_frame_of_a_type_costs_one_counted_error_and_nothing_else(number):
    good = point(0, 5, "M_SP_NA_1")
    async with (
        ScriptedStation(answers=[single(5, 0, cause=20)]) as station,
        association(station, [good]) as (driver, link),
    ):
        await link.until(lambda: len(link.samples(0)) == 1)
        for count, (what, octets) in enumerate(malformations(number), 1):
            station.send(octets, single(5, count % 2))
            await link.until(lambda count=count: len(link.samples(0)) == count + 1)
            assert link.samples(0)[-1] == (count % 2, 0, 0), what
            assert link.errors == count, what
        assert not driver.running.done()
        assert len(station.connections) == 1
        # the stray one of a protection type is an event, whether a point shows it or not
        assert len(link.events) == (number in {38, 39, 40})
        assert {int(row) for batch in link.batches for row in batch.rows} == {0}


async def test_all_of_them_in_one_read_cost_as_many_errors():
    good = point(0, 5, "M_SP_NA_1")
    wide = Limits(k=1000)
    async with ScriptedStation(limits=wide) as station, association(station, [good], k=1000, w=500) as (driver, link):
        await link.until(lambda: any(asdu.type == 100 for asdu in station.received))
        for _, _, octets in FRAMES:
            station.send(octets)
        station.send(single(5, 1))
        await link.until(lambda: link.samples(0))
        assert link.errors == len(FRAMES)
        assert not driver.running.done()
