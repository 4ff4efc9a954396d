"""What the tests of the 61850 driver stand on: peers in processes of their own, a driver under its supervisor."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from peers.waiting import pause, until

from address_space import clock
from address_space.catalogue import CDCS
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.ports import Verb
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand
from twin_gateway.drivers.iec61850.config import Iec61850Config
from twin_gateway.drivers.iec61850.driver import Iec61850Driver
from twin_gateway.drivers.iec61850.points import points_of
from twin_gateway.drivers.iec61850.scl import read_scl
from twin_gateway.drivers.link import Backoff, LinkSupervisor

HERE = Path(__file__).parent
BAY = HERE.parents[2] / "mappings" / "demo" / "scl" / "F07Q1.cid"
QUANTITIES = {"TotW": "active power", "TotVAr": "reactive power", "PhV": "voltage", "A": "current", "Hz": "frequency",
              "SupWh": "active energy", "DmdWh": "active energy", "TotPF": "ratio"}  # fmt: skip


class Process:
    """A peer in a process of its own; ended by its process id."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.process = None
        self.lines = []

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, self.arguments), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self.first = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert self.first, "the peer did not start"
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().strip())

    async def tell(self, order):
        before = len(self.lines)
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()
        return before

    async def order(self, order):
        """An order that the peer confirms with ok."""
        before = await self.tell(order)
        await until(lambda: len(self.lines) > before, what="answer of the peer")
        assert self.lines[before] == "ok", self.lines[before]

    async def kill(self):
        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
            await self.process.wait()
            await self.reader

    def pause(self):
        """Stop the process; it has stopped when this returns, not a moment later."""
        pause(self.process.pid)


def libiec61850(port, file=BAY):
    return Process([HERE / "libiec61850_server.py", file, port])


def simulator(*options, file=BAY):
    return Process(["-m", "twin_gateway.simulate.iec61850", file, *options])


class Bed:
    """A driver on a table, run by the link supervisor, with all points of LD0 (or some of them)."""

    def __init__(self, port, directory, *, only=None, file=BAY, controls=None, **settings):
        self.table = PointTable()
        self.events = EventJournal()
        self._cursor = self.events.cursor("test")
        self.late = self.table.late.cursor("test")
        self.seen = []
        offered = [p for p in points_of(read_scl(file), "LD0") if p.cdc and (only is None or p.reference in only)]
        points = []
        for offer in offered:
            cdc = CDCS[offer.cdc]
            address = f"dso1/north/PS01/MV1/F07/IED1/{offer.function}/{'/'.join(offer.path)}"
            profile = PointProfile(offer.cdc, cdc.value_type, cdc.kind)
            points.append(Point(address, profile, "ied-f07", offer.reference))
        rows = self.table.add(points)
        self.points = {}
        for row, offer, point in zip(rows, offered, points, strict=True):
            control = (controls or {}).get(offer.reference, {"model": "device"}) if offer.controllable else None
            self.points[offer.reference] = BoundPoint(
                row, point.address, offer.cdc, point.profile.value_type, {"ref": offer.reference}, control,
                QUANTITIES.get(offer.path[0]),
            )  # fmt: skip
        settings = {"host": "127.0.0.1", "port": port, "ied": "F07Q1", "integrity": 30.0} | settings
        self.driver = Iec61850Driver("ied-f07", Iec61850Config(**settings), list(self.points.values()))
        self.link = LinkSupervisor(
            "ied-f07", self.driver, table=self.table, events=self.events, address="dso1/_sys/gw1/_/_/ied-f07",
            data_directory=directory, backoff=Backoff(0.2, 0.5, 10.0),
        )  # fmt: skip
        self.task = None

    async def __aenter__(self):
        self.task = asyncio.create_task(self.link.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def sample(self, reference):
        return self.table.sample(self.points[reference].row)

    def value(self, reference):
        return self.table.value(self.points[reference].row)

    async def ready(self, reference="LD0/XCBR1.Pos"):
        """Wait for the first Good of a point."""
        await until(lambda: self.sample(reference).status == 0, 10, f"{reference} Good")
        return self

    def event_codes(self):
        self.seen += self._cursor.take()
        return [event.code for event in self.seen]

    def texts(self):
        self.event_codes()
        return [event.text for event in self.seen]

    def late_samples(self):
        """(reference row, raw, source time) of everything that came late since the last call."""
        return [
            (int(row), int(raw), int(when))
            for chunk in self.late.take()
            for row, raw, when in zip(chunk.rows, chunk.raw, chunk.source_time, strict=True)
        ]

    async def command(self, verb, reference, value, **options):
        options.setdefault("timeout", 4.0)
        command = DeviceCommand(Verb(verb), self.points[reference], value, "c-1", **options)
        return await self.link.execute(command)


def unix(ticks):
    return clock.to_unix(ticks)
