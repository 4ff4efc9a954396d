"""The computations of one event, put together: location, isolation, restoration, plan; off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.isolate import plan_isolation
from twin_gateway.twin.flisr.locate import locate
from twin_gateway.twin.flisr.normal import return_to_normal
from twin_gateway.twin.flisr.plan import switching_plan
from twin_gateway.twin.flisr.problem import RestorationProblem, restoration_problems
from twin_gateway.twin.flisr.ready import ready
from twin_gateway.twin.flisr.records import (
    FaultKind,
    Indication,
    Isolation,
    LoadEstimate,
    Location,
    Plan,
    RestorationResult,
    SwitchState,
)
from twin_gateway.twin.flisr.restore import better, do_nothing, plan_restoration
from twin_gateway.twin.flisr.zones import Network, Positions

log = logging.getLogger(__name__)
_GRACE_S = 20.0
"""Beyond the deadline of the search itself, for a worker process that has yet to start."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The grid as it was before the fault.

    Attributes:
        positions: of every switch.
        loads: by address of the consumer.
        time: s, of the loss of supply.
    """

    positions: Mapping[str, Position]
    loads: Mapping[str, LoadEstimate]
    time: float


class Engine:
    """Runs the computations. What may take long runs in a process of its own, what may take a little in a thread."""

    def __init__(self, network: Network, settings: FlisrSettings, worker: Worker) -> None:
        self.network = network
        self._settings = settings
        self._worker = worker

    async def warm(self) -> None:
        """Start the compute process, so that the first fault does not wait for it."""
        await self._worker.run(ready)

    async def locate(
        self,
        snapshot: Snapshot,
        feeder: str,
        indications: Iterable[Indication],
        trip_time: float,
        kind: FaultKind,
    ) -> Location:
        """Where the fault is, in what the feeder's head fed before."""
        item = self.network.grid.feeders[feeder]
        return await asyncio.to_thread(
            locate,
            self.network,
            self._before(snapshot),
            item.head,
            {indication.address: indication for indication in indications},
            trip_time,
            settings=self._settings.locate_settings(),
            kind=kind,
            neutral=item.neutral,
        )

    async def plan(
        self,
        snapshot: Snapshot,
        feeder: str,
        states: Mapping[str, SwitchState],
        zones: Iterable[str],
        *,
        blocked: frozenset[str],
        barred: Iterable[str],
        now: float,
        device: str | None = None,
    ) -> tuple[Isolation, RestorationResult, Plan]:
        """Isolation of the zones taken as faulted, restoration of the rest, and the steps.

        Args:
            snapshot: before the fault.
            feeder: whose fault it is.
            states: of the switches now.
            zones: taken as faulted.
            blocked: switches that have failed.
            barred: further zones that must not become live.
            now: s.
            device: the breaker that cleared the fault; the feeder's head unless said, empty for one that is not known.
        """
        states = {**states, **{switch: _failed(states[switch]) for switch in blocked if switch in states}}
        head = self.network.grid.feeders[feeder].head if device is None else device
        isolation, problems = await asyncio.to_thread(
            self._prepare,
            snapshot,
            states,
            tuple(zones),
            head=head,
            reclose=head not in blocked,
            barred=tuple(barred),
            now=now,
        )
        problem, result = await self._restore(problems)
        plan = await asyncio.to_thread(
            switching_plan,
            self.network,
            states,
            isolation,
            problem,
            result,
            times=self._settings.plan_times(),
        )
        return isolation, result, plan

    async def _restore(self, problems: Iterator[RestorationProblem]) -> tuple[RestorationProblem, RestorationResult]:
        """The best answer, and the problem it answers: with the neighbour feeders first, with theirs when need be."""
        best: tuple[RestorationProblem, RestorationResult] | None = None
        while (problem := await asyncio.to_thread(next, problems, None)) is not None:
            limit = problem.settings.deadline + _GRACE_S
            try:
                result = await self._worker.run_within(limit, plan_restoration, problem)
            except ComputeError as error:
                # The search is for as long as there is time; to do nothing is always an answer, for people to judge.
                log.exception("the search for a restoration gave nothing back")
                why = f"no restoration could be searched for: {error}"
                result = await asyncio.to_thread(do_nothing, problem, why)
            if best is None or better(best[1], result) is result:
                best = problem, result
            if result.complete:
                break
        if best is None:
            raise ValueError("the isolation leaves no restoration problem")
        return best

    async def back(
        self,
        states: Mapping[str, SwitchState],
        loads: Mapping[str, LoadEstimate],
        switches: Iterable[str],
        barred: Iterable[str],
    ) -> Plan:
        """The way of some switches back to their normal positions; `barred` zones must not become live."""
        return await asyncio.to_thread(
            return_to_normal,
            self.network,
            states,
            loads,
            switches=sorted(switches),
            barred=sorted(barred),
            settings=self._settings.restore_settings(),
            times=self._settings.plan_times(),
        )

    # ---- in a thread ----------------------------------------------------------------------------------------------

    def _before(self, snapshot: Snapshot) -> Positions:
        return np.array([snapshot.positions[switch.address] for switch in self.network.switches], np.int8)

    def _prepare(
        self,
        snapshot: Snapshot,
        states: Mapping[str, SwitchState],
        zones: tuple[str, ...],
        *,
        head: str,
        reclose: bool,
        barred: tuple[str, ...],
        now: float,
    ) -> tuple[Isolation, Iterator[RestorationProblem]]:
        before = self._before(snapshot)
        isolation = plan_isolation(self.network, states, zones, device=head, before=before, reclose=reclose)
        problems = restoration_problems(
            self.network,
            states,
            isolation,
            snapshot.loads,
            before=before,
            outage=max(0.0, now - snapshot.time),
            settings=self._settings.restore_settings(),
            barred=[zone for zone in barred if zone not in isolation.isolated_zones],
        )
        return isolation, problems


def _failed(state: SwitchState) -> SwitchState:
    return replace(state, can_open=False, can_close=False, auto_close=False, reasons=(*state.reasons, "has failed"))
