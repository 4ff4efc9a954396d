"""OPC UA TCP: frames off the wire with limits before buffers, back-pressure both ways, the connection's handshake."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING, Any, cast

from address_space.opcua.processor import Processor
from address_space.opcua.untyped import ua
from address_space.opcua.wire import ProtocolError, encode_text

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)
_HEADER = struct.Struct("<3scI")
_HELLO_LIMIT = 4096 + 64
_KNOWN_TYPES = (b"MSG", b"OPN", b"CLO", b"HEL")
_SEND_HIGH_WATER = 1 << 20
_SEND_CLOSE_AT = 64 << 20


class Connection(asyncio.Protocol):
    """One client connection.

    A frame larger than what was negotiated ends the connection at its first eight octets, before anything of it is
    kept. Received octets are kept only up to two frames; the socket is not read while a request is being worked on.
    """

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._processor: Processor | None = None
        self._busy: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True
        self._hello_seen = False

    # ---- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection unless there are too many."""
        # uvloop's transports do not derive from asyncio's.
        transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        server = self._server
        if len(server.connections) >= server.limits.max_connections:
            server.counters.connections_refused += 1
            _log.warning("connection from %s refused: %d are open", peer, len(server.connections))
            transport.abort()
            return
        self._transport = transport
        transport.set_write_buffer_limits(high=_SEND_HIGH_WATER)
        server.connected(self)
        self._processor = Processor(server, transport, self.close)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(server.limits.activation_seconds, self._check_activation)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; the session outlives it only when it has subscriptions."""
        self._server.disconnected(self)
        self._buffer.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._busy is not None:
            self._busy.cancel()
        if self._processor is not None:
            self._server.keep(self._processor.close())

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        if self._processor is not None:
            self._processor.set_writable(False)
        self._read_or_not()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._processor is not None:
            self._processor.set_writable(True)
        self._work()

    def data_received(self, data: bytes) -> None:
        """Take octets; work on every complete frame."""
        self._buffer += data
        self._work()

    # ---- frames ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        processor, buffer = self._processor, self._buffer
        transport = self._transport
        if processor is None or transport is None:
            return
        try:
            while self._busy is None and processor.writable and not transport.is_closing():
                size = self._frame_size()
                if size == 0 or len(buffer) < size:
                    break
                frame = bytes(buffer[:size])
                del buffer[:size]
                rest = self._take(processor, frame)
                if rest is not None:
                    self._busy = asyncio.get_running_loop().create_task(self._finish(rest))
        except ProtocolError as error:
            self.refuse(error.status, str(error))
        except Exception:  # whatever a peer sends, it costs no more than its own connection
            _log.exception("a frame of %s could not be worked on", processor.peer)
            self.refuse(ua.StatusCodes.BadInternalError, "internal error")
        if transport.get_write_buffer_size() > _SEND_CLOSE_AT:
            _log.warning("%s closed: it does not read what it asked for", processor.peer)
            transport.abort()
        self._read_or_not()

    async def _finish(self, rest: Any) -> None:
        try:
            await rest
        except ProtocolError as error:
            self.refuse(error.status, str(error))
        finally:
            self._busy = None
        self._work()

    def _take(self, processor: Processor, frame: bytes) -> Any:
        if frame[:3] == b"HEL":
            if self._hello_seen:
                raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, "a second HEL")
            self._hello_seen = True
            processor.hello(frame)
            return None
        return processor.frame(frame)

    def _frame_size(self) -> int:
        """Size of the frame at the head of the buffer, 0 while its header is not complete."""
        buffer = self._buffer
        if len(buffer) < 8:
            if buffer and not any(known.startswith(buffer[:3]) for known in _KNOWN_TYPES):
                raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, "this is no OPC UA")
            return 0
        kind, _, size = _HEADER.unpack_from(buffer)
        if kind not in _KNOWN_TYPES or (kind == b"HEL") == self._hello_seen:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, f"{kind!r} is not expected here")
        processor = self._processor
        limit = processor.receive_limit if self._hello_seen and processor is not None else _HELLO_LIMIT
        if size > limit:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTooLarge, f"a frame of {size} octets; the limit is {limit}")
        if size < (32 if kind == b"HEL" else 12):
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTypeInvalid, "a frame too short for its header")
        return int(size)

    def _read_or_not(self) -> None:
        transport, processor = self._transport, self._processor
        if transport is None or processor is None or transport.is_closing():
            return
        reading = processor.writable and (self._busy is None or len(self._buffer) < processor.receive_limit)
        if reading != self._reading:
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    # ---- ends ------------------------------------------------------------------------------------------------------

    def refuse(self, status: int, reason: str) -> None:
        """Send an ERR message and close."""
        self._server.counters.frames_refused += 1
        transport = self._transport
        self._buffer.clear()
        if transport is None or transport.is_closing():
            return
        _log.warning("%s closed: %s", transport.get_extra_info("peername"), reason)
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

    def _check_activation(self) -> None:
        processor, transport = self._processor, self._transport
        if processor is None or transport is None or transport.is_closing():
            return
        seconds = self._server.limits.activation_seconds
        if processor.seconds_without_session() >= seconds:
            self._server.counters.never_activated += 1
            _log.info("%s closed: no session within %g s", processor.peer, seconds)
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(seconds / 2, self._check_activation)
