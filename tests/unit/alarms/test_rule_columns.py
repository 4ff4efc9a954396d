"""Judging values by rules: limits with hysteresis, normal states, comparisons, in columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from address_space.catalogue import ValueType
from twin_gateway.alarms.rules import RuleColumns, numbers
from twin_gateway.mapping.alarm_rule import AlarmRule

FOUR = AlarmRule("A01", limits=(-20.0, -10.0, 10.0, 20.0), hysteresis=2.0)


def run(rule: AlarmRule, values: list[float], kind: ValueType = ValueType.DOUBLE) -> list[int]:
    columns = RuleColumns([rule], [kind])
    out = []
    for value in values:
        columns.levels[:] = columns.judge(np.array([0]), np.array([value]), np.array([np.nan]))
        out.append(int(columns.levels[0]))
    return out


def test_a_limit_is_over_when_the_value_has_come_back_by_the_hysteresis() -> None:
    assert run(FOUR, [0, 10, 10.1, 9, 8.1, 8, 7.9]) == [0, 0, 1, 1, 1, 0, 0]
    assert run(FOUR, [0, -10, -10.1, -9, -8.1, -8]) == [0, 0, -1, -1, -1, 0]


def test_the_outer_limit_falls_back_to_the_inner_one_with_hysteresis_too() -> None:
    assert run(FOUR, [25, 19, 18, 17, 9, 8]) == [2, 2, 1, 1, 1, 0]


def test_from_far_above_to_far_below_is_one_step() -> None:
    assert run(FOUR, [25, -25, 25]) == [2, -2, 2]


def test_limits_that_are_not_given_are_never_exceeded() -> None:
    assert run(AlarmRule("A01", limits=(None, None, None, 20.0)), [1e9, 0, -1e9]) == [2, 0, 0]
    assert run(AlarmRule("A01", limits=(None, 5.0, None, None)), [1e9, 0]) == [0, -1]


def test_what_is_not_a_number_keeps_its_level() -> None:
    assert run(FOUR, [11, float("nan"), 0, float("nan")]) == [1, 1, 0, 0]


def test_infinity_is_out_of_limits() -> None:
    assert run(FOUR, [float("inf"), float("-inf")]) == [2, -2]


@pytest.mark.parametrize(
    ("normal", "values", "levels"),
    [((0,), [0, 1, 0], [0, 1, 0]), ((1, 2), [1, 0, 2, 3], [0, 1, 0, 1]), ((2,), [64, -1, 1e9], [1, 1, 1])],
)
def test_any_state_but_the_normal_ones_is_an_alarm(
    normal: tuple[int, ...], values: list[float], levels: list[int]
) -> None:
    assert run(AlarmRule("A02", normal=normal), values, ValueType.INT32) == levels


def test_two_values_disagree_when_they_are_further_apart_than_the_tolerance() -> None:
    columns = RuleColumns([AlarmRule("A03", target="x", tolerance=1.0)], [ValueType.DOUBLE])
    which = np.array([0])
    for value, other, level in ((5.0, 6.0, 0), (5.0, 6.1, 1), (7.2, 6.1, 1)):
        assert columns.judge(which, np.array([value]), np.array([other])).tolist() == [level]
    columns.levels[:] = 1
    assert columns.judge(which, np.array([5.0]), np.array([np.nan])).tolist() == [1]


def _plain(rule: AlarmRule, value: float, level: int) -> int:
    """The same by hand, for one value."""
    lolo, lo, hi, hihi = (limit if limit is not None else float("nan") for limit in rule.limits)
    back = rule.hysteresis
    if value > hihi - (back if level >= 2 else 0):
        return 2
    if value > hi - (back if level >= 1 else 0):
        return 1
    if value < lolo + (back if level <= -2 else 0):
        return -2
    return -1 if value < lo + (back if level <= -1 else 0) else 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.sampled_from([FOUR, AlarmRule("A01", limits=(None, -5.0, 5.0, None))]),
)
def test_columns_judge_as_one_would_by_hand(values: list[float], rule: AlarmRule) -> None:
    level, expected = 0, []
    for value in values:
        level = _plain(rule, value, level)
        expected.append(level)
    assert run(rule, values) == expected


def test_value_bits_of_every_type_are_numbers() -> None:
    types = np.array([11, 1, 6, 7, 8, 12], np.uint8)
    raw = np.array([0, 1, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFE, 3], np.uint64)
    raw[:1] = np.array([2.5]).view(np.uint64)
    assert numbers(raw, types)[:5].tolist() == [2.5, 1.0, -1.0, 4294967295.0, -2.0]
    assert np.isnan(numbers(raw, types)[5])
