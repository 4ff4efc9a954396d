"""Judging values by alarm rules: columns of limits, normal states and tolerances, a chunk of changes at once.

Pure: arrays in, levels out. A level is what holds of a rule: 0 nothing, 1 and 2 above hi and hihi, -1 and -2 below lo
and lolo; of rules without limits 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from twin_gateway.mapping.alarm_rule import AlarmRule

Levels = npt.NDArray[np.int8]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

LIMIT_NAMES = {2: "HighHigh", 1: "High", 0: "", -1: "Low", -2: "LowLow"}
"""Of levels, as `Condition.limit` has them."""
_NORMAL_STATES = 64


class RuleColumns:
    """All rules side by side; rule number = place in the columns.

    Args:
        rules: of points; `types` has the value type of each point.

    Attributes:
        levels: what holds of each rule, as judged last.
    """

    def __init__(self, rules: Sequence[AlarmRule], types: Sequence[ValueType]) -> None:
        count = len(rules)
        self.levels: Levels = np.zeros(count, np.int8)
        self._types = np.array(types, np.uint8)
        limits = np.array([rule.limits or (None,) * 4 for rule in rules], np.float64).reshape(count, 4)
        low, high = np.full((count, 2), -np.inf), np.full((count, 2), np.inf)
        self._lolo, self._lo = np.where(np.isnan(limits[:, :2]), low, limits[:, :2]).T
        self._hi, self._hihi = np.where(np.isnan(limits[:, 2:]), high, limits[:, 2:]).T
        self._hysteresis = np.array([rule.hysteresis for rule in rules], np.float64)
        self._normal = np.array([sum(1 << state for state in set(rule.normal)) for rule in rules], np.uint64)
        self._has_limits = np.array([bool(rule.limits) for rule in rules], np.bool_)
        self._tolerance = np.array([rule.tolerance for rule in rules], np.float64)
        self.compares: npt.NDArray[np.bool_] = np.array([bool(rule.target) for rule in rules], np.bool_)

    def __len__(self) -> int:
        return len(self.levels)

    def judge(self, which: Indices, values: Numbers, others: Numbers) -> Levels:
        """Levels of some rules by the values of their points; `others` are those of the points compared with.

        What cannot be judged (not a number) keeps its level.
        """
        before = self.levels[which]
        by_state = np.where(self._off_normal(which, values), 1, 0)
        apart = np.where(np.abs(values - others) > self._tolerance[which], 1, 0)
        levels = np.where(
            self._has_limits[which],
            self._by_limits(which, values, before),
            np.where(self.compares[which], apart, by_state),
        ).astype(np.int8)
        unknown = np.isnan(values) | (self.compares[which] & np.isnan(others))
        return np.where(unknown, before, levels).astype(np.int8)

    def _by_limits(self, which: Indices, values: Numbers, before: Levels) -> Levels:
        """A limit that is exceeded is so until the value has come back by the hysteresis."""
        back = self._hysteresis[which]
        above = np.where(values > self._hi[which] - back * (before >= 1), 1, 0)
        above = np.where(values > self._hihi[which] - back * (before >= 2), 2, above)
        below = np.where(values < self._lo[which] + back * (before <= -1), -1, 0)
        below = np.where(values < self._lolo[which] + back * (before <= -2), -2, below)
        return np.where(above > 0, above, below).astype(np.int8)

    def _off_normal(self, which: Indices, values: Numbers) -> npt.NDArray[np.bool_]:
        known = (values >= 0) & (values < _NORMAL_STATES)
        state = np.where(known, values, 0).astype(np.uint64)
        normal = (self._normal[which] >> state) & np.uint64(1) == 1
        off: npt.NDArray[np.bool_] = ~(known & normal)
        return off


def numbers(raw: npt.NDArray[np.uint64], types: npt.NDArray[np.uint8]) -> Numbers:
    """Value bits of points of any type as numbers; texts are not a number."""
    out = np.full(len(raw), np.nan)
    for kind, view in _VIEWS.items():
        mine = types == kind
        if mine.any():
            out[mine] = view(raw[mine])
    return out


_VIEWS: dict[ValueType, Callable[[npt.NDArray[np.uint64]], npt.NDArray[Any]]] = {
    ValueType.DOUBLE: lambda raw: raw.view(np.float64),
    ValueType.BOOLEAN: lambda raw: (raw & np.uint64(1)).astype(np.float64),
    ValueType.INT32: lambda raw: raw.astype(np.uint32).view(np.int32).astype(np.float64),
    ValueType.UINT32: lambda raw: raw.astype(np.uint32).astype(np.float64),
    ValueType.INT64: lambda raw: raw.view(np.int64).astype(np.float64),
}
