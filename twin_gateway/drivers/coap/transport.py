"""Sockets under aiocoap: one connected UDP socket a device with a sized receive buffer, or TCP.

aiocoap's default transport goes deaf under uvloop after the first ICMP error. Its `simple6` transport does not; this
is that transport with three things added: the receive buffer is sized (a burst of 1 000 notifications overflows the
kernel's default of 208 KiB), two requests at once do not open two sockets, and what arrives damaged is counted.

The kernel caps the buffer at `net.core.rmem_max`; the effective size is the counter `receive_buffer_octets`. Datagrams
that the kernel dropped all the same are the counter `receive_buffer_drops` of the link; the host's total over all
sockets is `RcvbufErrors` in /proc/net/snmp.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import aiocoap
from aiocoap.transports.simple6 import MessageInterfaceSimple6, _Connection, _DatagramClientSocketpoolSimple6

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Receive buffer asked for, octets."""

_SO_MEMINFO = 55  # Linux: nine counters of the socket, the last one counts drops
_MEMINFO_WORDS = 9
_log = logging.getLogger(__name__)

Count = Callable[[str, int], None]


class NotInstalled(ConnectionError):  # noqa: N818 - says what is the matter, like LinkLost
    """The transport of the URI needs a package that is not installed; the message says which."""


def transport_of(scheme: str) -> str:
    """Name that aiocoap has for the transport for a URI scheme.

    Raises:
        NotInstalled: for `coaps` without the DTLS package.
        ValueError: for any other scheme.
    """
    if scheme == "coap":
        return "simple6"
    if scheme == "coap+tcp":
        return "tcpclient"
    if scheme == "coaps":
        if importlib.util.find_spec("DTLSSocket") is None:
            raise NotInstalled("coaps needs the package DTLSSocket, which is not installed: pip install DTLSSocket")
        return "tinydtls"
    raise ValueError(f"scheme {scheme!r} is none of coap, coap+tcp, coaps")


async def open_context(scheme: str, buffer: int, count: Count) -> aiocoap.Context:
    """An aiocoap client context with exactly one transport; close it with `shutdown()`.

    Args:
        scheme: `coap`, `coap+tcp` or `coaps`.
        buffer: octets asked for, of UDP sockets.
        count: called with counter name and increment.

    Raises:
        NotInstalled, ValueError: as `transport_of`.
    """
    transport = transport_of(scheme)
    if transport != "simple6":
        return await aiocoap.Context.create_client_context(transports=[transport])
    context = aiocoap.Context(loop=asyncio.get_running_loop(), serversite=None)

    async def endpoint(messages: Any) -> _Interface:
        return _Interface(messages, context.log, context.loop, buffer, count)

    await context._append_tokenmanaged_messagemanaged_transport(endpoint)
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


class _Peer(_Connection):  # type: ignore[misc]  # aiocoap has no types
    """The socket of one device."""

    sock: socket.socket

    def connection_lost(self, exception: Exception | None) -> None:
        if exception is not None:
            self._message_interface._received_exception(self, exception)


class _Pool(_DatagramClientSocketpoolSimple6):  # type: ignore[misc]  # aiocoap has no types
    """The sockets of a context; one, as a context serves one device."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interface: _Interface, buffer: int) -> None:
        super().__init__(loop, interface)
        self._opening = asyncio.Lock()
        self._buffer = buffer

    async def connect(self, sockaddr: tuple[str, int]) -> _Peer:
        async with self._opening:
            known = self._sockets.get(sockaddr)
            if known is not None:
                return known  # type: ignore[no-any-return]  # aiocoap has no types
            await self._maybe_purge_sockets()
            peer = await self._open(sockaddr)
            self._sockets[sockaddr] = peer
            return peer

    async def _open(self, sockaddr: tuple[str, int]) -> _Peer:
        try:
            found = await self._loop.getaddrinfo(*sockaddr, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise aiocoap.error.ResolutionError(f"no address known for {sockaddr[0]}") from error
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            sock.connect(address)
            ready = self._loop.create_future()
            _, peer = await self._loop.create_datagram_endpoint(
                lambda: _Peer(lambda: ready.set_result(None), self._message_interface, sockaddr), sock=sock
            )
        except OSError as error:
            sock.close()
            raise aiocoap.error.NetworkError(f"no socket to {sockaddr[0]}: {error}") from error
        except BaseException:
            sock.close()
            raise
        await ready
        peer.sock = sock
        return peer  # type: ignore[no-any-return]  # aiocoap has no types


class _Interface(MessageInterfaceSimple6):  # type: ignore[misc]  # aiocoap has no types
    def __init__(self, messages: Any, log: Any, loop: Any, buffer: int, count: Count) -> None:
        super().__init__(messages, log, loop)
        self._count = count
        self._pool = _Pool(loop, self, buffer)

    def _received_datagram(self, address: _Peer, datagram: bytes) -> None:
        if self._mman is None:
            return
        try:
            message = aiocoap.Message.decode(datagram, remote=address)
            if message.code.is_request():
                # We are no server; aiocoap would remember every one of them for four minutes.
                self._count("requests_ignored", 1)
                return
            self._mman.dispatch_message(message)
        except Exception as error:  # the decoder raises whatever the damage leads to; one datagram must cost one count
            self._count("malformed_datagrams", 1)
            _log.debug("datagram of %s cannot be used: %r", address.hostinfo, error)

    def _received_exception(self, address: _Peer, exception: Exception) -> None:
        if self._mman is not None:
            super()._received_exception(address, exception)
