"""An identification names transformer and phases, or says that it does not know; it does not accuse right records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from twin_gateway.bench.lv_areas import Case, Truth, simulate
from twin_gateway.bench.twin_lv_topology import judged
from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.energy import turned
from twin_gateway.twin.lv_topology.finding import Reason, State
from twin_gateway.twin.lv_topology.identify import Evidence, Identification, identify
from twin_gateway.twin.lv_topology.increments import parents
from twin_gateway.twin.lv_topology.metrics import edges, merit
from twin_gateway.twin.lv_topology.records import Record

ACCEPTANCE = Case(areas=5, days=14, missing=0.1, skew_s=30.0, pv=0.2)


def records(data: AreaData, truth: Truth) -> tuple[Record, ...]:
    return tuple(
        Record(data.transformers[at] if at >= 0 else "", phases)
        for at, phases in zip(truth.recorded_transformer, truth.recorded_phases, strict=True)
    )


def transformers(data: AreaData, truth: Truth) -> list[str]:
    return [data.transformers[at] if at >= 0 else "" for at in truth.transformer]


@pytest.mark.parametrize(("volt_class", "least"), [(0.2, 0.99), (0.5, 0.95)])
def test_acceptance_on_the_european_feeder(
    european_case: Callable[[Case], tuple[AreaData, Truth]], volt_class: float, least: float
) -> None:
    found, seconds = judged(*european_case(replace(ACCEPTANCE, volt_class=volt_class)))
    assert found.both >= least
    assert found.false_change <= 0.01
    assert found.wrong <= 0.01
    assert found.outside_unknown >= 0.9
    assert seconds < 60


@pytest.fixture(scope="module")
def own_result(own_case: tuple[AreaData, Truth]) -> Identification:
    data, truth = own_case
    return identify(data, Evidence(records(data, truth)))


def test_the_own_feeder_is_identified_with_all_faults_at_once(
    own_case: tuple[AreaData, Truth], own_result: Identification
) -> None:
    data, truth = own_case
    found = merit(own_result.findings, transformers(data, truth), truth.phases)
    assert found.both >= 0.95
    assert found.false_change == 0
    assert found.wrong == 0
    assert found.outside_unknown == 1


def test_what_differs_is_the_wrong_record(own_case: tuple[AreaData, Truth], own_result: Identification) -> None:
    data, truth = own_case
    wrong = {
        meter
        for meter, at, was, phases, was_phases in zip(
            data.meters,
            truth.transformer,
            truth.recorded_transformer,
            truth.phases,
            truth.recorded_phases,
            strict=True,
        )
        if at >= 0 and (at, sorted(phases)) != (was, sorted(was_phases))
    }
    differing = {finding.meter for finding in own_result.findings if finding.state is State.DIFFERS}
    assert wrong
    assert differing <= wrong
    assert len(differing) >= 0.6 * len(wrong)


def test_without_records_the_answers_are_the_same_or_unknown(
    own_case: tuple[AreaData, Truth], own_result: Identification
) -> None:
    data, _ = own_case
    alone = identify(data)
    for left, right in zip(own_result.findings, alone.findings, strict=True):
        if State.UNKNOWN not in {left.state, right.state}:
            assert (left.transformer, left.phases) == (right.transformer, right.phases)
    assert np.isnan(alone.trust)


@pytest.mark.parametrize("methods", [("energy",), ("energy", "drop"), ("energy", "cluster")])
def test_fewer_methods_make_unknown_ones_and_not_wrong_ones(
    own_case: tuple[AreaData, Truth], methods: tuple[str, ...]
) -> None:
    data, truth = own_case
    found = merit(identify(data, methods=methods).findings, transformers(data, truth), truth.phases)
    assert found.wrong <= 0.03
    assert found.both >= 0.5


def test_voltages_alone_at_class_half_leave_much_unknown_and_accuse_nobody(own_case: tuple[AreaData, Truth]) -> None:
    data, truth = own_case
    result = identify(data, Evidence(records(data, truth)), methods=("voltage", "cluster", "records"))
    found = merit(result.findings, transformers(data, truth), truth.phases)
    assert found.wrong == 0
    assert found.coverage < 0.9


def test_an_unknown_method_is_refused(own_case: tuple[AreaData, Truth]) -> None:
    with pytest.raises(ValueError, match="no method 'tarot'"):
        identify(own_case[0], methods=("tarot",))


def test_a_meter_without_data_is_unknown_whatever_its_record_says(own_case: tuple[AreaData, Truth]) -> None:
    data, truth = own_case
    v, p = data.v.copy(), data.p.copy()
    v[data.channel_meter == 0], p[data.channel_meter == 0] = np.nan, np.nan
    finding = identify(replace(data, v=v, p=p), Evidence(records(data, truth))).findings[0]
    assert finding.state is State.UNKNOWN
    assert finding.reason is Reason.NO_DATA
    assert finding.confidence == 0


def test_records_alone_decide_nothing(own_case: tuple[AreaData, Truth]) -> None:
    data, truth = own_case
    result = identify(data, Evidence(records(data, truth)), methods=("records",))
    assert {finding.state for finding in result.findings} == {State.UNKNOWN}


def test_one_day_is_too_short_and_is_said_to_be() -> None:
    data, truth = simulate(Case(areas=2, customers=30, days=1, outside=4, seed=5))
    found = merit(identify(data, Evidence(records(data, truth))).findings, transformers(data, truth), truth.phases)
    assert found.wrong <= 0.02
    assert found.false_change == 0
    assert found.coverage < 0.9


def test_a_profile_that_is_an_interval_late_is_still_placed_and_its_lag_told(own_case: tuple[AreaData, Truth]) -> None:
    data, truth = own_case
    channel = int(np.flatnonzero(np.array([len(truth.phases[m]) == 1 for m in data.channel_meter]))[0])
    p = data.p.copy()
    p[channel] = np.roll(p[channel], 1)
    meter = int(data.channel_meter[channel])
    finding = identify(replace(data, p=p)).findings[meter]
    assert finding.lag == 1
    assert (finding.transformer, finding.phases) == (transformers(data, truth)[meter], truth.phases[meter])


def test_three_phase_meters_that_tell_only_a_sum_are_placed_by_their_voltages() -> None:
    case = Case(areas=2, customers=24, days=8, three_phase=0.4, split_power=False, volt_class=0.2, outside=0, seed=4)
    data, truth = simulate(case)
    found = merit(identify(data).findings, transformers(data, truth), truth.phases)
    assert found.phase_three >= 0.9
    assert found.wrong <= 0.02


def test_a_monitor_that_counts_the_other_way_round_is_noticed(own_case: tuple[AreaData, Truth]) -> None:
    data, _ = own_case
    pt = data.pt.copy()
    pt[1] = -pt[1]
    assert turned(replace(data, pt=pt)).tolist() == [False, True]


def test_without_any_monitor_nothing_is_named() -> None:
    data, _ = simulate(Case(areas=1, customers=12, days=4, outside=0, seed=8))
    blind = replace(data, vt=np.full_like(data.vt, np.nan), pt=np.full_like(data.pt, np.nan))
    result = identify(blind)
    assert {finding.state for finding in result.findings} == {State.UNKNOWN}
    assert {finding.reason for finding in result.findings} == {Reason.NO_DATA}


def test_more_than_half_of_the_next_meters_up_the_line_are_found() -> None:
    data, truth = simulate(
        Case(areas=1, customers=45, days=14, outside=0, missing=0, wrong=0, swapped=0, three_phase=0, seed=6)
    )
    result = identify(data)
    number = {meter: at for at, meter in enumerate(data.meters)}
    found = np.array([number.get(finding.parent, -1) for finding in result.findings])
    true = np.full(len(found), -1)
    for phase in "ABC":
        rows = np.array([at for at, letters in enumerate(truth.phases) if letters == phase])
        up = parents(truth.path[np.ix_(rows, rows)])
        true[rows[up >= 0]] = rows[up[up >= 0]]
    assert edges(found, true, truth.path)[2] > 0.5
