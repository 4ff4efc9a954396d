"""One device of each protocol for the contract suite: a simulator process, and the driver a mapping makes for it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from peers.ports import free_port
from peers.waiting import patient, pause
from peers.wire_notes import WireNotes

from address_space.point import Batch, TextSample
from twin_gateway.drivers.contract import BoundPoint, Driver
from twin_gateway.drivers.registry import create_driver, protocol_names
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
    """

    protocol: str
    file: str
    mapping: str
    arguments: tuple[str, ...] = ()
    datagrams: bool = False
    silence: float = 12.0
    program: tuple[str, ...] = ()
    selects: bool = False


CASES = (
    Case(
        "iec104",
        "stations:\n- common_address: 7\n  points:\n  - {ioa: 10, type: M_DP_TB_1, value: 2}\n"
        "  - {ioa: 20, type: M_ME_TF_1, value: 12.5}\n  - {ioa: 30, type: M_ME_TF_1, value: 50}\n"
        "  commands:\n  - {ioa: 4010, type: C_DC_NA_1, model: direct, moves: 10, travel: 0.1}\n"
        "  - {ioa: 4011, type: C_DC_NA_1, model: direct, refuse: true}\n",
        "  dev: {protocol: iec104, host: 127.0.0.1, port: {port}, common_address: 7,\n"
        "    t1: 3 s, t2: 1 s, t3: 3 s, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1, control: {ioa: 4010, type: C_DC_NA_1, model: direct-normal}},\n"
        "    QB1/CSWI1/Pos: {ioa: 11, type: M_DP_TB_1, control: {ioa: 4011, type: C_DC_NA_1, model: direct-normal}},\n"
        "    MMXU1/TotW: {ioa: 20, type: M_ME_TF_1, unit: W}, MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}}}}}\n",
        ("--port", "{port}"),
    ),
    Case(
        "iec61850",
        "mappings/demo/scl/F07Q1.cid",
        "  dev: {protocol: iec61850, host: 127.0.0.1, port: {port}, ied: F07Q1, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {ref: LD0/CSWI1.Pos, control: {model: device}},\n"
        "    MMXU1/TotW: {ref: LD0/MMXU1.TotW}, MMXU1/Hz: {ref: LD0/MMXU1.Hz}}}}}\n",
        ("--port", "{port}"),
        selects=True,
    ),
    Case(
        "dlms",
        "port: {port}\nmeters:\n  m1:\n    registers:\n      1-0:1.7.0: {value: 1520, unit: W}\n"
        "      1-0:14.7.0: {value: 50, unit: Hz}\n    disconnector: connected\n",
        "  dev: {protocol: dlms, host: 127.0.0.1, port: {port}, poll: 0.5 s, at: {LV1/_/M1: {points: {\n"
        "    MMXU1/TotW: {obis: 1-0:1.7.0}, MMXU1/Hz: {obis: 1-0:14.7.0}}}}}\n",
    ),
    Case(
        "coap",
        "devices:\n  dev:\n    port: {port}\n    resources:\n"
        "      /p: {text: 1520, max_age: 5}\n      /f: {text: 50, max_age: 5}\n",
        "  dev: {protocol: coap, uri: 'coap://127.0.0.1:{port}', timeout: 2 s, keepalive: 2 s,\n"
        "    at: {MV1/F05: {points: {\n"
        "    MMXU1/TotW: {path: /p, unit: W}, MMXU1/Hz: {path: /f, unit: Hz}}}}}\n",
        datagrams=True,
    ),
    Case(
        "modbus",
        "",
        "  dev: {protocol: modbus, host: 127.0.0.1, port: {port}, poll: 0.3 s, timeout: 2 s, at: {MV1/F05: {points: {\n"
        "    QA1/CSWI1/Pos: {table: discrete, register: 10, control: {coil: 10, model: direct-normal}},\n"
        "    MMXU1/TotW: {table: input, register: 0, type: f32, unit: W},\n"
        "    MMXU1/Hz: {table: holding, register: 0, unit: Hz}}}}}\n",
        ("{port}",),
        program=("node", "tests/peers/modbus/server.js"),
    ),
)


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
        self.events.append(f"{code} {text} {address}")

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
        mapping, problems = check([path], environ={})
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


@pytest.fixture(params=CASES, ids=lambda case: case.protocol)
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    case: Case = request.param
    if case.protocol not in protocol_names():
        pytest.skip(f"the plug-in for {case.protocol} is not installed")
    made = Bed(case, tmp_path, free_port(socket.SOCK_DGRAM if case.datagrams else socket.SOCK_STREAM))
    yield made
    await made.kill()
