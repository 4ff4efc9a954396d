"""Suspicions by phase: phases that do not add up, and the place that the voltages point to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.losses_inputs import DAY_S, LossInputs
from twin_gateway.functions.losses_job import LossJob
from twin_gateway.functions.losses_reactive import LoadRatios, measured_reactive
from twin_gateway.functions.losses_technical import load_powers
from twin_gateway.functions.losses_voltage import voltage_points
from twin_gateway.grid.model import Grid, Meter, Position
from twin_gateway.twin.losses import detection
from twin_gateway.twin.losses.detection import Method, Suspicion
from twin_gateway.twin.losses.regions import PHASES, Region
from twin_gateway.twin.losses.technical import LossModel, loss_model, technical_loss

Floats = npt.NDArray[np.float64]
_LEAST_SCORE = 0.7


def phase_key(region: Region, index: int) -> str:
    """Key of one phase of a low-voltage area."""
    return f"{region.key[:-1]}{index + 2}"


def unbalanced_phases(job: LossJob, region: Region, sums: Mapping[str, tuple[float, float]]) -> list[Suspicion]:
    """Phases that miss energy which others have too much: the records of phases are wrong.

    Args:
        job: its window is the evidence window.
        region: a low-voltage area.
        sums: non-technical loss and its uncertainty of the window, Wh, by key of the phase.
    """
    keys = [phase_key(region, index) for index in range(3)]
    if not all(key in sums and np.isfinite(sums[key]).all() for key in keys):
        return []
    loss = np.array([sums[key][0] for key in keys])
    uncertainty = np.array([sums[key][1] for key in keys])
    k = job.settings.coverage
    off = detection.phase_balance(loss, np.zeros(3), uncertainty, k=k)
    if not (off.any() and loss.max() > 0 > loss.min() and abs(loss.sum()) < np.abs(loss).sum() / 2):
        return []
    days = (job.stop - job.start) / DAY_S
    evidence = tuple((f"phs{phase}kWh", float(value / 1000.0)) for phase, value in zip(PHASES, loss, strict=True))
    score = float(1.0 - abs(loss.sum()) / np.abs(loss).sum())
    kwh = float(np.abs(loss).max() / 1000.0 / days)
    return [Suspicion(Method.PHASE_BALANCE, region.key, region.key, score, job.start, job.stop, kwh, evidence)]


def neutral_suspicions(job: LossJob, region: Region, reader: IntervalReader) -> list[Suspicion]:
    """A boundary meter whose neutral current is not what its phases say, in most intervals of the window."""
    found = []
    for term in region.boundary:
        names = [f"{term.meter}/MMXU1/A/{part}" for part in ("phsA", "phsB", "phsC", "neut")]
        matrix = reader.read(names, job.start + reader.length, job.stop)
        good = matrix.valid.all(axis=1)
        if np.count_nonzero(good) < DAY_S / reader.length:
            continue
        values = matrix.values[good]
        share = float(detection.neutral_difference(values[:, :3], values[:, 3]).mean())
        if share > 0.5:
            item = Suspicion(Method.NEUTRAL, term.meter, region.key, share, job.start, job.stop, 0.0)
            found.append(item)
    return found


def by_voltage(
    job: LossJob,
    region: Region,
    inputs: LossInputs,
    reader: IntervalReader,
    *,
    model: tuple[Grid, dict[str, Meter]],
    positions: Mapping[str, Position],
    residuals: Mapping[str, Floats],
    suspected: Sequence[int],
) -> list[Suspicion]:
    """Where an unrecorded load would explain the voltages, for each suspected phase (0 to 2) of an area.

    Only single-phase meters whose voltage is in the interval data take part; what they record decides nothing but the
    predicted drop.
    """
    grid, meters = model
    tree = loss_model(grid, region, meters, positions)
    if tree is None or not suspected:
        return []
    ((_, measured),) = measured_reactive(reader, model, {region.key: tree}, inputs.ends)
    rows = slice(0, len(inputs.ends))
    watts, reactive = load_powers(job.settings, LoadRatios(model), tree, inputs, measured, rows=rows)
    drop = technical_loss(tree, watts, inputs.length, reactive=reactive.var).drop
    source = meters[tree.source.meter]
    node = grid.equipment[source.equipment].nodes[source.terminal - 1]
    nominal = grid.nodes[node].nominal / np.sqrt(3)
    found = []
    for index in suspected:
        residual = residuals.get(phase_key(region, index))
        if residual is not None:
            imbalance = residual * 3600.0 / inputs.length
            found += _phase(job, region, tree, reader, index=index, drop=drop * nominal, imbalance=imbalance,
                            meters=meters, nominal=float(nominal))  # fmt: skip
    return found


def _phase(
    job: LossJob,
    region: Region,
    tree: LossModel,
    reader: IntervalReader,
    *,
    index: int,
    drop: Floats,
    imbalance: Floats,
    meters: Mapping[str, Meter],
    nominal: float,
) -> list[Suspicion]:
    letter = PHASES[index]
    places = [at for at, term in enumerate(tree.terms) if meters[term.meter].phases.replace("N", "") == letter]
    infeed = f"{tree.source.meter}/MMXU1/PhV/phs{letter}"
    # A meter with one phase calls it what its maker likes, mostly A, whichever phase of the street it is connected to.
    known = set(reader.addresses())
    found = [[text for text in voltage_points(tree.terms[at].meter) if text in known] for at in places]
    places = [at for at, texts in zip(places, found, strict=True) if texts]
    names = [texts[0] for texts in found if texts]
    matrix = reader.read([infeed, *names], job.start + reader.length, job.stop)
    have = matrix.valid[:, 1:].mean(axis=0) > 0.9 if names else np.zeros(0, bool)
    if not matrix.valid[:, 0].any() or np.count_nonzero(have) < 3:
        return []
    kept = np.array(places)[have]
    volts = np.where(matrix.valid, matrix.values, np.nan)
    residual = volts[:, :1] - volts[:, 1:][:, have] - drop[:, kept]
    path = tree.path_resistance()[np.ix_(kept, kept)] * nominal
    scores = detection.voltage_consistency(residual, imbalance, path)
    best = int(scores.argmax())
    if scores[best] < _LEAST_SCORE:
        return []
    days = (job.stop - job.start) / DAY_S
    kwh = float(np.nansum(imbalance) * reader.length / 3600.0 / 1000.0 / days)
    address = tree.terms[int(kept[best])].meter
    evidence = (("phase", float(index + 1)), ("candidates", float(len(kept))))
    return [Suspicion(Method.VOLTAGE, address, region.key, float(scores[best]), job.start, job.stop, kwh, evidence)]
