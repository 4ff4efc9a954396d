"""GOOSE frames: what is read of them, and what is refused before memory or recursion suffers."""

from __future__ import annotations

import random

import pytest
from open61850.data import BoolData, IntData, VisibleStringData
from peers.goose import made

from twin_gateway.drivers.iec61850.errors import MmsProtocolError
from twin_gateway.drivers.iec61850.goose.frame import MAX_FRAME, frame_of, message_of
from twin_gateway.drivers.iec61850.walk import walk

MUTANTS = 20_000


def test_a_frame_of_another_encoder_is_read_whole() -> None:
    octets = made(7, 3, values=[BoolData(True), IntData(5)], vlan_id=5, vlan_priority=4)
    frame = frame_of(octets)
    message = message_of(octets, frame)
    assert (frame.destination, frame.source) == (bytes.fromhex("010ccd010001"), bytes.fromhex("020000000001"))
    assert (frame.vlan, frame.app_id, frame.simulated) == (5, 0x3001, False)
    assert (message.control_block, message.data_set) == ("F07Q1LD0/LLN0$GO$gcbTrip", "F07Q1LD0/LLN0$dsTrip")
    assert (message.go_id, message.state, message.sequence, message.revision) == ("trip", 7, 3, 3)
    assert (message.live, message.entries, message.needs_commissioning, message.simulated) == (0.5, 2, False, False)
    assert len(walk(octets, message.start, message.stop).items) - 1 == 2


def test_without_go_id_the_reference_of_the_control_block_stands_for_it() -> None:
    octets = made(1, 0, go_id=None)
    assert message_of(octets, frame_of(octets)).go_id == "F07Q1LD0/LLN0$GO$gcbTrip"


def test_padding_of_short_frames_is_not_read() -> None:
    octets = made(1, 0)
    assert message_of(octets + bytes(20), frame_of(octets + bytes(20))) == message_of(octets, frame_of(octets))


@pytest.mark.parametrize("bit", ["header", "pdu"])
def test_a_message_is_simulated_by_the_bit_of_its_frame_or_of_its_pdu(bit: str) -> None:
    octets = bytearray(made(1, 0, simulation=bit == "pdu"))
    if bit == "header":
        octets[18] |= 0x80
    assert message_of(bytes(octets), frame_of(bytes(octets))).simulated


def pdu(fields: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(bytes((tag, len(content))) + content for tag, content in fields)
    body = b"\x61\x81" + bytes((len(body),)) + body
    head = (8 + len(body)).to_bytes(2, "big")
    return bytes.fromhex("010ccd010001020000000001") + b"\x88\xb8\x30\x01" + head + bytes(4) + body


GOOD = [
    (0x80, b"A/LLN0$GO$x"), (0x81, b"\x10"), (0x82, b"d"), (0x84, bytes(8)), (0x85, b"\x01"), (0x86, b"\x00"),
    (0x88, b"\x01"), (0x8A, b"\x00"), (0xAB, b""),
]  # fmt: skip


def without(tag: int) -> list[tuple[int, bytes]]:
    return [field for field in GOOD if field[0] != tag]


def instead(tag: int, content: bytes) -> list[tuple[int, bytes]]:
    return [(own, content if own == tag else old) for own, old in GOOD]


def test_the_fields_that_the_standard_asks_for_are_enough() -> None:
    octets = pdu(GOOD)
    assert message_of(octets, frame_of(octets)).entries == 0


@pytest.mark.parametrize(
    "fields",
    [
        *[without(tag) for tag, _ in GOOD],
        [*GOOD, (0x85, b"\x01")],
        [GOOD[1], GOOD[0], *GOOD[2:]],
        [*GOOD, (0x8C, b"\x01")],
        instead(0x80, b""),
        instead(0x80, b"x" * 130),
        instead(0x81, b"\x00"),
        instead(0x81, b""),
        instead(0x84, bytes(7)),
        instead(0x85, b"\x01" * 5),
        instead(0x85, bytes(9)),
    ],
)
def test_a_pdu_with_missing_foreign_disordered_or_oversized_fields_is_refused(fields: list[tuple[int, bytes]]) -> None:
    octets = pdu(fields)
    with pytest.raises(MmsProtocolError):
        message_of(octets, frame_of(octets))


@pytest.mark.parametrize("size", [0, 1, 13, 14, 17, 25, 40])
def test_a_frame_that_is_cut_off_is_refused(size: int) -> None:
    octets = made(1, 0)[:size]
    with pytest.raises(MmsProtocolError):
        message_of(octets, frame_of(octets))


def test_an_oversized_frame_is_refused() -> None:
    with pytest.raises(MmsProtocolError, match="octets"):
        frame_of(made(1, 0) + bytes(MAX_FRAME))


def test_data_nested_without_end_are_refused_without_recursion() -> None:
    nested = b""
    for _ in range(400):
        size = len(nested)
        nested = b"\xa2" + (bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")) + nested
    with pytest.raises(MmsProtocolError, match="nested"):
        walk(nested, 0, len(nested))


def test_twenty_thousand_damaged_frames_are_read_or_refused_and_nothing_else() -> None:
    chance = random.Random(61850)
    whole = [
        made(
            chance.randrange(1 << 32), chance.randrange(1 << 32), values=[BoolData(True), VisibleStringData("x" * 40)]
        ),
        made(1, 0, vlan_id=5, vlan_priority=4),
        made(1, 0, simulation=True, nds_com=True),
    ]
    refused = 0
    for number in range(MUTANTS):
        octets = bytearray(whole[number % len(whole)])
        for _ in range(chance.randrange(1, 6)):
            match chance.randrange(4):
                case 0:
                    octets[chance.randrange(len(octets))] = chance.randrange(256)
                case 1:
                    del octets[chance.randrange(len(octets)) :]
                case 2:
                    at = chance.randrange(len(octets) + 1)
                    octets[at:at] = chance.randbytes(chance.randrange(1, 9))
                case _:
                    at = chance.randrange(len(octets))
                    octets[at] ^= 1 << chance.randrange(8)
            octets = octets or bytearray(1)
        try:
            frame = frame_of(bytes(octets))
            message = message_of(bytes(octets), frame)
            walk(bytes(octets), message.start, message.stop)
        except MmsProtocolError:
            refused += 1
    assert MUTANTS // 4 < refused < MUTANTS
