"""What the phases and the voltages of a low-voltage area say, from the interval store to the suspicion."""

import math

import numpy as np
import pytest
from loss_grids import P, customer, two_feeders

from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.losses_detect import find_suspicions
from twin_gateway.functions.losses_job import LossJob, write_grid
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.twin.losses.detection import Method
from twin_gateway.twin.losses.regions import regions
from twin_gateway.twin.losses.technical import loss_model, technical_loss

DAYS = 7
COUNT = DAYS * 96
FIRST = 1_700_006_400 // 900  # midnight
A1 = f"{P}/TS1/LV1/_/_/twLOSS1"
INFEED = f"{P}/TS1/LV1/_/M0"


class Area:
    """Seven days of nine single-phase customers, three on each phase, with powers and voltages by phase."""

    def __init__(self, directory):
        self.grid = two_feeders(9, ohm=0.03)
        self.directory = directory
        region = regions(self.grid, {})[A1]
        self.model = loss_model(self.grid, region, self.grid.meters)
        self.meters = [term.meter for term in self.model.terms]
        self.phase = np.array(["ABC".index(self.grid.meters[meter].phases) for meter in self.meters])
        self.watts = 1500.0 + np.random.default_rng(1).gamma(1.0, 1500.0, (COUNT, 9))

    def run(self, hidden=None, swapped=()):
        """Suspicions; `hidden` W are drawn beside the meters, `swapped` meters have another phase in the records."""
        true = self.watts + (0.0 if hidden is None else hidden)
        state = technical_loss(self.model, true, 900.0)
        lost = state.lines * 4
        store = IntervalStore(self.directory / "i.sqlite")
        rng = np.random.default_rng(2)
        nominal = 400 / math.sqrt(3)
        for phase, letter in enumerate("ABC"):
            here = (self.phase == phase).astype(float)
            for one, other in swapped:
                if phase in (self.phase[one], self.phase[other]):
                    here[[one, other]] = here[[other, one]]
            supplied = true @ here + lost[:, phase]
            self.write(store, f"{INFEED}/MMXU1/W/phs{letter}", -supplied)
            self.write(store, f"{INFEED}/MMXU1/PhV/phs{letter}", np.full(COUNT, nominal))
        for at, meter in enumerate(self.meters):
            register = np.concatenate([[0.0], np.cumsum(self.watts[:, at] / 4)])
            self.write(store, f"{meter}/MMTR1/DmdWh", register, first=0)
            volts = nominal * (1 - state.drop[:, at]) + rng.normal(0, 0.05, COUNT)
            self.write(store, f"{meter}/MMXU1/PhV/phs{'ABC'[self.phase[at]]}", volts)
        whole = np.concatenate([[0.0], np.cumsum((true.sum(axis=1) + lost.sum(axis=1)) / 4)])
        self.write(store, f"{INFEED}/MMTR1/SupWh", whole, first=0)
        store.close()
        write_grid(self.grid, self.directory / "grid.pickle")
        job = LossJob(
            self.directory / "i.sqlite",
            self.directory / "grid.pickle",
            FIRST * 900.0,
            (FIRST + COUNT) * 900.0,
            LossSettings(form_factor=1.0, unknown_clock=5.0),
        )
        return find_suspicions(job).suspicions

    @staticmethod
    def write(store, address, values, first=1):
        ids = np.full(len(values), store.ids([address])[0])
        numbers = FIRST + first + np.arange(len(values))
        store.write(ids, numbers, np.asarray(values, float), np.zeros(len(values), np.uint32))


@pytest.fixture
def area(tmp_path):
    return Area(tmp_path)


def test_an_area_in_order_is_not_suspected(area):
    assert area.run() == []


def test_swapped_phases_are_told_of_the_area(area):
    one = int(np.nonzero(area.phase == 0)[0][0])
    other = int(np.nonzero(area.phase == 1)[0][0])
    area.watts[:, one] *= 2
    found = area.run(swapped=[(one, other)])
    assert [(item.method, item.address) for item in found if item.method is Method.PHASE_BALANCE] == [
        (Method.PHASE_BALANCE, A1)
    ]


def test_an_unrecorded_load_is_placed_by_the_voltages(area):
    thief = int(np.nonzero(area.phase == 2)[0][1])
    hidden = np.zeros((COUNT, 9))
    hidden[:, thief] = 3000.0 * (np.random.default_rng(3).random(COUNT) < 0.3)
    found = [item for item in area.run(hidden) if item.method is Method.VOLTAGE]
    assert [item.address for item in found] == [area.meters[thief]]
    assert found[0].kwh_per_day == pytest.approx(hidden.sum() / 4000 / DAYS, rel=0.2)
    assert customer(1, 1) in area.meters
