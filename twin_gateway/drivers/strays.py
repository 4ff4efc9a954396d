"""A list of what a device sends or offers and no point takes, for drivers of any protocol: counted, timed, bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from address_space import clock
from twin_gateway.drivers.contract import Stray

MOST = 1000
"""Entries of one list; for what comes the one that has been silent longest makes room, what is offered finds none."""


class StrayBook:
    """The list of one link; it outlives associations.

    Attributes:
        dropped: entries that had to make room, and how often something offered found none.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[Hashable, Stray] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._seen

    def note(
        self,
        key: Hashable,
        reason: str,
        fields: Mapping[str, Any],
        *,
        value: str | None = None,
        cdc: str = "",
        unit: str = "",
        about: str = "",
        counts: bool = True,
    ) -> None:
        """It has come, or (without `counts`) is offered; what it says of itself is what it said last."""
        at = clock.now()
        known = self._seen.get(key)
        if known is None:
            if not counts and len(self._seen) >= self._most:
                self.dropped += 1
                return
            self._seen[key] = Stray(fields, reason, int(counts), at, at, value or "", cdc, unit, about)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
                self.dropped += 1
            return
        value = known.value if value is None else value
        count = known.count + counts
        self._seen[key] = replace(
            known, fields=fields, reason=reason, count=count, last=at, value=value, cdc=cdc, unit=unit, about=about
        )
        self._seen.move_to_end(key)

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """Take out what has been mapped, or is not offered any more."""
        for key in [key for key in self._seen if gone(key)]:
            del self._seen[key]

    def list(self) -> Sequence[Stray]:
        """Everything kept, newest last."""
        return list(self._seen.values())
