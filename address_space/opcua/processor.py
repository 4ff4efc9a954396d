"""One client connection's services: frames to requests, requests to handlers by type, answers back in raw octets.

A handler is `(processor, request) -> None | Awaitable[None]`. It reads the request with `request.reader()` and answers
with `processor.respond(...)`; a `ServiceError` becomes a ServiceFault. A plain function is done at once; what it
returns as an awaitable holds up the connection's next request until it is done. Slow work (a device's answer) goes to
`processor.spawn`, so that the client's other requests are served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from asyncua.common.utils import ServiceError
from asyncua.ua.ua_binary import struct_to_binary

from address_space import clock
from address_space.opcua.channel import ChannelLimits, SecureChannel
from address_space.opcua.channel_audit import ChannelGate, answer_open
from address_space.opcua.diagnostics_counts import count_refusal
from address_space.opcua.request import DECODING, Request, parse
from address_space.opcua.session_audit import foreign_token
from address_space.opcua.untyped import ua
from address_space.opcua.wire import NO_DIAGNOSTICS, NULL_ARRAY, NULL_NODE_ID, ProtocolError, encode_text, pack_i32
from address_space.ports import AUDIT_ENTRY

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

__all__ = ["Handler", "Processor", "Request"]

_log = logging.getLogger(__name__)

_HELLO = struct.Struct("<IIIII")
_RESPONSE = struct.Struct("<HHqIIB")
_NO_TABLE = NULL_ARRAY + NULL_NODE_ID + b"\0"
_PLAIN_RESPONSE = struct.Struct(f"<HHqIIB{len(_NO_TABLE)}s")
_SMALLEST_BUFFER = 8192
_SLICE_SECONDS = 0.004
_WITHOUT_SESSION = frozenset({422, 428, 461, 467})


Handler = Callable[["Processor", Request], Awaitable[None] | None]


class Processor:
    """Serves one connection.

    Attributes:
        iserver: the server with the table, limits, ports and services.
        session: the client's session; None before CreateSession.
        channel: the secure channel.
        name, sockname: address and port of the client, and those it has connected to.
        receive_limit: octets of the largest frame taken.
        writable: False while the client does not read what was sent; see `on_writable`.
        on_writable: called without arguments when the client reads again.
    """

    def __init__(self, server: InternalServer, transport: asyncio.Transport, close_connection: Callable[[], None]):
        self.iserver = server
        self.session: Session | None = None
        self.transport = transport
        self.name = transport.get_extra_info("peername")
        self.sockname = transport.get_extra_info("sockname")
        self.peer = _peer_text(self.name)
        limits = server.limits
        lifetimes = (limits.min_channel_lifetime_ms, limits.max_channel_lifetime_ms)
        most = limits.max_message // _SMALLEST_BUFFER + 1
        self.channel = SecureChannel(
            ChannelGate(server, self.peer), ChannelLimits(limits.max_chunk, limits.max_message, most, lifetimes)
        )
        self.receive_limit = limits.max_chunk
        self.writable = True
        self.on_writable: list[Callable[[], None]] = []
        self._close_connection = close_connection
        self._client_message_size = 0
        self._client_chunks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_with_session = time.monotonic()

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def activated(self) -> bool:
        """Whether a session is active on the connection."""
        return self.session is not None and self.session.is_activated()

    def seconds_without_session(self) -> float:
        """For how long there has been no active session; 0 while there is one."""
        now = time.monotonic()
        if self.activated:
            self._last_with_session = now
        return now - self._last_with_session

    @property
    def local(self) -> bool:
        """Whether the client is on this machine."""
        return isinstance(self.name, tuple) and str(self.name[0]) in {"127.0.0.1", "::1"}

    @property
    def encrypted(self) -> bool:
        """Whether the channel encrypts."""
        return bool(self.channel.policy.Mode == ua.MessageSecurityMode.SignAndEncrypt)

    @property
    def security(self) -> tuple[str, int]:
        """(policy URI, mode number) of the channel."""
        policy = self.channel.policy
        return str(policy.URI), int(policy.Mode)

    @property
    def crypto(self) -> Any:
        """The channel's asyncua security policy (certificates, signatures)."""
        return self.channel.policy

    @property
    def client_certificate(self) -> bytes | None:
        """What the client showed to open the channel (DER, its chain behind it); None when there is no security."""
        return bytes(self.crypto.peer_certificate or b"") or None

    @property
    def unsent(self) -> int:
        """Octets written but not taken by the client yet."""
        return self.transport.get_write_buffer_size()

    @property
    def response_limit(self) -> int:
        """Octets of the largest answer that the client takes; 0 for any size."""
        chunks = self._client_chunks * self.channel.room
        limits = [limit for limit in (self._client_message_size, chunks) if limit]
        return min(limits, default=0)

    def set_writable(self, writable: bool) -> None:
        """Told by the transport."""
        self.writable = writable
        if writable:
            for tell in list(self.on_writable):
                tell()

    def spawn(self, work: Coroutine[Any, Any, None], request: Request) -> None:
        """Work on a request beside the others; faults are answered.

        Raises:
            ServiceError: BadTooManyOperations when too much is under way on this connection.
        """
        if len(self._tasks) >= self.iserver.limits.max_slow_requests:
            work.close()
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        task = asyncio.get_running_loop().create_task(self._guard(work, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- frames ----------------------------------------------------------------------------------------------------

    def hello(self, frame: bytes) -> None:
        """Answer HEL with ACK; buffer sizes as both sides can.

        Raises:
            ProtocolError: when the client's buffers are too small to work with.
        """
        version, receive, send, message, chunks = _HELLO.unpack_from(frame, 8)
        if min(receive, send) < _SMALLEST_BUFFER:
            raise ProtocolError(ua.StatusCodes.BadConnectionRejected, "buffers below 8192 octets")
        own = self.iserver.limits
        channel = self.channel.limits
        self.receive_limit = min(send, own.max_chunk)
        channel.chunk = min(receive, own.max_chunk)
        self._client_message_size, self._client_chunks = message, chunks
        body = _HELLO.pack(min(version, 0), self.receive_limit, channel.chunk, channel.message, channel.chunks)
        self.transport.write(struct.pack("<3scI", b"ACK", b"F", 8 + len(body)) + body)

    def frame(self, frame: bytes) -> Awaitable[None] | None:
        """Work on one OPN, MSG or CLO frame; what is left to wait for is returned.

        Raises:
            ProtocolError: when the connection has to end.
        """
        channel = self.channel
        if frame[0] == 0x4F:
            self.transport.write(answer_open(self, frame))
            return None
        message = channel.receive(frame)
        if frame[0] == 0x43:
            channel.close()
            self._close_connection()
            return None
        if message is not None:
            return self._message(*message)
        if channel.pending > self.iserver.limits.max_message_before_session and not self.activated:
            raise ProtocolError(ua.StatusCodes.BadTcpMessageTooLarge, "a large message without a session")
        return None

    # ---- requests --------------------------------------------------------------------------------------------------

    def _message(self, data: bytes, position: int, request_id: int) -> Awaitable[None] | None:
        session = self.session
        try:
            request = parse(data, position, request_id, session.token if session is not None else b"")
        except DECODING as error:
            raise ProtocolError(ua.StatusCodes.BadDecodingError, "the request header is malformed") from error
        try:
            # What is audited by the request, and by what it starts, has its AuditEntryId.
            entry = request.audit_entry
            result = copy_context().run(self._dispatch_audited, request) if entry else self._dispatch(request)
        except Exception as error:  # every request gets an answer, whatever went wrong inside
            self._fail(request, error)
            return None
        return None if result is None else self._guard(result, request)

    def _dispatch_audited(self, request: Request) -> Awaitable[None] | None:
        AUDIT_ENTRY.set(request.audit_entry)
        return self._dispatch(request)

    def _dispatch(self, request: Request) -> Awaitable[None] | None:
        type_id = request.type_id
        handler = self.iserver.handlers.get(type_id)
        if type_id not in _WITHOUT_SESSION:
            session = self.session
            if session is None or not (
                session.token is request.token or hmac.compare_digest(session.token, request.token)
            ):
                foreign_token(self, request.token)
                raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
            session.delay = session.delays.of(request.received, request.told)
            if not session.is_activated():
                if type_id != 473:
                    raise ServiceError(
                        ua.StatusCodes.BadSessionClosed if session.closed else ua.StatusCodes.BadSessionNotActivated
                    )
            else:
                session.touch()
            session.counts.request(type_id, request.received)
        if handler is None:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        return handler(self, request)

    async def _guard(self, work: Awaitable[None], request: Request) -> None:
        # Taken back at the end: a connection's task goes on with its next requests.
        mark = AUDIT_ENTRY.set(request.audit_entry) if request.audit_entry else None
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # every request gets an answer, whatever went wrong inside
            self._fail(request, error)
        finally:
            if mark is not None:
                AUDIT_ENTRY.reset(mark)

    def _fail(self, request: Request, error: Exception) -> None:
        if isinstance(error, (ServiceError, ua.UaStatusCodeError)):
            self.fault(request, error.code)
        elif isinstance(error, DECODING):
            _log.debug("%s: request %d is malformed", self.peer, request.type_id, exc_info=error)
            self.fault(request, ua.StatusCodes.BadDecodingError)
        else:
            _log.error("request %d of %s failed", request.type_id, self.peer, exc_info=error)
            self.fault(request, ua.StatusCodes.BadInternalError)

    # ---- answers ---------------------------------------------------------------------------------------------------

    def respond(
        self, request: Request, type_id: int, *parts: bytes, status: int = 0, strings: Iterable[str] = ()
    ) -> None:
        """Answer a request.

        Args:
            request: what is answered.
            type_id: numeric id of the response's binary encoding.
            parts: the body after the response header.
            status: ServiceResult.
            strings: the StringTable that DiagnosticInfos of the body refer to.
        """
        self.send(request.request_id, self.response(type_id, request.handle, status, strings) + b"".join(parts))

    def respond_list(
        self, request: Request, type_id: int, count: int, results: Iterable[bytes]
    ) -> Awaitable[None] | None:
        """Answer with a result for each operation and no diagnostics; what takes long is made in slices of time.

        Args:
            request: what is answered.
            type_id: numeric id of the response's binary encoding.
            count: how many results there are.
            results: makes one after the other, on demand; empty pieces in between let others have their turn.

        Raises:
            ServiceError: BadResponseTooLarge when they are more than may wait for a client.
        """
        made = [pack_i32(count)]
        rest = iter(results)
        if self._make(made, rest):
            self.respond(request, type_id, *made, NO_DIAGNOSTICS)
            return None
        return self._respond_in_slices(request, type_id, made, rest)

    async def _respond_in_slices(
        self, request: Request, type_id: int, made: list[bytes], results: Iterator[bytes]
    ) -> None:
        done = False
        while not done:
            await asyncio.sleep(0)
            done = self._make(made, results)
        self.respond(request, type_id, *made, NO_DIAGNOSTICS)

    def _make(self, made: list[bytes], results: Iterator[bytes]) -> bool:
        """Move results to what is made for a slice of time; whether these were all."""
        size, most = sum(map(len, made)), self.iserver.limits.max_unsent // 2
        until = time.perf_counter() + _SLICE_SECONDS
        for result in results:
            made.append(result)
            size += len(result)
            if size > most:
                raise ServiceError(ua.StatusCodes.BadResponseTooLarge)
            if time.perf_counter() > until:
                return False
        return True

    def response(self, type_id: int, handle: int, status: int = 0, strings: Iterable[str] = ()) -> bytes:
        """Type id and response header on the wire, for answers sent with `send`."""
        table = list(strings)
        if not table:
            return _PLAIN_RESPONSE.pack(1, type_id, clock.now(), handle, status, 0, _NO_TABLE)
        octets = pack_i32(len(table)) + b"".join(encode_text(text) for text in table)
        return _RESPONSE.pack(1, type_id, clock.now(), handle, status, 0) + octets + NULL_NODE_ID + b"\0"

    def fault(self, request: Request, status: int) -> None:
        """Answer a request with a ServiceFault."""
        count_refusal(self, request.type_id, status)
        self.send(request.request_id, self.response(397, request.handle, status))

    def send(self, request_id: int, body: bytes) -> None:
        """Send a message in as many chunks as it takes; too large for the client becomes BadResponseTooLarge."""
        transport = self.transport
        if transport.is_closing():
            return
        channel, size = self.channel, len(body)
        if (self._client_message_size and size > self._client_message_size) or (
            self._client_chunks and math.ceil(size / channel.room) > self._client_chunks
        ):
            handle = struct.unpack_from("<I", body, 12)[0]
            body = self.response(397, handle, ua.StatusCodes.BadResponseTooLarge)
        for chunk in channel.chunks(request_id, body):
            transport.write(chunk)

    def respond_object(self, request: Request, response: Any) -> None:
        """Answer with an asyncua response object (rare services)."""
        response.ResponseHeader.RequestHandle = request.handle
        response.ResponseHeader.Timestamp = clock.to_datetime(clock.now())
        self.send(request.request_id, struct_to_binary(response))

    # ---- end -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """The connection is gone: end what runs for it, and the session unless subscriptions keep it alive."""
        self.writable = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        session = self.session
        if session is not None and session.processor is self:
            await session.connection_lost()


def _peer_text(name: Any) -> str:
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) > 1 else str(name)
