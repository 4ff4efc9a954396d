"""The coil: what the shape of its current says (spec 6.2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.twin.switchgear.mechanism import deviation

WARN, ALARM = 0.20, 0.40


@dataclass(frozen=True, slots=True)
class CoilSignature:
    """Features of the coil current of one operation.

    Attributes:
        peak: first peak, A: the armature starts to move.
        dip_s: time from the start to the dip after it (armature at its stop), s; None when there is no dip.
        plateau: median current of the last quarter while energised, A: voltage over resistance.
    """

    peak: float
    plateau: float
    dip_s: float | None = None


def signature(samples: npt.NDArray[np.float64], step_s: float) -> CoilSignature | None:
    """Features of a sampled coil current (A, shape (n,), from energising on); None when no current flowed.

    The dip is the deepest local minimum between the first peak that is followed by one and the end of the plateau.
    """
    current = np.abs(samples)
    highest = float(current.max(initial=0.0))
    if highest <= 0.0 or len(current) < 8:
        return None
    energised = np.nonzero(current > 0.1 * highest)[0]
    start, end = int(energised[0]), int(energised[-1]) + 1
    flow = current[start:end]
    plateau = float(np.median(flow[len(flow) * 3 // 4 :]))
    rising = np.diff(flow) > 0
    turns = np.nonzero(rising[:-1] & ~rising[1:])[0] + 1
    for turn in turns:
        after = flow[turn:]
        dip = int(np.argmin(after[: max(2, len(after) * 3 // 4)]))
        if dip and flow[turn] - after[dip] > 0.05 * highest:
            return CoilSignature(float(flow[turn]), plateau, (start + int(turn) + dip) * step_s)
    return CoilSignature(highest, plateau)


def coil_stage(found: CoilSignature, base: CoilSignature | None, *, warn: float = WARN, alarm: float = ALARM) -> int:
    """0 fine, 1 when any feature is off its baseline by 20 percent, 2 by 40 percent; 0 without a baseline."""
    if base is None:
        return 0
    pairs = [(found.peak, base.peak), (found.plateau, base.plateau)]
    if found.dip_s is not None and base.dip_s is not None:
        pairs.append((found.dip_s, base.dip_s))
    worst = max((abs(deviation(value, normal)) for value, normal in pairs if normal > 0), default=0.0)
    return 2 if worst >= alarm else 1 if worst >= warn else 0
