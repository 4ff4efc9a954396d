"""Power flow of a grid model: one entry that picks the engine the grid needs.

Balanced three-phase grids go to power-grid-model as one phase, grids with uneven loads as three, meshed or not. Grids
with one- and two-phase laterals, phase impedance matrices, taps by phase or uneven delta loads go to the three-phase
sweep of `twin_gateway.grid.unbalanced`, which wants them radial.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from twin_gateway.grid import pgm_flow, unbalanced
from twin_gateway.grid.arrays import (
    Complexes,
    GridArrays,
    Switching,
    arrays_of,
    earthed_and_live,
    spread,
    switching,
)
from twin_gateway.grid.flow import PowerFlowResult, no_result
from twin_gateway.grid.model import GeneratorData, Grid, GridError, LineData, LoadData, Position, TransformerData


class Engine(StrEnum):
    """What computes the power flow of a grid."""

    BALANCED = "balanced"  # power-grid-model, positive sequence
    BY_PHASE = "by phase"  # power-grid-model, symmetrical components of three-phase equipment
    UNBALANCED = "unbalanced"  # own three-phase sweep


class FlowModel:
    """A grid made ready for power flows; the grid must not change afterwards.

    Args:
        grid: the model.

    Attributes:
        arrays: the grid in arrays; their order is that of all results.
        engine: that the grid needs.

    Raises:
        GridError: equipment lacks data that a power flow needs.
    """

    def __init__(self, grid: Grid) -> None:
        self.arrays: GridArrays = arrays_of(grid)
        self.engine = engine_for(self.arrays)
        few = ~self.arrays.three_phase[len(self.arrays.lines) + len(self.arrays.transformers) :]
        self._kept = few if few.any() else None

    def state(self, positions: Mapping[str, Position] | None = None, *, unknown: Position = Position.OPEN) -> Switching:
        """Topological nodes in a switching state; arguments as of `solve`."""
        return switching(self.arrays, positions, unknown=unknown, kept=self._kept)

    def drawn(self, loads: Mapping[str, complex] | None = None, *, scale: float = 1.0) -> Complexes:
        """VA drawn by each load, generator and shunt and phase, shape (injections, 3).

        Args:
            loads: W + j var by address: of a load what it draws, of a generator what it delivers.
            scale: of the nominal power of loads that are not among them.

        Raises:
            GridError: an address is neither a load nor a generator.
        """
        arrays = self.arrays
        power = arrays.drawn.copy()
        for index, item in enumerate(arrays.injections):
            if isinstance(item.data, LoadData):
                power[index] *= scale
        for address, value in (loads or {}).items():
            number = arrays.injection_number.get(address)
            if number is None:
                raise GridError(f"{address} is neither a load nor a generator of the grid model")
            item = arrays.injections[number]
            sign = -1 if isinstance(item.data, GeneratorData) else 1
            power[number] = spread(item, sign * complex(value))
        return power

    def solve(
        self,
        positions: Mapping[str, Position] | None = None,
        loads: Mapping[str, complex] | None = None,
        *,
        scale: float = 1.0,
        unknown: Position = Position.OPEN,
    ) -> PowerFlowResult:
        """Power flow.

        Args:
            positions: of switches by address; the normal position where one is not in.
            loads: W + j var by address: of a load what it draws, of a generator what it delivers.
            scale: of the nominal power of loads that are not among them.
            unknown: what a switch of unknown position is taken as.

        Returns:
            Voltages, flows and losses by address; without a solution a result that says why and holds no numbers.

        Raises:
            GridError: an address is neither a load nor a generator, or data make no sense.
        """
        return self.solve_state(self.state(positions, unknown=unknown), self.drawn(loads, scale=scale), positions)

    def solve_state(
        self, state: Switching, drawn: Complexes, positions: Mapping[str, Position] | None = None
    ) -> PowerFlowResult:
        """As `solve`, of topological nodes and powers that are there already."""
        earthed = earthed_and_live(self.arrays, state, positions)
        if earthed:
            return no_result(self.arrays, state, self.engine, f"{earthed} is closed and earths what is energised")
        if self.engine == Engine.UNBALANCED:
            return unbalanced.solve(self.arrays, state, drawn)
        return pgm_flow.solve(self.arrays, state, drawn, symmetric=self.engine == Engine.BALANCED)

    def solve_many(self, drawn: Complexes, positions: Mapping[str, Position] | None = None) -> pgm_flow.BatchFlow:
        """Losses and voltages of many load cases in one switching state.

        Args:
            drawn: VA by injection and phase as of `drawn`, shape (cases, injections, 3).
            positions: as of `solve`.

        Raises:
            GridError: the engine refuses the grid.
        """
        state = self.state(positions)
        if self.engine == Engine.UNBALANCED:
            return unbalanced.solve_batch(self.arrays, state, drawn)
        return pgm_flow.solve_batch(self.arrays, state, drawn, symmetric=self.engine == Engine.BALANCED)


def power_flow(
    grid: Grid,
    positions: Mapping[str, Position] | None = None,
    loads: Mapping[str, complex] | None = None,
    *,
    scale: float = 1.0,
    unknown: Position = Position.OPEN,
) -> PowerFlowResult:
    """Power flow of a grid that is looked at once; arguments as of `FlowModel.solve`."""
    return FlowModel(grid).solve(positions, loads, scale=scale, unknown=unknown)


def engine_for(arrays: GridArrays) -> Engine:
    """The simplest engine that does the grid's equipment justice."""
    if not arrays.three_phase.all():
        return Engine.UNBALANCED
    for item in arrays.branches:
        if isinstance(item.data, LineData) and item.data.phase_impedance:
            return Engine.UNBALANCED
        if isinstance(item.data, TransformerData) and len(set(item.data.phase_taps)) > 1:
            return Engine.UNBALANCED
    even = np.allclose(arrays.drawn, arrays.drawn[:, :1], rtol=1e-9, atol=1e-6)
    if even:
        return Engine.BALANCED
    return Engine.UNBALANCED if arrays.delta.any() else Engine.BY_PHASE
