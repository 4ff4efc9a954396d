"""Benchmark: balances of a month of quarter hours of 10 000 meters, alignment and meter data rules included."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twin_gateway.functions.interval_store import IntervalReader, IntervalStore
from twin_gateway.grid.model import Meter, MeterRole
from twin_gateway.twin.losses.align import align_registers
from twin_gateway.twin.losses.balance import BalancePlan, Key
from twin_gateway.twin.losses.detection import regression
from twin_gateway.twin.losses.meter_data import RegisterRules, interval_energies
from twin_gateway.twin.losses.regions import Region, RegionKind, Term

QUARTER_S = 900.0
_STORED_DAYS = 2


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: meters in areas of equal size, for so many intervals."""

    meters: int = 10_000
    areas: int = 100
    intervals: int = 2_976


QUICK = Size(200, 4, 96)


def measure(quick: bool = False) -> dict[str, float]:
    """Run the benchmark, about 20 s and 800 MB.

    Returns:
        `meters`, `intervals`, `areas`; `balance_s`: from aligned registers to balances with uncertainty and
        completeness of all areas and their sum, all readings there; `balance_gaps_s`: with 1 % of the readings
        missing, `balance_gaps_cpu_s` its processor time; `align_s`: interpolation of readings up to 30 s off the
        boundary; `total_s`: `align_s` + `balance_s`,
        `total_cpu_s` its processor time (less than the wall only on a busy machine);
        `regression_s` of 55 meters over 7 days; `store_write_s` of one interval of all meters, `store_read_s` of two
        days of all meters.
    """
    size = QUICK if quick else Size()
    registers, plan = _case(size)
    rng = np.random.default_rng(2)
    offsets = rng.uniform(-30.0, 30.0, size.meters + size.areas)
    figures = {"meters": float(size.meters), "intervals": float(size.intervals), "areas": float(size.areas)}
    began, worked = time.perf_counter(), time.process_time()
    align_registers(registers, offsets, QUARTER_S, consume=True)
    figures["align_s"] = time.perf_counter() - began
    figures["balance_s"] = _balance(registers, plan)
    figures["total_s"] = figures["align_s"] + figures["balance_s"]
    figures["total_cpu_s"] = time.process_time() - worked
    registers, plan = _case(size)
    holes = rng.integers(0, registers.size, registers.size // 100)
    registers.reshape(-1)[holes] = np.nan
    worked = time.process_time()
    figures["balance_gaps_s"] = _balance(registers, plan)
    figures["balance_gaps_cpu_s"] = time.process_time() - worked
    del registers
    energy = rng.gamma(1.0, 100.0, (672, 55))
    began = time.perf_counter()
    regression(energy @ np.eye(55)[7] * 0.4 + rng.normal(0.0, 20.0, 672), energy)
    figures["regression_s"] = time.perf_counter() - began
    figures.update(_store(size.meters))
    return figures


def _case(size: Size) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], BalancePlan]:
    """Registers (intervals + 1, meters) of areas of equal size, and their balance plan."""
    rng = np.random.default_rng(1)
    of_area = size.meters // size.areas
    meters: dict[str, Meter] = {}
    columns: dict[Key, int] = {}
    regions = []
    for area in range(size.areas):
        place = f"g/a/TS{area:03d}/LV1"
        supply = f"{place}/_/M0"
        meters[supply] = Meter(supply, supply, MeterRole.BOUNDARY, accuracy_class=0.5)
        columns[supply, "", True] = size.meters + area
        members = []
        for number in range(of_area):
            address = f"g/a/SP{area:03d}{number:03d}/LV1/_/M1"
            meters[address] = Meter(address, address)
            columns[address, "", False] = area * of_area + number
            members.append(Term(address))
        key = f"{place}/_/_/twLOSS1"
        regions.append(Region(RegionKind.LV_AREA, place, (Term(supply, -1),), tuple(members), cells=(key,)))
    edges = tuple(term for region in regions for term in region.boundary)
    members = [term for region in regions for term in region.members]
    cells = tuple(region.key for region in regions)
    regions.append(Region(RegionKind.AREA, "g/a", edges, tuple(members), cells=cells))
    energy = rng.standard_exponential((size.intervals + 1, size.meters + size.areas)) * 100.0
    inside = energy[:, : size.meters].reshape(size.intervals + 1, size.areas, of_area)
    energy[:, size.meters :] = inside.sum(axis=2) / 0.97
    np.cumsum(energy, axis=0, out=energy)
    return energy, BalancePlan(regions, meters, columns, sigma_clock=dict.fromkeys(meters, 10.0))


def _balance(registers: np.ndarray[tuple[int, int], np.dtype[np.float64]], plan: BalancePlan) -> float:
    began = time.perf_counter()
    found = interval_energies(registers, RegisterRules.plain(registers.shape[1]), QUARTER_S, consume=True)
    plan.balance(found.energy, QUARTER_S, flags=found.flags)
    return time.perf_counter() - began


def _store(meters: int) -> dict[str, float]:
    addresses = [f"g/a/SP{number:05d}/LV1/_/M1/MMTR1/DmdWh" for number in range(meters)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "intervals.sqlite"
        with closing(IntervalStore(path)) as store:
            ids = store.ids(addresses)
            values, words = np.random.default_rng(3).random(meters), np.zeros(meters, np.uint32)
            for day in range(_STORED_DAYS):
                store.write(ids, np.full(meters, day * 96), values, words)
            began = time.perf_counter()
            store.write(ids, np.full(meters, 1), values, words)
            written = time.perf_counter() - began
        with closing(IntervalReader(path)) as reader:
            began = time.perf_counter()
            reader.read(addresses, 0.0, (_STORED_DAYS * 96 - 1) * QUARTER_S)
            return {"store_write_s": written, "store_read_s": time.perf_counter() - began}
