"""Which measured powers the others contradict most: leave-one-out residuals of all of them at once on a radial grid.

With the losses held, the flows of a tree are sums of what hangs below, so that the best guess for every branch and
injection from all values but its own comes from two passes of messages (sum-product on a tree of Gaussians): what comes
from below, and what comes from above. The value's distance from that guess, in standard deviations of both, is its
normalised residual in the linear model. It says whom to suspect; a small residual alone does not, because a value that
is trusted much pulls the whole estimate to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_gateway.grid.arrays import Floats, Indexes

_Gauss = tuple[float, float]
"""Mean and precision (reciprocal of the variance); precision 0 says nothing."""
_SURE = 1e12


@dataclass(slots=True)
class Element:
    """A branch towards a child, or an injection, below a node.

    Attributes:
        node: that it hangs on.
        child: node at its other end; -1 for an injection.
        loss: that stays in it, W or var.
        values: (number, value, standard deviation) of its measurements, in the sense of what leaves its far end away
            from the source.
    """

    node: int
    child: int = -1
    loss: float = 0.0
    values: list[tuple[int, float, float]] = field(default_factory=list)


def leave_one_out(
    order: Indexes, elements: Sequence[Element], supply: Sequence[tuple[int, int, float, float]], count: int
) -> Floats:
    """Normalised residual of every measured power against what all others say of it.

    Args:
        order: nodes, each after the one that feeds it.
        elements: all of them; a node has at most one that leads to it.
        supply: (node, number, value, standard deviation) of measured sources; other sources are unknown.
        count: how many numbers there are.

    Returns:
        Standard deviations, shape (count,); 0 for what is not among the values, or what nothing else tells of.
    """
    below: dict[int, list[int]] = {}
    leading: dict[int, int] = {}
    for index, element in enumerate(elements):
        below.setdefault(element.node, []).append(index)
        if element.child >= 0:
            leading[element.child] = index
    own = [_product([(value, _precision(sigma)) for _, value, sigma in item.values]) for item in elements]
    up: list[_Gauss] = [(0.0, 0.0)] * len(elements)  # from below, without the element's own values
    for node in reversed(order.tolist()):
        lead = leading.get(node)
        if lead is not None:
            up[lead] = _sum([_carried(elements[i], _product([up[i], own[i]])) for i in below.get(node, [])])
    given: dict[int, list[tuple[int, float, float]]] = {}
    for node, number, value, sigma in supply:
        given.setdefault(node, []).append((number, value, sigma))
    result = np.zeros(count)
    down: list[_Gauss] = [(0.0, 0.0)] * len(elements)  # from above, without the element's own values
    for node in order.tolist():
        lead = leading.get(node)
        here = below.get(node, [])
        carried = [_carried(elements[i], _product([up[i], own[i]])) for i in here]
        if lead is None:
            at_source = given.get(node, [])
            drawn = _sum(carried)
            for place, (number, value, sigma) in enumerate(at_source):
                others = [(v, _precision(s)) for other, (_, v, s) in enumerate(at_source) if other != place]
                result[number] = _distance(value, sigma, _product([drawn, *others]))
            fed = _product([(v, _precision(s)) for _, v, s in at_source])
        else:
            fed = _product([down[lead], own[lead]])
        for index, rest in zip(here, _sums_of_others(carried), strict=True):
            mean, precision = _sum([fed, (-rest[0], rest[1])])
            down[index] = (mean - elements[index].loss, precision)
    for index, item in enumerate(elements):
        for place, (number, value, sigma) in enumerate(item.values):
            others = [(v, _precision(s)) for other, (_, v, s) in enumerate(item.values) if other != place]
            result[number] = _distance(value, sigma, _product([up[index], down[index], *others]))
    return result


def _precision(sigma: float) -> float:
    return min(1.0 / sigma**2, _SURE) if sigma > 0 else _SURE


def _product(messages: Sequence[_Gauss]) -> _Gauss:
    precision = sum(weight for _, weight in messages)
    if precision <= 0:
        return 0.0, 0.0
    return sum(mean * weight for mean, weight in messages) / precision, precision


def _sum(terms: Sequence[_Gauss]) -> _Gauss:
    """Distribution of a sum; of nothing it is surely zero."""
    if any(weight <= 0 for _, weight in terms):
        return 0.0, 0.0
    variance = sum(1.0 / weight for _, weight in terms)
    return sum(mean for mean, _ in terms), 1.0 / variance if variance > 1.0 / _SURE else _SURE


def _carried(element: Element, message: _Gauss) -> _Gauss:
    """What an element takes from its node."""
    return message[0] + element.loss, message[1]


def _sums_of_others(terms: Sequence[_Gauss]) -> list[_Gauss]:
    """For each term the sum of all the others."""
    total_mean = sum(mean for mean, _ in terms)
    blind = sum(weight <= 0 for _, weight in terms)
    total_variance = sum(1.0 / weight for _, weight in terms if weight > 0)
    result: list[_Gauss] = []
    for mean, weight in terms:
        if blind - (weight <= 0):
            result.append((0.0, 0.0))
            continue
        variance = total_variance - (1.0 / weight if weight > 0 else 0.0)
        result.append((total_mean - mean, 1.0 / variance if variance > 1.0 / _SURE else _SURE))
    return result


def _distance(value: float, sigma: float, guess: _Gauss) -> float:
    mean, precision = guess
    return 0.0 if precision <= 0 else float((value - mean) / np.sqrt(sigma**2 + 1.0 / precision))
