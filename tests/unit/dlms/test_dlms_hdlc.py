"""HDLC frames, and the line of the driver against the station of the simulator over a wire that loses and damages."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_gateway.drivers.dlms.errors import MalformedApduError, WrapperError
from twin_gateway.drivers.dlms.hdlc import (
    DM,
    FRMR,
    LLC_RESPONSE,
    POLL,
    RR,
    UA,
    UI,
    Address,
    Frame,
    FrameReader,
    Parameters,
    check_sequence,
    information_control,
)
from twin_gateway.drivers.dlms.hdlc_line import HdlcLine
from twin_gateway.simulate.dlms_hdlc import HdlcStation

CLIENT, SERVER = Address(16), Address(1)


def test_the_check_sequence_is_crc_16_x_25():
    # The check value of the catalogue of CRCs, and the same computed bit by bit.
    assert check_sequence(b"123456789") == bytes.fromhex("6e90")
    data = bytes(range(256))
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    assert check_sequence(data) == (crc ^ 0xFFFF).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (Address(16), "21"),
        (Address(1), "03"),
        (Address(1, 17, 2), "0223"),
        (Address(0x1234, 0x3FFF, 4), "4868feff"),  # the example of the standard
        (Address.of_server(1, None, None), "03"),
        (Address.of_server(1, 17, None), "0223"),
        (Address.of_server(1, 1000, None), "00020ed1"),
        (Address.of_server(1, None, 4), "00020001"),
    ],
)
def test_addresses_have_one_two_or_four_octets(address, octets):
    assert address.encode().hex() == octets
    frame = Frame(address, CLIENT, 0x93, b"x")
    assert FrameReader().feed(frame.encode()) == [frame]


@pytest.mark.parametrize(("upper", "lower", "octets"), [(0x80, None, 1), (1, 5, 1), (1, 0x80, 2), (0x4000, 0, 4)])
def test_an_address_that_does_not_fit_is_refused(upper, lower, octets):
    with pytest.raises(ValueError, match="HDLC address"):
        Address.of_server(upper, lower, octets)


def test_an_snrm_proposes_lengths_and_windows():
    # The parameter field that published meter specifications print, with the defaults.
    field = "818012050180060180070400000001080400000001"
    assert Parameters().encode().hex() == field
    frame = Frame(SERVER, CLIENT, 0x93, Parameters().encode()).encode()
    assert frame[:6].hex() == "7ea01e032193" and frame[8:-3].hex() == field
    assert Parameters.decode(Parameters(512, 256, 3, 5).encode()) == Parameters(512, 256, 3, 5)
    assert Parameters.decode(b"") == Parameters()


@pytest.mark.parametrize("field", ["00", "818005", "8180040501", "81800705010007040000", "81800607040000ffff"])
def test_malformed_parameters_are_refused(field):
    with pytest.raises(MalformedApduError):
        Parameters.decode(bytes.fromhex(field))


_FRAMES = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6)


@given(_FRAMES, st.integers(1, 50), st.booleans())
def test_frames_come_out_whole_however_the_stream_is_cut(contents, size, shared):
    frames = [Frame(SERVER, CLIENT, 0x10, content) for content in contents]
    octets = [frame.encode() for frame in frames]
    stream = octets[0] + b"".join([one[1:] if shared else one for one in octets[1:]])
    reader = FrameReader()
    assert [f for at in range(0, len(stream), size) for f in reader.feed(stream[at : at + size])] == frames
    assert reader.damaged == reader.skipped == 0


@given(_FRAMES, st.data())
def test_a_damaged_frame_costs_only_itself(contents, data):
    frames = [Frame(SERVER, CLIENT, 0x10, content) for content in contents]
    octets = [bytearray(frame.encode()) for frame in frames]
    victim = data.draw(st.integers(0, len(frames) - 1))
    # Not its length: that may swallow a neighbour.
    place = data.draw(st.integers(3, len(octets[victim]) - 2))
    octets[victim][place] ^= data.draw(st.integers(1, 255))
    reader = FrameReader()
    seen = reader.feed(b"".join(octets) + Frame(SERVER, CLIENT, 0x11).encode())
    assert [f for f in frames if f not in seen] in ([], [frames[victim]])
    assert reader.damaged >= 1


class Wire:
    """Line and station in memory; `harm` may lose or change what passes. Silence makes the line ask again."""

    def __init__(self, window=1, octets=64, harm=lambda octets: octets):
        parameters = Parameters(octets, octets, window, window)
        self.line = HdlcLine(CLIENT, SERVER, parameters, retries=20)
        self.requests = []
        self.station = HdlcStation(self.serve, parameters)
        self.harm = harm
        self.answers = lambda apdu: [apdu[::-1]]

    def serve(self, client, device, apdu):
        if device != 1:
            return None
        if not apdu:
            return []
        self.requests.append(apdu)
        return self.answers(apdu)

    def pass_on(self, octets, wanted):
        """Carries octets to and fro until `wanted()`; returns the APDUs that came."""
        apdus = []
        for _ in range(5000):
            if octets:
                back = self.station.feed(self.harm(octets))
                apdus += self.line.feed(self.harm(back))
                octets = self.line.take_out()
            if wanted(apdus):
                return apdus
            if not octets:
                octets = self.line.expired()
                assert octets, "given up"
        raise AssertionError("no end")

    def open(self):
        self.pass_on(self.line.open(), lambda _: self.line.ready)
        return self

    def ask(self, apdu):
        return self.pass_on(self.line.send(apdu), bool)


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 60, 61, 500, 5000])
def test_requests_and_answers_of_any_length_pass_in_windows(window, size):
    wire = Wire(window).open()
    for number in range(3):
        apdu = bytes([number]) * size
        assert wire.ask(apdu) == [apdu[::-1]]
    assert wire.line.oddities == {"frame_errors": 0, "repeated_frames": 0, "frame_losses": 0}


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_lost_and_frame_errors_are_repeated_and_no_request_arrives_twice(window, seed):
    chance = random.Random(seed)

    def harm(octets):
        frames = [frame.encode() for frame in FrameReader().feed(octets)]
        kept = [bytearray(frame) for frame in frames if chance.random() > 0.1]
        for frame in kept:
            if chance.random() < 0.1:
                frame[chance.randrange(1, len(frame) - 1)] ^= 1 << chance.randrange(8)
        return b"".join(bytes(frame) for frame in kept)

    wire = Wire(window, harm=harm).open()
    requests = [bytes([number]) * 700 for number in range(6)]
    for request in requests:
        assert wire.ask(request) == [request[::-1]]
    assert wire.requests == requests
    assert wire.line.oddities["repeated_frames"] > 0


@pytest.mark.parametrize("window", [1, 3])
def test_a_late_answer_does_not_double_the_exchange_for_ever(window):
    wire = Wire(window).open()
    requests = [bytes((number,)) * 300 for number in range(1, 20)]
    up, down, seen = deque([wire.line.send(requests[0])]), deque(), []
    up.append(wire.line.expired())  # the answer is under way, only late
    while len(seen) < len(requests):
        while up:
            down.append(wire.station.feed(up.popleft()))
        assert down, "the exchange has stopped"
        for apdu in wire.line.feed(down.popleft()):
            seen.append(apdu)
            up.append(wire.line.send(requests[len(seen) % len(requests)]))
        up.append(wire.line.take_out())
        up = deque(filter(None, up))
    assert seen == [request[::-1] for request in requests]
    assert wire.line.oddities["frame_losses"] <= 8


def test_a_meter_may_only_lower_what_we_propose():
    line = HdlcLine(CLIENT, SERVER, Parameters(100, 100, 2, 2))
    line.open()
    line.feed(Frame(CLIENT, SERVER, UA | POLL, Parameters(2000, 50, 7, 1).encode()).encode())
    assert line.parameters == Parameters(50, 100, 1, 2)


def test_ui_frames_are_taken_any_time():
    wire = Wire().open()
    assert wire.line.feed(Frame(CLIENT, SERVER, UI, LLC_RESPONSE + b"\x0fnews").encode()) == [b"\x0fnews"]


@pytest.mark.parametrize("kind", [DM, FRMR])
def test_a_refused_or_rejected_link_ends(kind):
    wire = Wire().open()
    with pytest.raises(WrapperError):
        wire.line.feed(Frame(CLIENT, SERVER, kind | POLL).encode())
    assert not wire.line.ready


def test_frames_of_other_stations_are_not_taken():
    wire = Wire().open()
    wire.line.send(b"\xc0")
    assert (
        wire.line.feed(Frame(CLIENT, Address(2), information_control(0, 1, True), LLC_RESPONSE + b"x").encode()) == []
    )
    assert wire.line.misaddressed == 1


def test_an_endless_message_ends_the_link():
    line = HdlcLine(CLIENT, SERVER, Parameters(), limit=1000)
    line.open()
    line.feed(Frame(CLIENT, SERVER, UA | POLL).encode())
    with pytest.raises(WrapperError, match="longer than"):
        for number in range(100):
            control = information_control(number & 7, 0, True)
            line.feed(Frame(CLIENT, SERVER, control, LLC_RESPONSE + bytes(100), segmented=True).encode())
            line.take_out()


def test_a_silent_meter_is_asked_so_often_and_no_more():
    line = HdlcLine(CLIENT, SERVER, Parameters(), retries=2)
    snrm = line.open()
    assert [line.expired(), line.expired(), line.expired()] == [snrm, snrm, b""]


def test_a_busy_meter_is_polled_until_it_answers():
    wire = Wire().open()
    slow = []
    wire.answers = lambda apdu: slow.append(apdu) or []
    octets = wire.station.feed(wire.line.send(b"\xc0"))
    assert FrameReader().feed(octets)[0].kind == RR
    assert wire.line.feed(octets) == [] and wire.line.take_out() == b""
    assert FrameReader().feed(wire.line.expired())[0].kind == RR
    assert slow == [b"\xc0"]
