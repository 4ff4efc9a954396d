"""One TCP connection to one logical device: sends the steps of an association and waits for what comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

from twin_gateway.drivers.dlms.association import Association
from twin_gateway.drivers.dlms.block_transfer import PASSED, Steps
from twin_gateway.drivers.dlms.counters import StoredCounter
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.hdlc import Address, Parameters
from twin_gateway.drivers.dlms.hdlc_line import HdlcLine
from twin_gateway.drivers.dlms.pace import Pace
from twin_gateway.drivers.dlms.wire import Notes, ReplyTimeoutError, SessionClosedError, Wire
from twin_gateway.drivers.dlms.wrapper import WrapperLine

__all__ = ["Framing", "Peer", "Progress", "ReplyTimeoutError", "Session", "SessionClosedError"]

T = TypeVar("T")

_RELEASE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class Framing:
    """HDLC instead of the wrapper.

    Attributes:
        server: HDLC address of the meter.
        proposed: frame lengths and windows of our SNRM.
        retries: how often a silent meter is asked again.
        retry_after: seconds of silence before each of them.
    """

    server: Address
    proposed: Parameters = field(default_factory=Parameters)
    retries: int = 3
    retry_after: float = 2.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a logical device is: host and port, our client SAP, its wPort; HDLC where it is not the wrapper."""

    host: str
    port: int
    client: int
    server: int
    hdlc: Framing | None = None

    def wire(self, notes: Notes | None, hidden: bytes) -> Wire:
        """A wire for a new connection."""
        if self.hdlc is None:
            return Wire(WrapperLine(self.client, self.server), notes, 0.0, hidden)
        framing = self.hdlc
        line = HdlcLine(Address(self.client), framing.server, framing.proposed, retries=framing.retries)
        return Wire(line, notes, framing.retry_after, hidden)


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

    def __init__(self, wire: Wire, association: Association, pace: Pace, answer_within: float) -> None:
        self._wire = wire
        self.association = association
        self._pace = pace
        self._answer_within = answer_within
        self._turn = asyncio.Lock()
        counter = association.ciphering.counter if association.ciphering else None
        self._counter = counter if isinstance(counter, StoredCounter) else None
        self.last_exchange = 0.0

    @classmethod
    async def connect(
        cls, peer: Peer, association: Association, *, pace: Pace, answer_within: float, notes: Notes | None = None
    ) -> Session:
        """Connects and associates.

        Args:
            peer: where to.
            association: a fresh one.
            pace: of the host.
            answer_within: seconds that the connection and each reply may take.
            notes: hears of the connection and of the octets, without passwords.

        Raises:
            OSError: no connection (also SessionClosedError, ReplyTimeoutError).
            DlmsError: the meter refused or answered nonsense.
        """
        loop = asyncio.get_running_loop()
        async with pace:
            try:
                async with asyncio.timeout(answer_within):
                    _, wire = await loop.create_connection(
                        lambda: peer.wire(notes, association.password), peer.host, peer.port
                    )
            except TimeoutError as error:
                text = f"no connection to {peer.host}:{peer.port} within {answer_within:g} s"
                raise ReplyTimeoutError(text) from error
        session = cls(wire, association, pace, answer_within)
        try:
            await wire.set_up(answer_within)
            await session.do(association.open())
            wire.hidden = b""
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
            "repeated_blocks": seen.repeated_blocks,
        } | self._wire.line_counters

    async def do(
        self,
        steps: Steps[T],
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
        within = within or self._answer_within
        try:
            if command is None:
                return await self._in_its_place(steps, within)
            async with asyncio.timeout(turn):
                await self._turn.acquire()
            try:
                return await self._run(steps, within, command)
            finally:
                self._turn.release()
        finally:
            steps.close()

    async def _in_its_place(self, steps: Steps[T], within: float) -> T:
        """Waits for a place at the host without a turn, and for a turn without a place.

        Who waits for a place must not hold up a command, nor who waits for a command's end the other meters.
        """
        while True:
            async with self._pace:
                if not self._turn.locked():
                    async with self._turn:
                        return await self._run(steps, within, Progress())
            async with self._turn:
                pass

    async def _run(self, steps: Steps[T], within: float, progress: Progress) -> T:
        wire, loop = self._wire, asyncio.get_running_loop()
        wire.forget()
        since = 0.0
        try:
            if self._counter is not None and self._counter.short:
                await self._counter.ensure()
            out = next(steps)
            while True:
                if out:
                    wire.send(*out if isinstance(out, tuple) else (out,))
                    progress.sent = True
                if out != PASSED:
                    since = loop.time()
                try:
                    reply = await wire.receive(within, since, more=not out)
                except ReplyTimeoutError as silence:
                    # Block transfer asks for what was lost; every other service gives up here.
                    out = steps.throw(silence)
                    continue
                if self._counter is not None and self._counter.short:
                    await self._counter.ensure()
                out = steps.send(reply)
        except StopIteration as done:
            self.last_exchange = loop.time()
            value: T = done.value
            return value
        except (ReplyTimeoutError, asyncio.CancelledError):
            self.abort()
            raise
        finally:
            if not self.association.in_step:
                self.abort()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._wire.transport is not None:
            self._wire.transport.abort()

    async def close(self) -> None:
        """Releases the association if the meter still listens, and ends the connection."""
        try:
            if not self._wire.closed.done() and not self._turn.locked():
                await self.do(self.association.release(), within=_RELEASE_TIMEOUT, command=Progress())
        except (OSError, DlmsError):
            # It ends either way; the meter drops the association with the connection.
            pass
        finally:
            self._wire.hang_up()
