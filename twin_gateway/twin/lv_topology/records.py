"""Records as evidence: a prior that data overrule, as trustworthy as the data of the area find the records to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.votes import Vote, silent

F64 = NDArray[np.float64]
MOST_TRUST = 0.9
"""Records alone never decide: they stay below every sensible threshold of confidence."""


@dataclass(frozen=True)
class Record:
    """Where a meter is on record: address of the transformer (empty when not known), letters of its phases."""

    transformer: str = ""
    phases: str = ""


def record_vote(data: AreaData, records: Sequence[Record], trust: float) -> Vote:
    """The prior: probability `trust` that the record is right, the rest spread over all other places and none.

    Args:
        data: see `AreaData`.
        records: one per meter.
        trust: 0 to `MOST_TRUST`; more is taken as that.
    """
    odds = silent(len(data.v), data.places)
    trust = min(trust, MOST_TRUST)
    index = {address: number for number, address in enumerate(data.transformers)}
    for channel, meter in enumerate(data.channel_meter):
        record = records[meter]
        at = index.get(record.transformer)
        if at is None:
            continue
        letters = [letter for letter in record.phases if letter in "ABC"] or list("ABC")
        likely = [3 * at + "ABC".index(letter) for letter in letters]
        elsewhere = (1 - trust) / max(1, data.places + 1 - len(likely))
        odds[channel, likely] = np.log(max(trust / len(likely), elsewhere) / elsewhere)
    return Vote("records", odds)


def trust_in(agreeing: int, compared: int) -> float:
    """Trust in the records of an area of which `agreeing` of `compared` agree with confident results (Laplace)."""
    return min(MOST_TRUST, (agreeing + 1) / (compared + 2))


def same_phases(left: str, right: str) -> bool:
    """Whether phases are the same whatever the order of a meter's terminals; records keep no order."""
    return sorted(left.replace("N", "")) == sorted(right.replace("N", ""))
