"""Logs: our requests against the octets of libiec61850's client, which also has to understand the same answers."""

import asyncio
import importlib.util
import json
import sys

import pytest
from integration.iec61850.bed import HERE
from integration.iec61850.test_iec61850_association import FakeServer
from open61850 import ber
from open61850.data import BitStringData, BoolData, IntData, StructureData, encode_data
from open61850.mms import pdu
from open61850.mms.pdu import ObjectName
from open61850.server import protocol

from address_space import clock
from twin_gateway.drivers.iec61850 import logs
from twin_gateway.drivers.iec61850.association import Association, Peer
from twin_gateway.drivers.iec61850.errors import MmsProtocolError

LOG = ObjectName("LLN0$EventLog", "F07Q1LD0")
MOMENT = 1_767_323_045
needs_libiec61850 = pytest.mark.skipif(
    importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed: no independent peer"
)


def variable(tag, value):
    return ber.encode_tlv(0x30, ber.encode_tlv(0x80, tag.encode()) + ber.encode_tlv(0xA1, encode_data(value)))


def entry(number, *values):
    """One entry as ISO 9506-2 encodes it: identity, application, content with time and variables."""
    variables = b"".join(variable(tag, value) for tag, value in values)
    stamp = logs.time_of_entry(clock.from_unix(MOMENT + number))
    content = ber.encode_tlv(0x80, stamp) + ber.encode_tlv(0xA2, ber.encode_tlv(0xA1, variables))
    identity = ber.encode_tlv(0x80, number.to_bytes(8, "big"))
    return ber.encode_tlv(0x30, identity + ber.encode_tlv(0xA1, ber.encode_tlv(0x30)) + ber.encode_tlv(0xA2, content))


def answer(entries, more):
    return ber.encode_tlv(0xA0, b"".join(entries)) + ber.encode_tlv(0x81, b"\xff" if more else b"\0")


POSITION = StructureData([BitStringData(b"\x80", 6), BitStringData(b"\0\0", 3)])
ENTRIES = [
    entry(1, ("F07Q1LD0/XCBR1$ST$Pos", POSITION), ("F07Q1LD0/XCBR1$ST$Pos$ReasonCode", BitStringData(b"\x40", 1))),
    entry(2, ("F07Q1LD0/GGIO1$ST$Ind1", BoolData(True))),
    entry(3, ("F07Q1LD0/XCBR1$ST$OpCnt", IntData(-5))),
]


class Journal:
    """Serves the entries two at a time and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, message):
        assert message.service == logs.READ_JOURNAL
        self.asked.append(message.content)
        behind = [t.value for t in ber.iter_tlvs(message.content) if t.tag == 0xA5]
        after = int.from_bytes(list(ber.iter_tlvs(behind[0]))[1].value, "big") if behind else 0
        content = answer(ENTRIES[after : after + 2], after + 2 < len(ENTRIES))
        return pdu.wrap(protocol.confirmed_response(message.invoke_id, message.service, content))


def request_content(**asked):
    service = logs.read_request(LOG, **asked)
    return service[3:]  # behind the two octets of the tag and one of the length


async def libiec61850(port, *more):
    """What libiec61850's client makes of the log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / "libiec61850_log_client.py", str(port), "F07Q1LD0/LLN0$EventLog", f"{MOMENT}000", *more,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await asyncio.wait_for(process.communicate(), 30)
    return json.loads(told)


async def test_log_is_read_page_by_page_with_times_and_values():
    journal = Journal()
    async with FakeServer(journal) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        lines, cut = await logs.log(link, LOG, clock.from_unix(MOMENT))
        await link.close()
    assert not cut
    assert [(line.item, line.value) for line in lines] == [
        ("F07Q1LD0/XCBR1$ST$Pos", "10, 0000000000000"),
        ("F07Q1LD0/XCBR1$ST$Pos$ReasonCode", "0100000"),
        ("F07Q1LD0/GGIO1$ST$Ind1", "true"),
        ("F07Q1LD0/XCBR1$ST$OpCnt", "-5"),
    ]
    assert lines[-1].note == f"{clock.iso(clock.from_unix(MOMENT + 3))} 0000000000000003"
    assert len(journal.asked) == 2


@needs_libiec61850
async def test_requests_are_those_of_libiec61850_and_it_understands_the_answers():
    journal = Journal()
    async with FakeServer(journal) as server:
        assert await libiec61850(server.port) == {"error": 0, "entries": 2}
        assert await libiec61850(server.port, "0000000000000002") == {"error": 0, "entries": 1}
    by_time, behind = journal.asked
    stop = ber.encode_tlv(0xA2, ber.encode_tlv(0x80, logs.time_of_entry(clock.from_unix(MOMENT + 1))))
    assert request_content(since=clock.from_unix(MOMENT)) + stop == by_time
    last = logs.LogEntry((2).to_bytes(8, "big"), 0, logs.time_of_entry(clock.from_unix(MOMENT)), ())
    assert request_content(since=None, after=last) == behind


async def test_log_that_repeats_itself_for_ever_is_given_up():
    def same(message):
        content = answer(ENTRIES[:1], more=True)
        return pdu.wrap(protocol.confirmed_response(message.invoke_id, message.service, content))

    async with FakeServer(same) as server:
        link = await Association.connect(Peer("127.0.0.1", server.port))
        with pytest.raises(MmsProtocolError, match="does not move on"):
            await logs.log(link, LOG, None)
        await link.close()


def test_annotation_of_an_entry_is_a_line_of_its_own():
    content = ber.encode_tlv(0x80, logs.time_of_entry(clock.from_unix(MOMENT))) + ber.encode_tlv(
        0x83, b"buffer cleared"
    )
    noted = ber.encode_tlv(0x30, ber.encode_tlv(0x80, b"\x01") + ber.encode_tlv(0xA2, content))
    (found,), more = logs.read_response(answer([noted], more=False))
    assert (found.values, more) == ((("annotation", "buffer cleared"),), False)


def test_time_of_entry_is_what_is_read_back():
    ticks = clock.from_unix(MOMENT) + 1_230_000
    assert logs.entry_ticks(logs.time_of_entry(ticks)) == ticks
    assert logs.time_of_entry(0) == bytes(6)
