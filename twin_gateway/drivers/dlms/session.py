"""One TCP connection to one logical device: sends the steps of an association and waits for what comes back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar, cast

from twin_gateway.drivers.dlms.association import Association
from twin_gateway.drivers.dlms.counters import StoredCounter
from twin_gateway.drivers.dlms.errors import DlmsError, WrapperError
from twin_gateway.drivers.dlms.pace import Pace
from twin_gateway.drivers.dlms.wrapper import Deframer, frame

T = TypeVar("T")

_KEPT_APDUS = 4
"""Unread APDUs kept between two waits: a notification and the reply it overtook; more is dropped and counted."""
_RELEASE_TIMEOUT = 1.0


class SessionClosedError(ConnectionError):
    """The connection ended; the message says how."""


class ReplyTimeoutError(TimeoutError):
    """The meter did not answer in time; whether it acted on the request is unknown."""


class _Wire(asyncio.Protocol):
    """Receives and cuts the stream; keeps at most a few APDUs."""

    def __init__(self, client: int, server: int) -> None:
        self._client = client
        self._server = server
        self._deframer = Deframer()
        self._apdus: deque[bytes] = deque()
        self._waiter: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dropped = 0
        self.misaddressed = 0
        self.reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        # No isinstance: uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hands complete APDUs to whoever waits."""
        try:
            apdus = self._deframer.feed(data)
        except WrapperError as error:
            self.reason = str(error)
            if self.transport is not None:
                self.transport.abort()
            return
        for source, destination, apdu in apdus:
            if source != self._server or destination != self._client:
                self.misaddressed += 1
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(apdu)
            elif len(self._apdus) < _KEPT_APDUS:
                self._apdus.append(apdu)
            else:
                self.dropped += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the waiter and tells everybody."""
        self.reason = self.reason or (f"connection lost: {exc}" if exc else "the meter closed the connection")
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(SessionClosedError(self.reason))
        if not self.closed.done():
            self.closed.set_result(None)

    def forget(self) -> None:
        """Drops what arrived unasked before a new request goes out."""
        self.dropped += len(self._apdus)
        self._apdus.clear()

    def send(self, apdu: bytes) -> None:
        """Sends one APDU."""
        if self.transport is None or self.closed.done() or self.transport.is_closing():
            raise SessionClosedError(self.reason or "the connection is closed")
        self.transport.write(frame(self._client, self._server, apdu))

    async def receive(self, within: float) -> bytes:
        """The next APDU for us.

        Raises:
            SessionClosedError: the connection ended first.
            ReplyTimeoutError: nothing came within so many seconds.
        """
        if self._apdus:
            return self._apdus.popleft()
        if self.closed.done():
            raise SessionClosedError(self.reason)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within):
                return await self._waiter
        except TimeoutError as error:
            raise ReplyTimeoutError(f"no answer within {within:g} s") from error
        finally:
            self._waiter = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a logical device is: host and port, our client SAP, its wPort."""

    host: str
    port: int
    client: int
    server: int


@dataclass(slots=True)
class Progress:
    """How far an exchange got: whether a frame of it has left."""

    sent: bool = False


class Session:
    """An open connection with its association; one exchange at a time.

    Attributes:
        association: the client's side; call its services through `do`.
        last_exchange: loop time of the last reply, seconds.
    """

    def __init__(self, wire: _Wire, association: Association, pace: Pace, answer_within: float) -> None:
        self._wire = wire
        self.association = association
        self._pace = pace
        self._answer_within = answer_within
        self._turn = asyncio.Lock()
        counter = association.ciphering.counter if association.ciphering else None
        self._counter = counter if isinstance(counter, StoredCounter) else None
        self.last_exchange = 0.0

    @classmethod
    async def connect(cls, peer: Peer, association: Association, *, pace: Pace, answer_within: float) -> Session:
        """Connects and associates.

        Args:
            peer: where to.
            association: a fresh one.
            pace: of the host.
            answer_within: seconds that the connection and each reply may take.

        Raises:
            OSError: no connection (also SessionClosedError, ReplyTimeoutError).
            DlmsError: the meter refused or answered nonsense.
        """
        loop = asyncio.get_running_loop()
        async with pace:
            try:
                async with asyncio.timeout(answer_within):
                    _, wire = await loop.create_connection(
                        lambda: _Wire(peer.client, peer.server), peer.host, peer.port
                    )
            except TimeoutError as error:
                text = f"no connection to {peer.host}:{peer.port} within {answer_within:g} s"
                raise ReplyTimeoutError(text) from error
        session = cls(wire, association, pace, answer_within)
        try:
            await session.do(association.open())
        except BaseException:
            session.abort()
            raise
        return session

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""
        return self._wire.closed

    @property
    def reason(self) -> str:
        """Why the connection ended."""
        return self._wire.reason

    @property
    def oddities(self) -> dict[str, int]:
        """Counts of what was survivable: trailing octets, stale replies, dropped and misaddressed APDUs."""
        seen = self.association.counters
        return {
            "trailing_octets": seen.trailing_octets,
            "stale_replies": seen.stale_replies,
            "notifications": seen.notifications,
            "list_fallbacks": seen.list_fallbacks,
            "dropped_apdus": self._wire.dropped,
            "misaddressed_apdus": self._wire.misaddressed,
        }

    async def do(
        self,
        steps: Generator[bytes, bytes, T],
        *,
        within: float = 0.0,
        command: Progress | None = None,
        turn: float | None = None,
    ) -> T:
        """Carries out one service of the association.

        Args:
            steps: from a method of `association`.
            within: seconds to wait for each reply; the session's own unless given.
            command: given for a command: it does not wait for its turn at the host, and learns whether it has left.
            turn: seconds to wait for the exchange under way; without limit unless given.

        Raises:
            TimeoutError: the turn did not come in time; nothing was sent.
            SessionClosedError: the connection ended.
            ReplyTimeoutError: no answer. The session is then closed: a late answer could be taken for another.
            DlmsError: what the service raises.
        """
        try:
            async with asyncio.timeout(turn):
                await self._turn.acquire()
        except BaseException:
            steps.close()
            raise
        try:
            if command is not None:
                return await self._run(steps, within or self._answer_within, command)
            async with self._pace:
                return await self._run(steps, within or self._answer_within, Progress())
        finally:
            self._turn.release()

    async def _run(self, steps: Generator[bytes, bytes, T], within: float, progress: Progress) -> T:
        wire = self._wire
        wire.forget()
        try:
            if self._counter is not None and self._counter.short:
                await self._counter.ensure()
            apdu = next(steps)
            while True:
                if apdu:
                    wire.send(apdu)
                    progress.sent = True
                reply = await wire.receive(within)
                if self._counter is not None and self._counter.short:
                    await self._counter.ensure()
                apdu = steps.send(reply)
        except StopIteration as done:
            self.last_exchange = asyncio.get_running_loop().time()
            value: T = done.value
            return value
        except (ReplyTimeoutError, asyncio.CancelledError):
            self.abort()
            raise
        finally:
            steps.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._wire.transport is not None:
            self._wire.transport.abort()

    async def close(self) -> None:
        """Releases the association if the meter still listens, and ends the connection."""
        transport = self._wire.transport
        try:
            if not self._wire.closed.done() and not self._turn.locked():
                await self.do(self.association.release(), within=_RELEASE_TIMEOUT, command=Progress())
        except (OSError, DlmsError):
            # It ends either way; the meter drops the association with the connection.
            pass
        finally:
            if transport is not None:
                transport.abort()
