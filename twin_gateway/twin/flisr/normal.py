"""Return to the normal switching state after repair (spec 3.4 S8), with the same checks as a restoration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from twin_gateway.twin.flisr.case import Case
from twin_gateway.twin.flisr.forest import solve
from twin_gateway.twin.flisr.plan import StepWriter, problem_hash
from twin_gateway.twin.flisr.problem import RestorationProblem, surroundings_problem
from twin_gateway.twin.flisr.records import (
    Action,
    Condition,
    Isolation,
    LoadEstimate,
    Method,
    Plan,
    PlanTimes,
    RestoreSettings,
    Stage,
    SwitchState,
)
from twin_gateway.twin.flisr.restore import as_before
from twin_gateway.twin.flisr.search import do_no_harm
from twin_gateway.twin.flisr.zones import CLOSED, OPEN, Network, Positions

_NOTHING = Isolation((), (), ())


def return_to_normal(
    network: Network,
    states: Mapping[str, SwitchState],
    loads: Mapping[str, LoadEstimate],
    *,
    switches: Iterable[str] | None = None,
    barred: Iterable[str] = (),
    unblock: Iterable[str] | None = None,
    settings: RestoreSettings | None = None,
    now: Positions | None = None,
    times: PlanTimes | None = None,
) -> Plan:
    """Steps that bring switches to their normal positions.

    A part that is dead is energised outward from the live side. Where a switch would join two live parts, the tie that
    feeds the one is opened afterwards only when both have proven the same source (make before break); else it is
    opened before. What cannot be done is left out and said in the warnings.

    Args:
        network: the grid.
        states: of the switches now.
        loads: present loads.
        switches: to be returned; all that differ from normal when None.
        barred: zones that must not become live (tags not cleared, earths, repair not finished).
        unblock: feeders whose reclosing is released at the end; those that switches are closed on when None.
        settings: constraints that every step must keep.
        now: `network.positions(states)` for a caller that has it already.
        times: timing of the steps.
    """
    settings = settings or RestoreSettings()
    positions = (network.positions(states) if now is None else now).copy()
    wanted = network.switch_index.keys() if switches is None else switches
    opening, closing, warnings = _differences(network, states, positions, wanted)
    closed_zones = {network.zone_index[zone] for zone in barred}
    zones = {zone for number in [*opening, *closing] for zone in network.switches[number].zones}
    problem = surroundings_problem(network, states, loads, zones, now=positions, settings=settings, barred=closed_zones)
    returning = _Returning(network, positions, problem, closed_zones, times or PlanTimes())
    returning.run(opening, closing)
    for address in returning.feeders(closing) if unblock is None else sorted(unblock):
        if network.grid.feeders[address].reclose_block:
            returning.writer.reclosing(address, Action.UNBLOCK_RECLOSE, Stage.RETURN, "normal state is reached")
    return Plan(
        steps=tuple(returning.writer.steps),
        inputs=problem_hash(problem, _NOTHING),
        method=Method.BUDGET,
        auto_ok=False,
        warnings=(*warnings, *returning.warnings, *problem.warnings),
    )


def _differences(
    network: Network, states: Mapping[str, SwitchState], positions: Positions, wanted: Iterable[str]
) -> tuple[list[int], list[int], list[str]]:
    """Switches to open, to close, and what is wrong with the others."""
    opening: list[int] = []
    closing: list[int] = []
    warnings: list[str] = []
    for address in sorted(wanted):
        number = network.switch_index[address]
        switch, state = network.switches[number], states.get(address)
        if positions[number] == (OPEN if switch.rating.normal_open else CLOSED):
            continue
        if positions[number] not in {OPEN, CLOSED} or state is None:
            if state is not None:
                warnings.append(f"{address}: position not known")
            continue
        able = state.can_open if switch.rating.normal_open else state.can_close
        if not able or state.tagged:
            warnings.append(f"{address}: {', '.join(state.reasons) or 'not available'}")
        else:
            (opening if switch.rating.normal_open else closing).append(number)
    return opening, closing, warnings


class _Returning:
    """The steps one by one, each tried on the grid as it is by then."""

    def __init__(
        self, network: Network, positions: Positions, problem: RestorationProblem, barred: set[int], times: PlanTimes
    ) -> None:
        self.network, self.problem, self.barred = network, problem, barred
        self.writer = StepWriter(network, positions, times)
        self.warnings: list[str] = []
        self.done: set[int] = set()
        self._edge = {address: i for i, address in enumerate(problem.switches) if address}
        start = solve(problem.case, problem.case.closed)
        case = do_no_harm(self._as_in_normal_state(), start)
        self._case = replace(case, max_operations=len(problem.switches))
        self._closed = problem.case.closed.copy()

    def _as_in_normal_state(self) -> Case:
        """The case without limits that the normal state itself does not keep: it is the goal, whatever they say."""
        case, closed = self.problem.case, self.problem.case.closed.copy()
        for address, edge in self._edge.items():
            closed[edge] = not self.network.switches[self.network.switch_index[address]].rating.normal_open
        normal = solve(case, closed)
        return as_before(case, normal) if normal.converged and not normal.looped else case

    def run(self, opening: list[int], closing: list[int]) -> None:
        """Close what energises dead parts, then exchange ties, then open what is left."""
        opening, closing = list(opening), list(closing)
        progress = True
        while progress:
            progress = False
            for number in closing:
                if self._energise(number) or self._exchange(number, opening):
                    closing.remove(number)
                    progress = True
                    break
        for number in list(opening):
            if number not in self.done and self._cut(number):
                opening.remove(number)
        for number in closing:
            self.warnings.append(f"{self.network.switches[number].address} cannot be closed within the constraints")
        for number in opening:
            if number not in self.done:
                self.warnings.append(f"{self.network.switches[number].address} cannot be opened without loss of supply")

    def feeders(self, numbers: list[int]) -> list[str]:
        """Feeders that some switches, closed by now, belong to."""
        supply = self.writer.supply()
        zones = {zone for number in numbers if number in self.done for zone in self.network.switches[number].zones}
        return sorted({feeder for zone in zones if (feeder := supply.feeder(zone))})

    def _sides(self, number: int) -> tuple[list[int], list[int]]:
        supply = self.writer.supply()
        zones = self.network.switches[number].zones
        return [zone for zone in zones if supply.live(zone)], [zone for zone in zones if not supply.live(zone)]

    def _energise(self, number: int) -> bool:
        """Close onto a dead part, when the limits hold then."""
        live, dead = self._sides(number)
        if not live or not dead or self.barred & self.writer.supply().joined(dead[0]):
            return False
        if not self._holds({number: True}):
            return False
        self._close(number, "returns a part to its normal supply", [])
        return True

    def _exchange(self, number: int, opening: list[int]) -> bool:
        """Close between two live parts, and open the tie that joins them otherwise."""
        live, _ = self._sides(number)
        if len(live) < 2:
            return False
        supply = self.writer.supply()
        ways = [set(supply.path(zone)) for zone in live]
        # on the way of one side only: opening it parts the loop that the closing makes
        ties = [tie for tie in opening if tie not in self.done and (tie in ways[0]) != (tie in ways[1])]
        for tie in ties:
            if not self._holds({number: True, tie: False}):
                continue
            same = supply.source(live[0]) == supply.source(live[1])
            together = same or self.problem.settings.allow_parallel
            if together:
                address = self.network.switches[number].address
                proof = Condition("same_source" if same else "synchronised", address)
                self._close(number, "makes before the tie breaks", [proof])
            self._open(
                tie, "the normal way feeds this part again" if together else "breaks before the normal way is closed"
            )
            if not together:
                self._close(number, "returns a part to its normal supply", [])
            opening.remove(tie)
            return True
        return False

    def _cut(self, number: int) -> bool:
        """Open what is left, when nobody loses supply."""
        if not self._holds({number: False}):
            return False
        self._open(number, "normally open")
        return True

    def _holds(self, changes: dict[int, bool]) -> bool:
        closed = self._closed.copy()
        for number, shut in changes.items():
            closed[self._edge[self.network.switches[number].address]] = shut
        return solve(self._case, closed).feasible

    def _close(self, number: int, reason: str, before: list[Condition]) -> None:
        self._move(number, shut=True)
        self.writer.close(self.network.switches[number].address, Stage.RETURN, reason, before)

    def _open(self, number: int, reason: str) -> None:
        self._move(number, shut=False)
        self.writer.open(self.network.switches[number].address, Stage.RETURN, reason, [])

    def _move(self, number: int, *, shut: bool) -> None:
        self._closed[self._edge[self.network.switches[number].address]] = shut
        self.done.add(number)
        # what is live by now is to be kept by the next steps
        start = solve(self._case, self._closed)
        if not start.looped:
            live = start.place >= 0
            self._case.keep = live & ((self._case.value > 0) | (self._case.customers > 0))
