"""One association with a CoAP device: requests with time-outs, observations, nothing lost between socket and caller."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import aiocoap
from aiocoap.pipe import Pipe

from twin_gateway.drivers.contract import Link, LinkLost

from . import dtls
from .oscore import OscoreError, SecurityContext
from .senml import MAX_PAYLOAD
from .transport import Count, Endpoint, Tuning, Wire, open_context, receive_buffer, receive_drops, withdraw

_BLOCK_EXPONENT = 6  # blocks of 1024 octets
_CONTINUE, _TOO_LARGE = 231, 413
_UNAUTHORIZED = aiocoap.Code.UNAUTHORIZED
_PATIENCE, _MANY = 600.0, 30  # seconds and retransmissions: more than any request waits
_CHANGES_ALLOWED = 2  # of a resource while its blocks are fetched, before it counts as an error


@dataclass(frozen=True, slots=True)
class Response:
    """One response or notification.

    Attributes:
        code: the code as CoAP writes it, 205 for 2.05.
        payload: body, blocks put together.
        content_format: number of the option, None without.
        max_age: seconds the device says it stays fresh; None when it says nothing (60 by RFC 7252).
        received: seconds since 1970 UTC.
        clock: `time.monotonic()` of reception.
        observed: the response carries an Observe option: notifications will follow.
    """

    code: int
    payload: bytes
    content_format: int | None
    max_age: int | None
    received: float
    clock: float
    observed: bool

    @property
    def text(self) -> str:
        """The code as people write it, with what an error says of itself."""
        said = f"{self.code // 100}.{self.code % 100:02}"
        if self.good or not self.payload or self.content_format not in (None, 0):
            return said
        diagnosis = self.payload[:80].decode("utf-8", "replace")
        return f"{said} {''.join(each if each.isprintable() else '?' for each in diagnosis)}"

    @property
    def good(self) -> bool:
        """Whether the code is of class 2."""
        return self.code // 100 == 2


Receive = Callable[[Response], None]


class NotSentError(ConnectionError):
    """The request has not left, and will not; the message says why."""


class ChangedMeanwhileError(ValueError):
    """The resource became another one between two of its blocks."""


class Client:
    """An association; open it with `Client.open`, close it with `close`."""

    def __init__(
        self,
        context: aiocoap.Context,
        interface: Any,
        remote: Any,
        *,
        config: Target,
        count: Count,
        protection: SecurityContext | None,
    ) -> None:
        self._context = context
        self._interface = interface
        self._remote = remote
        self.target = config
        self._count = count
        # The library takes a request that ran out of retransmissions for the end of the device; one that sleeps is not.
        patient = (_PATIENCE, _MANY) if config.sleeps else (config.timeout, 4)
        self._tuning = Tuning(config.ack_timeout, *patient)
        self._drops = 0
        self.protection = protection
        self.ordered = config.scheme == "coap+tcp"
        self.heard = time.monotonic()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when the transport says that nobody is there."""

    @staticmethod
    async def open(target: Target, link: Link, protection: SecurityContext | None = None) -> Client:
        """Open the socket of a device. UDP does not tell whether anybody is there, TCP and DTLS do.

        Raises:
            LinkLost: no address, no route, TCP or DTLS was refused, or nobody answered to it.
        """
        wire = Wire(
            target.transport,
            target.receive_buffer,
            link.count,
            link.traffic,
            link.connected,
            target.security,
            target.timeout,
            target.local,
            target.request,
        )
        context = await open_context(wire)
        try:
            probe = aiocoap.Message(code=aiocoap.GET, uri=target.proxy or target.base)
            # DTLS has a time-out of its own, which says more.
            async with asyncio.timeout(target.timeout + (1.0 if target.security is not None else 0.0)):
                interface = await context.find_remote_and_interface(probe)
        except BaseException as error:
            await context.shutdown()
            if isinstance(error, aiocoap.error.Error | OSError | TimeoutError):
                raise LinkLost(f"{target.proxy or target.base}: {say(error)}") from error
            raise
        return Client(context, interface, probe.remote, config=target, count=link.count, protection=protection)

    async def close(self) -> None:
        """Free the socket; pending requests end with LinkLost."""
        self.count_drops()
        if not self.lost.done():
            self.lost.set_result("closed")
        await self._context.shutdown()

    @property
    def receive_buffer(self) -> int:
        """Octets of the receive buffer that the kernel granted; 0 over TCP."""
        return receive_buffer(self._remote)

    def count_drops(self) -> bool:
        """Bring the counter `receive_buffer_drops` up to date; whether there were more."""
        drops = receive_drops(self._remote)
        if drops <= self._drops:
            return False
        self._count("receive_buffer_drops", drops - self._drops)
        self._drops = drops
        return True

    async def get(self, path: str, accept: int | None = None) -> Response:
        """Fetch a resource, all its blocks; from the beginning when it changes meanwhile.

        Raises:
            TimeoutError: no answer within the time-out of the device.
            LinkLost: the transport says that nobody is there.
            ValueError: the body is larger than `MAX_PAYLOAD`, its blocks do not fit, or it changes all the time.
        """
        async with asyncio.timeout(self.target.timeout):
            for _ in range(_CHANGES_ALLOWED):
                first = await self._exchange(self.message(path, accept))
                try:
                    return await self.complete(path, accept, first)
                except ChangedMeanwhileError:
                    self._count("blocks_restarted", 1)
            first = await self._exchange(self.message(path, accept))
            return await self.complete(path, accept, first)

    async def write(
        self,
        path: str,
        payload: bytes,
        content_format: int | None,
        *,
        post: bool = False,
        sent: Callable[[], None] = lambda: None,
        leave_within: float | None = None,
    ) -> Response:
        """PUT or POST a body, in blocks if it is larger than one. Waits as long as its caller lets it.

        Whoever gives up waiting (cancels) has it withdrawn: it is not sent later, or once more.

        Args:
            path: resource, with its query.
            payload: body.
            content_format: number, None without.
            post: POST instead of PUT.
            sent: called when octets leave.
            leave_within: seconds within which the first octets must leave; None for any time.

        Raises:
            NotSentError: other requests were under way for `leave_within` seconds.
            LinkLost: the transport says that nobody is there.
            ValueError: the body is larger than `MAX_PAYLOAD`, or the device does not follow the blocks.
        """
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"the body is larger than {MAX_PAYLOAD} octets")
        exponent, at = _BLOCK_EXPONENT, 0
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def leaves() -> None:
            if not first.done():
                first.set_result(None)
            sent()

        while True:
            size = 16 << exponent
            message = self.message(path)
            message.code = aiocoap.POST if post else aiocoap.PUT
            message.opt.content_format = content_format
            more = at + size < len(payload)
            if more or at:
                message.opt.block1 = (at // size, more, exponent)
                if not at:
                    message.opt.size1 = len(payload)
            message.payload = payload[at : at + size]
            message.transport_tuning = copy.copy(self._tuning)
            message.transport_tuning.left = leaves
            answer = await self._exchange(message, first, leave_within)
            response = response_of(answer, bytes(answer.payload))
            block = answer.opt.block1
            smaller = block is not None and block.size_exponent < exponent
            if response.code == _TOO_LARGE and smaller and not at:
                exponent = block.size_exponent  # RFC 7959 2.9.3: the device wants smaller blocks from the start
                continue
            if response.code != _CONTINUE:
                return response
            if not more or block is None or block.block_number != at // size:
                raise ValueError("the device does not follow the blocks it is sent")
            at += size
            if smaller:
                exponent = block.size_exponent  # what follows is numbered in the smaller size

    async def complete(self, path: str, accept: int | None, first: aiocoap.Message) -> Response:
        """The whole response of a first block; without a Block2 option the response itself. Errors as `get`."""
        body = bytes(first.payload)
        block = first.opt.block2
        if (first.opt.size2 or 0) > MAX_PAYLOAD:
            raise ValueError(f"the body is larger than {MAX_PAYLOAD} octets")
        while block is not None and block.more:
            if len(body) > MAX_PAYLOAD:
                raise ValueError(f"the body is larger than {MAX_PAYLOAD} octets")
            size = min(block.size_exponent, _BLOCK_EXPONENT)
            if len(body) % (16 << size):
                raise ValueError("a block that is not the last has another size than it says")
            ask = self.message(path, accept)
            ask.opt.block2 = (len(body) >> (size + 4), False, size)
            following = await self._exchange(ask)
            block = following.opt.block2
            if int(following.code) >> 5 == 2 and following.opt.etag != first.opt.etag:
                raise ChangedMeanwhileError("the resource changed between two blocks")
            if int(following.code) >> 5 != 2 or block is None or block.start != len(body):
                raise ValueError("the blocks do not follow each other")
            body += following.payload
        return response_of(first, body)

    def message(self, path: str, accept: int | None = None) -> aiocoap.Message:
        """A GET for a path (with query) of the device."""
        message = aiocoap.Message(code=aiocoap.GET, transport_tuning=self._tuning)
        where = urlsplit(self.target.root + path)
        if where.path not in {"", "/"}:
            message.opt.uri_path = [unquote(part) for part in where.path.split("/")[1:]]
        if where.query:
            message.opt.uri_query = [unquote(part) for part in where.query.split("&")]
        if self.target.host_option and self.target.proxy is None:
            message.opt.uri_host = self.target.host_option
        if accept is not None:
            message.opt.accept = accept
        return message

    def send(
        self, message: aiocoap.Message, receive: Callable[[aiocoap.Message | Exception], bool]
    ) -> Callable[[], None]:
        """Send a request; `receive` gets what comes and says whether more is wanted. Returns what ends the interest.

        A device that wants to know that the request is fresh (4.01 with Echo, RFC 9175) is told so once.
        """
        stops: list[Callable[[], None]] = []
        outer = message

        def launch(asking: aiocoap.Message, echo_allowed: bool) -> None:
            nonlocal outer
            outer, bound = self._outer(asking)
            pipe = Pipe(outer, self._context.log)

            def event(happened: Any) -> bool:
                if happened.exception is not None:
                    self._failed(happened.exception)
                    receive(happened.exception)
                    return False
                self.heard = time.monotonic()
                answer = happened.message
                if self.protection is not None:
                    try:
                        answer = self.protection.opened(answer, bound)
                    except OscoreError as error:
                        self._count("oscore_errors", 1)
                        return receive(error) and not happened.is_last
                if echo_allowed and answer.code == _UNAUTHORIZED and answer.opt.echo is not None:
                    self._count("echo_requests", 1)
                    again = asking.copy()
                    again.remote, again.opt.echo = None, answer.opt.echo
                    again.transport_tuning = asking.transport_tuning
                    # In a pass of its own: the token of this exchange is still in use.
                    asyncio.get_running_loop().call_soon(relaunch, again)
                    return False
                return receive(answer) and not happened.is_last

            stops.append(pipe.on_event(event))
            self._interface.request(pipe)
            message.token = outer.token

        def relaunch(again: aiocoap.Message) -> None:
            if stops:
                stops.clear()
                launch(again, False)

        def stop() -> None:
            while stops:
                stops.pop()()
            withdraw(self._interface, outer)

        launch(message, True)
        return stop

    def forget(self, path: str, accept: int | None, token: bytes) -> None:
        """Tell the device that an observation is over: one message, no answer wanted (RFC 7641 3.6)."""
        if self.lost.done():
            return
        message = self.message(path, accept)
        message.opt.observe = 1
        try:
            outer, _ = self._outer(message)
        except OscoreError:
            self._count("oscore_errors", 1)
            return  # the device will find out by its next confirmable notification
        outer.token = token
        outer.mtype = aiocoap.NON
        self._interface.token_interface.send_message(outer, lambda: None)

    def _outer(self, message: aiocoap.Message) -> tuple[aiocoap.Message, Any]:
        """The request as it goes to the socket: protected, addressed through the proxy."""
        outer, bound = message, None
        if self.protection is not None:
            outer, bound = self.protection.protected(message)
            outer.transport_tuning = message.transport_tuning
        outer.remote = self._remote
        if self.target.proxy is not None:
            outer.opt.proxy_scheme = self.target.scheme
            outer.opt.uri_host, outer.opt.uri_port = self.target.host, self.target.port
        return outer, bound

    async def _exchange(
        self, message: aiocoap.Message, leaves: asyncio.Future[None] | None = None, within: float | None = None
    ) -> aiocoap.Message:
        answer: asyncio.Future[aiocoap.Message] = asyncio.get_running_loop().create_future()

        def receive(happened: aiocoap.Message | Exception) -> bool:
            if not answer.done():
                if isinstance(happened, Exception):
                    answer.set_exception(LinkLost(f"{self.target.proxy or self.target.base}: {say(happened)}"))
                else:
                    answer.set_result(happened)
            return False

        stop = self.send(message, receive)
        try:
            if leaves is not None:
                await asyncio.wait((answer, leaves), timeout=within, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done() and not leaves.done():
                    raise NotSentError(f"other requests were under way for {within:g} s")
            return await answer
        finally:
            stop()

    def _failed(self, error: Exception) -> None:
        # One request in trouble (ICMP error, retransmissions used up, TCP gone) says it of the whole device: aiocoap
        # ends every request and observation of it.
        if isinstance(error, aiocoap.error.MessageError):
            return  # a reset concerns one request only
        if not self.lost.done():
            self.lost.set_result(say(error))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a device is and how long it may take.

    Attributes:
        scheme: `coap`, `coap+tcp` or `coaps`.
        base: URI without a path.
        root: path in front of every path, without a trailing slash.
        host_option: host name for the Uri-Host option; empty when the URI has an address.
        timeout: seconds for an answer, all retransmissions and blocks included.
        ack_timeout: seconds to the first retransmission (RFC 7252: 2).
        receive_buffer: octets.
        host, port: of the device, for a proxy.
        proxy: URI of the forward proxy that is asked instead of the device.
        security: what DTLS is protected with.
        local, request: as in `transport.Wire`, for devices that registered in the directory.
        sleeps: a request without an answer does not mean that the device is gone.
    """

    scheme: str
    base: str
    root: str
    host_option: str
    timeout: float
    ack_timeout: float
    receive_buffer: int
    host: str = ""
    port: int | None = None
    proxy: str | None = None
    security: dtls.Security | None = None
    local: Endpoint | None = None
    request: Callable[[bytes, Endpoint, Callable[[bytes], None]], None] | None = None
    sleeps: bool = False

    @property
    def transport(self) -> str:
        """Scheme of the socket that is opened."""
        return "coap" if self.proxy is not None else self.scheme


def response_of(message: aiocoap.Message, body: bytes) -> Response:
    """A message with its whole body as a response received just now.

    Raises:
        ValueError: the body is larger than `MAX_PAYLOAD`.
    """
    if len(body) > MAX_PAYLOAD:
        raise ValueError(f"the body is larger than {MAX_PAYLOAD} octets")
    code = int(message.code)
    form = message.opt.content_format
    return Response(
        code=(code >> 5) * 100 + (code & 0x1F),
        payload=body,
        content_format=None if form is None else int(form),
        max_age=message.opt.max_age,
        received=time.time(),
        clock=time.monotonic(),
        observed=message.opt.observe is not None,
    )


def say(error: BaseException) -> str:
    """What an error says in one sentence."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiocoap.error.NetworkError) and error.__cause__ is not None:
        error = error.__cause__  # what the operating system says; aiocoap's own text says only that it is the network
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
