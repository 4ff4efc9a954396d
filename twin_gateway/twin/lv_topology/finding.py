"""A finding: where a meter is according to its data, how sure that is, and whether the record says the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a finding (spec 5.2). Only people make it confirmed or rejected."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Why a finding is unknown."""

    NONE = ""
    NO_DATA = "no data"
    ELSEWHERE = "none of the measured transformers"
    AMBIGUOUS = "not sure enough"


@dataclass(frozen=True, slots=True)
class MethodVote:
    """What one method says of a meter: its best place (address of the transformer and phases, empty for none)."""

    method: str
    transformer: str
    phases: str
    probability: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One meter.

    Attributes:
        meter: address.
        transformer: address of the transformer that feeds it; the best guess also when unknown, empty for none.
        phases: letters in the order of the meter's terminals.
        parent: address of the next meter up the line on the same phase; empty when not known.
        confidence: probability of transformer and phases together, 0 to 1.
        recorded_transformer, recorded_phases: the record at that time.
        group: number of the voltage cluster of its first channel, -1 for none.
        lag: intervals by which its profile is late (0 when its clock is right).
    """

    meter: str
    transformer: str
    phases: str
    confidence: float
    state: State
    reason: Reason = Reason.NONE
    parent: str = ""
    recorded_transformer: str = ""
    recorded_phases: str = ""
    votes: tuple[MethodVote, ...] = ()
    group: int = -1
    lag: int = 0
