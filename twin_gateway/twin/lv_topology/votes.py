"""A vote: what one method says of every meter channel, as log-odds against being at none of the places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """What one method says.

    Attributes:
        method: its name (`energy`).
        log_odds: natural log-odds of every place (3 * transformer + phase) against "at none of them", shape
            (channels, places). A row of zeros says nothing.
        knows_none: the method can tell "at none of them"; otherwise the best place stands at 0, level with none.
    """

    method: str
    log_odds: F64
    knows_none: bool = True

    def probabilities(self) -> F64:
        """Shape (channels, places + 1); the last column is "at none of them"."""
        return probabilities(self.log_odds)


def probabilities(log_odds: F64) -> F64:
    """Probability vectors of log-odds against none, shape (..., places) -> (..., places + 1)."""
    full = np.concatenate([log_odds, np.zeros((*log_odds.shape[:-1], 1))], axis=-1)
    full = np.exp(full - full.max(axis=-1, keepdims=True))
    return np.asarray(full / full.sum(axis=-1, keepdims=True))


def silent(channels: int, places: int) -> F64:
    """Log-odds that say nothing."""
    return np.zeros((channels, places))


def correlation_odds(score: F64, length: float, spread: float = 0.2) -> F64:
    """Log-odds of a correlation against no correlation, given the score z = rho * sqrt(length).

    The Bayes factor of an effect with standard deviation `spread` against none (Wakefield 2009); only a positive
    correlation speaks for a place. No correlation speaks weakly against it: the effect may be small.
    """
    room = length * spread**2
    positive = np.clip(score, 0.0, None)
    return np.asarray(0.5 * positive**2 * room / (1 + room) - 0.5 * np.log1p(room))
