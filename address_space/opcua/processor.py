"""One client connection's services: frames to requests, requests to handlers by type, answers back in raw octets.

A handler is `(processor, request) -> None | Awaitable[None]`. It reads the request with `request.reader()` and answers
with `processor.respond(...)`; a `ServiceError` becomes a ServiceFault. A plain function is done at once; what it
returns as an awaitable holds up the connection's next request until it is done. Slow work (a device's answer) goes to
`processor.spawn`, so that the client's other requests are served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua.common.utils import Buffer, NotEnoughData, ServiceError
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary
from cryptography.exceptions import InvalidSignature

from address_space import clock
from address_space.opcua.untyped import ua
from address_space.opcua.wire import (
    NULL_ARRAY,
    NULL_NODE_ID,
    DecodeError,
    ProtocolError,
    Reader,
    encode_text,
    numeric_identifier,
    pack_i32,
    unpack_u16,
)

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

_log = logging.getLogger(__name__)

_SYMMETRIC = struct.Struct("<IIII")
_FRAME = struct.Struct("<3scIIIII")
_HELLO = struct.Struct("<IIIII")
_RESPONSE = struct.Struct("<HHqIIB")
_REQUEST_TAIL = struct.Struct("<qII")
_OVERHEAD = 24
_MOST_DECODED = 1 << 20
_SMALLEST_BUFFER = 8192
_WITHOUT_SESSION = frozenset({422, 428, 461, 467})
_DECODING = (DecodeError, struct.error, NotEnoughData, IndexError, UnicodeDecodeError, ua.UaError, ValueError)


@dataclass(slots=True)
class Request:
    """One service request.

    Attributes:
        type_id: numeric id of the request's binary encoding (631 is Read).
        data: the whole message; `position` is where the body begins, after the request header.
        handle: RequestHandle, comes back in the answer.
        request_id: of the secure channel, comes back in the answer.
        diagnostics: ReturnDiagnostics mask.
        timeout_hint: milliseconds after which the client gives up; 0 never.
        received: FILETIME ticks of reception.
        told: Timestamp of the header, by the client's clock; 0 for none.
        token: AuthenticationToken on the wire.
    """

    type_id: int
    data: bytes
    position: int
    handle: int
    request_id: int
    diagnostics: int
    timeout_hint: int
    received: int
    told: int
    token: bytes

    def reader(self) -> Reader:
        """A reader at the body."""
        return Reader(self.data, self.position)

    def decode(self, kind: Any) -> Any:
        """The body as an asyncua class, for services that are rare and small.

        Raises:
            ServiceError: BadRequestTooLarge above 1 MiB; objects take far more memory and time than octets.
            DecodeError: when it is no such thing.
        """
        if len(self.data) - self.position > _MOST_DECODED:
            raise ServiceError(ua.StatusCodes.BadRequestTooLarge)
        try:
            return struct_from_binary(kind, Buffer(self.data, self.position))
        except Exception as error:  # asyncua's decoder fails in many ways on damaged octets
            raise DecodeError(str(error)) from error


Handler = Callable[["Processor", Request], Awaitable[None] | None]


class Processor(UaProcessor):
    """Serves one connection.

    Attributes:
        iserver: the server with the table, limits, ports and services.
        session: the client's session; None before CreateSession.
        receive_limit: octets of the largest frame taken.
        writable: False while the client does not read what was sent; see `on_writable`.
        on_writable: called without arguments when the client reads again.
    """

    iserver: InternalServer
    session: Session | None

    def __init__(self, server: InternalServer, transport: asyncio.Transport, close_connection: Callable[[], None]):
        super().__init__(server, transport, server.transport_limits)
        self.set_policies(server.policies)  # type: ignore[no-untyped-call]  # asyncua
        self.transport = transport
        self.peer = _peer_text(self.name)
        self.receive_limit = server.transport_limits.max_recv_buffer
        self.writable = True
        self.on_writable: list[Callable[[], None]] = []
        self._close_connection = close_connection
        self._client_message_size = 0
        self._client_chunks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_with_session = time.monotonic()
        self._channel_until = math.inf

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
        return bool(self._connection.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt)

    @property
    def security(self) -> tuple[str, int]:
        """(policy URI, mode number) of the channel."""
        policy = self._connection.security_policy
        return str(policy.URI), int(policy.Mode)

    @property
    def crypto(self) -> Any:
        """The channel's asyncua security policy (certificates, signatures)."""
        return self._connection.security_policy

    @property
    def unsent(self) -> int:
        """Octets written but not taken by the client yet."""
        return self.transport.get_write_buffer_size()

    @property
    def response_limit(self) -> int:
        """Octets of the largest answer that the client takes; 0 for any size."""
        chunks = self._client_chunks * (self._limits.max_send_buffer - 1024)
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
        limits = self._limits
        self.receive_limit = limits.max_recv_buffer = min(send, limits.max_recv_buffer)
        limits.max_send_buffer = min(receive, limits.max_send_buffer)
        self._client_message_size, self._client_chunks = message, chunks
        body = _HELLO.pack(
            min(version, 0), self.receive_limit, limits.max_send_buffer, limits.max_message_size, limits.max_chunk_count
        )
        self.transport.write(struct.pack("<3scI", b"ACK", b"F", 8 + len(body)) + body)

    def frame(self, frame: bytes) -> Awaitable[None] | None:
        """Work on one OPN, MSG or CLO frame; what is left to wait for is returned.

        Raises:
            ProtocolError: when the connection has to end.
        """
        connection = self._connection
        if time.monotonic() > self._channel_until and frame[:3] != b"OPN":
            raise ProtocolError(ua.StatusCodes.BadSecureChannelTokenUnknown, "the secure channel was not renewed")
        if frame[:4] == b"MSGF" and connection.is_open() and not connection._incoming_parts:
            policy = connection.security_policy
            if policy.Mode == ua.MessageSecurityMode.None_:
                token = connection.security_token
                channel_id, token_id, sequence, request_id = _SYMMETRIC.unpack_from(frame, 8)
                expected = connection._peer_sequence_number
                if (
                    channel_id == token.ChannelId
                    and token_id == token.TokenId
                    and (expected is None or sequence == expected + 1)
                ):
                    connection._peer_sequence_number = sequence
                    return self._message(frame, _OVERHEAD, request_id)
        return self._secured_frame(frame)

    def _secured_frame(self, frame: bytes) -> Awaitable[None] | None:
        buffer = Buffer(frame)
        try:
            header = header_from_binary(buffer)
            message = self._connection.receive_from_header_and_body(header, buffer)
            if message is None:
                limit = self.iserver.limits.max_message_before_session
                if not self.activated and self._connection._incoming_size > limit:
                    raise ProtocolError(ua.StatusCodes.BadTcpMessageTooLarge, "a large message without a session")
                return None
            if header.MessageType == ua.MessageType.SecureClose:
                self._connection.close()
                self._close_connection()
                return None
            sequence, body = message.SequenceHeader(), message.body()
            if header.MessageType == ua.MessageType.SecureOpen:
                self.open_secure_channel(message.SecurityHeader(), sequence, body)
                return None
        except ua.UaStatusCodeError as error:
            raise ProtocolError(error.code, str(error)) from error
        except (*_DECODING, InvalidSignature, TypeError, AttributeError) as error:
            raise ProtocolError(ua.StatusCodes.BadSecurityChecksFailed, "the secure channel's checks failed") from error
        return self._message(bytes(body), 0, sequence.RequestId)

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Any) -> None:
        """Open or renew the channel; its lifetime is kept within bounds."""
        request = struct_from_binary(ua.OpenSecureChannelRequest, body)
        parameters = request.Parameters
        limits = self.iserver.limits
        parameters.RequestedLifetime = min(
            max(parameters.RequestedLifetime, limits.min_channel_lifetime_ms), limits.max_channel_lifetime_ms
        )
        if not self._connection.is_open():
            self._connection.select_policy(
                algohdr.SecurityPolicyURI, algohdr.SenderCertificate, parameters.SecurityMode
            )
        response = ua.OpenSecureChannelResponse()
        response.Parameters = self._connection.open(parameters, self.iserver)
        # A quarter more than the lifetime, for what is under way while the channel is renewed.
        self._channel_until = time.monotonic() + parameters.RequestedLifetime * 1.25e-3
        response.ResponseHeader.RequestHandle = request.RequestHeader.RequestHandle
        self.transport.write(
            self._connection.message_to_binary(
                struct_to_binary(response), message_type=ua.MessageType.SecureOpen, request_id=seqhdr.RequestId
            )
        )

    # ---- requests --------------------------------------------------------------------------------------------------

    def _message(self, data: bytes, position: int, request_id: int) -> Awaitable[None] | None:
        try:
            request = _parse(data, position, request_id)
        except _DECODING as error:
            raise ProtocolError(ua.StatusCodes.BadDecodingError, "the request header is malformed") from error
        try:
            result = self._dispatch(request)
        except Exception as error:  # every request gets an answer, whatever went wrong inside
            self._fail(request, error)
            return None
        return None if result is None else self._guard(result, request)

    def _dispatch(self, request: Request) -> Awaitable[None] | None:
        type_id = request.type_id
        handler = self.iserver.handlers.get(type_id)
        if type_id not in _WITHOUT_SESSION:
            session = self.session
            if session is None or session.token != request.token:
                raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
            session.delay = session.delays.of(request.received, request.told)
            if not session.is_activated():
                if type_id != 473:
                    raise ServiceError(
                        ua.StatusCodes.BadSessionClosed if session.closed else ua.StatusCodes.BadSessionNotActivated
                    )
            else:
                session.touch()
        if handler is None:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        return handler(self, request)

    async def _guard(self, work: Awaitable[None], request: Request) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # every request gets an answer, whatever went wrong inside
            self._fail(request, error)

    def _fail(self, request: Request, error: Exception) -> None:
        if isinstance(error, (ServiceError, ua.UaStatusCodeError)):
            self.fault(request, error.code)
        elif isinstance(error, _DECODING):
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

    def response(self, type_id: int, handle: int, status: int = 0, strings: Iterable[str] = ()) -> bytes:
        """Type id and response header on the wire, for answers sent with `send`."""
        table = list(strings)
        octets = NULL_ARRAY if not table else pack_i32(len(table)) + b"".join(encode_text(text) for text in table)
        return _RESPONSE.pack(1, type_id, clock.now(), handle, status, 0) + octets + NULL_NODE_ID + b"\0"

    def fault(self, request: Request, status: int) -> None:
        """Answer a request with a ServiceFault."""
        self.send(request.request_id, self.response(397, request.handle, status))

    def send(self, request_id: int, body: bytes) -> None:
        """Send a message in as many chunks as it takes; too large for the client becomes BadResponseTooLarge."""
        if self.transport.is_closing():
            return
        chunk = self._limits.max_send_buffer - 1024
        if (self._client_message_size and len(body) > self._client_message_size) or (
            self._client_chunks and math.ceil(len(body) / chunk) > self._client_chunks
        ):
            handle = struct.unpack_from("<I", body, 12)[0]
            body = self.response(397, handle, ua.StatusCodes.BadResponseTooLarge)
        connection = self._connection
        if connection.security_policy.Mode != ua.MessageSecurityMode.None_:
            self.transport.write(connection.message_to_binary(body, request_id=request_id))
            return
        token = connection.security_token
        size = self._limits.max_send_buffer - _OVERHEAD
        write = self.transport.write
        for start in range(0, len(body), size):
            part = body[start : start + size] if len(body) > size else body
            connection._sequence_number = connection._sequence_number + 1 & 0xFFFF_FFFF or 1
            kind = b"F" if start + size >= len(body) else b"C"
            header = _FRAME.pack(
                b"MSG",
                kind,
                _OVERHEAD + len(part),
                token.ChannelId,
                token.TokenId,
                connection._sequence_number,
                request_id,
            )
            write(header + part)

    def send_response(
        self, requesthandle: int, seqhdr: Any, response: Any, msgtype: Any = ua.MessageType.SecureMessage
    ) -> None:
        """Send an asyncua response object."""
        response.ResponseHeader.RequestHandle = requesthandle
        self.send(seqhdr.RequestId, struct_to_binary(response))

    def respond_object(self, request: Request, response: Any) -> None:
        """Answer with an asyncua response object (rare services)."""
        response.ResponseHeader.RequestHandle = request.handle
        response.ResponseHeader.Timestamp = clock.to_datetime(clock.now())
        self.send(request.request_id, struct_to_binary(response))

    # ---- end -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """The connection is gone: end what runs for it, and the session unless subscriptions keep it alive."""
        self._closing = True
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


def _parse(data: bytes, position: int, request_id: int) -> Request:
    if data[position] == 1 and data[position + 1] == 0:
        type_id = int(unpack_u16(data, position + 2)[0])
        reader = Reader(data, position + 4)
    else:
        reader = Reader(data, position)
        type_id = numeric_identifier(reader.node_id()) or 0
    token = reader.node_id()
    told, handle, diagnostics = _REQUEST_TAIL.unpack_from(data, reader.position)
    reader.position += 16
    reader.octets()
    timeout_hint = reader.u32()
    reader.extension_object()
    now = clock.now()
    return Request(type_id, data, reader.position, handle, request_id, diagnostics, timeout_hint, now, told, token)


def _peer_text(name: Any) -> str:
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) > 1 else str(name)
