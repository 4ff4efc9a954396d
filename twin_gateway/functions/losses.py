"""Regional line losses at work: provisional results every interval, final ones later, conditions and methods (7.4)."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import closing
from typing import Any, TypeVar

import numpy as np

from address_space import clock, quality
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.interval_store import IntervalReader, IntervalStoreError
from twin_gateway.functions.intervals import FILE
from twin_gateway.functions.losses_conditions import MeterConditions
from twin_gateway.functions.losses_detect import Detections, explain
from twin_gateway.functions.losses_inputs import DAY_S
from twin_gateway.functions.losses_job import (
    OK,
    PROVISIONAL,
    LossJob,
    LossResult,
    balance_window,
    totals_of,
    write_grid,
)
from twin_gateway.functions.losses_methods import STATES, TOTALS, iso, seconds, specs, suspect_columns
from twin_gateway.functions.losses_publish import POINTS, LossPublisher
from twin_gateway.functions.losses_reactive import said
from twin_gateway.functions.losses_results import LossResults
from twin_gateway.functions.losses_search import LossSearch
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.losses_suspicions import StandingSuspicions
from twin_gateway.functions.slices import each
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.sqlite import damaged_aside
from twin_gateway.twin.losses.detection import Suspicion
from twin_gateway.twin.losses.regions import RegionKind, meters_of, padded, regions

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_WINDOW_S = 40 * DAY_S
_DETECTION_HOUR = 6
_LIMIT_S = 900.0
_PATIENCE_S = 30.0
"""A call waits so long for the first search."""


def _unix() -> float:
    return clock.to_unix(clock.now())


class Losses:
    """The twin function `losses`.

    Args:
        context: what twin functions share.
        settings: of the function.
        now: Unix seconds of the present.
        sleep: waits for some seconds of that time.
        worker: compute process; None makes one of its own, and another one for each search, so that neither
            switching plans nor the power flow wait for a balance of many days, nor a balance for them.
    """

    name = "losses"

    def __init__(
        self,
        context: TwinContext,
        settings: LossSettings,
        *,
        now: Callable[[], float] = _unix,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        worker: Worker | None = None,
    ) -> None:
        self._now, self._sleep = now, sleep
        self._context = context
        self._settings = settings
        self._store = context.data_directory / FILE
        self._grid_file = context.data_directory / "losses-grid.pickle"
        self._meters = meters_of(context.grid)
        found = regions(context.grid, {}, self._meters)
        self._kinds = {key: region.kind for key, region in found.items()}
        self.owner = f"{padded(context.place)}/twLOSS1"
        context.results.add(f"{key}/{name}" for key in found for name in POINTS)
        if self.owner not in found:
            context.results.add([f"{self.owner}/St"])
        retention = settings.retention_days * DAY_S
        self._results = LossResults(context.data_directory / "losses.sqlite", retention=retention)
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:  # `run` tries again, and tells of it
            log.error("losses cannot keep anything: %s", error)
        self._shown = LossPublisher(context, settings, self._results, self._kinds, now=now)
        self._conditions = MeterConditions(context, settings, self._meters, now=now)
        suspected = [*self._meters, *(key for key, kind in self._kinds.items() if kind is not RegionKind.PHASE)]
        self._suspected = StandingSuspicions(context, suspected if found else (), self._results)
        self._worker = worker or Worker()
        self._search = LossSearch(
            context,
            settings,
            self._results,
            kinds=self._kinds,
            suspected=self._suspected,
            job=self._job,
            compute=self._worker,
            worker=worker,
        )
        self._own_worker = worker is None
        self._searching: asyncio.Task[None] | None = None
        self._tried: dict[str, float] = {}
        self._lock = asyncio.Lock()

    def _open(self) -> None:
        """Open the file of results and leave the grid for the compute process; a damaged file is put aside, and told.

        Raises:
            sqlite3.Error, OSError: something cannot be written.
        """
        if self._results.is_open:
            return
        if self._kinds:
            write_grid(self._context.grid, self._grid_file)
        try:
            self._results.open()
        except sqlite3.Error as error:
            text = f"Results of losses begin anew: {damaged_aside(self._results.path, error)}"
            self._context.alarms.event("G02", self.owner, text, 600)
            self._results.open()

    # ---- methods --------------------------------------------------------------------------------------------------

    def specs(self) -> Sequence[MethodSpec]:
        """Compute, Recompute, Explain and TopSuspects on the loss function of the area."""
        return specs(self.owner)

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run a method; refusals say why."""
        del caller
        spec = next((spec for spec in self.specs() if (spec.owner, spec.name) == (owner, name)), None)
        if spec is None:
            return MethodResult(StatusCode.BadMethodInvalid, (), f"{owner} has no method {name}")
        methods: dict[str, Callable[..., Coroutine[Any, Any, MethodResult]]] = {
            "Compute": self._compute,
            "Recompute": self._recompute,
            "Explain": self._explain,
            "TopSuspects": self._top_suspects,
        }
        try:
            return await methods[name](*arguments)
        except (ValueError, KeyError) as error:
            status, text = StatusCode.BadInvalidArgument, str(error).strip("'\"")
        except (ComputeError, IntervalStoreError, sqlite3.Error) as error:
            status, text = StatusCode.BadResourceUnavailable, str(error)
        nothing = {6: 0, 7: 0, 11: math.nan, 12: ""}
        outputs = tuple([] if out.is_list else nothing[out.type_id] for out in spec.outputs)
        if spec.outputs[-1].name == "text":
            outputs = (*outputs[:-1], text)
        return MethodResult(status, outputs, text)

    @property
    def suspicions(self) -> list[Suspicion]:
        """What is suspected at present, the largest energy first."""
        return self._suspected.all

    @property
    def searching(self) -> bool:
        """Whether a search is under way."""
        return self._searching is not None

    def _key(self, region: str) -> str:
        """Key of a region from its place or its function.

        Raises:
            KeyError: there is no such region.
        """
        for key in (region, f"{padded(region)}/twLOSS1" if region.count("/") < 6 else ""):
            if key in self._kinds:
                return key
        raise KeyError(f"{region} is no region with a balance")

    def _window(self, t0: object, t1: object) -> tuple[float, float]:
        length = self._length()
        start, stop = seconds(t0), seconds(t1)
        start, stop = math.floor(start / length) * length, math.ceil(stop / length) * length
        if not start < stop:
            raise ValueError("the window ends before it begins")
        if stop - start > _LONGEST_WINDOW_S:
            raise ValueError(f"a window has at most {_LONGEST_WINDOW_S / DAY_S:g} days")
        return start, stop

    def _length(self) -> float:
        with closing(IntervalReader(self._store)) as reader:
            return reader.length

    async def _compute(self, region: str, t0: object, t1: object) -> MethodResult:
        key = self._key(region)
        start, stop = self._window(t0, t1)
        result = await self._work(balance_window, await self._job(start, stop))
        series = result.series.get(key)
        if series is None:
            raise KeyError(f"{region} had no balance in this window")
        totals = totals_of(series)
        states = self._states(result)[key]
        lists = (
            [iso(end) for end in result.ends.tolist()],
            series.loss.tolist(),
            series.uncertainty.tolist(),
            [STATES[state] for state in states],
        )
        text = f"{len(result.ends)} intervals of {result.length:g} s"
        return MethodResult(StatusCode.Good, (*(totals[name] for name, _ in TOTALS), *lists, text), text)

    async def _recompute(self, region: str, t0: object, t1: object) -> MethodResult:
        key = self._key(region)
        start, stop = self._window(t0, t1)
        changed = await self._update(start, stop)
        mine = changed.get(key, [])
        newest = max((revision for _, revision in mine), default=0)
        text = f"{len(mine)} intervals of {key} have another result"
        return MethodResult(StatusCode.Good, (len(mine), newest, text), text)

    async def _explain(self, region: str, t: object) -> MethodResult:
        key, length = self._key(region), self._length()
        start = math.floor(seconds(t) / length) * length
        found = await self._work(explain, await self._job(start, start + length), key)
        if found is None:
            raise KeyError(f"{region} had no balance at that time")
        marks = [
            ",".join(
                [quality.names(word), *(["estimated"] if guess else []), *(["missing"] if math.isnan(energy) else [])]
            )
            for word, guess, energy in zip(found.words, found.estimated, found.energies, strict=True)
        ]
        text = f"{len(marks)} terms from {iso(start)} to {iso(start + length)}"
        if found.reactive:
            basis = said(found.reactive, self._settings.power_factor)
            text += f"; reactive power of the technical loss: {basis}"
        lists = (found.addresses, found.sides, found.energies, marks, found.uncertainties)
        return MethodResult(StatusCode.Good, (*lists, found.loss, text), text)

    async def _top_suspects(self, count: int) -> MethodResult:
        if await asyncio.to_thread(self._results.suspicions) is None:
            await asyncio.wait([self.search_soon(self._now())], timeout=_PATIENCE_S)
        found = self.suspicions
        top = found[: int(count)]
        outputs = suspect_columns(top)
        text = f"{len(top)} of {len(found)} suspicions"
        if self._searching is not None:
            text += "; a search is under way"
        return MethodResult(StatusCode.Good, outputs, text)

    # ---- at work --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Compute after every interval, every hour and every day, until cancelled.

        Raises:
            sqlite3.Error, OSError: results cannot be kept.
        """
        if not self._kinds:
            log.info("the grid model names no region with a closed metered boundary: no losses are computed")
            return
        try:
            self._open()
            await self._suspected.restore()
            await self._first_data()
            while True:
                try:
                    length, now = self._length(), self._now()
                except (IntervalStoreError, sqlite3.Error) as error:
                    self._context.alarms.raise_("G02", self.owner, f"There are no interval data: {error}", 600)
                    await self._sleep(_PATIENCE_S)
                    continue
                due = math.floor((now - self._settings.delay) / length + 1) * length
                await self._sleep(max(due + self._settings.delay - now, 0.05))
                # A clock that was set back meanwhile: the interval is not over yet.
                if self._now() >= due + self._settings.delay - 1.0:
                    await self._reported(self.step, due)
        finally:
            if self._searching is not None:
                self._searching.cancel()
                await asyncio.wait([self._searching])
            if self._own_worker:
                self._worker.close()
            await asyncio.to_thread(self._results.close)

    async def _first_data(self) -> None:
        """Wait until a meter has told something; until then the results are bad, which is no trouble in itself."""
        told = False
        while not await asyncio.to_thread(self._has_data):
            if not told:
                told = True
                log.info("no meter has told anything yet: losses are computed when one has")
                await each(self._shown.nothing, self._kinds)
            await self._sleep(_PATIENCE_S)

    def _has_data(self) -> bool:
        try:
            with closing(IntervalReader(self._store)) as reader:
                return bool(reader.addresses())
        except (IntervalStoreError, sqlite3.Error):
            return self._store.is_file()  # the loop tells what is wrong with it

    async def _reported(self, work: Callable[[float], Awaitable[object]], moment: float) -> bool:
        """Whether the work was done; what fails is told."""
        try:
            await work(moment)
        except Exception as error:  # one failed computation must not end all later ones
            log.exception("losses could not be computed")
            self._context.alarms.raise_("G02", self.owner, f"Losses could not be computed: {error}", 600)
            return False
        return True

    async def step(self, now: float) -> None:
        """What is due at the end of an interval: new and late data, final days, hourly and daily windows."""
        length = self._length()
        stop = math.floor(now / length) * length
        done = [await self._reported(self._refresh, stop), await self._reported(self._finalise, now)]
        hour = math.floor(stop / 3600.0)
        if 3600.0 % length == 0 and await self._is_due("hour", hour, 24):
            done.append(await self._reported(self._search.hours, hour * 3600.0))
            await self._did("hour", hour)
        day = math.floor((stop - _DETECTION_HOUR * 3600.0) / DAY_S)
        if await self._is_due("day", day, 2) and self._tried.get("day", -1.0) != hour:
            self._tried["day"] = hour  # what fails, or is cut off by a restart, is tried again, but not at once
            if await asyncio.to_thread(self._results.progress, "day", -1.0) < 0:
                await self._did("day", day)
            else:
                self.search_soon(stop)
        if all(done):
            self._context.alarms.clear("G02", self.owner)

    async def _refresh(self, stop: float) -> None:
        """The newest interval, and those that late data have touched."""
        length = self._length()
        touched, sequence = await asyncio.to_thread(self._touched)
        oldest = stop - (self._settings.final_days + 1.5) * DAY_S
        ends = [end for end in touched if oldest <= end <= stop]
        start = min(stop - length, min(ends, default=stop) - 2 * length)
        if not self._shown.anything:  # after a start, to know what to show
            start = min(start, stop - self._settings.show_within)
        await self._update(start, stop)
        await asyncio.to_thread(self._results.put_progress, "sequence", float(sequence))

    async def _is_due(self, name: str, number: int, ahead: int) -> bool:
        """Whether something has not been done; a mark further ahead comes from a clock that has been wrong."""
        old = await asyncio.to_thread(self._results.progress, name, -1.0)
        return not number <= old <= number + ahead

    async def _did(self, name: str, number: int) -> None:
        await asyncio.to_thread(self._results.put_progress, name, float(number))

    def search_soon(self, now: float) -> asyncio.Task[None]:
        """Search the last whole days beside everything else; one at a time."""
        if self._searching is None:
            self._searching = asyncio.create_task(self._look(now), name="search for abnormal losses")
        return self._searching

    async def _look(self, now: float) -> None:
        try:
            if await self._reported(self.search, now):
                await self._did("day", math.floor((now - _DETECTION_HOUR * 3600.0) / DAY_S))
                await asyncio.to_thread(self._results.trim, now)
        finally:
            self._searching = None

    async def search(self, now: float) -> Detections:
        """Daily windows and suspicions of the last whole days, with their conditions; see `LossSearch.days`."""
        return await self._search.days(now)

    def _touched(self) -> tuple[list[float], int]:
        with closing(IntervalReader(self._store)) as reader:
            return reader.touched_since(int(self._results.progress("sequence")))

    def _final_time(self, end: float) -> float:
        """When the result of an interval is final: D+2 12:00 by default."""
        day = math.floor((end - 1e-3) / DAY_S) * DAY_S
        return day + self._settings.final_days * DAY_S + self._settings.final_hour * 3600.0

    async def _finalise(self, now: float) -> None:
        """Compute the days that become final once more."""
        last = math.floor((now - self._settings.final_hour * 3600.0) / DAY_S - self._settings.final_days)
        done = int(await asyncio.to_thread(self._results.progress, "final", float(last)))
        for day in range(max(done, last - 7) + 1, last + 1):
            await self._update(day * DAY_S, (day + 1) * DAY_S)
        await asyncio.to_thread(self._results.put_progress, "final", float(last))

    async def _job(self, start: float, stop: float) -> LossJob:
        return LossJob(self._store, self._grid_file, start, stop, self._settings, await self._conditions.clocks())

    async def _work(self, function: Callable[..., T], *arguments: object) -> T:
        return await self._worker.run_within(_LIMIT_S, function, *arguments)

    async def _update(self, start: float, stop: float) -> dict[str, list[tuple[int, int]]]:
        """Balance a window and publish what is new; returns (row, revision) by region."""
        async with self._lock:
            result = await self._work(balance_window, await self._job(start, stop))
            states = await asyncio.to_thread(self._states, result)
            changed = await asyncio.to_thread(self._results.revise, result, states)
            await self._shown.publish(result, states, changed)
            await self._conditions.tell(result, self._kinds)
            return changed

    def _states(self, result: LossResult) -> dict[str, list[int]]:
        now = self._now()
        final = np.array([self._final_time(end) <= now for end in result.ends.tolist()], bool)
        return {
            key: np.where((series.state == OK) & ~final, PROVISIONAL, series.state).tolist()
            for key, series in result.series.items()
        }


def make_losses(
    context: TwinContext,
    settings: LossSettings,
    *,
    now: Callable[[], float] = _unix,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    worker: Worker | None = None,
) -> Losses:
    """The loss function; the interval data (`make_intervals`) must have been made before. Arguments of `Losses`."""
    return Losses(context, settings, now=now, sleep=sleep, worker=worker)
