"""Fusion: weighted log-odds of what the methods say, each believed as far as its own consistency warrants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.votes import Vote, probabilities

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


MOST = 7.0
"""No method says more than this against a place (odds of 1 100 to 1): data that nobody foresaw come too."""


@dataclass(frozen=True)
class Weight:
    """How far a method is believed.

    Attributes:
        method: its name.
        scale: factor on its log-odds, 0 to 1, by which its two halves of the window contradict each other no more
            than they should.
        limit: most that it may say against any place (log-odds), from how often it is right when it is sure.
        stability: share of channels of which both halves say the same.
        agreement: share of its sure channels of which the other methods say the same; NaN when none can tell.
    """

    method: str
    scale: float
    limit: float
    stability: float
    agreement: float


def halves(data: AreaData) -> tuple[AreaData, AreaData]:
    """The first and the second half of the window."""
    middle = data.intervals // 2

    def part(begin: int, end: int) -> AreaData:
        return replace(
            data,
            start=data.start + begin * data.step,
            v=data.v[:, begin:end],
            p=data.p[:, begin:end],
            vt=data.vt[:, :, begin:end],
            pt=data.pt[:, :, begin:end],
        )

    return part(0, middle), part(middle, data.intervals)


def stability(first: Vote, second: Vote) -> tuple[float, float]:
    """Scale and stability of a method from its votes on two halves of the window.

    The scale is the largest up to 1 at which the halves, each as likely right as it says, agree no more often than they
    do: a method that is sure of itself and changes its mind is overconfident.
    """
    told = (np.abs(first.log_odds).sum(1) > 0) & (np.abs(second.log_odds).sum(1) > 0)
    if told.sum() < 3:
        return 0.5, float("nan")
    left, right = first.log_odds[told], second.log_odds[told]
    agree = float(np.mean(probabilities(left).argmax(1) == probabilities(right).argmax(1)))
    steady = (agree * float(told.sum()) + 1) / (float(told.sum()) + 2)
    shown = min(1.0, agree + 1 / told.sum())  # one contradiction more or less proves nothing

    def foreseen(scale: float) -> float:
        return float(np.mean(probabilities(scale * left).max(1) * probabilities(scale * right).max(1)))

    if foreseen(1.0) <= shown:
        return 1.0, steady
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if foreseen(middle) <= shown else (low, middle)
    return low, steady


def words(odds: F64, scale: float, limit: float) -> F64:
    """Log-probabilities, shape (channels, places + 1), "none" last: the best is 0 and nothing is below -limit."""
    full = np.concatenate([odds * scale, np.zeros((len(odds), 1))], axis=1)
    return np.asarray(np.maximum(full - full.max(1, keepdims=True), -limit))


_PRIOR = 4.0
"""The stability counts as so many judgements by others."""


def weigh(votes: Sequence[Vote], stabilities: dict[str, tuple[float, float]], sure: float = 0.9) -> list[Weight]:
    """Weights of the methods: scales from the halves, limits from how often they are right when they are sure.

    The first limit comes from the stability alone, so that methods that contradict themselves cannot be sure of
    anything; then the methods judge each other, in rounds, where both sides are sure. Where they contradict each
    other the blame is shared by how far each of them is steady.

    Args:
        votes: of the methods that measure (not the records).
        stabilities: scale and stability by method; methods that have no halves count as (1, NaN).
        sure: probability from which a method counts as sure.
    """
    scales = {vote.method: stabilities.get(vote.method, (1.0, float("nan"))) for vote in votes}
    first = {method: _own_limit(steady) for method, (_, steady) in scales.items()}
    limits = dict(first)
    agreements = dict.fromkeys(limits, float("nan"))
    for _ in range(3):
        said = {vote.method: words(vote.log_odds, scales[vote.method][0], limits[vote.method]) for vote in votes}
        total = np.sum(list(said.values()), axis=0) if said else np.zeros((0, 1))
        judged = {}
        for vote in votes:
            reach = None if vote.knows_none else -1  # a method is not judged on what it cannot know
            own = _normal(words(vote.log_odds, scales[vote.method][0], MOST)[:, :reach])
            rest = _normal((total - said[vote.method])[:, :reach])
            both = (own.max(1) >= sure) & (rest.max(1) >= sure)
            count = float(both.sum())
            if count < 3:
                continue
            hits = float((own.argmax(1) == rest.argmax(1))[both].sum())
            agreements[vote.method] = hits / count
            error = _error(first[vote.method])
            judge = _error(max(limit for method, limit in first.items() if method != vote.method))
            misses = (count - hits) * error / (error + judge)
            judged[vote.method] = _logit(1 - (misses + _PRIOR * error) / (count + _PRIOR))
        limits.update(judged)
    return [
        Weight(method, scale, limits[method], steady, agreements[method]) for method, (scale, steady) in scales.items()
    ]


def _own_limit(steady: float) -> float:
    """Limit from the stability: each half is right with its root, and the whole window holds twice as much."""
    if np.isnan(steady):
        return 2.0
    return min(MOST, 2 * _logit(float(np.sqrt(min(steady, 0.999)))))


def _error(limit: float) -> float:
    return float(1 / (1 + np.exp(limit)))


def _logit(rate: float) -> float:
    return float(np.clip(np.log(max(rate, 1e-3) / max(1 - rate, 1e-3)), 0.0, MOST))


def fuse(votes: Sequence[Vote], weights: Sequence[Weight]) -> F64:
    """Sum of the limited log-probabilities, shape (channels, places + 1)."""
    by_method = {weight.method: weight for weight in weights}
    total = np.zeros((len(votes[0].log_odds), votes[0].log_odds.shape[1] + 1))
    for vote in votes:
        weight = by_method[vote.method]
        told = np.abs(vote.log_odds).sum(1) > 0
        total[told] += words(vote.log_odds, weight.scale, weight.limit)[told]
    return total


def _normal(full: F64) -> F64:
    full = np.exp(full - full.max(1, keepdims=True))
    return np.asarray(full / full.sum(1, keepdims=True))


_ORDERS = {count: np.array(list(permutations(range(3), count))) for count in (1, 2, 3)}


@dataclass(frozen=True)
class MeterPlaces:
    """Probabilities per meter.

    Attributes:
        transformer: index of the best transformer, -1 for none.
        order: phases of its terminals at the best place, as letters.
        confidence: of transformer and phases together (of "none" when the best is none).
    """

    transformer: NDArray[np.int64]
    order: tuple[str, ...]
    confidence: F64


def by_meter(data: AreaData, full: F64) -> MeterPlaces:
    """Best transformer and order of phases of every meter from the log-probabilities of its channels.

    The channels of a meter hang on one transformer and on different phases of it.
    """
    count = len(data.meters)
    transformer = np.full(count, -1)
    order = [""] * count
    confidence = np.zeros(count)
    starts = np.searchsorted(data.channel_meter, np.arange(count))
    ends = np.searchsorted(data.channel_meter, np.arange(count), side="right")
    places = data.places
    for meter in range(count):
        rows = full[starts[meter] : ends[meter]]
        if not len(rows):
            continue
        ways = _ORDERS[len(rows)]
        at = 3 * np.arange(places // 3)[:, None, None] + ways[None]
        score = rows[np.arange(len(rows)), at].sum(2).reshape(-1)
        score = np.append(score, rows[:, -1].sum())
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        best = int(weight.argmax())
        confidence[meter] = weight[best]
        if best < len(weight) - 1:
            transformer[meter] = best // len(ways)
            order[meter] = "".join("ABC"[phase] for phase in ways[best % len(ways)])
    return MeterPlaces(transformer, tuple(order), confidence)
