"""The GOOSE driver over a capture service that the test plays: values, times, qualities, LGOS, losses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    IECData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
)
from peers.goose import AT, made
from peers.goose_scl import with_goose
from peers.waiting import until
from peers.wire_notes import WireNotes

from address_space import clock
from address_space.catalogue import CDCS
from address_space.point import Batch
from address_space.quality import Quality, TimeFlag, status_of
from twin_gateway.drivers.capture import Carrier, pcapng
from twin_gateway.drivers.contract import BoundPoint, LinkLost, PointChange
from twin_gateway.drivers.iec61850.goose.config import ITEMS, SPEC, GooseConfig
from twin_gateway.drivers.iec61850.goose.driver import GooseDriver
from twin_gateway.drivers.iec61850.goose.process import HEAD, Kind

MEMBERS = ("LD0/PTRC1.Tr.general", "LD0/PTRC1.Tr.q", "LD0/RREC1.AutoRecSt.stVal", "LD0/MMXU1.Hz.mag.f")
SUBSCRIPTION = {
    "control_block": "F07Q1LD0/LLN0$GO$gcbTrip",
    "destination": "01-0C-CD-01-00-01",
    "app_id": 0x3001,
    "data_set": "F07Q1LD0/LLN0$dsTrip",
    "conf_rev": 3,
    "members": MEMBERS,
}
GOOD = BitStringData(bytes(2), 3)
TR, REC, HZ, ST, SIM, NDS, LAST, CONF, RX, REF = range(10)
VALUES = (("PTRC1/Tr", "LD0/PTRC1.Tr", "ACT"), ("RREC1/AutoRecSt", "LD0/RREC1.AutoRecSt", "ENS"),
          ("MMXU1/Hz", "LD0/MMXU1.Hz", "MV"))  # fmt: skip


def point(row: int, address: str, cdc: str, stale_after: float | None = None, **fields: str) -> BoundPoint:
    kind = CDCS[cdc].value_type
    assert kind is not None
    return BoundPoint(row, address, cdc, kind, {"subscription": "trip", **fields}, stale_after=stale_after)


def points() -> list[BoundPoint]:
    values = [point(row, address, cdc, ref=ref) for row, (address, ref, cdc) in enumerate(VALUES)]
    return [*values, *(point(3 + n, f"LGOS1/{item}", cdc, item=item) for n, (item, cdc) in enumerate(ITEMS.items()))]


def trip(tripped: bool, state: int = 1, hertz: float = 50.0, quality: IECData = GOOD) -> list[IECData]:
    return [BoolData(tripped), quality, IntData(state), FloatData(hertz)]


@dataclass
class Recorder(WireNotes):
    """A link that keeps what the driver says."""

    data_directory: Path
    name: str = "goose"
    counters: Counter[str] = field(default_factory=Counter)
    events: list[str] = field(default_factory=list)
    last: dict[int, tuple[float | str, int, int]] = field(default_factory=dict)
    batches: int = 0
    ups: int = 0

    def up(self) -> None:
        self.ups += 1

    def publish(self, batch: Batch) -> None:
        self.batches += 1
        for row, value, quality, at in zip(batch.rows, batch.values, batch.quality, batch.source_time, strict=True):
            self.last[int(row)] = (float(value), int(quality), int(at))
        self.last.update((s.row, (s.text, s.quality, s.source_time)) for s in batch.texts)

    def event(self, code: str, text: str, *, severity: int = 400, address: str = "") -> None:
        self.events.append(f"{code} {text}")

    def count(self, counter: str, by: int = 1) -> None:
        self.counters[counter] += by

    def value(self, row: int) -> float | str | None:
        return self.last[row][0] if row in self.last else None


@dataclass
class Bed:
    """A capture service, a driver that listens to it, and a link."""

    path: Path
    link: Recorder
    driver: GooseDriver
    task: asyncio.Task[None] | None = None
    request: dict[str, Any] = field(default_factory=dict)
    writer: asyncio.StreamWriter | None = None
    slow: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = json.loads(await reader.readline())
        self.writer = writer
        if self.slow is not None:
            await self.slow.wait()
        writer.write(HEAD.pack(Kind.READY, 0))
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()

    def send(self, *frames: bytes, kind: Kind = Kind.FRAME) -> None:
        assert self.writer is not None
        self.writer.write(b"".join(HEAD.pack(kind, len(each)) + each for each in frames))

    async def listen(self) -> None:
        self.task = asyncio.create_task(self.driver.run(self.link))
        await until(lambda: self.driver._running, what="the driver listens")

    async def heard(self, state: int, sequence: int, values: list[IECData], **how: Any) -> None:
        before = sum(self.link.counters.values())
        self.send(made(state, sequence, values=values, **how))
        await until(lambda: sum(self.link.counters.values()) > before, what="the message is counted")


Make = Callable[..., Any]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:

        async def build(
            of: list[BoundPoint] | None = None, *, listen: bool = True, scl: str | None = None, **how: Any
        ) -> Bed:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sock"
            subscription = {**SUBSCRIPTION, **how.pop("subscription", {})}
            chosen = {key: value for key, value in subscription.items() if value is not None}
            config = GooseConfig.model_validate(
                {"interface": "lo", "capture": str(path), "scl": scl, "subscriptions": {"trip": chosen}, **how}
            )
            assert not SPEC.check_device(config)
            bed = Bed(path, Recorder(tmp_path), GooseDriver("goose", config, points() if of is None else of))
            server = await asyncio.start_unix_server(bed.serve, path)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            if listen:
                await bed.listen()

            async def end() -> None:
                if bed.task is not None:
                    bed.task.cancel()
                    await asyncio.gather(bed.task, return_exceptions=True)
                if bed.writer is not None:
                    bed.writer.close()

            stack.push_async_callback(end)
            return bed

        yield build


def ticks(at: datetime) -> int:
    return clock.from_datetime(at)


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


async def test_points_come_and_go_while_the_messages_go_on(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    assert HZ not in bed.link.last
    await bed.driver.update(PointChange(added=[all_points[HZ], all_points[ST]]))
    assert bed.link.value(ST) == 1
    await bed.heard(4, 1, trip(True))
    assert bed.link.value(HZ) == 50.0
    await bed.driver.update(PointChange(removed=[all_points[TR]]))
    await bed.heard(5, 0, trip(False))
    assert bed.link.value(TR) == 1.0


async def test_points_that_are_there_lose_neither_their_time_nor_their_supervision_when_others_come(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:2])
    await bed.heard(4, 0, trip(False))
    await bed.heard(5, 0, trip(True), at=AT + timedelta(seconds=7))
    await bed.driver.update(PointChange(added=[all_points[HZ]], removed=[all_points[TR]]))
    await bed.heard(5, 1, trip(True), at=AT + timedelta(seconds=7))
    assert bed.link.last[REC] == (1.0, 0, ticks(AT))
    assert bed.link.last[HZ][0] == 50.0
    await bed.heard(5, 2, trip(True), at=AT + timedelta(seconds=7), live=100)
    await bed.driver.update(PointChange(added=[all_points[TR]], removed=[all_points[HZ]]))
    await until(lambda: bed.link.counters["subscription_losses"] == 1)
    assert status_of(bed.link.last[REC][1]).name == "UncertainNoCommunicationLastUsableValue"
    assert status_of(bed.link.last[HZ][1]).name == "Good"


async def test_a_point_that_comes_while_the_configuration_is_another_one_is_unusable_too(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    await bed.heard(4, 1, trip(True), revision=4)
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert [status_of(bed.link.last[row][1]).name for row in (TR, HZ)] == ["BadConfigurationError"] * 2
    assert bed.link.value(TR) == 1.0


async def test_a_point_that_comes_has_the_value_of_the_last_state_at_once_and_the_others_keep_theirs(
    make: Make,
) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True, hertz=49.5))
    before = bed.link.last[TR]
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert bed.link.value(HZ) == 49.5
    assert bed.link.last[HZ][2] == before[2], "it has the time of the state"
    assert bed.link.last[TR] == before
    await bed.driver.update(PointChange(removed=[all_points[HZ]]))
    await bed.heard(5, 0, trip(False, hertz=48.0))
    assert (bed.link.value(TR), bed.link.value(HZ)) == (0.0, 49.5)


async def test_a_point_that_comes_after_the_publisher_fell_silent_has_no_value(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1])
    await bed.heard(4, 0, trip(True))
    await until(lambda: bed.link.counters["subscription_losses"] == 1)
    await bed.driver.update(PointChange(added=[all_points[HZ]]))
    assert bed.link.value(HZ) is None


async def test_points_that_change_while_the_capture_starts_are_not_forgotten(make: Make) -> None:
    all_points = points()
    bed = await make(all_points[:1], listen=False)
    bed.slow = asyncio.Event()
    bed.task = asyncio.create_task(bed.driver.run(bed.link))
    await until(lambda: bed.request)
    await bed.driver.update(PointChange(added=[all_points[HZ]], removed=[all_points[TR]]))
    bed.slow.set()
    await until(lambda: bed.driver._running)
    await bed.heard(4, 0, trip(True))
    assert bed.link.value(HZ) == 50.0
    assert TR not in bed.link.last


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


async def test_points_that_grow_old_sooner_are_kept_fresh_more_often(make: Make) -> None:
    often, never = [
        await make([point(0, *VALUES[0][::2], ref=VALUES[0][1], stale_after=after)]) for after in (0.2, None)
    ]
    for sequence in range(24):
        for bed in (often, never):
            await bed.heard(4, sequence, trip(False))
        await asyncio.sleep(0.05)
    assert often.link.batches >= 6
    assert never.link.batches == 1


async def test_an_intruder_is_told_again_after_a_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = await make()
    await bed.heard(4, 0, trip(False), live=60_000)
    await bed.heard(5, 0, trip(True), source="02:00:00:00:00:66")
    await bed.heard(5, 1, trip(True), source="02:00:00:00:00:66")
    assert len(bed.link.events) == 1
    monkeypatch.setattr("twin_gateway.drivers.iec61850.goose.driver._TELL_AGAIN_S", 0.0)
    await bed.heard(5, 2, trip(True), source="02:00:00:00:00:66")
    assert [event[:3] for event in bed.link.events] == ["D09", "D09"]


async def test_a_point_that_the_data_set_does_not_hold_is_a_configuration_error(make: Make) -> None:
    bed = await make([point(0, "PTOC1/Op", "ACT", ref="LD0/PTOC1.Op")])
    assert status_of(bed.link.last[0][1]).name == "BadConfigurationError"
    assert bed.link.last_errors["PTOC1/Op"] == "LD0/PTOC1.Op is not in the data set"


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


async def test_it_offers_what_its_data_sets_hold(make: Make) -> None:
    bed = await make()
    assert [found.fields["ref"] for found in await bed.driver.discover()] == [MEMBERS[0], *MEMBERS[2:]]


@pytest.fixture
def scl(tmp_path: Path) -> str:
    return str(with_goose(tmp_path / "trip.cid"))


FROM_SCL = dict.fromkeys(("destination", "app_id", "data_set", "conf_rev", "members"))


async def test_with_an_scl_file_the_control_block_is_enough(make: Make, scl: str) -> None:
    chosen = [point(0, "XCBR1/Pos", "DPS", ref="LD0/XCBR1.Pos"), point(1, "PTRC1/Tr", "ACT", ref="LD0/PTRC1.Tr"),
              point(2, "LGOS1/ConfRevNum", "INS", item="ConfRevNum")]  # fmt: skip
    bed = await make(chosen, scl=scl, subscription=FROM_SCL)
    assert bed.request["streams"] == [["010ccd010001", 0x3001]]
    own = AT - timedelta(days=3)
    origin = StructureData([IntData(2), OctetStringData(b"x")])
    quality = BitStringData(b"\x00\x10", 3)
    position = [origin, UIntData(1), BitStringData(b"\x80", 6), quality, TimestampData(own), BoolData(False)]
    names = [found.fields["ref"] for found in await bed.driver.discover()]
    assert names == ["LD0/XCBR1.Pos", "LD0/PTRC1.Tr"]
    await bed.heard(4, 0, [StructureData(position), BoolData(True)], vlan_id=5, vlan_priority=4)
    assert bed.link.last[0][0] == 2.0
    assert bed.link.last[0][1] & Quality.TEST
    assert bed.link.last[0][2] == ticks(own)
    assert bed.link.last[1] == (1.0, 0, ticks(AT))
    assert bed.link.value(2) == 3.0


async def test_a_control_block_that_the_scl_file_does_not_have_ends_the_run_and_is_said(make: Make, scl: str) -> None:
    bed = await make(scl=scl, subscription={**FROM_SCL, "control_block": "F07Q1LD0/LLN0$GO$other"}, listen=False)
    with pytest.raises(LinkLost, match="has no address"):
        await bed.driver.run(bed.link)
    assert [event[:3] for event in bed.link.events] == ["D03"]
    assert status_of(bed.link.last[TR][1]).name == "BadConfigurationError"
    assert bed.link.value(NDS) == 1
