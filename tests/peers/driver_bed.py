"""A device of one protocol for tests of drivers: a simulator process, and the driver that a mapping makes for it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peers.waiting import patient, pause
from peers.wire_notes import WireNotes

from address_space.point import Batch, TextSample
from twin_gateway.drivers.contract import BoundPoint, Driver
from twin_gateway.drivers.registry import create_driver
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import MappedDevice

ROOT = Path(__file__).resolve().parents[2]
HEAD = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"


@dataclass(frozen=True)
class Case:
    """How one protocol takes part.

    Attributes:
        simulator: arguments of the simulator module after the file.
        file: text of the simulator's file; a path of the project when it begins with `mappings/`.
        mapping: text of the device section with `{port}`.
        datagrams: a dead peer is noticed by silence only.
        silence: seconds within which a peer that went silent must be noticed.
        program: what to run instead of the protocol's simulator; its port follows.
        selects: the control model of its command begins with Select.
        secrets: what `${NAME}` in the mapping stands for.
    """

    protocol: str
    file: str
    mapping: str
    arguments: tuple[str, ...] = ()
    datagrams: bool = False
    silence: float = 12.0
    program: tuple[str, ...] = ()
    selects: bool = False
    secrets: tuple[tuple[str, str], ...] = ()


@dataclass
class Recorder(WireNotes):
    """A link that keeps what the driver says."""

    data_directory: Path
    name: str = "dev"
    counters: Counter[str] = field(default_factory=Counter)
    events: list[str] = field(default_factory=list)
    last: dict[int, tuple[float | str, int, int]] = field(default_factory=dict)
    batches: int = 0
    ups: int = 0

    def up(self) -> None:
        self.ups += 1

    def publish(self, batch: Batch) -> None:
        assert batch.rows.dtype == "int32"
        assert batch.values.dtype == "float64"
        assert batch.quality.dtype == "uint32"
        assert batch.source_time.dtype == "int64"
        assert len(batch.rows) == len(batch.values) == len(batch.quality) == len(batch.source_time)
        self.batches += 1
        for row, value, quality, at in zip(batch.rows, batch.values, batch.quality, batch.source_time, strict=True):
            self.last[int(row)] = (float(value), int(quality), int(at))
        for sample in batch.texts:
            assert isinstance(sample, TextSample)
            self.last[sample.row] = (sample.text, sample.quality, sample.source_time)

    def event(
        self,
        code: str,
        text: str,
        *,
        severity: int = 400,
        address: str = "",
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        assert 1 <= severity <= 1000
        self.events.append(f"{code} {text} {address}".rstrip())

    def count(self, counter: str, by: int = 1) -> None:
        self.counters[counter] += by


@dataclass
class Bed:
    """A simulator that can be started and killed, and drivers for it."""

    case: Case
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        text = self.case.file
        if text.startswith("mappings/"):
            path = ROOT / text
        else:
            path = self.folder / "device.yaml"
            path.write_text(text.replace("{port}", str(self.port)))
        arguments = [argument.replace("{port}", str(self.port)) for argument in self.case.arguments]
        program = (sys.executable, "-m", f"twin_gateway.simulate.{self.case.protocol}", str(path))
        self.process = await asyncio.create_subprocess_exec(
            *(self.case.program or program),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        async with patient(30):
            line = await self.process.stdout.readline()
        assert json.loads(line)["ready"]

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
        if self.process is not None:
            await self.process.communicate()
        self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        pause(self.process.pid)

    def device(self, port: int | None = None) -> MappedDevice:
        path = self.folder / "mapping.yaml"
        path.write_text(HEAD + self.case.mapping.replace("{port}", str(self.port if port is None else port)))
        mapping, problems = check([path], environ=dict(self.case.secrets))
        assert mapping is not None, [str(problem) for problem in problems]
        return mapping.devices[0]

    def bound(self, device: MappedDevice) -> list[BoundPoint]:
        return [point.bound(row) for row, point in enumerate(device.points)]

    def driver(self, points: Callable[[list[BoundPoint]], list[BoundPoint]] = list, port: int | None = None) -> Driver:
        device = self.device(port)
        return create_driver(device.spec, device.name, device.config, points(self.bound(device)))

    def recorder(self) -> Recorder:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return Recorder(data)
