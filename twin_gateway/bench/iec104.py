"""Benchmark: 104 points a second into the point table, with 1 and with 15 objects an ASDU; and what idle links cost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.bench.memory import resident
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.link import LinkSupervisor

POINTS = 1000
_WARM_UP_S, _QUICK_WARM_UP_S = 1.0, 0.3
_SECONDS, _QUICK_SECONDS = 5.0, 0.5
_WINDOWS = 5
_IDLE_LINKS, _IDLE_POINTS = 200, 10
_IDLE_S, _QUICK_IDLE_S = 21.0, 1.0
"""A little more than t3: each connection is tested once."""
_PATIENCE_S = 60.0
"""How long a window waits for its first sample; a quick one is shorter than a pause of a crowded machine."""
_PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)


async def _measure(objects: int, warm_up: float, seconds: float) -> tuple[float, float]:
    """Points a second of our own processor time, and of the wall clock: medians of the windows."""
    peer = await _station(f"--objects={objects}", f"--points={POINTS}")
    try:
        port = await _port(peer)
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
        await _end(peer)


async def _idle(seconds: float) -> tuple[float, float]:
    """Percent of a core and resident MB that links cost on which nothing happens but the tests of the standard."""
    peer = await _station("--rate=-1", f"--points={_IDLE_POINTS}")
    try:
        port = await _port(peer)
        table, events = PointTable(), EventJournal()
        points = [
            Point(f"b/a/s/v/f{link}/_/MMXU{number}/TotW", _PROFILE, f"rtu{link}", 1 << 24 | number)
            for link in range(_IDLE_LINKS)
            for number in range(1, _IDLE_POINTS + 1)
        ]
        rows = iter(table.add(points))
        before = resident()
        with tempfile.TemporaryDirectory() as directory:
            links = [
                LinkSupervisor(
                    f"rtu{number}",
                    Iec104Driver(f"rtu{number}", Iec104Config(host="127.0.0.1", port=port), _bound(rows)),
                    table=table,
                    events=events,
                    address=f"b/_sys/g/_/_/rtu{number}",
                    data_directory=Path(directory) / str(number),
                )
                for number in range(_IDLE_LINKS)
            ]
            running = [asyncio.create_task(link.run()) for link in links]
            end = time.perf_counter() + _PATIENCE_S
            while any(not link.counters["interrogations_confirmed"] for link in links):
                if time.perf_counter() > end:
                    raise RuntimeError("the links did not come up")
                await asyncio.sleep(0.05)
            used = resident() - before
            began, busy = time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            share = (time.process_time() - busy) / (time.perf_counter() - began)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if any(link.counters["losses"] for link in links):
            raise RuntimeError("the measurement is worth nothing: links were lost")
        return 100 * share, used / 1e6
    finally:
        await _end(peer)


def _bound(rows: Iterator[int]) -> list[BoundPoint]:
    return [
        BoundPoint(next(rows), "", "MV", ValueType.DOUBLE, {"ioa": number, "type": "M_ME_TF_1"})
        for number in range(1, _IDLE_POINTS + 1)
    ]


async def _station(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "twin_gateway.simulate.iec104_flood", *arguments), stdout=asyncio.subprocess.PIPE
    )


async def _port(peer: Process) -> int:
    if peer.stdout is None:
        raise RuntimeError("the station has no output")
    return int(json.loads(await asyncio.wait_for(peer.stdout.readline(), 100))["port"])


async def _end(peer: Process) -> None:
    with suppress(ProcessLookupError):
        peer.send_signal(signal.SIGTERM)
    await peer.wait()


async def _samples(link: LinkSupervisor, seconds: float) -> None:
    """Let samples come for some seconds, and on until there is one."""
    before, end = link.counters["samples"], time.perf_counter() + seconds + _PATIENCE_S
    await asyncio.sleep(seconds)
    while link.counters["samples"] == before and time.perf_counter() < end:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.05)


def _run(measurement: Coroutine[Any, Any, tuple[float, float]]) -> tuple[float, float]:
    try:
        import uvloop  # noqa: PLC0415 - the service runs on it where there is one
    except ImportError:
        return asyncio.run(measurement)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement)


def run(quick: bool = False) -> dict[str, float]:
    """Measure; rates are points per second of our process's own processor time, `wall_…` those of the clock.

    `idle_200_cpu` is the percentage of a core, `idle_200_mb` the resident memory of 200 links with ten points each.
    """
    warm_up, seconds = (_QUICK_WARM_UP_S, _QUICK_SECONDS) if quick else (_WARM_UP_S, _SECONDS)
    idle_cpu, idle_mb = _run(_idle(_QUICK_IDLE_S if quick else _IDLE_S))
    core_1, wall_1 = _run(_measure(1, warm_up, seconds))
    core_15, wall_15 = _run(_measure(15, warm_up, seconds))
    return {
        "points_per_s_1": round(core_1),
        "points_per_s_15": round(core_15),
        "wall_points_per_s_1": round(wall_1),
        "wall_points_per_s_15": round(wall_15),
        "idle_200_cpu": round(idle_cpu, 2),
        "idle_200_mb": round(idle_mb, 1),
    }
