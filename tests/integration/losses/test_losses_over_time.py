"""The loss function over days of virtual time: provisional, late, restarted, final; searches that come and go."""

import asyncio

import numpy as np
import pytest
from loss_grids import HEAD_METERS, P, customer
from peers.waiting import patient

from address_space import clock
from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.intervals import FILE
from twin_gateway.functions.losses import make_losses
from twin_gateway.functions.losses_methods import iso
from twin_gateway.functions.losses_settings import LossSettings

DAY, HOUR = 86_400.0, 3600.0
START = 1_700_006_400.0  # midnight
A1, A2, F1 = f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/TS2/LV1/_/_/twLOSS1", f"{P}/PS01/MV1/F01/_/twLOSS1"
LATE = f"{customer(1, 2)}/MMTR1/DmdWh"
PROVISIONAL, OK = 2, 1


class Days:
    """Hourly registers of two areas that are written as virtual time goes on, and the clock that makes it go."""

    def __init__(self, rig, directory, *, before=2, after=4, loss=0.04):
        self.rig = rig
        self.at = START
        self.until = START
        self.first = round(START / HOUR) - before * 24
        self.store = IntervalStore(directory / FILE, length=HOUR)
        rng = np.random.default_rng(1)
        self.count = (before + after) * 24
        self.held = {}
        self.written = 0
        self.registers = {}
        self.steps = []
        for k in (1, 2):
            energy = [8000.0 + rng.gamma(1.0, 4000.0, self.count) for _ in range(3)]
            for number, some in enumerate(energy, 1):
                self.put(f"{customer(k, number)}/MMTR1/DmdWh", some)
            total = np.sum(energy, axis=0)
            self.put(f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh", total / (1 - loss))
            self.put(f"{HEAD_METERS[k - 1]}/MMTR1/DmdWh", total / (1 - loss) / 0.98)

    def put(self, address, energy):
        self.registers[address] = 1e6 + np.concatenate([[0.0], np.cumsum(energy)])

    def row(self, moment):
        return round(moment / HOUR) - self.first

    def write(self, address, begin, end):
        rows = np.arange(begin, end)
        ids = np.full(len(rows), self.store.ids([address])[0])
        self.store.write(ids, self.first + rows, self.registers[address][rows], np.zeros(len(rows), np.uint32))

    def arrive(self):
        """What has ended is read, but from meters that are held back."""
        last = min(int(self.at // HOUR) - self.first, self.count) + 1
        for address in self.registers:
            if address not in self.held and last > self.written:
                self.write(address, self.written, last)
        self.written = max(last, self.written)

    def now(self):
        return self.at

    async def sleep(self, seconds):
        value = self.rig.table.find(f"{A1}/St"), self.rig.table.find(f"{A1}/T1")
        self.steps.append(tuple(self.rig.table.value(row) for row in value))
        if self.at + seconds > self.until:
            self.done.set()
            await asyncio.Event().wait()
        self.at += seconds
        self.arrive()
        await asyncio.sleep(0)

    async def go(self, losses, until):
        """Let the function run until a virtual time, then end it."""
        self.until, self.done = until, asyncio.Event()
        task = asyncio.create_task(losses.run())
        try:
            async with patient(30):
                await self.done.wait()
                while losses.searching:
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def make(self, **settings):
        return make_losses(
            self.rig.context, LossSettings(**settings), now=self.now, sleep=self.sleep, worker=self.rig.worker
        )


@pytest.fixture
def days(rig, tmp_path):
    made = Days(rig, tmp_path)
    yield made
    made.store.close()


def told_late(rig, cursor, key):
    """{point: [(hour after the start, value)]} of late samples of a region."""
    found = {}
    for chunk in cursor.take():
        for row, bits, ticks in zip(chunk.rows.tolist(), chunk.raw, chunk.source_time.tolist(), strict=True):
            address = rig.table.address(row)
            if address.startswith(f"{key}/"):
                hour = (clock.to_unix(ticks) - START) / HOUR
                value = bits.view(np.float64) if rig.table.value_type[row] == 11 else int(bits & 0xFFFF_FFFF)
                found.setdefault(address.removeprefix(f"{key}/"), []).append((round(hour), float(value)))
    return found


async def test_a_day_of_provisional_results_a_restart_late_data_and_the_final_results(rig, days):
    days.arrive()
    losses = days.make()
    await days.go(losses, START + 9.5 * HOUR)
    shown = [step for step in days.steps if step[1]]
    assert [t1 for _, t1 in dict.fromkeys(shown)] == [iso(START + hour * HOUR) for hour in range(10)]
    assert {state for state, _ in shown} == {PROVISIONAL}
    assert rig.value(f"{A1}/Rev") == 1

    # A meter falls silent, the gateway is started again within an interval, and what it has missed comes later.
    days.held = {LATE}
    await days.go(days.make(), START + 14.5 * HOUR)
    assert rig.value(f"{A2}/T1") == iso(START + 14 * HOUR)
    assert rig.value(f"{A1}/T1") == iso(START + 9 * HOUR)  # what came after is incomplete
    days.held = {}
    days.write(LATE, days.row(START + 10 * HOUR), days.row(START + 14 * HOUR) + 1)
    cursor, events = rig.table.late.cursor("test"), rig.events.cursor("test late")
    await days.go(days.make(), START + 16.5 * HOUR)
    late = told_late(rig, cursor, A1)
    assert [hour for hour, _ in late["LosWh"]] == [10, 11, 12, 13, 14]
    assert {value for _, value in late["Rev"]} == {2.0}
    assert not told_late(rig, cursor, A2)
    assert rig.value(f"{A1}/T1") == iso(START + 16 * HOUR)
    assert rig.value(f"{A1}/Rev") == 1

    # At noon two days later the day is final, with the same values.
    await days.go(days.make(), START + 2 * DAY + 12.5 * HOUR)
    final = told_late(rig, cursor, A1)
    # The day before became final a day earlier.
    assert [hour for hour, value in final["St"] if value == OK] == list(range(-23, 25))
    assert dict(final["Rev"])[12] == 2.0
    assert dict(final["Rev"])[3] == 1.0
    assert rig.value(f"{A1}/St") == PROVISIONAL
    assert not [event for event in events.take() if event.code == "G02"]


async def test_a_clock_that_was_ahead_for_a_while_does_not_silence_the_function(rig, days):
    days.arrive()
    days.at = START + 3 * DAY
    losses = days.make()
    await days.go(losses, days.at + 1.5 * HOUR)
    days.at = START + 2 * HOUR
    days.steps.clear()
    await days.go(days.make(), START + 4.5 * HOUR)
    assert rig.value(f"{A1}/T1") == iso(START + 4 * HOUR)


async def test_a_clock_set_back_while_waiting_ends_no_interval_that_is_not_over(rig, days):
    days.arrive()
    await days.go(days.make(), START + 1.5 * HOUR)
    setting_back = days.sleep

    async def sleep(seconds):
        days.sleep = setting_back
        losses._sleep = setting_back
        days.at += seconds - 2 * HOUR
        days.until = days.at

    days.sleep = sleep
    losses = days.make()
    await days.go(losses, START + 3 * HOUR)
    assert rig.value(f"{A1}/T1") == iso(START + HOUR)


async def test_a_suspicion_stands_in_the_address_space_over_a_restart_until_it_is_over(rig, tmp_path):
    days = Days(rig, tmp_path, before=8, after=4, loss=0.005)
    meter = customer(1, 2)
    place = f"{meter}/twLOSS1"
    energy = np.diff(days.registers[LATE])
    energy[: days.row(START + DAY)] *= 0.6
    days.put(LATE, energy)
    days.arrive()
    losses = days.make(detection_days=7)
    await losses.search(START)
    assert rig.value(f"{place}/SusScr") > 0.5
    assert rig.value(f"{place}/SusWh") == pytest.approx(energy[24:192].mean() * 24 * 0.4 / 0.6, rel=0.35)
    assert rig.value(f"{place}/SusKnd") == "regression"
    assert rig.value(f"{place}/SusT") == f"{iso(START - 7 * DAY)}/{iso(START)}"
    assert rig.value(f"{A1}/SusKnd").startswith("nonTechnicalLoss")
    assert rig.value(f"{customer(1, 1)}/twLOSS1/SusScr") == 0.0
    assert [event.state for event in rig.told() if event.address == meter] == ["active"]

    await days.go(days.make(detection_days=3), START + HOUR)
    assert rig.value(f"{place}/SusKnd") == "regression"  # after a restart, before the next search

    days.at = START + 4 * DAY
    days.arrive()
    later = days.make(detection_days=3)
    await days.go(later, days.at + 1.5 * HOUR)
    assert (rig.value(f"{place}/SusScr"), rig.value(f"{place}/SusKnd")) == (0.0, "")
    assert rig.value(f"{A1}/SusScr") == 0.0
    assert [event.state for event in rig.told() if event.address == meter and event.code == "L02"][-1] == "inactive"
    days.store.close()
