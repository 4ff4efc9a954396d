"""Customers' meters as loads of the power flow: each load once, measured, metered, allocated or nominal."""

from __future__ import annotations

import time

import pytest
from loss_grids import P, customer, two_feeders
from peers.twin.bench import Bench

from address_space import clock
from address_space.point import Batch
from address_space.quality import Quality
from twin_gateway.functions.powerflow import PowerFlow, make_powerflow
from twin_gateway.functions.powerflow_settings import PowerFlowSettings
from twin_gateway.grid.model import Grid, Measurement, Quantity

PLACE = P
M0 = f"{P}/TS1/LV1/_/M0"


def load(number: int, area: int = 1) -> str:
    return f"{P}/SP{area}{number}/LV1/_/LD1"


class Plant:
    """Two streets of three customers (2 kW and 600 var on file); values are told as of some seconds ago."""

    def __init__(self, folder, points: list[str], grid: Grid | None = None) -> None:
        self.grid = grid or two_feeders(ohm=0.002)
        self.bench = Bench(folder, dict.fromkeys(points, "meters"), self.grid)
        self.function: PowerFlow = make_powerflow(self.bench.context, PowerFlowSettings(), assume_normal=True)
        self.function.prepare()

    def tell(self, values: dict[str, float], *, ago: float = 0.0, quality: int = 0) -> None:
        rows = [self.bench.table.find(address) for address in values]
        ticks = clock.from_unix(time.time() - ago)
        self.bench.table.ingest(Batch.of(rows, list(values.values()), quality, ticks))

    async def drawn(self) -> tuple[dict[str, float], PowerFlow]:
        await self.function._step()
        report = self.function.last
        assert report is not None
        arrays = self.function._arrays()
        assert report.feasible
        return {item.address: report.flow.drawn[at].real for at, item in enumerate(arrays.injections)}, self.function

    def value(self, name: str):
        return self.bench.table.value(self.bench.table.find(f"{self.function.owner}/{name}"))


async def test_a_meter_says_what_its_load_draws_and_the_result_says_how_many_do(tmp_path):
    points = [f"{customer(1, 1)}/MMXU1/TotW", f"{customer(1, 2)}/MMXN1/Watt"]
    plant = Plant(tmp_path, points)
    plant.tell({points[0]: 3500.0, points[1]: 800.0})
    drawn, function = await plant.drawn()
    assert [drawn[load(n)] for n in (1, 2, 3)] == pytest.approx([3500.0, 800.0, 2000.0])
    assert (plant.value("LodMeas"), plant.value("LodAlc"), plant.value("LodNom")) == (2, 0, 4)
    assert function.last.notes[-1].startswith("2 of 6 loads and generators are measured, 2 of them by meters")


async def test_registers_give_the_mean_power_between_two_readings(tmp_path):
    points = [f"{customer(1, 1)}/MMTR1/{name}" for name in ("DmdWh", "SupWh")]
    plant = Plant(tmp_path, points)
    plant.tell({points[0]: 1000.0, points[1]: 50.0}, ago=900.0)
    assert (await plant.drawn())[0][load(1)] == pytest.approx(2000.0)  # one reading says nothing
    plant.tell({points[0]: 1600.0, points[1]: 100.0})
    assert (await plant.drawn())[0][load(1)] == pytest.approx(550.0 * 4, rel=0.01)


async def test_old_and_invalid_values_of_meters_are_not_used_and_doubtful_ones_mark_the_result(tmp_path):
    points = [f"{customer(1, n)}/MMXU1/TotW" for n in (1, 2, 3)]
    plant = Plant(tmp_path, points)
    plant.tell({points[0]: 9000.0}, ago=7200.0)
    plant.tell({points[1]: 9000.0}, quality=int(Quality.INVALID))
    plant.tell({points[2]: 9000.0}, quality=int(Quality.QUESTIONABLE))
    drawn, _ = await plant.drawn()
    assert [drawn[load(n)] for n in (1, 2, 3)] == pytest.approx([2000.0, 2000.0, 9000.0])
    row = plant.bench.table.find(f"{plant.function.owner}/LodMeas")
    assert plant.bench.table.sample(row).quality & Quality.QUESTIONABLE


async def test_what_a_transformer_delivers_beside_its_metered_customers_goes_to_the_others(tmp_path):
    points = [f"{M0}/MMXU1/TotW", f"{customer(1, 1)}/MMXU1/TotW"]
    plant = Plant(tmp_path, points)
    plant.tell({points[0]: -9000.0, points[1]: 3000.0})  # out of the second terminal
    drawn, _ = await plant.drawn()
    assert [drawn[load(n)] for n in (1, 2, 3)] == pytest.approx([3000.0, 3000.0, 3000.0])
    assert [drawn[load(n, 2)] for n in (1, 2, 3)] == pytest.approx([2000.0] * 3)
    assert (plant.value("LodMeas"), plant.value("LodAlc"), plant.value("LodNom")) == (1, 2, 3)


async def test_a_transformer_whose_customers_are_all_metered_counts_nothing_twice(tmp_path):
    points = [f"{M0}/MMXU1/TotW", *(f"{customer(1, n)}/MMXU1/TotW" for n in (1, 2, 3))]
    plant = Plant(tmp_path, points)
    plant.tell(dict(zip(points, (-9000.0, 1000.0, 2500.0, 4000.0), strict=True)))
    drawn, _ = await plant.drawn()
    assert [drawn[load(n)] for n in (1, 2, 3)] == pytest.approx([1000.0, 2500.0, 4000.0])
    assert plant.value("LodAlc") == 0


async def test_a_measurement_at_the_load_and_a_meter_of_the_same_load_count_once(tmp_path):
    point, meter = f"{P}/SP11/LV1/_/LD1/MMXU1/TotW", f"{customer(1, 1)}/MMXU1/TotW"
    grid = two_feeders(ohm=0.002)
    grid.measurements[point] = Measurement(point, Quantity.P, load(1))
    plant = Plant(tmp_path, [point, meter], grid)
    plant.tell({point: 1500.0, meter: 1400.0})
    drawn, _ = await plant.drawn()
    assert drawn[load(1)] == pytest.approx(1500.0)
    assert plant.value("LodMeas") == 1


async def test_a_transformer_measured_at_its_high_voltage_side_gives_what_it_does_not_lose(tmp_path):
    point = f"{P}/TS1/MV1/T01/_/MMXU1/TotW"
    grid = two_feeders(ohm=0.002)
    grid.measurements[point] = Measurement(point, Quantity.P, f"{P}/TS1/MV1/T01/TA1", 1)
    plant = Plant(tmp_path, [point], grid)
    plant.tell({point: 12_610.0})
    drawn, _ = await plant.drawn()
    assert sum(drawn[load(n)] for n in (1, 2, 3)) == pytest.approx(12_000.0, rel=0.005)
