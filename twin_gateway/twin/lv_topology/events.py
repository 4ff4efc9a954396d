"""Outages and switching as evidence: meters that lose their voltage together hang on the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.votes import Vote, silent

_TOLD = 0.8
"""Share of last gasps that arrive."""
_STRAY = 0.02
"""Share of meters that lose their voltage at the same time for reasons of their own."""


@dataclass(frozen=True)
class LastGasp:
    """A meter said that its voltage went away (or came back): address, Unix seconds, terminal or None for all."""

    meter: str
    time: float
    terminal: int | None = None


@dataclass(frozen=True)
class SupplyLoss:
    """A transformer, or phases of it, lost its voltage (fuse, breaker, work): address, Unix seconds, phases."""

    transformer: str
    time: float
    phases: str = "ABC"


@dataclass(frozen=True)
class Burst:
    """Meters that went together: time of the first, addresses."""

    time: float
    meters: tuple[str, ...]


def bursts(gasps: Sequence[LastGasp], within: float = 20.0, least: int = 2) -> list[Burst]:
    """Group last gasps that follow each other within so many seconds; groups of fewer than `least` meters are left."""
    out: list[Burst] = []
    ordered = sorted(gasps, key=lambda gasp: gasp.time)
    start = 0
    for index in range(1, len(ordered) + 1):
        if index < len(ordered) and ordered[index].time - ordered[index - 1].time <= within:
            continue
        meters = tuple(dict.fromkeys(gasp.meter for gasp in ordered[start:index]))
        if len(meters) >= least:
            out.append(Burst(ordered[start].time, meters))
        start = index
    return out


def outage_vote(data: AreaData, gasps: Sequence[LastGasp], losses: Sequence[SupplyLoss], within: float = 60.0) -> Vote:
    """Log-odds from supply losses that are known, and from who spoke up at that time.

    A channel that gasped with a loss of a place is likely there; one that kept silent, though meters do tell, is
    likely not. A loss at which nobody gasped says nothing: last gasps may not be collected.
    """
    odds = silent(len(data.v), data.places)
    supplies = {address: number for number, address in enumerate(data.transformers)}
    for loss in losses:
        supply = supplies.get(loss.transformer)
        if supply is None:
            continue
        near = [gasp for gasp in gasps if abs(gasp.time - loss.time) <= within]
        if not near:
            continue
        gone = {(gasp.meter, gasp.terminal) for gasp in near}
        for channel, meter in enumerate(data.channel_meter):
            address, terminal = data.meters[meter], int(data.channel_terminal[channel])
            went = (address, None) in gone or (address, terminal) in gone
            at = [3 * supply + "ABC".index(letter) for letter in loss.phases]
            odds[channel, at] += np.log(_TOLD / _STRAY) if went else np.log((1 - _TOLD) / (1 - _STRAY))
    return Vote("events", odds)
