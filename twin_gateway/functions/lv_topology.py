"""Low-voltage topology at work: identify, compare with the records, change a reference when a person says so."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from address_space import clock
from address_space.events import Event
from address_space.ports import Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.interval_store import IntervalStoreError
from twin_gateway.functions.intervals import FILE as INTERVALS_FILE
from twin_gateway.functions.lv_topology_decisions import Decisions
from twin_gateway.functions.lv_topology_export import as_cim, as_csv
from twin_gateway.functions.lv_topology_job import Done, Job, Supply, run_job, supplies_of
from twin_gateway.functions.lv_topology_methods import seconds, specs, table
from twin_gateway.functions.lv_topology_points import ReferencePoints, function_of
from twin_gateway.functions.lv_topology_settings import LvTopologySettings
from twin_gateway.functions.lv_topology_store import (
    Reference,
    StoredFinding,
    StoredResult,
    TopologyStore,
)
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.grid.model import Meter, MeterRole
from twin_gateway.sqlite import damaged_aside
from twin_gateway.twin.lv_topology.finding import State
from twin_gateway.twin.lv_topology.identify import METHODS

log = logging.getLogger(__name__)

FILE = "lv_topology.sqlite"
_SEVERITY_FINDING = 250
_DAY_S = 86_400.0
T = TypeVar("T")


@dataclass
class _Run:
    """One identification that is under way or has ended."""

    number: int
    area: str
    state: str = "reading and computing"
    percent: float = 10.0
    result: str = ""
    text: str = ""
    status: int = StatusCode.Good
    seconds: float = 0.0
    counts: Counter[str] | None = None


class LvTopology:
    """The twin function. Its methods stand on `<place>/_/…/twTOPO1` of the area that the gateway serves.

    It has a compute process of its own: an identification takes seconds, and fault location must not wait for it. A
    worker that is given (to share a process that has started) is not closed by it.
    """

    name = "lv_topology"

    def __init__(self, context: TwinContext, settings: LvTopologySettings, worker: Worker | None = None) -> None:
        self._context = context
        self._settings = settings
        self.owner = function_of(context.place)
        self._supplies = supplies_of(context.grid)
        self._owners = {supply.address: function_of(supply.place) for supply in self._supplies}
        owners = (self.owner, *self._owners.values())
        # in one go: each one sorts the whole address space
        context.results.add(f"{owner}/{name}" for owner in owners for name in ("DiffCnt", "AgrCnt", "Cov", "LastId"))
        self._thread: ThreadPoolExecutor | None = None
        self._store = TopologyStore(context.data_directory / FILE, kept=settings.kept_results)
        self._latest: dict[str, StoredFinding] = {}
        self._references: dict[str, Reference] = {}
        self._accepted: dict[str, Reference] = {}
        self._points = ReferencePoints(context.results, context.grid.meters, self.meter)
        self._last = ""
        self._decisions = Decisions(
            context, self._store, meter=self.meter, decided=self._decided, in_thread=self._in_thread
        )
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:  # `run` tries again, and tells of it
            log.error("findings of low-voltage topology cannot be kept: %s", error)
        self._worker = worker or Worker()
        self._owns_worker = worker is None
        self._run: _Run | None = None
        self._job: asyncio.Task[None] | None = None
        self._runs = 0

    def _open(self) -> None:
        """Open the file and read what is known from before; a damaged file is put aside, and told.

        Raises:
            sqlite3.Error, OSError: it cannot be opened or written.
        """
        if self._store.is_open:
            return
        try:
            self._read()
        except sqlite3.Error as error:
            self._store.close()
            text = f"Findings of LV topology begin anew: {damaged_aside(self._store.path, error)}"
            self._context.alarms.event("G02", self.owner, text, 600)
            self._read()

    def _read(self) -> None:
        self._store.open()
        self._latest, self._references = self._store.latest(), self._store.references()
        self._accepted = self._store.accepted()
        results = self._store.results()
        self._last = results[0].id if results else ""

    def meter(self, address: str) -> Meter | None:
        """A meter with its references as accepted so far; None when the grid model has none of this address."""
        meter = self._context.grid.meters.get(address)
        changed = self._references.get(address)
        if meter is None or changed is None:
            return meter
        return replace(meter, transformer=changed.fed_by, phases=changed.phases)

    def references(self) -> dict[str, Reference]:
        """References (`FedBy`, `Phases`) that accepted findings have changed, by address of the meter."""
        return dict(self._references)

    def specs(self) -> Sequence[MethodSpec]:
        """The methods; people who only look may compare and export."""
        return specs(self.owner)

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run one of the methods."""
        try:
            return await self._called(name, arguments, caller)
        except sqlite3.Error as error:  # the file of findings is not open, full or damaged
            text = f"Findings cannot be kept: {error}"
            outputs = {"Accept": (0, text), "Reject": (text,)}
            return MethodResult(StatusCode.BadResourceUnavailable, outputs[name], text)

    async def _called(self, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        if name == "Identify":
            return await self._identify(arguments, caller)
        if name == "Progress":
            return self._progress(StatusCode.Good)
        if name == "Accept":
            return await self._decisions.accept(str(arguments[0] or ""), caller)
        if name == "Reject":
            return await self._decisions.reject(str(arguments[0] or ""), str(arguments[1] or ""), caller)
        chosen = self._chosen(str(arguments[0] or ""), caller)
        if name == "Export":
            return self._export(chosen, str(arguments[1] or ""))
        if name == "Compare":
            chosen = [item for item in chosen if item.finding.state is State.DIFFERS and self._differs(item)]
        return MethodResult(StatusCode.Good, table(chosen, self.meter))

    async def run(self) -> None:
        """Publish what is known from before; identifications run on demand. Ends their process when cancelled.

        Raises:
            sqlite3.Error, OSError: the file of findings cannot be opened.
        """
        try:
            self._open()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lv-topology")
            self._publish()
            await in_slices(self._points.write_all(self._accepted))
            await asyncio.Event().wait()
        finally:
            if self._job is not None:
                self._job.cancel()
                await asyncio.gather(self._job, return_exceptions=True)
            if self._owns_worker:
                self._worker.close()
            if self._thread is not None:
                self._thread.shutdown(wait=True)
                self._thread = None
            self._store.close()

    # ---- identification -------------------------------------------------------------------------------------------

    async def _identify(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        if self._job is not None and not self._job.done():
            return self._progress(StatusCode.BadResourceUnavailable, "An identification is under way")
        try:
            job, area = self._wanted(arguments)
        except ValueError as error:
            return self._progress(StatusCode.BadInvalidArgument, str(error))
        self._runs += 1
        self._run = _Run(self._runs, area)
        self._job = asyncio.create_task(self._work(job, self._run, caller), name="lv-topology identification")
        await asyncio.wait([self._job], timeout=self._settings.answer_within)
        return self._progress(self._run.status)

    def _wanted(self, arguments: Sequence[Any]) -> tuple[Job, str]:
        """The job that the arguments ask for.

        Raises:
            ValueError: they make no sense, or there is nothing to identify.
        """
        area, start, end, days, methods = arguments
        area = str(area or "")
        settings = self._settings
        until = seconds(end) or clock.to_unix(clock.now())
        span = float(days or settings.days)
        if not 0 < span <= settings.most_days:
            raise ValueError(f"A window is between 0 and {settings.most_days:g} days long")
        since = seconds(start) or until - span * _DAY_S
        if not 0 < until - since <= settings.most_days * _DAY_S:
            raise ValueError(f"A window begins before it ends and is at most {settings.most_days:g} days long")
        names = tuple(str(name) for name in methods or ()) or METHODS
        strange = [name for name in names if name not in METHODS]
        if strange:
            raise ValueError(f"There is no method '{strange[0][:40]}'; there are {', '.join(METHODS)}")
        supplies = [supply for supply in self._supplies if _within(area, supply)]
        if not supplies:
            raise ValueError("No transformer of this area is measured by phase on its low-voltage side")
        meters = self._meters(area, supplies)
        if not meters:
            raise ValueError("This area has no meters of customers")
        if len(meters) > settings.most_meters:
            raise ValueError(f"{len(meters)} meters are more than {settings.most_meters}: choose a smaller area")
        store = self._context.data_directory / INTERVALS_FILE
        return Job(store, tuple(meters), tuple(supplies), since, until, names, settings.threshold), area

    def _meters(self, area: str, supplies: Sequence[Supply]) -> list[Meter]:
        fed = {supply.address for supply in supplies}
        meters = (self.meter(address) for address in self._context.grid.meters)
        return [
            meter
            for meter in meters
            if meter is not None
            and meter.role is not MeterRole.BOUNDARY
            and (not area or meter.transformer in fed or _below(meter.address, area))
        ]

    async def _work(self, job: Job, run: _Run, caller: Caller) -> None:
        """Compute, keep, tell; whatever happens ends up in the run's state."""
        started = time.monotonic()
        try:
            done: Done = await self._worker.run_within(self._settings.limit, run_job, job)
            run.percent = 95.0
            await self._keep(job, run, done, caller)
            run.state, run.percent = "done", 100.0
        except (ComputeError, IntervalStoreError, ValueError, sqlite3.Error, OSError) as error:
            run.state, run.text, run.status = "failed", str(error), StatusCode.BadInvalidState
            log.warning("the identification of %s failed: %s", run.area or "everything", error)
            self._context.events.append(
                Event("twin", f"Identification of LV topology failed: {error}", 400, self.owner)
            )
        finally:
            run.seconds = time.monotonic() - started

    async def _keep(self, job: Job, run: _Run, done: Done, caller: Caller) -> None:
        outcome = done.identification
        details = {
            "trust": None if outcome.trust != outcome.trust else round(outcome.trust, 4),
            "methods": {
                weight.method: {
                    "scale": round(weight.scale, 3),
                    "limit": round(weight.limit, 2),
                    "stability": None if weight.stability != weight.stability else round(weight.stability, 4),
                    "agreement": None if weight.agreement != weight.agreement else round(weight.agreement, 4),
                }
                for weight in outcome.weights
            },
            "turned": list(done.turned),
            "silent": done.silent,
        }
        result = StoredResult("", run.area, outcome.start, outcome.end, clock.now(), caller.user, details)
        before = {meter: item.finding for meter, item in self._latest.items()}
        run.result, kept = await self._in_thread(lambda: self._store.add(result, outcome.findings))
        self._last = run.result
        self._latest.update((item.finding.meter, item) for item in kept)
        run.counts = Counter(item.finding.state.value for item in kept)
        run.text = self._told(done, run.counts)
        self._publish()
        for item in kept:
            finding = item.finding
            old = before.get(finding.meter)
            if finding.state is not State.DIFFERS or (
                old is not None
                and old.state is State.DIFFERS
                and (old.transformer, old.phases) == (finding.transformer, finding.phases)
            ):
                continue  # the same discrepancy has been told before
            self._context.events.append(
                Event(
                    "T01",
                    f"The data say {finding.transformer} phase {finding.phases}, the record "
                    f"{finding.recorded_transformer or 'no transformer'} phase {finding.recorded_phases or 'unknown'}",
                    _SEVERITY_FINDING,
                    finding.meter,
                    correlation=run.result,
                    value=round(finding.confidence, 4),
                    details=(("finding", item.id),),
                )
            )
        await asyncio.sleep(0)

    @staticmethod
    def _told(done: Done, counts: Counter[str]) -> str:
        text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no meters"
        if done.silent:
            text += f"; {done.silent} meters told nothing in this window"
        if done.turned:
            text += f"; counted the other way round than the grid model says: {', '.join(done.turned)}"
        return text

    def _progress(self, status: int, text: str = "") -> MethodResult:
        run = self._run
        if run is None:
            return MethodResult(status, ("", "idle", 0.0, 0, 0, 0, 0, 0.0, text), text)
        counts = run.counts or Counter()
        outputs = (
            run.result,
            run.state,
            run.percent,
            sum(counts.values()),
            counts[State.AGREES.value],
            counts[State.DIFFERS.value],
            counts[State.UNKNOWN.value],
            run.seconds,
            text or run.text,
        )
        return MethodResult(status, outputs, text or run.text)

    def _publish(self) -> None:
        """Counts of the newest findings: of the whole place, and of every transformer as it stands on record."""
        if not self._last:
            return
        everything = list(self._latest.values())
        values: dict[str, int | float | str] = {}
        by_transformer: dict[str, list[StoredFinding]] = {address: [] for address in self._owners}
        for item in everything:
            meter = self.meter(item.finding.meter)
            if meter is not None and meter.transformer in by_transformer:
                by_transformer[meter.transformer].append(item)
        groups = [(self.owner, everything)]
        groups += [(self._owners[address], items) for address, items in by_transformer.items()]
        for owner, items in groups:
            states = Counter(item.finding.state for item in items)
            sure = len(items) - states[State.UNKNOWN]
            values[f"{owner}/DiffCnt"] = states[State.DIFFERS]
            values[f"{owner}/AgrCnt"] = states[State.AGREES] + states[State.CONFIRMED]
            values[f"{owner}/Cov"] = sure / len(items) if items else 0.0
            values[f"{owner}/LastId"] = self._last
        self._context.results.write(values)

    # ---- what people decide and see ----------------------------------------------------------------------------------

    def _decided(self, item: StoredFinding, state: State, accepted: Reference | None) -> None:
        meter = item.finding.meter
        if accepted is not None:
            if accepted.revision:
                self._references[meter] = accepted
            self._accepted[meter] = accepted
            self._points.write(meter, accepted)
        self._latest[meter] = StoredFinding(item.id, replace(item.finding, state=state))
        self._publish()

    def _chosen(self, area: str, caller: Caller) -> list[StoredFinding]:
        """The newest findings of an area that the caller may read, in the order of their meters."""
        permits = self._context.policy.permits
        return [item for item in self._of_area(area) if permits(caller, Right.READ, item.finding.meter)]

    def _of_area(self, area: str) -> list[StoredFinding]:
        if not area:
            return [self._latest[meter] for meter in sorted(self._latest)]
        fed = {supply.address for supply in self._supplies if _within(area, supply)}
        return [
            item
            for address, item in sorted(self._latest.items())
            if _below(address, area)
            or item.finding.transformer in fed
            or ((meter := self.meter(address)) is not None and meter.transformer in fed)
        ]

    def _differs(self, item: StoredFinding) -> bool:
        """Whether it still differs from the record as it stands now."""
        meter = self.meter(item.finding.meter)
        return meter is None or (meter.transformer, sorted(meter.phases)) != (
            item.finding.transformer,
            sorted(item.finding.phases),
        )

    def _export(self, items: Sequence[StoredFinding], form: str) -> MethodResult:
        if form == "csv":
            return MethodResult(StatusCode.Good, (as_csv(items),))
        if form == "cim":
            mrids = {item.address: item.mrid for item in self._context.grid.equipment.values() if item.mrid}
            return MethodResult(StatusCode.Good, (as_cim(items, mrids, self._settings.authority),))
        text = f"There is no format '{form[:40]}'; there are csv and cim"
        return MethodResult(StatusCode.BadInvalidArgument, ("",), text)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def make_lv_topology(context: TwinContext, settings: LvTopologySettings, worker: Worker | None = None) -> LvTopology:
    """The twin function; its methods and points stand on `twTOPO1` of the place and of the measured transformers."""
    return LvTopology(context, settings, worker)


def _below(address: str, area: str) -> bool:
    return address == area or address.startswith(f"{area}/")


def _within(area: str, supply: Supply) -> bool:
    """Whether a transformer belongs to an area: by its address, by the place it feeds, or as its own address."""
    return not area or _below(supply.address, area) or _below(supply.place, area)
