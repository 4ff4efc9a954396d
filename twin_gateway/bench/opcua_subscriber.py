"""A thin raw OPC UA subscriber for benchmarks: own encoding, counts items and takes their age from source timestamps.

It speaks policy None, or SignAndEncrypt by `opcua_secured`, with an anonymous user on a blocking socket, keeps a number
of publish requests under way, and decodes of a notification message only the header, the first record and the
timestamps of all records laid out alike.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from address_space import clock
from twin_gateway.bench.opcua_secured import Secured

_HEADER = struct.Struct("<3scI")
_BUFFER = 65_535
_RECEIVE = 1 << 20
_NULL_HEADER = b"\x00\x00\x00"
_GOOD = b"\x00\x00\x00\x00"
_POLICY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
_SIZES = {1: 1, 6: 4, 7: 4, 8: 8, 11: 8}


class SubscriberError(Exception):
    """The server answered with a fault or with something that is not understood."""


@dataclass(slots=True)
class Received:
    """What came in.

    Attributes:
        items: notifications counted.
        messages: publish responses.
        octets: from the socket.
        ages: milliseconds from source timestamp to decoding, one array a message.
        overflowed: records with the overflow bit, among those whose age was taken.
    """

    items: int = 0
    messages: int = 0
    octets: int = 0
    overflowed: int = 0
    ages: list[npt.NDArray[np.float64]] = field(default_factory=list)


class Subscriber:
    """One connection with one session and one subscription.

    Args:
        port: on 127.0.0.1.
        timeout: seconds for every wait.
        secured: signs and encrypts; None for policy None.
    """

    def __init__(self, port: int, timeout: float = 20.0, secured: Secured | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The system's own timeouts: with those of Python every send and receive would cost a poll besides.
        self._socket.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout), 0))
        self._buffer = bytearray(2 * _RECEIVE)
        self._start = self._end = 0
        self._sequence = self._request = 0
        self._channel = self._token_id = 0
        self._token = b"\x00\x00"
        self._subscription = 0
        self.received = Received()
        self._secured = secured
        self._hello(port)
        self._open()
        self._session(port)

    def close(self) -> None:
        """Close session and subscription, then the socket."""
        self._send(473, b"\x01")
        self._socket.shutdown(socket.SHUT_WR)
        try:
            while True:
                self._frame()
        except (SubscriberError, OSError):
            # The server has closed the connection, after the session.
            pass
        self._socket.close()

    # ---- handshake ------------------------------------------------------------------------------------------------

    def _hello(self, port: int) -> None:
        url = f"opc.tcp://127.0.0.1:{port}/".encode()
        body = struct.pack("<IIIII", 0, _BUFFER, _BUFFER, 0, 0) + _string(url)
        self._socket.sendall(_HEADER.pack(b"HEL", b"F", 8 + len(body)) + body)
        kind, _, _ = self._frame()
        if kind != b"ACK":
            raise SubscriberError(f"{kind!r} instead of ACK")

    def _open(self) -> None:
        self._sequence = self._request = 1
        if self._secured is not None:
            self._socket.sendall(self._secured.opening())
            _, _, frame = self._frame()
            self._channel, self._token_id = self._secured.opened(bytes(frame))
            return
        body = struct.pack("<I", 0) + _string(_POLICY) + b"\xff" * 8 + struct.pack("<II", 1, 1)
        body += _type(446) + self._request_header() + struct.pack("<IIIiI", 0, 0, 1, 0, 3_600_000)
        self._socket.sendall(_HEADER.pack(b"OPN", b"F", 8 + len(body)) + body)
        kind, _, frame = self._frame()
        if kind != b"OPN":
            raise SubscriberError(f"{kind!r} instead of OPN")
        position = 4
        for _ in range(3):
            position += 4 + max(struct.unpack_from("<i", frame, position)[0], 0)
        position += 8 + 4 + _response_header_size(frame, position + 12)
        _, self._channel, self._token_id = struct.unpack_from("<III", frame, position)

    def _session(self, port: int) -> None:
        if self._secured is not None:
            answer = self._call(461, self._secured.create_session(port))
            self._token, signed = self._secured.session_created(answer)
            self._call(467, signed)
            return
        url = f"opc.tcp://127.0.0.1:{port}/".encode()
        description = _string(b"urn:bench") * 2 + b"\x00" + struct.pack("<i", 1) + b"\xff" * 12
        body = description + b"\xff" * 4 + _string(url) + _string(b"bench") + _string(secrets.token_bytes(32))
        body += b"\xff" * 4 + struct.pack("<dI", 600_000.0, 0)
        answer = self._call(461, body)
        position = _skip_node_id(answer, 0)
        end = _skip_node_id(answer, position)
        self._token = bytes(answer[position:end])
        anonymous = b"\x01\x00\x41\x01\x01" + struct.pack("<i", 13) + _string(b"anonymous")
        self._call(467, b"\xff" * 8 + struct.pack("<ii", -1, -1) + anonymous + b"\xff" * 8)

    # ---- subscription ---------------------------------------------------------------------------------------------

    def subscribe(self, interval: float) -> None:
        """Make the subscription; publishing interval in milliseconds."""
        body = struct.pack("<dIIIBB", interval, 10_000, 1_000, 0, 1, 0)
        self._subscription = struct.unpack_from("<I", self._call(787, body))[0]

    def monitor(
        self, nodes: Sequence[str], namespace: int, *, queue: int, deadbands: Sequence[float], batch: int = 1000
    ) -> tuple[int, float]:
        """Monitor the values of string NodeIds, every change; handles count from 0.

        Args:
            nodes: identifiers.
            namespace: their namespace index.
            queue: queue size of each.
            deadbands: absolute deadband of each, 0 for no filter.
            batch: items in one request.

        Returns:
            How many were refused, and the seconds from the first request to the last answer.
        """
        refused, requests = 0, []
        for start in range(0, len(nodes), batch):
            part = nodes[start : start + batch]
            items = [
                _item(node, namespace, handle, queue, deadbands[handle]) for handle, node in enumerate(part, start)
            ]
            requests.append(struct.pack("<IIi", self._subscription, 2, len(items)) + b"".join(items))
        began = time.perf_counter()
        for body in requests:
            answer = self._call(751, body)
            count = struct.unpack_from("<i", answer)[0]
            statuses = np.frombuffer(answer, np.uint8, count * 23, 4).reshape(count, 23)[:, 3]
            refused += int((statuses >= 0x80).sum())
        return refused, time.perf_counter() - began

    def flow(self, seconds: float, *, ages: bool, requests: int = 8, until: int = 0) -> Received:
        """Take notifications for some seconds, or until so many items are there; returns what came meanwhile.

        Args:
            seconds: how long.
            ages: also take the ages of the items.
            requests: publish requests under way.
            until: number of items after which to stop; 0 for none.
        """
        self.received = Received()
        acknowledge = b"\xff" * 4
        for _ in range(requests):
            self._publish(acknowledge)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not (until and self.received.items >= until):
            answer = self._message(826)
            if answer is None:
                break
            acknowledge = self._notification(answer, ages)
            self._publish(acknowledge)
        return self.received

    def _publish(self, acknowledge: bytes) -> None:
        self._send(826, acknowledge)

    def _notification(self, body: bytes | memoryview, ages: bool) -> bytes:
        received = self.received
        received.messages += 1
        subscription, available = struct.unpack_from("<Ii", body)
        position = 8 + 4 * max(available, 0) + 1
        sequence, _, parts = struct.unpack_from("<Iqi", body, position)
        position += 16
        for _ in range(max(parts, 0)):
            kind = bytes(body[position : position + 4])
            size = struct.unpack_from("<i", body, position + 5)[0]
            if kind == b"\x01\x00\x2b\x03":
                count = struct.unpack_from("<i", body, position + 9)[0]
                received.items += count
                if ages and count:
                    self._ages(body, position + 13, count)
            position += 9 + size
        return struct.pack("<iII", 1, subscription, sequence) if parts > 0 else b"\xff" * 4

    def _ages(self, body: bytes | memoryview, position: int, count: int) -> None:
        """Ages of the leading records that are laid out like the first."""
        now = clock.now()
        mask, kind = body[position + 4], body[position + 5]
        if not mask & 0x01 or not mask & 0x04 or kind not in _SIZES:
            return
        layout = [("handle", "<u4"), ("mask", "u1"), ("type", "u1"), ("value", f"V{_SIZES[kind]}")]
        layout += [("status", "<u4")] if mask & 0x02 else []
        layout += [("source", "<i8")]
        layout += [("picoseconds", "<u2")] if mask & 0x10 else []
        layout += [("server", "<i8")] if mask & 0x08 else []
        dtype = np.dtype(layout)
        count = min(count, (len(body) - position) // dtype.itemsize)
        records = np.frombuffer(body, dtype, count, position)
        alike = (records["mask"] == mask) & (records["type"] == kind)
        records = records[: int(np.argmin(alike)) if not alike.all() else count]
        self.received.ages.append((now - records["source"]) / (clock.TICKS_PER_SECOND / 1000))
        if mask & 0x02:
            self.received.overflowed += int((records["status"] & 0x480 == 0x480).sum())

    # ---- messages -------------------------------------------------------------------------------------------------

    def call(self, type_id: int, body: bytes) -> bytes:
        """A request and the body of its answer, after the header."""
        return self._call(type_id, body)

    def prepared(self, type_id: int, body: bytes) -> bytes:
        """A request in one chunk that only wants its numbers, see `ask`."""
        body = _type(type_id) + self._request_header() + body
        return _HEADER.pack(b"MSG", b"F", 24 + len(body)) + struct.pack("<II", self._channel, self._token_id) + body

    def ask(self, prepared: bytes) -> None:
        """Send a prepared request."""
        self._sequence += 1
        self._request += 1
        self._socket.sendall(prepared[:16] + struct.pack("<II", self._sequence, self._request) + prepared[16:])

    def take(self) -> None:
        """The answer to `ask`, of which nothing but ServiceResult is looked at.

        Raises:
            SubscriberError: when it is not Good.
        """
        kind, final, frame = self._frame()
        if kind != b"MSG" or frame[32:36] != _GOOD:
            raise SubscriberError(f"{kind!r}: {bytes(frame[:60])!r}")
        while final != b"F":
            _, final, _ = self._frame()

    def _call(self, type_id: int, body: bytes) -> bytes:
        number = self._send(type_id, body)
        answer = self._message(type_id)
        if answer is None:
            raise SubscriberError(f"no answer to request {number}")
        return answer

    def _send(self, type_id: int, body: bytes) -> int:
        self._request += 1
        body = _type(type_id) + self._request_header() + body
        limit = _BUFFER - 24 - (64 if self._secured is not None else 0)
        frames = []
        for start in range(0, len(body), limit):
            part = body[start : start + limit]
            self._sequence += 1
            kind = b"F" if start + limit >= len(body) else b"C"
            head = struct.pack("<IIII", self._channel, self._token_id, self._sequence, self._request)
            if self._secured is not None:
                frames.append(self._secured.chunk(b"MSG" + kind, head, part))
                continue
            frames.append(_HEADER.pack(b"MSG", kind, 24 + len(part)) + head + part)
        self._socket.sendall(b"".join(frames))
        return self._request

    def _request_header(self) -> bytes:
        return self._token + struct.pack("<qIIiI", clock.now(), self._request, 0, -1, 0) + _NULL_HEADER

    def _message(self, request_type: int) -> bytes | None:
        """The body of the next response, after its header; None when nothing came in time."""
        parts = []
        while True:
            try:
                kind, final, frame = self._frame()
            except TimeoutError:
                return None
            if kind != b"MSG":
                raise SubscriberError(f"{kind!r}: {bytes(frame)!r}")
            parts.append(bytes(frame[16:]) if self._secured is None else self._secured.body(bytes(frame), kind + final))
            if final == b"F":
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        answer = struct.unpack_from("<H", body, 2)[0]
        status = struct.unpack_from("<I", body, 16)[0]
        if answer != request_type + 3:
            raise SubscriberError(f"answer {answer} with status {status:#010x} to request {request_type}")
        if status:
            raise SubscriberError(f"status {status:#010x} of request {request_type}")
        return body[4 + _response_header_size(body, 4) :]

    def _frame(self) -> tuple[bytes, bytes, memoryview]:
        while self._end - self._start < 8:
            self._fill()
        kind, final, size = _HEADER.unpack_from(self._buffer, self._start)
        while self._end - self._start < size:
            self._fill()
        frame = memoryview(self._buffer)[self._start + 8 : self._start + size]
        self._start += size
        return kind, final, frame

    def _fill(self) -> None:
        buffer = self._buffer
        if len(buffer) - self._end < _BUFFER:
            buffer[: self._end - self._start] = buffer[self._start : self._end]
            self._end -= self._start
            self._start = 0
        with memoryview(buffer) as view:
            try:
                got = self._socket.recv_into(view[self._end :])
            except BlockingIOError as error:
                raise TimeoutError("nothing came in time") from error
        if not got:
            raise SubscriberError("the server closed the connection")
        self._end += got
        self.received.octets += got


def _string(octets: bytes) -> bytes:
    return struct.pack("<i", len(octets)) + octets


def _type(number: int) -> bytes:
    return b"\x01\x00" + struct.pack("<H", number)


def _item(node: str, namespace: int, handle: int, queue: int, deadband: float) -> bytes:
    octets = node.encode()
    body = struct.pack("<BHi", 3, namespace, len(octets)) + octets
    body += b"\x0d\x00\x00\x00" + b"\xff" * 4 + b"\x00\x00" + b"\xff" * 4 + struct.pack("<IId", 2, handle, 0.0)
    if deadband:
        body += b"\x01\x00\xd4\x02\x01" + struct.pack("<iIId", 16, 1, 1, deadband)
    else:
        body += _NULL_HEADER
    return body + struct.pack("<IB", queue, 1)


def _response_header_size(body: bytes | memoryview, position: int) -> int:
    """Size of a ResponseHeader without diagnostics and strings."""
    if body[position + 16]:
        raise SubscriberError("diagnostics that were not asked for")
    strings = struct.unpack_from("<i", body, position + 17)[0]
    if strings > 0:
        raise SubscriberError("strings that were not asked for")
    return 21 + 3


def _skip_node_id(body: bytes | memoryview, position: int) -> int:
    kind = body[position]
    if kind in {0, 1, 2}:
        return position + (2, 4, 7)[kind]
    if kind == 4:
        return position + 19
    return int(position + 7 + struct.unpack_from("<i", body, position + 3)[0])
