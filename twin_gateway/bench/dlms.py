"""Benchmark: reading 8 registers of 1 000 and of 5 000 DLMS meters, HLS-GMAC with suite 0, into the point table.

The meters are another process behind one port. A cycle is everything that the service does with a meter: request,
ciphering, decoding, scaler and unit, supervisor, table.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms.config import DlmsConfig
from twin_gateway.drivers.dlms.driver import DlmsDriver
from twin_gateway.drivers.link import LinkSupervisor

REGISTERS = {
    "1-0:1.8.0": ("DmdWh", "active energy", {"value": 123456, "unit": "Wh", "rate": 0.3}),
    "1-0:2.8.0": ("SupWh", "active energy", {"value": 4321, "unit": "Wh"}),
    "1-0:32.7.0": ("PhVA", "voltage", {"value": 230.1, "unit": "V", "scaler": -1, "swing": 3}),
    "1-0:52.7.0": ("PhVB", "voltage", {"value": 231.2, "unit": "V", "scaler": -1, "swing": 3}),
    "1-0:72.7.0": ("PhVC", "voltage", {"value": 229.9, "unit": "V", "scaler": -1, "swing": 3}),
    "1-0:31.7.0": ("AphsA", "current", {"value": 5.23, "unit": "A", "scaler": -2, "swing": 1}),
    "1-0:51.7.0": ("AphsB", "current", {"value": 4.11, "unit": "A", "scaler": -2, "swing": 1}),
    "1-0:71.7.0": ("AphsC", "current", {"value": 6.33, "unit": "A", "scaler": -2, "swing": 1}),
}
_KEYS = {"authentication": "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF", "encryption": "000102030405060708090A0B0C0D0E0F"}
_PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: meters, and cycles over all of them."""

    meters: int = 1000
    cycles: int = 5


QUICK = Size(20, 2)
MANY, MANY_QUICK = Size(5000, 3), Size(60, 2)
"""As many as one process is meant to serve, behind one concentrator; one in a hundred of them answers nothing."""
_SILENT_EVERY = 100


def run(quick: bool = False) -> dict[str, Any]:
    """Run the benchmark, one to two minutes.

    Returns:
        `cycle_s` (median of the cycles, wall), `cycle_cpu_s` (processor time of this process in that time),
        `registers_per_s`, `associate_s` for all meters, `kib_per_meter` of resident memory, every cycle.
        `cycle_5000_s`, `associate_5000_s` and `mib_5000` (resident memory of those meters): the same for 5 000
        meters at one host, of which 50 answer nothing while the others are read.
    """
    found = uvloop.run(_run(QUICK if quick else Size()))
    many = uvloop.run(_run(MANY_QUICK if quick else MANY, silent_every=_SILENT_EVERY))
    return found | {
        "cycle_5000_s": many["cycle_s"],
        "cycles_5000": many["cycles"],
        "cycle_5000_cpu_s": many["cycle_cpu_s"],
        "associate_5000_s": many["associate_s"],
        "mib_5000": round(many["kib_per_meter"] * many["meters"] / 1024, 1),
        "meters_5000": many["meters"],
        "silent_5000": many["silent"],
    }


async def _run(size: Size, silent_every: int = 0) -> dict[str, Any]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most != resource.RLIM_INFINITY else 8192, most))
    with tempfile.TemporaryDirectory() as directory:
        path = _write_meters(Path(directory), size.meters)
        meters = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "twin_gateway.simulate.dlms",
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        try:
            async with asyncio.timeout(300):
                return await _measure(meters, Path(directory), size, silent_every)
        finally:
            if meters.returncode is None:
                meters.kill()
            await meters.wait()


def _write_meters(directory: Path, meters: int) -> Path:
    """The meter file; YAML takes JSON."""
    file = {
        "port": 0,
        "defaults": {
            "security": "hls-gmac",
            "keys": _KEYS,
            "registers": {code: register for code, (_, _, register) in REGISTERS.items()},
        },
        "meters": {f"m{number}": {} for number in range(1, meters + 1)},
    }
    path = directory / "meters.yaml"
    path.write_text(json.dumps(file), "utf-8")
    return path


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize() // 1024


async def _measure(
    meters: asyncio.subprocess.Process, directory: Path, size: Size, silent_every: int
) -> dict[str, Any]:
    if meters.stdout is None or meters.stdin is None:
        raise RuntimeError("the meters' process has no pipe")
    silent = set(range(silent_every, size.meters + 1, silent_every)) if silent_every else set[int]()
    port = next(iter(json.loads(await meters.stdout.readline())["ports"].values()))
    table, events = PointTable(), EventJournal()
    before = _resident_kib()
    everybody = links = [_link(number, port, table, events, directory) for number in range(1, size.meters + 1)]
    began = time.monotonic()
    tasks = [asyncio.create_task(link.run()) for link in links]
    try:
        await _until(links, 1)
        associated = time.monotonic() - began
        used = _resident_kib() - before
        for number in silent:
            meters.stdin.write(json.dumps({"meter": f"m{number}", "silent": True}).encode() + b"\n")
        await meters.stdin.drain()
        links = [link for number, link in enumerate(links, 1) if number not in silent]
        dead = [link for number, link in enumerate(everybody, 1) if number in silent]
        walls, cpus = [], []
        for _ in range(size.cycles):
            target = _polls(links) + len(links)
            wall, cpu = time.monotonic(), time.process_time()
            for link in (*dead, *links):
                driver = link.driver
                if isinstance(driver, DlmsDriver):
                    driver.read_now()
            await _until(links, target // len(links))
            walls.append(time.monotonic() - wall)
            cpus.append(time.process_time() - cpu)
        rows = len(links) * len(REGISTERS)
        good = sum(table.sample(row).status == 0 for row in range(len(table)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if good < rows:
        raise RuntimeError(f"only {good} of {rows} registers are Good")
    cycle = statistics.median(walls)
    return {
        "cycle_s": round(cycle, 3),
        "cycle_cpu_s": round(statistics.median(cpus), 3),
        "registers_per_s": round(rows / cycle),
        "associate_s": round(associated, 3),
        "kib_per_meter": round(used / size.meters, 1),
        "meters": size.meters,
        "silent": len(silent),
        "registers": len(REGISTERS),
        "cycles": [round(wall, 3) for wall in walls],
    }


def _link(number: int, port: int, table: PointTable, events: EventJournal, directory: Path) -> LinkSupervisor:
    name = f"m{number}"
    addresses = [f"bench/_/SP{number:06}/LV1/_/M1/GGIO{at}/AnIn{at}" for at in range(len(REGISTERS))]
    rows = table.add(Point(address, _PROFILE, name, at) for at, address in enumerate(addresses))
    points = [
        BoundPoint(row, address, "MV", ValueType.DOUBLE, {"obis": code}, quantity=quantity)
        for row, address, (code, (_, quantity, _)) in zip(rows, addresses, REGISTERS.items(), strict=True)
    ]
    config = DlmsConfig.model_validate(
        {
            "host": "127.0.0.1",
            "port": port,
            "logical_device": number,
            "security": "hls-gmac",
            "keys": _KEYS,
            "poll": 3600,
            "keep_alive": 3600,
            "parallel": 32,
            "timeout": 5,
        }
    )
    return LinkSupervisor(
        name,
        DlmsDriver(name, config, points),
        table=table,
        events=events,
        address=f"bench/_sys/_/_/_/{name}",
        data_directory=directory / name,
    )


def _polls(links: list[LinkSupervisor]) -> int:
    return sum(link.counters["polls"] for link in links)


async def _until(links: list[LinkSupervisor], polls: int) -> None:
    """Waits until every meter has been read so often."""
    for link in links:
        while link.counters["polls"] < polls:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.005)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
