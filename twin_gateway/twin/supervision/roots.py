"""Root causes: of everything that is down, what is down by itself and what only because its parent is (spec 7.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Outage:
    """What is down at one moment.

    Attributes:
        roots: node that is down by itself -> number of nodes that are down because of it.
        suppressed: node -> the topmost parent that it is down because of.
        waiting: nodes whose parent has come back less than 60 s ago: they may still be on their way.
    """

    roots: Mapping[str, int]
    suppressed: Mapping[str, str]
    waiting: frozenset[str]


@dataclass(slots=True)
class RootCauses:
    """Follows outages through a tree of parents (link, concentrator, switch, gateway).

    Attributes:
        parents: node -> parent; circles are cut where they close.
        grace_s: time that children have after their parent's recovery.
    """

    parents: dict[str, str] = field(default_factory=dict)
    grace_s: float = GRACE_S
    _behind: dict[str, str] = field(default_factory=dict)
    _recovered: dict[str, float] = field(default_factory=dict)
    _circle: set[str] = field(default_factory=set)

    def evaluate(self, down: Collection[str], now: float) -> Outage:
        """Tell causes from consequences at a time in s; to be called at every change and every few seconds."""
        suppressed: dict[str, str] = {}
        waiting: set[str] = set()
        roots: dict[str, int] = {}
        tops: dict[str, str | None] = {}
        for node in down:
            parent = self.parents.get(node)
            if parent is not None and (parent not in tops or parent in self._circle):
                tops[parent] = self._top(parent, node, down)
            top = None if parent is None else tops[parent]
            if top is not None:
                suppressed[node] = top
                self._behind[node] = top
                self._recovered.pop(node, None)
            elif node in self._behind and now - self._recovered.setdefault(node, now) < self.grace_s:
                waiting.add(node)
            else:
                roots[node] = 0
        for root in suppressed.values():
            if root in roots:
                roots[root] += 1
        for node in tuple(self._behind):
            if node not in down:
                del self._behind[node]
                self._recovered.pop(node, None)
        return Outage(roots, suppressed, frozenset(waiting))

    def _top(self, parent: str, node: str, down: Collection[str]) -> str | None:
        """The topmost node that is down, of a parent and what is above it."""
        seen, top = {node}, None
        above: str | None = parent
        while above is not None:
            if above in seen:
                # In a circle the answer depends on where it was entered.
                self._circle |= seen
                break
            seen.add(above)
            if above in down:
                top = above
            above = self.parents.get(above)
        return top
