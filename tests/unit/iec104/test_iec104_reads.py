"""Read commands: several that ask for one object, and what is read again and again."""

import asyncio
import contextlib
import threading

from peers.iec104.scripted import Recorder, point
from peers.waiting import until

from twin_gateway.drivers.contract import PointChange
from twin_gateway.drivers.iec104.config import Iec104Config
from twin_gateway.drivers.iec104.driver import Iec104Driver
from twin_gateway.drivers.iec104.points import PointIndex
from twin_gateway.drivers.iec104.reads import Reads

CONFIG = Iec104Config(host="127.0.0.1")


async def test_who_joins_a_read_that_is_not_answered_is_told_so_and_not_cancelled():
    reads = Reads(lambda _octets: True, 0.1)

    async def join():
        await asyncio.sleep(0.05)
        return await reads.read(1, 5)

    told = await asyncio.gather(reads.read(1, 5), join(), return_exceptions=True)
    assert [type(problem) for problem in told] == [TimeoutError, TimeoutError]
    assert not reads.waiting


async def test_who_joins_a_read_that_is_given_up_is_told_that_there_was_no_answer():
    reads = Reads(lambda _octets: True, 10)
    first = asyncio.create_task(reads.read(1, 5))
    await asyncio.sleep(0)
    second = asyncio.create_task(reads.read(1, 5))
    await asyncio.sleep(0)
    first.cancel()
    told = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(problem) for problem in told] == [asyncio.CancelledError, TimeoutError]


async def test_points_are_made_ready_in_a_thread_when_they_change(monkeypatch):
    threads = []

    def made(config, points):
        threads.append(threading.current_thread())
        return PointIndex(config, points)

    driver = Iec104Driver("rtu", CONFIG, [])
    monkeypatch.setattr("twin_gateway.drivers.iec104.driver.PointIndex", made)
    both = [point(0, 1, "M_BO_NA_1", bit=3), point(1, 2, "M_BO_NA_1", bit=4), point(2, 3, "M_SP_NA_1", cdc="DPS")]
    await driver.update(PointChange(added=both))
    assert threads and threading.main_thread() not in threads
    assert (driver._index._pick.tolist(), driver._index._bit.tolist()) == ([4, 4, 2], [3, 4, 0])


async def test_the_points_are_looked_through_when_they_change_and_not_at_every_read():
    sent, looked = [], []

    class Counted(PointIndex):
        @property
        def points(self):
            looked.append(self)
            return self._points

        @points.setter
        def points(self, points):
            self._points = points

    indexes = [Counted(CONFIG, [point(0, 1, "M_SP_NA_1", read=0.1)])]
    reads = Reads(lambda octets: bool(sent.append(octets[6])) or True, 0.01)
    looked.clear()
    keeping = asyncio.create_task(reads.keep(CONFIG, lambda: indexes[-1], Recorder()))
    await until(lambda: len(sent) >= 3)
    assert looked == indexes
    indexes.append(Counted(CONFIG, [point(0, 2, "M_SP_NA_1", read=0.1)]))
    await until(lambda: 2 in sent)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert looked.count(indexes[1]) <= 2  # once when it was made
