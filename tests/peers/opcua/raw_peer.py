"""A blocking OPC UA peer on raw octets: each step of the handshake on its own, any octets in between."""

from __future__ import annotations

import socket
import struct
import time

HEADER = struct.Struct("<3scI")
POLICY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
PLAIN = b"\x00\x00\x00"
NULL = b"\xff\xff\xff\xff"
BUFFER = 65_535


def string(octets: bytes) -> bytes:
    return struct.pack("<i", len(octets)) + octets


def hello(size: int = BUFFER) -> bytes:
    body = struct.pack("<IIIII", 0, size, size, 0, 0) + string(b"opc.tcp://127.0.0.1:4840")
    return HEADER.pack(b"HEL", b"F", 8 + len(body)) + body


def request_header(token: bytes = b"\0\0", handle: int = 1, hint: int = 0) -> bytes:
    return token + struct.pack("<qIIiI", 0, handle, 0, -1, hint) + PLAIN


def typed(number: int) -> bytes:
    return struct.pack("<HH", 1, number)


def opening(lifetime: int = 3_600_000) -> bytes:
    body = struct.pack("<I", 0) + string(POLICY) + NULL * 2 + struct.pack("<II", 1, 1)
    body += typed(446) + request_header() + struct.pack("<IIIiI", 0, 0, 1, 0, lifetime)
    return HEADER.pack(b"OPN", b"F", 8 + len(body)) + body


class ClosedError(Exception):
    """The server has closed the connection."""


class RawPeer:
    """One connection; `source` is the local address it comes from, `buffer` what its system keeps for it (octets)."""

    def __init__(self, port: int, *, timeout: float = 20.0, source: str = "127.0.0.1", buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            self.socket.bind((source, 0))
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.channel = self.token_id = self.sequence = self.request = 0
        self.token = b"\0\0"

    def close(self) -> None:
        self.socket.close()

    def write(self, octets: bytes) -> None:
        try:
            self.socket.sendall(octets)
        except OSError as error:
            raise ClosedError from error

    # ---- handshake ---------------------------------------------------------------------------------------------------

    def hello(self) -> None:
        self.write(hello())
        if self.frame()[:3] != b"ACK":
            raise ClosedError

    def open(self) -> None:
        self.sequence = self.request = 1
        self.write(opening())
        frame = self.frame()
        if frame[:3] != b"OPN":
            raise ClosedError
        # Channel id, policy, no certificates, sequence header, type, response header without strings, version.
        position = 12 + 4 + len(POLICY) + 8 + 8 + 4 + 24 + 4
        self.channel, self.token_id = struct.unpack_from("<II", frame, position)

    def session(self, timeout: float = 600_000.0) -> None:
        description = string(b"urn:raw") * 2 + b"\0" + struct.pack("<i", 1) + NULL * 3
        body = description + NULL + string(b"opc.tcp://127.0.0.1") + string(b"raw") + string(b"\x01" * 32)
        answer = self.call(461, body + NULL + struct.pack("<dI", timeout, 0))
        position = 4 + 24 + self._node_id_size(answer, 28)
        self.token = answer[position : position + self._node_id_size(answer, position)]
        identity = b"\x01\x00\x41\x01\x01" + struct.pack("<i", 13) + string(b"anonymous")
        answer = self.call(467, NULL * 2 + struct.pack("<ii", -1, -1) + identity + NULL * 2)
        if answer[16:20] != b"\0\0\0\0":
            raise ClosedError(f"the session is not activated: {answer[16:20].hex()}")

    @staticmethod
    def _node_id_size(octets: bytes, position: int) -> int:
        kind = octets[position]
        if kind in {0, 1, 2, 4}:
            return {0: 2, 1: 4, 2: 7, 4: 19}[kind]
        return 7 + int(struct.unpack_from("<i", octets, position + 3)[0])

    def connect(self, timeout: float = 600_000.0) -> RawPeer:
        self.hello()
        self.open()
        self.session(timeout)
        return self

    # ---- messages ----------------------------------------------------------------------------------------------------

    def chunk(self, body: bytes, *, kind: bytes = b"F", request: int = 0) -> bytes:
        """The next chunk of the channel; a request number of its own when none is given."""
        self.sequence += 1
        if not request:
            self.request += 1
            request = self.request
        numbers = struct.pack("<IIII", self.channel, self.token_id, self.sequence, request)
        return HEADER.pack(b"MSG", kind, 24 + len(body)) + numbers + body

    def message(self, number: int, body: bytes) -> bytes:
        """A whole request in one chunk."""
        return self.chunk(typed(number) + request_header(self.token, self.request + 1) + body)

    def call(self, number: int, body: bytes) -> bytes:
        """Send a request; the body of its answer from the type id on."""
        self.write(self.message(number, body))
        return self.answer(self.request)

    def answer(self, request: int) -> bytes:
        """The message that answers a request; others are passed over."""
        parts = []
        while True:
            frame = self.frame()
            if frame[:3] != b"MSG":
                raise ClosedError(frame)
            if struct.unpack_from("<I", frame, 20)[0] != request:
                continue
            parts.append(frame[24:])
            if frame[3:4] == b"F":
                return b"".join(parts)

    def frame(self) -> bytes:
        while len(self._buffer) < 8 or len(self._buffer) < struct.unpack_from("<I", self._buffer, 4)[0]:
            try:
                octets = self.socket.recv(1 << 18)
            except TimeoutError:
                raise
            except OSError as error:
                raise ClosedError from error
            if not octets:
                raise ClosedError
            self._buffer += octets
        size = struct.unpack_from("<I", self._buffer, 4)[0]
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        return frame

    def closed_within(self, seconds: float) -> bytes | None:
        """What the server still said before it closed; None when it did not close in time."""
        said, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                octets = self.socket.recv(1 << 18)
            except TimeoutError:
                return None
            except OSError:
                return said
            if not octets:
                return said
            said += octets
        return None
