"""An IEC 60870-5-104 connection on asyncio, either role: the APCI state machine between a transport and a user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from twin_gateway.drivers.capture import Carrier, Flow
from twin_gateway.drivers.iec104.apci import ApciError, Endpoint, Limits
from twin_gateway.drivers.iec104.widths import Widths

_UNREAD_LIMIT = 262_144


class Connection(asyncio.Protocol):
    """One TCP connection. Delivers the ASDUs of each read in one call and closes itself when the peer breaks the APCI.

    Args:
        controlling: True for the controlling station (client).
        limits: windows and time-outs.
        on_asdus: called with (connection, ASDUs of one read); must not raise.
        on_started: called with (connection, True or False) when user data transfer begins or ends; may be None.
        on_closed: called with (connection, reason) once; may be None.
        on_traffic: called with (connection, sent, octets) for each read and write; may be None.
        kept: whether all that was handed over is on disk: it is then acknowledged without waiting for w or t2, so that
            the peer does not repeat it to a successor of ours. None when nobody knows.
        on_count: called with a counter's name for a time-out, a broken sequence or an idle test; may be None.
        start: the controlling station asks for data transfer as soon as the connection stands; else `start` does.
        widths: octets of the ASDU's address fields where they are not the usual ones; ASDUs are translated on the way.

    Attributes:
        reason: why the connection ended, one sentence; empty while it lives.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        limits: Limits,
        on_asdus: Callable[[Connection, list[bytes]], None],
        on_started: Callable[[Connection, bool], None] | None = None,
        on_closed: Callable[[Connection, str], None] | None = None,
        on_traffic: Callable[[Connection, bool, bytes], None] | None = None,
        on_count: Callable[[str], None] | None = None,
        kept: Callable[[], bool] | None = None,
        start: bool = True,
        widths: Widths | None = None,
    ) -> None:
        self._controlling, self._limits, self._start, self._widths = controlling, limits, start, widths
        self._on_traffic, self._on_count, self._kept = on_traffic, on_count, kept
        self._on_asdus, self._on_started, self._on_closed = on_asdus, on_started, on_closed
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._endpoint = Endpoint(controlling=controlling, limits=limits, now=self._loop.time())
        self._started = False
        self.reason = ""

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands; the controlling station asks for data transfer unless it is to wait."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_LIMIT)
        now = self._loop.time()
        self._endpoint = Endpoint(controlling=self._controlling, limits=self._limits, now=now)
        self._timer = self._loop.call_later(self._endpoint.period, self._tick)
        if self._controlling and self._start:
            self.start()

    def data_received(self, data: bytes) -> None:
        """Octets from the peer."""
        if self._on_traffic is not None:
            self._on_traffic(self, False, data)
        endpoint = self._endpoint
        asdus: list[bytes] = []
        problem: ApciError | None = None
        try:
            endpoint.receive(data, self._loop.time(), asdus)
        except ApciError as broken:
            problem = broken
        # Acknowledge before the user works on the data: the peer can then fill the window again meanwhile.
        if endpoint.output:
            self._write()
        if endpoint.started != self._started:
            self._started = endpoint.started
            if self._on_started is not None:
                self._on_started(self, self._started)
        if asdus:
            if self._widths is not None:
                asdus = list(map(self._widths.widen, asdus))
            self._on_asdus(self, asdus)
        if problem is not None:
            self._give_up(problem)

    def pause_writing(self) -> None:
        """The peer does not read what it is sent: nothing sensible can follow."""
        self.abort("the peer does not read")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self._started = False
        self.reason = self.reason or (str(exc) if exc else "the peer closed the connection")
        if self._on_closed is not None:
            self._on_closed(self, self.reason)

    # -- for the user -------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """User data may be sent."""
        return self._transport is not None and self._endpoint.started

    @property
    def waiting(self) -> int:
        """ASDUs that wait for the window."""
        return self._endpoint.waiting

    @property
    def window(self) -> int:
        """Frames that may leave at once."""
        return self._endpoint.window if self._transport is not None else 0

    @property
    def unexpected(self) -> int:
        """Unnumbered frames that nobody asked for."""
        return self._endpoint.unexpected

    @property
    def flow(self) -> Flow:
        """Between whom the octets go; of no addresses when there is no transport."""
        transport = self._transport
        ends = [transport.get_extra_info(end) if transport else None for end in ("sockname", "peername")]
        if not all(isinstance(end, tuple) and len(end) >= 2 for end in ends):
            return Flow(Carrier.TCP)
        local, remote = ((str(end[0]), int(end[1])) for end in ends if end)
        return Flow(Carrier.TCP, local, remote)

    @property
    def peer(self) -> str:
        """Address and port of the peer; empty when there is none."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{name[0]}:{name[1]}" if name else ""

    def start(self) -> None:
        """Ask for data transfer (controlling station)."""
        if self._transport is not None:
            self._endpoint.start(self._loop.time())
            self._write()

    def stop(self) -> None:
        """Ask for the end of data transfer (controlling station); what the peer then still sends is taken."""
        if self._transport is not None and self._endpoint.started:
            self._endpoint.stop(self._loop.time())
            self._write()

    def send(self, asdu: bytes) -> bool:
        """Send an ASDU, or let it wait for the window; False when it was not taken.

        Raises AsduError when an address does not fit into the widths of the link.
        """
        asdu = self._narrowed(asdu)
        taken = self._transport is not None and self._endpoint.send(asdu, self._loop.time())
        self._write()
        return taken

    def send_now(self, asdu: bytes) -> bool:
        """Send an ASDU only if it leaves at once; False when it did not. Raises AsduError as `send` does."""
        asdu = self._narrowed(asdu)
        sent = self._transport is not None and self._endpoint.send_now(asdu, self._loop.time())
        self._write()
        return sent

    def close(self) -> None:
        """End the connection in good order, without waiting for the peer."""
        transport = self._transport
        if transport is None:
            return
        self.reason = self.reason or "closed by us"
        if self._controlling and self._endpoint.started:
            self._endpoint.stop(self._loop.time())
            self._write()
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    # -- inside -------------------------------------------------------------------------------------------------

    def _narrowed(self, asdu: bytes) -> bytes:
        return asdu if self._widths is None else self._widths.narrow(asdu)

    def _write(self) -> None:
        output = self._endpoint.output
        if output:
            if self._transport is not None and not self._transport.is_closing():
                octets = output[0] if len(output) == 1 else b"".join(output)
                self._transport.write(octets)
                if self._on_traffic is not None:
                    self._on_traffic(self, True, octets)
            output.clear()

    def _tick(self) -> None:
        endpoint = self._endpoint
        try:
            endpoint.tick(self._loop.time())
        except ApciError as problem:
            self._give_up(problem)
            return
        if endpoint.tests:
            endpoint.tests = 0
            if self._on_count is not None:
                self._on_count("t3_tests")
        if endpoint.owing and self._kept is not None and self._kept():
            endpoint.acknowledge()
        self._write()
        self._timer = self._loop.call_later(self._endpoint.period, self._tick)

    def _give_up(self, problem: ApciError) -> None:
        if self._on_count is not None:
            self._on_count(problem.counter)
        self.abort(str(problem))
