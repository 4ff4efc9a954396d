"""The search for a restoration: all combinations where there are few, else a beam search over branch exchanges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.flisr.case import Case, Flags
from twin_gateway.twin.flisr.forest import TOLERANCE, Forest, solve, solve_all
from twin_gateway.twin.flisr.moves import Moves, Solved

COARSE = 1e-6
"""Tolerance of the power flows that steer the search, per unit; what is found is solved again to `forest.TOLERANCE`."""
WEIGHTS = (0.25, 1.0, 4.0)
"""What unserved load counts against violations, one beam for each."""
WIDTHS = (6, 18)
"""Beams of one pass after the other; the next is tried while not all that can be reached is restored."""
DEPTH = 8
"""Most moves in a row."""
EXTENSION = 3
"""Most moves in a row from the best plan found, to add to it what one more closing and shedding can restore."""
LEADERS = 6
"""So many of the best plans found are extended."""
KEPT = 64
"""Feasible configurations kept, best first."""
REGRESS = 0.25
"""Share of the restorable load by which a move may be worse than the best plan and still be looked at."""
NEAR = 0.05
"""Estimated violation up to which a move that would be better than the best plan is solved, whatever its rank."""

BATCH = 32
"""Most configurations that are solved together,"""
PLACES = 6000
"""and most nodes in them: between two batches the clock is read."""

Key = tuple[float, int, int, float, tuple[int, ...]]


@dataclass(slots=True)
class Found:
    """What a search ends with.

    Attributes:
        best: the best feasible configuration; the case's own when nothing is better.
        base: the case's own configuration.
        optimal: proven best.
        evaluated: power flows solved.
        ranked: feasible configurations better than the case's own, best first, for callers with constraints of their
            own.
        late: the deadline has ended it.
    """

    best: Forest
    base: Forest
    optimal: bool
    evaluated: int
    ranked: list[Forest]
    late: bool = False


def do_no_harm(case: Case, base: Forest, before: Forest | None = None) -> Case:
    """The case with its limits relaxed where they do not hold before the plan, and with what is live marked to be kept.

    Args:
        case: with planning limits.
        base: its own configuration, solved.
        before: the configuration before the fault, solved: it is the measure for nodes that are dead now.
    """
    floor, ceiling, limit = case.floor.copy(), case.ceiling.copy(), case.limit.copy()
    live = base.place >= 0
    references = [(base, live)] if before is None else [(before, ~live & (before.place >= 0)), (base, live)]
    for forest, which in references:
        nodes = np.flatnonzero(which)
        volts = forest.magnitude[forest.place[nodes]]
        floor[nodes] = np.minimum(floor[nodes], volts)
        ceiling[nodes] = np.maximum(ceiling[nodes], volts)
    fed = base.edge >= 0
    edges = base.edge[fed]
    limit[edges] = np.maximum(limit[edges], np.abs(base.current[fed]))
    keep = live & ((case.value > 0) | (case.customers > 0))
    return case.derive(floor=floor, ceiling=ceiling, limit=limit, keep=keep)


class Search:
    """One search. `clock` tells elapsed seconds; it bounds the effort and nothing else."""

    def __init__(self, case: Case, *, deadline: float, node_budget: int, exact_limit: int, clock: Callable[[], float]):
        """Solve the case's own configuration and set its do-no-harm limits."""
        self._clock, self._until = clock, clock() + deadline
        self._budget, self._exact_limit = node_budget, exact_limit
        self.evaluated = 0
        self.case = case
        self._batch = max(1, min(BATCH, PLACES // max(case.n, 1)))
        self.base = self._solve(case.closed)
        self._seen: set[bytes] = {case.closed.tobytes()}
        self._best = self.base
        self._best_key = self._key(self.base)
        self._feasible: list[tuple[Key, Forest]] = []
        self._counted: set[bytes] = set()
        self._extended: set[bytes] = set()

    def run(self) -> Found:
        """Search until the best is proven, the budget is used up or the deadline has come."""
        case = self.case
        optimal = False
        if not self.base.looped and self.base.feasible:
            self._bound = float(case.value[~reachable(case)].sum())
            if self.base.unserved <= self._bound + 1e-12 * case.total:
                optimal = True
            elif self._few():
                optimal = self._exhaust()
            else:
                optimal = self._singles()
                if not optimal:
                    for width in WIDTHS:
                        self._beam(self.base, width, DEPTH)
                        while (start := self._unextended()) is not None and not self._complete() and not self._spent():
                            self._beam(start, WIDTHS[0], EXTENSION)
                        if self._complete() or self._spent():
                            break
                    self._polish()
        worst = self._key(self.base)
        ranked = [forest for key, forest in sorted(self._feasible, key=lambda pair: pair[0]) if key < worst]
        return Found(
            self._best, self.base, optimal, self.evaluated, ranked, late=not optimal and self._clock() >= self._until
        )

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def _solve(self, closed: Flags) -> Forest:
        self.evaluated += 1
        return solve(self.case, closed, COARSE)

    def _key(self, forest: Forest) -> Key:
        changed = np.flatnonzero(forest.closed != self.case.closed)
        total = self.case.total
        return (
            round(forest.unserved / total, 9),
            forest.customers,
            forest.operations,
            round(forest.loss / total, 9),
            tuple(sorted(self.case.rank[changed].tolist())),
        )

    def _consider(self, configurations: Iterable[Flags], known: set[bytes]) -> list[Forest]:
        """Solve those that are not known yet, take the best when it beats the best plan, and return the radial ones."""
        fresh: list[Flags] = []
        asked: set[bytes] = set()
        for closed in configurations:
            mark = closed.tobytes()
            if mark not in known and mark not in asked:
                asked.add(mark)
                fresh.append(closed)
        if not fresh:
            return []
        self.evaluated += len(fresh)
        known |= asked
        radial = []
        for forest in solve_all(self.case, fresh, COARSE):
            if forest.looped or forest.lost:
                continue
            undone = self._undo_idle(forest)
            mark = forest.closed.tobytes()
            if undone and mark in known:
                continue
            known.add(mark)
            radial.append(forest)
            if forest.feasible and forest.operations <= self.case.max_operations:
                key = self._key(forest)
                if mark not in self._counted:
                    self._counted.add(mark)
                    self._feasible.append((key, forest))
                if key < self._best_key:
                    exact = solve(self.case, forest.closed, TOLERANCE)
                    if exact.feasible:
                        self._best, self._best_key = exact, key
        return radial

    def _undo_idle(self, forest: Forest) -> bool:
        """Take back changes between nodes that are dead anyway: the grid is the same with fewer operations."""
        case = self.case
        dead = forest.place < 0
        idle = (forest.closed != case.closed) & dead[case.start] & dead[case.end]
        if idle.any():
            forest.closed = np.where(idle, case.closed, forest.closed)
            forest.operations -= int(case.cost[idle].sum())
            return True
        return False

    def _spent(self) -> bool:
        return self.evaluated >= self._budget or self._clock() >= self._until

    def _complete(self) -> bool:
        return self._best.unserved <= self._bound + 1e-9 * self.case.total

    # --- few combinations ---------------------------------------------------------------------------------------------

    def _switchable(self) -> list[int]:
        case = self.case
        free = np.where(case.closed, case.can_open, case.can_close) & (case.cost <= case.max_operations)
        return np.flatnonzero(free).tolist()

    def _few(self) -> bool:
        count = len(self._switchable())
        most = min(count, self.case.max_operations)
        return count < 64 and sum(math.comb(count, size) for size in range(most + 1)) <= self._exact_limit

    def _exhaust(self) -> bool:
        edges, case = self._switchable(), self.case
        for size in range(1, min(len(edges), case.max_operations) + 1):
            combinations = (
                list(chosen)
                for chosen in itertools.combinations(edges, size)
                if case.cost[list(chosen)].sum() <= case.max_operations
            )
            while some := list(itertools.islice(combinations, self._batch)):
                if self._spent():
                    return False
                self._consider([_toggled(case.closed, chosen) for chosen in some], self._seen)
        return True

    def _singles(self) -> bool:
        """All single closings; proven best when one restores all that can be reached with the fewest operations."""
        ties = Solved(self.case, self.base).pickups()
        cheapest = int(self.case.cost[ties].min()) if len(ties) else 0
        for start in range(0, len(ties), self._batch):
            if self._spent():
                return False
            some = ties[start : start + self._batch].tolist()
            self._consider([_changed(self.case.closed, tie, -1) for tie in some], self._seen)
        return self._complete() and self._best.operations == cheapest

    # --- beam ---------------------------------------------------------------------------------------------------------

    def _unextended(self) -> Forest | None:
        """Of the few best feasible configurations the first that no pass has started from."""
        self._feasible.sort(key=lambda pair: pair[0])
        del self._feasible[KEPT:]
        # a closing and a shedding take two operations
        room = [forest for _, forest in self._feasible if forest.operations <= self.case.max_operations - 2]
        for forest in room[:LEADERS]:
            mark = forest.closed.tobytes()
            if mark not in self._extended:
                self._extended.add(mark)
                return forest
        return None

    def _beam(self, start: Forest, width: int, depths: int) -> None:
        """One pass: the best moves of every kept configuration are solved, the best of them are kept."""
        case = self.case
        states = [start]
        share = max(2, width // len(WEIGHTS))
        scale = max(self.base.unserved - self._bound, 1e-9 * case.total)
        known = {start.closed.tobytes()}
        for depth in range(depths):
            pools: list[tuple[Forest, Moves]] = []
            wanted: list[Flags] = []
            for state in states:
                if self._spent():
                    return
                solved = Solved(case, state)
                wanted += [
                    _changed(state.closed, tie, -1)
                    for tie in solved.pickups().tolist()
                    if state.operations + solved.change[tie] <= case.max_operations
                ]
                if state.violation > 0.0:
                    pools.append((state, Moves.join([*solved.transfers(), *solved.sheds()])))
            wanted += self._promising(pools, share, scale)
            fresh = []
            for at in range(0, len(wanted), self._batch):
                if self._spent():
                    return
                fresh += self._consider(wanted[at : at + self._batch], known)
            states = _leaders(fresh, share, scale)
            if not states or (self._complete() and self._best.operations <= 2 * (depth + 1)):
                return

    def _promising(self, pools: list[tuple[Forest, Moves]], share: int, scale: float) -> list[Flags]:
        """The moves that rank best for any of the weights, and those that could beat the best plan."""
        case, best = self.case, self._best
        moves = Moves.join([item for _, item in pools])
        owner = np.repeat(np.arange(len(pools)), [len(item.close) for _, item in pools])
        index = np.flatnonzero(
            (moves.operations <= case.max_operations) & (moves.unserved <= best.unserved + REGRESS * scale)
        )
        if not len(index):
            return []
        chosen: list[int] = []
        near = index[moves.violation[index] < NEAR]
        if len(near):
            order = np.lexsort((moves.loss[near], moves.operations[near], moves.unserved[near]))
            chosen += near[order[: 2 * share]].tolist()
        for weight in WEIGHTS:
            score = moves.unserved[index] / scale * weight + moves.violation[index] + 1e-3 * moves.operations[index]
            order = np.argsort(np.round(score, 9), kind="stable")
            chosen += index[order[: 2 * share]].tolist()
        return [
            _changed(pools[int(owner[at])][0].closed, int(moves.close[at]), int(moves.open[at]))
            for at in dict.fromkeys(chosen)
        ]

    def _polish(self) -> None:
        """Fewer losses with the same operations: exchange branches of the best plan while that helps."""
        for _ in range(3):
            if self._spent() or self._best is self.base:
                return
            best = self._best
            moves = Moves.join(Solved(self.case, best).transfers())
            good = (moves.operations <= best.operations) & (moves.violation < NEAR) & (moves.loss < best.loss)
            index = np.flatnonzero(good)
            lead = index[np.lexsort((moves.loss[index], moves.operations[index]))][:6].tolist()
            self._consider(
                [_changed(best.closed, int(moves.close[at]), int(moves.open[at])) for at in lead], self._seen
            )
            if self._best is best:
                return


def _leaders(forests: Iterable[Forest], share: int, scale: float) -> list[Forest]:
    """The best of each weight."""
    pool = list(forests)
    kept: dict[int, Forest] = {}
    for weight in WEIGHTS:
        ranked = sorted(
            range(len(pool)),
            key=lambda i: (
                round(pool[i].unserved / scale * weight + pool[i].violation + 1e-3 * pool[i].operations, 9),
                i,
            ),
        )
        taken = 0
        for i in ranked:
            if i not in kept:
                kept[i] = pool[i]
                taken += 1
                if taken >= share:
                    break
    return list(kept.values())


def _changed(closed: Flags, close: int, opening: int) -> Flags:
    result = closed.copy()
    if close >= 0:
        result[close] = True
    if opening >= 0:
        result[opening] = False
    return result


def _toggled(closed: Flags, edges: list[int]) -> Flags:
    result = closed.copy()
    result[edges] ^= True
    return result


def reachable(case: Case) -> Flags:
    """n, nodes that some operations could make live: the others are a lower bound of what stays unserved."""
    usable = (case.closed | case.can_close).tolist()
    barred = case.barred.tolist()
    seen = [False] * case.n
    stack = case.roots.tolist()
    for root in stack:
        seen[root] = True
    while stack:
        node = stack.pop()
        for other, k in case.adjacency[node]:
            if usable[k] and not seen[other] and not barred[other]:
                seen[other] = True
                stack.append(other)
    return np.array(seen, bool)
