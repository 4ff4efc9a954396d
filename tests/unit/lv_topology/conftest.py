"""Simulated areas, made once: the project's own feeder, and the European low-voltage feeder where its data are."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twin_gateway.bench.lv_areas import Case, LvFeeder, Truth, feeder_of, simulate
from twin_gateway.twin.lv_topology.data import AreaData

F64 = NDArray[np.float64]


@pytest.fixture(scope="session")
def own_case() -> tuple[AreaData, Truth]:
    """Two areas of 24 customers over eight days, with all faults."""
    return simulate(Case(areas=2, customers=24, days=8, outside=6, seed=3))


class European:
    """The IEEE European low-voltage feeder: its tree, its customers, its hundred minute profiles."""

    def __init__(self, archive: Path) -> None:
        with tarfile.open(archive) as files:

            def text(name: str) -> str:
                member = files.extractfile(f"LVTestCase/{name}")
                assert member is not None
                return member.read().decode("latin-1")

            codes = {
                m[1]: tuple(float(m[i]) for i in (2, 3, 4, 5))
                for m in re.finditer(
                    r"LineCode\.(\S+) nphases=3 R1=(\S+) X1=(\S+) R0=(\S+) X0=(\S+)", text("LineCode.txt")
                )
            }
            lines = re.findall(r"Bus1=(\d+) Bus2=(\d+) phases=3 Linecode=(\S+) Length=(\S+)", text("Lines.txt"))
            loads = re.findall(r"Bus1=(\d+)\.(\d)", text("Loads.txt"))
            profiles = [
                np.array(text(f"Daily_1min_100profiles/load_profile_{i}.txt").split(), float) for i in range(1, 101)
            ]
        self.parent, self.z1, self.z0 = [0] * 907, [0j] * 907, [0j] * 907
        for up, down, code, metres in lines:
            r1, x1, r0, x0 = codes[code]
            bus = int(down)
            self.parent[bus] = 0 if up == "1" else int(up)
            self.z1[bus] = (r1 + 1j * x1) * float(metres) / 1000
            self.z0[bus] = (r0 + 1j * x0) * float(metres) / 1000
        self.buses = [int(bus) for bus, _ in loads]
        self.phase = np.array([int(phase) - 1 for _, phase in loads])
        self.profiles = np.array(profiles) * 1e3

    def feeder(self, rng: np.random.Generator, customers: int) -> LvFeeder:
        """The feeder, its customers' phases dealt anew so that no two areas are alike."""
        assert customers == len(self.buses)
        return feeder_of(self.parent, self.z1, self.z0, self.buses, rng.permutation(self.phase).tolist())

    def loads(self, minutes: int) -> Callable[[np.random.Generator, int, int], F64]:
        """Days of customers: every one of its days is one of the hundred profiles, scaled a little and moved a little.

        Two customers that draw the same profile on a day would be told apart by nobody, so it is moved in time too.
        """
        means = self.profiles.reshape(100, -1, minutes).mean(2)

        def make(rng: np.random.Generator, customers: int, days: int) -> F64:
            out = np.empty((customers, days, means.shape[1]))
            for day in range(days):
                for row, which in enumerate(rng.integers(0, 100, customers)):
                    out[row, day] = np.roll(means[which], rng.integers(-40, 41) // minutes) * rng.uniform(0.8, 1.2)
            return out.reshape(customers, -1)

        return make


@pytest.fixture(scope="session")
def european() -> European:
    folder = os.environ.get("TWIN_REFERENCE_DATA")
    if not folder:
        pytest.skip("the European low-voltage feeder is read from TWIN_REFERENCE_DATA")
    return European(Path(folder) / "grids" / "dss_european_lv.tar.gz")


@pytest.fixture(scope="session")
def european_case(european: European) -> Callable[[Case], tuple[AreaData, Truth]]:
    """Five copies of the European feeder on one medium-voltage bus, by case; each is simulated once."""
    known: dict[Case, tuple[AreaData, Truth]] = {}

    def make(case: Case) -> tuple[AreaData, Truth]:
        case = replace(case, customers=55)
        if case not in known:
            known[case] = simulate(case, european.feeder, european.loads(case.sample_min))
        return known[case]

    return make
