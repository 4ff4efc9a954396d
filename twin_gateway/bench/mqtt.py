"""Benchmark of the MQTT mirror: points a second to a real broker in another process, grouped and one by one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from address_space import clock
from address_space.address import parse
from address_space.catalogue import ValueType, classify
from address_space.events import EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.table import PointTable
from twin_gateway.mqtt.mirror import Mirror
from twin_gateway.mqtt.settings import Mode, MqttSettings

# One bay as a protection relay delivers it: 20 points, numbers, states and flags.
_BAY = (
    *(f"_/MMXU1/{name}" for name in ("TotW", "TotVAr", "TotVA", "TotPF", "Hz")),
    *(f"_/MMXU1/PhV/phs{phase}" for phase in "ABC"),
    *(f"_/MMXU1/A/phs{phase}" for phase in "ABC"),
    *(f"_/MMXU1/PPV/phs{pair}" for pair in ("AB", "BC", "CA")),
    "_/MMTR1/SupWh",
    "QA1/XCBR1/Pos",
    "QB1/XSWI1/Pos",
    "QA1/CSWI1/Loc",
    "_/PTRC1/Op",
    "QA1/SIMG1/Pres",
)


BAYS, QUICK_BAYS = 500, 50
SECONDS, QUICK_SECONDS = 6.0, 0.7


def run(quick: bool = False) -> dict[str, Any]:
    """Run both modes.

    Returns:
        `points_per_s` (grouped, a processor second of ours, table included), `points_per_s_wall`,
        `messages_per_s_wall`, `per_point_points_per_s` and `…_wall`, `points_per_group`, `protocol`, `broker`.

    Raises:
        RuntimeError: no broker is installed, or it does not start.
    """
    return asyncio.run(_run(*((QUICK_BAYS, QUICK_SECONDS) if quick else (BAYS, SECONDS))))


async def _run(bays: int, seconds: float) -> dict[str, Any]:
    async with _broker() as (port, broker):
        grouped = await _measure(port, Mode.GROUPED, bays, seconds)
        single = await _measure(port, Mode.POINTS, bays, seconds)
    return {
        "points_per_s": grouped["cpu"],
        "points_per_s_wall": grouped["wall"],
        "messages_per_s_wall": grouped["messages"],
        "per_point_points_per_s": single["cpu"],
        "per_point_points_per_s_wall": single["wall"],
        "points_per_group": len(_BAY),
        "protocol": grouped["protocol"],
        "broker": broker,
    }


async def _measure(port: int, mode: Mode, bays: int, seconds: float) -> dict[str, Any]:
    table = PointTable()
    addresses = [f"bench/area/PS01/MV1/F{bay:04d}/{tail}" for bay in range(bays) for tail in _BAY]
    profiles = [PointProfile.of(classify(parse(address))) for address in addresses[: len(_BAY)]]
    table.add(Point(address, profiles[index % len(_BAY)], "link") for index, address in enumerate(addresses))
    analog = np.array([profile.value_type is ValueType.DOUBLE for profile in profiles] * bays)
    first_state = np.array([1.0 if profile.value_type is ValueType.INT32 else 0.0 for profile in profiles] * bays)
    settings = MqttSettings(port=port, modes=frozenset({mode}), republish_rate=1_000_000)
    mirror = Mirror(table, EventJournal(), settings, gateway="bench/_sys/gw1")
    running = asyncio.create_task(mirror.run())
    random = np.random.default_rng(1)
    rows = np.arange(len(addresses), dtype=np.int32)
    quality = np.zeros(len(rows), np.uint32)
    drawn = [np.where(analog, random.normal(230.0, 20.0, len(rows)), first_state + turn % 2) for turn in range(16)]
    try:
        await _until(lambda: mirror.counters.connected and mirror.counters.due == 0)
        before, cpu, wall, turn = _figures(mirror), time.process_time(), time.monotonic(), 0
        while time.monotonic() - wall < seconds:
            # The next changes when the last have nearly gone: little is coalesced away, the mirror never idles.
            if mirror.counters.waiting < bays // 2:
                turn += 1
                times = clock.now() - random.integers(0, 10_000_000, len(rows)) // 10_000 * 10_000
                table.ingest(Batch(rows, drawn[turn % 16], quality, times))
            await asyncio.sleep(0.002)
        after, cpu, wall = _figures(mirror), time.process_time() - cpu, time.monotonic() - wall
        points, messages = (late - early for late, early in zip(after, before, strict=True))
        return {
            "cpu": round(points / cpu),
            "wall": round(points / wall),
            "messages": round(messages / wall),
            "protocol": mirror.counters.protocol,
        }
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _figures(mirror: Mirror) -> tuple[int, int]:
    return mirror.counters.values, mirror.counters.acknowledged


async def _until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - counters and ports raise no event
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _broker() -> AsyncIterator[tuple[int, str]]:
    """(port, name) of a broker of our own on loopback, in its own process."""
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    program = shutil.which("mosquitto", path=search)
    if program is None:
        raise RuntimeError("no broker: install mosquitto (apt install mosquitto)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "broker.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n")
        process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - at the start
        try:
            await _until(lambda: _listens(port))
            yield port, Path(program).name
        finally:
            process.terminate()
            process.wait(5)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
