"""The GOOSE driver over a capture service that the test plays: values, times, qualities, LGOS, losses."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    StructureData,
)
from peers.goose import AT, made
from peers.waiting import until
from unit.goose.goose_bed import (
    CONF,
    GOOD,
    HZ,
    LAST,
    NDS,
    REC,
    REF,
    RX,
    SIM,
    ST,
    TR,
    VALUES,
    Make,
    point,
    points,
    ticks,
    trip,
)

from address_space.quality import Quality, TimeFlag, status_of
from twin_gateway.drivers.capture import Carrier, pcapng
from twin_gateway.drivers.contract import LinkLost
from twin_gateway.drivers.iec61850.goose.process import Kind


async def test_it_asks_the_capture_for_its_addresses_only(make: Make) -> None:
    bed = await make()
    assert bed.request == {"interface": "lo", "streams": [["010ccd010001", 0x3001]]}


async def test_it_is_up_and_says_that_the_subscription_is_active_only_when_a_message_was_taken(make: Make) -> None:
    bed = await make()
    assert bed.link.ups == 0
    assert ST not in bed.link.last
    await bed.heard(4, 9, trip(True))
    assert bed.link.ups == 1
    assert [bed.link.value(row) for row in (ST, SIM, NDS, LAST, CONF, RX)] == [1, 0, 0, 4, 3, 3]
    assert bed.link.value(REF) == "F07Q1LD0/LLN0$GO$gcbTrip"


async def test_values_come_with_their_quality_and_the_time_of_the_state(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 9, trip(True, 3, 49.5, BitStringData(b"\xc0\x00", 3)), time_quality=0x2A)
    value, quality, at = bed.link.last[TR]
    assert (value, at) == (1.0, ticks(AT))
    assert quality & 3 == Quality.QUESTIONABLE
    assert quality & TimeFlag.NOT_SYNCHRONISED
    assert bed.link.last[REC][:1] == (3.0,)
    assert bed.link.last[HZ][0] == 49.5


async def test_what_did_not_change_keeps_the_time_of_the_state_in_which_it_did(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False))
    later = AT + timedelta(seconds=7)
    await bed.heard(5, 0, trip(True), at=later)
    assert bed.link.last[TR] == (1.0, 0, ticks(later))
    assert bed.link.last[REC][2] == ticks(AT)
    assert bed.link.last[HZ][2] == ticks(AT)


async def test_a_repetition_brings_nothing_new(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False))
    before = bed.link.batches
    await bed.heard(4, 1, trip(False))
    assert bed.link.batches == before
    assert bed.link.counters["goose_repetitions"] == 1


async def test_a_repetition_keeps_points_fresh_that_must_not_grow_old(make: Make) -> None:
    bed = await make([point(0, *VALUES[0][::2], ref=VALUES[0][1], stale_after=5.0)])
    await bed.heard(4, 0, trip(False))
    before = bed.link.batches
    for sequence in range(1, 40):
        await bed.heard(4, sequence, trip(False))
        await asyncio.sleep(0.05)
        if bed.link.batches > before:
            break
    assert bed.link.batches == before + 1


async def test_after_the_time_allowed_to_live_values_have_lost_communication(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(True), live=100)
    await until(lambda: bed.link.value(ST) == 0, what="the subscription is lost")
    value, quality, at = bed.link.last[TR]
    assert (value, at) == (1.0, ticks(AT))
    assert status_of(quality).name == "UncertainNoCommunicationLastUsableValue"
    assert bed.link.events == []  # the point of LGOS shows it
    assert bed.link.counters["subscription_losses"] == 1
    await bed.heard(4, 5, trip(True))
    assert bed.link.value(ST) == 1
    assert bed.link.last[TR] == (1.0, 0, ticks(AT))
    assert bed.link.counters["frames_missed"] == 4
    assert not [event for event in bed.link.events if event.startswith("D08")]


async def test_a_loss_that_no_point_shows_is_an_event(make: Make) -> None:
    bed = await make(points()[:3])
    await bed.heard(4, 0, trip(True), live=100)
    await until(lambda: bed.link.events)
    assert bed.link.events == ["D05 trip: no message within the time allowed to live"]


async def test_states_that_were_missed_are_told_as_lost_data(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(True))
    await bed.heard(7, 0, trip(True))
    assert bed.link.counters["states_missed"] == 2
    assert [event for event in bed.link.events if event.startswith("D08")] == [
        "D08 trip: 2 states were lost on the way, the values between are not known"
    ]


async def test_states_that_were_missed_while_nobody_listened_are_told_too(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(True))
    bed.writer.close()
    with pytest.raises(LinkLost):
        await bed.task
    await bed.listen()
    await bed.heard(9, 0, trip(True))
    assert bed.link.counters["states_missed"] == 4


async def test_another_revision_makes_values_unusable_and_is_said(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(True))
    await bed.heard(5, 0, trip(False), revision=4)
    assert [bed.link.value(row) for row in (ST, NDS, CONF, RX)] == [0, 1, 3, 4]
    assert status_of(bed.link.last[TR][1]).name == "BadConfigurationError"
    assert bed.link.last[TR][0] == 1.0
    assert bed.link.events == ["D05 trip: ConfRev is 4, expected 3"]
    await bed.heard(6, 0, trip(False))
    assert [bed.link.value(row) for row in (ST, NDS, RX)] == [1, 0, 3]
    assert bed.link.last[TR][:2] == (0.0, 0)


async def test_simulated_messages_change_no_value_and_are_told_once(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False))
    for sequence in range(3):
        await bed.heard(5, sequence, trip(True), simulation=True)
    assert bed.link.last[TR][0] == 0.0
    assert bed.link.value(SIM) == 0
    assert bed.link.counters["simulated_frames"] == 3
    assert bed.link.events == ["D06 trip: simulated messages come and are not taken"]


async def test_where_simulated_messages_are_wanted_their_values_say_so(make: Make) -> None:
    bed = await make(simulation=True)
    await bed.heard(5, 0, trip(True), simulation=True)
    assert bed.link.value(SIM) == 1
    value, quality, _ = bed.link.last[TR]
    assert value == 1.0
    assert quality & Quality.SIMULATED
    assert status_of(quality).name == "UncertainSimulatedValue"


async def test_a_second_publisher_is_a_security_event_and_changes_no_value(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False))
    await bed.heard(5, 0, trip(True), source="02:00:00:00:00:66")
    assert bed.link.last[TR][0] == 0.0
    assert bed.link.counters["foreign_frames"] == 1
    await bed.heard(5, 0, trip(True), source="02:00:00:00:00:67")
    assert bed.link.counters["foreign_frames"] == 2
    assert [event[:3] for event in bed.link.events] == ["D09"]


async def test_one_bad_frame_costs_one_counted_error(make: Make) -> None:
    bed = await make()
    bad = made(4, 0, values=trip(True))
    bed.send(bad[:60], b"\x00" * 40, bad[:24] + b"\xff" + bad[25:])
    await until(lambda: bed.link.counters["goose_errors"] == 3)
    bed.send(b"", kind=Kind.OVERSIZED)
    await until(lambda: bed.link.counters["goose_errors"] == 4)
    assert bed.link.ups == 0
    assert bed.link.last_errors[""]
    await bed.heard(4, 0, trip(True))
    assert bed.link.value(ST) == 1


async def test_twenty_thousand_damaged_frames_are_counted_one_by_one(make: Make) -> None:
    bed = await make()
    chance = random.Random(8)
    listening = bed.driver._running
    whole = [made(state, 0, values=trip(bool(state & 1))) for state in (1, 2, 3)]
    quiet = 0
    for number in range(20_000):
        octets = bytearray(whole[number % 3])
        for _ in range(chance.randrange(1, 5)):
            match chance.randrange(4):
                case 0:
                    octets[chance.randrange(len(octets))] = chance.randrange(256)
                case 1:
                    del octets[chance.randrange(20, 200) :]
                case 2:
                    at = chance.randrange(len(octets))
                    octets[at:at] = chance.randbytes(chance.randrange(1, 5))
                case _:
                    octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        before = bed.link.counters.copy()
        listening.receive(Kind.FRAME, bytes(octets))
        quiet += before == bed.link.counters
        if number % 500 == 0:
            await asyncio.sleep(0)
    assert quiet == 0
    assert 2_000 < bed.link.counters["goose_errors"] < 20_000
    assert len(bed.link.events) < 300
    assert not bed.task.done()


async def test_another_number_of_values_than_the_message_says_is_an_error(make: Make) -> None:
    bed = await make()
    octets = made(4, 0, values=trip(True))
    at = octets.rindex(b"\x8a\x01\x04")
    bed.send(octets[: at + 2] + b"\x03" + octets[at + 3 :])
    await until(lambda: bed.link.counters["goose_errors"] == 1)


async def test_a_member_of_another_type_spoils_only_its_point(make: Make) -> None:
    bed = await make()
    await bed.heard(4, 0, [StructureData([BoolData(True)]), GOOD, StructureData([]), FloatData(50.0)])
    assert bed.link.last[HZ][:2] == (50.0, 0)
    assert status_of(bed.link.last[REC][1]).name == "BadConfigurationError"
    assert bed.link.counters["member_errors"] >= 1


async def test_frames_that_found_no_room_are_told_as_lost_data(make: Make) -> None:
    bed = await make()
    bed.send((12).to_bytes(8, "big"), kind=Kind.DROPPED)
    await until(lambda: bed.link.counters["frames_dropped"] == 12)
    assert bed.link.events[0].startswith("D08 12 GOOSE frames")


async def test_silence_of_all_ends_the_run(make: Make) -> None:
    bed = await make(idle="300 ms")
    await bed.heard(4, 0, trip(True), live=100)
    with pytest.raises(LinkLost, match="no publisher has been heard"):
        await asyncio.wait_for(bed.task, 20)


async def test_who_was_never_heard_is_said_to_be_lost_after_a_while(make: Make) -> None:
    bed = await make(idle="300 ms")
    await until(lambda: bed.link.value(ST) == 0)
    assert bed.link.ups == 0
    assert LAST not in bed.link.last
    assert not bed.task.done()


async def test_a_capture_that_may_not_listen_ends_the_run_with_its_reason(make: Make) -> None:
    bed = await make()
    bed.send(b"Operation not permitted", kind=Kind.REFUSED)
    with pytest.raises(LinkLost, match="not permitted"):
        await asyncio.wait_for(bed.task, 20)


async def test_a_publisher_of_another_configuration_is_no_silent_one(make: Make) -> None:
    bed = await make(idle="300 ms")
    for sequence in range(12):
        await bed.heard(4, sequence, trip(True), revision=4)
        await asyncio.sleep(0.05)
    assert bed.link.ups
    assert not bed.task.done()
    with pytest.raises(LinkLost, match="no publisher has been heard"):
        await asyncio.wait_for(bed.task, 20)


async def test_who_was_never_heard_is_an_event_where_no_point_shows_it(make: Make) -> None:
    bed = await make(points()[:3], idle="300 ms")
    await until(lambda: bed.link.events)
    await asyncio.sleep(0.6)
    assert bed.link.events == ["D05 trip: no message since listening began"]
    assert not bed.task.done()


async def test_an_intruder_is_told_again_after_a_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False), live=60_000)
    await bed.heard(5, 0, trip(True), source="02:00:00:00:00:66")
    await bed.heard(5, 1, trip(True), source="02:00:00:00:00:66")
    assert len(bed.link.events) == 1
    monkeypatch.setattr("twin_gateway.drivers.iec61850.goose.driver._TELL_AGAIN_S", 0.0)
    await bed.heard(5, 2, trip(True), source="02:00:00:00:00:66")
    assert [event[:3] for event in bed.link.events] == ["D09", "D09"]


async def test_every_frame_is_in_the_capture_ring_as_it_was_on_the_wire(make: Make) -> None:
    bed = await make()
    frame = made(4, 0, values=trip(True), vlan_id=5, vlan_priority=4)
    bed.send(frame)
    await until(lambda: bed.link.counters["goose_states"])
    (record,) = bed.link.ring.records()
    assert (record.octets, record.flow.carrier, record.sent) == (frame, Carrier.ETHERNET, False)
    assert frame in pcapng("goose", [record])


async def test_many_frames_at_once_are_taken_in_slices_and_in_order(make: Make) -> None:
    bed = await make()
    bed.send(*(made(state, 0, values=trip(state % 2 == 0)) for state in range(1, 1001)))
    await until(lambda: bed.link.counters["goose_states"] == 1000)
    assert bed.link.counters["states_missed"] == 0
    assert bed.link.value(LAST) == 1000
