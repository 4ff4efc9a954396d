"""States of devices, root causes, roll-up, availability, clocks, frozen data, revisions, certificates."""

from __future__ import annotations

import numpy as np
import pytest

from twin_gateway.twin.rules import DeviceState as S
from twin_gateway.twin.supervision.certificates import certificate_stage
from twin_gateway.twin.supervision.clocks import IED_LIMITS, METER_LIMITS, ClockOffset
from twin_gateway.twin.supervision.frozen import Movements
from twin_gateway.twin.supervision.ledger import Ledger
from twin_gateway.twin.supervision.revision import Approved, compare
from twin_gateway.twin.supervision.rollup import Member, function_of, places_above, roll_up
from twin_gateway.twin.supervision.roots import RootCauses
from twin_gateway.twin.supervision.state import Finding, Flapping, resolve

DAY = 86_400.0

# ---- state -----------------------------------------------------------------------------------------------------------


def test_precedence_is_unreachable_fault_test_local_degraded_ok() -> None:
    order = [S.UNREACHABLE, S.FAULT, S.TEST, S.LOCAL, S.DEGRADED]
    for index, expected in enumerate(order):
        assert resolve([Finding(state, state.name) for state in reversed(order[index:])]).state is expected
    assert resolve([]).state is S.OK
    assert resolve([Finding(S.UNREACHABLE, "")], retired=True).state is S.RETIRED


def test_a_device_that_has_not_spoken_is_unknown_or_initialising() -> None:
    assert resolve([], heard=False).state is S.UNKNOWN
    assert resolve([], heard=False, connecting=True).state is S.INITIALISING
    assert resolve([Finding(S.UNREACHABLE, "link")], heard=False).state is S.UNREACHABLE


def test_more_than_five_losses_in_ten_minutes_flap_until_ten_minutes_are_quiet() -> None:
    flapping = Flapping()
    for k in range(5):
        flapping.lost(k * 60.0)
    assert not flapping.active
    flapping.lost(300.0)
    assert flapping.active
    assert flapping.check(899.0)
    assert not flapping.check(900.0)


def test_losses_that_are_far_apart_do_not_flap() -> None:
    flapping = Flapping()
    for k in range(20):
        flapping.lost(k * 130.0)
    assert not flapping.active


# ---- root causes -----------------------------------------------------------------------------------------------------


def test_children_of_a_parent_that_is_down_are_suppressed_and_counted() -> None:
    tree = RootCauses({"m1": "conc", "m2": "conc", "conc": "gw"})
    outage = tree.evaluate({"conc", "m1", "m2"}, 0.0)
    assert outage.roots == {"conc": 2}
    assert outage.suppressed == {"m1": "conc", "m2": "conc"}


def test_the_topmost_parent_is_the_root() -> None:
    tree = RootCauses({"m1": "conc", "conc": "gw"})
    assert tree.evaluate({"gw", "conc", "m1"}, 0.0).suppressed == {"conc": "gw", "m1": "gw"}


def test_a_child_still_bad_60_s_after_its_parents_recovery_alarms_itself() -> None:
    tree = RootCauses({"m1": "conc", "m2": "conc"})
    tree.evaluate({"conc", "m1", "m2"}, 0.0)
    outage = tree.evaluate({"m1"}, 100.0)
    assert outage.waiting == {"m1"} and not outage.roots
    assert tree.evaluate({"m1"}, 159.0).waiting == {"m1"}
    assert tree.evaluate({"m1"}, 160.0).roots == {"m1": 0}


def test_a_child_that_fails_by_itself_alarms_at_once() -> None:
    tree = RootCauses({"m1": "conc"})
    assert tree.evaluate({"m1"}, 0.0).roots == {"m1": 0}
    tree.evaluate({"m1", "conc"}, 10.0)
    tree.evaluate(set(), 20.0)
    assert tree.evaluate({"m1"}, 30.0).roots == {"m1": 0}


def test_a_circle_of_parents_does_not_hang() -> None:
    outage = RootCauses({"a": "b", "b": "a"}).evaluate({"a", "b"}, 0.0)
    assert set(outage.suppressed) == {"a", "b"}


# ---- roll-up ---------------------------------------------------------------------------------------------------------


def _members(*states: S, critical: bool = False) -> list[Member]:
    return [Member(f"d{k}", state, critical) for k, state in enumerate(states)]


def test_counts_per_state() -> None:
    roll = roll_up(_members(S.OK, S.OK, S.TEST, S.UNREACHABLE))
    assert (roll.counts[S.OK], roll.counts[S.TEST], roll.counts[S.UNREACHABLE]) == (2, 1, 1)


def test_one_meter_of_many_degrades_a_place_and_a_tenth_gives_it_its_state() -> None:
    assert roll_up(_members(S.UNREACHABLE, *[S.OK] * 19)).state is S.DEGRADED
    assert roll_up(_members(S.UNREACHABLE, S.UNREACHABLE, *[S.OK] * 18)).state is S.UNREACHABLE


def test_a_protection_device_is_critical() -> None:
    roll = roll_up([Member("ied", S.FAULT, True), *_members(*[S.OK] * 500)])
    assert (roll.state, roll.reason) == (S.FAULT, "ied is fault")


def test_devices_in_test_are_left_out_of_the_state() -> None:
    assert roll_up(_members(S.TEST, S.OK, critical=True)).state is S.OK
    assert roll_up(_members(S.TEST)).state is S.TEST
    assert roll_up([]).state is S.UNKNOWN


def test_availability_is_weighted() -> None:
    roll = roll_up([Member("ied", S.OK, True, 100.0), Member("m", S.OK, False, 45.0), Member("n", S.OK)])
    assert roll.availability == pytest.approx(95.0)


def test_places_that_a_device_is_rolled_up_at() -> None:
    assert places_above("dso1/north/PS01/MV1/F01/IED1") == [
        "dso1/north/PS01/MV1/F01",
        "dso1/north/PS01",
        "dso1/north",
        "dso1",
    ]
    assert places_above("dso1/north/SP1/LV1/_/M1") == ["dso1/north/SP1", "dso1/north", "dso1"]
    assert function_of("dso1/north", "twSUPV1") == "dso1/north/_/_/_/_/twSUPV1"


# ---- availability ----------------------------------------------------------------------------------------------------


def test_availability_is_time_up_over_time_that_counts() -> None:
    ledger = Ledger()
    ledger.account(S.OK, 0.0)
    ledger.account(S.UNREACHABLE, 9 * 3600.0)
    ledger.account(S.OK, 10 * 3600.0)
    ledger.account(S.TEST, 20 * 3600.0)
    ledger.account(S.OK, 40 * 3600.0)
    assert ledger.availability() == pytest.approx(95.0)
    assert ledger.mtbf_h() == pytest.approx(19.0)


def test_days_before_the_last_thirty_are_forgotten() -> None:
    ledger = Ledger()
    ledger.account(S.UNREACHABLE, 0.0)
    ledger.account(S.OK, 5 * DAY)
    ledger.account(S.OK, 34 * DAY)
    assert ledger.availability() == pytest.approx(100.0 * 29 / 30, abs=0.2)
    ledger.account(S.OK, 60 * DAY)
    assert ledger.availability() == 100.0


def test_without_a_failure_there_is_no_mean_time_between_failures() -> None:
    ledger = Ledger()
    ledger.account(S.OK, 0.0)
    ledger.account(S.DEGRADED, DAY)
    assert (ledger.mtbf_h(), ledger.availability()) == (None, 100.0)
    assert Ledger().availability() is None


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_offset_is_the_median_of_three_so_that_one_late_sample_does_not_count() -> None:
    clock = ClockOffset()
    for device, received in ((10.2, 10.0), (11.2, 11.0)):
        clock.add(device, received)
    assert clock.offset is None
    clock.add(5.0, 12.0)
    assert clock.offset == pytest.approx(0.2)


@pytest.mark.parametrize(("offset", "stage"), [(0.099, 0), (0.1, 1), (-0.99, 1), (1.0, 2), (-5.0, 2)])
def test_limits_of_ieds(offset: float, stage: int) -> None:
    clock = ClockOffset(limits=IED_LIMITS)
    clock.read(offset)
    assert clock.stage() == stage


@pytest.mark.parametrize(("offset", "stage"), [(29.0, 0), (30.0, 1), (-179.0, 1), (180.0, 2)])
def test_limits_of_meters(offset: float, stage: int) -> None:
    clock = ClockOffset(limits=METER_LIMITS)
    clock.read(offset)
    assert clock.stage() == stage


def test_the_way_of_a_sample_is_no_clock_error() -> None:
    clock = ClockOffset(delay=0.5)
    for k in range(3):
        clock.add(k - 0.4, float(k))
    assert clock.offset == 0.0


def test_samples_that_are_late_for_some_seconds_are_no_clock_error() -> None:
    clock = ClockOffset()
    for k in range(25):
        clock.add(k - 0.5, float(k))
    assert (clock.offset, clock.stage()) == (-0.5, 0)


def test_late_samples_with_one_quick_one_among_them_are_no_clock_error() -> None:
    clock = ClockOffset()
    for k in range(100):
        clock.add(k - (0.02 if k % 20 == 0 else 0.5), float(k))
    assert clock.stage() == 0


def test_a_burst_of_late_samples_proves_nothing_however_long_ago_it_was() -> None:
    clock = ClockOffset()
    for _ in range(50):
        clock.add(9.5, 10.0)
    assert clock.stage() == 0


def test_a_clock_is_behind_by_the_smallest_lateness_when_none_has_come_quickly() -> None:
    clock = ClockOffset()
    for k in range(40):
        clock.add(k - (3.0 if k % 2 else 2.0), float(k))
    assert (clock.stage(), clock.certain) == (2, -2.0)


def test_one_sample_in_time_proves_that_a_clock_is_not_behind() -> None:
    clock = ClockOffset()
    for k in range(40):
        clock.add(k - 3.0, float(k))
    assert clock.stage() == 2
    clock.add(40.0, 40.0)
    assert clock.stage() == 0


def test_a_clock_that_is_ahead_is_certain_with_three_samples() -> None:
    clock = ClockOffset()
    for k in range(3):
        clock.add(k + 0.3, float(k))
    assert clock.stage() == 1


def test_an_offset_around_a_limit_does_not_come_and_go() -> None:
    clock = ClockOffset()
    stages = []
    for k in range(20):
        clock.add(k + (0.101 if k % 8 < 4 else 0.095), float(k))
        stages.append(clock.stage())
    assert set(stages[2:]) == {1}


# ---- frozen data -----------------------------------------------------------------------------------------------------


def test_what_has_always_moved_and_stands_still_is_frozen() -> None:
    moves = Movements(3)
    for k in range(20):
        moves.moved(np.array([0, 1]), float(k))
    moves.moved(np.array([2]), 0.0)
    for k in range(20, 200):
        moves.moved(np.array([1]), float(k))
    assert moves.frozen(200.0, 60.0).tolist() == [True, False, False]


def test_a_slow_measurand_is_given_ten_of_its_own_intervals() -> None:
    moves = Movements(1)
    for k in range(12):
        moves.moved(np.array([0]), k * 100.0)
    assert not moves.frozen(1100.0 + 999.0, 60.0)[0]
    assert moves.frozen(1100.0 + 1001.0, 60.0)[0]


# ---- revisions -------------------------------------------------------------------------------------------------------


def test_approved_revisions_are_compared() -> None:
    approved = Approved("A3", ("1.2", "1.3"), None)
    lines = compare({"configRev": "A3", "swRev": "1.4", "serNum": "77"}, approved, {"serNum": "77"})
    assert [(line.item, line.matches) for line in lines] == [("configRev", True), ("swRev", False), ("serNum", True)]
    assert lines[1].expected == "1.2 | 1.3"


def test_a_serial_number_other_than_the_first_seen_is_a_mismatch() -> None:
    assert compare({"serNum": "78"}, Approved(), {"serNum": "77"})[0].matches is False


def test_the_settings_count_before_what_was_seen_first() -> None:
    assert compare({"serNum": "78"}, Approved(serial="78"), {"serNum": "77"})[0].matches is True


def test_what_the_device_does_not_say_is_neither_right_nor_wrong() -> None:
    assert compare({}, Approved("A3"), {})[0].matches is None
    assert compare({}, Approved(), {}) == []


# ---- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left_d", "stage"), [(31.0, 0), (29.9, 1), (0.0, 2), (-1.0, 2)])
def test_certificates_warn_30_days_before_they_expire(left_d: float, stage: int) -> None:
    assert certificate_stage(1e9 + left_d * DAY, 1e9) == stage
