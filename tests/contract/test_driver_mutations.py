"""Every driver under its supervisor on a wire that damages what the device sends: it counts, goes on and recovers.

All protocols side by side on one event loop. `TWIN_MUTATION_SECONDS=300` for longer, `TWIN_MUTATION_SEED` for another
run of chance, `TWIN_MUTATION_ONLY=dlms-hdlc` for one of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peers.driver_bed import Bed, Case
from peers.mutating_proxy import Judge, Mutator, Wire
from peers.ports import free_port
from peers.waiting import PATIENCE, until
from peers.wire_judges import Apci, Tpkt, any_change, coap_header, mbap, stateless

from address_space.events import EventJournal
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.registry import protocol_names

SECONDS = float(os.environ.get("TWIN_MUTATION_SECONDS", "30"))
SEED = int(os.environ.get("TWIN_MUTATION_SEED", "1"))
ONLY = os.environ.get("TWIN_MUTATION_ONLY", "")
SHARES = (0.01, 0.03, 0.1, 0.4)
"""Little damage lets associations stand for a while, much of it meets their beginnings."""
GROWTH_MIB = 48
LONGEST_WAIT_S = 2.0
COUNTED = ("errors", "losses", "timeouts", "failed", "malformed_datagrams", "repeated_frames", "unanswered")

_AUTHENTICATION, _ENCRYPTION = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF", "000102030405060708090A0B0C0D0E0F"
_REGISTERS = "    registers:\n      1-0:1.7.0: {value: 1520, unit: W}\n      1-0:14.7.0: {value: 50, unit: Hz}\n"
_METER_POINTS = "at: {LV1/_/M1: {points: {\n    MMXU1/TotW: {obis: 1-0:1.7.0}, MMXU1/Hz: {obis: 1-0:14.7.0}}}}}\n"


@dataclass(frozen=True)
class Busy:
    """A device that talks much.

    Attributes:
        judge: what of its damage the receiver can tell.
        once: damage that can be told ends the connection; what follows on it does not count.
        order: a line for the simulator's standard input, many times a second.
    """

    name: str
    case: Case
    judge: Callable[[], Judge]
    once: bool = False
    order: Callable[[float], object] | None = None


BUSY = (
    Busy(
        "iec104",
        Case(
            "iec104",
            "tick_ms: 50\nstations:\n- common_address: 7\n  points:\n  - {ioa: 10, type: M_DP_TB_1, value: 2}\n"
            "  - {ioa: 20, type: M_ME_TF_1, value: 12.5, walk: 1, low: 0, high: 90, every: 0.02}\n"
            "  - {ioa: 21, type: M_IT_TB_1, value: 1, count: 3, every: 0.1}\n"
            "  - {ioa: 30, type: M_ME_TF_1, value: 50, walk: 0.01, low: 49, high: 51, every: 0.02}\n",
            "  dev: {protocol: iec104, host: 127.0.0.1, port: {port}, common_address: 7, gi_interval: 0.5 s,\n"
            "    answer_timeout: 2 s, t0: 2 s, t1: 2 s, t2: 0.5 s, t3: 1 s, at: {MV1/F05: {points: {\n"
            "    QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1}, MMTR1/TotWh: {ioa: 21, type: M_IT_TB_1, unit: Wh},\n"
            "    MMXU1/TotW: {ioa: 20, type: M_ME_TF_1, unit: W}, MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}}}}}\n",
            ("--port", "{port}"),
        ),
        Apci,
        once=True,
    ),
    Busy(
        "iec61850",
        Case(
            "iec61850",
            "mappings/demo/scl/F07Q1.cid",
            "  dev: {protocol: iec61850, host: 127.0.0.1, port: {port}, ied: F07Q1, timeout: 1 s, idle: 0.3 s,\n"
            "    connect_timeout: 1 s, integrity: 0.5 s, reserve: 1, at: {MV1/F05: {points: {\n"
            "    QA1/CSWI1/Pos: {ref: LD0/CSWI1.Pos}, MMXU1/TotW: {ref: LD0/MMXU1.TotW},\n"
            "    MMXU1/Hz: {ref: LD0/MMXU1.Hz}}}}}\n",
            ("--port", "{port}"),
        ),
        Tpkt,
        once=True,
        order=lambda value: {"ref": "LD0/MMXU1.TotW", "value": 2000 + value},
    ),
    Busy(
        "dlms-ciphered",
        Case(
            "dlms",
            f"port: {{port}}\nmeters:\n  m1:\n    security: hls-gmac\n    "
            f"keys: {{authentication: {_AUTHENTICATION}, encryption: {_ENCRYPTION}}}\n{_REGISTERS}",
            "  dev: {protocol: dlms, host: 127.0.0.1, port: {port}, poll: 0.02 s, timeout: 0.4 s, security: hls-gmac,\n"
            "    keys: {authentication: '${AK}', encryption: '${EK}'},\n    " + _METER_POINTS,
            secrets=(("AK", _AUTHENTICATION), ("EK", _ENCRYPTION)),
        ),
        stateless(any_change),
    ),
    Busy(
        "dlms-hdlc",
        Case(
            "dlms",
            f"port: {{port}}\nframing: hdlc\nhdlc: {{frame_octets: 32, window: 1}}\nmeters:\n  m1:\n{_REGISTERS}",
            "  dev: {protocol: dlms, host: 127.0.0.1, port: {port}, poll: 0.02 s, timeout: 2 s, framing: hdlc,\n"
            f"    hdlc: {{frame_octets: 32, retry_after: 0.1 s}},\n    {_METER_POINTS}",
        ),
        stateless(any_change),
    ),
    Busy(
        "coap",
        Case(
            "coap",
            "devices:\n  dev:\n    port: {port}\n    resources:\n"
            "      /p: {text: 1520, walk: 5, low: 1, high: 9000, max_age: 5, period: 0.02 s}\n"
            "      /f: {format: senml+cbor, max_age: 5, period: 0.02 s, time: true,\n"
            "           records: {f: {unit: Hz, value: 50, walk: 0.01, low: 49, high: 51}}}\n",
            "  dev: {protocol: coap, uri: 'coap://127.0.0.1:{port}', timeout: 2 s, keepalive: 1 s,\n"
            "    at: {MV1/F05: {points: {\n"
            "    MMXU1/TotW: {path: /p, unit: W}, MMXU1/Hz: {path: /f, name: f}}}}}\n",
            datagrams=True,
        ),
        stateless(coap_header),
    ),
    Busy(
        "modbus",
        Case(
            "modbus",
            "",
            "  dev: {protocol: modbus, host: 127.0.0.1, port: {port}, poll: 0.02 s, timeout: 0.4 s,\n"
            "    at: {MV1/F05: {points: {QA1/CSWI1/Pos: {table: discrete, register: 10},\n"
            "    MMXU1/TotW: {table: input, register: 0, type: f32, unit: W},\n"
            "    MMXU1/Hz: {table: holding, register: 0, unit: Hz}}}}}\n",
            ("{port}",),
            program=("node", "tests/peers/modbus/server.js"),
        ),
        stateless(mbap),
    ),
)


class Line:
    """One device, the wire to it, and its link."""

    def __init__(self, busy: Busy, folder: Path) -> None:
        folder.mkdir()
        self.busy = busy
        self.bed = Bed(busy.case, folder, free_port(socket.SOCK_DGRAM if busy.case.datagrams else socket.SOCK_STREAM))
        self.mutate = Mutator(SEED, 0.0)
        self.chance = random.Random(SEED)
        self.wire = Wire(self.bed.port, self.mutate, datagrams=busy.case.datagrams, judge=busy.judge, once=busy.once)
        self.table = PointTable()
        self.hertz = 0
        self.link: LinkSupervisor

    async def start(self, stack: AsyncExitStack) -> None:
        """Everything up to a value that is good."""
        stack.push_async_callback(self.bed.kill)
        await self.bed.start()
        await stack.enter_async_context(self.wire)
        device = self.bed.device(self.wire.port)
        self.table.add([point.point(device.name) for point in device.points])
        self.hertz = next(row for row, point in enumerate(device.points) if point.address.endswith("MMXU1/Hz"))
        self.link = LinkSupervisor(
            device.name,
            self.bed.driver(port=self.wire.port),
            table=self.table,
            events=EventJournal(),
            address="dso1/_sys/gw1/_/_/dev",
            data_directory=self.bed.folder / "data",
            backoff=Backoff(0.02, 0.1, steady=0.0),
        )
        running = asyncio.create_task(self.link.run())

        async def end() -> None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        stack.push_async_callback(end)
        await self.delivers()

    async def delivers(self) -> None:
        """Until a sample comes that has not been there before, and is good."""
        before = self.link.counters["samples"]

        def fresh() -> bool:
            sample = self.table.sample(self.hertz)
            good = sample.status == StatusCode.Good and 49 <= float(sample.value) <= 51
            return self.link.state is LinkState.UP and self.link.counters["samples"] > before and good

        await until(fresh, 20, f"a good value of {self.busy.name}")

    def stir(self, value: float) -> None:
        """Change what the device says; change how much is damaged now and then."""
        if self.busy.order is not None and self.bed.process is not None and self.bed.process.stdin is not None:
            self.bed.process.stdin.write(json.dumps(self.busy.order(value)).encode() + b"\n")
        if self.chance.random() < 0.02:
            self.mutate.share = self.chance.choice(SHARES)

    @property
    def counted(self) -> int:
        return sum(number for name, number in self.link.counters.items() if name.endswith(COUNTED))

    def told(self) -> str:
        """One line about it."""
        wire, mutate = self.wire, self.mutate
        return (
            f"{self.busy.name}: {mutate.damaged} of {mutate.passed} reads damaged, {wire.told} can be told, "
            f"{self.counted} counted; {wire.connections} connections, {wire.unprovoked} ended without damage; "
            f"{dict(sorted(self.link.counters.items()))}"
        )

    def faults(self) -> list[str]:
        """What is wrong with how it was counted."""
        counters, wire = self.link.counters, self.wire
        wrong = []
        if counters["driver_faults"]:
            wrong.append(f"the driver failed: {self.link.reason}")
        if self.counted < wire.told:
            wrong.append("damage is missing in the counters")
        if not self.busy.case.datagrams and counters["losses"] + counters["attempts_failed"] < wire.connections - 1:
            wrong.append("lost connections are missing in the counters")
        if self.mutate.damaged < SECONDS / 4:
            wrong.append("too little was damaged to say anything")
        return wrong


async def test_wires_that_damage_octets_are_survived_with_every_loss_counted(tmp_path: Path) -> None:
    problems: list[str] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # pymodbus tells so of an answer that it cannot decode, and drops the connection.
        if not type(context.get("exception")).__module__.startswith("pymodbus"):
            problems.append(str(context))

    asyncio.get_running_loop().set_exception_handler(note)
    known = protocol_names()
    lines = [
        Line(busy, tmp_path / busy.name) for busy in BUSY if busy.case.protocol in known and ONLY in ("", busy.name)
    ]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(line.start(stack) for line in lines))
        gc.collect()
        before, longest = psutil.Process().memory_info().rss, 0.0
        for line in lines:
            line.mutate.share = SHARES[1]
        end = time.monotonic() + SECONDS
        while (began := time.monotonic()) < end:
            for line in lines:
                line.stir(began % 1000)
            await asyncio.sleep(0.02)
            longest = max(longest, time.monotonic() - began)
        for line in lines:
            line.mutate.share = 0.0
        recovered = await asyncio.gather(*(line.delivers() for line in lines), return_exceptions=True)
        gc.collect()
        grown = (psutil.Process().memory_info().rss - before) / (1 << 20)
        problems += [str(error) for error in recovered if error is not None]
        for line in lines:
            print(line.told())
            problems += [f"{line.busy.name}: {fault}" for fault in line.faults()]
    print(f"{grown:.1f} MiB more, longest wait {longest:.2f} s")
    assert not problems, problems
    assert grown < GROWTH_MIB
    assert longest < PATIENCE * LONGEST_WAIT_S, "something held the event loop"
