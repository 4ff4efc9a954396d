"""The physics of the demo: values that agree, switches that take voltage away from all that is behind them."""

from __future__ import annotations

import pytest

from twin_gateway.demo.model import CLOSED, DISCONNECTORS, OPEN, PLACE, TAP, Feeder

F06 = f"{PLACE}/PS01/MV1/F06"
F07 = f"{PLACE}/PS01/MV1/F07"
BREAKER = f"{F06}/QA1/XCBR1/Pos"
TIE = f"{PLACE}/RMU0218/MV1/C02/QB1/XSWI1/Pos"
HOUSE = f"{PLACE}/SP021701/LV1/_/M1"
NOON = 12.0


@pytest.fixture
def feeder() -> Feeder:
    feeder = Feeder(seed=7)
    run(feeder, 5)
    return feeder


def run(feeder: Feeder, steps: int, seconds: float = 1.0, hour: float = NOON) -> dict[str, float]:
    for _ in range(steps):
        feeder.step(seconds, hour)
    return feeder.readings()


def sites(area: str) -> list[str]:
    return [f"{PLACE}/SP{area}{number:02}/LV1/_/M1" for number in range(1, 10)]


def test_a_feeder_carries_both_stations_and_the_losses_of_its_cables(feeder):
    now = feeder.readings()
    stations = sum(now[f"{PLACE}/RMU{number}/MV1/T01/_/MMXU1/TotW"] for number in ("0217", "0218"))
    lost = now[f"{F06}/_/MMXU1/TotW"] - stations
    assert 0 < lost < 0.01 * stations


def test_the_meter_of_a_street_counts_its_customers_and_the_losses_of_the_street(feeder):
    now = feeder.readings()
    for area in ("0217", "0218"):
        customers = sum(now[f"{site}/MMXU1/TotW"] for site in sites(area))
        street = now[f"{PLACE}/TS{area}/LV1/_/M0/MMXU1/TotW"]
        assert 0 < street - customers < 0.05 * customers


def test_a_transformer_takes_more_at_its_upper_side_than_it_gives_at_its_lower_side(feeder):
    now = feeder.readings()
    upper, lower = now[f"{PLACE}/RMU0217/MV1/T01/_/MMXU1/TotW"], now[f"{PLACE}/TS0217/LV1/_/M0/MMXU1/TotW"]
    assert 430 < upper - lower < 0.03 * lower


def test_energy_is_the_integral_of_power(feeder):
    start, counted = feeder.readings()[f"{HOUSE}/MMTR1/DmdWh"], 0.0
    for _ in range(50):
        counted += run(feeder, 1, seconds=2.0)[f"{HOUSE}/MMXU1/TotW"] * 2.0 / 3600.0
    assert feeder.readings()[f"{HOUSE}/MMTR1/DmdWh"] - start == pytest.approx(counted, rel=1e-9)


def test_an_open_breaker_takes_voltage_and_load_from_everything_behind_it(feeder):
    feeder.move(BREAKER, OPEN)
    now = run(feeder, 2)
    dead = [f"{F06}/_/MMXU1/TotW", f"{PLACE}/RMU0217/MV1/C01/_/MMXU1/A/phsA", f"{PLACE}/RMU0218/MV1/T01/_/MMXU1/TotW"]
    dead += [f"{PLACE}/TS0217/LV1/_/M0/MMXU1/TotW", f"{HOUSE}/MMXU1/PhV/phsB", f"{HOUSE}/MMXU1/TotW"]
    dead += [f"{PLACE}/RMU0218/MV1/C01/_/SVPI1/Prs", f"{PLACE}/TS0218/MV1/T01/TA1/YPTR1/LodFact"]
    assert {address: now[address] for address in dead} == dict.fromkeys(dead, 0.0)
    assert now[f"{F07}/_/MMXU1/TotW"] > 1e6
    assert now[f"{F06}/_/MMXU1/PhV/phsA"] > 11_000, "the busbar is still fed"
    assert now[f"{PLACE}/RMU0218/MV1/C02/_/SVPI1/Prs"] == 1, "the cable beyond the open end of the ring hangs on F07"


def test_nothing_is_counted_while_there_is_no_voltage(feeder):
    feeder.move(BREAKER, OPEN)
    before = run(feeder, 2)[f"{HOUSE}/MMTR1/DmdWh"]
    assert run(feeder, 20)[f"{HOUSE}/MMTR1/DmdWh"] == before


def test_a_travelling_switch_lets_nothing_through(feeder):
    feeder.move(BREAKER, 0)
    assert run(feeder, 1)[f"{F06}/_/MMXU1/TotW"] == 0


def test_the_ring_feeds_a_dead_feeder_from_the_other_side(feeder):
    before = feeder.readings()
    feeder.move(BREAKER, OPEN)
    feeder.move(TIE, CLOSED)
    now = run(feeder, 3)
    load = before[f"{F06}/_/MMXU1/TotW"]
    assert now[f"{PLACE}/RMU0218/MV1/C02/_/MMXU1/TotW"] == pytest.approx(-load, rel=0.1)
    assert now[f"{F07}/_/MMXU1/TotW"] - before[f"{F07}/_/MMXU1/TotW"] == pytest.approx(load, rel=0.3)
    assert now[f"{HOUSE}/MMXU1/PhV/phsA"] > 200


def test_a_meter_that_disconnects_keeps_its_voltage_and_draws_nothing(feeder):
    (address,) = [address for address, (area, number) in DISCONNECTORS.items() if (area, number) == ("0217", 0)]
    before = feeder.readings()[f"{F06}/_/MMXU1/TotW"]
    feeder.move(address, OPEN)
    now = run(feeder, 1)
    assert now[f"{HOUSE}/MMXU1/TotW"] == 0
    assert now[f"{HOUSE}/MMXU1/PhV/phsA"] > 200
    assert now[f"{F06}/_/MMXU1/TotW"] < before - 10e3


def test_a_roof_gives_power_to_the_grid_on_a_clear_noon_and_none_at_night(feeder):
    roof = f"{PLACE}/SP021704/LV1/_/M1"
    before = feeder.readings()[f"{roof}/MMTR1/SupWh"]
    noon = run(feeder, 20)
    assert noon[f"{roof}/MMXU1/TotW"] < 0
    assert noon[f"{roof}/MMTR1/SupWh"] > before
    assert run(feeder, 5, hour=0.0)[f"{roof}/MMXU1/TotW"] > 0


def test_a_raised_tap_raises_every_voltage_behind_the_transformer(feeder):
    before = feeder.readings()
    feeder.move(TAP, feeder.tap + 2)
    now = run(feeder, 1)
    for address in (f"{PLACE}/PS01/MV1/_/_/MMXU1/PPV/phsAB", f"{PLACE}/RMU0218/MV1/C01/_/MMXU1/PhV/phsC"):
        assert now[address] / before[address] == pytest.approx(1.025, abs=0.003)
    assert now[f"{PLACE}/PS01/HV1/E01/_/MMXU1/PPV/phsAB"] == before[f"{PLACE}/PS01/HV1/E01/_/MMXU1/PPV/phsAB"]


def test_a_transformer_cools_down_without_load(feeder):
    address = f"{PLACE}/TS0217/MV1/T01/TA1/STMP1/Tmp"
    warm = run(feeder, 600)[address]
    feeder.move(BREAKER, OPEN)
    cool = run(feeder, 60)[address]
    assert cool < warm - 1
    assert run(feeder, 60)[address] < cool


def test_the_interlocking_releases_an_isolator_only_behind_an_open_breaker(feeder):
    released = f"{F06}/QB1/CILO1/EnaOpn"
    assert feeder.readings()[released] == 0
    feeder.move(BREAKER, OPEN)
    assert run(feeder, 1)[released] == 1


def test_the_interlocking_releases_earthing_only_for_an_isolated_dead_cable(feeder):
    released = f"{F06}/QC1/CILO1/EnaCls"
    feeder.move(BREAKER, OPEN)
    feeder.move(f"{F06}/QB1/XSWI1/Pos", OPEN)
    assert run(feeder, 1)[released] == 1
    feeder.move(TIE, CLOSED)
    assert run(feeder, 1)[released] == 0, "the cable is fed from the other side"


def test_an_earthed_feeder_must_not_be_closed(feeder):
    feeder.move(f"{F06}/QC1/XSWI1/Pos", CLOSED)
    assert run(feeder, 1)[f"{F06}/QA1/CILO1/EnaCls"] == 0


def test_the_same_seed_lives_the_same_life():
    one, other = (run(Feeder(seed=3), 10) for _ in range(2))
    assert one == other
    assert one != run(Feeder(seed=4), 10)


def test_a_switch_that_is_not_there_is_an_error(feeder):
    with pytest.raises(KeyError):
        feeder.move(f"{F06}/QA9/XCBR1/Pos", OPEN)
