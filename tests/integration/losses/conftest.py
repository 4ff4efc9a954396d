"""A twin context with a real point table, over two feeders with meters."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from loss_grids import two_feeders

from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.worker import Worker


class Rig:
    """A context, its point table and its events."""

    def __init__(self, directory: Path, grid, place: str, worker: Worker) -> None:
        self.grid = grid
        self.table = PointTable()
        self.events = EventJournal()
        self.cursor = self.events.cursor("test")
        self.alarms = Alarms(self.events)
        self.worker = worker
        self.add(f"{meter}/MMTR1/{side}Wh" for meter in grid.meters for side in ("Dmd", "Sup"))
        self.context = TwinContext(
            self.table,
            self.events,
            self.alarms,
            ResultPoints(self.table),
            self.worker,
            grid,
            place,
            None,  # type: ignore[arg-type]  # losses command nothing
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            directory,
        )

    def add(self, addresses) -> None:
        """Add points with the link `field`."""
        self.table.add(Point(text, PointProfile.of(classify(parse(text))), "field") for text in addresses)

    def value(self, address: str):
        """Present value of a point."""
        return self.table.value(self.table.find(address))

    def told(self) -> list:
        """Events since the last call."""
        self.alarms.tick()
        return list(self.cursor.take())


class LoopWatch:
    """Longest turn of the event loop, by the processor time of its thread (other processes do not count)."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def _watch(self):
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.0005)
            self.longest = max(self.longest, time.thread_time() - before)


@pytest.fixture
def loop_watch():
    """See `LoopWatch`."""
    return LoopWatch()


@pytest.fixture(scope="session")
def compute():
    """One compute process for all tests."""
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def rig(tmp_path, compute):
    """Two feeders, two low-voltage areas with three customers each."""
    compute._lock = asyncio.Lock()  # a lock that was waited for belongs to the event loop of one test
    return Rig(tmp_path, two_feeders(ohm=0.002), "g/a", compute)


@pytest.fixture
def make_rig(tmp_path, compute):
    """A rig over another grid: call it with the grid and the place."""
    compute._lock = asyncio.Lock()
    return lambda grid, place: Rig(tmp_path, grid, place, compute)
