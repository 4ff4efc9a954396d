"""The physics of the field: published power flow, dead parts, rings, low voltage, meters, weather of the breaker."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from twin_gateway.grid.model import Grid, GridError, Position
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.simulate.feeder.circuit import Circuit, FaultKind
from twin_gateway.simulate.feeder.field import Field
from twin_gateway.simulate.feeder.field_settings import FieldError, FieldSettings
from twin_gateway.simulate.feeder.low_voltage import areas_of
from twin_gateway.simulate.feeder.past import Past
from twin_gateway.simulate.feeder.points import readers

DEMO = Path(__file__).parents[3] / "mappings" / "demo" / "grid.yaml"
NORTH = "dso1/north"
HEAD = f"{NORTH}/PS01/MV1/F01/QA1"
NOON = 12 * 3600.0
HOUSE = f"{NORTH}/SP140002/LV1/_/M1"


@pytest.fixture(scope="module")
def grid() -> Grid:
    found, problems = read_grid([DEMO])
    assert [str(problem) for problem in problems] == []
    assert found is not None
    return found


@pytest.fixture
def field(grid: Grid) -> Field:
    return Field(grid, FieldSettings(still=True), NOON)


def read(tmp_path: Path, text: str) -> Grid:
    path = tmp_path / "small.yaml"
    path.write_text("grid_model: 1\ngrid: g\nplace: a\nvoltages: {MV1: 20 kV, LV1: 400 V}\n" + text)
    found, problems = read_grid([path])
    assert found is not None, [str(problem) for problem in problems]
    return found


def shown(field: Field, *addresses: str) -> list[float]:
    found = readers(field, [f"{NORTH}/{address}" for address in addresses])
    return [float(found[f"{NORTH}/{address}"]()) for address in addresses]


def test_the_circuit_has_the_published_loss_of_the_33_bus_feeder(grid: Grid) -> None:
    circuit = Circuit(grid)
    loads = {item.nodes[0]: complex(item.data.p, item.data.q) for item in grid.equipment.values() if _is_mv_load(item)}
    loads |= {f"{NORTH}/RMU14/MV1/_/CN1": 120e3 + 80e3j, f"{NORTH}/RMU22/MV1/_/CN1": 90e3 + 40e3j}
    closed = {name for name, position in grid.normal_positions().items() if position is Position.CLOSED}
    state = circuit.solve(frozenset(closed).intersection(circuit.switches), loads)
    node = grid.equipment[HEAD].nodes[0]
    power = 3.0 * state.voltage[node] * state.current[HEAD][0].conjugate()
    assert power.real - sum(loads.values()).real == pytest.approx(202_677, abs=10)
    lowest = min(map(abs, state.voltage.values())) / (12_660 / math.sqrt(3))
    assert lowest == pytest.approx(0.9131, abs=1e-4)


def _is_mv_load(item) -> bool:
    return item.cim_class == "EnergyConsumer" and "/MV1/" in item.address


def test_a_transformer_shows_what_its_area_draws(field: Field) -> None:
    for site, low in (("RMU14", "TS14"), ("RMU22", "TS22")):
        above, reactive, below = shown(
            field, f"{site}/MV1/T01/_/MMXU1/TotW", f"{site}/MV1/T01/_/MMXU1/TotVAr", f"{low}/LV1/_/M0/MMXU1/TotW"
        )
        assert below < -20e3  # into the transformer
        assert -below < above < -1.1 * below
        assert reactive > 1e3
    field.switch(f"{NORTH}/RMU06/MV1/C05/QB1", Position.OPEN)
    field.advance(NOON)
    assert shown(field, "RMU14/MV1/T01/_/MMXU1/TotW", "RMU14/MV1/T01/_/MMXU1/TotVAr") == [0.0, 0.0]


def test_the_wear_of_a_breaker_is_told_in_percent(field: Field) -> None:
    assert shown(field, "PS01/MV1/F01/QA1/SCBR1/AccmAbr") == [field.breakers[HEAD].wear]
    assert field.breakers[HEAD].wear > 10.0


def test_a_fault_does_not_make_a_joint_hot_in_a_moment(grid: Grid) -> None:
    field = Field(grid, FieldSettings(still=True), NOON)
    joint = readers(field, [f"{NORTH}/PS01/MV1/F01/_/STMP1/Tmp"])[f"{NORTH}/PS01/MV1/F01/_/STMP1/Tmp"]
    before = float(joint())
    assert before > field.weather.air + 3.0
    field.inject(f"{NORTH}/L08/MV1/_/WB1", FaultKind.THREE_PHASE, temporary=False)
    field.advance(NOON + 0.05)
    field.live(1.0)
    assert float(joint()) == pytest.approx(before, abs=0.5)
    for _ in range(60):
        field.live(60.0)
    assert float(joint()) == pytest.approx(field.weather.air, abs=0.5) or field.is_live(grid.equipment[HEAD].nodes[1])


def test_an_open_switch_takes_voltage_and_load_from_all_behind_it(field: Field) -> None:
    field.switch(f"{NORTH}/RMU06/MV1/C05/QB1", Position.OPEN)
    field.advance(NOON)
    places = ("RMU06/MV1/T01/_/MMXU1/PhV/phsA", "RMU18/MV1/T01/_/MMXU1/TotW", "SP140001/LV1/_/M1/MMXU1/PhV/phsB")
    assert shown(field, *places) == [0.0, 0.0, 0.0]
    assert shown(field, "RMU06/MV1/C06/_/SVPI1/Prs", "RMU05/MV1/C05/_/SVPI1/Prs") == [0.0, 1.0]
    (head,) = shown(field, "PS01/MV1/F01/_/MMXU1/TotW")
    assert 1.6e6 < head < 1.8e6


def test_a_tie_feeds_from_the_other_side_and_closes_a_ring(field: Field) -> None:
    field.switch(f"{NORTH}/RMU08/MV1/C33/QB1", Position.CLOSED)
    field.advance(NOON)
    through, low = shown(field, "RMU21/MV1/C33/_/MMXU1/TotW", "RMU18/MV1/T01/_/MMXU1/PhV/phsA")
    assert abs(through) > 50e3
    assert low / 7309.3 > 0.9131, "a ring lifts the lowest voltage"
    field.switch(f"{NORTH}/RMU07/MV1/C07/QB1", Position.OPEN)
    field.advance(NOON)
    assert shown(field, "RMU08/MV1/C33/_/SVPI1/Prs", "RMU18/MV1/C17/_/SVPI1/Prs") == [1.0, 1.0]


def test_a_travelling_switch_lets_nothing_through(field: Field) -> None:
    field.switch(HEAD, Position.UNKNOWN)
    field.advance(NOON)
    assert shown(field, "PS01/MV1/F01/_/MMXU1/TotW") == [0.0]


def test_a_switch_that_is_not_there_is_an_error(field: Field) -> None:
    with pytest.raises(FieldError, match="QA9"):
        field.switch(f"{NORTH}/PS01/MV1/F01/QA9", Position.OPEN)


# -- low voltage -------------------------------------------------------------------------------------------------------


def test_what_a_transformer_takes_is_what_the_customers_draw_and_what_is_lost(field: Field) -> None:
    (area,) = [area for area in field.areas if "TS14" in area.transformer.address]
    drawn = sum(meter.total.real for name, meter in field.meters.items() if "/SP14" in name)
    assert drawn == pytest.approx(120e3)
    assert 425 < area.power.real - drawn < 0.05 * drawn


def test_voltage_sinks_along_the_street_by_the_phase_that_is_loaded(field: Field) -> None:
    (area,) = [area for area in field.areas if "TS14" in area.transformer.address]
    end = area.voltage[area.rows[f"{NORTH}/SP140003/LV1/_/CN1"]]
    bus = area.voltage[0]
    assert (end < bus).all()
    drops = bus - end
    # Customer 2 hangs on phase A, customer 3 at the end on phase B.
    assert drops[1] > drops[0] > drops[2] > 0.5


def test_a_meter_with_one_phase_calls_it_a(field: Field) -> None:
    assert field.meters[f"{NORTH}/SP140003/LV1/_/M1"].model.phases == "B"
    volts = shown(field, *(f"SP140003/LV1/_/M1/MMXU1/PhV/phs{phase}" for phase in "ABC"))
    assert volts[0] > 200
    assert volts[1:] == [0.0, 0.0]


def test_a_disconnected_meter_keeps_its_voltage_and_draws_nothing(field: Field) -> None:
    (before,) = shown(field, "PS01/MV1/F01/_/MMXU1/TotW")
    field.set_connected(f"{NORTH}/SP140001/LV1/_/M1", connected=False)
    field.advance(NOON)
    field.live(1.0)
    power, volts, position, head = shown(
        field,
        *(f"SP140001/LV1/_/M1/{name}" for name in ("MMXU1/TotW", "MMXU1/PhV/phsA", "XSWI1/Pos")),
        "PS01/MV1/F01/_/MMXU1/TotW",
    )
    assert (power, position) == (0.0, 1.0)
    assert volts > 200
    assert head < before - 20e3


def test_a_bypass_takes_its_share_from_what_the_meter_counts_only(field: Field) -> None:
    (area,) = [area for area in field.areas if "TS14" in area.transformer.address]
    taken, before = area.power.real, field.meters[HOUSE].drawn
    field.meter(HOUSE).bypass = 0.3
    field.live(1.0)
    field.live(3600.0)
    assert field.meters[HOUSE].drawn - before == pytest.approx(0.7 * 6000, rel=0.01)
    assert area.power.real == pytest.approx(taken, rel=1e-3)


def test_a_ring_of_low_voltage_is_refused(tmp_path: Path) -> None:
    grid = read(
        tmp_path,
        """
equipment:
  PS01/MV1/_/SRC1: {class: EnergySource, node: PS01/MV1/_/CN1}
  TS1/MV1/T01/TA1: {class: PowerTransformer, nodes: [PS01/MV1/_/CN1, TS1/LV1/_/CN1], u1: 20 kV, u2: 400 V, s: 250 kVA,
                    uk: 4 %}
  TS1/LV1/_/WB1: {class: ACLineSegment, nodes: [TS1/LV1/_/CN1, TS1/LV1/_/CN2], r: 0.1 ohm, x: 0.1 ohm}
  TS1/LV1/_/WB2: {class: ACLineSegment, nodes: [TS1/LV1/_/CN2, TS1/LV1/_/CN1], r: 0.1 ohm, x: 0.1 ohm}
""",
    )
    with pytest.raises(GridError, match="ring"):
        areas_of(grid)


# -- time --------------------------------------------------------------------------------------------------------------


def test_energy_is_the_integral_of_power(grid: Grid) -> None:
    field = Field(grid, FieldSettings(), NOON)
    meter, counted = field.meters[HOUSE], 0.0
    start = meter.drawn
    for _ in range(50):
        counted += meter.total.real * 2.0 / 3600.0
        field.live(2.0)
    assert meter.drawn - start == pytest.approx(counted, rel=1e-9)
    assert counted > 0


def test_nothing_is_counted_while_there_is_no_voltage(field: Field) -> None:
    field.switch(HEAD, Position.OPEN)
    field.advance(NOON)
    before = field.meters[HOUSE].drawn
    field.live(3600.0)
    assert field.meters[HOUSE].drawn == before


def test_the_same_seed_lives_the_same_life(grid: Grid) -> None:
    lives = []
    for seed in (3, 3, 4):
        field = Field(grid, FieldSettings(seed=seed), NOON)
        for _ in range(5):
            field.live(1.0)
        lives.append(shown(field, "PS01/MV1/F01/_/MMXU1/TotW", "SP140001/LV1/_/M1/MMXU1/A/phsA"))
    assert lives[0] == lives[1] != lives[2]


def test_the_past_has_a_day_of_quarter_hours_that_lead_to_the_present(grid: Grid) -> None:
    past = Past(grid, FieldSettings(), NOON + 450.0)
    rows = past.history(f"{HOUSE}/MMTR1/DmdWh")
    assert rows is not None
    assert len(rows) == 97
    assert (np.diff(rows) > 0).all()
    assert 0 < past.field.meters[HOUSE].drawn - rows[-1] < 3000
    assert past.history(f"{HOUSE}/MMXU1/Hz") is None


def test_opening_under_a_fault_wears_the_contacts_and_counts(field: Field) -> None:
    breaker = field.breakers[HEAD]
    operations, wear = breaker.operations, breaker.wear
    field.inject(f"{NORTH}/L02/MV1/_/WB1", FaultKind.THREE_PHASE, temporary=False)
    field.advance(NOON + 0.4)
    assert field.positions[HEAD] is Position.OPEN
    assert breaker.operations == operations + 1
    assert breaker.switched > 3000
    assert breaker.wear - wear == pytest.approx(breaker.last_wear)
    assert breaker.last_wear > 0.05


def test_gas_pressure_follows_temperature_at_the_density_of_the_vector(field: Field) -> None:
    breaker = field.breakers[HEAD]
    breaker.gas_temperature = 40.0
    assert breaker.gas_pressure == pytest.approx(150_000, rel=2e-3)
    breaker.gas_temperature = 0.0
    assert breaker.gas_pressure == pytest.approx(130_000, rel=2e-3)
