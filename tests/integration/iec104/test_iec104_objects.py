"""Objects beyond their values: two types at one address, strays, read commands, counters, parameters, protection."""

import pytest
from peers.iec104.scripted import ScriptedStation, association, point, single, tagged

from address_space import clock
from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import Quality, StatusCode, TimeFlag
from twin_gateway.drivers.contract import (
    DeviceCommand,
    DeviceTable,
    LinkService,
    PointChange,
    StrayKeepingDriver,
    TableServingDriver,
)
from twin_gateway.drivers.iec104.codec import Asdu, Information, encode

MOMENT = 1_700_000_000_123
TICKS = clock.from_unix_ns(MOMENT * 1_000_000)


def measured(row, ioa, kind="M_ME_NC_1", **fields):
    return point(row, ioa, kind, cdc="MV", value_type=ValueType.DOUBLE, **fields)


def counter(ioa, value, number, quality=0, cause=37):
    return encode(Asdu(15, cause, 1, (Information(ioa, value, number, quality),)))


def of_type(station, number):
    return [asdu for asdu in station.received if asdu.type == number]


# -- types ------------------------------------------------------------------------------------------------------


async def test_one_address_takes_the_type_without_and_the_type_with_time_tag():
    async with (
        ScriptedStation(answers=[single(5, 0, cause=20)]) as station,
        association(station, [point(0, 5, "M_SP_NA_1")]) as (driver, link),
    ):
        await link.until(lambda: link.samples(0))
        at = round(clock.to_unix(clock.now()) * 1000)
        station.send(
            single(5, 1, at=at), encode(Asdu(2, 3, 1, (Information(5, 0, 0, 0, tagged(1000)._replace(octets=3)),)))
        )
        await link.until(lambda: len(link.samples(0)) == 3)
        assert [sample[0] for sample in link.samples(0)] == [0, 1, 0]
        assert link.samples(0)[0][2] == 0
        assert link.samples(0)[1][2] == clock.from_unix_ns(at * 1_000_000)
        assert link.samples(0)[2][2] > 0
        assert link.errors == 0
        assert driver.unmapped() == []


# -- strays -----------------------------------------------------------------------------------------------------


async def test_what_nobody_has_mapped_is_listed_with_type_times_and_last_value():
    async with ScriptedStation() as station, association(station, [point(0, 5, "M_SP_NA_1")]) as (driver, link):
        assert isinstance(driver, StrayKeepingDriver)
        station.send(
            single(6, 0),
            single(6, 1),
            single(5, 1, ca=2),
            encode(Asdu(13, 3, 1, (Information(5, 2.5),))),
            bytes((200, 1, 3, 0, 1, 0, 9, 0, 0, 0xAB)),
            single(5, 1),
        )
        await link.until(lambda: link.samples(0))
        strays = driver.unmapped()
        found = {stray.reason: stray for stray in strays}
        assert {reason: tuple(stray.fields.values()) for reason, stray in found.items()} == {
            "unknown type": (1, 9, 200),
            "unknown address": (1, 6, "M_SP_NA_1"),
            "unknown station": (2, 5, "M_SP_NA_1"),
            "other type": (1, 5, "M_ME_NC_1"),
        }
        assert (found["unknown address"].count, found["unknown address"].value) == (2, "1")
        assert found["other type"].value == "2.5"
        assert found["unknown type"].value == "ab"
        assert 0 < found["unknown address"].first <= found["unknown address"].last <= clock.now()
        outcome, lines = await driver.read_table(DeviceTable.UNMAPPED, "")
        assert (outcome.good, len(lines)) == (True, 4)
        # a point for it, and it is no stray any more
        await driver.update(PointChange(added=[point(1, 6, "M_SP_NA_1")]))
        assert "unknown address" not in {stray.reason for stray in driver.unmapped()}


async def test_strays_are_the_newest_thousand():
    async with ScriptedStation() as station, association(station, [point(0, 5, "M_SP_NA_1")]) as (driver, link):
        for start in range(100, 1400, 100):
            objects = tuple(Information(start + at, 1) for at in range(100))
            station.send(encode(Asdu(1, 3, 1, objects, sequence=True)))
        station.send(single(5, 1))
        await link.until(lambda: link.samples(0))
        strays = driver.unmapped()
        assert len(strays) == 1000
        assert {stray.fields["ioa"] for stray in strays} == set(range(400, 1400))
        assert link.counters["unknown_address"] == 1300


# -- intervals --------------------------------------------------------------------------------------------------


async def test_intervals_of_objects_are_kept():
    points = [point(0, 5, "M_SP_NA_1"), point(1, 6, "M_SP_NA_1")]
    async with ScriptedStation() as station, association(station, points) as (driver, link):
        assert isinstance(driver, TableServingDriver)
        for count in range(1, 4):
            station.send(single(5, count & 1))
            await link.until(lambda count=count: len(link.samples(0)) == count)
        outcome, lines = await driver.read_table(DeviceTable.OBJECTS, "")
        assert outcome.good
        assert [line.item for line in lines] == ["1/5"]
        assert lines[0].value.startswith("3 times, last ")
        assert "nan" not in lines[0].note
        outcome, _ = await driver.read_table(DeviceTable.LOG, "")
        assert outcome.status == StatusCode.BadNotSupported


# -- read command -----------------------------------------------------------------------------------------------


def readable(values):
    """A station that answers read commands."""

    def answer(connection, asdu):
        if asdu.type == 102:
            address = asdu.objects[0].address
            if address in values:
                connection.send(encode(Asdu(13, 5, asdu.common_address, (Information(address, values[address]),))))
            else:
                connection.send(encode(asdu._replace(cause=47, negative=True)))

    return answer


async def test_a_point_that_is_not_interrogated_is_read_again_and_again():
    points = [measured(0, 700, read=0.15), measured(1, 701)]
    async with (
        ScriptedStation(on_asdu=readable({700: 1.5})) as station,
        association(station, points) as (_, link),
    ):
        await link.until(lambda: len(link.samples(0)) == 3)
        assert {(asdu.cause, asdu.objects[0].address) for asdu in of_type(station, 102)} == {(5, 700)}
        assert link.samples(0)[0][0] == 1.5
        assert link.errors == 0


async def test_a_read_that_is_refused_or_not_answered_is_the_last_error_of_the_point():
    points = [measured(0, 700, read=30.0), measured(1, 701, read=30.0)]

    def answer(connection, asdu):
        if asdu.type == 102 and asdu.objects[0].address == 700:
            connection.send(encode(asdu._replace(cause=47, negative=True)))

    async with (
        ScriptedStation(on_asdu=answer) as station,
        association(station, points, answer_timeout=0.3) as (_, link),
    ):
        await link.until(lambda: len(link.last_errors) == 2)
        assert "refuses to read it" in link.last_errors[points[0].address]
        assert "no answer within 0.3 s" in link.last_errors[points[1].address]
        assert (link.counters["refused_requests"], link.counters["timeouts"]) == (1, 1)


async def test_a_person_may_read_one_object_mapped_or_not():
    async with (
        ScriptedStation(on_asdu=readable({900: -4.5})) as station,
        association(station, []) as (driver, link),
    ):
        await link.until(lambda: of_type(station, 100))
        outcome, lines = await driver.read_table(DeviceTable.OBJECT, "1/900")
        assert outcome.good
        assert [(line.item, line.value) for line in lines] == [("1/900 M_ME_NC_1", "-4.5")]
        outcome, lines = await driver.read_table(DeviceTable.OBJECT, "1/901")
        assert (outcome.status, outcome.sent, lines) == (StatusCode.BadNotSupported, True, ())
        outcome, _ = await driver.read_table(DeviceTable.OBJECT, "nothing")
        assert (outcome.status, outcome.sent) == (StatusCode.BadInvalidArgument, False)


# -- counters ---------------------------------------------------------------------------------------------------


def counting(connection, asdu):
    """A station that confirms counter requests, sends a counter when it is read, and ends only reading."""
    if asdu.type == 101:
        connection.send(encode(asdu._replace(cause=7)))
        qualifier = int(asdu.objects[0].value)
        if not qualifier >> 6:
            group = qualifier & 0x3F
            connection.send(counter(40 + group, group, 1, cause=37 if group == 5 else 37 + group))
            connection.send(encode(asdu._replace(cause=10)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [5]),
        ({"counter_groups": [1, 3]}, [1, 3]),
        ({"counter_freeze": "freeze"}, [0x45, 5]),
        ({"counter_freeze": "freeze-reset", "counter_groups": [2]}, [0x82, 2]),
        ({"counter_freeze": "freeze", "counter_read": False}, [0x45]),
        ({"counter_freeze": "reset", "counter_read": False, "counter_groups": [4]}, [0xC4]),
    ],
)
async def test_counters_are_requested_frozen_and_reset_as_configured(settings, expected):
    points = [measured(group, 40 + group, "M_IT_NA_1") for group in range(1, 6)]
    async with (
        ScriptedStation(on_asdu=counting) as station,
        association(station, points, **settings) as (driver, link),
    ):
        outcome = await driver.serve(LinkService.COUNTERS)
        assert outcome.good, outcome.text
        assert [int(asdu.objects[0].value) for asdu in of_type(station, 101)] == expected
        for group in [each & 0x3F for each in expected if not each >> 6]:
            assert link.samples(group)[-1][0] == group
        assert link.errors == 0


async def test_counters_are_requested_every_interval_after_the_interrogation():
    async with (
        ScriptedStation(on_asdu=counting) as station,
        association(station, [measured(0, 45, "M_IT_NA_1")], counter_interval=0.2) as (_, link),
    ):
        await link.until(lambda: len(link.samples(0)) >= 2)
        assert [asdu.type for asdu in station.received][:2] == [100, 101]


async def test_readings_that_never_came_are_told_as_lost_data():
    async with (
        ScriptedStation() as station,
        association(station, [measured(0, 40, "M_IT_NA_1")]) as (_, link),
    ):
        for number in (29, 30, 30, 2, 3, 0, 1, 5):  # 31, 0, 1 are missing, then a start anew, then 2 to 4
            station.send(counter(40, 100, number))
        await link.until(lambda: len(link.samples(0)) == 8)
        assert link.counters["counter_readings_missed"] == 6
        assert {code for code, _ in link.events} == {"D08"}


async def test_a_station_without_sequence_numbers_loses_nothing():
    async with (
        ScriptedStation() as station,
        association(station, [measured(0, 40, "M_IT_NA_1")]) as (_, link),
    ):
        station.send(*(counter(40, value, 0) for value in range(5)))
        await link.until(lambda: len(link.samples(0)) == 5)
        assert link.counters["counter_readings_missed"] == 0
        assert link.events == []


async def test_carry_and_adjusted_stay_good_and_are_told_once_for_each_reading():
    target = measured(0, 40, "M_IT_NA_1")
    async with ScriptedStation() as station, association(station, [target]) as (_, link):
        for number, flags in ((1, 0), (2, 0x40), (2, 0x40), (3, 0x20), (4, 0)):
            station.send(counter(40, 7, number, flags))
        await link.until(lambda: len(link.samples(0)) == 5)
        words = [word for _, word, _ in link.samples(0)]
        assert words == [0, Quality.ADJUSTED, Quality.ADJUSTED, Quality.CARRY, 0]
        assert [(code, address) for code, _, _, address, *_ in link.told] == [("counter", target.address)] * 2
        assert (link.counters["counters_adjusted"], link.counters["counters_carried"]) == (1, 1)


# -- commands ---------------------------------------------------------------------------------------------------


def confirming(connection, asdu):
    """A station that confirms whatever it is told."""
    if asdu.type < 100 or asdu.type >= 110:
        connection.send(encode(asdu._replace(cause=9 if asdu.cause == 8 else 7)))


@pytest.mark.parametrize(
    ("kind", "control", "value", "expected"),
    [
        ("C_SE_NC_1", {"qualifier": 17}, 2.5, (50, 6, 2.5, 17)),
        ("C_SE_NA_1", {"nominal": 400.0}, 100.0, (48, 6, 0.25, 0)),
        ("C_SE_TB_1", {"qualifier": 127}, -3, (62, 6, -3, 127)),
        ("C_BO_NA_1", {}, 0xDEADBEEF, (51, 6, 0xDEADBEEF, 0)),
        ("C_RC_NA_1", {"qu": 1}, 2, (47, 6, 2, 4)),
        ("P_ME_NC_1", {}, 12.5, (112, 6, 12.5, 1)),
        ("P_ME_NB_1", {"qualifier": 3}, 700, (111, 6, 700, 3)),
        ("P_ME_NA_1", {"qualifier": 4, "nominal": 10.0}, 5.0, (110, 6, 0.5, 4)),
        ("P_AC_NA_1", {}, 1, (113, 6, 3, 0)),
        ("P_AC_NA_1", {"qualifier": 2}, False, (113, 8, 2, 0)),
    ],
)
async def test_set_points_and_parameters_carry_their_qualifiers(kind, control, value, expected):
    bound = {"ioa": 5000, "type": kind, "model": "direct-normal", **control}
    target = measured(0, 5, control=bound)
    async with ScriptedStation(on_asdu=confirming) as station, association(station, [target]) as (driver, link):
        await link.until(lambda: of_type(station, 100))
        outcome = await driver.execute(DeviceCommand(Verb.OPERATE, target, value, "c1", timeout=2.0))
        assert outcome.good, outcome.text
        sent = station.received[-1]
        assert (sent.type, sent.cause, sent.objects[0].value, sent.objects[0].extra) == expected


@pytest.mark.parametrize(("kind", "qualifier"), [("C_SE_NC_1", 128), ("P_ME_NC_1", 0), ("P_AC_NA_1", 4)])
async def test_a_qualifier_that_the_type_does_not_have_is_refused(kind, qualifier):
    bound = {"ioa": 5000, "type": kind, "model": "direct-normal", "qualifier": qualifier}
    target = measured(0, 5, control=bound)
    async with ScriptedStation(on_asdu=confirming) as station, association(station, [target]) as (driver, link):
        await link.until(lambda: of_type(station, 100))
        outcome = await driver.execute(DeviceCommand(Verb.OPERATE, target, 1, "c1", timeout=2.0))
        assert (outcome.status, outcome.sent) == (StatusCode.BadConfigurationError, False)


async def test_a_parameter_cannot_be_selected():
    bound = {"ioa": 5000, "type": "P_ME_NC_1", "model": "sbo-normal"}
    target = measured(0, 5, control=bound)
    async with ScriptedStation(on_asdu=confirming) as station, association(station, [target]) as (driver, link):
        await link.until(lambda: of_type(station, 100))
        outcome = await driver.execute(DeviceCommand(Verb.SELECT, target, 1, "c1", timeout=2.0))
        assert (outcome.status, outcome.sent) == (StatusCode.BadNotSupported, False)


# -- protection -------------------------------------------------------------------------------------------------


async def test_protection_events_come_to_the_journal_with_bits_time_and_elapsed_time():
    start = point(0, 800, "M_EP_TE_1", cdc="ACD")
    tag = tagged(MOMENT)
    async with ScriptedStation() as station, association(station, [start]) as (_, link):
        await link.until(lambda: of_type(station, 100))
        station.send(
            encode(Asdu(39, 3, 1, (Information(800, 0x03, 120, 0, tag),))),
            encode(Asdu(39, 3, 1, (Information(800, 0x24, 120, 0x08, tag),))),
            encode(Asdu(40, 3, 1, (Information(801, 0x05, 55, 0, tag),))),
            encode(Asdu(38, 3, 1, (Information(802, 2, 30, 0, tag), Information(803, 1, 30, 0x80, tag)))),
            encode(Asdu(39, 3, 1, (Information(800, 0, 0, 0, tag),), test=True)),
        )
        await link.until(lambda: len(link.told) == 6)
        assert [entry[:5] for entry in link.told] == [
            ("P02", "Protection start: general, phase L1 (SPE 0x03), 120 ms", 400, start.address, TICKS),
            (
                "P02",
                "Protection start: phase L2, reverse direction (SPE 0x24), elapsed time invalid",
                400,
                start.address,
                TICKS,
            ),
            (
                "P01",
                "Protection output: general, phase L2 (OCI 0x05), 55 ms (object 1/801)",
                900,
                "",
                TICKS,
            ),
            ("protection", "Protection event: on, 30 ms (object 1/802)", 400, "", TICKS),
            ("protection", "Protection event: off, 30 ms (marked invalid) (object 1/803)", 400, "", TICKS),
            ("protection", "Protection start: over (SPE 0x00), 0 ms (test)", 200, start.address, TICKS),
        ]
        assert [entry[5] for entry in link.told] == [None, "doubtful", None, None, None, None]
        assert [sample[0] for sample in link.samples(0) or link.samples(0, late=True)][:2] == [1, 0]
        assert (link.samples(0) or link.samples(0, late=True))[1][1] & TimeFlag.DOUBTFUL


async def test_a_protection_event_that_a_station_sends_again_after_a_lost_link_is_told_once():
    event = encode(Asdu(40, 3, 1, (Information(801, 0x01, 55, 0, tagged(MOMENT)),)))
    async with ScriptedStation() as station, association(station, []) as (driver, link):
        await link.until(lambda: of_type(station, 100))
        station.send(event, event)  # twice on one connection is twice
        await link.until(lambda: len(link.told) == 2)
        driver._book.begin()
        station.send(event, encode(Asdu(40, 3, 1, (Information(801, 0x02, 55, 0, tagged(MOMENT)),))))
        await link.until(lambda: len(link.told) == 3)
        assert link.counters["repeated"] == 1
