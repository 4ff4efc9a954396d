"""Which measured powers the others contradict most: leave-one-out residuals of all of them at once on a radial grid.

With the losses held, the flows of a tree are sums of what hangs below, so that the best guess for every branch and
injection from all values but its own comes from two passes of messages (sum-product on a tree of Gaussians): what comes
from below, and what comes from above. The value's distance from that guess, in standard deviations of both, is its
normalised residual in the linear model. It says whom to suspect; a small residual alone does not, because a value that
is trusted much pulls the whole estimate to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.arrays import Booleans, Floats, Indexes

_SURE = 1e12
"""Highest precision (reciprocal of the variance)."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Branches towards a child, and injections, each below a node.

    Attributes:
        node: that each hangs on.
        child: node at its other end; -1 for an injection.
        depth: of each node below its source; the sources have 0.
    """

    node: Indexes
    child: Indexes
    depth: Indexes


@dataclass(frozen=True, slots=True)
class Values:
    """Measured values of one quantity.

    Attributes:
        element: that each measures, in the sense of what leaves its far end away from the source; -1 - n for what the
            source at node n delivers.
        value, sigma: with its standard deviation.
    """

    element: Indexes
    value: Floats
    sigma: Floats


@dataclass(frozen=True, slots=True)
class _Gauss:
    """Normal distributions: precision, and mean times precision. Precision 0 says nothing."""

    weight: Floats
    moment: Floats

    @property
    def mean(self) -> Floats:
        return np.divide(self.moment, self.weight, out=np.zeros_like(self.moment), where=self.weight > 0)


@dataclass(frozen=True, slots=True)
class _Sum:
    """Sums of independent terms by node: how many say nothing, mean and variance of the others."""

    blind: Floats
    mean: Floats
    variance: Floats


def leave_one_out(elements: Elements, loss: Floats, values: Values) -> Floats:
    """Normalised residual of every value against what all others say of it.

    Args:
        elements: branches and injections; a node has at most one that leads to it.
        loss: that stays in each element; 0 of injections.
        values: measured.

    Returns:
        Standard deviations, shape (values,); 0 where nothing else tells of a value.
    """
    count, nodes = len(elements.node), len(elements.depth)
    weight = np.minimum(1.0 / values.sigma**2, _SURE)
    at_element = values.element >= 0
    at_source = -1 - values.element[~at_element]
    own = _Gauss(
        _total(values.element[at_element], weight[at_element], count),
        _total(values.element[at_element], (weight * values.value)[at_element], count),
    )
    supply = _Gauss(
        _total(at_source, weight[~at_element], nodes),
        _total(at_source, (weight * values.value)[~at_element], nodes),
    )
    levels = _levels(elements)
    leading = np.full(nodes, -1, np.intp)
    branch = elements.child >= 0
    leading[elements.child[branch]] = np.flatnonzero(branch)
    up = _Gauss(np.zeros(count), np.zeros(count))
    # A node on which nothing hangs takes nothing, for certain.
    up.weight[branch & ~np.isin(elements.child, elements.node)] = _SURE
    for level in reversed(levels):
        below = _sum(elements.node[level], *_carried(up, own, loss, level), nodes)
        _pass_on(up, leading, below, elements.depth == elements.depth[elements.node[level[0]]])
    return _residuals(elements, (own, supply, up), loss, values, levels)


def _total(index: Indexes, amounts: npt.NDArray[Any], count: int) -> Floats:
    return np.bincount(index, amounts, count).astype(float)


def _levels(elements: Elements) -> list[Indexes]:
    """Elements by the depth of the node they hang on."""
    deep = elements.depth[elements.node]
    order = np.argsort(deep, kind="stable")
    cuts = np.flatnonzero(np.diff(deep[order])) + 1
    return [part for part in np.split(order, cuts) if len(part)]


def _carried(up: _Gauss, own: _Gauss, loss: Floats, level: Indexes) -> tuple[Floats, Floats]:
    """Precision and mean of what the elements of a level take from their nodes."""
    weight = up.weight[level] + own.weight[level]
    mean = np.divide(up.moment[level] + own.moment[level], weight, out=np.zeros(len(level)), where=weight > 0)
    return weight, mean + loss[level]


def _sum(node: Indexes, weight: Floats, mean: Floats, nodes: int) -> _Sum:
    variance = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
    return _Sum(_total(node, weight <= 0, nodes), _total(node, mean, nodes), _total(node, variance, nodes))


def _pass_on(up: _Gauss, leading: Indexes, below: _Sum, here: Booleans) -> None:
    """Tell the elements that lead to the nodes of a level what hangs below those."""
    at = np.flatnonzero(here & (leading >= 0))
    weight = np.where(below.blind[at] > 0, 0.0, np.minimum(1.0 / np.maximum(below.variance[at], 1.0 / _SURE), _SURE))
    up.weight[leading[at]] = weight
    up.moment[leading[at]] = weight * below.mean[at]


def _residuals(
    elements: Elements,
    messages: tuple[_Gauss, _Gauss, _Gauss],
    loss: Floats,
    values: Values,
    levels: list[Indexes],
) -> Floats:
    own, supply, up = messages
    count, nodes = len(elements.node), len(elements.depth)
    # What comes to each node from above; of sources what is measured of their supply.
    fed = _Gauss(supply.weight.copy(), supply.moment.copy())
    down = _Gauss(np.zeros(count), np.zeros(count))
    drawn = _Gauss(np.full(nodes, _SURE), np.zeros(nodes))
    for level in levels:
        node = elements.node[level]
        weight, mean = _carried(up, own, loss, level)
        total = _sum(node, weight, mean, nodes)
        blind = total.blind[node] - (weight <= 0)
        variance = total.variance[node] - np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
        spread = np.maximum(variance, 0.0) + np.divide(
            1.0, fed.weight[node], out=np.zeros(len(node)), where=fed.weight[node] > 0
        )
        seen = (blind <= 0) & (fed.weight[node] > 0)
        sure = np.where(seen, 1.0 / np.maximum(spread, 1.0 / _SURE), 0.0)
        down.weight[level] = sure
        down.moment[level] = sure * (fed.mean[node] - (total.mean[node] - mean) - loss[level])
        at = np.unique(node)
        drawn.weight[at] = np.where(total.blind[at] > 0, 0.0, 1.0 / np.maximum(total.variance[at], 1.0 / _SURE))
        drawn.moment[at] = drawn.weight[at] * total.mean[at]
        leads = level[elements.child[level] >= 0]
        fed.weight[elements.child[leads]] = down.weight[leads] + own.weight[leads]
        fed.moment[elements.child[leads]] = down.moment[leads] + own.moment[leads]
    at_element = values.element >= 0
    weight = np.minimum(1.0 / values.sigma**2, _SURE)
    element, node = np.where(at_element, values.element, 0), np.where(at_element, 0, -1 - values.element)
    others, moment = -weight, -weight * values.value
    if count:
        others = others + np.where(at_element, (up.weight + down.weight + own.weight)[element], 0.0)
        moment = moment + np.where(at_element, (up.moment + down.moment + own.moment)[element], 0.0)
    others = others + np.where(at_element, 0.0, (drawn.weight + supply.weight)[node])
    moment = moment + np.where(at_element, 0.0, (drawn.moment + supply.moment)[node])
    told = others > 1e-9 * weight
    guess = np.divide(moment, others, out=np.zeros_like(moment), where=told)
    spread = np.sqrt(values.sigma**2 + np.divide(1.0, others, out=np.zeros_like(others), where=told))
    return np.asarray(np.where(told, (values.value - guess) / spread, 0.0))
