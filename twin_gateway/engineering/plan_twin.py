"""What the twin takes from points and meters, after the grid model: who misses what when one changes, moves or goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from twin_gateway.grid.model import Grid
from twin_gateway.twin.losses.regions import meters_of, regions


class TwinInputs:
    """References of a grid model by address.

    Args:
        grid: the model; without one nothing is referred to.
    """

    def __init__(self, grid: Grid | None) -> None:
        self._grid = grid
        self._points: dict[str, list[str]] = defaultdict(list)
        if grid is None:
            return
        for item, rating in grid.switches():
            self._note(rating.position, f"position of {item.address}")
            self._note(rating.command, f"command of {item.address}")
        for address, indicator in grid.indicators.items():
            self._note(address, f"fault passages of {indicator.equipment}")
        for address, measured in grid.measurements.items():
            self._note(address, f"measured {measured.quantity} of {measured.equipment}")
        for feeder in grid.feeders.values():
            for name in ("reclosing", "reclose_block", "scheme"):
                self._note(getattr(feeder, name), f"{name.replace('_', ' ')} of feeder {feeder.address}")
            for name in ("trip", "start", "breaker_failure", "busbar_trip", "load_shedding"):
                for address in getattr(feeder, name):
                    self._note(address, f"{name.replace('_', ' ')} of feeder {feeder.address}")

    def _note(self, address: str, use: str) -> None:
        if address:
            self._points[address].append(use)

    def __contains__(self, address: str) -> bool:
        """Whether the model refers to the point, or to a meter that it belongs to."""
        return address in self._points or self._meter(address) is not None

    def uses(self, address: str) -> tuple[str, ...]:
        """What the twin uses a point for; balances of losses are those of the normal switching state."""
        if self._grid is None or address not in self:
            return ()
        uses, meter = list(self._points.get(address, ())), self._meter(address)
        if meter is not None:
            uses.append(f"meter of {self._grid.meters[meter].equipment}")
        return *uses, *(f"losses of {place}" for place in self._balances.get(meter or address, ()))

    def _meter(self, address: str) -> str | None:
        meters = self._grid.meters if self._grid is not None else {}
        return next((above for above in _above(address) if above in meters), None) if meters else None

    @cached_property
    def _balances(self) -> dict[str, list[str]]:
        """Places whose losses a meter, or a measured power that stands in for one, counts in."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        if self._grid is not None:
            for region in regions(self._grid, {}, meters_of(self._grid)).values():
                for term in (*region.boundary, *region.members):
                    found[term.meter][region.place] = None
        return {meter: list(places) for meter, places in found.items()}


def _above(address: str) -> Iterator[str]:
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address
