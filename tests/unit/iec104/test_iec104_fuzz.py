"""Mutated frames: nothing but counted errors, each of them once, and nothing that grows.

20 000 frames a run; `TWIN_FUZZ_FRAMES=200000` for more of them.
"""

import contextlib
import os
import random
from collections import Counter

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from peers.iec104.files import encode_directory
from peers.iec104.scripted import Recorder, point

from address_space.catalogue import ValueType
from twin_gateway.drivers.iec104 import columns as column_decoder
from twin_gateway.drivers.iec104.apci import ApciError, Control, Endpoint, Limits
from twin_gateway.drivers.iec104.association import Association
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.file_codec import (
    FILE_TYPES,
    Directory,
    Entry,
    FileMessage,
    FileType,
    decode_file,
    encode_file,
)
from twin_gateway.drivers.iec104.file_transfer import FileTransfer
from twin_gateway.drivers.iec104.gauges import Gauges
from twin_gateway.drivers.iec104.intake import Intake
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.objects import ObjectBook
from twin_gateway.drivers.iec104.points import PointIndex
from twin_gateway.drivers.iec104.strays import MOST
from twin_gateway.drivers.iec104.times import Stamp, TagFlag, Zone
from twin_gateway.drivers.iec104.types import TYPES, AsduError, TimeTag
from twin_gateway.drivers.iec104.widths import Widths

FRAMES = int(os.environ.get("TWIN_FUZZ_FRAMES", "20000"))
IN_ONE = 250
YEAR = 2026
WALL = 1_780_000_000_123
CONFIG = Iec104Config(host="127.0.0.1", common_address=(1, 2))


def whole(chance):
    """A well-formed ASDU of any type."""
    known = chance.choice(list(TYPES.values()))
    tag = {TimeTag.NONE: None, TimeTag.CP24: Stamp(61_001, TagFlag(0), 3), TimeTag.CP56: Stamp(WALL, TagFlag(0), 7)}
    sequence = known.monitor and chance.random() < 0.4
    count = chance.randint(1, 9) if known.monitor else 1
    first = chance.randint(1, 40)
    objects = tuple(Information(first + at, chance.randint(0, 1), time=tag[known.time]) for at in range(count))
    cause = chance.choice((3, 3, 20, 37, 5, 6, 7, 10, 44))
    return encode(Asdu(known.number, cause, chance.randint(1, 3), objects, sequence=sequence))


def whole_file(chance):
    """A well-formed ASDU of file transfer."""
    kind = chance.choice(list(FileType))
    if kind is FileType.DIRECTORY:
        stamp = Stamp(WALL, TagFlag(0), 7)
        lines = tuple(Entry(10 + at, 2, 1000, False, at == 3, False, stamp) for at in range(4))
        return encode_directory(Directory(1, lines, chance.choice((3, 5))))
    data = chance.randbytes(chance.randint(0, 200)) if kind is FileType.SEGMENT else b""
    return encode_file(FileMessage(kind, 1, 10, 2, 1, 5000, chance.choice((1, 2, 3, 6)), 7, data))


def mutated(octets, chance):
    octets = bytearray(octets)
    for _ in range(chance.randint(1, 3)):
        match chance.randint(0, 5):
            case 0 if octets:
                octets[chance.randrange(len(octets))] = chance.randint(0, 255)
            case 1 if octets:
                octets[chance.randrange(len(octets))] ^= 1 << chance.randint(0, 7)
            case 2:
                del octets[chance.randint(0, len(octets)) :]
            case 3:
                octets += chance.randbytes(chance.randint(1, 12))
            case 4 if len(octets) > 1:
                octets[1] = chance.choice((0, 1, 2, 0x7F, 0x80, 0x81, 0xFF))  # the structure
            case _ if octets:
                octets[0] = chance.randint(0, 255)  # the type
    return bytes(octets[:249])


def refused(octets):
    try:
        decode(octets, YEAR)
    except AsduError:
        return True
    return False


def test_the_decoders_raise_nothing_but_their_own_error_and_agree():
    @seed(63353)
    @settings(max_examples=max(1, FRAMES // IN_ONE), deadline=None, database=None)
    @given(st.integers(0, 1 << 48))
    def trial(number):
        chance = random.Random(number)
        frames = [mutated(whole(chance), chance) for _ in range(IN_ONE)]
        bad = Counter(octets for octets in frames if octets[:1] <= b"\x28" and refused(octets))
        monitor = [octets for octets in frames if octets[:1] <= b"\x28"]
        _, errors = column_decoder.decode_columns(monitor, received_ms=WALL, this_year=YEAR, zone=Zone())
        assert errors == bad.total()
        for widths in (Widths(1, 1, 2), Widths(2, 1, 1)):
            for octets in frames[:20]:
                refused(widths.widen(octets))
        for octets in frames:
            try:
                decode_file(octets, YEAR)
            except AsduError:
                continue
            assert octets[0] in FILE_TYPES

    trial()
    assert len(column_decoder._LAYOUTS) <= 65_536 + 257


def test_mutated_file_transfer_raises_nothing_but_its_own_error():
    transfer = FileTransfer(lambda _octets: True, 1.0)
    transfer._begin(1, 10, 2)
    transfer._open, transfer._room = 1, 5000

    @seed(63353)
    @settings(max_examples=max(1, FRAMES // 4 // IN_ONE), deadline=None, database=None)
    @given(st.integers(0, 1 << 48))
    def trial(number):
        chance = random.Random(number)
        for _ in range(IN_ONE):
            octets = mutated(whole_file(chance), chance)
            try:
                message = decode_file(octets, YEAR)
                transfer.take(octets)
            except AsduError:
                continue
            if isinstance(message, FileMessage) and message.type != FileType.LAST:
                assert encode_file(message)[:6] == octets[:2] + bytes((octets[2] & 0x7F,)) + octets[3:6]

    trial()
    assert transfer._arrived.qsize() <= 64
    assert len(transfer._section) <= 5000


@pytest.mark.parametrize("start", range(2))
async def test_every_error_of_an_intake_is_counted_once_and_nothing_grows(start):
    chance = random.Random(start)
    points = [point(row, row + 1, "M_SP_TB_1", value_type=ValueType.DOUBLE) for row in range(20)]
    index, link = PointIndex(CONFIG, points), Recorder()
    book = ObjectBook(index, CONFIG.common_address)
    intake = Intake(link, index, Zone(), book)
    for _ in range(max(1, FRAMES // 4 // IN_ONE)):
        frames = [mutated(whole(chance), chance) for _ in range(IN_ONE)]
        monitor = [octets for octets in frames if octets[:1] <= b"\x28"]
        before = link.counters["asdu_errors"] + link.counters["unknown_type"]
        intake.feed(monitor)
        intake.flush()
        counted = link.counters["asdu_errors"] + link.counters["unknown_type"] - before
        assert counted == sum(map(refused, monitor))
        link.batches.clear()
    assert len(book.unmapped()) <= MOST
    assert link.counters["unknown_address"] > 0
    assert {stray.reason for stray in book.unmapped()} >= {"unknown address", "unknown station", "other type"}


def test_a_mutated_stream_ends_the_connection_or_is_taken_and_nothing_is_kept_of_it():
    chance = random.Random(63353)
    for _ in range(max(1, FRAMES // 10)):
        endpoint = Endpoint(controlling=True, limits=Limits(), now=0.0)
        endpoint.start(0.0)
        asdus = []
        stream = bytearray((0x68, 4, Control.STARTDT_CON, 0, 0, 0))
        for number in range(3):
            body = whole(chance)
            stream += bytes((0x68, 4 + len(body))) + (number << 1).to_bytes(2, "little") + bytes(2) + body
        with contextlib.suppress(ApciError):
            endpoint.receive(mutated_stream(stream, chance), 0.0, asdus)
        assert len(asdus) <= 4
        assert len(endpoint._buffer) <= 255


def mutated_stream(octets, chance):
    octets = bytearray(octets)
    for _ in range(chance.randint(1, 2)):
        octets[chance.randrange(len(octets))] = chance.randint(0, 255)
    if chance.random() < 0.3:
        del octets[chance.randrange(len(octets)) :]
    return bytes(octets)


async def test_every_control_asdu_is_counted_once_or_taken():
    chance = random.Random(63353)
    index, link = PointIndex(CONFIG, []), Recorder()
    intake = Intake(link, index, Zone(), ObjectBook(index, CONFIG.common_address))
    quiet = Connection(controlling=True, limits=Limits(), on_asdus=lambda _connection, _asdus: None)
    association = Association(CONFIG, quiet, link, intake, Gauges())
    for _ in range(max(1, FRAMES // 10)):
        octets = mutated(chance.choice((whole, whole_file))(chance), chance)
        if octets[:1] <= b"\x28" or octets[0] == FileType.DIRECTORY:  # a directory that is announced is an event
            continue
        before = link.counters.total()
        association.take(octets)
        assert link.counters.total() == before + 1, octets.hex()
    assert {"asdu_errors", "unknown_type", "unexpected_asdus", "initialisations"} >= set(link.counters)
    assert not association.pending
