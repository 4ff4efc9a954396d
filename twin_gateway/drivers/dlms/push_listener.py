"""The sockets on which meters send unasked: one TCP and one UDP socket a process and address, shared by its devices.

Only configured meters are heard. What comes is bounded: connections, octets of an APDU, silence, and nonsense.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.dlms.axdr import read_length
from twin_gateway.drivers.dlms.ciphering import GENERAL_GLO
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError, WrapperError
from twin_gateway.drivers.dlms.notification import parse_notification
from twin_gateway.drivers.dlms.wrapper import Deframer, frame

_log = logging.getLogger(__name__)

CONNECTIONS = 1024
"""TCP connections at a time, over all meters of a listener."""
CONNECTIONS_AN_ADDRESS = 64
APDU_OCTETS = 0x8000
"""Longest APDU taken."""
IDLE_S = 60.0
"""A connection that says nothing for so long is closed."""
STRIKES = 8
"""A connection is closed when so many more messages were taken by nobody than by anybody."""
_NAME_AMONG = 8
"""The logical device name is one of so many first values that are sent."""
STRANGERS = 100
"""Unknown senders that are told by name; of further ones only their number is known."""


Sender = bytes | tuple[str, int]
"""Who sends: a system title, or address and logical device (-1 where a connection alone is known)."""


class Heard(Protocol):
    """A device that listens."""

    def take(self, apdu: bytes, flow: Flow, framed: bytes) -> bool:
        """An APDU that was addressed to this device, ciphered or not; False when it was refused."""
        ...

    def stranger(self, text: str) -> None:
        """Tells of a sender that nobody knows."""
        ...

    def met(self, who: Sender, address: str) -> None:
        """Lists a sender that nobody knows, each time."""
        ...

    def acquainted(self, who: Sender) -> None:
        """A sender is known from here on."""
        ...

    def refused(self, reason: str) -> None:
        """Counts what came to the listener and could be given to no device."""
        ...


class PushListener:
    """One address and port where meters send to."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._by_title: dict[bytes, Heard] = {}
        self._by_address: dict[tuple[str, int], Heard] = {}
        self._by_name: dict[bytes, Heard] = {}
        self._hosts: frozenset[str] = frozenset()
        self._members: dict[int, Heard] = {}
        self._listing: dict[int, Heard] = {}
        self._strangers: set[str] = set()
        self._senders: Counter[str] = Counter()
        self._connections: set[_Sender] = set()
        self._server: asyncio.Server | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._opening = asyncio.Lock()

    # --- members -------------------------------------------------------------------------------------------------

    async def join(self, member: Heard) -> None:
        """A device begins to listen; the first one opens the sockets.

        Raises:
            OSError: the port cannot be had.
        """
        self._members[id(member)] = member
        try:
            async with self._opening:
                if self._server is None:
                    await self._open()
        except BaseException:
            self.leave(member)
            raise

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Sender(self), self.host, self.port, backlog=256)
        try:
            port = server.sockets[0].getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self.host, port))
        except BaseException:
            server.close()
            raise
        self._server, self._datagrams = server, transport
        _log.info("meters may push to %s port %d, TCP and UDP", self.host, port)

    def know(
        self, member: Heard, *, title: bytes = b"", address: tuple[str, int] | None = None, name: bytes = b""
    ) -> None:
        """How a member is recognised from here on; the last one to claim something has it."""
        if id(member) not in self._members:
            return
        for each in self._listing.values():
            for who in (title or None, address, (address[0], -1) if address is not None else None):
                if who is not None:
                    each.acquainted(who)
        if title:
            self._by_title[title] = member
        if address is not None:
            self._by_address[address] = member
            if address[0] not in self._hosts:
                self._hosts |= {address[0]}
        if name:
            self._by_name[name] = member

    def leave(self, member: Heard) -> None:
        """A device listens no more; with the last one the sockets are closed."""
        self._members.pop(id(member), None)
        self._listing.pop(id(member), None)
        self._by_title = {key: known for key, known in self._by_title.items() if known is not member}
        self._by_address = {key: known for key, known in self._by_address.items() if known is not member}
        self._by_name = {key: known for key, known in self._by_name.items() if known is not member}
        self._hosts = frozenset(host for host, _ in self._by_address)
        if not self._members:
            self._close()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        for sender in list(self._connections):
            sender.end()

    # --- what comes ----------------------------------------------------------------------------------------------

    def admit(self, sender: _Sender, address: str) -> bool:
        """Whether a connection may stay."""
        if len(self._connections) >= CONNECTIONS or self._senders[address] >= CONNECTIONS_AN_ADDRESS:
            self.refuse("connections")
            return False
        if address not in self._hosts and not self._by_title and not self._by_name:
            self._stranger(f"address {address}", (address, -1), address)
            return False
        self._connections.add(sender)
        self._senders[address] += 1
        return True

    def gone(self, sender: _Sender, address: str) -> None:
        """A connection that was admitted has ended."""
        if sender in self._connections:
            self._connections.discard(sender)
            self._senders[address] -= 1
            if self._senders[address] <= 0:
                del self._senders[address]

    def dispatch(self, source: int, destination: int, apdu: bytes, flow: Flow) -> bool:
        """Hands an APDU to the device it comes from; whether it was taken."""
        address = flow.remote[0]
        try:
            member, who, sender = self._member(source, apdu, address)
        except DlmsError:
            self.refuse("malformed")
            return False
        if member is None:
            self._stranger(who, sender, address)
            return False
        return member.take(apdu, flow, frame(source, destination, apdu))

    def _member(self, source: int, apdu: bytes, address: str) -> tuple[Heard | None, str, Sender]:
        if apdu[0] == GENERAL_GLO:
            length, at = read_length(apdu, 1)
            title = apdu[at : at + length]
            if length != 8 or len(title) != 8:
                raise MalformedApduError("general-glo without a system title")
            return self._by_title.get(title), f"system title {title.hex()} at {address}", title
        if self._by_name:
            body = parse_notification(apdu).body
            for value in body[:_NAME_AMONG] if isinstance(body, list) else ():
                if isinstance(value, bytes) and value in self._by_name:
                    return self._by_name[value], "", value
        sender = (address, source)
        return self._by_address.get(sender), f"logical device {source} at {address}", sender

    def refuse(self, reason: str) -> None:
        """Counts something that is not taken, at the first of the devices: the listener has no link of its own."""
        if self._members:
            next(iter(self._members.values())).refused(reason)

    def _stranger(self, who: str, sender: Sender, address: str) -> None:
        self.refuse("strangers")
        if self._members:
            key, member = next(iter(self._members.items()))
            self._listing[key] = member
            member.met(sender, address)
        if who in self._strangers or len(self._strangers) >= STRANGERS or not self._members:
            return
        self._strangers.add(who)
        next(iter(self._members.values())).stranger(who)


def _endpoint(name: tuple[str, int]) -> tuple[str, int]:
    """Address and port of a socket; an IPv4 address is itself also on a socket of IPv6."""
    host, port = name[:2]
    return str(host).removeprefix("::ffff:"), int(port)


class _Sender(asyncio.Protocol):
    """One TCP connection of a meter or concentrator."""

    def __init__(self, listener: PushListener) -> None:
        self._listener = listener
        self._deframer = Deframer(APDU_OCTETS)
        self._transport: asyncio.Transport | None = None
        self._flow = Flow(Carrier.TCP, ("", 0), ("", 0))
        self._idle: asyncio.TimerHandle | None = None
        self._strikes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        remote = _endpoint(transport.get_extra_info("peername"))
        self._flow = Flow(Carrier.TCP, _endpoint(transport.get_extra_info("sockname")), remote)
        if not self._listener.admit(self, remote[0]):
            self.end()
            return
        self._listen()

    def _listen(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.end)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            apdus = self._deframer.feed(data)
        except WrapperError:
            self._listener.refuse("malformed")
            self.end()
            return
        if apdus:
            # Half a message does not keep a connection: octets that trickle in are no sign of life.
            self._listen()
        for source, destination, apdu in apdus:
            if not self._listener.dispatch(source, destination, apdu, self._flow):
                self._strikes += 1
                if self._strikes >= STRIKES:
                    self.end()
                    return
            elif self._strikes:
                # A concentrator brings what is for us beside what is not.
                self._strikes -= 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._listener.gone(self, self._flow.remote[0])

    def end(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP socket; every datagram is one wrapped APDU."""

    def __init__(self, listener: PushListener) -> None:
        self._listener = listener
        self._local = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._local = _endpoint(transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            apdus = Deframer(APDU_OCTETS).feed(data)
        except WrapperError:
            self._listener.refuse("malformed")
            return
        for source, destination, apdu in apdus:
            self._listener.dispatch(source, destination, apdu, Flow(Carrier.UDP, self._local, _endpoint(addr)))


_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], PushListener]] = WeakKeyDictionary()


def listener_at(host: str, port: int) -> PushListener:
    """The listener of this event loop at an address; port 0 is a new one each time."""
    listeners = _listeners.setdefault(asyncio.get_running_loop(), {})
    found = listeners.get((host, port))
    if found is None or not port:
        found = PushListener(host, port)
        if port:
            listeners[host, port] = found
    return found
