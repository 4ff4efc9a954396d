"""Power-line carrier as evidence: which concentrator hears a meter, and at which zero crossing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.votes import Vote, silent

CROSS_TALK = 0.15
"""Share of its frames that a concentrator hears of meters of adjacent transformers, at most likely."""
_HEARD = 0.8


@dataclass(frozen=True)
class Hearing:
    """What one concentrator heard of one meter.

    Attributes:
        meter: address.
        transformer: address of the transformer that the concentrator stands at.
        frames: frames heard; of: frames expected.
        angle: degrees from the zero crossing of phase A to that of the carrier; None when the modem tells none.
        terminal: of the meter that the modem is connected to.
    """

    meter: str
    transformer: str
    frames: int
    of: int
    angle: float | None = None
    terminal: int = 0


def carrier_vote(data: AreaData, hearings: Sequence[Hearing], *, spread: float = 15.0) -> Vote:
    """Log-odds from what concentrators hear.

    Frames count as binomial with `_HEARD` at the own transformer and `CROSS_TALK` elsewhere, but as no more than 12
    independent ones: reception is good or bad for hours. The angle is normal about 0, 120 and 240 degrees with
    `spread` degrees; a single-phase meter that is connected the wrong way round is off by 180 degrees, so that
    counts too.
    """
    odds = silent(len(data.v), data.places)
    meters = {address: number for number, address in enumerate(data.meters)}
    supplies = {address: number for number, address in enumerate(data.transformers)}
    singles = np.bincount(data.channel_meter, minlength=len(data.meters)) == 1
    for hearing in hearings:
        meter, supply = meters.get(hearing.meter), supplies.get(hearing.transformer)
        if meter is None or supply is None or hearing.of <= 0:
            continue
        rate = min(max(hearing.frames / hearing.of, 0.0), 1.0)
        trials = min(hearing.of, 12)
        heard = rate * trials
        gain = heard * np.log(_HEARD / CROSS_TALK) + (trials - heard) * np.log((1 - _HEARD) / (1 - CROSS_TALK))
        channels = np.flatnonzero(data.channel_meter == meter)
        at = slice(3 * supply, 3 * supply + 3)
        odds[channels, at] += gain / len(channels)
        if hearing.angle is None or heard < 1:
            continue
        off = (hearing.angle - np.array([0.0, 120.0, 240.0]) + 180) % 360 - 180
        likely = np.exp(-0.5 * (off / spread) ** 2)
        if singles[meter]:
            turned = (off + 360) % 360 - 180
            likely = likely + np.exp(-0.5 * (turned / spread) ** 2)
        words = np.log(likely + 1e-3)
        row = channels[data.channel_terminal[channels] == hearing.terminal]
        odds[row, at] += words - words.mean()
    return Vote("plc", odds)
