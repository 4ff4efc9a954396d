"""Benchmark: leaves a second of MMS reports (interrogation, 50 members, 330 leaves) into the point table."""

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


async def _measure(warm_up: float, window: float) -> dict[str, float]:
    peer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "twin_gateway.simulate.iec61850_flood",
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
                leaves = (link.counters["reports"] - reports) * LEAVES
                rates.append(leaves / (time.process_time() - cpu))
                walls.append(leaves / (time.perf_counter() - wall))
            wrong = _wrong(link) - before
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if wrong or not all(rates):
            raise RuntimeError(f"the measurement is not valid: {dict(link.counters)}")
    finally:
        peer.kill()
        await peer.wait()
    rate = median(rates)
    return {
        "leaves_per_s": round(rate),
        "reports_per_s": round(rate / LEAVES),
        "leaves_per_wall_s": round(median(walls)),
        "members": MEMBERS,
        "leaves": LEAVES,
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
    """Leaves a second of our own processor time (one core), and what came through by the wall clock; takes about 12 s.

    Raises:
        RuntimeError: reports were lost or could not be read, so that the figure would mean nothing.
    """
    warm_up, window = (_QUICK_WARM_UP_S, _QUICK_WINDOW_S) if quick else (_WARM_UP_S, _WINDOW_S)
    try:
        import uvloop  # noqa: PLC0415 - the service runs on it where there is one
    except ImportError:
        return asyncio.run(_measure(warm_up, window))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(warm_up, window))


if __name__ == "__main__":
    print(json.dumps(run()))
