"""Loads of a power flow: as measured at the load, by its meters, allocated from a measured transformer, or nominal.

Nothing counts twice: a load takes the first of these that is there, and of what a transformer's measurement says only
what is left after the measured loads behind it goes to the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from twin_gateway.grid.model import (
    GeneratorData,
    Grid,
    LoadData,
    Meter,
    MeterRole,
    Position,
    Quantity,
    TransformerData,
)
from twin_gateway.grid.powerflow import FlowModel
from twin_gateway.twin.losses.regions import LOW_VOLTAGE, NodeSets

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class LiveLoads:
    """Loads and generators whose power is known.

    Attributes:
        powers: W + j var by address: of a load what it draws, of a generator what it delivers.
        measured: how many are measured at the load itself; metered: by meters; allocated: from transformers.
    """

    powers: Mapping[str, complex] = field(default_factory=dict)
    measured: int = 0
    metered: int = 0
    allocated: int = 0


@dataclass(frozen=True, slots=True)
class _Feed:
    """What tells the power that a transformer gives to its second terminal, the best source first.

    Attributes:
        sources: (terminal, point or meter of P, of Q (empty for none), sign into the transformer).
    """

    low: str
    data: TransformerData
    sources: tuple[tuple[int, str, str, int], ...]


class LoadInputs:
    """Who tells the power of which load, looked up once.

    Args:
        grid: the model.
        model: the same, ready for power flows.

    Attributes:
        meters: whose powers are wanted.
    """

    def __init__(self, grid: Grid, model: FlowModel) -> None:
        self._grid, self._model = grid, model
        numbers = model.arrays.injection_number
        self._measured = [
            item
            for item in grid.measurements.values()
            if not item.phase and item.quantity in (Quantity.P, Quantity.Q) and item.equipment in numbers
        ]
        self._at: dict[str, list[Meter]] = {}
        for meter in grid.meters.values():
            if meter.role is not MeterRole.BOUNDARY and meter.equipment in numbers:
                self._at.setdefault(meter.equipment, []).append(meter)
        self._feeds = self._feeding()
        names = {name for feed in self._feeds for source in feed.sources for name in source[1:3]}
        metered = [meter for some in self._at.values() for meter in some]
        self.meters = (*metered, *(grid.meters[name] for name in sorted(names) if name in grid.meters))
        self._pockets: tuple[Mapping[str, Position], list[tuple[list[int], list[str]]]] | None = None

    def _feeding(self) -> list[_Feed]:
        """Of each transformer into low voltage; empty where nobody measures any."""
        grid = self._grid
        found: list[_Feed] = []
        told: dict[str, list[tuple[int, str, str, int]]] = {}
        reactive = {
            (m.equipment, m.terminal): m for m in grid.measurements.values() if m.quantity is Quantity.Q and not m.phase
        }
        for item in grid.measurements.values():
            if item.quantity is Quantity.P and not item.phase:
                other = reactive.get((item.equipment, item.terminal))
                same = other is not None and other.direction == item.direction
                q = other.point if other is not None and same else ""
                told.setdefault(item.equipment, []).append((item.terminal, item.point, q, item.direction))
        for meter in grid.meters.values():
            if meter.role is MeterRole.BOUNDARY:  # its power comes in the sense of the equipment
                told.setdefault(meter.equipment, []).append((meter.terminal, meter.address, meter.address, 1))
        for transformer in self._model.arrays.transformers:
            low = transformer.nodes[1]
            if grid.nodes[low].nominal >= LOW_VOLTAGE or not isinstance(transformer.data, TransformerData):
                continue
            sources = sorted(told.get(transformer.address, []), key=lambda source: -source[0])
            found.append(_Feed(low, transformer.data, tuple(sources)))
        return found if any(feed.sources for feed in found) else []

    def powers(
        self, values: Mapping[str, float], meters: Mapping[str, complex], positions: Mapping[str, Position]
    ) -> LiveLoads:
        """Powers of loads and generators that are known at a moment.

        Args:
            values: measured values by point.
            meters: W + j var into the equipment by meter, of `MeterPowers`.
            positions: of switches that are not in their normal position.
        """
        found = self._at_the_load(values)
        measured = len(found)
        for address, some in self._at.items():
            if address not in found and all(meter.address in meters for meter in some):
                power = sum((meters[meter.address] for meter in some), 0j)
                found[address] = self._signed(address, power.real, power.imag)
        metered = len(found) - measured
        if self._feeds:
            self._allocate(found, values, meters, positions)
        return LiveLoads(found, measured, metered, len(found) - measured - metered)

    def _at_the_load(self, values: Mapping[str, float]) -> dict[str, complex]:
        parts: dict[str, dict[Quantity, float]] = {}
        for item in self._measured:
            value = values.get(item.point)
            if value is not None:
                parts.setdefault(item.equipment, {})[item.quantity] = value * item.direction
        return {
            address: self._signed(
                address, some.get(Quantity.P, self._nominal(address).real), some.get(Quantity.Q, _NAN)
            )
            for address, some in parts.items()
        }

    def _nominal(self, address: str) -> complex:
        """W + j var drawn."""
        arrays = self._model.arrays
        return complex(arrays.drawn[arrays.injection_number[address]].sum())

    def _signed(self, address: str, p: float, q: float) -> complex:
        """Power of a load or generator from what it draws; unknown reactive power (NaN) goes as in the nominal data."""
        nominal = self._nominal(address)
        if math.isnan(q):
            q = nominal.imag * p / nominal.real if nominal.real else nominal.imag
        return (-1 if self._is_generator(address) else 1) * complex(p, q)

    def _is_generator(self, address: str) -> bool:
        return isinstance(self._grid.equipment[address].data, GeneratorData)

    # ---- allocation -----------------------------------------------------------------------------------------------

    def _allocate(
        self,
        found: dict[str, complex],
        values: Mapping[str, float],
        meters: Mapping[str, complex],
        positions: Mapping[str, Position],
    ) -> None:
        """Give what measured transformers deliver, less what is known behind them, to loads that nobody measures."""
        for feeds, injections in self._areas(positions):
            known = [address for address in injections if address in found or self._is_generator(address)]
            open_ = [address for address in injections if address not in found and not self._is_generator(address)]
            share = {address: self._nominal(address) for address in open_}
            total = sum(share.values(), 0j)
            if total.real <= 0:
                continue
            given = [_delivered(self._feeds[at], values, meters) for at in feeds]
            if any(power is None for power in given):
                continue
            rest = sum((power for power in given if power is not None), 0j)
            for address in known:
                drawn = found.get(address)
                sign = -1 if self._is_generator(address) else 1
                rest -= self._nominal(address) if drawn is None else sign * drawn
            for address, nominal in share.items():
                p = rest.real * nominal.real / total.real
                q = rest.imag * (nominal.imag / total.imag if total.imag else nominal.real / total.real)
                found[address] = self._signed(address, p, q)

    def _areas(self, positions: Mapping[str, Position]) -> list[tuple[list[int], list[str]]]:
        """Low-voltage areas in a switching state: numbers of their feeds, and their loads and generators."""
        if self._pockets is not None and self._pockets[0] == positions:
            return self._pockets[1]
        grid, arrays, sets = self._grid, self._model.arrays, NodeSets()
        state = {**grid.normal_positions(), **positions}
        for item in (*arrays.lines, *arrays.switches):
            low = grid.nodes[item.nodes[0]].nominal < LOW_VOLTAGE
            if low and (not item.is_switch or state.get(item.address) == Position.CLOSED):
                sets.join(*item.nodes[:2])
        areas: dict[str, tuple[list[int], list[str]]] = {}
        for at, feed in enumerate(self._feeds):
            areas.setdefault(sets.find(feed.low), ([], []))[0].append(at)
        for item in arrays.injections:
            area = areas.get(sets.find(item.nodes[0]))
            if area is not None and isinstance(item.data, LoadData | GeneratorData):
                area[1].append(item.address)
        fed = {sets.find(item.nodes[0]) for item in arrays.sources}  # by somebody else, too
        found = [area for key, area in areas.items() if key not in fed]
        self._pockets = dict(positions), found
        return found


def _delivered(feed: _Feed, values: Mapping[str, float], meters: Mapping[str, complex]) -> complex | None:
    """W + j var out of the second terminal of a transformer (imaginary part NaN: not known); None: not measured."""
    for terminal, p, q, direction in feed.sources:
        into = meters.get(p)
        if into is None and p in values:
            into = complex(values[p], values.get(q, _NAN))
        if into is None:
            continue
        power = complex(direction * into.real, direction * into.imag)  # NaN must stay in its part
        if terminal == 2:
            return complex(-power.real, -power.imag)
        data, size = feed.data, abs(power) if not math.isnan(power.imag) else abs(power.real)
        lost = data.p0 + data.pk * (size / data.s) ** 2
        soaked = data.uk * size**2 / data.s
        return complex(power.real - lost, power.imag - soaked)
    return None
