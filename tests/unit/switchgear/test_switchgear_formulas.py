"""Formulas of switchgear condition, each with its vector."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twin_gateway.twin.switchgear import coil, discharge, drive, gas, health, mechanism, robust, thermal, usage, wear

# ---- contact wear ----------------------------------------------------------------------------------------------------

VACUUM = wear.WearData(630.0, 20_000.0, 10_000.0, 100.0)
CURVED = wear.WearData(
    630.0, 20_000.0, 10_000.0, 100.0, curve=((630.0, 10_000.0), (2_000.0, 1_000.0), (20_000.0, 100.0))
)


def test_permitted_operations_follow_the_exponent_law_above_rated_current() -> None:
    assert VACUUM.permitted(20_000.0) == pytest.approx(100.0)
    assert VACUUM.permitted(10_000.0) == pytest.approx(100.0 * 2**1.8)  # 348.2
    assert VACUUM.permitted(630.0) == 10_000.0
    assert VACUUM.permitted(5.0) == 10_000.0


def test_permitted_operations_are_interpolated_log_log_on_the_curve() -> None:
    assert CURVED.permitted(2_000.0) == pytest.approx(1_000.0)
    assert CURVED.permitted(math.sqrt(2_000.0 * 20_000.0)) == pytest.approx(math.sqrt(1_000.0 * 100.0))
    assert CURVED.permitted(100.0) == 10_000.0
    assert CURVED.permitted(40_000.0) == pytest.approx(100.0 * 2 ** -(math.log(10) / math.log(10)))  # line extended


def test_a_curve_of_one_point_permits_that_number_everywhere() -> None:
    assert wear.WearData(630.0, 1.0, 9_000.0, 1.0, curve=((500.0, 50.0),)).permitted(5_000.0) == 50.0


def test_wear_of_an_opening_is_100_over_the_permitted_number() -> None:
    assert VACUUM.wear(20_000.0) == pytest.approx(1.0)
    assert VACUUM.wear(400.0) == pytest.approx(0.01)


def test_remaining_operations_at_a_current() -> None:
    assert VACUUM.remaining(75.0, 20_000.0) == 25
    assert VACUUM.remaining(120.0, 20_000.0) == 0


def test_wear_accumulates_per_pole_and_a_missing_pole_takes_the_highest() -> None:
    poles = wear.PoleWear()
    poles.interrupt(VACUUM, {"A": 20_000.0, "B": 400.0})
    assert poles.percent == pytest.approx({"A": 1.0, "B": 0.01, "C": 1.0})
    assert poles.a2s["A"] == pytest.approx(20_000.0**2 * 0.010)
    assert (poles.openings, poles.worst) == (1, pytest.approx(1.0))


def test_an_opening_without_current_still_costs_mechanical_life() -> None:
    poles = wear.PoleWear()
    poles.interrupt(VACUUM, {})
    assert poles.worst == pytest.approx(0.01)


def test_i2t_of_a_sampled_sine_of_one_period() -> None:
    t = np.linspace(0.0, 0.020, 2001)
    assert wear.i2t(1_000.0 * math.sqrt(2) * np.sin(2 * np.pi * 50 * t), 1e-5) == pytest.approx(20_000.0, rel=1e-4)


@pytest.mark.parametrize(("percent", "expected"), [(79.9, 0), (80.0, 1), (99.9, 1), (100.0, 2)])
def test_wear_warns_at_80_and_alarms_at_100_percent(percent: float, expected: int) -> None:
    assert wear.stage(percent) == expected


# ---- mechanism -------------------------------------------------------------------------------------------------------


def test_baseline_is_the_median_of_the_first_20_or_the_factory_value() -> None:
    times = [0.040 + 0.001 * (k % 3) for k in range(20)] + [9.0]
    assert mechanism.baseline(times) == pytest.approx(0.041)
    assert mechanism.baseline(times[:19]) is None
    assert mechanism.baseline(times, 0.045) == 0.045


@pytest.mark.parametrize(("time", "stage"), [(0.0459, 0), (0.046, 1), (0.0519, 1), (0.052, 2), (0.034, 1), (0.028, 2)])
def test_deviation_warns_at_15_and_alarms_at_30_percent(time: float, stage: int) -> None:
    verdict = mechanism.judge([time], 0.040)
    assert verdict.deviation == pytest.approx((time - 0.040) / 0.040)
    assert verdict.stage == stage


def test_a_deviation_within_the_uncertainty_of_gateway_timed_values_is_none() -> None:
    assert mechanism.judge([0.050], 0.040, uncertainty=0.005).stage == 0
    assert mechanism.judge([0.052], 0.040, uncertainty=0.005).stage == 1


def test_cold_is_compensated_below_minus_5_degrees() -> None:
    assert mechanism.compensated(0.0412, -15.0) == pytest.approx(0.0412 / 1.03)
    assert mechanism.compensated(0.0412, -5.0) == 0.0412
    assert mechanism.compensated(0.0412, None) == 0.0412


def test_a_trend_says_how_many_operations_are_left_and_ignores_an_outlier() -> None:
    times = [0.040 + 0.0001 * k for k in range(50)]
    times[20] = 0.5
    verdict = mechanism.judge(times, 0.040)
    assert verdict.trend is not None and verdict.trend.slope == pytest.approx(0.0001, rel=0.02)
    assert verdict.operations_to_alarm == pytest.approx(71, abs=2)


def test_theil_sen_of_a_known_set() -> None:
    trend = robust.theil_sen(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 5.0]))
    assert trend is not None
    assert trend.slope == pytest.approx(1.1666667)  # median of -1, 0.5, 1, 1.333, 2, 3
    assert not trend.significant


def test_noise_without_a_trend_is_not_significant_and_a_slow_trend_in_noise_is() -> None:
    x = np.arange(200.0)
    noise = np.random.default_rng(1).normal(0.0, 1.0, 200)
    flat, rising = robust.theil_sen(x, noise), robust.theil_sen(x, noise + 0.01 * x)
    assert flat is not None and not flat.significant
    assert rising is not None and rising.significant and rising.slope == pytest.approx(0.01, abs=0.003)


def test_long_histories_are_thinned_by_medians() -> None:
    x = np.arange(10_000.0)
    assert len(robust.thin(x, x)[0]) == robust.MOST_POINTS
    trend = robust.theil_sen(x, 2.0 * x)
    assert trend is not None and trend.slope == pytest.approx(2.0)


def test_a_single_point_has_no_trend() -> None:
    assert robust.theil_sen(np.array([1.0]), np.array([1.0])) is None
    assert robust.theil_sen(np.array([1.0, 1.0]), np.array([1.0, 2.0])) is None


# ---- drive and coil --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "stage"), [(13.0, 0), (13.1, 1), (16.0, 1), (16.1, 2)])
def test_motor_time_warns_above_1_3_and_alarms_above_1_6_baselines(time: float, stage: int) -> None:
    assert drive.motor_stage(time, 10.0) == stage


def test_motor_time_without_a_baseline_says_nothing() -> None:
    assert drive.motor_stage(99.0, None) == 0


def test_more_than_20_motor_starts_a_day_are_too_many() -> None:
    starts = [k * 3600.0 for k in range(48)]
    assert drive.starts_in_a_day(starts, 47 * 3600.0) == 24
    assert drive.too_many_starts(21)
    assert not drive.too_many_starts(20)


def test_motor_current_peaks_have_a_trend() -> None:
    trend = drive.current_trend([10.0 + 0.1 * k for k in range(20)])
    assert trend is not None and trend.slope == pytest.approx(0.1) and trend.significant


def _coil_current(dip_at: float = 0.012, peak: float = 3.0, plateau: float = 5.0) -> tuple[np.ndarray, float]:
    step = 0.0005
    t = np.arange(0.0, 0.060, step)
    rise = peak * np.clip(t / 0.008, 0, 1)
    fall = np.where((t > 0.008) & (t <= dip_at), -0.4 * peak * (t - 0.008) / (dip_at - 0.008), 0.0)
    after = np.where(t > dip_at, np.minimum(plateau, 0.6 * peak + (t - dip_at) * 300.0), rise + fall)
    return np.where(t < 0.050, after, 0.0), step


def test_coil_signature_has_peak_dip_and_plateau() -> None:
    samples, step = _coil_current()
    found = coil.signature(samples, step)
    assert found is not None
    assert found.peak == pytest.approx(3.0, rel=0.02)
    assert found.plateau == pytest.approx(5.0, rel=0.02)
    assert found.dip_s == pytest.approx(0.012, abs=0.001)


def test_coil_without_current_has_no_signature() -> None:
    assert coil.signature(np.zeros(100), 0.001) is None


@pytest.mark.parametrize(("plateau", "stage"), [(5.9, 0), (6.0, 1), (6.9, 1), (7.0, 2), (3.0, 2)])
def test_coil_features_warn_at_20_and_alarm_at_40_percent(plateau: float, stage: int) -> None:
    base = coil.CoilSignature(3.0, 5.0, 0.012)
    assert coil.coil_stage(coil.CoilSignature(3.0, plateau, 0.012), base) == stage
    assert coil.coil_stage(coil.CoilSignature(3.0, plateau, 0.012), None) == 0


# ---- gas -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("absolute", "celsius", "p20", "rho"),
    [
        (620_000.0, 35.0, 584_826.8, 37.792),
        (550_000.0, -5.0, 612_756.3, 39.757),
        (150_000.0, 40.0, 140_088.8, 8.536),
        (130_000.0, 0.0, 139_928.7, 8.526),
    ],
)
def test_sf6_density_and_pressure_at_20_degrees(absolute: float, celsius: float, p20: float, rho: float) -> None:
    assert float(gas.density(gas.SF6, absolute, celsius)) == pytest.approx(rho, abs=0.001)
    assert float(gas.at_20(gas.SF6, absolute, celsius)) == pytest.approx(p20, abs=1.0)


def test_density_and_pressure_are_inverse_over_the_gas_phase() -> None:
    rho, celsius = np.meshgrid(np.linspace(1.0, 28.0, 20), np.linspace(-35.0, 80.0, 20))
    back = gas.density(gas.SF6, gas.pressure(gas.SF6, rho, celsius), celsius)
    assert np.allclose(back, rho, rtol=1e-9)


def test_ideal_compensation_would_err_by_percents_in_the_cold() -> None:
    rho = float(gas.density(gas.SF6, 700_000.0, 20.0))
    cold = float(gas.pressure(gas.SF6, rho, -20.0))
    ideal = cold * gas.NORMAL_K / (273.15 - 20.0)
    assert abs(ideal / 700_000.0 - 1.0) > 0.03
    assert float(gas.at_20(gas.SF6, cold, -20.0)) == pytest.approx(700_000.0, rel=1e-6)


@pytest.mark.parametrize("absolute", [0.0, -1.0, math.nan, 1e9])
def test_a_pressure_that_no_gas_has_gives_no_density(absolute: float) -> None:
    assert not math.isfinite(float(gas.density(gas.SF6, absolute, 20.0)))


@pytest.mark.parametrize(("rho", "celsius"), [(30.0, -38.4), (40.0, -30.3), (50.0, -23.7)])
def test_sf6_condenses_below_its_saturation(rho: float, celsius: float) -> None:
    assert gas.condensation_point(gas.SF6, rho) == pytest.approx(celsius, abs=0.01)
    assert gas.condensing(gas.SF6, rho, celsius - 0.1)
    assert not gas.condensing(gas.SF6, rho, celsius + 0.1)


def test_other_gases_are_ideal_unless_described() -> None:
    assert float(gas.at_20(gas.GASES["air"], 200_000.0, 40.0)) == pytest.approx(200_000.0 * 293.15 / 313.15, abs=0.01)
    mixture = gas.Gas("mix", 180.0, (0.0, -1e-3, 0.0, 0.0))
    assert float(gas.density(mixture, 200_000.0, 20.0)) > 200_000.0 / (180.0 * 293.15)
    assert gas.condensation_point(gas.GASES["air"], 10.0) == -math.inf


def test_gauge_pressure_is_completed_by_the_ambient_one() -> None:
    assert gas.absolute(500_000.0) == pytest.approx(601_325.0)
    assert gas.absolute(500_000.0, altitude=1_000.0) == pytest.approx(589_875.0, abs=20.0)
    assert gas.absolute(500_000.0, ambient=98_000.0) == 598_000.0


def test_gas_stages_come_from_the_nameplate() -> None:
    limits = gas.GasLimits(150_000.0, 130_000.0, 120_000.0)
    assert [gas.stage(p, limits) for p in (150_000.0, 130_001.0, 130_000.0, 120_000.0)] == [0, 0, 1, 2]


def test_samples_while_the_temperature_runs_are_rejected() -> None:
    times = np.array([0.0, 3600.0, 7200.0, 10_800.0])
    celsius = np.array([10.0, 14.9, 20.1, 20.0])
    assert gas.in_equilibrium(times, celsius).tolist() == [True, True, False, True]


def _history(percent_per_year: float, noise: float, days: int = 90) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(0.0, days * 86_400.0, 6 * 3600.0)
    wobble = np.random.default_rng(3).normal(0.0, noise, len(times))
    return times, 150_000.0 * (1.0 - percent_per_year / 100.0 * times / gas.YEAR_S) + wobble


def test_a_leak_is_found_in_noise_and_its_days_to_alarm_told() -> None:
    times, p20 = _history(4.0, 100.0)
    found = gas.leak(times, p20, gas.GasLimits(150_000.0, 130_000.0, 120_000.0), float(times[-1]))
    assert found is not None and found.alarming
    assert found.percent_per_year == pytest.approx(4.0, rel=0.25)
    assert found.days_to_alarm == pytest.approx((150_000.0 * 0.99 - 130_000.0) / 6_000.0 * 365.25, rel=0.3)


def test_noise_is_no_leak() -> None:
    times, p20 = _history(0.0, 100.0)
    found = gas.leak(times, p20, gas.GasLimits(150_000.0, 130_000.0, 120_000.0), float(times[-1]))
    assert found is not None and not found.alarming and found.days_to_alarm is None


def test_a_fast_leak_is_found_in_the_shortest_window() -> None:
    times, p20 = _history(40.0, 50.0, days=8)
    found = gas.leak(times, p20, gas.GasLimits(150_000.0, 130_000.0, 120_000.0), float(times[-1]))
    assert found is not None and found.alarming and found.window_d == 7.0


def test_a_day_of_history_is_too_little_for_a_leak() -> None:
    times, p20 = _history(40.0, 1.0, days=1)
    assert gas.leak(times, p20, gas.GasLimits(1.0, 1.0, 1.0), float(times[-1])) is None


# ---- partial discharge -----------------------------------------------------------------------------------------------


def test_days_are_judged_by_their_95th_percentile() -> None:
    times = np.arange(0.0, 2 * 86_400.0, 864.0)
    levels = np.tile(np.arange(100.0), 2)
    days, daily = discharge.daily_95(times, levels)
    assert days.tolist() == [0, 1]
    assert daily == pytest.approx([94.05, 94.05])


def test_three_times_the_median_of_a_month_warns() -> None:
    days = np.arange(31)
    assert discharge.judge(days, np.array([10.0] * 30 + [30.5])).warn
    assert not discharge.judge(days, np.array([10.0] * 30 + [29.5])).warn


def test_three_days_above_the_limit_warn_and_two_do_not() -> None:
    days = np.arange(4)
    assert discharge.judge(days, np.array([1.0, 5.0, 5.0, 5.0]), 4.0).warn
    assert not discharge.judge(days, np.array([5.0, 1.0, 5.0, 5.0]), 4.0).warn
    assert not discharge.judge(np.array([0, 1, 5, 6]), np.array([5.0, 5.0, 5.0, 5.0]), 4.0).warn


def test_decibels_are_made_ratios_before_they_are_compared() -> None:
    assert discharge.linear(np.array([0.0, 20.0, 40.0])) == pytest.approx([1.0, 10.0, 100.0])


def test_event_rate_counts_an_hour_and_leaves_counter_resets_out() -> None:
    assert discharge.event_rate(np.array([0.0, 1800.0, 3600.0]), np.array([10.0, 30.0, 5.0])) == pytest.approx(20.0)
    assert discharge.event_rate(np.array([0.0]), np.array([1.0])) is None


def test_discharge_that_follows_humidity_correlates() -> None:
    humidity = np.linspace(40.0, 95.0, 30)
    assert discharge.with_humidity(humidity**3, humidity) == pytest.approx(1.0)
    assert discharge.with_humidity(np.ones(30), humidity) is None
    assert discharge.with_humidity(humidity[:5], humidity[:5]) is None


def test_night_levels_are_compared_with_the_day() -> None:
    times = np.arange(24) * 3600.0
    levels = np.where((np.arange(24) >= 22) | (np.arange(24) < 6), 30.0, 10.0)
    assert discharge.night_ratio(times, levels) == pytest.approx(3.0)


# ---- temperature -----------------------------------------------------------------------------------------------------


def test_excess_is_normalised_to_rated_current() -> None:
    assert thermal.normalised_excess(50.0, 20.0, 315.0, 630.0) == pytest.approx(30.0 * 2**1.6)
    assert thermal.normalised_excess(50.0, 20.0, 0.3 * 630.0, 630.0) is None


@pytest.mark.parametrize(
    ("celsius", "stage", "reason"),
    [
        ((60.0, 61.0, 62.0), 0, ""),
        ((60.0, 60.0, 70.1), 1, "phases"),
        ((50.0, 50.0, 75.1), 2, "phases"),
        ((90.0, 90.1, 90.0), 1, "temperature"),
        ((105.1, 104.0, 104.0), 2, "temperature"),
    ],
)
def test_temperatures_of_a_joint(celsius: tuple[float, ...], stage: int, reason: str) -> None:
    verdict = thermal.judge(dict(zip("ABC", celsius, strict=True)))
    assert verdict is not None and (verdict.stage, verdict.reason) == (stage, reason)


def test_no_sensor_no_verdict() -> None:
    assert thermal.judge({}) is None


# ---- use -------------------------------------------------------------------------------------------------------------


def test_operations_since_maintenance_survive_a_counter_reset() -> None:
    assert usage.since_maintenance(120, 100) == 20
    assert usage.since_maintenance(7, 100) == 7


def test_a_year_without_operation_asks_for_exercise() -> None:
    assert usage.needs_exercise(usage.idle_hours(0.0, 366 * 86_400.0))
    assert not usage.needs_exercise(usage.idle_hours(0.0, 364 * 86_400.0))


# ---- health ----------------------------------------------------------------------------------------------------------

ALL = dict.fromkeys(health.WEIGHTS, 100.0)


def test_index_is_the_weighted_mean_pulled_down_by_the_worst_part() -> None:
    scores: dict[str, float | None] = {"wear": 90.0, "gas": 80.0}
    value, _ = health.index(scores, {"wear": 3.0, "gas": 1.0})
    assert value == pytest.approx(87.5)
    value, _ = health.index({**scores, "gas": 20.0}, {"wear": 3.0, "gas": 1.0})
    assert value == pytest.approx(35.0)  # 1.25 * 20 + 10


def test_a_missing_part_lowers_the_confidence_not_the_index() -> None:
    value, confidence = health.index({"wear": 90.0, "gas": None}, {"wear": 3.0, "gas": 1.0})
    assert (value, confidence) == (pytest.approx(90.0), pytest.approx(0.75))


def test_below_confidence_0_6_the_index_is_uncertain() -> None:
    assert not health.assess({"age": 100.0}).certain
    assert health.assess(ALL).certain


@pytest.mark.parametrize(
    ("value", "expected"),
    [(85.0, 1), (84.9, 2), (70.0, 2), (69.9, 3), (50.0, 3), (49.9, 4), (None, 0)],
)
def test_classes_of_condition(value: float | None, expected: int) -> None:
    assert health.condition_of(value) == expected


def test_a_block_contact_overrides_the_index() -> None:
    found = health.assess(ALL, blocked=True)
    assert (found.condition, found.kind, found.index) == (health.Condition.BLOCKED, 3, 100.0)


def test_classes_map_to_health_kind() -> None:
    kinds = [health.HEALTH_KIND[condition] for condition in health.Condition]
    assert kinds == [2, 1, 1, 2, 3, 3]


def test_one_part_at_its_warning_makes_fair_and_at_its_alarm_critical() -> None:
    assert health.assess({**ALL, "gas": health.score_of_stage(1)}).condition is health.Condition.FAIR
    worst = health.assess({**ALL, "gas": health.score_of_stage(2)})
    assert (worst.condition, worst.worst_part) == (health.Condition.CRITICAL, "gas")
    assert "leak" in worst.advice


@pytest.mark.parametrize(("value", "expected"), [(0.0, 100.0), (80.0, 50.0), (100.0, 30.0), (200.0, 0.0), (40.0, 75.0)])
def test_scores_of_a_rising_figure(value: float, expected: float) -> None:
    assert health.score(value, 80.0, 100.0) == pytest.approx(expected)


def test_scores_of_a_falling_figure() -> None:
    assert health.score(150.0, 130.0, 120.0, good=150.0) == 100.0
    assert health.score(140.0, 130.0, 120.0, good=150.0) == pytest.approx(75.0)
    assert health.score(120.0, 130.0, 120.0, good=150.0) == pytest.approx(30.0)


def test_without_data_health_is_unknown_and_no_ok() -> None:
    found = health.assess({})
    assert (found.index, found.condition, found.kind) == (None, health.Condition.UNKNOWN, 2)
