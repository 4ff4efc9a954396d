"""Figures of merit of an identification (spec 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.finding import Finding, State
from twin_gateway.twin.lv_topology.records import same_phases

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Merit:
    """Shares, 0 to 1, of the meters that hang on a measured transformer; NaN where there is nothing to count.

    Attributes:
        both, transformer: right place, right transformer, of all (an unknown one is not right).
        phase_single, phase_three: right phases, of single- and three-phase meters.
        coverage: result with confidence at or above the threshold.
        false_change: record right, result differs, of the meters whose record is right.
        wrong: a confident result that is wrong, of all.
        found: wrong records that the result contradicts rightly, of the wrong records.
        outside_unknown: unknown, of the meters that hang on no measured transformer.
    """

    both: float
    transformer: float
    phase_single: float
    phase_three: float
    coverage: float
    false_change: float
    wrong: float
    found: float
    outside_unknown: float


def merit(findings: Sequence[Finding], transformer: Sequence[str], phases: Sequence[str]) -> Merit:
    """Compare findings with the truth: address of the transformer (empty: none measured) and phase letters of each."""
    inside = np.array([bool(address) for address in transformer])
    sure = np.array([finding.state != State.UNKNOWN for finding in findings])
    fed = np.array([f.transformer == t for f, t in zip(findings, transformer, strict=True)]) & sure & inside
    right = fed & np.array([f.phases == p for f, p in zip(findings, phases, strict=True)])
    three = np.array([len(letters) > 1 for letters in phases])
    recorded = np.array(
        [
            f.recorded_transformer == t and same_phases(f.recorded_phases, p)
            for f, t, p in zip(findings, transformer, phases, strict=True)
        ]
    )
    differs = np.array([finding.state == State.DIFFERS for finding in findings])

    def share(what: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
        return float(np.mean(what[of])) if of.any() else float("nan")

    return Merit(
        both=share(right, inside),
        transformer=share(fed, inside),
        phase_single=share(right, inside & ~three),
        phase_three=share(right, inside & three),
        coverage=share(sure, inside),
        false_change=share(differs, inside & recorded),
        wrong=share(sure & ~right, inside),
        found=share(differs & right, inside & ~recorded),
        outside_unknown=share(~sure, ~inside),
    )


def edges(found: Ints, true: Ints, shared: F64) -> tuple[float, float, float]:
    """Precision, recall and F1 of parent edges; a parent of -1 is no edge.

    Several meters may leave the line at one joint: an edge is right when its parent shares as much of the path as the
    true parent does.

    Args:
        found: parents by meter.
        true: the same, as it is.
        shared: true shared path resistances, ohm, shape (n, n).
    """
    row = np.arange(len(found))
    hits = int(((found >= 0) & (true >= 0) & (shared[row, found] >= shared[row, true] - 1e-9)).sum())
    precision = hits / max(1, int((found >= 0).sum()))
    recall = hits / max(1, int((true >= 0).sum()))
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)
