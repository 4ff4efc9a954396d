"""Every row of the tables of conditions, and how rules are read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from address_space.catalogue import data_objects, ln_classes
from twin_gateway.twin.rules import Check, DeviceState, Rule, RuleTable, judge
from twin_gateway.twin.supervision.conditions import DEVICE_RULES
from twin_gateway.twin.supervision.process import PROCESS_RULES, STARTS, TRIPS
from twin_gateway.twin.switchgear.conditions import SWITCHGEAR_RULES

ALL = (*DEVICE_RULES.rules, *PROCESS_RULES.rules, *SWITCHGEAR_RULES.rules, *STARTS.rules, *TRIPS.rules)


def _name(rule: Rule) -> str:
    return f"{rule.code or rule.state.name}-{rule.ln}-{rule.data}-{rule.values}"


@pytest.mark.parametrize("rule", ALL, ids=_name)
def test_each_row_holds_for_the_value_it_names_and_not_for_another(rule: Rule) -> None:
    before: bool | float | None = None
    match rule.test:
        case Check.TRUE:
            yes, no = True, False
        case Check.FALSE:
            yes, no = False, True
        case Check.IN | Check.BECOMES:
            yes, no, before = rule.values[0], -1.0, -1.0
        case Check.ABOVE:
            yes, no = rule.values[0], rule.values[-1] - 0.1
        case Check.BELOW:
            yes, no = rule.values[0], rule.values[-1] + 0.1
        case Check.RISES:
            yes, no, before = 6, 5, 5
        case Check.DIFFERS:
            yes, no = 7, 3
    assert rule.holds(yes, before, False, 3)
    assert not rule.holds(no, before, False, 3)
    assert not rule.holds("text", before, False, "text")


@pytest.mark.parametrize("rule", ALL, ids=_name)
def test_each_row_names_data_objects_of_the_catalogue(rule: Rule) -> None:
    classes = [name for name in ln_classes() if re.fullmatch(rule.ln, name)]
    assert any(rule.data.split("/")[0] in data_objects(name) for name in classes)


def test_every_code_of_the_devices_and_of_switchgear_has_rows() -> None:
    # D03 is found by comparing, C09 by computing.
    assert {rule.code for rule in DEVICE_RULES.rules} >= {f"D{n:02}" for n in range(1, 11)} - {"D03"}
    assert {rule.code for rule in SWITCHGEAR_RULES.rules} == {f"C{n:02}" for n in range(1, 11)} - {"C09"}
    assert {rule.code for rule in PROCESS_RULES.rules} >= {
        "P01",
        "P03",
        "P04",
        "P05",
        "P06",
        "P07",
        "P08",
        "S02",
        "S04",
    }


def test_severities_are_those_of_the_alarm_list() -> None:
    expected = {"D01": {700, 400}, "D04": {400, 700}, "D05": {800, 700, 400}, "D06": {400}, "D07": {500}, "D10": {600}}
    for code, severities in expected.items():
        assert {rule.severity for rule in DEVICE_RULES.rules if rule.code == code} == severities


def test_of_rows_with_one_code_the_first_that_holds_counts() -> None:
    rules = DEVICE_RULES.of("LPHD", "PhyHealth")
    for value, severity in ((3, 700), (2, 400)):
        verdicts, happened = judge(rules, value, None)
        assert [v.rule.severity for v in verdicts if v.rule is not None] == [severity]
        assert not happened
    verdicts, _ = judge(rules, 1, 3)
    assert [(v.code, v.rule) for v in verdicts] == [("D04", None)]


def test_a_counter_that_steps_up_happens_once_and_its_first_value_says_nothing() -> None:
    rules = DEVICE_RULES.of("LPHD", "NumPwrUp")
    assert judge(rules, 5, None)[1] == []
    assert [rule.code for rule in judge(rules, 6, 5)[1]] == ["D07"]
    assert judge(rules, 6, 6)[1] == []
    assert judge(rules, 0, 6)[1] == []


def test_a_limit_has_hysteresis() -> None:
    (rule,) = SWITCHGEAR_RULES.of("THUM", "HumSv")
    assert not rule.holds(84.0, None, False)
    assert rule.holds(85.0, None, False)
    assert rule.holds(81.0, None, True)
    assert not rule.holds(79.0, None, True)


def test_data_objects_with_numbers_and_functions_of_many_classes_are_found() -> None:
    assert DEVICE_RULES.of("LTMS", "TmChSt2")
    assert DEVICE_RULES.of("PTOC", "Health")
    assert not DEVICE_RULES.of("PTOC", "Op")
    assert PROCESS_RULES.of("PTOC", "Op")


def test_rows_without_a_code_make_a_state() -> None:
    verdicts, _ = judge(DEVICE_RULES.of("LLN0", "Loc"), True, None)
    assert [(v.code, v.rule and v.rule.state) for v in verdicts] == [("state:LOCAL", DeviceState.LOCAL)]


def test_a_subscription_with_another_revision_than_expected() -> None:
    (rule,) = DEVICE_RULES.of("LGOS", "RxConfRevNum")
    assert judge([rule], 4, None, other=3)[0][0].rule is rule
    assert judge([rule], 4, None, other=4)[0][0].rule is None
    assert judge([rule], 4, None, other=None)[0][0].rule is None


def test_limits_can_be_set_and_a_row_without_its_limits_is_refused() -> None:
    table = SWITCHGEAR_RULES.with_limits({("THUM", "HumSv"): (60.0, 55.0)})
    assert table.of("THUM", "HumSv")[0].holds(60.0, None, False)
    with pytest.raises(ValueError, match="needs values"):
        RuleTable([replace(SWITCHGEAR_RULES.of("THUM", "HumSv")[0], values=())])
