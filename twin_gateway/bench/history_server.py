"""The server side of the history benchmark: an OPC UA server and a history over a table that is written in batches.

Arguments: POINTS DIRECTORY. It prints a line when it listens; every line on its standard input, `{"seconds": …,
"rate": …, "history": …}`, has it write all points for so long, with or without a history, and print what it did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from address_space import clock
from address_space.events import EventJournal
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import Ports, ServerSettings
from address_space.point import Batch
from address_space.ports import Caller, Right
from address_space.table import PointTable
from twin_gateway.bench.opcua_ours import fill
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings

_BATCH = 2500


class _Policy:
    """Anyone may look."""

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        return None

    def anonymous(self, client: str) -> Caller | None:
        return Caller("", frozenset({"Observer"}), client)

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        return None

    def role_rights(self) -> Mapping[str, frozenset[Right]]:
        return {"Observer": frozenset({Right.BROWSE, Right.READ})}

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return right in {Right.BROWSE, Right.READ}


async def _write(table: PointTable, seconds: float, rate: float) -> dict[str, float]:
    """Every point in turn, each time by 1 more; the longest time that the loop was away is told."""
    count = len(table)
    rows = [np.arange(start, min(start + _BATCH, count), dtype=np.int32) for start in range(0, count, _BATCH)]
    began, cpu, written, round_, longest = time.perf_counter(), time.process_time(), 0, 0, 0.0
    while time.perf_counter() - began < seconds:
        round_ += 1
        for part in rows:
            values = np.floor(part / 7.0) + (part + round_) % 2
            times = np.full(len(part), clock.now(), np.int64)
            table.ingest(Batch(part, values.astype(np.float64), np.zeros(len(part), np.uint32), times))
            written += len(part)
            wait = max(0.0, written / rate - (time.perf_counter() - began))
            asleep = time.perf_counter()
            await asyncio.sleep(wait)
            longest = max(longest, time.perf_counter() - asleep - wait)
    spent = time.perf_counter() - began
    cpu = time.process_time() - cpu
    return {"written": written, "rate": written / spent, "cpu": cpu / spent, "longest_ms": longest * 1e3}


def _consumed(pid: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


async def _serve(count: int, directory: str) -> None:
    table = PointTable()
    fill(table, count)
    settings = ServerSettings("https://example.org/bench", Path(directory), port=0, security=("None",))
    server = GatewayServer(table, settings, ports=Ports(policy=_Policy()))
    await server.start()
    print(json.dumps({"port": server.port, "namespace": 2}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job: dict[str, Any] = json.loads(line)
        history = History(table, EventJournal(), HistorySettings(), Path(directory) / "history")
        answer: dict[str, Any] = {}
        if job["history"]:
            await history.start()
            await history.events("", 0, 1, 1)  # its process is there
            before = _consumed(history.pid)
        answer |= await _write(table, job["seconds"], job["rate"])
        if job["history"]:
            answer["history_cpu"] = (_consumed(history.pid) - before) / job["seconds"]
            await history.stop()
            answer["history"] = asdict(history.counters)
        print(json.dumps(answer), flush=True)
    await server.stop()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
