"""Sockets under aiocoap: one connected UDP socket a device with a sized receive buffer, plain or in DTLS, or TCP.

aiocoap's default transport goes deaf under uvloop after the first ICMP error. Its `simple6` transport does not; this
is that transport with some things added: the receive buffer is sized (a burst of 1 000 notifications overflows the
kernel's default of 208 KiB), two requests at once do not open two sockets, what arrives damaged is counted, all octets
are shown to the link, and DTLS.

The kernel caps the buffer at `net.core.rmem_max`; the effective size is the counter `receive_buffer_octets`. Datagrams
that the kernel dropped all the same are the counter `receive_buffer_drops` of the link; the host's total over all
sockets is `RcvbufErrors` in /proc/net/snmp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiocoap
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.constants import TransportTuning
from aiocoap.transports.simple6 import MessageInterfaceSimple6, _Connection, _DatagramClientSocketpoolSimple6
from aiocoap.transports.tcp import TCPClient, TcpConnection

from twin_gateway.drivers.capture import Carrier, Flow

from . import dtls

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Receive buffer asked for, octets."""

_SO_MEMINFO = 55  # Linux: nine counters of the socket, the last one counts drops
_MEMINFO_WORDS = 9
_COAPS_PORT = 5684
_MOST_UNREAD = 4 * 1024 * 1024  # octets that a device may leave unread in a TCP connection
_log = logging.getLogger(__name__)

Count = Callable[[str, int], None]
Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Wire:
    """How a device is reached, and who looks on.

    Attributes:
        scheme: `coap`, `coap+tcp` or `coaps`.
        buffer: octets asked for, of UDP sockets.
        count: called with counter name and increment.
        traffic: called with "sent" and octets, once a datagram or once a read or write.
        connected: called with the addresses of a new socket.
        security: what DTLS is protected with.
        timeout: seconds for a DTLS handshake.
        local: address to send from, where that matters: the directory's, which the device registered at.
        request: what to do with a request that the device sends, and an answer by; without it they are ignored.
    """

    scheme: str
    buffer: int
    count: Count
    traffic: Callable[[bool, bytes], None]
    connected: Callable[[Flow], None]
    security: dtls.Security | None = None
    timeout: float = 10.0
    local: Endpoint | None = None
    request: Callable[[bytes, Endpoint, Callable[[bytes], None]], None] | None = None


async def open_context(wire: Wire) -> aiocoap.Context:
    """An aiocoap client context with exactly one transport; close it with `shutdown()`."""
    context = aiocoap.Context(loop=asyncio.get_running_loop(), serversite=None)
    if wire.scheme == "coap+tcp":

        async def stream(tokens: Any) -> _Stream:
            return _Stream(tokens, context.log, context.loop, wire)

        await context._append_tokenmanaged_transport(stream)
        return context

    async def datagrams(messages: Any) -> _Interface:
        return _Interface(messages, context.log, context.loop, wire)

    await context._append_tokenmanaged_messagemanaged_transport(datagrams)
    return context


def receive_buffer(remote: object) -> int:
    """Octets of a device's receive buffer as the kernel granted them; 0 where there is no such socket."""
    sock = getattr(remote, "sock", None)
    # Linux tells twice the usable size: the other half is its own bookkeeping.
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 if sock is not None else 0


def receive_drops(remote: object) -> int:
    """Datagrams that the kernel dropped at a device's socket because its buffer was full; 0 where it cannot tell."""
    sock = getattr(remote, "sock", None)
    if sock is None or sys.platform != "linux" or sock.fileno() < 0:
        return 0
    raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
    return int(struct.unpack(f"={len(raw) // 4}I", raw)[-1]) if len(raw) == 4 * _MEMINFO_WORDS else 0


class Tuning(TransportTuning):  # type: ignore[misc]  # aiocoap has no types
    """How a request is repeated, and who wants to know that it leaves.

    Attributes:
        left: called when the request is about to leave for the first time or once more; None when nobody asks.
    """

    left: Callable[[], None] | None = None

    def __init__(self, ack_timeout: float, timeout: float, most: int = 4) -> None:
        """So many retransmissions as begin within `timeout` seconds, at most `most` (RFC 7252: 4)."""
        super().__init__()
        self.ACK_TIMEOUT = ack_timeout
        for number in range(most + 1):
            if ack_timeout * (2**number - 1) < timeout:
                self.MAX_RETRANSMIT = number


def withdraw(tokens: Any, message: aiocoap.Message) -> None:
    """Nobody waits for the answer of a request any more: it leaves the queue, or is not sent once more.

    The library has no call for it, and with it what waits behind (NSTART = 1) would wait for a dead exchange.
    """
    messages = tokens.token_interface
    if not isinstance(messages, MessageManager):
        return  # TCP has sent it, once
    backlog = messages._backlogs.get(message.remote, [])
    backlog[:] = [waiting for waiting in backlog if waiting[0] is not message]
    exchange = (messages._active_exchanges or {}).pop((message.remote, message.mid), None)
    if exchange is not None:
        exchange[1].cancel()
        messages._continue_backlog(message.remote)


def _leaves(message: aiocoap.Message) -> None:
    told = getattr(message.transport_tuning, "left", None)
    if told is not None:
        told()


class _Peer(_Connection):  # type: ignore[misc]  # aiocoap has no types
    """The socket of one device."""

    sock: socket.socket
    traffic: Callable[[bool, bytes], None]

    def send(self, data: bytes) -> None:
        self.traffic(True, data)
        self._transport.sendto(data, None)

    def connection_lost(self, exception: Exception | None) -> None:
        if exception is not None:
            self._message_interface._received_exception(self, exception)

    async def established(self, _within: float) -> None:
        """Return when messages can be sent."""


class _SecurePeer(_Peer):
    """The socket of one device with DTLS in between."""

    scheme = "coaps"
    uri_base = property(lambda self: "coaps://" + self.hostinfo)

    def __init__(self, session: dtls.Session, ready: Callable[[], None], interface: Any, address: Endpoint) -> None:
        super().__init__(ready, interface, address)
        self.session = session
        self._timer: asyncio.TimerHandle | None = None
        self._agreed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def established(self, within: float) -> None:
        try:
            self.session.start()
            self._flush()
            async with asyncio.timeout(within):
                await self._agreed
        except TimeoutError:
            text = f"no DTLS handshake within {within:g} s: nobody is there, or the key or its identity is wrong"
            raise dtls.DtlsError(text) from None

    def send(self, data: bytes) -> None:
        self.traffic(True, data)
        try:
            self.session.send(data)
        except dtls.DtlsError as error:
            self._ended(error)
            return
        self._flush()

    def datagram_received(self, data: bytes, _address: Any) -> None:
        try:
            inside = self.session.receive(data)
        except dtls.DtlsError as error:
            self._flush()  # an alert tells the other side why
            self._ended(error)
            return
        self._flush()
        if self.session.established and not self._agreed.done():
            self._agreed.set_result(None)
        for message in inside:
            self._message_interface._received_datagram(self, message)

    def error_received(self, exception: Exception) -> None:
        self._ended(exception)

    async def shutdown(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.session.close()
        self._flush()
        if not self._agreed.done():
            self._agreed.cancel()
        await super().shutdown()

    def _flush(self) -> None:
        for datagram in self.session.outgoing():
            self._transport.sendto(datagram, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self.session.wait()
        if wait is not None and not self._agreed.done():
            self._timer = asyncio.get_running_loop().call_later(wait, self._late)

    def _late(self) -> None:
        self._timer = None
        try:
            self.session.late()
        except dtls.DtlsError as error:
            self._ended(error)
            return
        self._flush()

    def _ended(self, error: Exception) -> None:
        if not self._agreed.done():
            self._agreed.set_exception(error)
            return
        self._message_interface._received_exception(self, error)


class _Pool(_DatagramClientSocketpoolSimple6):  # type: ignore[misc]  # aiocoap has no types
    """The sockets of a context; one, as a context serves one device."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interface: _Interface, wire: Wire) -> None:
        super().__init__(loop, interface)
        self._opening = asyncio.Lock()
        self._wire = wire

    async def connect(self, sockaddr: Endpoint) -> _Peer:
        async with self._opening:
            known = self._sockets.get(sockaddr)
            if known is not None:
                return known  # type: ignore[no-any-return]  # aiocoap has no types
            await self._maybe_purge_sockets()
            peer = await self._open(sockaddr)
            self._sockets[sockaddr] = peer
            return peer

    async def _open(self, sockaddr: Endpoint) -> _Peer:
        wire = self._wire
        session = None if wire.security is None else await asyncio.to_thread(dtls.Session, wire.security)
        try:
            found = await self._loop.getaddrinfo(*sockaddr, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise aiocoap.error.ResolutionError(f"no address known for {sockaddr[0]}") from error
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wire.buffer)
            if wire.local is not None:
                # Beside the directory's own socket: the kernel gives what this device sends to the connected one.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(wire.local)
            sock.connect(address)
            if wire.local is not None:
                # What came before it was connected may be another device's; whoever sent it will repeat it.
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.recv(1)
            wire.connected(Flow(Carrier.UDP, sock.getsockname()[:2], sock.getpeername()[:2]))
            ready = self._loop.create_future()
            kind_of_peer = _Peer if session is None else partial(_SecurePeer, session)
            _, peer = await self._loop.create_datagram_endpoint(
                lambda: kind_of_peer(lambda: ready.set_result(None), self._message_interface, sockaddr), sock=sock
            )
        except OSError as error:
            sock.close()
            raise aiocoap.error.NetworkError(f"no socket to {sockaddr[0]}: {error}") from error
        except BaseException:
            sock.close()
            raise
        await ready
        peer.sock = sock
        peer.traffic = wire.traffic
        try:
            await peer.established(wire.timeout)
        except BaseException:
            await peer.shutdown()
            raise
        return peer  # type: ignore[no-any-return]  # aiocoap has no types


class _Interface(MessageInterfaceSimple6):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self, messages: Any, log: Any, loop: Any, wire: Wire) -> None:
        super().__init__(messages, log, loop)
        self._wire = wire
        self._count = wire.count
        self._traffic = wire.traffic
        self._pool = _Pool(loop, self, wire)

    async def determine_remote(self, request: Any) -> Any:
        if request.requested_scheme not in (self._wire.scheme, None):
            return None
        if self._wire.scheme == "coap":
            return await super().determine_remote(request)
        if request.unresolved_remote is None:
            raise ValueError("the request names no host")
        host, port = aiocoap.util.hostportsplit(request.unresolved_remote)
        return await self._pool.connect((host, port or _COAPS_PORT))

    def send(self, message: aiocoap.Message) -> None:
        _leaves(message)
        super().send(message)

    def _received_datagram(self, address: _Peer, datagram: bytes) -> None:
        if self._mman is None or not datagram:
            return
        self._traffic(False, datagram)
        try:
            message = aiocoap.Message.decode(datagram, remote=address)
            if message.code.is_request():
                self._requested(address, datagram)
                return
            self._mman.dispatch_message(message)
        except Exception as error:  # the decoder raises whatever the damage leads to; one datagram must cost one count
            self._count("malformed_datagrams", 1)
            _log.debug("datagram of %s cannot be used: %r", address.hostinfo, error)

    def _requested(self, address: _Peer, datagram: bytes) -> None:
        if self._wire.request is None:
            # We are no server; aiocoap would remember every one of them for four minutes.
            self._count("requests_ignored", 1)
            return
        self._wire.request(datagram, address.sock.getpeername()[:2], address.send)

    def _received_exception(self, address: _Peer, exception: Exception) -> None:
        if self._mman is not None:
            super()._received_exception(address, exception)


class _StreamPeer(TcpConnection):  # type: ignore[misc]  # aiocoap has no types
    """A TCP connection that shows what it reads and writes."""

    wire: Wire

    def connection_made(self, transport: Any) -> None:
        ends = [transport.get_extra_info(name) for name in ("sockname", "peername")]
        if all(ends):
            self.wire.connected(Flow(Carrier.TCP, ends[0][:2], ends[1][:2]))
        super().connection_made(_Shown(transport, self.wire))

    def data_received(self, data: bytes) -> None:
        self.wire.traffic(False, data)
        try:
            super().data_received(data)
        except Exception as error:  # as for datagrams; what follows in the stream cannot be trusted any more
            self.wire.count("malformed_datagrams", 1)
            _log.debug("stream of %s cannot be used: %r", self.hostinfo, error)
            self.abort("Failed to parse message")
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:
            self._transport.abort()  # it asks (pings) and does not read the answers


class _Shown:
    """A transport whose writes are shown."""

    def __init__(self, transport: Any, wire: Wire) -> None:
        self._transport = transport
        self._wire = wire

    def write(self, data: bytes) -> None:
        """Write octets."""
        self._wire.traffic(True, data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Stream(TCPClient):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self, tokens: Any, log: Any, loop: Any, wire: Wire) -> None:
        super().__init__()
        self._tokenmanager = tokens
        self.log = log
        self.loop = loop
        self.credentials = None
        self._wire = wire

    def send_message(self, message: aiocoap.Message, messageerror_monitor: Any) -> None:
        _leaves(message)
        super().send_message(message, messageerror_monitor)

    def _dispatch_incoming(self, connection: Any, message: aiocoap.Message) -> None:
        if message.code.is_request():
            self._wire.count("requests_ignored", 1)
        elif self._tokenmanager is not None:  # nobody waits for what comes while we close
            super()._dispatch_incoming(connection, message)

    def _dispatch_error(self, connection: Any, error: Exception | None) -> None:
        if error is None and self._tokenmanager is not None:
            error = ConnectionResetError("the device closed the connection")
        super()._dispatch_error(connection, error)

    async def _spawn_protocol(self, message: Any) -> Any:
        host, port = aiocoap.util.hostportsplit(message.unresolved_remote)
        key = (host, port or self._default_port)
        if key not in self._pool:

            def made() -> _StreamPeer:
                peer = _StreamPeer(self, self.log, self.loop, is_server=False)
                peer.wire = self._wire
                return peer

            try:
                _, self._pool[key] = await self.loop.create_connection(made, *key)
            except socket.gaierror as error:
                raise aiocoap.error.ResolutionError(f"no address known for {host}") from error
            except OSError as error:
                raise aiocoap.error.NetworkError(f"Connection failed to {host!r}") from error
        return self._pool[key]
