"""Clustering of voltages: meters of one phase of one transformer move together, whoever it is that they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.correlation import Courses, courses, prepared
from twin_gateway.twin.lv_topology.data import AreaData, effective_length
from twin_gateway.twin.lv_topology.votes import Vote, correlation_odds, probabilities, silent

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


def agglomerate(similarity: F64, count: int) -> Ints:
    """Average linkage from single rows down to `count` groups.

    Args:
        similarity: symmetric, shape (n, n).
        count: number of groups to stop at.

    Returns:
        Group of every row, numbered from 0 in the order of their first members.
    """
    rows = len(similarity)
    link = similarity.astype(np.float64).copy()
    np.fill_diagonal(link, -np.inf)
    size = np.ones(rows)
    group = np.arange(rows)
    partner = link.argmax(1) if rows else np.zeros(0, np.int64)
    nearest = link.max(1) if rows else np.zeros(0)
    for _ in range(rows - max(1, min(count, rows))):
        left = int(nearest.argmax())
        right = int(partner[left])
        merged = (size[left] * link[left] + size[right] * link[right]) / (size[left] + size[right])
        merged[[left, right]] = -np.inf
        size[left] += size[right]
        group[group == right] = left
        link[left], link[:, left] = merged, merged
        link[right], link[:, right] = -np.inf, -np.inf
        nearest[right] = -np.inf
        # average linkage never makes a pair more alike than the better of its parts, so only these rows change
        stale = np.flatnonzero((partner == left) | (partner == right))
        stale = np.append(stale[np.isfinite(nearest[stale])], left)
        partner[stale] = link[stale].argmax(1)
        nearest[stale] = link[stale].max(1)
    return np.asarray(np.unique(group, return_inverse=True)[1])


def groups(data: AreaData, course: Courses | None = None, *, count: int | None = None) -> Ints:
    """Groups of channels by the correlation of their voltages, without any busbar; -1 for a channel without voltage.

    Args:
        data: see `AreaData`.
        course: of the same data, where it is at hand.
        count: number of groups; default a third more than there are places, for meters from elsewhere.
    """
    volts = prepared(course or courses(data))
    out = np.full(len(data.v), -1)
    told = np.flatnonzero(volts.told)
    if len(told) < 2:
        return out
    rows = volts.channels[told]
    rows = rows / np.maximum(np.sqrt((rows**2).sum(1, keepdims=True)), 1e-9)
    out[told] = agglomerate(rows @ rows.T, count or max(2, data.places * 4 // 3))
    return out


def pooled(anchor: F64, group: Ints, limit: float = 3.0) -> F64:
    """What the members of a group say together: mean-limited log-probabilities summed over the group.

    Args:
        anchor: probability vectors, shape (channels, places + 1).
        group: of every channel, -1 for none.
        limit: a single member says at most so much (log-odds).
    """
    known = group >= 0
    words = np.log(np.clip(anchor, 1e-9, None))
    words = np.maximum(words - words.max(1, keepdims=True), -limit)
    count = int(group.max()) + 1 if known.any() else 0
    total = np.zeros((count, anchor.shape[1]))
    np.add.at(total, group[known], words[known])
    total = np.exp(total - total.max(1, keepdims=True)) if count else total
    out = anchor.copy()
    if count:
        out[known] = (total / total.sum(1, keepdims=True))[group[known]]
    return out


def cluster(
    data: AreaData, anchor: F64, group: Ints | None = None, *, course: Courses | None = None, rounds: int = 4
) -> Vote:
    """Vote by groups: a channel belongs where the voltages go with which its own goes.

    The groups are named by what other methods say of their members together; then every channel is compared with the
    mean voltage of each place without itself, and moves on until the groups stand still (soft k-means). It says
    nothing of being elsewhere: what the medium voltage does to a phase is shared by meters of other transformers.

    Args:
        data: see `AreaData`.
        course: of the same data, where it is at hand.
        anchor: probability vectors of the other methods, shape (channels, places + 1); flat where they say nothing.
        group: from `groups`, made here when not given.
        rounds: of the k-means.
    """
    volts = prepared(course or courses(data))
    channels, places = len(data.v), data.places
    if volts.told.sum() < 2:
        return Vote("cluster", silent(channels, places), knows_none=False)
    group = groups(data, course) if group is None else group
    rows = volts.channels / np.maximum(np.sqrt((volts.channels**2).sum(1, keepdims=True)), 1e-9)
    gram = rows @ rows.T
    length = effective_length(rows, rows)
    weight = pooled(anchor, group)[:, :places] * volts.told[:, None]
    odds = silent(channels, places)
    for _ in range(rounds):
        odds = _against_means(gram, weight, length)
        odds[~volts.told] = 0.0
        weight = probabilities(odds)[:, :places] * volts.told[:, None]
    return Vote("cluster", odds - odds.max(1, keepdims=True), knows_none=False)


def _against_means(gram: F64, weight: F64, length: float) -> F64:
    """Log-odds of every row for every weighted mean of the others (rows of length 1, given as their Gram matrix)."""
    own = np.diag(gram)
    reach = gram @ weight
    inner = weight.T @ reach
    product = reach - weight * own[:, None]
    variance = np.diag(inner) - 2 * weight * reach + weight**2 * own[:, None]
    full = variance > 1e-6
    rho = np.where(full, product / np.sqrt(np.maximum(variance, 1e-6) * np.maximum(own[:, None], 1e-9)), 0.0)
    marginal = np.arctanh(np.clip(rho, -0.999, 0.999)) * np.sqrt(length)
    odds = correlation_odds(marginal, length)
    return np.asarray(np.where(full, odds, -6.0))
