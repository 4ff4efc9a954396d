"""What is left after kill -9 of the service, of the history process and of both, and when the disk is full."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.history.grid import HistoryGrid, address, numbers
from peers.waiting import until, wait_until

from address_space import clock
from twin_gateway.history.database import HistoryPausedError
from twin_gateway.history.reading import Reader
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import HistoryStore
from twin_gateway.history.values import DATA_LOST

Make = Callable[..., HistoryGrid]
TESTS = Path(__file__).parents[2]
WINDOW = clock.TICKS_PER_SECOND
"""What a crash may lose: the interval of 0.2 s, a round of 0.1 s and a commit on a crowded machine."""


class Writer:
    """The counting service, and the last line that it printed."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.history.writer", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.line: dict[str, Any] = {"written": 0}

    def run_until(self, written: int) -> None:
        """Until so many samples are committed."""
        assert self.process.stdout is not None
        while self.line["written"] < written:
            self.line = json.loads(self.process.stdout.readline())

    def kill(self, *, history: bool) -> None:
        """kill -9 at this moment, perhaps with the history process; what was printed meanwhile counts."""
        if history:
            os.kill(self.line["pid"], signal.SIGKILL)
        self.process.kill()
        rest, _ = self.process.communicate()
        for text in rest.splitlines():
            with contextlib.suppress(ValueError):  # the last line may be a part of one
                self.line = json.loads(text)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "history")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


def opened(folder: Path) -> HistoryStore:
    store = HistoryStore(folder, HistorySettings(reserve_mb=0))

    def free() -> bool:
        try:
            store.open()
        except HistoryPausedError:  # the history process is still committing what it had received
            return False
        return True

    wait_until(free)
    return store


@pytest.mark.parametrize("history", [False, True], ids=["of the service", "of the service and its history process"])
def test_kill_9_loses_nothing_that_was_committed_and_at_most_the_window(
    writer: Writer, tmp_path: Path, history: bool
) -> None:
    writer.run_until(200)
    writer.kill(history=history)
    store = opened(tmp_path / "history")
    page = Reader(store).raw(address(0), 0, 1 << 61, 0)
    kept = page.samples.value[page.samples.status != DATA_LOST]
    assert kept.tolist() == list(range(1, len(kept) + 1))
    assert len(kept) >= writer.line["written"]
    assert writer.line["time"] - page.samples.time[len(kept) - 1] <= WINDOW
    assert page.samples.status[-1] == DATA_LOST
    store.close()


async def test_kill_9_of_the_history_process_loses_nothing(make_grid: Make) -> None:
    grid = make_grid()
    await grid.start()
    for number in range(100):
        grid.put(0, number)
        if number % 20 == 10:
            await grid.read()
        if number == 30:
            os.kill(grid.history.pid, signal.SIGKILL)
    await until(lambda: grid.history.counters.restarts >= 1)
    found = await grid.read()
    assert numbers(found).tolist() == list(range(100))
    assert DATA_LOST not in found.status.tolist()
    assert any(text.startswith("G02") for text in grid.said())


async def test_with_a_full_disk_the_history_pauses_is_told_and_goes_on_without_a_loss(make_grid: Make) -> None:
    grid = make_grid()
    await grid.start()
    grid.put(0, 1.0)
    assert numbers(await grid.read()).tolist() == [1]
    # As on a full disk every file of the process may grow no more.
    resource.prlimit(grid.history.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    grid.put(0, 2.0)
    await until(lambda: grid.history.counters.paused)
    assert any("pauses" in text for text in grid.said())
    grid.put(0, 3.0)
    resource.prlimit(grid.history.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await until(lambda: not grid.history.counters.paused)
    found = await grid.read()
    assert numbers(found).tolist() == [1, 2, 3]
    await grid.stop()
    again = make_grid()
    await again.start()
    assert numbers(await again.read()).tolist() == [1, 2, 3]


async def test_the_history_process_ends_with_the_service_and_leaves_the_folder_free(make_grid: Make) -> None:
    grid = make_grid()
    await grid.start()
    grid.put(0, 1.0)
    await grid.read()
    pid = grid.history.pid
    await grid.stop()
    assert not Path(f"/proc/{pid}").exists()
    store = opened(grid.folder)
    assert store.counters.written == 0
    store.close()
