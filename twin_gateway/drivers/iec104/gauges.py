"""Readings of a link beside its counters: the latest value of what goes up and down, kept in a counter."""

from __future__ import annotations

from twin_gateway.drivers.contract import Link


class Gauges:
    """Sets counters of one link to values; a counter that is set here is counted nowhere else."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def set(self, link: Link, name: str, value: int) -> None:
        """Let a counter show a value."""
        change = value - self._last.get(name, 0)
        if change or name not in self._last:
            self._last[name] = value
            link.count(name, change)
