"""TPKT, COTP and the BER envelope: limits before buffers."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open61850.data import UIntData
from open61850.mms import pdu
from open61850.server import protocol

from twin_gateway.drivers.iec61850 import tlv
from twin_gateway.drivers.iec61850.association import Association
from twin_gateway.drivers.iec61850.errors import MmsConnectionError, MmsProtocolError
from twin_gateway.drivers.iec61850.transport import MAX_TSDU, Cotp

CONFIRM = bytes.fromhex("0300000e09d00001000100c0010d")


def connected(size_code=0x0D):
    cotp = Cotp()
    assert list(cotp.feed(CONFIRM[:-1] + bytes((size_code,)))) == []
    return cotp


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5), st.integers(7, 13), st.data())
@settings(max_examples=60, deadline=None)
def test_messages_survive_any_segmentation_and_any_cut_of_the_stream(messages, code, data):
    sender, receiver = connected(code), connected()
    stream = b"".join(sender.encode(message) for message in messages)
    found, position = [], 0
    while position < len(stream):
        step = data.draw(st.integers(1, max(1, len(stream) // 3)))
        found += receiver.feed(stream[position : position + step])
        position += step
    assert found == messages


def test_segments_are_no_longer_than_agreed():
    cotp = connected(7)
    octets = cotp.encode(bytes(1000))
    lengths = []
    while octets:
        length = int.from_bytes(octets[2:4], "big")
        lengths.append(length - 4)
        octets = octets[length:]
    assert max(lengths) == 128
    assert sum(lengths) == 1000 + 3 * len(lengths)


def test_message_without_end_is_cut_off():
    cotp = connected()
    segment = b"\x03\x00\x20\x00" + b"\x02\xf0\x00" + bytes(0x2000 - 7)
    with pytest.raises(MmsProtocolError, match="more than"):
        for _ in range(MAX_TSDU // 0x1F00 + 2):
            list(cotp.feed(segment))


def test_endless_empty_segments_are_cut_off():
    cotp = connected()
    with pytest.raises(MmsProtocolError, match="more than"):
        list(cotp.feed(b"\x03\x00\x00\x07\x02\xf0\x00" * (MAX_TSDU + 2)))


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400",
        b"\x03\x00\x00\x04aaaa",
        b"\x03\x00\x00\x08\x07\xf0\x80a",
        b"\x03\x00\x00\x0e\x09\xd0\0\1\0\1\0\xc0\1\x0d",
    ],
    ids=["not TPKT", "too short", "header too long", "confirmed twice"],
)
def test_nonsense_is_a_protocol_error(octets):
    with pytest.raises(MmsProtocolError):
        list(connected().feed(octets))


def test_data_before_the_confirm_is_a_protocol_error():
    with pytest.raises(MmsProtocolError, match="before"):
        list(Cotp().feed(b"\x03\x00\x00\x08\x02\xf0\x80a"))


def test_disconnect_of_the_peer_is_told():
    with pytest.raises(MmsConnectionError):
        list(connected().feed(b"\x03\x00\x00\x0b\x06\x80\0\1\0\1\0"))


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_random_octets_raise_nothing_else(noise):
    with contextlib.suppress(MmsProtocolError, MmsConnectionError):
        list(connected().feed(noise))


@given(st.binary(max_size=300))
def test_envelope_is_the_one_that_the_library_reads(content):
    wrapped = pdu.wrap(content)
    start, stop = tlv.mms_pdu(wrapped)
    assert wrapped[start:stop] == pdu.unwrap(wrapped) == content


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=300)
def test_envelope_and_depth_check_of_nonsense_raise_protocol_errors_only(noise, prefixed):
    octets = tlv.SESSION_DATA + noise if prefixed else noise
    for check in (tlv.mms_pdu, lambda o: tlv.check_depth(o, 0, len(o))):
        with contextlib.suppress(MmsProtocolError):
            check(octets)


class Transport(asyncio.Transport):
    """Keeps whether it is read."""

    def __init__(self):
        super().__init__()
        self.said = []

    def pause_reading(self):
        self.said.append("pause")

    def resume_reading(self):
        self.said.append("resume")

    def is_closing(self):
        return "abort" in self.said

    def write(self, data):
        pass

    def abort(self):
        self.said.append("abort")


async def flooded(messages, end=b"", *, closes=False):
    """An association that has read many reports at once; the numbers that it handed on, and how its reading went."""
    taken, pauses = [], []
    link = Association(lambda buffer, start, stop: taken.append(buffer[start:stop]), lambda: pauses.append(len(taken)))
    transport = Transport()
    link.connection_made(transport)
    link._cotp.confirmed = True
    link._open.set_result(None)
    reports = [pdu.wrap(protocol.information_report([UIntData(n)], list_name="RPT")) for n in range(messages)]
    link.data_received(b"".join(map(connected().encode, reports)) + end)
    link.data_received(connected().encode(reports[-1]))  # what a TLS layer still had
    if closes:
        link.eof_received()
        link.connection_lost(None)
    turns = 0
    while link._backlog:
        await asyncio.sleep(0)
        turns += 1
    await asyncio.sleep(0)
    return link, taken, pauses, transport.said, turns


async def test_flood_is_decoded_in_slices_and_read_no_further_meanwhile():
    _, taken, pauses, said, turns = await flooded(5000)
    assert len(taken) == 5001
    assert taken[:-1] == sorted(taken[:-1], key=lambda octets: int.from_bytes(octets[2:], "big"))
    assert turns > 5
    assert len(pauses) > 5  # what was read is published slice by slice
    assert said == ["pause", "resume"]


async def test_what_came_before_nonsense_is_handed_on():
    link, taken, pauses, said, _ = await flooded(5000, b"nonsense")
    assert (len(taken), pauses[-1], said) == (5000, 5000, ["pause", "abort"])
    assert "not a TPKT" in link.closed.result()


async def test_what_a_peer_sent_before_it_closed_is_handed_on():
    link, taken, _, said, _ = await flooded(5000, closes=True)
    assert (len(taken), said) == (5001, ["pause", "abort"])
    assert link.closed.result() == "closed by the peer"
