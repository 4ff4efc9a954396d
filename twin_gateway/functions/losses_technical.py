"""Technical losses of all regions in one switching state: from the power flow of what their meters told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.losses_inputs import LossInputs
from twin_gateway.functions.losses_reactive import LoadRatios, Reactive, measured_reactive, reactive_power
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.losses_voltage import infeed_voltages
from twin_gateway.grid.model import Grid, Meter, Position
from twin_gateway.twin.losses.balance import BalancePlan
from twin_gateway.twin.losses.regions import PHASES, RegionKind
from twin_gateway.twin.losses.technical import LossModel, closed_switches, loss_model, technical_loss, term_power

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class TechnicalLosses:
    """Technical losses over n intervals.

    Attributes:
        loss: Wh by key of the region, (n,); what cannot be computed is left out, or NaN.
        reactive: number of loads by `Basis` of their reactive power, by key of the region, (n, 4).
    """

    loss: dict[str, Floats] = field(default_factory=dict)
    reactive: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)


def technical_losses(
    settings: LossSettings,
    model: tuple[Grid, dict[str, Meter]],
    positions: Mapping[str, Position],
    inputs: LossInputs,
    plan: BalancePlan,
    *,
    rows: slice,
    reader: IntervalReader,
) -> TechnicalLosses:
    """Technical loss of each region: of cells from their power flow, of sums from their cells.

    Args:
        settings: of the loss function.
        model: grid and meters.
        positions: of the switches.
        inputs: energies.
        plan: balances of the regions of this state.
        rows: the intervals of the inputs that the state held in.
        reader: of the interval data, for voltages and reactive power.
    """
    grid, meters = model
    closed = closed_switches(grid, positions)
    result = TechnicalLosses()
    trees: dict[str, LossModel] = {}
    cells = {region.key: region for region in plan.regions if region.cells == (region.key,)}
    for key, region in cells.items():
        tree = loss_model(grid, region, meters, closed=closed)
        if tree is not None:
            trees[key] = tree
        elif not region.equipment:
            result.loss[key] = np.zeros(rows.stop - rows.start)
    sources = {key: tree.source for key, tree in trees.items()}
    ends = inputs.ends[rows]
    voltages = infeed_voltages(reader, model, closed, sources, ends)
    ratios = LoadRatios(model)
    for key, measured in measured_reactive(reader, model, trees, ends):
        tree = trees[key]
        watts, reactive = load_powers(settings, ratios, tree, inputs, measured, rows=rows)
        loss = technical_loss(
            tree,
            watts,
            inputs.length,
            reactive=reactive.var,
            form=settings.form_factor if cells[key].kind is RegionKind.LV_AREA else 1.0,
            voltage=voltages.get(key, 1.0),
        )
        by_phase = np.asarray(loss.lines + loss.no_load[:, None] / 3.0)  # no-load losses in equal parts
        result.loss[key] = by_phase.sum(axis=1)
        result.reactive[key] = reactive.counts()
        for index in range(len(PHASES)):
            result.loss[f"{key[:-1]}{index + 2}"] = by_phase[:, index]
            result.reactive[f"{key[:-1]}{index + 2}"] = result.reactive[key]
    for region in plan.regions:
        if region.kind in (RegionKind.VLEVEL, RegionKind.AREA) and all(cell in result.loss for cell in region.cells):
            result.loss[region.key] = np.sum([result.loss[cell] for cell in region.cells], axis=0)
            counts = [result.reactive[cell] for cell in region.cells if cell in result.reactive]
            if counts:
                result.reactive[region.key] = np.sum(counts, axis=0)
    return result


def load_powers(
    settings: LossSettings,
    ratios: LoadRatios,
    tree: LossModel,
    inputs: LossInputs,
    measured: Floats,
    *,
    rows: slice,
) -> tuple[Floats, Reactive]:
    """Active power of the loads of a region, W, (n, K), and their reactive power.

    Args:
        settings: of the loss function.
        ratios: of the loads in the grid model.
        tree: of the region.
        inputs: energies.
        measured: reactive power, of `measured_reactive`.
        rows: intervals of the inputs.
    """
    energy = inputs.energy[rows]
    watts = term_power(tree.terms, inputs.columns, energy, inputs.length)
    # As if it were a member inside: in the sense of the meter, as its reactive power.
    infeed = np.zeros(len(energy))
    for supplied in (False, True):
        column = inputs.columns.get((tree.source.meter, "", supplied))
        if column is not None:
            infeed += (-1.0 if supplied else 1.0) * np.nan_to_num(energy[:, column]) * (3600.0 / inputs.length)
    reactive = reactive_power(ratios, tree, watts, measured, infeed=infeed, power_factor=settings.power_factor)
    return watts, reactive
