"""Root causes: of everything that is down, what is down by itself and what only because its parent is (spec 7.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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

    def evaluate(self, down: Collection[str], now: float) -> Outage:
        """Tell causes from consequences at a time in s; to be called at every change and every few seconds."""
        suppressed: dict[str, str] = {}
        waiting: set[str] = set()
        roots: dict[str, int] = {}
        for node in down:
            above = [parent for parent in self._above(node) if parent in down]
            if above:
                suppressed[node] = above[-1]
                self._behind[node] = above[-1]
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

    def _above(self, node: str) -> Iterator[str]:
        seen = {node}
        while (parent := self.parents.get(node)) is not None and parent not in seen:
            seen.add(parent)
            yield parent
            node = parent
