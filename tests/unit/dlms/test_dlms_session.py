"""A session over a connection: whose turn it is, answers that could be mistaken, what the capture may keep."""

import asyncio
import contextlib

import pytest

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import PROPOSED_SHORT, AssociationRequest, Mechanism
from twin_gateway.drivers.dlms.association import Limits
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.hdlc import Address, Parameters
from twin_gateway.drivers.dlms.hdlc_line import HdlcLine
from twin_gateway.drivers.dlms.logical_names import LogicalNameAssociation
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.pace import Host, Pace
from twin_gateway.drivers.dlms.session import Peer, Progress, Session
from twin_gateway.drivers.dlms.short_names import ShortNameAssociation
from twin_gateway.drivers.dlms.wire import Wire
from twin_gateway.drivers.dlms.wrapper import Deframer, WrapperLine, frame
from twin_gateway.simulate.dlms_hdlc import HdlcStation
from twin_gateway.simulate.dlms_meter import Meter
from twin_gateway.simulate.dlms_server import Access, ServerAssociation

SWITCH = Attribute(70, obis.parse("0-0:96.3.10"), 2)
ENERGY, VOLTAGE = (Attribute(3, obis.parse(code), 2) for code in ("1-0:1.8.0", "1-0:32.7.0"))


@contextlib.asynccontextmanager
async def meter_that(answers):
    """The port of a meter that gives the octets of `answers(client, apdu)`, each as one APDU."""

    served = {}

    async def serve(reader, writer):
        served[asyncio.current_task()] = writer
        deframer = Deframer()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                for client, port, apdu in deframer.feed(data):
                    writer.write(b"".join([frame(port, client, answer) for answer in answers(client, apdu)]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in served.values():
            writer.close()
        await asyncio.gather(*served)
        await asyncio.sleep(0)


async def test_a_command_does_not_wait_behind_a_reading_that_waits_for_its_turn_at_the_host():
    association = ServerAssociation(Meter("1", {}), Access(16))
    async with meter_that(lambda client, apdu: [association.handle(client, apdu)]) as port:
        host = Host(1)
        session = await Session.connect(
            Peer("127.0.0.1", port, 16, 1), LogicalNameAssociation(), pace=Pace(host), answer_within=2.0
        )
        async with Pace(host):  # another meter at the same concentrator does not answer
            reading = asyncio.create_task(session.do(session.association.get(SWITCH)))
            await asyncio.sleep(0.02)
            action = session.association.action(Attribute(70, SWITCH.logical_name, 1), encode(Tag.INT8, 0))
            await session.do(action, command=Progress(), turn=0.5)
            assert not reading.done()
        assert await reading is False
        session.abort()


async def test_a_reading_that_waits_for_a_command_leaves_its_place_at_the_host_to_others():
    association = ServerAssociation(Meter("1", {}), Access(16))
    mute = []

    def answers(client, apdu):
        return [] if mute else [association.handle(client, apdu)]

    async with meter_that(answers) as port:
        host = Host(1)
        session = await Session.connect(
            Peer("127.0.0.1", port, 16, 1), LogicalNameAssociation(), pace=Pace(host), answer_within=2.0
        )
        mute.append(True)
        action = session.association.action(Attribute(70, SWITCH.logical_name, 1), encode(Tag.INT8, 0))
        command = asyncio.create_task(session.do(action, command=Progress(), turn=0.5))
        await asyncio.sleep(0.02)
        reading = asyncio.create_task(session.do(session.association.get(SWITCH)))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(0.5), Pace(host):  # another meter at the same concentrator
            pass
        assert not command.done() and not reading.done()
        session.abort()
        for task in (command, reading):
            with pytest.raises(ConnectionError):
                await task


@pytest.mark.parametrize("window", [0, 3])
async def test_a_meter_that_talks_of_other_things_does_not_put_its_answer_off(window):
    association = ServerAssociation(Meter("1", {}), Access(16, block_window=window))
    loop = asyncio.get_running_loop()
    talking = []

    def answers(client, apdu):
        if apdu[0] != 0xC0:
            return [association.handle(client, apdu)]
        talking.append(asyncio.create_task(talk()))
        return []

    async def talk():
        while not session.closed.done():
            session._wire.data_received(frame(1, 16, b"\x0f\x00\x00\x00\x01\x00\x00"))
            await asyncio.sleep(0.05)

    async with meter_that(answers) as port:
        client = LogicalNameAssociation(limits=Limits(block_window=window))
        session = await Session.connect(Peer("127.0.0.1", port, 16, 1), client, pace=Pace(Host(1)), answer_within=0.3)
        started = loop.time()
        with pytest.raises(TimeoutError, match=r"within 0\.3 s"):
            async with asyncio.timeout(5.0):
                await session.do(session.association.get(SWITCH))
        assert loop.time() - started < 3.0
        assert client.counters.notifications >= 2
        await asyncio.gather(*talking)


def station_with_short_names(objects):
    """Answers of a meter that has these values at their names; a stray APDU stands before the answer to the first."""
    strays = [b"\xc4\x01\xc1\x00\x00"]

    def answers(client, apdu):
        del client
        if apdu[0] == 0x60:
            initiate = b"\x08\x00\x06\x5f\x1f\x04\x00" + int(PROPOSED_SHORT).to_bytes(3, "big") + b"\x04\x00\xfa\x00"
            return [bytes.fromhex("6129a109060760857405080102a203020100a305a103020100be10040e") + initiate]
        name = int.from_bytes(apdu[3:5], "big")
        if name == 0xFA08:
            rows = [
                encode(
                    Tag.STRUCTURE,
                    [
                        encode(Tag.INT16, base),
                        encode(Tag.UINT16, 3),
                        encode(Tag.UINT8, 0),
                        encode(Tag.OCTET_STRING, attribute.logical_name),
                    ],
                )
                for attribute, base, _ in objects
            ]
            return [b"\x0c\x01\x00" + encode(Tag.ARRAY, rows)]
        value = next(value for _, base, value in objects if base + 8 == name)
        answer = b"\x0c\x01\x00" + encode(Tag.UINT32, value)
        return [strays.pop(), answer] if strays else [answer]

    return answers


async def test_with_short_names_an_answer_is_never_taken_for_that_to_the_next_request():
    async with meter_that(station_with_short_names([(ENERGY, 0x1000, 111), (VOLTAGE, 0x1100, 222)])) as port:
        session = await Session.connect(
            Peer("127.0.0.1", port, 16, 1), ShortNameAssociation(), pace=Pace(Host(1)), answer_within=1.0
        )
        with pytest.raises(DlmsError, match="instead of"):
            await session.do(session.association.get(ENERGY))
        with pytest.raises(ConnectionError):
            await session.do(session.association.get(VOLTAGE))
        session.abort()


class Heard:
    """What a link's capture would keep."""

    def __init__(self):
        self.octets = []

    def connected(self, flow):
        pass

    def traffic(self, sent, octets):
        self.octets.append(octets)


class Transport:
    """Hands what is written to a station in memory."""

    def __init__(self, station):
        self.station = station
        self.wire = None

    def get_extra_info(self, name):
        del name

    def is_closing(self):
        return False

    def write(self, octets):
        answer = self.station(octets)
        if answer:
            asyncio.get_running_loop().call_soon(self.wire.data_received, answer)

    def abort(self):
        pass


PASSWORD = b"correct horse"


@pytest.mark.parametrize("size", [*range(5, 40), 128])
async def test_no_piece_of_the_password_is_captured_however_the_frames_cut_it(size):
    request = AssociationRequest(1, Mechanism.LLS, b"\x01\x00\x00\x00", secret=PASSWORD).encode()
    arrived = []
    station = HdlcStation(
        lambda client, device, apdu: arrived.append(apdu) or [b"\x61\x00"], Parameters(size, size, 1, 1)
    )
    heard, transport = Heard(), Transport(station.feed)
    wire = Wire(HdlcLine(Address(32), Address(1), Parameters(size, size)), heard, 0.0, PASSWORD)
    transport.wire = wire
    wire.connection_made(transport)
    await wire.set_up(1.0)
    wire.send(request)
    assert await wire.receive(1.0, asyncio.get_running_loop().time()) == b"\x61\x00"
    assert arrived[-1] == request
    kept = b" ".join(heard.octets)
    pieces = [PASSWORD[at : at + 2] for at in range(len(PASSWORD) - 1)]
    assert not [piece for piece in pieces if piece in kept]
    # Setting the link up is seen.
    assert heard.octets[0][0] == 0x7E and b"\x81\x80" in heard.octets[0]


async def test_the_password_is_blanked_out_inside_a_wrapper():
    heard, transport = Heard(), Transport(lambda octets: b"")
    wire = Wire(WrapperLine(32, 1), heard, 0.0, PASSWORD)
    wire.connection_made(transport)
    wire.send(b"\x60" + PASSWORD + b"rest")
    assert heard.octets[-1].endswith(b"\x60" + b"*" * len(PASSWORD) + b"rest")
