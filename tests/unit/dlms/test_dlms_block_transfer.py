"""Blocks of SET, ACTION and general block transfer in memory, with losses, and refusals in their midst."""

import pytest

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.acse import Conformance, Mechanism
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.block_transfer import MOST_PASSED, BlockTransfer, GeneralBlock
from twin_gateway.drivers.dlms.errors import AccessError, MalformedApduError, NotNegotiatedError, TooLargeError
from twin_gateway.drivers.dlms.obis import Attribute

MESSAGE = Attribute(1, obis.parse("0-0:96.13.0"), 2)
SWITCH = Attribute(70, obis.parse("0-0:96.3.10"), 1)
TEXT = bytes(range(256)) * 10
LONG = encode(Tag.OCTET_STRING, TEXT)


def test_a_general_block_has_the_octets_of_the_standard():
    # Control: last 0x80, streaming 0x40, window in the six bits below.
    block = GeneralBlock(True, False, 5, 0x0102, 0x0304, b"\xc0\x01")
    assert block.encode().hex() == "e0850102030402c001"
    assert GeneralBlock.decode(block.encode()) == block
    assert GeneralBlock(False, True, 63, 1, 0, b"x").encode()[1] == 0x7F


@pytest.mark.parametrize("octets", ["", "e0", "e0800001000005", "e08000010000", "c0800001000000", "e08000010000000000"])
def test_what_is_no_general_block_is_refused(octets):
    with pytest.raises(MalformedApduError):
        GeneralBlock.decode(bytes.fromhex(octets))


class General:
    """A pair that speaks general block transfer; `lost(direction, number)` says which blocks do not arrive."""

    def __init__(self, pair, window, mechanism=Mechanism.NONE, lost=lambda way, number: False):
        self.both = pair(mechanism, pdu_size=200)
        self.both.access.block_window = window
        self.both.client.limits.block_window = window
        self.both.client.limits.pdu_size = 200
        self.lost = lost
        self.waiting = []
        self.blocks = 0

    def answer(self, outgoing):
        for apdu in outgoing if isinstance(outgoing, tuple) else (outgoing,) if outgoing else ():
            assert len(apdu) <= 200
            if not self._is_lost("out", apdu):
                self.waiting += [a for a in self.both.server.answers(1, apdu) if not self._is_lost("in", a)]
        return self.waiting.pop(0) if self.waiting else None

    def _is_lost(self, way, apdu):
        if apdu[0] != 0xE0:
            return False
        self.blocks += 1
        return self.lost(way, GeneralBlock.decode(apdu).number)


@pytest.mark.parametrize("mechanism", [Mechanism.NONE, Mechanism.HLS_GMAC])
@pytest.mark.parametrize("window", [1, 2, 7, 63])
def test_long_requests_and_answers_pass_in_general_blocks(pair, run_steps, window, mechanism):
    wire = General(pair, window, mechanism)
    client = wire.both.client
    run_steps(client.open(), wire.answer)
    run_steps(client.set(MESSAGE, LONG), wire.answer)
    assert wire.both.meter.message == TEXT
    assert run_steps(client.get(MESSAGE), wire.answer) == TEXT
    run_steps(client.action(SWITCH, LONG), wire.answer)
    assert wire.both.meter.connected is False
    assert wire.blocks > 30 and client.counters.repeated_blocks == 0


@pytest.mark.parametrize("window", [1, 4, 20])
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 9, 13])
def test_every_lost_block_is_sent_again(pair, run_steps, window, way, number):
    gone = []

    def lost(where, at):
        if where == way and at == number and not gone:
            gone.append(at)
            return True
        return False

    wire = General(pair, window, lost=lost)
    client = wire.both.client
    run_steps(client.open(), wire.answer)
    run_steps(client.set(MESSAGE, LONG), wire.answer)
    assert wire.both.meter.message == TEXT
    assert run_steps(client.get(MESSAGE), wire.answer) == TEXT
    assert gone and client.counters.repeated_blocks >= 1


def test_a_meter_that_loses_every_block_is_given_up(pair, run_steps):
    wire = General(pair, 3, lost=lambda way, number: way == "out")
    run_steps(wire.both.client.open(), wire.answer)
    with pytest.raises(TimeoutError):
        run_steps(wire.both.client.set(MESSAGE, LONG), wire.answer)


def test_an_answer_in_blocks_beyond_the_limit_is_given_up(run_steps):
    transfer = BlockTransfer(3, 100, 1000)
    number = 0

    def endless(_):
        nonlocal number
        number += 1
        return GeneralBlock(False, True, 3, number, 0, bytes(100)).encode()

    with pytest.raises(TooLargeError):
        run_steps(transfer.receive(endless(b"")), endless)


def test_an_answer_of_empty_blocks_is_given_up(run_steps):
    sent = [0]

    def empty(_):
        sent[0] += 1
        return GeneralBlock(False, True, 1, sent[0] + 1, 0).encode()

    with pytest.raises(MalformedApduError):
        run_steps(BlockTransfer(1, 100, 1000).receive(GeneralBlock(False, True, 1, 1, 0).encode()), empty)
    assert sent[0] <= 2 * MOST_PASSED


def test_a_meter_that_only_repeats_is_given_up(run_steps):
    repeated = GeneralBlock(False, True, 3, 7, 0, b"x").encode()
    with pytest.raises(MalformedApduError):
        run_steps(BlockTransfer(3, 100, 1000).receive(repeated), lambda _: repeated)


@pytest.mark.parametrize("mechanism", [Mechanism.NONE, Mechanism.HLS_GMAC])
def test_set_and_action_go_in_blocks_of_their_own(pair, mechanism):
    both = pair(mechanism, pdu_size=300).open()
    both.sent.clear()
    both.do(both.client.set(MESSAGE, LONG))
    assert both.meter.message == TEXT and len(both.sent) > 8
    both.do(both.client.action(SWITCH, LONG))
    assert both.meter.connected is False
    assert max(map(len, both.sent)) <= 300


def test_a_value_that_fits_no_apdu_is_refused_where_no_blocks_are_negotiated(pair):
    both = pair(pdu_size=300).open()
    both.client.conformance &= ~(Conformance.BLOCK_TRANSFER_SET | Conformance.BLOCK_TRANSFER_ACTION)
    both.sent.clear()
    for steps in (both.client.set(MESSAGE, LONG), both.client.action(SWITCH, LONG)):
        with pytest.raises(NotNegotiatedError):
            both.do(steps)
    assert not both.sent


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"\xc5\x01\xc1\x03", AccessError),  # refused at once
        (b"\xc5\x03\xc1\x03\x00\x00\x00\x01", AccessError),
        (b"\xc5\x03\xc1\x00\x00\x00\x00\x01", MalformedApduError),  # done before everything was said
        (b"\xc5\x02\xc1\x00\x00\x00\x09", MalformedApduError),  # another block
    ],
)
def test_a_set_in_blocks_ends_with_the_first_wrong_answer(pair, run_steps, reply, error):
    both = pair(pdu_size=300).open()

    def odd(apdu):
        return reply[:2] + apdu[2:3] + reply[3:]

    with pytest.raises(error):
        run_steps(both.client.set(MESSAGE, LONG), odd)


def test_a_result_in_blocks_is_put_together(pair, run_steps):
    both = pair().open()
    parts = [LONG[at : at + 1000] for at in range(0, len(LONG), 1000)]

    def chatty(apdu):
        number = 1 if apdu[1] == 1 else int.from_bytes(apdu[3:7], "big") + 1
        head = b"\xc7\x02" + apdu[2:3] + bytes((number == len(parts),)) + number.to_bytes(4, "big")
        return head + b"\x82" + len(parts[number - 1]).to_bytes(2, "big") + parts[number - 1]

    assert run_steps(both.client.action(SWITCH), chatty) == TEXT
