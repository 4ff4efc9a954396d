"""ISO transport over TCP, sans-io: TPKT (RFC 1006) and COTP class 0 as octets in, whole TSDUs out, and back."""

from __future__ import annotations

from collections.abc import Iterator

from open61850.mms.transport import connection_request

from .errors import MmsConnectionError, MmsProtocolError

MAX_TSDU = 1 << 20
"""Octets of one reassembled message; a peer that sends more is cut off."""
TPDU_SIZE_CODE = 0x0D
"""What is proposed: 2^13 octets a TPDU, the most that class 0 knows; the peer may lower it."""

_CONNECTION_CONFIRM = 0xD0
_DISCONNECT_REQUEST = 0x80
_DATA = 0xF0
_LAST = 0x80


class Cotp:
    """One COTP connection of the calling side: feed it octets, take TSDUs.

    Attributes:
        confirmed: whether the peer has confirmed the connection.
        tpdu_size: octets of one TPDU as agreed.
    """

    __slots__ = ("_buffer", "_parts", "_total", "confirmed", "tpdu_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._parts: list[bytes] = []
        self._total = 0
        self.confirmed = False
        self.tpdu_size = 1 << 7

    @staticmethod
    def connection_request() -> bytes:
        """The octets that open the connection."""
        return _tpkt(connection_request(tpdu_size_code=TPDU_SIZE_CODE))

    def encode(self, tsdu: bytes) -> bytes:
        """A TSDU as octets to send, cut to the agreed TPDU size."""
        room = self.tpdu_size - 3
        if len(tsdu) <= room:
            return _tpkt(b"\x02\xf0\x80" + tsdu)
        last = (len(tsdu) - 1) // room * room
        return b"".join(
            _tpkt((b"\x02\xf0\x80" if start == last else b"\x02\xf0\x00") + tsdu[start : start + room])
            for start in range(0, len(tsdu), room)
        )

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The TSDUs completed by `data`.

        Raises:
            MmsProtocolError: the octets are no TPKT, no TPDU, or more than `MAX_TSDU`.
            MmsConnectionError: the peer disconnected.
        """
        buffer = self._buffer + data if self._buffer else data
        position, end = 0, len(buffer)
        try:
            while end - position >= 4:
                if buffer[position] != 3:
                    raise MmsProtocolError(f"not a TPKT: {buffer[position : position + 4].hex()}")
                length = buffer[position + 2] << 8 | buffer[position + 3]
                if length < 7:
                    raise MmsProtocolError(f"TPKT of {length} octets")
                if end - position < length:
                    break
                start, position = position + 4, position + length
                tsdu = self._tpdu(buffer, start, position)
                if tsdu is not None:
                    yield tsdu
        finally:
            self._buffer = buffer[position:]

    def _tpdu(self, buffer: bytes, start: int, end: int) -> bytes | None:
        code = buffer[start + 1] & 0xF0
        if code == _DATA:
            if not self.confirmed:
                raise MmsProtocolError("data before the connection was confirmed")
            last = buffer[start + 2] & _LAST
            head = start + 1 + buffer[start]
            if head > end:
                raise MmsProtocolError("TPDU header longer than the TPDU")
            part = buffer[head:end]
            if last and not self._parts:
                return part
            self._total += len(part)
            # empty parts cost memory too, so they are counted by their number
            if self._total + len(self._parts) > MAX_TSDU:
                raise MmsProtocolError(f"message of more than {MAX_TSDU} octets")
            self._parts.append(part)
            if not last:
                return None
            tsdu = b"".join(self._parts)
            self._parts.clear()
            self._total = 0
            return tsdu
        if code == _CONNECTION_CONFIRM:
            self._confirm(buffer[start:end])
        elif code == _DISCONNECT_REQUEST:
            raise MmsConnectionError("the peer disconnected the transport")
        return None

    def _confirm(self, confirm: bytes) -> None:
        if self.confirmed:
            raise MmsProtocolError("the connection was confirmed twice")
        size, position = 0x07, 7
        while position + 2 < len(confirm):
            if confirm[position] == 0xC0 and confirm[position + 1] == 1:
                size = confirm[position + 2]
            position += 2 + confirm[position + 1]
        if not 0x07 <= size <= TPDU_SIZE_CODE:
            raise MmsProtocolError(f"TPDU size code {size}")
        self.tpdu_size = 1 << size
        self.confirmed = True


def _tpkt(payload: bytes) -> bytes:
    return b"\x03\x00" + (4 + len(payload)).to_bytes(2, "big") + payload
