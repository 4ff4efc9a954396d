"""One TCP connection to one logical device: APDUs out and in, over the wrapper or HDLC, with the link's capture."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.dlms.errors import MalformedApduError

_KEPT_APDUS = 72
"""Unread APDUs kept between two waits: a whole window of general block transfer and some notifications."""


_EMPTY_FRAME_OCTETS = 12
"""Most octets of an HDLC frame that only acknowledges."""


class SessionClosedError(ConnectionError):
    """The connection ended; the message says how."""


class ReplyTimeoutError(TimeoutError):
    """The meter did not answer in time; whether it acted on the request is unknown."""


class Line(Protocol):
    """What stands between APDUs and octets; see WrapperLine and HdlcLine."""

    misaddressed: int

    @property
    def ready(self) -> bool:
        """Whether APDUs can be sent."""
        ...

    @property
    def progress(self) -> int:
        """Grows while parts of an answer come in."""
        ...

    @property
    def oddities(self) -> dict[str, int]:
        """Counts of what was survivable, by counter name."""
        ...

    def open(self) -> bytes:
        """Octets that set the link up."""
        ...

    def send(self, apdu: bytes) -> bytes:
        """Octets of an APDU."""
        ...

    def poll(self) -> bytes:
        """Octets that ask for one more APDU."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """APDUs in received octets."""
        ...

    def take_out(self) -> bytes:
        """Octets that the line answers by itself."""
        ...

    def expired(self) -> bytes:
        """Octets to send after silence."""
        ...

    def close(self) -> bytes:
        """Octets that end the link."""
        ...


class Notes(Protocol):
    """The part of a supervised link that hears of connections and octets."""

    def connected(self, flow: Flow) -> None:
        """See contract.Link."""
        ...

    def traffic(self, sent: bool, octets: bytes) -> None:
        """See contract.Link."""
        ...


class Wire(asyncio.Protocol):
    """Receives and cuts the stream; keeps a bounded number of APDUs.

    Args:
        line: framing.
        notes: hears of the connection and its octets, or None.
        retry_after: seconds of silence after which the line may repeat; 0: never.
        hidden: a password, blanked out in what `notes` hear until it is emptied.
    """

    def __init__(self, line: Line, notes: Notes | None = None, retry_after: float = 0.0, hidden: bytes = b"") -> None:
        self._line = line
        self._notes = notes
        self._retry_after = retry_after
        self.hidden = hidden
        self._apdus: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dropped = 0
        self.reason = ""

    @property
    def misaddressed(self) -> int:
        """APDUs or frames that were not for us."""
        return self._line.misaddressed

    @property
    def line_counters(self) -> dict[str, int]:
        """What the line saw that was survivable, by counter name."""
        return self._line.oddities

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        # No isinstance: uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        if self._notes is not None:
            ends = [transport.get_extra_info(name) for name in ("sockname", "peername")]
            if all(ends):
                local, remote = [(str(end[0]), int(end[1])) for end in ends]
                self._notes.connected(Flow(Carrier.TCP, local, remote))

    def data_received(self, data: bytes) -> None:
        """Takes octets; wakes whoever waits for an APDU, or for a link."""
        if self._notes is not None:
            self._notes.traffic(False, data)
        try:
            apdus = self._line.feed(data)
        except MalformedApduError as error:
            self.reason = str(error)
            if self.transport is not None:
                self.transport.abort()
            return
        out = self._line.take_out()
        if out:
            self._write(out)
        for apdu in apdus:
            if len(self._apdus) < _KEPT_APDUS:
                self._apdus.append(apdu)
            else:
                self.dropped += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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

    def send(self, *apdus: bytes) -> None:
        """Sends APDUs, all before an answer is awaited.

        Raises:
            SessionClosedError: the connection has ended.
        """
        if self.transport is None or self.closed.done() or self.transport.is_closing():
            raise SessionClosedError(self.reason or "the connection is closed")
        self._write(self._line.send(apdus[0]) if len(apdus) == 1 else b"".join([self._line.send(a) for a in apdus]))

    def _write(self, octets: bytes) -> None:
        if self.transport is None or not octets:
            return
        self.transport.write(octets)
        if self._notes is not None:
            self._notes.traffic(True, self._shown(octets))

    def _shown(self, octets: bytes) -> bytes:
        """What the capture may keep: the same octets without the password."""
        if not self.hidden:
            return octets
        if self.hidden in octets:
            return octets.replace(self.hidden, b"*" * len(self.hidden))
        # Frames may have cut the password; until it has gone by, they are kept by their length only. Before the line is
        # ready nothing of it is sent, and so short a frame holds an octet of it at most.
        return octets if not self._line.ready or len(octets) <= _EMPTY_FRAME_OCTETS else b"*" * len(octets)

    async def set_up(self, within: float) -> None:
        """Sets the link of the line up, where it has one.

        Raises:
            SessionClosedError: the meter refused.
            ReplyTimeoutError: it did not answer within so many seconds.
        """
        if self._line.ready:
            return
        self._write(self._line.open())
        await self._wait(within, asyncio.get_running_loop().time(), lambda: self._line.ready)

    async def receive(self, within: float, since: float, more: bool = False) -> bytes:
        """The next APDU for us.

        Args:
            within: seconds without any part of an answer.
            since: loop time from which they count.
            more: no question went out for this APDU; the line may have to ask for it.

        Raises:
            SessionClosedError: the connection ended first.
            ReplyTimeoutError: nothing came within so many seconds.
        """
        if not self._apdus:
            if more:
                self._write(self._line.poll())
            await self._wait(within, since, self._has_apdu)
        return self._apdus.popleft()

    def _has_apdu(self) -> bool:
        return bool(self._apdus)

    async def _wait(self, within: float, since: float, done: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        deadline, progress = since + within, self._line.progress
        retry_after = self._retry_after
        while not done():
            if self.closed.done():
                raise SessionClosedError(self.reason)
            if self._line.progress != progress:
                # Parts come in: as long as they do, the answer is not late.
                deadline, progress = loop.time() + within, self._line.progress
            left = deadline - loop.time()
            if left <= 0:
                raise ReplyTimeoutError(f"no answer within {within:g} s")
            self._waiter = loop.create_future()
            try:
                async with asyncio.timeout(min(left, retry_after) if retry_after else left):
                    await self._waiter
            except TimeoutError:
                if retry_after and loop.time() < deadline:
                    self._write(self._line.expired())
            finally:
                self._waiter = None

    def hang_up(self) -> None:
        """Ends the link of the line where it has one, and the connection."""
        if self.transport is None:
            return
        if self._line.ready and not self.closed.done():
            octets = self._line.close()
            if octets:
                self._write(octets)
                self.transport.close()
                return
        self.transport.abort()
