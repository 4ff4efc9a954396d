"""Switching plans: steps with what must be true before, what is to be seen after, and why (spec 3.6)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

import numpy as np

from twin_gateway.grid.model import BREAKS_FAULTS
from twin_gateway.twin.flisr.case import Case
from twin_gateway.twin.flisr.problem import RestorationProblem
from twin_gateway.twin.flisr.records import (
    Action,
    Condition,
    Isolation,
    OnFail,
    Plan,
    PlanTimes,
    RestorationResult,
    Stage,
    Step,
    SwitchState,
)
from twin_gateway.twin.flisr.supply import Supply
from twin_gateway.twin.flisr.zones import CLOSED, OPEN, Network, Positions

TAG_AFTER = Stage.ISOLATE
"""Switches opened in this stage get persistent FLISR tags once they are seen open."""


def switching_plan(
    network: Network,
    states: Mapping[str, SwitchState],
    isolation: Isolation,
    problem: RestorationProblem,
    result: RestorationResult,
    *,
    now: Positions | None = None,
    times: PlanTimes | None = None,
) -> Plan:
    """Isolation, upstream and downstream restoration of one fault as steps.

    Reclosing of the tripped feeder is blocked first and stays blocked; opens come before closes; what is closed is
    closed onto a dead part, one after the other, outward from the live side.

    Args:
        network: the grid.
        states: of the switches now.
        isolation: what is to be opened.
        problem: the restoration problem that was answered; its hash is that of the plan.
        result: its answer.
        now: `network.positions(states)` for a caller that has it already.
        times: timing of the steps.
    """
    writer = StepWriter(network, (network.positions(states) if now is None else now).copy(), times or PlanTimes())
    warnings = [*isolation.problems, *result.warnings]
    auto_ok = result.auto_ok and isolation.complete
    device = isolation.trip_device
    feeder = writer.feeder_of_head(device)
    blocked = ""
    if feeder:
        record = network.grid.feeders[feeder]
        if record.reclose_block:
            blocked = feeder
            writer.reclosing(feeder, Action.BLOCK_RECLOSE, Stage.ISOLATE, "no reclosing while switches are operated")
        elif record.reclosing != "none":
            warnings.append(f"reclosing of {feeder} cannot be blocked")
            auto_ok = False
    before_opening = [Condition("reclose_blocked", blocked)] if blocked else []
    if device:
        before_opening.append(Condition("position", device, "open"))
    for boundary in isolation.boundaries:
        if not boundary.open_now:
            instead = f" instead of {boundary.moved_from}, which is not available" if boundary.moved_from else ""
            reason = f"isolates the fault on its {boundary.side} side{instead}"
            writer.open(boundary.switch, Stage.ISOLATE, reason, before_opening, idle=True)
    for zone in isolation.isolated_zones:
        writer.given_up.add(zone)
    moving = {operation.switch for operation in result.operations}
    # the trip device comes first, unless load must be shed before it can be closed
    if result.upstream and device not in moving:
        writer.close(device, Stage.UPSTREAM, "feeds the healthy part before the fault again", before_opening[:-1])
    for operation in result.operations:
        if not operation.close:
            writer.open(operation.switch, Stage.RESTORE, "parts load that the feeders cannot carry together", [])
        elif operation.switch == device:
            writer.close(device, Stage.UPSTREAM, "feeds the healthy part before the fault again", before_opening[:-1])
        else:
            writer.close(operation.switch, Stage.RESTORE, "restores a healthy part from another side", [])
    return Plan(
        steps=tuple(writer.steps),
        inputs=problem_hash(problem, isolation),
        fault_zones=isolation.fault_zones,
        isolated_zones=isolation.isolated_zones,
        method=result.method,
        auto_ok=auto_ok,
        warnings=tuple(warnings),
    )


class StepWriter:
    """Writes steps and follows what they do to the supply."""

    def __init__(self, network: Network, positions: Positions, times: PlanTimes) -> None:
        self.network, self.positions, self.times = network, positions, times
        self.steps: list[Step] = []
        self.given_up: set[str] = set()

    def feeder_of_head(self, device: str) -> str:
        """The feeder with this breaker at its head; empty for none."""
        number = self.network.switch_index.get(device, -1)
        return next((address for address, head in sorted(self.network.heads.items()) if head == number), "")

    def supply(self) -> Supply:
        """Who feeds what after the steps so far."""
        return Supply(self.network, self.positions)

    def open(self, address: str, stage: Stage, reason: str, before: Iterable[Condition], *, idle: bool = False) -> None:
        """A step that opens a switch; `idle`: only without current."""
        number = self.network.switch_index[address]
        conditions = [
            *before,
            Condition("position", address, "closed"),
            Condition("available", address, "open"),
            Condition("not_tagged", address),
        ]
        if idle:
            conditions.append(Condition("current_zero", address, seconds=self.times.current_zero))
        self.positions[number] = OPEN
        expected = [Condition("position", address, "open"), Condition("current_zero", address)]
        if stage is Stage.ISOLATE:
            supply = self.supply()
            inner = [zone for zone in self.network.switches[number].zones if not supply.live(zone)]
            expected += [Condition("dead", self.network.zones[zone].address) for zone in inner[:1]]
        self._add(
            stage, address, Action.OPEN, conditions=conditions, expected=expected, on_fail=OnFail.REPLAN, reason=reason
        )

    def close(self, address: str, stage: Stage, reason: str, before: Iterable[Condition]) -> None:
        """A step that closes a switch onto a dead part; onto a live one where `before` proves one source."""
        network, number = self.network, self.network.switch_index[address]
        supply = self.supply()
        dead = [zone for zone in network.switches[number].zones if not supply.live(zone)]
        live = [zone for zone in network.switches[number].zones if supply.live(zone)]
        conditions = [
            *before,
            Condition("position", address, "open"),
            Condition("available", address, "close"),
            Condition("not_tagged", address),
        ]
        expected = [Condition("position", address, "closed")]
        for zone in dead:
            name = network.zones[zone].address
            # distributed generation trips late: the part must have been dead for a while
            back_fed = any(network.zones[item].generators for item in supply.joined(zone))
            conditions += [
                Condition("not_earthed", name),
                Condition("dead", name, seconds=self.times.dead if back_fed else 0.0),
            ]
        if live:
            conditions += [Condition("live", network.zones[zone].address) for zone in live]
            expected += [Condition("live", network.zones[zone].address) for zone in dead]
            feeders = sorted({feeder for zone in live if (feeder := supply.feeder(zone))})
            own = self.feeder_of_head(address)
            expected += [
                Condition("no_trip", feeder, seconds=self.times.no_trip) for feeder in ([own] if own else feeders)
            ]
        self.positions[number] = CLOSED
        self._add(
            stage, address, Action.CLOSE, conditions=conditions, expected=expected, on_fail=OnFail.REPLAN, reason=reason
        )

    def reclosing(self, feeder: str, action: Action, stage: Stage, reason: str) -> None:
        """A step that blocks or unblocks the reclosing of a feeder."""
        wanted = "blocked" if action is Action.BLOCK_RECLOSE else "unblocked"
        expected = [Condition("reclose_blocked", feeder, wanted)]
        self._add(stage, feeder, action, conditions=[], expected=expected, on_fail=OnFail.STOP, reason=reason)

    def _add(
        self,
        stage: Stage,
        address: str,
        action: Action,
        *,
        conditions: list[Condition],
        expected: list[Condition],
        on_fail: OnFail,
        reason: str,
    ) -> None:
        number = self.network.switch_index.get(address)
        slow = number is not None and self.network.switches[number].cim_class not in BREAKS_FAULTS
        drive = self.times.load_break if slow else self.times.breaker if number is not None else 0.0
        timeout = self.times.command + drive + self.times.settle
        step = Step(
            len(self.steps) + 1,
            stage,
            address,
            action,
            tuple(conditions),
            tuple(expected),
            timeout + max((item.seconds for item in expected), default=0.0),
            on_fail,
            reason,
        )
        self.steps.append(step)


def problem_hash(problem: RestorationProblem, isolation: Isolation) -> str:
    """Hash of everything a plan follows from: positions, availability, loads, limits, settings, isolation.

    The deadline is no part of it.
    """
    digest = hashlib.sha256()
    for item in fields(Case):
        _feed(digest, getattr(problem.case, item.name))
    for item in fields(RestorationProblem):
        if item.name not in {"case", "settings"}:
            _feed(digest, getattr(problem, item.name))
    _feed(digest, replace(problem.settings, deadline=0.0))
    _feed(digest, isolation)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, value: object) -> None:
    if isinstance(value, np.ndarray):
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, frozenset):
        digest.update(repr(sorted(value)).encode())
    else:
        digest.update(repr(value).encode())
