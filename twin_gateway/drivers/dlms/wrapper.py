"""The wrapper around APDUs on TCP: version, source, destination, length (IEC 62056-47)."""

from __future__ import annotations

import struct

from twin_gateway.drivers.dlms.errors import WrapperError

_HEADER = struct.Struct(">HHHH")
VERSION = 1


def frame(source: int, destination: int, apdu: bytes) -> bytes:
    """One wrapped APDU; source and destination are wPorts (client SAP, logical device).

    Raises:
        ValueError: the APDU is empty or longer than a wrapper can say.
    """
    if not 0 < len(apdu) <= 0xFFFF:
        raise ValueError(f"an APDU of {len(apdu)} octets does not fit a wrapper")
    return _HEADER.pack(VERSION, source, destination, len(apdu)) + apdu


class Deframer:
    """Cuts a byte stream into APDUs.

    Args:
        limit: longest APDU accepted, octets. The announced length is checked before anything is kept, so a
            peer can never make this hold more than one APDU and what arrived with it.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = 0xFFFF) -> None:
        self.limit = limit
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Takes received octets and returns the complete APDUs as (source, destination, apdu).

        Raises:
            WrapperError: wrong version, or a length of 0 or over the limit. The stream is lost then.
        """
        data = self._buffer + data if self._buffer else data
        out = []
        at = 0
        while len(data) - at >= 8:
            version, source, destination, length = _HEADER.unpack_from(data, at)
            if version != VERSION:
                raise WrapperError(f"wrapper version {version} instead of 1")
            if not 0 < length <= self.limit:
                raise WrapperError(f"an APDU of {length} octets was announced, at most {self.limit} are taken")
            end = at + 8 + length
            if end > len(data):
                break
            out.append((source, destination, data[at + 8 : end]))
            at = end
        self._buffer = data[at:]
        return out


class WrapperLine:
    """The line of a session over the wrapper: one message an APDU, nothing to set up or to repeat.

    Args:
        client, server: the two wPorts.
        limit: longest APDU accepted, octets.

    Attributes:
        misaddressed: APDUs of other pairs of wPorts.
    """

    ready = True
    progress = 0

    def __init__(self, client: int, server: int, limit: int = 0xFFFF) -> None:
        self._client = client
        self._server = server
        self._deframer = Deframer(limit)
        self.misaddressed = 0

    @property
    def oddities(self) -> dict[str, int]:
        """Nothing beside `misaddressed`."""
        return {}

    def open(self) -> bytes:
        """Nothing: there is no link to set up."""
        return b""

    def send(self, apdu: bytes) -> bytes:
        """The octets of an APDU."""
        return frame(self._client, self._server, apdu)

    def poll(self) -> bytes:
        """Nothing: a meter sends when it has something."""
        return b""

    def feed(self, data: bytes) -> list[bytes]:
        """The APDUs for us in received octets.

        Raises:
            WrapperError: the stream is lost.
        """
        apdus = []
        for source, destination, apdu in self._deframer.feed(data):
            if source == self._server and destination == self._client:
                apdus.append(apdu)
            else:
                self.misaddressed += 1
        return apdus

    def take_out(self) -> bytes:
        """Nothing."""
        return b""

    def expired(self) -> bytes:
        """Nothing: TCP repeats what was lost."""
        return b""

    def close(self) -> bytes:
        """Nothing: the connection's end is the end."""
        return b""
