"""The GOOSE driver over a capture service that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from open61850.data import (
    BitStringData,
    BoolData,
    FloatData,
    IECData,
    IntData,
)
from peers import driver_bed
from peers.goose import made
from peers.waiting import until

from address_space import clock
from address_space.catalogue import CDCS
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec61850.goose.config import ITEMS
from twin_gateway.drivers.iec61850.goose.driver import GooseDriver
from twin_gateway.drivers.iec61850.goose.process import HEAD, Kind

MEMBERS = ("LD0/PTRC1.Tr.general", "LD0/PTRC1.Tr.q", "LD0/RREC1.AutoRecSt.stVal", "LD0/MMXU1.Hz.mag.f")
SUBSCRIPTION = {
    "control_block": "F07Q1LD0/LLN0$GO$gcbTrip",
    "destination": "01-0C-CD-01-00-01",
    "app_id": 0x3001,
    "data_set": "F07Q1LD0/LLN0$dsTrip",
    "conf_rev": 3,
    "members": MEMBERS,
}
GOOD = BitStringData(bytes(2), 3)
TR, REC, HZ, ST, SIM, NDS, LAST, CONF, RX, REF = range(10)
VALUES = (("PTRC1/Tr", "LD0/PTRC1.Tr", "ACT"), ("RREC1/AutoRecSt", "LD0/RREC1.AutoRecSt", "ENS"),
          ("MMXU1/Hz", "LD0/MMXU1.Hz", "MV"))  # fmt: skip


def point(row: int, address: str, cdc: str, stale_after: float | None = None, **fields: str) -> BoundPoint:
    kind = CDCS[cdc].value_type
    assert kind is not None
    return BoundPoint(row, address, cdc, kind, {"subscription": "trip", **fields}, stale_after=stale_after)


def points() -> list[BoundPoint]:
    values = [point(row, address, cdc, ref=ref) for row, (address, ref, cdc) in enumerate(VALUES)]
    return [*values, *(point(3 + n, f"LGOS1/{item}", cdc, item=item) for n, (item, cdc) in enumerate(ITEMS.items()))]


def trip(tripped: bool, state: int = 1, hertz: float = 50.0, quality: IECData = GOOD) -> list[IECData]:
    return [BoolData(tripped), quality, IntData(state), FloatData(hertz)]


class Recorder(driver_bed.Recorder):
    """The link of the driver."""

    def value(self, row: int) -> float | str | None:
        return self.last[row][0] if row in self.last else None


@dataclass
class Bed:
    """A capture service, a driver that listens to it, and a link."""

    path: Path
    link: Recorder
    driver: GooseDriver
    task: asyncio.Task[None] | None = None
    request: dict[str, Any] = field(default_factory=dict)
    writer: asyncio.StreamWriter | None = None
    slow: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = json.loads(await reader.readline())
        self.writer = writer
        if self.slow is not None:
            await self.slow.wait()
        writer.write(HEAD.pack(Kind.READY, 0))
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()

    def send(self, *frames: bytes, kind: Kind = Kind.FRAME) -> None:
        assert self.writer is not None
        self.writer.write(b"".join(HEAD.pack(kind, len(each)) + each for each in frames))

    async def listen(self) -> None:
        self.task = asyncio.create_task(self.driver.run(self.link))
        await until(lambda: self.driver._running, what="the driver listens")

    async def heard(self, state: int, sequence: int, values: list[IECData], **how: Any) -> None:
        before = sum(self.link.counters.values())
        self.send(made(state, sequence, values=values, **how))
        await until(lambda: sum(self.link.counters.values()) > before, what="the message is counted")


Make = Callable[..., Any]


def ticks(at: datetime) -> int:
    return clock.from_datetime(at)
