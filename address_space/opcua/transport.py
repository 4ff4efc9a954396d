"""OPC UA TCP: frames off the wire with limits before buffers, back-pressure both ways, the connection's handshake."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from address_space.opcua.processor import Processor
from address_space.opcua.untyped import ua
from address_space.opcua.wire import ProtocolError, encode_text

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)
_HEADER = struct.Struct("<3scI")
_HELLO_LIMIT = 4096 + 64
_KNOWN_TYPES = (b"MSG", b"OPN", b"CLO", b"HEL")
_SMALLEST = {b"HEL": 32, b"OPN": 32, b"MSG": 24, b"CLO": 24}
_SEND_HIGH_WATER = 1 << 20
_CHECK_SECONDS = 1.0
_SLICE_SECONDS = 0.002


class Connection(asyncio.Protocol):
    """One client connection.

    A frame larger than what was negotiated ends the connection at its first eight octets, before anything of it is
    kept. Received octets are kept only up to two frames; the socket is not read while a request is being worked on.
    A client that does not take what it has asked for is cut off: when too much waits for it, or it waits too long.
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._processor: Processor | None = None
        self._busy: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._again: asyncio.Handle | None = None
        self._reading = True
        self._hello_seen = False
        self._host = ""
        self._unread_since: float | None = None

    # ---- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection unless there are too many."""
        # uvloop's transports do not derive from asyncio's.
        transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        server = self._server
        host = str(peer[0]) if isinstance(peer, tuple) else str(peer)
        refusal = server.admission.refusal(host)
        if refusal:
            server.counters.connections_refused += 1
            server.admission.notice("connection from %s refused: %s", peer, refusal)
            transport.abort()
            return
        self._host = host
        self._transport = transport
        transport.set_write_buffer_limits(high=_SEND_HIGH_WATER)
        server.connected(self)
        self._processor = Processor(server, transport, self.close)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; the session outlives it only when it has subscriptions."""
        if self._processor is None:
            return
        self._server.disconnected(self)
        self._server.admission.left(self._host)
        self._buffer.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        if self._busy is not None:
            self._busy.cancel()
        self._server.keep(self._processor.close())

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self._unread_since = time.monotonic()
        if self._processor is not None:
            self._processor.set_writable(False)
        self._read_or_not()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._unread_since = None
        if self._processor is not None:
            self._processor.set_writable(True)
        self._work()

    def data_received(self, data: bytes) -> None:
        """Take octets; work on every complete frame."""
        processor = self._processor
        size = len(data)
        if (
            not self._buffer
            and self._busy is None
            and self._again is None
            and size >= 24
            and data.startswith(b"MSG")
            and int.from_bytes(data[4:8], "little") == size
            and processor is not None
            and self._hello_seen
            and size <= processor.receive_limit
            and processor.writable
        ):
            # One whole message, as nearly always: worked on as it came.
            self._one(processor, data)
            if self._busy is None:
                return
        else:
            self._buffer += data
        self._work()

    # ---- frames ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        processor, buffer, transport = self._processor, self._buffer, self._transport
        if processor is None or transport is None:
            return
        if self._again is not None:
            self._again.cancel()
            self._again = None
        done, until = 0, time.perf_counter() + _SLICE_SECONDS
        while self._busy is None and processor.writable and not transport.is_closing():
            try:
                size = self._frame_size(done)
            except ProtocolError as error:
                self.refuse(error.status, str(error))
                return
            if size == 0 or len(buffer) - done < size:
                break
            frame = bytes(memoryview(buffer)[done : done + size])
            done += size
            self._one(processor, frame)
            if time.perf_counter() > until and self._busy is None and len(buffer) > done:
                # Others have their turn before the rest of a burst.
                self._again = asyncio.get_running_loop().call_soon(self._work)
                break
        # Taken off once for all frames of a burst; `refuse` has emptied the buffer already.
        del buffer[:done]
        self._read_or_not()

    def _one(self, processor: Processor, frame: bytes) -> None:
        """Work on one frame; what cannot be done at once becomes the connection's task."""
        try:
            rest = self._take(processor, frame)
        except ProtocolError as error:
            self.refuse(error.status, str(error))
            return
        except Exception:  # whatever a peer sends, it costs no more than its own connection
            _log.exception("a frame of %s could not be worked on", processor.peer)
            self.refuse(ua.StatusCodes.BadInternalError, "internal error")
            return
        if rest is not None:
            self._busy = asyncio.get_running_loop().create_task(self._finish(rest))
        if processor.unsent > self._server.limits.max_unsent:
            self._cut("more than %d octets wait for it", self._server.limits.max_unsent)

    async def _finish(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except ProtocolError as error:
            self.refuse(error.status, str(error))
        finally:
            self._busy = None
        self._work()

    def _take(self, processor: Processor, frame: bytes) -> Awaitable[None] | None:
        if frame.startswith(b"HEL"):
            self._hello_seen = True
            processor.hello(frame)
            return None
        return processor.frame(frame)

    def _frame_size(self, start: int) -> int:
        """Size of the frame at a place of the buffer, 0 while its header is not complete."""
        buffer = self._buffer
        there = len(buffer) - start
        if there < 8:
            begun = bytes(buffer[start : start + 3])
            if begun and not any(known.startswith(begun) for known in _KNOWN_TYPES):
                raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, "this is no OPC UA")
            return 0
        kind, _, size = _HEADER.unpack_from(buffer, start)
        smallest = _SMALLEST.get(kind)
        if smallest is None or (kind == b"HEL") == self._hello_seen:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, f"{kind!r} is not expected here")
        processor = self._processor
        limit = processor.receive_limit if self._hello_seen and processor is not None else _HELLO_LIMIT
        if size > limit:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTooLarge, f"a frame of {size} octets; the limit is {limit}")
        if size < smallest:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, "a frame too short for its header")
        return int(size)

    def _read_or_not(self) -> None:
        transport, processor = self._transport, self._processor
        if transport is None or processor is None or transport.is_closing():
            return
        idle = self._busy is None and self._again is None
        reading = processor.writable and (idle or len(self._buffer) < processor.receive_limit)
        if reading != self._reading:
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    # ---- ends ------------------------------------------------------------------------------------------------------

    def refuse(self, status: int, reason: str) -> None:
        """Send an ERR message and close."""
        server, transport = self._server, self._transport
        server.counters.frames_refused += 1
        self._buffer = bytearray()
        if transport is None or transport.is_closing():
            return
        server.admission.notice("%s closed: %s", transport.get_extra_info("peername"), reason)
        body = struct.pack("<I", status) + encode_text(reason)
        transport.write(_HEADER.pack(b"ERR", b"F", 8 + len(body)) + body)
        transport.close()

    def close(self) -> None:
        """Close after what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _cut(self, reason: str, *arguments: object) -> None:
        """End a connection whose client does not read; no ERR message would reach it."""
        processor = self._processor
        if processor is None or processor.transport.is_closing():
            return
        self._server.counters.slow_clients += 1
        self._server.admission.notice(f"%s closed, it does not read: {reason}", processor.peer, *arguments)
        processor.transport.abort()

    def _watch(self) -> None:
        """Once a second: no session, a channel that has ended, a client that does not read."""
        processor, transport, server = self._processor, self._transport, self._server
        if processor is None or transport is None:
            return
        limits = server.limits
        if transport.is_closing():
            # A client that does not take the last octets either would keep the connection for ever.
            if self._unread_since is None:
                self._unread_since = time.monotonic()
            elif not processor.writable or time.monotonic() - self._unread_since > limits.slow_client_seconds:
                transport.abort()
                return
        elif self._unread_since is not None and time.monotonic() - self._unread_since > limits.slow_client_seconds:
            self._cut("nothing taken for %g s", limits.slow_client_seconds)
            return
        elif processor.seconds_without_session() >= limits.activation_seconds:
            server.counters.never_activated += 1
            server.admission.notice("%s closed: no session within %g s", processor.peer, limits.activation_seconds)
            transport.abort()
            return
        elif processor.channel.expired:
            self.refuse(ua.StatusCodes.BadSecureChannelTokenUnknown, "the secure channel was not renewed")
        wait = min(_CHECK_SECONDS, limits.activation_seconds / 2)
        self._timer = asyncio.get_running_loop().call_later(wait, self._watch)
