"""The connections to one outstation: one carries user data, the others stand by, are tested, and take over.

Every address is kept connected. The first that stands is started (STARTDT); on the others TESTFR goes out after t3 as
on any idle connection, so that a dead one is known before it is needed. When the started connection is lost, one that
stands by is started at once; what the station has not seen acknowledged, it repeats there. When none stands by, the
association is over and the link supervisor begins anew.

With TLS a connection is made anew after `renew_after` seconds, which takes the place of a renegotiation: keys and
certificates are checked again. User data is stopped in good order first, so that nothing is in flight then.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from twin_gateway.drivers.contract import Link, LinkLost
from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.gauges import Gauges
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.widths import Widths
from twin_gateway.drivers.tls import TlsConfig, client_context, why

FIRST_WAIT_S, LONGEST_WAIT_S, STEADY_S = 1.0, 30.0, 10.0
"""Before a connection that was lost is tried again: doubled each time, from the first again once it stood steadily."""
HEAD_START_S = 0.5
"""How long the first address may take longer than the others and still be the one that is started."""
_SHUTDOWN_S = 1.0
_POSTPONED_S, _LOOK_S = 60.0, 0.25
"""A renewal waits so long for commands under way to end, looking so often."""


class Address(NamedTuple):
    """Where the outstation listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Where and how to connect.

    Attributes:
        t0: seconds in which a connection must stand, TLS handshake included.
        renew_after: seconds after which a TLS connection is made anew, each time a tenth sooner or later by chance.
    """

    addresses: Sequence[Address]
    limits: Limits
    t0: float
    widths: Widths | None = None
    tls: TlsConfig | None = None
    renew_after: float | None = None


@dataclass(slots=True)
class Told:
    """What has been told and is not told again, over all runs of a driver.

    Attributes:
        missed: redundant connections that do not stand.
        refused: address -> why TLS failed there.
    """

    missed: set[Address] = field(default_factory=set)
    refused: dict[Address, str] = field(default_factory=dict)


class User(Protocol):
    """Who uses the connection that carries user data."""

    @property
    def busy(self) -> bool:
        """Commands wait for their answers: no time for a renewal."""
        ...

    def begin(self, connection: Connection) -> None:
        """Data transfer is confirmed; ASDUs may follow at once."""
        ...

    def take(self, connection: Connection, asdus: list[bytes]) -> None:
        """ASDUs of one read."""
        ...

    def traffic(self, connection: Connection, sent: bool, octets: bytes) -> None:
        """Octets of one read or write of any connection."""
        ...

    def kept(self) -> bool:
        """All that has been taken so far is on disk, as far as anything is kept."""
        ...

    async def use(self, connection: Connection) -> None:
        """Use it until cancelled."""
        ...


class Channel:
    """One address and its connection.

    Attributes:
        connection: while it stands.
        reason: why it does not; empty before the first attempt.
        renewing: it is closed by us, to be made anew at once.
    """

    def __init__(self, number: int, address: Address) -> None:
        self.number, self.address = number, address
        self.connection: Connection | None = None
        self.reason = ""
        self.renewing = False
        self.reset()

    def reset(self) -> None:
        """Before a new attempt."""
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = loop.create_future()
        self.stopped: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self.due: asyncio.Future[None] = loop.create_future()

    @property
    def ready(self) -> bool:
        """It stands, and was not started yet."""
        return self.connection is not None and not self.closed.done() and not self.started.done()


class Group:
    """All connections of a link, for one run of the driver.

    Attributes:
        active: the channel that carries user data; None when none does.
    """

    def __init__(self, link: Link, settings: GroupSettings, user: User, gauges: Gauges, told: Told) -> None:
        self._link, self._settings, self._user, self._gauges, self._told = link, settings, user, gauges, told
        self._loop = asyncio.get_running_loop()
        self.channels = [Channel(number, address) for number, address in enumerate(settings.addresses, 1)]
        self.active: Channel | None = None
        self._served = False
        self._news = asyncio.Event()

    @property
    def standing_by(self) -> int:
        """Connections that stand beside the one that carries user data."""
        return sum(channel.connection is not None and channel is not self.active for channel in self.channels)

    async def run(self) -> None:
        """Keep the connections and use one of them, until none is left. Raises LinkLost."""
        holding = [self._loop.create_task(self._hold(channel)) for channel in self.channels]
        try:
            while True:
                await self._serve(await self._next())
        finally:
            for task in holding:
                task.cancel()
            for channel in self.channels:
                if channel.connection is not None:
                    channel.connection.close()
                    self._forget(channel)
            await asyncio.gather(*holding, return_exceptions=True)

    # -- which is started ---------------------------------------------------------------------------------------

    async def _next(self) -> Channel:
        """The channel to be started next. Raises LinkLost when there is none to wait for."""
        first = self.channels[0]
        patience: float | None = None
        while True:
            self._news.clear()
            ready = [channel for channel in self.channels if channel.ready]
            now = self._loop.time()
            if not ready:
                patience = None
            if ready:
                if patience is None:
                    patience = now + HEAD_START_S
                if ready[0] is first or self._served or first.reason or now >= patience:
                    return ready[0]
            elif not any(channel.renewing or (not self._served and not channel.reason) for channel in self.channels):
                told = [channel for channel in self.channels if channel.reason]
                if len(told) == 1 and len(self.channels) == 1:
                    raise LinkLost(told[0].reason)
                raise LinkLost("; ".join(f"{channel.address}: {channel.reason}" for channel in told))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(patience):
                    await self._news.wait()

    async def _serve(self, channel: Channel) -> None:
        """Start a connection and use it until it is lost or due."""
        connection = channel.connection
        if connection is None:
            return
        connection.start()
        # The endpoint itself ends a connection whose STARTDT is not confirmed within t1.
        await asyncio.wait((channel.started, channel.closed), return_when=asyncio.FIRST_COMPLETED)
        if not channel.started.done():
            await self._gone(channel)
            return
        if self._served:
            self._link.count("switchovers")
            self._link.event("switch-over", f"User data of {self._link.name} now comes from {channel.address}")
        self._served = True
        for other in self.channels:
            if other.reason:
                self._miss(other)
        use = self._loop.create_task(self._user.use(connection))
        try:
            await asyncio.wait((use, channel.closed, channel.due), return_when=asyncio.FIRST_COMPLETED)
            if channel.due.done() and not channel.closed.done() and not use.done():
                await self._retire(channel, connection, use)
            if use.done():
                use.result()
        finally:
            self.active = None
            use.cancel()
            await asyncio.wait((use,))  # it ends by our cancelling; one of ourselves meanwhile stays one of ourselves
            problem = None if use.cancelled() else use.exception()
            if problem is not None and not isinstance(problem, LinkLost):
                raise problem
        if not channel.renewing:
            await self._gone(channel)

    async def _retire(self, channel: Channel, connection: Connection, use: asyncio.Task[None]) -> None:
        """End user data in good order and close, to be made anew."""
        postponed = self._loop.time() + _POSTPONED_S
        while self._user.busy and not channel.closed.done() and self._loop.time() < postponed:
            await asyncio.wait((use, channel.closed), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        connection.stop()
        await asyncio.wait((use, channel.closed, channel.stopped), return_when=asyncio.FIRST_COMPLETED)
        channel.renewing = not channel.closed.done()
        self._link.count("renewals")
        connection.close()

    async def _gone(self, channel: Channel) -> None:
        """Wait until the channel's task has seen that its connection is lost: then it knows the reason."""
        while channel.connection is not None:
            self._news.clear()
            await self._news.wait()

    # -- each for itself ----------------------------------------------------------------------------------------

    async def _hold(self, channel: Channel) -> None:
        """Keep one address connected for ever."""
        wait = FIRST_WAIT_S
        while True:
            channel.reset()
            try:
                connection = await self._connect(channel)
            except (OSError, ValueError) as problem:  # ValueError: a name that no host can have
                self._failed(channel, problem)
            else:
                began = self._loop.time()
                self._stands(channel, connection)
                await asyncio.wait((channel.closed,), timeout=self._renewal())
                if not channel.closed.done():
                    channel.due.set_result(None)
                    if not channel.started.done():  # one that carries user data is stopped first
                        channel.renewing = True
                        self._link.count("renewals")
                        connection.close()
                    await asyncio.wait((channel.closed,))
                self._lost(channel)
                if self._loop.time() - began >= STEADY_S:
                    wait = FIRST_WAIT_S
                if channel.renewing:
                    continue
            # Not for secrets: chance keeps many links from knocking at once.
            await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311
            wait = min(wait * 2, LONGEST_WAIT_S)

    def _renewal(self) -> float | None:
        after = self._settings.renew_after
        return None if after is None or self._settings.tls is None else after * random.uniform(0.9, 1.1)  # noqa: S311

    async def _connect(self, channel: Channel) -> Connection:
        """A new connection to the channel's address. Raises OSError, or ValueError for what is no name of a host."""
        settings, (host, port) = self._settings, channel.address

        def on_started(connection: Connection, on: bool) -> None:
            if not on:
                if not channel.stopped.done():
                    channel.stopped.set_result(None)
            elif not channel.started.done():
                channel.started.set_result(None)
                self.active = channel
                self._show()
                self._user.begin(connection)

        def on_closed(_connection: Connection, reason: str) -> None:
            if not channel.closed.done():
                channel.closed.set_result(reason)

        def make() -> Connection:
            return Connection(
                controlling=True,
                limits=settings.limits,
                on_asdus=self._user.take,
                on_started=on_started,
                on_closed=on_closed,
                on_traffic=self._user.traffic,
                on_count=self._link.count,
                kept=self._user.kept,
                start=False,
                widths=settings.widths,
            )

        try:
            async with asyncio.timeout(settings.t0):
                if settings.tls is None:
                    _, connection = await self._loop.create_connection(make, host, port)
                    return connection
                context = await asyncio.to_thread(client_context, settings.tls)
                name = settings.tls.server_name
                _, connection = await self._loop.create_connection(
                    make,
                    host,
                    port,
                    ssl=context,
                    server_hostname=host if name is None else name,
                    ssl_shutdown_timeout=_SHUTDOWN_S,
                )
                return connection
        except TimeoutError:
            self._link.count("t0_timeouts")
            raise LinkLost(f"no connection to {host}:{port} within t0 ({settings.t0:g} s)") from None

    # -- what is told -------------------------------------------------------------------------------------------

    def _stands(self, channel: Channel, connection: Connection) -> None:
        channel.connection, channel.reason, channel.renewing = connection, "", False
        self._told.refused.pop(channel.address, None)
        if channel.address in self._told.missed:
            self._told.missed.discard(channel.address)
            text = f"The redundant connection of {self._link.name} to {channel.address} stands again"
            self._link.event("D01", text, severity=200)
        self._show()
        self._news.set()

    def _failed(self, channel: Channel, problem: OSError | ValueError) -> None:
        reason = why(str(problem)) or type(problem).__name__
        if isinstance(problem, ssl.SSLError):
            self._link.count("tls_errors")
            if self._told.refused.get(channel.address) != reason:
                self._told.refused[channel.address] = reason
                self._link.event("D09", f"TLS with {channel.address} failed: {reason}", severity=700)
        channel.reason, channel.renewing = reason, False
        self._link.error(f"{channel.address}: {reason}")
        self._miss(channel)
        self._news.set()

    def _lost(self, channel: Channel) -> None:
        stood_by = not channel.started.done()
        connection, channel.connection = channel.connection, None
        channel.reason = channel.closed.result()
        if connection is not None and connection.unexpected:
            self._link.count("unexpected_control_frames", connection.unexpected)
        if not channel.renewing:
            self._link.error(f"{channel.address}: {channel.reason}")
            if stood_by and self.active is not None:
                self._link.count("standby_losses")
            self._miss(channel)
        self._show()
        self._news.set()

    def _forget(self, channel: Channel) -> None:
        """The run is over."""
        connection, channel.connection = channel.connection, None
        if connection is not None and connection.unexpected:
            self._link.count("unexpected_control_frames", connection.unexpected)
        self._show()

    def _miss(self, channel: Channel) -> None:
        """Tell once that a redundant connection does not stand."""
        if self._served and len(self.channels) > 1 and channel.address not in self._told.missed:
            self._told.missed.add(channel.address)
            text = f"Redundancy of {self._link.name} is lost: {channel.address}: {channel.reason}"
            self._link.event("D01", text, severity=400)

    def _show(self) -> None:
        """Put the state of each connection into the counters: 0 down, 1 standing by, 2 with user data."""
        for channel in self.channels:
            state = 0 if channel.connection is None else 2 if channel is self.active else 1
            self._gauges.set(self._link, f"connection_{channel.number}", state)
