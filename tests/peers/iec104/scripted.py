"""A scripted 104 station on our own connection, and a recorder in place of the link supervisor."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

from peers.waiting import patient
from peers.wire_notes import WireNotes

from address_space.catalogue import ValueType
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.times import Stamp, TagFlag

COUNTERS_OF_ERRORS = (
    "asdu_errors",
    "unknown_type",
    "unknown_address",
    "unknown_common_address",
    "unexpected_type",
    "unexpected_cause",
    "unexpected_asdus",
)


def tagged(ms):
    return Stamp(ms, TagFlag(0), 7)


def single(ioa, value, *, cause=3, ca=1, at=None):
    item = Information(ioa, value, 0, 0, None if at is None else tagged(at))
    return encode(Asdu(1 if at is None else 30, cause, ca, (item,)))


def point(row, ioa, kind, *, cdc="SPS", value_type=ValueType.BOOLEAN, control=None, **fields):
    return BoundPoint(
        row, f"a/b/c/d/e/f/GGIO1/Ind{row}", cdc, value_type, {"ioa": ioa, "type": kind, **fields}, control
    )


class Recorder(WireNotes):
    """A link that keeps what the driver says."""

    name = "rtu"
    data_directory = Path("/nonexistent")

    def __init__(self):
        self.counters, self.batches, self.events, self.told = Counter(), [], [], []
        self.is_up = asyncio.Event()
        self._news = asyncio.Event()

    def up(self):
        self.is_up.set()

    def publish(self, batch):
        self.batches.append(batch)
        self._news.set()

    def event(self, code, text, *, severity=400, address="", source_time=0, time_quality=None):
        self.events.append((code, text))
        self.told.append((code, text, severity, address, source_time, time_quality))

    def count(self, counter, by=1):
        self.counters[counter] += by
        self._news.set()

    @property
    def errors(self):
        return sum(self.counters[name] for name in COUNTERS_OF_ERRORS)

    def samples(self, row, *, late=False):
        """(value, quality, source time) of a row in order of arrival."""
        return [
            (batch.values[at], int(batch.quality[at]), int(batch.source_time[at]))
            for batch in self.batches
            if batch.late == late
            for at in (batch.rows == row).nonzero()[0]
        ]

    async def until(self, condition, seconds=5.0):
        """Wait until something is so; fails the test when it never is."""
        async with patient(seconds):
            while not condition():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.05)


class ScriptedStation:
    """Listens, answers interrogations (unless told not to) and leaves the rest to `on_asdu`."""

    def __init__(self, *, answers=(), on_asdu=None, interrogation=True, clock=True, limits=None):
        self.answers, self.on_asdu, self.interrogation = list(answers), on_asdu, interrogation
        self.clock = clock
        self.received, self.connections, self.closed = [], [], []
        self._limits = limits or Limits()
        self._server = None

    async def __aenter__(self):
        def accept():
            connection = Connection(
                controlling=False,
                limits=self._limits,
                on_asdus=self._on_asdus,
                on_closed=lambda connection, reason: self.closed.append(reason),
            )
            self.connections.append(connection)
            return connection

        self._server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for connection in self.connections:
            connection.abort("the test is over")
        await self._server.wait_closed()

    def send(self, *asdus):
        for asdu in asdus:
            assert self.connections[-1].send(asdu)

    def _on_asdus(self, connection, asdus):
        for octets in asdus:
            asdu = decode(octets, 2026)
            self.received.append(asdu)
            if asdu.type == 100 and self.interrogation:
                connection.send(encode(asdu._replace(cause=7)))
                for answer in self.answers:
                    connection.send(answer)
                connection.send(encode(asdu._replace(cause=10)))
            elif asdu.type == 103 and self.clock:
                connection.send(encode(asdu._replace(cause=7)))
            elif asdu.type != 100 and self.on_asdu is not None:
                self.on_asdu(connection, asdu)


@contextlib.asynccontextmanager
async def association(station, points, **config):
    """A driver connected to a station: (driver, recorder). Ends the driver afterwards."""
    given = Iec104Config.model_validate({"host": "127.0.0.1", "port": station.port, **config})
    driver, link = Iec104Driver("rtu", given, points), Recorder()
    running = asyncio.get_running_loop().create_task(driver.run(link))
    up = asyncio.get_running_loop().create_task(link.is_up.wait())
    try:
        await asyncio.wait((running, up), timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert link.is_up.is_set(), running
        driver.running = running
        yield driver, link
    finally:
        up.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await running
