"""The driver against a scripted station: start, late events, several stations, commands and what can go wrong."""

import asyncio
import time

import pytest
from peers.iec104.scripted import Recorder, ScriptedStation, association, point, single, tagged

from address_space import clock
from address_space.addcause import AddCause
from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand, PointChange
from twin_gateway.drivers.iec104.codec import Asdu, Information, encode
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver

HOUR = 3_600_000


def now_ms():
    return time.time_ns() // 1_000_000


def ticks(ms):
    return clock.from_unix_ns(ms * 1_000_000)


def breaker(model="direct-normal", kind="C_DC_NA_1", **more):
    control = {"ioa": 500, "type": kind, "model": model, **more}
    return point(0, 10, "M_DP_TB_1", cdc="DPC", value_type=ValueType.INT32, control=control)


def command(target, value=2, verb=Verb.OPERATE, **more):
    return DeviceCommand(verb, target, value, "c1", **{"timeout": 2.0, **more})


def confirm(connection, asdu):
    connection.send(encode(asdu._replace(cause=9 if asdu.cause == 8 else 7)))


# -- data ---------------------------------------------------------------------------------------------------------


async def test_the_interrogation_gives_the_live_values():
    async with (
        ScriptedStation(answers=[single(5, 1, cause=20)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: link.samples(0) == [(1, 0, 0)])


async def test_events_from_before_the_connection_are_late_and_the_interrogation_gives_the_live_value():
    old = now_ms() - HOUR
    async with (
        ScriptedStation(answers=[single(5, 1, at=old), single(5, 0, at=old + 5), single(5, 0, cause=20)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: link.samples(0))
        assert link.samples(0, late=True) == [(1, 0, ticks(old)), (0, 0, ticks(old + 5))]
        assert link.samples(0) == [(0, 0, 0)]
        assert link.counters["late"] == 2


async def test_a_point_that_the_interrogation_leaves_out_takes_its_last_event_when_it_ends():
    old = now_ms() - HOUR
    async with (
        ScriptedStation(answers=[single(5, 0, at=old), single(5, 1, at=old + 5)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: link.samples(0))
        assert link.samples(0) == [(1, 0, ticks(old + 5))]
        assert len(link.samples(0, late=True)) == 2


async def test_a_buffered_event_older_than_a_tagged_answer_never_becomes_live():
    old = now_ms() - HOUR
    async with (
        ScriptedStation(answers=[single(5, 0, cause=20, at=old + 5), single(5, 1, at=old)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1"), point(1, 6, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: link.samples(0, late=True))
        station.send(single(6, 1))
        await link.until(lambda: link.samples(1))
        assert link.samples(0) == [(0, 0, ticks(old + 5))]


async def test_a_change_that_happens_during_the_interrogation_is_live_at_once():
    fresh = now_ms() + 60_000
    async with (
        ScriptedStation(answers=[single(5, 0, cause=20), single(5, 1, at=fresh)]) as station,
        association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link),
    ):
        await link.until(lambda: len(link.samples(0)) == 2)
        assert link.samples(0)[-1] == (1, 0, ticks(fresh))
        assert link.counters["late"] == 0


async def test_an_old_event_after_the_interrogation_is_a_live_change():
    old = now_ms() - HOUR
    async with ScriptedStation() as station, association(station, [point(0, 5, "M_SP_TB_1")]) as (_, link):
        await link.until(lambda: any(asdu.type == 100 for asdu in station.received))
        await asyncio.sleep(0.1)
        station.send(single(5, 1, at=old))
        await link.until(lambda: link.samples(0))
        assert link.samples(0) == [(1, 0, ticks(old))]


async def test_a_station_that_never_answers_the_interrogation_still_delivers():
    async with (
        ScriptedStation(interrogation=False) as station,
        association(station, [point(0, 5, "M_SP_TB_1")], answer_timeout=0.2) as (_, link),
    ):
        await link.until(lambda: link.counters["timeouts"] == 1)
        station.send(single(5, 1))
        await link.until(lambda: link.samples(0))
        assert [code for code, _ in link.events] == ["timeout"]


async def test_every_common_address_is_interrogated_and_keeps_its_own_points():
    points = [point(0, 5, "M_SP_NA_1"), point(1, 5, "M_SP_NA_1", common_address=9)]
    async with (
        ScriptedStation(answers=[single(5, 1, cause=20), single(5, 0, cause=20, ca=9)]) as station,
        association(station, points, common_address=[1, 9]) as (_, link),
    ):
        await link.until(lambda: len(link.samples(1)) == 2)
        assert [asdu.common_address for asdu in station.received if asdu.type == 100] == [1, 9]
        assert link.samples(0)[0][0] == 1
        assert link.samples(1)[0][0] == 0


async def test_what_belongs_to_no_point_is_counted_by_reason():
    async with ScriptedStation() as station, association(station, [point(0, 5, "M_SP_NA_1")]) as (_, link):
        station.send(
            single(6, 1),
            single(5, 1, ca=2),
            single(5, 1, cause=6),
            encode(Asdu(3, 3, 1, (Information(5, 2),))),
            bytes((200, 1, 3, 0, 1, 0)),
            bytes((30, 1, 3, 0, 1, 0, 5, 0, 0, 1)),
            single(5, 1),
        )
        await link.until(lambda: link.samples(0))
        for counter in (
            "unknown_address",
            "unknown_common_address",
            "unexpected_cause",
            "unexpected_type",
            "unknown_type",
            "asdu_errors",
        ):
            assert link.counters[counter] == 1, counter


async def test_two_addresses_may_share_one_object_and_parts_of_it():
    points = [
        point(0, 5, "M_DP_NA_1", cdc="DPC", value_type=ValueType.INT32),
        point(1, 5, "M_DP_NA_1", cdc="DPC", value_type=ValueType.INT32),
        point(2, 7, "M_PS_NA_1", bit=3),
        point(3, 8, "M_ST_NA_1", value_type=ValueType.BOOLEAN),
        point(4, 8, "M_ST_NA_1", cdc="BSC", value_type=ValueType.INT32),
        point(5, 9, "M_ME_NA_1", cdc="MV", value_type=ValueType.DOUBLE, nominal=400),
        point(6, 11, "M_SP_NA_1", cdc="DPC", value_type=ValueType.INT32),
        point(7, 12, "M_EP_TE_1", cdc="ACD", value_type=ValueType.BOOLEAN),
    ]
    async with ScriptedStation() as station, association(station, points) as (_, link):
        station.send(
            encode(Asdu(3, 3, 1, (Information(5, 2),))),
            encode(Asdu(20, 3, 1, (Information(7, 0x0008, 0xFFFF),))),
            encode(Asdu(5, 3, 1, (Information(8, -3, 1),))),
            encode(Asdu(9, 3, 1, (Information(9, 0.5),))),
            encode(Asdu(1, 3, 1, (Information(11, 1),))),
            encode(Asdu(39, 3, 1, (Information(12, 0x03, 20, 0, tagged(now_ms())),))),
        )
        await link.until(lambda: link.samples(7))
        assert [link.samples(row)[-1][0] for row in range(8)] == [2, 2, 1, 1, -3, 200, 2, 1]


async def test_points_can_be_added_and_removed_without_reconnecting():
    async with ScriptedStation(answers=[single(5, 1, cause=20), single(6, 1, cause=20)]) as station:
        first, second = point(0, 5, "M_SP_NA_1"), point(1, 6, "M_SP_NA_1")
        async with association(station, [first]) as (driver, link):
            await link.until(lambda: link.samples(0))
            assert not link.samples(1)
            await driver.update(PointChange(added=[second], removed=[first]))
            await link.until(lambda: link.samples(1))
            assert len(link.samples(0)) == 1
            assert len(station.connections) == 1


async def test_a_restarted_application_is_interrogated_again():
    async with (
        ScriptedStation(answers=[single(5, 1, cause=20)]) as station,
        association(station, [point(0, 5, "M_SP_NA_1")]) as (_, link),
    ):
        await link.until(lambda: link.samples(0))
        station.send(encode(Asdu(70, 4, 1, (Information(0, 0),))))
        await link.until(lambda: len(link.samples(0)) == 2)


async def test_the_clock_is_set_in_the_zone_of_the_device():
    async with (
        ScriptedStation() as station,
        association(station, [], clock_sync=60.0, time_zone="Etc/GMT-5") as (_, link),
    ):
        await link.until(lambda: any(asdu.type == 103 for asdu in station.received))
        set_to = next(asdu.objects[0].time.ms for asdu in station.received if asdu.type == 103)
        assert abs(set_to - (now_ms() + 5 * HOUR)) < 5000


async def test_discovery_tells_what_the_station_has():
    answers = [single(5, 1, cause=20), single(6, 1, cause=20)]
    async with ScriptedStation(answers=answers) as station, association(station, []) as (driver, _):
        found = await driver.discover()
        assert [dict(one.fields) for one in found] == [
            {"ioa": 5, "type": "M_SP_NA_1", "common_address": 1},
            {"ioa": 6, "type": "M_SP_NA_1", "common_address": 1},
        ]


# -- the link -----------------------------------------------------------------------------------------------------


async def test_a_half_open_connection_is_given_up_after_t3_and_t1():
    """The peer's process stands still: TCP stays up and nobody answers."""
    reader_only = await asyncio.start_server(_start_and_fall_silent, "127.0.0.1", 0)
    async with reader_only:
        port = reader_only.sockets[0].getsockname()[1]
        config = Iec104Config(host="127.0.0.1", port=port, t1=0.4, t2=0.2, t3=0.3, answer_timeout=0.1)
        link, began = Recorder(), time.monotonic()
        with pytest.raises(ConnectionError, match="t1"):
            await asyncio.wait_for(Iec104Driver("rtu", config, []).run(link), 20)
        assert link.is_up.is_set()
        assert time.monotonic() - began < 10


async def _start_and_fall_silent(reader, writer):
    await reader.readexactly(6)
    writer.write(bytes.fromhex("68040b000000"))
    await reader.read()
    writer.close()


async def test_a_peer_that_never_confirms_the_start_is_given_up_after_t1():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        link = Recorder()
        config = Iec104Config(host="127.0.0.1", port=port, t1=0.3, t2=0.1)
        with pytest.raises(ConnectionError, match="STARTDT"):
            await asyncio.wait_for(Iec104Driver("rtu", config, []).run(link), 20)
        assert not link.is_up.is_set()


async def test_a_missing_frame_ends_the_association():
    async with ScriptedStation() as station, association(station, []) as (driver, link):
        await link.until(lambda: station.received)
        station.connections[0]._transport.write(bytes.fromhex("6804080000000000"[:12]))
        await asyncio.wait((driver.running,), timeout=5)
        with pytest.raises(ConnectionError, match="was due"):
            driver.running.result()


# -- commands -----------------------------------------------------------------------------------------------------


async def test_a_direct_command_is_good_only_after_the_confirmation():
    held = []
    async with ScriptedStation(on_asdu=lambda *given: held.append(given)) as station:
        target = breaker(qu=1)
        async with association(station, [target], originator=17) as (driver, link):
            asked = asyncio.create_task(driver.execute(command(target, 2)))
            await link.until(lambda: held)
            await asyncio.sleep(0.05)
            assert not asked.done()
            connection, request = held[0]
            assert request == Asdu(46, 6, 1, (Information(500, 2, 1 << 2),), originator=17)
            confirm(connection, request)
            outcome = await asked
            assert outcome.good
            assert outcome.sent


async def test_select_operate_and_cancel_say_so_on_the_wire():
    async with ScriptedStation(on_asdu=confirm) as station:
        target = breaker("sbo-normal")
        async with association(station, [target]) as (driver, _):
            assert (await driver.execute(command(target, 1, Verb.SELECT))).good
            assert (await driver.execute(command(target, 1))).good
            assert (await driver.execute(command(target, 2, Verb.SELECT))).good
            assert (await driver.execute(command(target, None, Verb.CANCEL))).good
        sent = [
            (asdu.cause, asdu.objects[0].value, asdu.objects[0].extra) for asdu in station.received if asdu.type == 46
        ]
        assert sent == [(6, 1, 0x80), (6, 1, 0), (6, 2, 0x80), (8, 2, 0x80)]


async def test_there_is_nothing_to_cancel_before_a_selection():
    async with ScriptedStation(on_asdu=confirm) as station:
        target = breaker("sbo-normal")
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target, None, Verb.CANCEL))
        assert outcome.add_cause == AddCause.OBJECT_NOT_SELECTED
        assert not outcome.sent


async def test_a_device_that_confirms_a_selection_again_has_not_cancelled():
    async with ScriptedStation(on_asdu=lambda link, asdu: link.send(encode(asdu._replace(cause=7)))) as station:
        target = breaker("sbo-normal")
        async with association(station, [target]) as (driver, _):
            assert (await driver.execute(command(target, 2, Verb.SELECT))).good
            outcome = await driver.execute(command(target, None, Verb.CANCEL))
        assert outcome.status == StatusCode.BadNotSupported


@pytest.mark.parametrize(
    ("kind", "value", "element"),
    [
        ("C_SC_NA_1", True, (1, 0)),
        ("C_DC_TA_1", 1, (1, 0)),
        ("C_RC_NA_1", 2, (2, 0)),
        ("C_SE_NA_1", 50.0, (0.5, 0)),
        ("C_SE_NB_1", -7, (-7, 0)),
        ("C_SE_TC_1", 2.5, (2.5, 0)),
        ("C_BO_NA_1", 0xFFFF0000, (0xFFFF0000, 0)),
    ],
)
async def test_every_command_type_carries_its_value(kind, value, element):
    async with ScriptedStation(on_asdu=confirm) as station:
        target = breaker(kind=kind, nominal=100)
        async with association(station, [target]) as (driver, _):
            assert (await driver.execute(command(target, value, test=True))).good
        asdu = next(asdu for asdu in station.received if asdu.type != 100)
        item = asdu.objects[0]
        assert (asdu.name, item.value, item.extra, asdu.test) == (kind, *element, True)
        assert (item.time is not None) == (kind.split("_")[2] in {"TA", "TB", "TC"})
        if item.time is not None:
            assert abs(item.time.ms - now_ms()) < 5000


@pytest.mark.parametrize(
    ("cause", "negative", "status"),
    [
        (7, True, StatusCode.Bad),
        (44, True, StatusCode.BadNotSupported),
        (45, True, StatusCode.BadNotSupported),
        (46, True, StatusCode.BadNodeIdUnknown),
        (47, False, StatusCode.BadNodeIdUnknown),
    ],
)
async def test_a_refusal_comes_back_with_its_reason(cause, negative, status):
    def refuse(connection, asdu):
        connection.send(encode(asdu._replace(cause=cause, negative=negative)))

    async with ScriptedStation(on_asdu=refuse) as station:
        target = breaker()
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target))
        assert (outcome.status, outcome.gate, outcome.sent) == (status, "device", True)
        assert outcome.text


async def test_silence_is_an_unknown_outcome_and_nothing_is_sent_twice():
    async with ScriptedStation(on_asdu=lambda *_: None) as station:
        target = breaker()
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target, timeout=0.2))
            await asyncio.sleep(0.2)
        assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
        assert "unknown" in outcome.text
        assert len([asdu for asdu in station.received if asdu.type == 46]) == 1


async def test_a_link_lost_after_sending_is_an_unknown_outcome():
    async with ScriptedStation(on_asdu=lambda connection, _: connection.abort("killed")) as station:
        target = breaker()
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target))
            assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
            later = await driver.execute(command(target))
            assert (later.status, later.sent) == (StatusCode.BadNoCommunication, False)


async def test_an_old_confirmation_of_another_value_does_not_confirm():
    def confirm_other(connection, asdu):
        connection.send(encode(asdu._replace(cause=7, objects=(asdu.objects[0]._replace(value=1),))))

    async with ScriptedStation(on_asdu=confirm_other) as station:
        target = breaker()
        async with association(station, [target]) as (driver, link):
            outcome = await driver.execute(command(target, 2, timeout=0.3))
        assert outcome.status == StatusCode.BadTimeout
        assert link.counters["unexpected_asdus"] == 1


async def test_the_termination_is_awaited_where_the_binding_asks_for_it():
    def terminate_badly(connection, asdu):
        connection.send(encode(asdu._replace(cause=7)))
        end = encode(asdu._replace(cause=10, negative=True))
        asyncio.get_running_loop().call_later(0.05, connection.send, end)

    async with ScriptedStation(on_asdu=terminate_badly) as station:
        patient, quick = breaker(termination=True), breaker()
        async with association(station, [patient]) as (driver, link):
            assert (await driver.execute(command(patient))).status == StatusCode.Bad
            assert (await driver.execute(command(quick))).good
            await link.until(lambda: link.events)
            assert link.events[0][0] == "command"


async def test_a_second_command_to_an_object_in_execution_is_refused():
    async with ScriptedStation(on_asdu=lambda *_: None) as station:
        target = breaker()
        async with association(station, [target]) as (driver, _):
            first = asyncio.create_task(driver.execute(command(target, timeout=0.3)))
            await asyncio.sleep(0.05)
            second = await driver.execute(command(target))
            await first
        assert second.add_cause == AddCause.COMMAND_ALREADY_IN_EXECUTION
        assert not second.sent


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("C_SE_NB_1", 40_000),
        ("C_SE_NB_1", 1.5),
        ("C_SE_NA_1", 500),
        ("C_RC_NA_1", 3),
        ("C_DC_NA_1", 3),
        ("C_SC_NA_1", 7),
    ],
)
async def test_a_value_that_does_not_fit_is_refused_before_anything_is_sent(kind, value):
    async with ScriptedStation(on_asdu=confirm) as station:
        target = breaker(kind=kind, nominal=100)
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target, value))
        assert not outcome.good
        assert not outcome.sent
        assert all(asdu.type == 100 for asdu in station.received)


async def test_a_bit_string_cannot_be_selected_because_the_wire_cannot_say_so():
    async with ScriptedStation(on_asdu=confirm) as station:
        target = breaker("sbo-normal", "C_BO_NA_1")
        async with association(station, [target]) as (driver, _):
            outcome = await driver.execute(command(target, 1, Verb.SELECT))
        assert not outcome.sent
        assert all(asdu.type == 100 for asdu in station.received)
