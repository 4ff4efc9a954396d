"""General block transfer (GBT): any APDU in numbered blocks, several before an acknowledgement, lost ones again.

    E0 | last (1 bit) streaming (1) window (6) | block number (16) | number acknowledged (16) | length, data

The window is how many blocks the sender of the field takes in a row. The streaming bit is off in the last block of a
window: the other side acknowledges then, naming the last block that came in order.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from twin_gateway.drivers.dlms.axdr import read_octets, write_length
from twin_gateway.drivers.dlms.errors import MalformedApduError, TooLargeError

GENERAL_BLOCK_TRANSFER = 0xE0
HEADER_OCTETS = 10
"""Octets around the data of a block, at most."""
MAX_WINDOW = 63
_NOTIFICATIONS = frozenset({0x0F, 0xC2, 0xCA, 0xD2})
_TRIES = 3
MOST_PASSED = 300
"""APDUs passed over in one exchange: a meter that only ever talks of other things must not hold it for ever."""

WAIT = b""
"""Yielded instead of an APDU: nothing to send, the next received APDU is wanted."""
PASSED: tuple[bytes, ...] = ()
"""The same when the last APDU carried nothing on: the time that its answer may take runs on."""

T = TypeVar("T")
Outgoing = bytes | tuple[bytes, ...]
"""What a step yields: an APDU, several that go out together, WAIT or PASSED."""
Steps = Generator[Outgoing, bytes, T]
"""Steps of a service: yields what to send, is sent each APDU that comes back; silence is thrown in as TimeoutError."""


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """One block.

    Attributes:
        last: of the APDU; also set in acknowledgements.
        streaming: more blocks of this window follow.
        window: blocks that the sender takes in a row.
        number: of this block, from 1.
        acknowledged: the last block of the other side that came in order.
        data: empty in acknowledgements.
    """

    last: bool
    streaming: bool
    window: int
    number: int
    acknowledged: int
    data: bytes = b""

    def encode(self) -> bytes:
        """The APDU."""
        control = self.last << 7 | self.streaming << 6 | self.window
        head = bytes((GENERAL_BLOCK_TRANSFER, control)) + self.number.to_bytes(2, "big")
        return head + self.acknowledged.to_bytes(2, "big") + write_length(len(self.data)) + self.data

    @classmethod
    def decode(cls, apdu: bytes) -> GeneralBlock:
        """The block in an APDU.

        Raises:
            MalformedApduError: not a block.
        """
        if len(apdu) < 7 or apdu[0] != GENERAL_BLOCK_TRANSFER:
            raise MalformedApduError("general block expected")
        data, at = read_octets(apdu, 6)
        if at != len(apdu):
            raise MalformedApduError("octets after a general block")
        numbers = int.from_bytes(apdu[2:4], "big"), int.from_bytes(apdu[4:6], "big")
        return cls(bool(apdu[1] & 0x80), bool(apdu[1] & 0x40), apdu[1] & 0x3F, *numbers, data)


def cut(apdu: bytes, octets: int) -> list[bytes]:
    """The data of blocks of at most so many octets."""
    return [apdu[at : at + octets] for at in range(0, len(apdu), octets)]


class BlockTransfer:
    """One exchange of a request and its answer; make a fresh one for each.

    Args:
        window: blocks we take in a row, 1 to 63.
        block_octets: most octets of data in a block that we send.
        limit: longest APDU put together, octets.

    Attributes:
        repeated: blocks or acknowledgements asked for or sent again.
    """

    def __init__(self, window: int, block_octets: int, limit: int) -> None:
        self._window = window
        self._octets = block_octets
        self._limit = limit
        self._peer_window = 1
        self._peer_number = 0  # of the last acknowledgement: the blocks of the answer are counted on
        self._number = 0
        self._passed = 0
        self.repeated = 0

    def send(self, apdu: bytes) -> Steps[bytes]:
        """Sends a long APDU; returns what comes back when it is through: a block of the answer, or a plain APDU.

        Raises:
            TimeoutError: no acknowledgement, after several tries.
            MalformedApduError: acknowledgements that cannot be.
        """
        blocks = cut(apdu, self._octets)
        done = 0
        while True:
            end = min(done + self._peer_window, len(blocks))
            try:
                received = yield tuple(self._block(blocks, number, end) for number in range(done + 1, end + 1))
            except TimeoutError:
                self._again()
                if self.repeated > _TRIES:
                    raise
                continue
            while received[:1] and received[0] in _NOTIFICATIONS:
                self._pass_over()
                received = yield PASSED
            if received[:1] != b"\xe0":
                return received
            answer = GeneralBlock.decode(received)
            self._peer_window = answer.window or self._peer_window
            self._number = len(blocks)
            if answer.data and end == len(blocks):
                return received
            if answer.data or not done <= answer.acknowledged <= end:
                raise MalformedApduError(f"general block {answer.number} answers a request that was not whole")
            self._peer_number = answer.number
            if answer.acknowledged == len(blocks):
                return (yield from self._wait_for_answer())
            if answer.acknowledged < end:
                self._bounded(f"the meter keeps losing block {answer.acknowledged + 1}")
            done = answer.acknowledged

    def _wait_for_answer(self) -> Steps[bytes]:
        """The first APDU after a request that went through; an answer that was lost is asked for."""
        out: bytes = WAIT
        while True:
            try:
                return (yield out)
            except TimeoutError:
                self._again()
                if self.repeated > _TRIES:
                    raise
                out = self._acknowledge(self._peer_number)

    def receive(self, first: bytes) -> Steps[bytes]:
        """Puts the answer together from its blocks, the first received of which is given; returns the APDU.

        Raises:
            TimeoutError: it stays incomplete, after several tries.
            TooLargeError: it is longer than the limit.
            MalformedApduError: blocks that cannot be.
        """
        parts: list[bytes] = []
        total, expected = 0, self._peer_number + 1
        received = first
        while True:
            if received[:1] and received[0] in _NOTIFICATIONS:
                self._pass_over()
                received = yield PASSED
                continue
            if received[:1] != b"\xe0":
                return received  # an exception-response, or the plain answer after all
            block = GeneralBlock.decode(received)
            if block.number == expected:
                parts.append(block.data)
                total += len(block.data)
                expected += 1
                if total > self._limit:
                    raise TooLargeError(f"an APDU in general blocks is longer than {self._limit} octets")
                if block.last:
                    return b"".join(parts)
                if not block.data:
                    self._pass_over()
                out: Outgoing = WAIT if block.streaming else self._acknowledge(expected - 1)
            elif block.streaming and not block.last:
                self._pass_over()
                out = PASSED  # lost or repeated: told at the end of the window
            else:
                self._bounded(f"general block {expected} stays lost")
                out = self._acknowledge(expected - 1)
            while True:
                try:
                    received = yield out
                    break
                except TimeoutError:
                    self._again()
                    if self.repeated > _TRIES:
                        raise
                    out = self._acknowledge(expected - 1)

    def _pass_over(self) -> None:
        self._passed += 1
        if self._passed > MOST_PASSED:
            raise MalformedApduError("the meter sends everything but blocks")

    def _again(self) -> None:
        self.repeated += 1

    def _bounded(self, text: str) -> None:
        self._again()
        if self.repeated > _TRIES:
            raise MalformedApduError(text)

    def _block(self, blocks: list[bytes], number: int, end: int) -> bytes:
        last = number == len(blocks)
        data = blocks[number - 1]
        return GeneralBlock(last, number != end, self._window, number, self._peer_number, data).encode()

    def _acknowledge(self, number: int) -> bytes:
        self._number += 1
        return GeneralBlock(True, False, self._window, self._number, number).encode()
