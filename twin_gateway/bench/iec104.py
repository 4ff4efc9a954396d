"""Benchmark: 104 points a second into the point table, with 1 and with 15 objects an ASDU, one connection, k = 12."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.link import LinkSupervisor

POINTS = 1000
_WARM_UP_S, _QUICK_WARM_UP_S = 1.0, 0.3
_SECONDS, _QUICK_SECONDS = 5.0, 0.5
_WINDOWS = 5
_PATIENCE_S = 60.0
"""How long a window waits for its first sample; a quick one is shorter than a pause of a crowded machine."""
_PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)


async def _measure(objects: int, warm_up: float, seconds: float) -> tuple[float, float]:
    """Points a second of our own processor time, and of the wall clock: medians of the windows."""
    peer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "twin_gateway.simulate.iec104_flood",
        f"--objects={objects}",
        f"--points={POINTS}",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if peer.stdout is None:
            raise RuntimeError("the station has no output")
        port = json.loads(await asyncio.wait_for(peer.stdout.readline(), 100))["port"]
        table = PointTable()
        rows = table.add(
            Point(f"b/a/s/v/f/_/MMXU{number}/TotW", _PROFILE, "rtu", 1 << 24 | number)
            for number in range(1, POINTS + 1)
        )
        bound = [
            BoundPoint(row, "", "MV", ValueType.DOUBLE, {"ioa": number, "type": "M_ME_TF_1"})
            for number, row in enumerate(rows, 1)
        ]
        driver = Iec104Driver("rtu", Iec104Config(host="127.0.0.1", port=port), bound)
        with tempfile.TemporaryDirectory() as directory:
            link = LinkSupervisor(
                "rtu",
                driver,
                table=table,
                events=EventJournal(),
                address="b/_sys/g/_/_/rtu",
                data_directory=Path(directory),
            )
            running = asyncio.create_task(link.run())
            await _samples(link, warm_up)
            windows: list[tuple[float, float]] = []
            for _ in range(_WINDOWS):
                began, busy, before = time.perf_counter(), time.process_time(), link.counters["samples"]
                await _samples(link, seconds / _WINDOWS)
                wall, used = time.perf_counter() - began, time.process_time() - busy
                count = link.counters["samples"] - before
                windows.append((count / used, count / wall))
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        if not min(windows)[0] or link.counters["asdu_errors"] or link.counters["losses"]:
            raise RuntimeError(f"the measurement is worth nothing: {dict(link.counters)}")
        return median(rate for rate, _ in windows), median(rate for _, rate in windows)
    finally:
        with suppress(ProcessLookupError):
            peer.send_signal(signal.SIGTERM)
        await peer.wait()


async def _samples(link: LinkSupervisor, seconds: float) -> None:
    """Let samples come for some seconds, and on until there is one."""
    before, end = link.counters["samples"], time.perf_counter() + seconds + _PATIENCE_S
    await asyncio.sleep(seconds)
    while link.counters["samples"] == before and time.perf_counter() < end:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.05)


def _run(objects: int, warm_up: float, seconds: float) -> tuple[float, float]:
    try:
        import uvloop  # noqa: PLC0415 - the service runs on it where there is one
    except ImportError:
        return asyncio.run(_measure(objects, warm_up, seconds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(objects, warm_up, seconds))


def run(quick: bool = False) -> dict[str, float]:
    """Measure; rates are points per second of our process's own processor time, `wall_…` those of the clock."""
    warm_up, seconds = (_QUICK_WARM_UP_S, _QUICK_SECONDS) if quick else (_WARM_UP_S, _SECONDS)
    core_1, wall_1 = _run(1, warm_up, seconds)
    core_15, wall_15 = _run(15, warm_up, seconds)
    return {
        "points_per_s_1": round(core_1),
        "points_per_s_15": round(core_15),
        "wall_points_per_s_1": round(wall_1),
        "wall_points_per_s_15": round(wall_15),
    }
