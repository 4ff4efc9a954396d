"""What one exchange of branches would do to a configuration, estimated without a new power flow.

Loads are taken as the constant currents of the solved configuration; then an exchange changes currents on its own loop
only, and everything that hangs from a node of the loop moves with that node. The estimate orders the search; what it
proposes is solved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.flisr.case import Case, Floats, Ints
from twin_gateway.twin.flisr.forest import VOLTAGE_WEIGHT, Forest, Paths

RELIEF_NODES = 6
"""So many of the lowest voltages are looked at when load is to be shed."""


@dataclass(slots=True)
class Moves:
    """Candidate moves; arrays of one length.

    Attributes:
        close, open: edge to close and edge to open; -1 for none.
        violation, unserved, loss: estimates after the move.
        operations: cost after the move against the case's own positions.
    """

    close: Ints
    open: Ints
    violation: Floats
    unserved: Floats
    operations: Ints
    loss: Floats

    @staticmethod
    def join(parts: list[Moves]) -> Moves:
        """All of them in one."""
        if not parts:
            none = np.zeros(0, np.int64)
            return Moves(none, none, np.zeros(0), np.zeros(0), none, np.zeros(0))
        return Moves(*(np.concatenate([getattr(part, name) for part in parts]) for name in Moves.__slots__))


class Solved:
    """A solved configuration with what the estimates need of it."""

    def __init__(self, case: Case, forest: Forest) -> None:
        """Prepare the estimates."""
        self.case, self.forest = case, forest
        count = len(forest.order)
        self.count = count
        rooted = forest.edge < 0
        self.impedance = case.impedance_above[forest.edge]
        self.limit = case.limit_above[forest.edge]
        self.voltage, self.magnitude, self.current = forest.voltage, forest.magnitude, forest.current
        margin, loading = forest.margin, forest.loading
        if forest.violation > 0.0 and count:
            margin, loading = self._as_relieved(margin, loading)
        # one more place, so that an empty slice at the end has a place to point at
        self.margin = np.append(margin, np.inf)
        self.loading = np.append(loading, 0.0)
        self.change = np.where(forest.closed == case.closed, case.cost, -case.cost)
        self.may_open = np.append(case.can_open & forest.closed, False)[forest.edge] & ~rooted
        barred = case.barred[forest.order]
        self.barred_below = _below(barred.astype(float), forest.last) if barred.any() else None
        self.parents = forest.parent.tolist()
        self.lasts = forest.last.tolist()
        # the places that a violation is fed through, to tell which loops can relieve it
        self.relief: set[int] | None = None
        if forest.violation > 0.0:
            self.relief = set()
            self.worst = self._worst()
            for worst in self.worst.tolist():
                self.relief.update(self.chain(worst))

    def _as_relieved(self, margin: Floats, loading: Floats) -> tuple[Floats, Floats]:
        """Take the currents that the loads draw at their lowest permitted voltage where it is lower now.

        A move that helps brings the voltage up again; at the present currents it would look worse than it is.
        """
        case, forest = self.case, self.forest
        floor = case.floor[forest.order]
        if not (forest.magnitude < floor).any():
            return margin, loading
        paths = Paths(forest.last)
        held = forest.voltage * np.maximum(1.0, floor / np.maximum(forest.magnitude, 1e-3))
        total = np.concatenate([[0.0], (np.conj(case.load[forest.order]) / held.conj()).cumsum()])
        self.current = total[forest.last] - total[:-1]
        rooted = np.flatnonzero(forest.edge < 0)
        source = np.repeat(forest.voltage[rooted], np.diff(np.append(rooted, self.count)))
        self.voltage = source - paths(self.impedance * self.current)
        self.magnitude = np.abs(self.voltage)
        return self.magnitude - floor, np.abs(self.current) / self.limit

    def _worst(self) -> Ints:
        """Places that violate most: lowest voltages at the ends of branches, highest loadings, barred nodes."""
        forest = self.forest
        picked: list[int] = []
        low = np.flatnonzero(forest.margin < 0.0)
        if len(low):
            ends = low[forest.last[low] == low + 1]
            ends = ends if len(ends) else low
            picked += ends[np.argsort(forest.margin[ends], kind="stable")[:RELIEF_NODES]].tolist()
            picked.append(int(forest.margin.argmin()))
        over = np.flatnonzero(forest.loading > 1.0)
        picked += over[np.argsort(-forest.loading[over], kind="stable")[:RELIEF_NODES]].tolist()
        if forest.barred:
            picked += np.flatnonzero(self.case.barred[forest.order])[:RELIEF_NODES].tolist()
        if not picked and len(forest.margin):
            # what violates is none of these (reach, upper limit, no convergence): the lowest voltage and the farthest
            # node
            picked.append(int(forest.margin.argmin()))
        return np.unique(np.array(picked, np.int64))

    def chain(self, place: int) -> list[int]:
        """Places from this one up to, but not including, its root."""
        parents, found = self.parents, []
        while parents[place] >= 0:
            found.append(place)
            place = parents[place]
        return found

    def transfers(self) -> list[Moves]:
        """Close an open edge between two live nodes and open another one of the loop."""
        case, forest = self.case, self.forest
        at_start, at_end = forest.place[case.start], forest.place[case.end]
        ties = np.flatnonzero(~forest.closed & case.can_close & (at_start >= 0) & (at_end >= 0))
        found = []
        for tie in ties.tolist():
            a, b = int(at_start[tie]), int(at_end[tie])
            first, second = self._sides(a, b)
            # only a branch that a violation is fed through is worth relieving
            sides = [side for side in (first, second) if self.relief is None or self.relief.intersection(side)]
            rest = self._rest(first, second) if sides else (0.0, 0.0)
            for giving in sides:
                taking = second if giving is first else first
                if giving:
                    moves = self._transfer(tie, giving, taking, b if giving is first else a, rest)
                    if moves is not None:
                        found.append(moves)
        return found

    def _sides(self, a: int, b: int) -> tuple[list[int], list[int]]:
        """The two branches of the loop that a tie between two places makes, each from the tie upwards."""
        parents, lasts = self.parents, self.lasts
        first, second = [], []
        place = a
        while not place <= b < lasts[place]:
            first.append(place)
            place = parents[place]
            if place < 0:
                break
        top = place
        place = b
        if top < 0:
            # other sources: up to both roots
            first.pop()
            while parents[place] >= 0:
                second.append(place)
                place = parents[place]
            return first, second
        while place != top:
            second.append(place)
            place = parents[place]
        return first, second

    def _rest(self, first: list[int], second: list[int]) -> tuple[float, float]:
        """Lowest margin and highest loading outside the subtrees of the loop."""
        spans = sorted((side[-1], self.lasts[side[-1]]) for side in (first, second) if side)
        low, high, start = np.inf, 0.0, 0
        for begin, end in [*spans, (self.count, self.count)]:
            if begin > start:
                low = min(low, float(self.margin[start:begin].min()))
                high = max(high, float(self.loading[start:begin].max()))
            start = end
        return low, high

    def _hanging(self, side: Ints) -> tuple[Floats, Floats]:
        """Lowest margin and highest loading of what hangs from each place of a branch, from below upwards.

        The place itself counts in the margin, the branch's own edges do not in the loading.
        """
        places = side[::-1]  # from the top
        ends = self.forest.last[side]  # from below
        cuts = np.concatenate([places, ends])
        low = np.minimum.reduceat(self.margin, cuts)
        empty = np.append(cuts[1:] <= cuts[:-1], True)
        low = np.where(empty, np.inf, low)
        count = len(side)
        before = low[:count][::-1]  # between a place and the next of the branch below it
        after = np.empty(count)
        after[0] = np.inf
        after[1:] = low[count : 2 * count - 1]
        shielded = self.loading.copy()
        shielded[side] = 0.0
        high = np.where(empty, 0.0, np.maximum.reduceat(shielded, cuts))
        high_before = high[:count][::-1]
        high_after = np.zeros(count)
        high_after[1:] = high[count : 2 * count - 1]
        return np.minimum(before, after), np.maximum(high_before, high_after)

    def _transfer(
        self, tie: int, giving: list[int], taking: list[int], landing: int, rest: tuple[float, float]
    ) -> Moves | None:
        """Moves that open an edge of the giving branch, so that what is below it is fed through the tie."""
        case, forest = self.case, self.forest
        give = np.array(giving, np.int64)
        chosen = np.flatnonzero(self.may_open[give])
        if not len(chosen):
            return None
        z_give, current = self.impedance[give], self.current[give]
        moved = current[chosen]  # s
        # the giving branch: above the opened edge less current, below it the rest of the moved current turns round
        along = np.arange(len(give))
        turned = along[None, :] <= chosen[:, None]  # node is on the moved side
        up = z_give[::-1].cumsum()[::-1]  # impedance from the top to each node of the branch
        below = np.concatenate([[0.0], z_give[:-1].cumsum()])
        below_drop = np.concatenate([[0.0], (z_give[:-1] * current[:-1]).cumsum()])
        v_give = self.voltage[give]
        relieved = v_give[None, :] + moved[:, None] * up[None, :]
        take = np.array(taking, np.int64)
        if len(take):
            z_take = self.impedance[take]
            depth = z_take[::-1].cumsum()[::-1]
            new_take = self.voltage[take][None, :] - moved[:, None] * depth[None, :]
            at_landing = new_take[:, 0]
        else:
            at_landing = np.full(len(chosen), self.voltage[landing])
        foot = at_landing - case.impedance[tie] * moved
        fed_back = foot[:, None] - moved[:, None] * below[None, :] + below_drop[None, :]
        new_give = np.where(turned, fed_back, relieved)
        low_give, high_give = self._hanging(give)
        low = (low_give[None, :] + np.abs(new_give) - self.magnitude[give][None, :]).min(1)
        turned_edge = along[None, :] < chosen[:, None]
        i_give = np.where(turned_edge, moved[:, None] - current[None, :], current[None, :] - moved[:, None])
        load_give = np.abs(i_give)
        over = np.maximum((load_give / self.limit[give]).max(1), high_give.max())
        r_give = z_give.real
        loss = forest.loss + ((load_give**2 - np.abs(current) ** 2) * r_give).sum(1)
        if len(take):
            low_take, high_take = self._hanging(take)
            low = np.minimum(low, (low_take[None, :] + np.abs(new_take) - self.magnitude[take][None, :]).min(1))
            i_take = np.abs(self.current[take][None, :] + moved[:, None])
            over = np.maximum(over, np.maximum((i_take / self.limit[take]).max(1), high_take.max()))
            loss = loss + ((i_take**2 - np.abs(self.current[take]) ** 2) * z_take.real).sum(1)
        i_moved = np.abs(moved)
        over = np.maximum(np.maximum(over, i_moved / case.limit[tie]), rest[1])
        low = np.minimum(low, rest[0])
        loss = loss + i_moved**2 * case.resistance[tie]
        opened = forest.edge[give[chosen]]
        return Moves(
            close=np.full(len(chosen), tie),
            open=opened,
            violation=violation(low, over) + 10.0 * forest.barred,
            unserved=np.full(len(chosen), forest.unserved),
            operations=forest.operations + self.change[tie] + self.change[opened],
            loss=loss,
        )

    def sheds(self) -> list[Moves]:
        """Open an edge so that what is below it stays dead; only where nothing was live before the plan."""
        case, forest = self.case, self.forest
        if not forest.violation > 0.0:
            return []
        kept = _below(case.keep[forest.order].astype(float), forest.last)
        places = np.flatnonzero(self.may_open & (kept == 0.0))
        if not len(places):
            return []
        moved = self.current[places]
        # only the edges that still violate are looked at: the estimate is a lower bound
        low, over = np.full(len(places), np.inf), np.zeros(len(places))
        depth = Paths(forest.last)(self.impedance)
        for worst in self.worst.tolist():
            above = np.array([*self.chain(worst), self._root(worst)][::-1], np.int64)
            shared = (above[:, None] <= places) & (places < forest.last[above][:, None])
            level = shared.sum(0) - 1
            same = level >= 0
            gone = (places <= worst) & (worst < forest.last[places])
            common = depth[above[np.maximum(level, 0)]]
            raised = np.abs(self.voltage[worst] + np.where(same, moved * common, 0.0)) - self.magnitude[worst]
            low = np.minimum(low, np.where(gone, np.inf, self.margin[worst] + raised))
            if self.loading[worst] > 1.0:
                below = (worst <= places) & (places < self.lasts[worst])
                left = np.abs(self.current[worst] - np.where(below, moved, 0.0)) / self.limit[worst]
                over = np.maximum(over, np.where(gone, 0.0, left))
        bad = violation(low, over)
        if forest.barred and self.barred_below is not None:
            bad = bad + 10.0 * (forest.barred - self.barred_below[places])
        value = _below(case.value[forest.order], forest.last)
        opened = forest.edge[places]
        nothing = np.full(len(places), -1, np.int64)
        return [
            Moves(
                close=nothing,
                open=opened,
                violation=bad,
                unserved=forest.unserved + value[places],
                operations=forest.operations + self.change[opened],
                loss=np.full(len(places), forest.loss),
            )
        ]

    def _root(self, place: int) -> int:
        while self.parents[place] >= 0:
            place = self.parents[place]
        return place

    def pickups(self) -> Ints:
        """Edges that would energise a dead part when closed."""
        case, forest = self.case, self.forest
        live_start, live_end = forest.place[case.start] >= 0, forest.place[case.end] >= 0
        return np.flatnonzero(~forest.closed & case.can_close & (live_start != live_end))


def violation(low: Floats, over: Floats) -> Floats:
    """One number from the lowest margin (per unit) and the highest loading; 0 when both hold."""
    return VOLTAGE_WEIGHT * np.maximum(0.0, -low) + np.maximum(0.0, over - 1.0)


def _below(values: Floats, last: Ints) -> Floats:
    """Sum over each subtree."""
    total = np.concatenate([[0.0], values.cumsum()])
    result: Floats = total[last] - total[:-1]
    return result
