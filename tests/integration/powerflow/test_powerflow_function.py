"""The power flow function on a real point table: results, conditions, methods, and the event loop that stays free."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest
from peers.twin.bench import ENGINEER, Bench
from peers.waiting import until

from address_space.quality import Quality, StatusCode
from twin_gateway.functions.powerflow import make_powerflow
from twin_gateway.functions.powerflow_settings import PowerFlowSettings
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Grid,
    LineData,
    LoadData,
    Measurement,
    Position,
    Quantity,
    SourceData,
    SwitchRating,
)
from twin_gateway.grid.powerflow import FlowModel

AREA = "dso1/north"
OWNER = f"{AREA}/_/_/_/_/twTOPO1"
BUSES = 6
FAST = PowerFlowSettings(every=0.2, alarm_delay=0.001)


def node(k):
    return f"{AREA}/RMU{k:02}/MV1/_/CN1"


def line(k):
    return f"{AREA}/L{k:02}/MV1/_/WB1"


def switch(k):
    return f"{AREA}/RMU{k:02}/MV1/C{k:02}/QB1"


def load(k):
    return f"{AREA}/RMU{k:02}/MV1/T01/LD1"


def at_load(k, quantity):
    return f"{AREA}/RMU{k:02}/MV1/T01/_/MMXU1/{quantity}"


def at_switch(k, quantity):
    return f"{AREA}/RMU{k:02}/MV1/C{k:02}/_/MMXU1/{quantity}"


def position(k):
    return f"{switch(k)}/XSWI1/Pos"


def grid():
    """A source and a row of five ring-main units, each with a load; a switch at the beginning of every line."""
    result = Grid()
    result.add(ConnectivityNode(node(k), 10e3) for k in range(1, BUSES + 1))
    result.add([Equipment(f"{AREA}/PS01/MV1/_/SRC1", CimClass.SOURCE, (node(1),), SourceData(1.0))])
    names = {"TotW": Quantity.P, "TotVAr": Quantity.Q}
    for k in range(1, BUSES):
        middle = f"{AREA}/L{k:02}/MV1/_/CN1"
        result.add([ConnectivityNode(middle, 10e3)])
        rating = SwitchRating(position=position(k))
        result.add(
            [
                Equipment(switch(k), CimClass.LOAD_BREAK_SWITCH, (node(k), middle), rating),
                Equipment(line(k), CimClass.LINE, (middle, node(k + 1)), LineData(0.5, 0.3, i_max=200.0)),
                Equipment(load(k + 1), CimClass.LOAD, (node(k + 1),), LoadData(300e3, 100e3)),
            ]
        )
        for name, quantity in names.items():
            for point, where in ((at_switch(k, name), switch(k)), (at_load(k + 1, name), load(k + 1))):
                result.measurements[point] = Measurement(point, quantity, where)
        volts = at_load(k + 1, "PhV/phsA")
        result.measurements[volts] = Measurement(volts, Quantity.V, load(k + 1), phase="A", accuracy=0.005)
    return result


def live(model, scale):
    """What the points show when every load draws a part of its nominal power."""
    state = model.solve(scale=scale)
    values = {}
    for k in range(1, BUSES):
        flow, drawn = state.of(switch(k)), state.load(load(k + 1))
        values |= {at_switch(k, "TotW"): flow.p_from, at_switch(k, "TotVAr"): flow.q_from}
        values |= {at_load(k + 1, "TotW"): drawn.real, at_load(k + 1, "TotVAr"): drawn.imag}
        values[at_load(k + 1, "PhV/phsA")] = state.v(node(k + 1)) * 10e3 / math.sqrt(3)
        values[position(k)] = Position.CLOSED
    return state, values


@pytest.fixture
async def rig(tmp_path):
    """(bench, function, running) with all values live at 0.6 of the nominal loads."""
    model = grid()
    points = dict.fromkeys([*model.measurements, *(position(k) for k in range(1, BUSES))], "rtu")
    bench = Bench(tmp_path, points, model)
    function = make_powerflow(bench.context, FAST)
    state, values = live(FlowModel(model), 0.6)
    bench.write(values)
    task = asyncio.create_task(function.run())
    try:
        await until(lambda: function.last is not None)
        yield bench, function, state
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def number(bench, address):
    row = bench.table.find(address)
    assert row >= 0, address
    return bench.table.value(row)


async def test_totals_of_the_area_come_from_the_live_values(rig):
    bench, _, state = rig
    await until(lambda: number(bench, f"{OWNER}/LosW") is not None)
    assert number(bench, f"{OWNER}/PFConv") is True
    assert number(bench, f"{OWNER}/SEObs") is True
    assert number(bench, f"{OWNER}/BadCnt") == 0
    assert number(bench, f"{OWNER}/LosW") == pytest.approx(state.total_loss.real, rel=1e-3)
    assert number(bench, f"{OWNER}/VMin") == pytest.approx(state.lowest[0], abs=1e-5)
    assert number(bench, f"{OWNER}/AMaxPct") == pytest.approx(100 * state.highest_loading[0], rel=1e-3)


async def test_estimates_stand_at_the_equipment_and_are_marked_as_estimated(rig):
    bench, _, state = rig
    address = f"{line(3)}/twMMXU1/TotW"
    await until(lambda: number(bench, address) is not None)
    assert number(bench, address) == pytest.approx(state.of(line(3)).p_from, rel=1e-3)
    assert number(bench, f"{line(3)}/twMMXU1/AvAPhs") == pytest.approx(state.of(line(3)).current, rel=1e-3)
    phase = state.v(node(4)) * 10e3 / math.sqrt(3)
    assert number(bench, f"{load(4)}/twMMXU1/AvPhVPhs") == pytest.approx(phase, rel=1e-4)
    sample = bench.table.sample(bench.table.find(address))
    assert sample.quality & Quality.ESTIMATED
    assert sample.status == StatusCode.UncertainSubstituteValue


async def test_the_quality_of_the_inputs_reaches_the_results(rig):
    bench, _, _ = rig
    _, values = live(FlowModel(bench.context.grid), 0.7)
    bench.write(values, quality=int(Quality.TEST))
    row = bench.table.find(f"{OWNER}/PFConv")
    await until(lambda: bench.table.sample(row).quality & Quality.TEST)
    assert bench.table.sample(row).status == StatusCode.UncertainSimulatedValue


async def test_a_bad_value_is_told_with_its_residual_and_again_when_it_is_over(rig):
    bench, _, state = rig
    bench.told()
    bench.write({at_load(4, "TotW"): -500e3})
    await until(lambda: ("T03", at_load(4, "TotW")) in bench.alarms._alarms)
    bench.advance(1)
    bench.alarms.tick()
    assert ("T03", at_load(4, "TotW")) in bench.codes()
    event = next(event for event in bench.told() if event.code == "T03")
    assert event.value == pytest.approx(-500e3)
    assert float(dict(event.details)["residual"]) > 4
    assert float(dict(event.details)["estimated"]) == pytest.approx(state.load(load(4)).real, rel=0.02)
    await until(lambda: number(bench, f"{OWNER}/BadCnt") == 1)
    bench.write({at_load(4, "TotW"): state.load(load(4)).real})
    await until(lambda: not bench.codes())
    assert [event.state for event in bench.told() if event.code == "T03"] == ["inactive"]


async def test_a_switch_that_opens_brings_a_computation_at_once(tmp_path):
    model = grid()
    points = dict.fromkeys([*model.measurements, *(position(k) for k in range(1, BUSES))], "rtu")
    bench = Bench(tmp_path, points, model)
    function = make_powerflow(bench.context, PowerFlowSettings(every=30.0))
    bench.write({position(k): Position.CLOSED for k in range(1, BUSES)})
    task = asyncio.create_task(function.run())
    try:
        await until(lambda: function.last is not None)
        assert function.last.energised.all()
        bench.write({position(3): Position.OPEN})
        await until(lambda: not function.last.energised.all(), 3.0)
        await until(lambda: number(bench, f"{line(3)}/twMMXU1/TotW") == 0)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_position_that_is_not_good_makes_what_is_behind_it_unknown(rig):
    bench, function, _ = rig
    bench.write({position(3): 0}, quality=int(Quality.INVALID))
    await until(lambda: not function.last.observable)
    assert any(switch(3) in why for _, _, why in function.last.islands)
    bench.advance(1)
    bench.alarms.tick()
    assert ("T05", AREA) in bench.codes()
    await until(lambda: number(bench, f"{OWNER}/SEObs") is False)


async def test_without_live_values_nominal_loads_give_a_power_flow_and_no_estimate(rig):
    bench, function, _ = rig
    bench.table.comm_lost(bench.table.rows_of_link("rtu")[: len(bench.context.grid.measurements)])
    await until(lambda: not function.last.observable)
    assert function.last.feasible
    assert function.last.islands[0][2] == "nothing is measured"
    assert function.last.notes[-1] == "0 of 5 loads and generators are measured"


async def test_a_power_flow_without_a_solution_publishes_no_numbers(rig):
    bench, function, _ = rig
    values = {at_load(k, "TotW"): 90e6 for k in range(2, BUSES + 1)}
    bench.table.comm_lost(bench.table.rows_of_link("rtu")[: len(bench.context.grid.measurements)])
    bench.write(values)
    await until(lambda: not function.last.feasible and function.last.state is None)
    bench.advance(1)
    bench.alarms.tick()
    assert ("T04", AREA) in bench.codes()
    row = bench.table.find(f"{OWNER}/LosW")
    await until(lambda: bench.table.sample(row).status & 0x8000_0000)
    assert number(bench, f"{OWNER}/PFConv") is False


async def test_the_method_power_flow_gives_totals_and_tables(rig):
    _, function, state = rig
    answer = await function.call(OWNER, "PowerFlow", [], ENGINEER)
    spec = next(spec for spec in function.specs() if spec.name == "PowerFlow")
    assert answer.status == StatusCode.Good
    assert len(answer.outputs) == len(spec.outputs)
    outputs = dict(zip((output.name for output in spec.outputs), answer.outputs, strict=True))
    assert outputs["feasible"] is True
    assert outputs["loss"] == pytest.approx(state.total_loss.real, rel=1e-6)
    assert outputs["lowestAt"] == node(BUSES)
    assert outputs["highestAt"] == line(1)
    flows = dict(zip(outputs["branch"], outputs["w"], strict=True))
    assert flows[switch(2)] == pytest.approx(state.of(switch(2)).p_from, rel=1e-6)
    assert dict(zip(outputs["node"], outputs["v"], strict=True))[node(3)] == pytest.approx(state.v(node(3)))


async def test_the_method_estimate_names_bad_and_unused_values(rig):
    bench, function, _ = rig
    bench.write({at_switch(2, "TotVAr"): 5e6})
    answer = await function.call(OWNER, "Estimate", [], ENGINEER)
    spec = next(spec for spec in function.specs() if spec.name == "Estimate")
    assert len(answer.outputs) == len(spec.outputs)
    outputs = dict(zip((output.name for output in spec.outputs), answer.outputs, strict=True))
    assert outputs["bad"][0] == at_switch(2, "TotVAr")
    assert outputs["badResidual"][0] > 4
    assert outputs["islandObservable"] == [True]
    assert outputs["unused"] == []
    bench.write({position(5): Position.OPEN})
    answer = await function.call(OWNER, "Estimate", [], ENGINEER)
    outputs = dict(zip((output.name for output in spec.outputs), answer.outputs, strict=True))
    assert dict(zip(outputs["unused"], outputs["unusedWhy"], strict=True))[at_switch(5, "TotW")] == "its switch is open"


async def test_another_method_is_refused(rig):
    _, function, _ = rig
    assert (await function.call(OWNER, "Guess", [], ENGINEER)).status == StatusCode.BadMethodInvalid


async def test_a_grid_that_lacks_data_is_refused_in_words_and_does_not_stop_the_gateway(tmp_path):
    model = grid()
    model.equipment[line(2)] = Equipment(line(2), CimClass.LINE, model.equipment[line(2)].nodes)
    bench = Bench(tmp_path, {}, model)
    function = make_powerflow(bench.context, FAST)
    task = asyncio.create_task(function.run())
    await until(lambda: number(bench, f"{OWNER}/PFConv") is False)
    assert ("T04", AREA) in bench.codes()
    answer = await function.call(OWNER, "PowerFlow", [], ENGINEER)
    assert answer.status == StatusCode.BadConfigurationError
    assert line(2) in answer.text
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_large_grid_is_computed_beside_the_event_loop(tmp_path):
    from twin_gateway.bench.twin_topology import tiled_grid

    model = tiled_grid(stations=2, feeders=8, sections=20)
    assert len(model.nodes) > 600
    bench = Bench(tmp_path, {}, model)
    function = make_powerflow(bench.context, PowerFlowSettings(every=0.3), assume_normal=True)
    loop, gaps = asyncio.get_running_loop(), [0.0]
    task = asyncio.create_task(function.run())
    try:
        await until(lambda: function.last is not None, 30.0)
        before = loop.time()
        for _ in range(150):
            await asyncio.sleep(0.005)
            gaps.append(loop.time() - before - 0.005)
            before = loop.time()
        assert function.last.feasible
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    # Another process may take the processor away; the median of the worst ones is the function's own.
    assert sorted(gaps)[-4] < 0.02
