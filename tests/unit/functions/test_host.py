"""Twin functions that fail are started again, later each time, and at once again after a long good run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from peers.waiting import patient

from address_space.events import EventJournal
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.host import LONGEST_PAUSE_S, FunctionHost, Hosted
from twin_gateway.functions.results import ResultPoints


class Failing:
    """Fails after each of some times, then runs."""

    name = "failing"

    def __init__(self, runs: list[float]) -> None:
        self.time, self._runs = 0.0, runs
        self.well = asyncio.Event()

    def prepare(self) -> None:
        pass

    def specs(self) -> Sequence[MethodSpec]:
        return ()

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        raise NotImplementedError

    async def run(self) -> None:
        if self._runs:
            self.time += self._runs.pop(0)
            raise ValueError("boom")
        self.well.set()
        await asyncio.sleep(3600)


async def test_the_pause_doubles_and_begins_anew_after_a_run_longer_than_the_longest_pause() -> None:
    events = EventJournal()
    told, function = events.cursor("test"), Failing([1.0, 1.0, LONGEST_PAUSE_S + 1.0, 1.0])
    hosted = Hosted(function, ResultPoints(PointTable()))
    host = FunctionHost([hosted], Alarms(events), pause=0.01, monotonic=lambda: function.time)
    keeping = asyncio.create_task(host.keep(hosted))
    async with patient(5):
        await function.well.wait()
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    pauses = [event.text.rpartition(" in ")[2] for event in told.take()]
    assert pauses == ["0.01 s", "0.02 s", "0.01 s", "0.02 s"]
    assert host.failed == {}
