"""What is computed for an event: its indications asked for anew, and plans made into offers."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from address_space.ports import Outcome
from twin_gateway.drivers.contract import LinkService
from twin_gateway.functions.flisr.case import Case
from twin_gateway.functions.flisr.engine import Engine
from twin_gateway.functions.flisr.leave import Leave
from twin_gateway.functions.flisr.observe import GridEye
from twin_gateway.functions.flisr.regions import Regions
from twin_gateway.functions.slices import each
from twin_gateway.twin.flisr.records import Indication
from twin_gateway.twin.flisr.states import Cause, MakePlan, Mode, Offer, Purpose, Trigger

log = logging.getLogger(__name__)


class PolledLink(Protocol):
    """What FLISR needs of a link: that it has its device say everything anew."""

    async def serve(self, service: LinkService) -> Outcome:
        """Run a service and await the device's answer."""
        ...


class Offers:
    """Makes offers of all events.

    Args:
        links: of the indicators' devices, by name.
        poll: s, the longest wait for their answers.
        barred: zones that must not become live, seen from an event.
    """

    def __init__(
        self,
        eye: GridEye,
        engine: Engine,
        *,
        regions: Regions,
        leave: Leave,
        links: Mapping[str, PolledLink],
        poll: float,
        barred: Callable[[Case | None], set[str]],
        now: Callable[[], float],
    ) -> None:
        self._eye = eye
        self._engine = engine
        self._regions = regions
        self._leave = leave
        self._links = links
        self._wait = poll
        self._barred = barred
        self._now = now

    async def indications(self, trigger: Trigger) -> list[Indication]:
        """All indications, after their devices have been asked to say everything anew."""
        await self._poll(trigger.feeder)
        indications: list[Indication] = []
        await each(indications.append, self._eye.indications())
        if not trigger.clock_good:
            # Without the time of the trip no other device's time says anything: everything goes by arrival.
            indications = [replace(each, time=None, clock_good=False) for each in indications]
        return indications

    async def _poll(self, feeder: str) -> None:
        """Have the indicators' devices say everything anew: only an answer after the trip is one."""
        region, names = self._regions.region(feeder), set()
        for address, indicator in self._eye.network.grid.indicators.items():
            row = self._eye.row(address)
            if indicator.equipment in region and indicator.poll and row >= 0:
                names.add(self._eye.table.binding(row)[0])
        asked = [
            asyncio.ensure_future(self._links[name].serve(LinkService.INTERROGATE))
            for name in sorted(names)
            if name in self._links
        ]
        if not asked:
            return
        _, waiting = await asyncio.wait(asked, timeout=self._wait)
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        for name, outcome in zip(sorted(names & self._links.keys()), outcomes, strict=True):
            if isinstance(outcome, BaseException) or not outcome.good:
                log.info("link %s gave no full answer for the location of a fault: %s", name, outcome)

    async def make(self, case: Case, ask: MakePlan) -> tuple[Offer, str]:
        """The plan that is asked for, from the grid as it is now, and what it is in a few words."""
        sequence, feeder = case.sequence, case.sequence.trigger.feeder
        name = f"P{uuid.uuid4().hex[:8]}"
        fingerprint = case.view.fingerprint(feeder)
        states = await asyncio.to_thread(self._eye.states, self._now())
        if ask.purpose is Purpose.RETURN:
            plan = await self._engine.back(
                states, case.snapshot.loads, self._regions.region(feeder), self._barred(case)
            )
            touched = [step.address for step in plan.steps]
            left = self._regions.not_normal(feeder, touched)
            offer = Offer(
                name, plan, fingerprint, Purpose.RETURN, involved=self._regions.involved(feeder, touched), left=left
            )
            return offer, f"{len(plan.steps)} steps back to normal"
        zones = case.sequence.faulted | ask.fault_zones
        isolation, result, plan = await self._engine.plan(
            case.snapshot,
            feeder,
            states,
            sorted(zones),
            blocked=ask.blocked,
            barred=self._barred(case),
            now=self._now(),
            device="" if sequence.trigger.cause is Cause.BREAKER_FAILURE else None,
        )
        involved = self._regions.involved(feeder, [step.address for step in plan.steps])
        refusals = tuple(self._leave.refusals(sequence.trigger)) if sequence.mode is Mode.AUTO else ()
        offer = Offer(name, plan, fingerprint, Purpose.FAULT, isolation, result, involved, refusals)
        share = f"{result.restored / 1e3:.0f} of {result.dead / 1e3:.0f} kW"
        return offer, f"{len(plan.steps)} steps, {share} restored ({result.method})"
