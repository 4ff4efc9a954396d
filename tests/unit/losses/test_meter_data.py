"""Every row of the meter data table (4.4) as it must come out."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from address_space import clock
from twin_gateway.drivers.dlms.buffer import Rules, Shape, new_rows
from twin_gateway.drivers.dlms.clock import encode_date_time
from twin_gateway.drivers.dlms.positions import Position
from twin_gateway.drivers.dlms.profile import Columns, rows_to_batch
from twin_gateway.twin.intervals import of_profile
from twin_gateway.twin.losses.meter_data import (
    Flag,
    MeterEventKind,
    RegisterRules,
    declared_ratio,
    energies_of_power,
    interval_energies,
    ratio_mismatch,
    weekday_mean,
)

QUARTER = 900.0
NAN = np.nan


def rules(count=1, *, modulus=0.0, rating=0.0, factor=1.0, export=False):
    return RegisterRules(
        np.full(count, modulus), np.full(count, rating), np.full(count, factor), np.full(count, export)
    )


def energies(registers, weekday=None, **more):
    column = np.array(registers, float)[:, None]
    profile = None if weekday is None else np.array(weekday, float)[:, None]
    return interval_energies(column, rules(**more), QUARTER, weekday=profile)


def kinds(result):
    return [event.kind for event in result.events]


def test_energies_are_differences_of_registers():
    result = energies([100, 110, 130, 130])
    assert result.energy[:, 0].tolist() == [10, 20, 0]
    assert not result.flags.any()
    assert result.events == ()


def test_rollover_adds_the_modulus():
    result = energies([999_980, 999_995, 10, 30], modulus=1e6)
    assert result.energy[:, 0].tolist() == [15, 15, 20]
    assert result.flags[:, 0].tolist() == [0, Flag.ROLLOVER, 0]
    assert result.events == ()


@pytest.mark.parametrize(("old", "new"), [(899_999, 10), (999_000, 100_001)])
def test_a_drop_that_is_no_rollover_is_a_reset_with_a_new_base(old, new):
    result = energies([old - 5, old, new, new + 7, new + 9], modulus=1e6)
    assert result.energy[:, 0].tolist() == pytest.approx([5, NAN, 7, 2], nan_ok=True)
    assert result.flags[1, 0] == Flag.RESET | Flag.MISSING
    assert kinds(result) == [MeterEventKind.RESET]
    assert result.events[0].interval == 1


def test_a_jump_beyond_the_rating_is_quarantined():
    # 10 kW for a quarter of an hour are 2 500 Wh, with the margin 3 000 Wh
    result = energies([0, 2999, 6001, 6100, 6200], rating=10_000.0)
    assert result.energy[:, 0].tolist() == pytest.approx([2999, NAN, 99, 100], nan_ok=True)
    assert result.flags[1, 0] == Flag.JUMP | Flag.MISSING
    assert kinds(result) == [MeterEventKind.JUMP]


def test_a_single_wrong_reading_between_two_that_fit_is_left_out_and_the_sum_stays_exact():
    result = energies([0, 100, 9_000_000, 300, 400], rating=10_000.0)
    assert result.energy[:, 0].tolist() == [100, 100, 100, 100]
    assert result.flags[:, 0].tolist() == [0, Flag.ESTIMATED, Flag.ESTIMATED, 0]


def test_secondary_registers_are_multiplied_by_the_ratio_and_the_rating_is_primary():
    factor = declared_ratio(200, 5, 12_000, 100)
    assert factor == 4800
    result = energies([0, 1, 3], factor=factor, rating=60e6)
    assert result.energy[:, 0].tolist() == [4800, 9600]


def test_a_ratio_that_differs_from_the_records_is_told_and_one_that_agrees_is_not():
    assert ratio_mismatch(40.0, declared_ratio(200, 5)) is None
    assert ratio_mismatch(40.0, None) is None
    found = ratio_mismatch(40.0, declared_ratio(250, 5), 3)
    assert (found.kind, found.column, found.value) == (MeterEventKind.RATIO, 3, 50.0)
    with pytest.raises(ValueError, match="positive"):
        declared_ratio(200, 0)


def test_a_gap_of_up_to_two_hours_is_filled_evenly_and_keeps_the_sum():
    result = energies([0, 10, *[NAN] * 7, 90, 100], weekday=[1000.0] * 10)
    assert result.energy[:, 0].tolist() == pytest.approx([10, *[10] * 8, 10])
    assert result.flags[:, 0].tolist() == [0, *[Flag.ESTIMATED] * 8, 0]


def test_a_longer_gap_takes_the_weekday_profile_scaled_to_the_register_difference():
    shape = [1.0, 2.0] * 5
    result = energies([0, *[NAN] * 9, 150], weekday=shape)
    assert result.energy[:, 0].tolist() == pytest.approx([10, 20] * 5)
    assert result.energy.sum() == pytest.approx(150)
    assert (result.flags == Flag.ESTIMATED).all()


def test_a_longer_gap_without_history_is_filled_evenly():
    result = energies([0, *[NAN] * 9, 150])
    assert result.energy[:, 0].tolist() == pytest.approx([15] * 10)
    assert (result.flags == Flag.ESTIMATED).all()


def test_without_a_register_the_mean_of_the_same_weekdays_stands_in():
    result = energies([0, 10, NAN, NAN], weekday=[7, 8, 9])
    assert result.energy[:, 0].tolist() == [10, 8, 9]
    assert result.flags[:, 0].tolist() == [0, Flag.ESTIMATED, Flag.ESTIMATED]
    nothing = energies([0, 10, NAN, NAN])
    assert np.isnan(nothing.energy[1:]).all()
    assert (nothing.flags[1:] == Flag.MISSING).all()


def test_the_weekday_mean_is_that_of_four_weeks_before_as_far_as_known():
    week = 7 * 96
    energy = np.full((5 * week, 1), NAN)
    for back in (1, 2, 4):
        energy[4 * week + 10 - back * week + 0] = 10.0 * back
    mean = weekday_mean(energy, QUARTER, week)
    assert mean[10, 0] == pytest.approx((10 + 20 + 40) / 3)
    assert np.isnan(mean[11, 0])


def test_negative_consumption_is_allowed_only_with_an_export_register():
    drawn, supplied = energies_of_power(
        np.array([[400.0, 400.0], [-800.0, -800.0]]), QUARTER, export=np.array([True, False])
    )
    assert drawn.energy[:, 0].tolist() == [100, 0]
    assert supplied.energy[:, 0].tolist() == [0, 200]
    assert np.isnan(drawn.energy[1, 1])
    assert [(event.kind, event.column) for event in drawn.events] == [(MeterEventKind.REVERSED, 1)]


def test_a_register_that_counts_backwards_is_a_reversed_ct_and_no_row_of_resets():
    result = energies([1000, 990, 978, 970, 965], rating=10_000.0)
    assert kinds(result) == [MeterEventKind.REVERSED]
    assert np.isnan(result.energy).all()
    allowed = energies([1000, 990, 978, 990, 965], rating=10_000.0, export=True)
    assert allowed.energy[:, 0].tolist() == [-10, -12, 12, -25]


def test_columns_without_trouble_are_not_touched_by_the_trouble_of_others():
    rng = np.random.default_rng(1)
    registers = np.cumsum(rng.random((200, 7)), axis=0)
    expected = np.diff(registers, axis=0)
    registers[50:53, 3] = NAN
    result = interval_energies(registers, rules(7), QUARTER)
    others = [0, 1, 2, 4, 5, 6]
    assert np.array_equal(result.energy[:, others], expected[:, others])
    assert result.energy[:, 3].sum() == pytest.approx(expected[:, 3].sum())
    assert np.count_nonzero(result.flags) == 4
    consumed = interval_energies(registers.copy(), rules(7), QUARTER, consume=True)
    assert np.array_equal(consumed.energy, result.energy)
    assert np.array_equal(consumed.flags, result.flags)


# ---- what the driver settles before: scaler, daylight saving, duplicates -------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")
SHAPE = Shape([], clock=0, period=900)
COLUMNS = Columns(points=[(1, SimpleNamespace(row=0))])
FALL_BACK = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # clocks go back at 01:00 UTC


def profile_energies(encode, *, sign=1, scale=lambda raw: raw / 1.0):
    """Nine quarter hours over the end of summer time, 100 Wh each, as profile rows of the driver."""
    start = FALL_BACK - timedelta(minutes=30)
    rows = [[encode(start + timedelta(minutes=15 * at)), 100 * at] for at in range(10)]
    piece = new_rows([*rows, rows[9]], SHAPE, Position(), Rules(zone=BERLIN, sign=sign))
    assert (piece.bad, piece.known) == (0, 1)
    assert piece.rows[-1].time.utc == start + timedelta(minutes=135)
    batch = rows_to_batch(piece.rows, COLUMNS, [scale])
    seconds = (batch.source_time - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND
    out = of_profile(batch.rows.astype(np.int64), seconds, batch.values, batch.quality, length=QUARTER)
    assert np.diff(out.number).tolist() == [1] * 9
    return interval_energies(out.value[:, None], rules(), QUARTER).energy[:, 0].tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_local_times_with_deviation_are_utc_over_the_end_of_summer_time(sign):
    def encode(moment):
        return encode_date_time(moment.astimezone(BERLIN), deviation_sign=sign)

    assert profile_energies(encode, sign=sign) == [100] * 9


@pytest.mark.parametrize("with_status", [True, False])
def test_ambiguous_local_times_are_told_apart_by_the_status_bit_or_by_their_order(with_status):
    def encode(moment):
        local = moment.astimezone(BERLIN)
        status = (0x80 if local.dst() else 0) if with_status else 0xFF
        octets = encode_date_time(local, status)
        return octets[:9] + bytes.fromhex("8000") + octets[11:]

    assert profile_energies(encode) == [100] * 9


def test_without_a_scaler_a_column_gives_no_energies():
    piece = new_rows([[encode_date_time(FALL_BACK), 100]], SHAPE, Position(), Rules())
    assert len(piece.rows) == 1
    assert len(rows_to_batch(piece.rows, COLUMNS, [None]).rows) == 0


def test_a_register_that_seems_to_fall_by_a_count_counts_nothing_and_is_no_reset():
    result = energies([5000, 5100, 5099, 5200, 5300])
    assert result.energy[:, 0].sum() == pytest.approx(300)  # the odd reading is left out
    assert kinds(result) == []
    lasting = energies([5000, 5000, 4999, 4999, 4999, 5100])
    assert kinds(lasting) == []
    assert lasting.energy[:, 0].tolist() == [0, 0, 0, 0, 101]


def test_two_meters_that_are_swapped_are_two_resets_and_count_on_from_their_new_registers():
    one, other = np.arange(8) * 100.0 + 5000, np.arange(8) * 50.0 + 90_000
    swapped = np.column_stack([np.where(np.arange(8) < 4, one, other), np.where(np.arange(8) < 4, other, one)])
    result = interval_energies(swapped, rules(2, rating=10_000.0), QUARTER)
    assert [(event.column, event.kind, event.interval) for event in result.events] == [
        (0, MeterEventKind.JUMP, 3),
        (1, MeterEventKind.RESET, 3),
    ]
    assert np.isnan(result.energy[3]).all()
    assert np.isfinite(np.delete(result.energy, 3, axis=0)).all()


def test_a_fall_back_within_an_export_register_is_feed_in_and_no_reset():
    result = energies([1000, 1100, 1050, 1150], rating=10_000.0, export=True)
    assert result.energy[:, 0].tolist() == [100, -50, 100]
    assert kinds(result) == []
