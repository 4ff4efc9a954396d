"""What a receiver can tell to be damaged, protocol by protocol; shares no code with the drivers.

Protocols without checksums let a damaged value pass for a value; what is judged here is only what none may let pass.
"""

from __future__ import annotations

from collections.abc import Callable


def any_change(sent: bytes, arriving: bytes) -> bool:
    """Everything is under a checksum or a tag."""
    return sent != arriving


class Apci:
    """IEC 60870-5-104: start octet, length, and send sequence numbers without a gap."""

    def __init__(self) -> None:
        self._buffer, self._expected, self._broken = bytearray(), 0, False

    def __call__(self, _sent: bytes, arriving: bytes) -> bool:
        self._buffer += arriving
        while not self._broken and len(self._buffer) >= 2:
            size = self._buffer[1] + 2
            self._broken = self._buffer[0] != 0x68 or not 6 <= size <= 255
            if self._broken or len(self._buffer) < size:
                break
            if not self._buffer[2] & 1:
                self._broken = int.from_bytes(self._buffer[2:4], "little") >> 1 != self._expected
                self._expected = (self._expected + 1) % 32_768
            del self._buffer[:size]
        return self._broken


class Tpkt:
    """MMS over RFC 1006: version 3, a length that holds a transport header, and data transfer after the first."""

    def __init__(self) -> None:
        self._buffer, self._packets, self._broken = bytearray(), 0, False

    def __call__(self, _sent: bytes, arriving: bytes) -> bool:
        self._buffer += arriving
        while not self._broken and len(self._buffer) >= 7:
            size = int.from_bytes(self._buffer[2:4])
            kind = 0xD0 if self._packets == 0 else 0xF0
            self._broken = self._buffer[0] != 3 or size < 7 or self._buffer[5] != kind
            if self._broken or len(self._buffer) < size:
                break
            self._packets += 1
            del self._buffer[:size]
        return self._broken


def mbap(sent: bytes, arriving: bytes) -> bool:
    """Modbus TCP: one answer at a time, whose transaction, protocol, length and unit are known."""
    return sent[:7] != arriving[:7] or len(sent) > len(arriving)


def coap_header(sent: bytes, arriving: bytes) -> bool:
    """CoAP over datagrams: a header that is no header (RFC 7252 3)."""
    if sent == arriving:
        return False
    return len(arriving) < 4 or arriving[0] >> 6 != 1 or arriving[0] & 15 > 8


def stateless(judge: Callable[[bytes, bytes], bool]) -> Callable[[], Callable[[bytes, bytes], bool]]:
    """A judge without memory as one that is made anew for each connection."""
    return lambda: judge
