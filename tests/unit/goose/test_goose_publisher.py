"""The simulated publisher: numbers, repetitions, time allowed to live, faults; tshark reads what it sends."""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from open61850.data import BitStringData, BoolData, FloatData, StructureData, TimestampData
from open61850.goose_publisher import GooseControl

from twin_gateway.drivers.iec61850.goose.frame import Message, frame_of, message_of
from twin_gateway.simulate.goose_publisher import Publisher

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
CONTROL = GooseControl(
    "F07Q1LD0/LLN0$GO$gcbTrip", "F07Q1LD0/LLN0$dsTrip", 0x3001, "01:0c:cd:01:00:01", "02:00:00:00:00:07",
    go_id="trip", conf_rev=3, vlan_id=5, vlan_priority=4, min_time_ms=4, max_time_ms=1000,
)  # fmt: skip
VALUES = [
    StructureData([BoolData(True), BitStringData(bytes((0x18, 0)), 3), TimestampData(AT, 0x0A)]),
    FloatData(49.5),
]


def publisher(now: float = 100.0) -> Publisher:
    made = Publisher(CONTROL, VALUES, lambda: AT)
    made.begin(now)
    return made


def read(octets: bytes) -> Message:
    return message_of(octets, frame_of(octets))


def until_next(it: Publisher) -> Message:
    found: list[bytes] = []
    while not found:
        found = it.messages(it.due)
    return read(found[0])


def test_repetitions_come_ever_later_and_allow_to_live_until_after_the_next() -> None:
    it = publisher()
    moments, lives = [], []
    for _ in range(12):
        moments.append(it.due)
        lives.append(until_next(it).live)
    waits = [round(1000 * (after - before)) for before, after in pairwise(moments)]
    assert waits == [4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000, 1000]
    assert lives[:11] == [3 * wait / 1000 for wait in waits]


def test_numbers_are_those_of_the_standard() -> None:
    it = publisher()
    first, second = until_next(it), until_next(it)
    assert [(message.state, message.sequence) for message in (first, second)] == [(1, 1), (1, 2)]
    assert not it.change(VALUES, 101.0)
    assert it.change([VALUES[0], FloatData(50.5)], 101.0)
    third, fourth = until_next(it), until_next(it)
    assert [(message.state, message.sequence) for message in (third, fourth)] == [(2, 0), (2, 1)]
    it.state = it.sequence = 0xFFFF_FFFF
    assert [until_next(it).sequence, until_next(it).sequence] == [0xFFFF_FFFF, 1]
    it.change(VALUES, 102.0)
    assert until_next(it).state == 1


def test_before_it_is_due_nothing_is_sent_and_a_late_sender_does_not_catch_up() -> None:
    it = publisher(100.0)
    assert it.messages(99.9) == []
    assert len(it.messages(100.0)) == 1
    assert it.messages(100.003) == []
    assert len(it.messages(150.0)) == 1
    assert it.due == 150.0


def test_messages_that_are_lost_count() -> None:
    it = publisher()
    until_next(it)
    it.obey({"lose": 2}, 100.0)
    assert until_next(it).sequence == 4
    assert (it.sent, it.lost) == (2, 2)
    it.obey({"silent": True}, 100.0)
    assert [it.messages(it.due) for _ in range(5)] == [[]] * 5
    it.obey({"silent": False, "copies": 2}, 100.0)
    assert len(it.messages(it.due)) == 2


def test_what_goes_wrong_with_the_messages_stands_in_them() -> None:
    it = publisher()
    it.obey({"conf_rev": 4, "live": 20, "members": 1, "needs_commissioning": True, "simulation": True}, 100.0)
    message = until_next(it)
    assert (message.revision, message.live, message.entries) == (4, 0.02, 1)
    assert (message.needs_commissioning, message.simulated) == (True, True)
    it.obey({"data_set": "F07Q1LD0/LLN0$dsNew", "skip": 2, "members": 0, "live": 0}, 100.0)
    message = until_next(it)
    assert (message.data_set, message.state, message.entries, message.live) == ("F07Q1LD0/LLN0$dsNew", 4, 2, 0.012)
    it.obey({"restart": True}, 100.0)
    assert (it.state, it.sequence) == (1, 1)


@pytest.mark.parametrize("order", [{"app_id": 70_000}, {"conf_rev": "x"}, {"lose": -1}, {"destination": "nowhere"}])
def test_an_order_that_makes_no_sense_changes_nothing(order: dict[str, object]) -> None:
    it = publisher()
    with pytest.raises((ValueError, TypeError)):
        it.obey(order, 100.0)
    assert it.control == CONTROL
    assert until_next(it).revision == 3


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_reads_every_field_as_it_was_meant(tmp_path: Path) -> None:
    it = publisher()
    frames = it.messages(it.due) + it.messages(it.due)
    it.obey({"simulation": True}, 100.0)
    frames += it.messages(it.due)
    path = tmp_path / "goose.pcap"
    records = b"".join(struct.pack("<IIII", 0, 0, len(each), len(each)) + each for each in frames)
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1) + records)
    wanted = {
        "eth.dst": "01:0c:cd:01:00:01", "eth.src": "02:00:00:00:00:07", "vlan.id": "5", "vlan.priority": "4",
        "goose.appid": "0x3001", "goose.length": str(len(frames[0]) - 18), "goose.gocbRef": CONTROL.gocb_ref,
        "goose.timeAllowedtoLive": "12", "goose.datSet": CONTROL.dat_set, "goose.goID": "trip",
        "goose.t": "Mar  1, 2026 12:00:00.250000000 UTC", "goose.stNum": "1", "goose.sqNum": "1",
        "goose.confRev": "3", "goose.numDatSetEntries": "2", "goose.float_value": "49.5",
    }  # fmt: skip
    names = [*wanted, "goose.reserve1.s_bit", "goose.simulation", "goose.ndsCom", "goose.boolean", "_ws.malformed"]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *(word for name in names for word in ("-e", name))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [dict(zip(names, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    assert {name: lines[0][name] for name in wanted} == wanted
    flags = [[line[name].lower() in ("1", "true") for name in names[-5:-1]] for line in lines]
    assert flags == [[False, False, False, True], [False, False, False, True], [True, True, False, True]]
    assert [line["goose.sqNum"] for line in lines] == ["1", "2", "3"]
    assert {line["_ws.malformed"] for line in lines} == {""}
