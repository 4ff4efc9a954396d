"""The FLISR function: it feeds the sequences from the table, does what they ask for, and answers people's methods."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from typing import Any

import numpy as np

from address_space.catalogue import ValueType
from address_space.ingest import values_of
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import worst
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.flisr.cases import Cases
from twin_gateway.functions.flisr.columns import rows_of
from twin_gateway.functions.flisr.desk_work import DeskWork
from twin_gateway.functions.flisr.engine import Engine
from twin_gateway.functions.flisr.journal import FlisrJournal
from twin_gateway.functions.flisr.loads import LoadMemory
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.offers import PolledLink
from twin_gateway.functions.flisr.people import People
from twin_gateway.functions.flisr.points import FlisrPoints
from twin_gateway.functions.flisr.readings import reading_of
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.flisr.steady_clock import SteadyClock
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.watch import FeederWatch, Known, Reading
from twin_gateway.twin.flisr.zones import compile_network

log = logging.getLogger(__name__)
PUBLISH_S = 1.0
BREATH_S = 0.02
_AT_ONCE = 20


class FlisrFunction:
    """FLISR over all feeders of the grid model.

    Raises:
        ValueError: the command desk has no safety tags.
    """

    name = "flisr"

    def __init__(
        self,
        context: TwinContext,
        settings: FlisrSettings,
        links: Mapping[str, PolledLink] | None = None,
        worker: Worker | None = None,
    ) -> None:
        desk = context.desk
        if not isinstance(desk, CommandDesk) or desk.tags is None:
            raise ValueError("FLISR needs the gateway's command desk, with safety tags")
        self._table = context.table
        self._settings = settings
        self._clock = SteadyClock()
        # its own, and not behind others: nothing long may stand before a restoration
        self._worker = worker or Worker(nice=0)
        network = compile_network(context.grid)
        feeders = list(network.heads)
        self.eye = GridEye(context.table, network, desk.tags, settings)
        self.points = FlisrPoints(context.results, context.place, feeders)
        self._journal = FlisrJournal(context.data_directory / "flisr.sqlite")
        self._loads = LoadMemory(context.table, context.grid, settings.load_mean + 60.0, settings.load_sample)
        work = DeskWork(desk, self._journal, network)
        self.cases = Cases(
            context,
            settings,
            self.eye,
            engine=Engine(network, settings, self._worker),
            journal=self._journal,
            loads=self._loads,
            work=work,
            clock=self._clock,
            links=links or {},
        )
        self.people = People(context, settings, self.cases, desk)
        self._watches = {
            feeder: FeederWatch(
                network.grid.feeders[feeder],
                self.eye.ratings[network.grid.feeders[feeder].head].position,
                settings.watch_times(),
            )
            for feeder in feeders
        }
        self._told_trips: dict[str, float | None] = dict.fromkeys(feeders)
        self._desk = desk
        self._wake = asyncio.Event()
        self._watched: np.ndarray[Any, np.dtype[np.bool_]] = np.zeros(0, bool)
        self._watchers: dict[int, list[tuple[FeederWatch, str]]] = {}
        self._indicators: dict[int, str] = {}
        self._published = 0.0
        self._began = self._clock.now()
        self._kept: dict[str, Known] = {}
        """Heads as they are on disk."""
        if desk.interlock is not None:
            desk.interlock.faulted = self.cases.faulted
            desk.interlock.transfers = self.cases.transfers

    def prepare(self) -> None:
        """Look up the rows of everything that is read."""
        self._prepare()

    def specs(self) -> Items[MethodSpec]:
        """Methods, all at the area's FLISR object."""
        return self.people.specs()

    async def call(self, owner: str, name: str, arguments: Items[Any], caller: Caller) -> MethodResult:
        """Run a method."""
        return await self.people.call(name, arguments, caller)

    async def run(self) -> None:
        """Watch the feeders until cancelled."""
        await self._journal.open()
        cursor = self._table.journal.cursor("flisr", self._wake.set)
        try:
            await self.cases.restore()
            await self._remember_heads()
            await in_slices(self._look_at_all())
            self.cases.beside.spawn(self.cases.engine.warm(), "compute process")
            while True:
                await self._round(cursor.take())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.tick):
                        await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(BREATH_S)  # what comes in a burst is looked at together
        finally:
            cursor.close()
            await self.cases.beside.close()
            self._worker.close()
            await self._journal.close()

    # ---- one round ------------------------------------------------------------------------------------------------

    async def _round(self, chunks: list[Chunk]) -> None:
        try:
            if len(self._table) != len(self._watched):
                self._prepare()
            now = self._clock.now()
            await in_slices(part for chunk in chunks for part in self._take(chunk, now))
            self._loads.sample(now)
            await in_slices(self._watch_all(now))
            self._keep_heads(now)
            self.cases.tick(now)
            if now - self._published >= PUBLISH_S or self.cases.changed:
                self._published = now
                await in_slices(self._publish())
        except Exception as error:
            log.exception("a round of FLISR failed")
            self.cases.beside.tell_failure(error)
            await asyncio.sleep(PUBLISH_S)

    def _prepare(self) -> None:
        """The rows that matter, after the table has grown."""
        if len(self._table) == len(self._watched):
            return
        self.eye.refresh()
        self._loads.refresh()
        self._watchers.clear()
        watched = np.zeros(len(self._table), bool)
        for watch in self._watches.values():
            for point in watch.points():
                row = self.eye.row(point)
                if row >= 0:
                    self._watchers.setdefault(row, []).append((watch, point))
                    watched[row] = True
        watched[self.eye.position_rows] = True
        indicators = list(self.eye.network.grid.indicators)
        told = zip(rows_of(self._table, indicators).tolist(), indicators, strict=True)
        self._indicators = {row: address for row, address in told if row >= 0}
        watched[list(self._indicators)] = True
        self._watched = watched

    def _look_at_all(self) -> Iterator[None]:
        """What stands at the start, so that the first change is known as one."""
        self._prepare()
        now = self._clock.now()
        self.eye.note_all()
        for row, address in self._indicators.items():
            self.eye.passages.change(address, self.eye.reading(row))
            yield
        for watch in self._watches.values():
            head = self.eye.read(watch.points()[0])
            if head is not None:
                self._change(watch, watch.points()[0], head, now)
            yield

    async def _remember_heads(self) -> None:
        """What was known of the heads before the start; of others, that they are looked at since the start."""
        told = await self._journal.heads()
        self._kept = {feeder: Known(Position(position), since) for feeder, (position, since) in told.items()}
        for feeder, watch in self._watches.items():
            watch.remember(self._kept.get(feeder, Known(Position.UNKNOWN, self._began)))

    def _keep_heads(self, now: float) -> None:
        """Write down the heads that have moved, or have been seen for the first time."""
        rows = []
        for feeder, watch in self._watches.items():
            known, kept = watch.known(now), self._kept.get(feeder)
            if known is not None and known != kept:
                self._kept[feeder] = known
                rows.append((feeder, int(known.position), known.since))
        if rows:
            self.cases.beside.spawn(self._journal.put_heads(rows), "heads")

    def _take(self, chunk: Chunk, now: float) -> Iterator[None]:
        yield
        if chunk.texts is not None or chunk.timestamp_only:
            return
        inside = chunk.rows < len(self._watched)
        picked = np.nonzero(inside)[0]
        for number, index in enumerate(picked[self._watched[chunk.rows[picked]]]):
            if number % _AT_ONCE == 0:
                yield
            row = int(chunk.rows[index])
            self.eye.note(row, now)
            if row in self._indicators:
                self.eye.passages.change(self._indicators[row], self._reading(chunk, int(index), row))
            for watch, point in self._watchers.get(row, ()):
                self._change(watch, point, self._reading(chunk, int(index), row), now)

    def _reading(self, chunk: Chunk, index: int, row: int) -> Reading:
        """The value of the change itself: a pulse may be over when it is looked at."""
        kind = ValueType(int(self._table.value_type[row]))
        value = values_of(chunk.raw[index : index + 1], kind)[0]
        return reading_of(
            value,
            int(chunk.status[index]),
            int(chunk.source_time[index]),
            chunk.received,
            int(chunk.quality[index]),
        )

    def _change(self, watch: FeederWatch, point: str, reading: Reading, now: float) -> None:
        feeder = watch.feeder
        commanded = local = False
        if point == watch.points()[0]:
            sent = self._desk.last_sent(self.eye.ratings[feeder.head].command)
            commanded = sent is not None and now - self._clock.of(sent.time) <= self._settings.manual
            local = self.eye.switch_points.any_true(feeder.head, "local")
        watch.change(point, reading, now, commanded=commanded, local=local)

    def _watch_all(self, now: float) -> Iterator[None]:
        opened = self.eye.opened()
        for feeder, watch in self._watches.items():
            self._watch(feeder, watch, now, opened=watch.feeder.head in opened)
            yield

    def _watch(self, feeder: str, watch: FeederWatch, now: float, *, opened: bool) -> None:
        head = watch.feeder.head
        lost = dead = None
        if opened:
            lost, dead = self.eye.current_zero(head), self.eye.dead(self.eye.target(head))
        trigger = watch.tick(now, self.eye.read, current_lost=lost, dead=dead)
        trip = watch.last_trip
        if trip is not None and trip != self._told_trips[feeder]:
            self._told_trips[feeder] = trip
            self.cases.tripped(feeder, trip)
        if trigger is not None and not (watch.found and self.cases.case(feeder) is not None):
            # What is found at the start does not take over an event that was on before it.
            self.cases.begin(trigger)

    def _publish(self) -> Iterator[str]:
        rows = self.eye.position_rows
        quality = worst(self._table.quality[rows]) if len(rows) and self.cases.active() else 0
        return self.cases.publish(self.points, quality)


def make_flisr(
    context: TwinContext, settings: FlisrSettings, links: Mapping[str, PolledLink] | None = None
) -> FlisrFunction:
    """The FLISR function over the feeders of the grid model.

    The command desk of the context must have safety tags; its twin interlock, when it has one, learns of faulted zones.

    Args:
        context: see `TwinContext`.
        settings: see `FlisrSettings`.
        links: by name, to have devices say everything anew before a location; without them silence is no answer.
    """
    return FlisrFunction(context, settings, links)
