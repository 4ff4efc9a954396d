"""The compute process: results, errors, time limits, deaths; it never outlives the service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from twin_gateway.functions.worker import ComputeError, Worker


def double(number: int) -> int:
    return 2 * number


def refuse(text: str) -> None:
    raise ValueError(text)


def die(marker: str, times: int) -> str:
    """End this process as often as asked, then answer."""
    path = Path(marker)
    died = len(path.read_text()) if path.exists() else 0
    if died < times:
        path.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def process() -> int:
    return os.getpid()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    yield made
    made.close()


async def test_it_computes_in_another_process_and_keeps_it(worker: Worker) -> None:
    assert await worker.run(double, 21) == 42
    first = await worker.run(process)
    assert first != os.getpid()
    assert await worker.run(process) == first


async def test_what_a_computation_raises_is_raised_here(worker: Worker) -> None:
    with pytest.raises(ValueError, match="no such grid"):
        await worker.run(refuse, "no such grid")
    assert await worker.run(double, 1) == 2


async def test_a_process_that_dies_once_is_replaced(worker: Worker, tmp_path: Path) -> None:
    assert await worker.run(die, str(tmp_path / "died"), 1) == "alive"


async def test_a_computation_that_kills_its_process_twice_is_given_up(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match="died during die"):
        await worker.run(die, str(tmp_path / "died"), 2)
    assert await worker.run(double, 3) == 6


async def test_a_computation_over_its_time_is_ended(worker: Worker) -> None:
    await worker.run(double, 1)
    with pytest.raises(ComputeError, match=r"longer than 0\.2 s"):
        await worker.run_within(0.2, time.sleep, 30)
    assert await worker.run(double, 4) == 8


async def test_a_cancelled_computation_ends_its_process(worker: Worker) -> None:
    computing = psutil.Process(await worker.run(process))
    task = asyncio.create_task(worker.run(time.sleep, 30))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert computing.wait(5) is not False
    assert await worker.run(double, 5) == 10


SERVICE = """
import asyncio, os, sys, time
from twin_gateway.functions.worker import Worker

async def main():
    worker = Worker()
    print(await worker.run(os.getpid), flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_killed_service_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        computing = psutil.Process(int(service.stdout.readline()))
        service.kill()
        psutil.wait_procs([computing], 5)
        assert not computing.is_running()
