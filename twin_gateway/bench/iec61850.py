"""Benchmark: MMS reports into the point table, of everything (50 members, 330 leaves) and of one change each."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from address_space.catalogue import ValueType, VariableKind
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec61850.config import Iec61850Config
from twin_gateway.drivers.iec61850.driver import Iec61850Driver
from twin_gateway.drivers.link import LinkSupervisor

MEMBERS, LEAVES = 50, 330
_WARM_UP_S, _QUICK_WARM_UP_S = 2.5, 0.5
_WINDOWS = 5
_WINDOW_S, _QUICK_WINDOW_S = 1.5, 0.2
_PATIENCE_S = 60.0
"""How long a window waits for its first report; a quick one is shorter than a pause of a crowded machine."""
_PROFILE = PointProfile("MV", ValueType.DOUBLE, VariableKind.ANALOG)


def _references() -> list[tuple[str, str]]:
    """(reference, CDC) of every measured value of the reports."""
    found = []
    for node in range(1, 11):
        found += [(f"LD0/MMXU{node}.{name}", "MV") for name in ("TotW", "TotVAr", "Hz")]
        found += [(f"LD0/MMXU{node}.{name}.phs{phase}", "CMV") for name in ("PhV", "A") for phase in "ABC"]
    return found


async def _measure(kind: str, warm_up: float, window: float) -> tuple[float, float]:
    """Reports a second of our own processor time and by the wall clock."""
    peer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "twin_gateway.simulate.iec61850_flood",
        kind,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if peer.stdout is None:
            raise RuntimeError("the device has no output")
        port = json.loads(await asyncio.wait_for(peer.stdout.readline(), 100))["port"]
        table = PointTable()
        references = _references()
        rows = table.add(
            Point(f"b/a/s/v/f/_/{reference[4:].replace('.', '/')}", _PROFILE, "ied", reference)
            for reference, _ in references
        )
        bound = [
            BoundPoint(row, "", cdc, ValueType.DOUBLE, {"ref": reference})
            for row, (reference, cdc) in zip(rows, references, strict=True)
        ]
        driver = Iec61850Driver("ied", Iec61850Config(host="127.0.0.1", port=port, ied="FLOOD"), bound)
        with tempfile.TemporaryDirectory() as directory:
            link = LinkSupervisor(
                "ied",
                driver,
                table=table,
                events=EventJournal(),
                address="b/_sys/g/_/_/ied",
                data_directory=Path(directory),
            )
            task = asyncio.create_task(link.run())
            await _reports(link, warm_up)
            # Those that came before the block was enabled and its plan known are not measured.
            before = _wrong(link)
            rates, walls = [], []
            for _ in range(_WINDOWS):
                reports, cpu, wall = link.counters["reports"], time.process_time(), time.perf_counter()
                await _reports(link, window)
                came = link.counters["reports"] - reports
                rates.append(came / (time.process_time() - cpu))
                walls.append(came / (time.perf_counter() - wall))
            wrong = _wrong(link) - before
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if wrong or not all(rates):
            raise RuntimeError(f"the measurement is not valid: {dict(link.counters)}")
    finally:
        peer.kill()
        await peer.wait()
    return median(rates), median(walls)


async def _measure_both(warm_up: float, window: float) -> dict[str, float]:
    rate, wall = await _measure("everything", warm_up, window)
    single, single_wall = await _measure("changes", warm_up, window)
    return {
        "leaves_per_s": round(rate * LEAVES),
        "reports_per_s": round(rate),
        "leaves_per_wall_s": round(wall * LEAVES),
        "members": MEMBERS,
        "leaves": LEAVES,
        "single_change_reports_per_s": round(single),
        "single_change_reports_per_wall_s": round(single_wall),
    }


async def _reports(link: LinkSupervisor, seconds: float) -> None:
    """Let reports come for some seconds, and on until there is one."""
    before, end = link.counters["reports"], time.perf_counter() + seconds + _PATIENCE_S
    await asyncio.sleep(seconds)
    while link.counters["reports"] == before and time.perf_counter() < end:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.05)


def _wrong(link: LinkSupervisor) -> int:
    return link.counters["report_errors"] + link.counters["value_errors"] + link.counters["losses"]


def run(quick: bool = False) -> dict[str, float]:
    """What one second of our own processor time takes (one core), and what came through by the wall clock; about 24 s.

    Raises:
        RuntimeError: reports were lost or could not be read, so that the figure would mean nothing.
    """
    warm_up, window = (_QUICK_WARM_UP_S, _QUICK_WINDOW_S) if quick else (_WARM_UP_S, _WINDOW_S)
    try:
        import uvloop  # noqa: PLC0415 - the service runs on it where there is one
    except ImportError:
        return asyncio.run(_measure_both(warm_up, window))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure_both(warm_up, window))


if __name__ == "__main__":
    print(json.dumps(run()))
