"""The live topology at work: positions in, results and conditions out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from peers.twin.bench import ENGINEER, Bench
from peers.waiting import until

from address_space.point import Point
from address_space.quality import Quality, StatusCode
from twin_gateway.bench.twin_topology import tiled_grid
from twin_gateway.functions.contract import TwinFunction
from twin_gateway.functions.topology import Topology, make_topology
from twin_gateway.functions.topology_settings import TopologySettings
from twin_gateway.grid.model import Grid, Position
from twin_gateway.grid.yaml_grid import read_grid

GRID = """\
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 12.66 kV}
types: {cable: {r: 0.1 ohm, x: 0.1 ohm}}
equipment:
  PS01/MV1/_/SRC1: {class: EnergySource, node: PS01/MV1/_/CN1}
  PS02/MV1/_/SRC1: {class: EnergySource, node: PS02/MV1/_/CN1}
  PS01/MV1/F01/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L01/MV1/_/CN1]}
  L01/MV1/_/WB1: {class: ACLineSegment, nodes: [L01/MV1/_/CN1, L01/MV1/_/CN2], type: cable}
  RMU02/MV1/C01/QB1: {class: LoadBreakSwitch, nodes: [L01/MV1/_/CN2, RMU02/MV1/_/CN1]}
  RMU02/MV1/C01/QC1: {class: GroundDisconnector, node: L01/MV1/_/CN2}
  RMU02/MV1/T01/LD1: {class: EnergyConsumer, node: RMU02/MV1/_/CN1, p: 100 kW, customers: 40}
  RMU02/MV1/C02/QB1: {class: LoadBreakSwitch, nodes: [RMU02/MV1/_/CN1, L02/MV1/_/CN1], normal: open}
  L02/MV1/_/WB1: {class: ACLineSegment, nodes: [L02/MV1/_/CN1, L02/MV1/_/CN2], type: cable}
  PS02/MV1/F01/QA1: {class: Breaker, nodes: [PS02/MV1/_/CN1, L02/MV1/_/CN2]}
measurements:
  RMU02/MV1/_/_/MMXU1/PPV/phsAB: {at: RMU02/MV1/C01/QB1, terminal: 2}
feeders:
  PS01/MV1/F01: {head: PS01/MV1/F01/QA1}
  PS02/MV1/F01: {head: PS02/MV1/F01/QA1}
"""
N = "dso1/north/"
F1, F2 = N + "PS01/MV1/F01", N + "PS02/MV1/F01"
HEAD1, HEAD2 = F1 + "/QA1/XCBR1/Pos", F2 + "/QA1/XCBR1/Pos"
SECTION, TIE = N + "RMU02/MV1/C01/QB1/XSWI1/Pos", N + "RMU02/MV1/C02/QB1/XSWI1/Pos"
EARTH = N + "RMU02/MV1/C01/QC1/XSWI1/Pos"
PRESENT, VOLTAGE = N + "RMU02/MV1/C01/_/SVPI1/Prs", N + "RMU02/MV1/_/_/MMXU1/PPV/phsAB"
BUS, UNIT, CABLE = N + "PS01/MV1/_/CN1", N + "RMU02/MV1/_/CN1", N + "L01/MV1/_/CN2"
NORMAL = {HEAD1: 2, HEAD2: 2, SECTION: 2, TIE: 1, EARTH: 1, PRESENT: True, VOLTAGE: 12_660.0}
AREA = N + "_/_/_/_/twTOPO1"


def grid_of(tmp_path: Path) -> Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    grid, problems = read_grid([path])
    assert grid is not None, problems
    return grid


@asynccontextmanager
async def at_work(
    tmp_path: Path, settings: TopologySettings | None = None, *, without: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Bench, Topology]]:
    points = {point: "rtu" for point in NORMAL if point not in without}
    bench = Bench(tmp_path, points, grid_of(tmp_path))
    topology = make_topology(bench.context, settings)
    assert isinstance(topology.name, str)
    function: TwinFunction = topology
    bench.write({point: value for point, value in NORMAL.items() if point in points})
    task = asyncio.create_task(function.run())
    try:
        await until(lambda: bench.value(f"{AREA}/UnkCnt") is not None)
        await settle()
        yield bench, topology
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def write(bench: Bench, values: dict[str, float], quality: int = 0) -> None:
    bench.write(values, quality)
    await settle()


def codes(bench: Bench) -> list[tuple[str, str, str]]:
    return [(event.code, event.state, event.address) for event in bench.told()]


async def test_results_say_what_feeds_each_node(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        assert bench.value(f"{UNIT}/twTOPO1/Energised") is True
        assert bench.value(f"{UNIT}/twTOPO1/FedFrom") == F1
        assert bench.value(f"{BUS}/twTOPO1/FedFrom") == N + "PS01/MV1/_/SRC1"
        assert bench.value(f"{UNIT}/twTOPO1/Island") == bench.value(f"{BUS}/twTOPO1/Island")
        assert [bench.value(f"{AREA}/{name}") for name in ("DeadCnt", "LoopCnt", "IslCnt", "UnkCnt")] == [0, 0, 2, 0]


async def test_a_switch_change_moves_results_and_only_those_that_change(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        bench.journal.take()
        await write(bench, {SECTION: 1})
        assert bench.value(f"{UNIT}/twTOPO1/Energised") is False
        assert bench.value(f"{UNIT}/twTOPO1/FedFrom") == ""
        assert bench.value(f"{AREA}/DeadCnt") == 1
        written = {bench.table.address(int(row)) for chunk in bench.journal.take() for row in chunk.rows}
        assert written == {
            SECTION,
            f"{AREA}/DeadCnt",
            *(f"{UNIT}/twTOPO1/{n}" for n in ("Energised", "Island", "FedFrom")),
        }


async def test_results_have_the_time_of_the_newest_position(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        bench.advance(60.0)
        await write(bench, {SECTION: 1})
        table = bench.table
        row, cause = table.find(f"{UNIT}/twTOPO1/Energised"), table.find(SECTION)
        assert table.source_time[row] == table.source_time[cause]


async def test_a_position_that_is_not_good_is_unknown_and_makes_results_uncertain(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, topology):
        await write(bench, {SECTION: 2}, int(Quality.QUESTIONABLE | Quality.OLD_DATA))
        assert topology.position(N + "RMU02/MV1/C01/QB1") is Position.UNKNOWN
        assert bench.value(f"{UNIT}/twTOPO1/Uncertain") is True
        sample = bench.table.sample(bench.table.find(f"{UNIT}/twTOPO1/Energised"))
        assert sample.value is True
        assert sample.status == StatusCode.Uncertain
        assert bench.value(f"{AREA}/UnkCnt") == 1
        assert bench.table.status[bench.table.find(f"{CABLE}/twTOPO1/Energised")] == StatusCode.Good


async def test_a_lost_link_makes_its_switches_unknown_and_its_return_known_again(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, topology):
        bench.table.link_lost("rtu")
        await settle()
        assert len(topology.live.unknown) == 5
        await write(bench, {point: value for point, value in NORMAL.items() if point.endswith("Pos")})
        assert len(topology.live.unknown) == 0
        assert bench.value(f"{UNIT}/twTOPO1/Uncertain") is False


async def test_a_loop_between_two_sources_is_told_for_both_feeders(tmp_path: Path) -> None:
    async with at_work(tmp_path, TopologySettings(alarm_delay=5.0)) as (bench, _):
        await write(bench, {TIE: 2})
        assert ("T02", "active", F1) not in codes(bench)
        bench.advance(6.0)
        bench.alarms.tick()
        told = {(event.address, event.text) for event in bench.told() if event.code == "T02"}
        assert told == {(F1, "sources in parallel"), (F2, "sources in parallel")}
        assert bench.value(f"{AREA}/LoopCnt") == 7
        await write(bench, {TIE: 1})
        assert ("T02", "inactive", F1) in codes(bench)


async def test_customers_without_supply_are_told_for_their_normal_feeder(tmp_path: Path) -> None:
    async with at_work(tmp_path, TopologySettings(dead_customers=39, alarm_delay=0.1)) as (bench, _):
        await write(bench, {HEAD1: 1, PRESENT: False, VOLTAGE: 0.0})
        bench.advance(1.0)
        bench.alarms.tick()
        assert [(e.address, e.text) for e in bench.told() if e.code == "T02"] == [(F1, "40 customers without supply")]


async def test_few_customers_without_supply_are_no_alarm(tmp_path: Path) -> None:
    async with at_work(tmp_path, TopologySettings(dead_customers=40, alarm_delay=0.1)) as (bench, _):
        await write(bench, {HEAD1: 1, PRESENT: False, VOLTAGE: 0.0})
        bench.advance(1.0)
        bench.alarms.tick()
        assert "T02" not in {event.code for event in bench.told()}


async def test_an_unknown_switch_is_told_for_its_feeders(tmp_path: Path) -> None:
    async with at_work(tmp_path, TopologySettings(alarm_delay=0.1)) as (bench, _):
        await write(bench, {SECTION: 0})
        bench.advance(1.0)
        bench.alarms.tick()
        assert [(e.address, e.text) for e in bench.told() if e.code == "T02"] == [(F1, "1 switch of unknown position")]


async def test_voltage_in_a_dead_part_is_an_unintended_island(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {SECTION: 1})
        bench.advance(10.0)
        bench.alarms.tick()
        assert ("P09", "active", VOLTAGE) in codes(bench)
        await write(bench, {VOLTAGE: 3.0})
        assert ("P09", "inactive", VOLTAGE) in codes(bench)


async def test_voltage_presence_at_a_dead_cable_is_an_unintended_island(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {HEAD1: 1, SECTION: 1, VOLTAGE: 0.0})
        bench.advance(10.0)
        bench.alarms.tick()
        assert [entry for entry in codes(bench) if entry[0] == "P09"] == [("P09", "active", PRESENT)]


async def test_voltage_that_is_not_good_says_nothing(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        bench.write({VOLTAGE: 12_660.0}, int(Quality.INVALID))
        await write(bench, {SECTION: 1})
        bench.advance(10.0)
        bench.alarms.tick()
        assert "P09" not in {event.code for event in bench.told()}


async def test_where_an_unknown_switch_may_feed_voltage_is_no_unintended_island(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {SECTION: 3})
        bench.advance(60.0)
        bench.alarms.tick()
        assert "P09" not in {event.code for event in bench.told()}


async def test_an_earthing_switch_closed_on_voltage_is_told_at_once(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {EARTH: 2})
        events = [event for event in bench.told() if event.code == "S08"]
        assert [(event.state, event.severity) for event in events] == [("active", 990)]
        assert bench.value(f"{CABLE}/twTOPO1/Earthed") is True
        await write(bench, {EARTH: 1})
        assert ("S08", "inactive", N + "RMU02/MV1/C01/QC1") in codes(bench)


async def test_an_earthing_switch_on_a_dead_cable_is_told_only_when_it_is_measured_live(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {HEAD1: 1, SECTION: 1, PRESENT: False})
        await write(bench, {EARTH: 2})
        assert "S08" not in {event.code for event in bench.told()}
        await write(bench, {PRESENT: True})
        assert "S08" in {event.code for event in bench.told()}


async def test_a_switch_out_of_its_normal_position_is_listed_until_it_is_back(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, topology):
        switch = N + "RMU02/MV1/C01/QB1"
        await write(bench, {SECTION: 1})
        assert not bench.alarms.holds("S03", switch)  # a reclosing is over sooner
        bench.advance(11.0)
        bench.alarms.tick()
        assert ("S03", "active", switch) in codes(bench)
        found = await topology.call(topology.owner, "Deviations", [], ENGINEER)
        assert found.outputs == ([switch], [1], [2])
        await write(bench, {SECTION: 0})
        assert bench.alarms.holds("S03", switch)  # unknown says neither
        await write(bench, {SECTION: 2})
        assert ("S03", "inactive", switch) in codes(bench)


async def test_a_position_that_stays_intermediate_is_told_after_ten_seconds(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, _):
        await write(bench, {SECTION: 0})
        bench.advance(9.0)
        bench.alarms.tick()
        assert "S02" not in {event.code for event in bench.told()}
        bench.advance(2.0)
        bench.alarms.tick()
        assert ("S02", "active", SECTION) in codes(bench)
        await write(bench, {SECTION: 2})
        assert ("S02", "inactive", SECTION) in codes(bench)


async def test_a_switch_without_its_point_is_unknown_and_named_once(tmp_path: Path) -> None:
    async with at_work(tmp_path, without=(TIE,)) as (bench, topology):
        assert topology.position(N + "RMU02/MV1/C02/QB1") is Position.UNKNOWN
        told = [event for event in bench.told() if event.code == "G01"]
        assert len(told) == 1
        assert "RMU02/MV1/C02/QB1" in told[0].text


async def test_a_switch_without_its_point_may_be_taken_as_normal(tmp_path: Path) -> None:
    async with at_work(tmp_path, TopologySettings(without_point="normal"), without=(TIE,)) as (_, topology):
        assert topology.position(N + "RMU02/MV1/C02/QB1") is Position.OPEN


async def test_fed_from_answers_for_nodes_and_equipment(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, topology):
        await write(bench, {SECTION: 1, TIE: 2})
        found = await topology.call(topology.owner, "FedFrom", [N + "RMU02/MV1/T01/LD1"], ENGINEER)
        assert found.status == StatusCode.Good
        assert found.outputs == ([N + "PS02/MV1/_/SRC1"], [F2], [F1], True, False, False, False)


async def test_a_trace_names_all_equipment_to_the_source(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (bench, topology):
        found = await topology.call(topology.owner, "Trace", [N + "RMU02/MV1/T01/LD1"], ENGINEER)
        names = ["RMU02/MV1/T01/LD1", "RMU02/MV1/C01/QB1", "L01/MV1/_/WB1", "PS01/MV1/F01/QA1", "PS01/MV1/_/SRC1"]
        assert found.outputs == ([N + name for name in names],)
        await write(bench, {SECTION: 1})
        found = await topology.call(topology.owner, "Trace", [UNIT], ENGINEER)
        assert found.outputs == ([],)


async def test_neighbours_are_the_switches_around(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (_, topology):
        found = await topology.call(topology.owner, "Neighbours", [UNIT], ENGINEER)
        names = [N + "RMU02/MV1/C01/QB1", N + "RMU02/MV1/C02/QB1"]
        assert found.outputs == (names, [2, 1], [N + "L01/MV1/_/CN1", N + "L02/MV1/_/CN1"], [True, True])


async def test_an_address_outside_the_grid_has_all_outputs_and_no_match(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (_, topology):
        for spec in topology.specs():
            if spec.inputs:
                found = await topology.call(topology.owner, spec.name, ["dso1/nowhere"], ENGINEER)
                assert found.status == StatusCode.BadNoMatch
                assert len(found.outputs) == len(spec.outputs)


async def test_switches_added_later_are_taken_up(tmp_path: Path) -> None:
    async with at_work(tmp_path, without=(TIE,)) as (bench, topology):
        late = Bench(tmp_path, {TIE: "rtu"}).table.profile(0)
        bench.table.add([Point(TIE, late, "rtu", 99)])
        await write(bench, {TIE: 1})
        assert topology.position(N + "RMU02/MV1/C02/QB1") is Position.OPEN


async def test_the_event_loop_goes_on_while_a_large_grid_is_published(tmp_path: Path) -> None:
    grid = tiled_grid(2, 6, 36)
    bench = Bench(tmp_path, {rating.position: "rtu" for _, rating in grid.switches()}, grid)
    topology = make_topology(bench.context)
    task = asyncio.create_task(topology.run())
    turns = 0
    while bench.value(f"{AREA}/UnkCnt") is None:
        await asyncio.sleep(0)
        turns += 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert turns > 6
    assert bench.value(f"{AREA}/UnkCnt") == len(topology.live.graph.devices)
