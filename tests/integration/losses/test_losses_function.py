"""The loss function over a real table, interval store and compute process."""

import math
from dataclasses import replace

import numpy as np
import pytest
from loss_grids import HEAD_METERS, RIGHT, TIE, P, customer

from address_space import clock
from address_space.point import Batch, TextSample
from address_space.ports import Caller
from address_space.quality import Quality, StatusCode
from twin_gateway.functions.interval_store import IntervalStore
from twin_gateway.functions.intervals import FILE
from twin_gateway.functions.losses import make_losses
from twin_gateway.functions.losses_methods import iso
from twin_gateway.functions.losses_settings import LossSettings

DAY = 86_400.0
CALLER = Caller("ann", frozenset({"Supervisor"}))
A1, F1, AREA = f"{P}/TS1/LV1/_/_/twLOSS1", f"{P}/PS01/MV1/F01/_/twLOSS1", f"{P}/_/_/_/_/twLOSS1"


class Plant:
    """Registers of all meters since nine days; customers draw 10 to 14 kW, areas lose 4 %, feeders 2 %."""

    def __init__(self, rig, directory, days=9):
        self.rig = rig
        self.length = 900.0
        self.stop = math.floor(clock.to_unix(clock.now()) / 900.0) * 900.0
        self.count = round(days * DAY / 900.0)
        self.numbers = np.arange(self.count + 1) + round(self.stop / 900.0) - self.count
        self.store = IntervalStore(directory / FILE)
        rng = np.random.default_rng(1)
        self.energy = {}
        for k in (1, 2):
            total = np.zeros(self.count)
            for number in (1, 2, 3):
                energy = 2000.0 + rng.gamma(1.0, 1000.0, self.count)
                self.energy[f"{customer(k, number)}/MMTR1/DmdWh"] = energy
                total += energy
            self.energy[f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh"] = total / 0.96
            self.energy[f"{HEAD_METERS[k - 1]}/MMTR1/DmdWh"] = total / 0.96 / 0.98

    def register(self, address):
        return 1e6 + np.concatenate([[0.0], np.cumsum(self.energy[address])])

    def write(self, address, rows=None, registers=None):
        """Write registers of a meter, all or some rows."""
        rows = np.arange(self.count + 1) if rows is None else np.asarray(rows)
        values = (self.register(address) if registers is None else registers)[rows]
        ids = np.full(len(rows), self.store.ids([address])[0])
        self.store.write(ids, self.numbers[rows], values, np.zeros(len(rows), np.uint32))

    def write_all(self, but=()):
        for address in self.energy:
            if address not in but:
                self.write(address)


@pytest.fixture
def plant(rig, tmp_path):
    made = Plant(rig, tmp_path)
    yield made
    made.store.close()


async def call(losses, name, *arguments):
    return await losses.call(losses.owner, name, arguments, CALLER)


def outputs(losses, name, result):
    spec = next(spec for spec in losses.specs() if spec.name == name)
    return dict(zip([out.name for out in spec.outputs], result.outputs, strict=True))


async def test_the_newest_interval_is_published_for_every_region(rig, plant):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    energy = sum(plant.energy[f"{customer(1, n)}/MMTR1/DmdWh"][-1] for n in (1, 2, 3))
    assert rig.value(f"{A1}/CnsWh") == pytest.approx(energy)
    assert rig.value(f"{A1}/LosPct") == pytest.approx(4.0)
    assert rig.value(f"{F1}/LosPct") == pytest.approx(2.0)
    assert rig.value(f"{AREA}/LosPct") == pytest.approx(100 * (1 - 0.96 * 0.98))
    assert rig.value(f"{A1}/T1") == iso(plant.stop)
    assert rig.value(f"{A1}/St") == 2  # provisional
    assert rig.value(f"{A1}/Rev") == 1
    assert rig.value(f"{A1}/Cmpl") == pytest.approx(100.0)
    assert 0 < rig.value(f"{A1}/TecWh") < rig.value(f"{A1}/LosWh")
    sample = rig.table.sample(rig.table.find(f"{A1}/LosWh"))
    assert sample.status == StatusCode.Good
    assert clock.to_unix(sample.source_time) == plant.stop


async def test_a_late_reading_is_the_next_revision_of_what_it_changes_and_of_nothing_else(rig, plant):
    missing = f"{customer(1, 2)}/MMTR1/DmdWh"
    plant.write_all(but=[missing])
    rows = np.arange(plant.count + 1)
    plant.write(missing, rows[:-9])
    plant.write(missing, rows[-1:])
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    before = rig.value(f"{A1}/LosWh")
    assert rig.value(f"{A1}/T1") == iso(plant.stop - 9 * 900)  # later ones are estimated
    revision = rig.value(f"{P}/TS2/LV1/_/_/twLOSS1/Rev")
    cursor = rig.table.late.cursor("test")
    plant.write(missing, rows[-9:-1])
    await losses.step(plant.stop)
    assert rig.value(f"{A1}/Rev") == 2
    assert rig.value(f"{A1}/T1") == iso(plant.stop)
    assert rig.value(f"{A1}/LosWh") != before
    assert rig.value(f"{A1}/LosPct") == pytest.approx(4.0)
    assert rig.value(f"{P}/TS2/LV1/_/_/twLOSS1/Rev") == revision
    told = {rig.table.address(int(row)) for chunk in cursor.take() for row in chunk.rows}
    assert f"{A1}/LosWh" in told
    assert not any(address.startswith(f"{P}/TS2/") for address in told)


async def test_an_incomplete_region_is_bad_and_a_silent_meter_is_told(rig, plant):
    missing = f"{customer(1, 2)}/MMTR1/DmdWh"
    plant.write_all(but=[missing])
    plant.write(missing, np.arange(plant.count + 1 - 200))
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    sample = rig.table.sample(rig.table.find(f"{A1}/LosWh"))
    assert sample.quality & Quality.INVALID
    assert sample.quality & Quality.PARTIAL
    assert rig.value(f"{A1}/St") == 3  # incomplete
    found = [event for event in rig.told() if event.code == "L03"]
    assert [event.address for event in found] == [A1]
    assert customer(1, 2) in found[0].text


async def test_meters_that_have_not_been_heard_yet_are_not_silent_for_a_day_after_the_first_start(rig, plant):
    silent = f"{customer(1, 2)}/MMTR1/DmdWh"
    plant.write_all(but=[silent])
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    assert not [event for event in rig.told() if event.code == "L03"]
    losses._conditions._heard[customer(1, 2)] -= 90_000.0
    await losses.step(plant.stop)
    assert [event.address for event in rig.told() if event.code == "L03"] == [A1]


async def test_a_meter_that_is_swapped_is_told_once_and_its_interval_is_missing(rig, plant):
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    plant.write_all(but=[address])
    registers = plant.register(address)
    registers[-5:] -= registers[-5] - 3.0
    plant.write(address, registers=registers)
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    await losses.step(plant.stop)
    resets = [event for event in rig.told() if event.code == "L04"]
    assert [(event.address, dict(event.details)["kind"]) for event in resets] == [(customer(1, 1), "MeterReset")]


async def test_a_new_serial_number_confirms_a_swap(rig, plant):
    serial = f"{customer(1, 1)}/LPHD1/PhyNam/serNum"
    rig.add([serial])
    row = rig.table.find(serial)
    rig.table.ingest(Batch.of([], [], texts=[TextSample(row, "A100")]))
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    rows = np.arange(plant.count + 1)
    registers = plant.register(address)
    plant.write_all(but=[address])
    plant.write(address, rows[:-3])
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    rig.table.ingest(Batch.of([], [], texts=[TextSample(row, "B200")]))
    registers[-3:] -= registers[-3]
    plant.write(address, rows[-3:], registers)
    await losses.step(plant.stop)
    events = [event for event in rig.told() if event.code == "L04"]
    assert [dict(event.details)["swap"] for event in events] == ["true"]


async def test_a_ratio_that_differs_from_the_records_and_a_reversed_meter_are_conditions(rig, plant):
    meter = HEAD_METERS[0]
    rig.grid.meters[meter] = replace(rig.grid.meters[meter], ratio=40.0)
    rig.add([f"{meter}/TCTR1/Rat"])
    rig.table.ingest(Batch.of([rig.table.find(f"{meter}/TCTR1/Rat")], [50.0], 0, 0))
    address = f"{customer(2, 1)}/MMTR1/DmdWh"
    plant.write_all(but=[address])
    plant.write(address, registers=2e6 - plant.register(address))
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    found = {event.address: event.text for event in rig.told() if event.code == "L04"}
    assert "RatioMismatch" in found[meter]
    assert "50" in found[meter]
    assert "ReversedCT" in found[customer(2, 1)]
    rig.table.ingest(Batch.of([rig.table.find(f"{meter}/TCTR1/Rat")], [40.0], 0, 0))
    await losses.step(plant.stop)
    assert [(event.address, event.state) for event in rig.told() if event.code == "L04"] == [(meter, "inactive")]


async def test_a_switch_over_marks_the_interval_of_the_feeders_that_it_touches(rig, plant):
    plant.write_all()
    plant.store.put_positions([
        (plant.stop - DAY, RIGHT, 2), (plant.stop - DAY, TIE, 1),
        (plant.stop - 1200.0, RIGHT, 1), (plant.stop - 1200.0, TIE, 2),
    ])  # fmt: skip
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    result = await call(losses, "Compute", F1, iso(plant.stop - 3600), iso(plant.stop))
    assert outputs(losses, "Compute", result)["intervalState"][2] == "topologyChanged"
    result = await call(losses, "Compute", A1, iso(plant.stop - 3600), iso(plant.stop))
    assert outputs(losses, "Compute", result)["intervalState"] == ["provisional"] * 4


async def test_compute_and_explain_answer_the_same_balance(rig, plant):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings(final_days=1))
    end = plant.stop - 3 * DAY
    result = await call(losses, "Compute", f"{P}/TS1/LV1", iso(end - 3600), iso(end))
    assert result.status == StatusCode.Good
    found = outputs(losses, "Compute", result)
    assert found["losPct"] == pytest.approx(4.0)
    assert found["intervalState"] == ["ok"] * 4
    assert found["ends"][-1] == iso(end)
    assert sum(found["intervalLosWh"]) == pytest.approx(found["losWh"])
    result = await call(losses, "Explain", A1, iso(end - 1))
    terms = outputs(losses, "Explain", result)
    assert terms["losWh"] == pytest.approx(found["intervalLosWh"][-1])
    assert terms["address"][:1] == [f"{P}/TS1/LV1/_/M0"]
    assert terms["side"].count("consumption") == 3
    assert terms["quality"][:4] == ["good"] * 4
    entering = sum(e for e, side in zip(terms["energy"], terms["side"], strict=True) if side in ("import", "feedIn"))
    leaving = sum(
        e for e, side in zip(terms["energy"], terms["side"], strict=True) if side in ("consumption", "export")
    )
    assert entering - leaving == pytest.approx(terms["losWh"])
    assert "reactive power of the technical loss: 3 as in the grid model" in terms["text"]


async def test_recompute_tells_what_has_another_result(rig, plant):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    window = (iso(plant.stop - 8 * DAY), iso(plant.stop - 8 * DAY + 3600))
    first = outputs(losses, "Recompute", await call(losses, "Recompute", A1, *window))
    assert (first["changed"], first["revision"]) == (4, 1)
    again = outputs(losses, "Recompute", await call(losses, "Recompute", A1, *window))
    assert again["changed"] == 0
    address = f"{customer(1, 1)}/MMTR1/DmdWh"
    registers = plant.register(address)
    row = plant.count - 8 * 96 + 2
    registers[row] += 200.0
    plant.write(address, [row], registers)
    found = outputs(losses, "Recompute", await call(losses, "Recompute", A1, *window))
    assert (found["changed"], found["revision"]) == (2, 2)


async def test_a_bypass_is_a_suspicion_and_an_event_that_name_the_meter_and_nobody(rig, plant):
    name = "Erika Mustermann"
    thief = f"{customer(1, 2)}/MMTR1/DmdWh"
    load = rig.grid.equipment[rig.grid.meters[customer(1, 2)].equipment]
    rig.grid.equipment[load.address] = replace(load, name=name)
    # What is lost on a line grows with the square of its load; a loss in proportion would be everybody's bypass.
    total = sum(plant.energy[f"{customer(1, number)}/MMTR1/DmdWh"] for number in (1, 2, 3))
    plant.energy[f"{P}/TS1/LV1/_/M0/MMTR1/SupWh"] = total + 0.04 * total**2 / total.mean()
    plant.energy[thief] = plant.energy[thief] * 0.7
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    result = await call(losses, "TopSuspects", 5)
    found = outputs(losses, "TopSuspects", result)
    assert ("regression", customer(1, 2)) in list(zip(found["method"], found["address"], strict=True))
    at = found["address"].index(customer(1, 2))
    assert found["kWhPerDay"][at] == pytest.approx(0.3 / 0.7 * plant.energy[thief].mean() * 96 / 1000, rel=0.35)
    others = {a for m, a in zip(found["method"], found["address"], strict=True) if m == "regression"} - {customer(1, 2)}
    assert not others
    events = [event for event in rig.told() if event.code == "L02"]
    assert customer(1, 2) in {event.address for event in events}
    assert name not in repr(events) + repr(result)


async def test_a_rate_out_of_band_in_three_of_four_hours_is_a_condition_that_ends(rig, plant):
    for k in (1, 2):
        plant.energy[f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh"] = plant.energy[f"{P}/TS{k}/LV1/_/M0/MMTR1/SupWh"] * (
            1.15 if k == 1 else 1.0
        )
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings(unknown_clock=2.0))
    await losses.step(plant.stop)
    active = {event.address for event in rig.told() if event.code == "L01" and event.state == "active"}
    assert A1 in active
    assert f"{P}/TS2/LV1/_/_/twLOSS1" not in active
    assert F1 in active  # it now gives more than it gets


async def test_what_cannot_be_answered_is_refused_with_a_sentence_and_all_outputs(rig, plant):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    for name, arguments in (
        ("Compute", ("g/a/nowhere", iso(0.0), iso(900.0))),
        ("Compute", (A1, "2026-01-01T00:00:00", iso(0.0))),
        ("Compute", (A1, iso(900.0), iso(0.0))),
        ("Explain", (A1, "yesterday")),
    ):
        result = await call(losses, name, *arguments)
        assert result.status == StatusCode.BadInvalidArgument
        assert result.text
        spec = next(spec for spec in losses.specs() if spec.name == name)
        assert len(result.outputs) == len(spec.outputs)
        assert result.outputs[-1] == result.text


async def test_computing_does_not_hold_up_the_event_loop(rig, plant, loop_watch):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    async with loop_watch:
        await losses.step(plant.stop)
        await losses.search(plant.stop)
    assert 0 < loop_watch.longest < 0.02


async def test_results_and_revisions_survive_a_restart(rig, plant):
    plant.write_all()
    losses = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await losses.step(plant.stop)
    again = make_losses(rig.context, worker=rig.worker, settings=LossSettings())
    await again.step(plant.stop)
    assert rig.value(f"{A1}/Rev") == 1
