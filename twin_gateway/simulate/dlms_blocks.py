"""General block transfer as a simulated meter does it: requests put together, answers cut, what was lost again."""

from __future__ import annotations

from twin_gateway.drivers.dlms.block_transfer import HEADER_OCTETS, GeneralBlock, cut
from twin_gateway.drivers.dlms.errors import MalformedApduError

_MOST_OCTETS = 1 << 20


class ServerBlocks:
    """One exchange after the other of one association.

    Args:
        window: blocks the meter takes in a row.
        pdu_size: longest APDU that the client takes, octets.
    """

    def __init__(self, window: int, pdu_size: int) -> None:
        self._window = window
        self._octets = pdu_size - HEADER_OCTETS
        self._client_window = 1
        self._begin()

    def _begin(self) -> None:
        self._parts: list[bytes] = []
        self._received = 0
        self._number = 0
        self._base = 0
        self._blocks: list[bytes] = []

    def take(self, apdu: bytes) -> tuple[list[bytes], bytes]:
        """Takes a block; returns what to send at once, and the request when this block completed one.

        Raises:
            MalformedApduError: blocks that cannot be.
        """
        block = GeneralBlock.decode(apdu)
        self._client_window = block.window or 1
        if not block.data:
            return self._acknowledged(block), b""
        if block.number == 1 and not self._parts:
            self._begin()
        if block.number == self._received + 1:
            self._parts.append(block.data)
            self._received += 1
            if sum(map(len, self._parts)) > _MOST_OCTETS:
                self._begin()
                raise MalformedApduError("request in general blocks is too long")
            if block.last:
                request, self._parts = b"".join(self._parts), []
                return [], request
        if block.streaming:
            return [], b""
        if self._blocks and not self._parts:
            return self._from(1), b""  # the request is complete; it was the answer that got lost
        self._number += 1
        return [GeneralBlock(True, False, self._window, self._number, self._received).encode()], b""

    def answer(self, apdu: bytes, to_blocks: bool) -> list[bytes]:
        """The first blocks of an answer; `to_blocks`: the request came in blocks, too."""
        if not to_blocks:
            self._begin()
        self._blocks, self._base = cut(apdu, self._octets), self._number
        return self._from(1)

    def _from(self, first: int) -> list[bytes]:
        end = min(first + self._client_window - 1, len(self._blocks))
        self._number = max(self._number, self._base + end)
        return [
            GeneralBlock(
                number == len(self._blocks),
                number != end,
                self._window,
                self._base + number,
                self._received,
                self._blocks[number - 1],
            ).encode()
            for number in range(first, end + 1)
        ]

    def _acknowledged(self, block: GeneralBlock) -> list[bytes]:
        done = block.acknowledged - self._base
        if not 0 <= done < len(self._blocks):
            return []
        self._received = block.number
        return self._from(done + 1)
