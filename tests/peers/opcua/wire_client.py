"""A small OPC UA client for tests: one request in, one response out, publish requests under the test's control."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

HEADER = struct.Struct("<3scI")


class FaultError(Exception):
    """A ServiceFault; `name` is that of its StatusCode."""

    def __init__(self, code: int) -> None:
        self.name = str(ua.StatusCode(code).name)
        super().__init__(self.name)
        self.code = code


class RawConnection:
    """A TCP connection for frames of the test's own making."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> RawConnection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._writer.transport.abort()
        await asyncio.sleep(0)

    def send(self, octets: bytes) -> None:
        """Octets as they are."""
        self._writer.write(octets)

    def frame(self, kind: bytes, body: bytes, *, final: bytes = b"F", size: int | None = None) -> None:
        """A frame, whose header may lie about its size."""
        self.send(HEADER.pack(kind, final, 8 + len(body) if size is None else size) + body)

    def hello(self, *, receive: int = 65535, send: int = 65535, version: int = 0) -> None:
        """A HEL frame."""
        url = f"opc.tcp://127.0.0.1:{self.port}/".encode()
        self.frame(b"HEL", struct.pack("<IIIIIi", version, receive, send, 0, 0, len(url)) + url)

    async def answer(self, seconds: float = 10.0) -> tuple[bytes, bytes]:
        """(kind, body) of the next frame; (b"", b"") when the server has closed the connection."""
        async with asyncio.timeout(seconds):
            try:
                kind, _, size = HEADER.unpack(await self._reader.readexactly(8))
                return kind, await self._reader.readexactly(size - 8)
            except (asyncio.IncompleteReadError, ConnectionError):
                return b"", b""

    async def error(self, seconds: float = 10.0) -> str:
        """Name of the StatusCode of the ERR frame that follows; empty when the connection just ends."""
        kind, body = await self.answer(seconds)
        return str(ua.StatusCode(struct.unpack_from("<I", body)[0]).name) if kind == b"ERR" else kind.decode()


class WireClient:
    """Policy None, anonymous; requests and responses are asyncua's structures, the transport is not."""

    def __init__(self, port: int, session_ms: float = 60_000) -> None:
        self.port, self.session_ms = port, session_ms
        self.session_id: Any = None
        self._token: Any = ua.NodeId()
        self._channel = self._channel_token = 0
        self._sequence = self._request = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.published: asyncio.Queue[Any] = asyncio.Queue()
        self._publishing: set[int] = set()
        self.reading = asyncio.Event()
        self.reading.set()

    async def __aenter__(self) -> WireClient:
        await self.connect()
        await self.new_session()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        url = f"opc.tcp://127.0.0.1:{self.port}/".encode()
        body = struct.pack("<IIIIIi", 0, 65535, 65535, 0, 0, len(url)) + url
        self._writer.write(HEADER.pack(b"HEL", b"F", 8 + len(body)) + body)
        assert (await self._frame())[0] == b"ACK"
        opened = ua.OpenSecureChannelRequest()
        opened.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        opened.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        opened.Parameters.RequestedLifetime = 3_600_000
        opened.Parameters.ClientNonce = b""
        policy = b"http://opcfoundation.org/UA/SecurityPolicy#None"
        head = struct.pack("<Ii", 0, len(policy)) + policy + b"\xff" * 8 + struct.pack("<II", 1, 1)
        self._sequence = self._request = 1
        body = head + struct_to_binary(opened)
        self._writer.write(HEADER.pack(b"OPN", b"F", 8 + len(body)) + body)
        kind, _, frame = await self._frame()
        assert kind == b"OPN"
        buffer = Buffer(frame[4:])
        struct_from_binary(ua.AsymmetricAlgorithmHeader, buffer)
        struct_from_binary(ua.SequenceHeader, buffer)
        nodeid_from_binary(buffer)
        token = struct_from_binary(ua.OpenSecureChannelResponse, Buffer(b"\x01\x00\xc1\x01" + bytes(buffer)))
        self._channel = token.Parameters.SecurityToken.ChannelId
        self._channel_token = token.Parameters.SecurityToken.TokenId
        self._task = asyncio.create_task(self._receive())

    async def new_session(self) -> None:
        create = ua.CreateSessionRequest()
        create.Parameters.EndpointUrl = f"opc.tcp://127.0.0.1:{self.port}/"
        create.Parameters.RequestedSessionTimeout = self.session_ms
        create.Parameters.ClientNonce = b"\x01" * 32
        created = await self.call(create)
        self.session_id = created.Parameters.SessionId
        self._token = created.Parameters.AuthenticationToken
        await self.activate()

    async def activate(self, user: str = "", password: str = "") -> None:
        """ActivateSession, anonymous or with a password in clear."""
        activate = ua.ActivateSessionRequest()
        token = ua.AnonymousIdentityToken(PolicyId="anonymous")
        if user:
            token = ua.UserNameIdentityToken(PolicyId="username", UserName=user, Password=password.encode())
        activate.Parameters.UserIdentityToken = token
        await self.call(activate)

    def adopt(self, other: WireClient) -> None:
        """Take another connection's session over; `activate` next."""
        self.session_id, self._token = other.session_id, other._token

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()
        await asyncio.sleep(0)

    async def ended(self) -> None:
        """Wait until the server has closed the connection."""
        await asyncio.wait([self._task])

    def post(self, request: Any) -> int:
        self._sequence += 1
        self._request += 1
        request.RequestHeader.AuthenticationToken = self._token
        request.RequestHeader.RequestHandle = self._request
        return self._send(struct_to_binary(request))

    def _send(self, body: bytes) -> int:
        pieces = [body[start : start + 60_000] for start in range(0, len(body), 60_000)]
        for number, piece in enumerate(pieces):
            kind = b"F" if number == len(pieces) - 1 else b"C"
            head = struct.pack("<IIII", self._channel, self._channel_token, self._sequence, self._request)
            self._sequence += number < len(pieces) - 1
            self._writer.write(HEADER.pack(b"MSG", kind, 24 + len(piece)) + head + piece)
        return self._request

    async def call(self, request: Any) -> Any:
        """The response to a request; raises `FaultError` for a ServiceFault."""
        return await self._answer(self.post(request))

    async def status(self, request: Any) -> str:
        """Name of the ServiceResult of a request."""
        try:
            return str((await self.call(request)).ResponseHeader.ServiceResult.name)
        except FaultError as fault:
            return fault.name

    async def raw(self, type_id: int, body: bytes, *, token: Any = None) -> Any:
        """The response to a request given as the number of its binary encoding and the octets after its header."""
        self._sequence += 1
        self._request += 1
        header = ua.RequestHeader(AuthenticationToken=self._token if token is None else token)
        header.RequestHandle = self._request
        head = struct.pack("<BBH", 1, 0, type_id)
        return await self._answer(self._send(head + struct_to_binary(header) + body))

    async def raw_status(self, type_id: int, body: bytes) -> str:
        """Name of the ServiceResult of a raw request."""
        try:
            return str((await self.raw(type_id, body)).ResponseHeader.ServiceResult.name)
        except FaultError as fault:
            return fault.name

    async def _answer(self, number: int) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        return await asyncio.wait_for(future, 40)

    def publish(self, *acknowledge: tuple[int, int], timeout_hint: int = 0) -> int:
        request = ua.PublishRequest()
        request.RequestHeader.TimeoutHint = timeout_hint
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(subscription, sequence) for subscription, sequence in acknowledge
        ]
        number = self.post(request)
        self._publishing.add(number)
        return number

    async def message(self, seconds: float = 20.0) -> Any:
        """Parameters of the next PublishResponse; raises `FaultError` for a ServiceFault."""
        answer = await asyncio.wait_for(self.published.get(), seconds)
        if isinstance(answer, FaultError):
            raise answer
        return answer

    async def news(self, seconds: float = 20.0) -> Any:
        """The next message with notifications; keep-alives are answered with another publish request."""
        while not (message := await self.message(seconds)).NotificationMessage.NotificationData:
            self.publish()
        return message

    async def _frame(self) -> tuple[bytes, bytes, bytes]:
        kind, final, size = HEADER.unpack(await self._reader.readexactly(8))
        return kind, final, await self._reader.readexactly(size - 8)

    async def _receive(self) -> None:
        parts: list[bytes] = []
        while True:
            await self.reading.wait()
            try:
                kind, final, frame = await self._frame()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if kind == b"ERR":
                return
            assert kind == b"MSG", (kind, frame)
            number = struct.unpack_from("<I", frame, 12)[0]
            parts.append(frame[16:])
            if final != b"F":
                continue
            body, parts = b"".join(parts), []
            answer = decode(body)
            if number in self._publishing:
                self._publishing.discard(number)
                self.published.put_nowait(answer if isinstance(answer, FaultError) else answer.Parameters)
            elif number in self._waiting:
                future = self._waiting.pop(number)
                if isinstance(answer, FaultError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)


def decode(body: bytes) -> Any:
    buffer = Buffer(body)
    type_id = nodeid_from_binary(buffer)
    if type_id.Identifier == ua.ObjectIds.ServiceFault_Encoding_DefaultBinary:
        fault = struct_from_binary(ua.ServiceFault, Buffer(body))
        return FaultError(fault.ResponseHeader.ServiceResult.value)
    cls = ua.extension_objects_by_typeid.get(type_id)
    if cls is None:
        name = ua.ObjectIdNames[type_id.Identifier].removesuffix("_Encoding_DefaultBinary")
        cls = getattr(ua, name)
    buffer = Buffer(body)
    answer = struct_from_binary(cls, buffer)
    assert len(buffer) == 0, f"{len(buffer)} octets are left over"
    return answer
