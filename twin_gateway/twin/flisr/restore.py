"""Restoration of the healthy parts that a fault leaves dead (spec 3.5): from the problem to the operations."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from twin_gateway.twin.flisr.case import Case, Flags, Ints
from twin_gateway.twin.flisr.elements import S_BASE
from twin_gateway.twin.flisr.forest import Forest, Paths, solve
from twin_gateway.twin.flisr.problem import RestorationProblem
from twin_gateway.twin.flisr.records import LATE, LIMITS, Method, RestorationResult, Switching, Unrestored
from twin_gateway.twin.flisr.reduce import Reduced, reduce
from twin_gateway.twin.flisr.search import Found, Search, do_no_harm, reachable

_KEPT_BACK = 0.85
"""Share of the deadline that is planned with: the last check may take longer than thought."""
_SEARCH_SHARE = 0.75
"""Share of what is left of it for the search; the rest is for the checks after it."""
_CHECKED = 16
"""Plans that are checked on the whole part of the grid, best first, before nothing is done."""


def plan_restoration(problem: RestorationProblem, clock: Callable[[], float] = time.perf_counter) -> RestorationResult:
    """The best restoration that can be found before the deadline; to do nothing is always one.

    Every plan has been checked by power flow with the feeders as they will be, with every position that is not known
    taken as open and as closed. The clock only tells how much time has gone.
    """
    began = clock()
    until = began + problem.settings.deadline * _KEPT_BACK
    case, base, before = _base(problem)
    if problem.blocked or base.looped:
        why = problem.blocked or "the grid is not radial before the plan"
        return _result(problem, case, base, base, method=Method.BUDGET, blocked=why, effort=(0, clock() - began))
    # parts that cannot be switched draw what they drew before the fault, or now where that is not known
    reference = before if before.converged and not before.looped else base
    best, optimal, late, evaluated = base, True, False, 0
    trial = case
    for last in (False, True):
        share = _SEARCH_SHARE if last or not problem.unknown else _SEARCH_SHARE / 2
        found, reduced = _search(problem, trial, reference, max(until - clock(), 0.0) * share, clock)
        evaluated += found.evaluated
        optimal = optimal and found.optimal
        late = late or (found.late and not found.ranked)
        for forest in found.ranked[:_CHECKED]:
            checked = _verified(problem, case, base, reduced.expand(forest.closed))
            if checked is not None:
                best = checked
                break
            optimal = False
            if clock() >= until:
                late = True
                break
        if last or best is not base or not found.ranked or not problem.unknown:
            break
        # what borders on a switch of unknown position must stay as it is
        unsure = np.zeros(case.n, bool)
        unknown = list(problem.unknown)
        unsure[case.start[unknown]] = unsure[case.end[unknown]] = True
        trial = case.derive(barred=case.barred | (unsure & (base.place < 0)))
    method = Method.OPTIMAL if optimal else Method.BUDGET
    late = late and best is base
    return _result(problem, case, base, best, method=method, blocked="", effort=(evaluated, clock() - began), late=late)


def do_nothing(problem: RestorationProblem, why: str) -> RestorationResult:
    """The answer where no search could be made: what the isolation and the trip device leave, and why not more."""
    case, base, _ = _base(problem)
    return _result(problem, case, base, base, method=Method.BUDGET, blocked=problem.blocked or why, effort=(0, 0.0))


def restore(problems: Iterable[RestorationProblem]) -> RestorationResult:
    """The answer to the first problem that is complete, or the one that restores most.

    Raises:
        ValueError: there is no problem.
    """
    best: RestorationResult | None = None
    for problem in problems:
        result = plan_restoration(problem)
        best = result if best is None else better(best, result)
        if result.complete:
            return best
    if best is None:
        raise ValueError("no restoration problem is given")
    return best


def better(first: RestorationResult, second: RestorationResult) -> RestorationResult:
    """The one that restores more, serves more customers, takes fewer operations; the first of equals."""

    def rank(result: RestorationResult) -> tuple[float, int, int]:
        return -round(result.value, 3), -result.restored_customers, len(result.operations)

    return second if rank(second) < rank(first) else first


def _search(
    problem: RestorationProblem, case: Case, reference: Forest, deadline: float, clock: Callable[[], float]
) -> tuple[Found, Reduced]:
    """Search a case in its reduced form."""
    reduced = reduce(case, reference)
    # lumped parts are estimates: what they permit must not forbid the grid as it is
    small = do_no_harm(reduced.case, solve(reduced.case, reduced.case.closed))
    reduced.case = small
    search = Search(
        small,
        deadline=deadline,
        node_budget=problem.settings.node_budget,
        exact_limit=problem.settings.exact_limit,
        clock=clock,
    )
    return search.run(), reduced


def _base(problem: RestorationProblem) -> tuple[Case, Forest, Forest]:
    """The case with its final limits, the configuration that restoration starts from, and the one before the fault.

    The trip device is closed in it when what it feeds is within its limits; they do not bind where they did not hold
    before the fault.
    """
    case = problem.case
    before = solve(case.derive(load=problem.load_before), problem.before)
    if before.converged and not before.looped:
        case = as_before(case, before)
    base = solve(case, case.closed)
    if problem.trip_edge >= 0:
        closed = case.closed.copy()
        closed[problem.trip_edge] = True
        again = solve(case, closed)
        if again.feasible:
            case, base = case.derive(closed=closed), again
    return do_no_harm(_held(case, base), base), replace(base, operations=0, barred=0), before


def as_before(case: Case, before: Forest) -> Case:
    """The case without the limits that did not hold in a state that was good enough, protection reach included."""
    depth = np.zeros(case.n)
    if case.reach:
        rooted = before.edge < 0
        above = np.repeat(
            case.root_impedance[case.root_of[before.order[rooted]]],
            np.diff(np.append(np.flatnonzero(rooted), len(before.order))),
        )
        depth[before.order] = np.abs(above + Paths(before.last)(case.impedance_above[before.edge]))
    return do_no_harm(case, before).derive(keep=case.keep, z_before=depth)


def _held(case: Case, base: Forest) -> Case:
    """What must not become live and is live keeps its supply as it is (work on live lines)."""
    hot = np.flatnonzero(case.barred & (base.place >= 0))
    if not len(hot):
        return case
    can_open = case.can_open.copy()
    for node in hot.tolist():
        place = int(base.place[node])
        while base.parent[place] >= 0:
            can_open[base.edge[place]] = False
            place = int(base.parent[place])
    return case.derive(can_open=can_open, barred=case.barred & (base.place < 0))


def _verified(problem: RestorationProblem, case: Case, base: Forest, closed: Flags) -> Forest | None:
    """A configuration solved on the whole part of the grid; None unless it holds with unknown positions either way."""
    forest = solve(case, closed)
    if not forest.feasible or forest.operations > case.max_operations:
        return None
    unknown = [edge for edge in problem.unknown if not _apart(case, base, forest, edge)]
    for chosen in _scenarios(unknown):
        shut = closed.copy()
        shut[chosen] = True
        at_first = case.closed.copy()
        at_first[chosen] = True
        start = solve(case, at_first)
        trial = case if start.looped or not start.converged else do_no_harm(case, start)
        if not solve(trial, shut).feasible:
            return None
    return forest


def _scenarios(unknown: list[int]) -> list[list[int]]:
    """Sets of unknown switches taken as closed: all sets of a few; of many, each by itself and all at once."""
    if len(unknown) <= 3:
        return [list(chosen) for size in range(1, len(unknown) + 1) for chosen in itertools.combinations(unknown, size)]
    return [[edge] for edge in unknown] + [list(unknown)]


def _apart(case: Case, base: Forest, forest: Forest, edge: int) -> bool:
    """Whether an edge lies between nodes of sources whose supply areas the plan leaves as they are."""
    roots_base, roots = _roots(case, base), _roots(case, forest)
    ends = [int(case.start[edge]), int(case.end[edge])]
    if any(roots_base[node] < 0 or roots[node] < 0 for node in ends):
        return False
    moved = roots_base != roots
    touched = set(roots[moved].tolist()) | set(roots_base[moved].tolist())
    return touched.isdisjoint(roots_base[ends].tolist())


def _roots(case: Case, forest: Forest) -> Ints:
    """n, the root that feeds each node; -1 for dead nodes."""
    rooted = np.flatnonzero(forest.edge < 0)
    result = np.full(case.n, -1, np.int64)
    result[forest.order] = np.repeat(forest.order[rooted], np.diff(np.append(rooted, len(forest.order))))
    return result


def _result(
    problem: RestorationProblem,
    case: Case,
    base: Forest,
    best: Forest,
    *,
    method: Method,
    blocked: str,
    effort: tuple[int, float],
    late: bool = False,
) -> RestorationResult:
    dead_before, dead = base.place < 0, best.place < 0
    closing = np.flatnonzero(best.closed & ~case.closed)
    opening = np.flatnonzero(~best.closed & case.closed)
    # what is dead is opened first; closing goes outward from the live side
    opens = sorted(opening.tolist(), key=lambda edge: (base.place[case.start[edge]] >= 0, int(case.rank[edge])))
    depth = np.maximum(best.place[case.start], best.place[case.end])
    closes = sorted(closing.tolist(), key=lambda edge: int(depth[edge]))
    operations = [Switching(problem.switches[edge], close=False) for edge in opens]
    operations += [Switching(problem.switches[edge], close=True) for edge in closes]
    parted = solve(case, case.closed & best.closed) if opens else base
    momentary = int(case.customers[(base.place >= 0) & (parted.place < 0)].sum())
    fine = best.converged and not best.looped
    warnings = (*problem.warnings, *([blocked] if blocked else []), *_other_neutral(problem, case, base, best))
    auto_ok = (
        problem.auto_ok
        and not warnings
        and not any(operation.close and operation.switch in problem.no_auto for operation in operations)
    )
    return RestorationResult(
        operations=tuple(operations),
        method=method,
        dead=float(problem.power[dead_before].sum()),
        restored=float(problem.power[dead_before & ~dead].sum()),
        value=float(case.value[dead_before & ~dead].sum()) * S_BASE,
        dead_customers=int(case.customers[dead_before].sum()),
        restored_customers=int(case.customers[dead_before & ~dead].sum()),
        unrestored=_unrestored(problem, case, dead, blocked, LATE if late else LIMITS),
        v_min=best.v_min if fine else float("nan"),
        i_max=float(best.loading.max()) if fine and len(best.loading) else 0.0,
        loss=best.loss * S_BASE if fine else float("nan"),
        upstream=problem.trip_edge >= 0 and bool(best.closed[problem.trip_edge]),
        momentary_customers=momentary,
        warnings=(*warnings, LATE) if late else warnings,
        auto_ok=auto_ok,
        evaluated=effort[0],
        elapsed=effort[1],
    )


def _other_neutral(problem: RestorationProblem, case: Case, base: Forest, best: Forest) -> list[str]:
    """Parts that would be fed with another neutral treatment than before the fault."""
    if len(set(problem.neutral.values())) < 2:
        return []
    before = solve(case.derive(load=problem.load_before), problem.before)
    was, will = (_by_head(case, forest, problem.neutral) for forest in (before, best))
    restored = (base.place < 0) & (best.place >= 0)
    pairs = {(was[node], will[node]) for node in np.flatnonzero(restored).tolist() if was[node] and will[node]}
    return [f"neutral treatment changes from {a} to {b} for a part" for a, b in sorted(pairs) if a != b]


def _by_head(case: Case, forest: Forest, neutral: Mapping[int, str]) -> list[str]:
    """Of each node the neutral treatment of the feeder that it is on; empty where that is not known."""
    result = [""] * case.n
    for place in np.flatnonzero(np.isin(forest.edge, list(neutral))).tolist():
        for node in forest.order[place : int(forest.last[place])].tolist():
            result[node] = neutral[int(forest.edge[place])]
    return result


def _unrestored(
    problem: RestorationProblem, case: Case, dead: Flags, blocked: str, limits: str
) -> tuple[Unrestored, ...]:
    """Zones with load that stay dead, by address."""
    reached = reachable(case)
    found: dict[str, Unrestored] = {}
    for node in np.flatnonzero(dead & ((problem.power > 0) | (case.customers > 0))).tolist():
        zone = problem.zones[node]
        if zone in problem.isolated:
            reason = "isolated with the fault"
        elif blocked:
            reason = blocked
        elif case.barred[node]:
            reason = "earthed, tagged or part of another fault"
        elif not reached[node]:
            reason = "no switch that may be closed leads to it"
        else:
            reason = limits
        known = found.get(zone)
        power, customers = (known.p, known.customers) if known else (0.0, 0)
        found[zone] = Unrestored(
            zone, power + float(problem.power[node]), customers + int(case.customers[node]), reason
        )
    return tuple(found[zone] for zone in sorted(found))
