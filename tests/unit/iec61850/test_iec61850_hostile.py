"""Hostile BER: nesting, lengths that lie, and mutated messages cost neither the process nor memory nor time."""

import asyncio
import os
import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open61850 import ber
from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    IntData,
    OctetStringData,
    RawData,
    StructureData,
    UIntData,
    VisibleStringData,
    encode_data,
)
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName
from open61850.mms.types import ArrayType, PrimitiveType, StructureType, encode_type_description
from open61850.server import protocol

from twin_gateway.drivers.iec61850 import files, logs, services, tlv
from twin_gateway.drivers.iec61850.association import Association
from twin_gateway.drivers.iec61850.errors import MmsError, MmsProtocolError, decoded
from twin_gateway.drivers.iec61850.plan import Plan, Signal
from twin_gateway.drivers.iec61850.report import ReadDecoder, ReportDecoder, Subscription
from twin_gateway.drivers.iec61850.type_description import type_description

FRAMES = int(os.environ.get("TWIN_FUZZ_FRAMES", "20000"))
"""Mutated messages of one run; 200000 for the long form."""
BATCH = 100

# -- messages as a sound device sends them ---------------------------------------------------------------------------

TYPE = StructureType([
    ("stVal", PrimitiveType("bit-string", 2)), ("q", PrimitiveType("bit-string", -13)),
    ("t", PrimitiveType("utc-time")), ("mag", StructureType([("f", PrimitiveType("float", 32))])),
    ("har", ArrayType(3, PrimitiveType("integer", 32))), ("d", PrimitiveType("visible-string", -255)),
])  # fmt: skip
VALUE = StructureData([
    BitStringData(b"\x80", 6), BitStringData(b"\0\0", 3), RawData(0x91, bytes(8)),
    StructureData([FloatData(1.5)]), StructureData([IntData(1), IntData(-2), IntData(3)]), VisibleStringData("bay"),
])  # fmt: skip
INDICATION = StructureType([("v", PrimitiveType("boolean")), ("q", PrimitiveType("bit-string", -13))])
MEMBERS = [("LD0/GGIO1$ST$Ind1", INDICATION)]


def tagged(number, content):
    return ber.encode_tlv(ber.make_tag(number, constructed=True), content)


def response(service, content):
    return ber.encode_tlv(0xA1, ber.encode_tlv(0x02, b"\x07") + tagged(service, content))


def graphic(name):
    return ber.encode_tlv(0xA0, ber.encode_tlv(0x19, name))


ATTRIBUTES = ber.encode_tlv(0xA1, ber.encode_tlv(0x80, b"\x13\x88") + ber.encode_tlv(0x81, b"20260102030405.000Z"))
ENTRY = ber.encode_tlv(0x30, b"".join((
    ber.encode_tlv(0x80, bytes(8)), ber.encode_tlv(0xA1, ber.encode_tlv(0x30)),
    ber.encode_tlv(0xA2, ber.encode_tlv(0x80, b"\0\0\x10\0\x3a\x98") + ber.encode_tlv(0xA2, ber.encode_tlv(0xA1,
        ber.encode_tlv(0x30, ber.encode_tlv(0x80, b"LD0/GGIO1$ST$Ind1") + ber.encode_tlv(0xA1, encode_data(VALUE)))))),
)))  # fmt: skip
NAMES = b"".join(
    ber.encode_tlv(0x30, ber.encode_tlv(0xA0, pdu.encode_object_name(ObjectName(f"GGIO1$ST$Ind{n}", "LD0"))))
    for n in range(5)
)

CONTENTS = {
    1: protocol.get_name_list_response(["GGIO1", "GGIO1$ST", "GGIO1$ST$Ind1"], True),
    4: ber.encode_tlv(0xA1, encode_data(VALUE) + ber.encode_tlv(0x80, b"\x03")),
    5: ber.encode_tlv(0x81) + ber.encode_tlv(0x80, b"\x03"),
    6: ber.encode_tlv(0x80, b"\0") + ber.encode_tlv(0xA2, encode_type_description(TYPE)),
    12: ber.encode_tlv(0x80, b"\0") + ber.encode_tlv(0xA1, NAMES),
    65: ber.encode_tlv(0xA0, ENTRY * 3) + ber.encode_tlv(0x81, b"\xff"),
    72: ber.encode_tlv(0x80, b"\x01") + ATTRIBUTES,
    73: ber.encode_tlv(0x80, bytes(200)) + ber.encode_tlv(0x81, b"\xff"),
    77: ber.encode_tlv(
        0xA0, ber.encode_tlv(0x30, ber.encode_tlv(0x30, graphic(b"COMTRADE/rec1.dat") + ATTRIBUTES) * 4)
    ),
}
DECODERS = {
    1: lambda content: decoded(pdu.get_name_list_response, content),
    4: lambda content: decoded(pdu.read_response, content),
    5: lambda content: decoded(pdu.write_response, content),
    6: type_description,
    12: lambda content: decoded(services.members_response, content),
    65: logs.read_response,
    72: files.open_response,
    73: files.read_response,
    77: files.directory_response,
}
REPORT = protocol.information_report(
    [
        VisibleStringData("rpt"), BitStringData(b"\x7b\x80", 6), UIntData(1), RawData(0x8C, b"\0\0\x10\0\x3a\x98"),
        VisibleStringData("LD0/LLN0$ds"), BoolData(False), OctetStringData(bytes(8)), UIntData(7),
        BitStringData(b"\x80", 7), StructureData([BoolData(True), BitStringData(b"\0\0", 3)]),
        BitStringData(b"\x40", 1),
    ],
    list_name="RPT",
)  # fmt: skip
MESSAGES = [
    *(response(service, content) for service, content in CONTENTS.items()),
    REPORT,
    protocol.confirmed_error(7, 11, 7),
    protocol.reject(7),
    protocol.conclude_response(),
    protocol.information_report([VALUE], variables=[ObjectName("LastApplError")]),
]


def mutated(message, chance):
    """One to four octets changed, put in, taken out or copied, lengths and tags above all."""
    octets = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(7):
            case 0:
                octets[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                octets[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 6)))
            case 2:
                del octets[at : at + chance.randint(1, 8)]
            case 3:
                octets[at : at + 1] = chance.choice(
                    (b"\x80", b"\x84\xff\xff\xff\xff", b"\xfe", b"\x82\xff\xff", b"\x00")
                )
            case 4:
                octets[at : at + 1] = chance.choice((b"\xa1", b"\xa2", b"\x30", b"\xbf\x4d", b"\x1f" + b"\xff" * 40))
            case 5:
                other = chance.choice(MESSAGES)
                octets[at:at] = other[chance.randrange(len(other)) :]
            case 6:
                octets[at : at + 1] = octets[at : at + 40] * chance.randint(1, 3)
    return bytes(octets)


def _feed(link, octets):
    """As the network would; what the association puts off is done at once."""
    link.data_received(octets)
    while link._backlog:
        link._go_on()


class Bare:
    """An association without a socket, as it stands after the peer has accepted it."""

    def __init__(self):
        self.decoder = ReportDecoder()
        signal = Signal(0, "LD0/GGIO1$ST$Ind1$v", "LD0/GGIO1$ST$Ind1$q")
        self.decoder.subscribe(Subscription("key", "rpt", "LD0/LLN0$ds", Plan(MEMBERS, [signal])))
        self.polls = ReadDecoder(Plan(MEMBERS, [signal]))
        self.refused = 0

    def _report(self, buffer, start, stop):
        try:
            self.decoder.decode(buffer, start, stop)
        except MmsProtocolError:
            self.refused += 1

    def take(self, message):
        """Feed one message as the network would; what it is refused for, or None."""
        link = Association(self._report)
        link._open.set_result(None)
        link._cotp.confirmed = True
        answer = link._loop.create_future()
        link._pending[7] = answer
        _feed(link, b"".join(_packets(pdu.wrap(message))))
        if answer.done() and answer.exception() is None:
            self._content(answer.result())
        return link.closed.result() if link.closed.done() else None

    def _content(self, result):
        decode = DECODERS.get(result.service)
        if decode is None:
            return
        try:
            decode(result.content)
        except MmsError:
            self.refused += 1
        if result.service == 4:  # as `services.read_raw` hands it on
            try:
                for tag, start, stop in tlv.fields(result.content):
                    if tag == 0xA1:
                        self.polls.decode(result.content, start, stop)
            except MmsProtocolError:
                self.refused += 1


def _packets(tsdu):
    for start in range(0, len(tsdu), 8000):
        last = 0x80 if start + 8000 >= len(tsdu) else 0
        part = tsdu[start : start + 8000]
        yield b"\x03\x00" + (len(part) + 7).to_bytes(2, "big") + bytes((2, 0xF0, last)) + part


def run(work):
    async def inner():
        return work()

    return asyncio.run(inner())


def test_sound_messages_are_taken():
    def work():
        bare = Bare()
        assert [bare.take(message) for message in MESSAGES] == [None] * len(MESSAGES)

    run(work)


@given(st.integers(0, 2**48))
@settings(max_examples=FRAMES // BATCH, deadline=None)
def test_mutated_messages_close_the_association_or_are_refused(seed):
    def work():
        chance, bare = random.Random(seed), Bare()
        for _ in range(BATCH):
            message = mutated(chance.choice(MESSAGES), chance)
            began = time.thread_time()
            reason = bare.take(message)
            assert time.thread_time() - began < 0.5, message.hex()
            assert reason is None or reason

    run(work)


# -- bombs ----------------------------------------------------------------------------------------------------------


def nested(levels, tag, inner=b""):
    for _ in range(levels):
        inner = bytes((tag,)) + ber.encode_length(len(inner)) + inner
    return inner


def nested_type(levels, tag):
    """A type whose constructed tags are told as primitive ones, where the tag says so."""
    inner = ber.encode_tlv(0x83)
    for _ in range(levels):
        inner = ber.encode_tlv(tag, ber.encode_tlv(0xA1, ber.encode_tlv(0x30, ber.encode_tlv(0xA1, inner))))
    return ber.encode_tlv(0xA2, inner)


BOMBS = {
    "data nested 5000 levels": response(4, ber.encode_tlv(0xA1, nested(5000, 0xA2))),
    "arrays nested 5000 levels": response(4, ber.encode_tlv(0xA1, nested(5000, 0xA1))),
    "types nested 5000 levels": response(6, nested_type(5000, 0xA2)),
    "types nested 5000 levels under primitive tags": response(6, nested_type(5000, 0x82)),
    "a log nested 5000 levels": response(65, ber.encode_tlv(0xA0, nested(5000, 0x30))),
    "a directory nested 5000 levels": response(77, ber.encode_tlv(0xA0, nested(5000, 0x30))),
    "a data set nested 5000 levels": response(12, ber.encode_tlv(0xA1, nested(5000, 0xA5))),
    "a report nested 5000 levels": ber.encode_tlv(0xA3, ber.encode_tlv(0xA0,
        b"\xa1\x05\x80\x03RPT" + ber.encode_tlv(0xA0, nested(5000, 0xA2)))),
    "a notice nested 5000 levels": ber.encode_tlv(0xA3, nested(5000, 0xA0)),
    "an error nested 5000 levels": ber.encode_tlv(0xA2, nested(5000, 0xA2)),
    "a tag of 500 000 octets": ber.encode_tlv(0xA1, b"\x02\x01\x07\xbf" + b"\xff" * 500_000 + b"\x01\x00"),
    "400 000 empty values": response(4, ber.encode_tlv(0xA1, b"\xa2\x00" * 400_000)),
    "a megabyte in 90 levels": response(4, ber.encode_tlv(0xA1,
        nested(90, 0xA2, ber.encode_tlv(0x89, bytes(900_000))))),
    "a length of 4 GiB": b"\xa1\x84\xff\xff\xff\xff\x02\x01\x07",
    "a length of 127 octets": b"\xa1\xff" + b"\xff" * 200,
    "an indefinite length": b"\xa1\x80\x02\x01\x07\xa4\x00\x00\x00",
    "an array of 4 thousand million": response(6, ber.encode_tlv(0xA2, ber.encode_tlv(0xA1,
        ber.encode_tlv(0x81, b"\xff\xff\xff\xff") + ber.encode_tlv(0xA2, b"\x83\x00")))),
    "an error code of 100 000 octets": ber.encode_tlv(0xA2, ber.encode_tlv(0x80, b"\x07") + ber.encode_tlv(0xA2,
        ber.encode_tlv(0xA0, ber.encode_tlv(0x80, b"\x7f" * 100_000)))),
    "an access error of 100 000 octets": response(4, ber.encode_tlv(0xA1, ber.encode_tlv(0x80, b"\x7f" * 100_000))),
    "a size of 100 000 octets": response(72, ber.encode_tlv(0x80, b"\x01") + ber.encode_tlv(0xA1,
        ber.encode_tlv(0x80, b"\x7f" * 100_000))),
}  # fmt: skip


HARMLESS = {"an array of 4 thousand million"}
"""Only a number; `plan.leaves` refuses it when it is to be read."""


@pytest.mark.parametrize("kind", BOMBS)
def test_bomb_is_refused_before_time_or_memory_suffer(kind):
    def work():
        bare = Bare()
        began = time.thread_time()
        reason = bare.take(BOMBS[kind])
        spent = time.thread_time() - began  # without the tracing, which costs thirty times as much
        traced = Bare()
        tracemalloc.start()
        try:
            traced.take(BOMBS[kind])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert reason or bare.refused or kind in HARMLESS, "taken as if it were sound"
        assert spent < 1.0
        assert peak < 24 << 20

    run(work)


def test_association_answer_of_a_sound_length_is_looked_at_only():
    def work():
        link = Association()
        link._cotp.confirmed = True
        user_data = b"\x1f" + b"\xff" * 60_000 + b"\x01\x00"
        parameter = b"\xc1\xff" + len(user_data).to_bytes(2, "big") + user_data
        tsdu = b"\x0e\xff" + len(parameter).to_bytes(2, "big") + parameter
        began = time.thread_time()
        _feed(link, b"".join(_packets(tsdu)))
        assert link.closed.result()
        assert isinstance(link._open.exception(), MmsError)
        assert time.thread_time() - began < 0.1

    run(work)


def test_fields_of_a_level_end_where_it_ends():
    octets = b"\x80\x01\x05\x81\x00"
    assert list(tlv.fields(octets)) == [(0x80, 2, 3), (0x81, 5, 5)]
    with pytest.raises(MmsProtocolError):
        list(tlv.fields(octets, 0, 4))
