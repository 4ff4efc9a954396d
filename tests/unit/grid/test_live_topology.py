"""Live topology: islands, supply, earthing, loops; unknown positions both ways; incremental equals computed anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.grid.cycles import on_cycle
from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Feeder,
    Grid,
    LineData,
    LoadData,
    Position,
    SourceData,
    SwitchRating,
)
from twin_gateway.grid.topology import LiveTopology, as_positions, customers_in
from twin_gateway.grid.zones import ZoneGraph, zone_graph

OPEN, CLOSED, UNKNOWN = Position.OPEN, Position.CLOSED, Position.UNKNOWN


def make(
    count: int,
    lines: list[tuple[int, int]],
    switches: list[tuple[int, int, bool]],
    sources: list[int],
    *,
    earths: list[int] = [],  # noqa: B006 - never changed
    heads: list[int] = [],  # noqa: B006 - never changed
) -> Grid:
    """A grid from numbers: nodes n0…, lines L0…, switches S0… (open or not), earthing switches E0…, feeders F0…."""
    grid = Grid()
    grid.add(ConnectivityNode(f"n{i}", 10e3) for i in range(count))
    grid.add(Equipment(f"L{i}", CimClass.LINE, (f"n{a}", f"n{b}"), LineData(1, 1)) for i, (a, b) in enumerate(lines))
    grid.add(
        Equipment(f"S{i}", CimClass.BREAKER, (f"n{a}", f"n{b}"), SwitchRating(normal_open=opened))
        for i, (a, b, opened) in enumerate(switches)
    )
    grid.add(Equipment(f"G{i}", CimClass.SOURCE, (f"n{a}",), SourceData()) for i, a in enumerate(sources))
    grid.add(
        Equipment(f"E{i}", CimClass.GROUND_DISCONNECTOR, (f"n{a}",), SwitchRating(normal_open=True))
        for i, a in enumerate(earths)
    )
    grid.add(Equipment(f"D{i}", CimClass.LOAD, (f"n{i}",), LoadData(1, 0, customers=i)) for i in range(count))
    for i, head in enumerate(heads):
        grid.feeders[f"F{i}"] = Feeder(f"F{i}", f"S{head}")
    return grid


# Two stations n0 and n5; feeder F0: n0 =S0= n1 -L- n2 =S1= n3, feeder F1: n5 =S3= n4; tie S2 between n3 and n4.
RING = make(
    6,
    [(1, 2)],
    [(0, 1, False), (2, 3, False), (3, 4, True), (5, 4, False)],
    [0, 5],
    earths=[3],
    heads=[0, 3],
)


def at(live: LiveTopology, node: str) -> int:
    return live.graph.zone_of(node)


def test_nodes_joined_by_other_equipment_than_switches_are_one_zone() -> None:
    graph = zone_graph(RING)
    assert graph.zone_count == 5
    assert graph.members(graph.zone_of("n1")) == ("n1", "n2")
    assert graph.zone_of("L0") == graph.zone_of("n2")
    assert graph.zone_of("nowhere") == -1


def test_in_normal_state_each_feeder_is_fed_by_its_head() -> None:
    live = LiveTopology.of(RING)
    assert live.energised.all()
    assert not live.looped.any()
    assert not live.uncertain.any()
    assert str(live.feed(at(live, "n3"))) == "F0"
    assert str(live.feed(at(live, "n4"))) == "F1"
    assert str(live.feed(at(live, "n0"))) == "G0"
    assert live.feed(at(live, "n3")).sources == ("G0",)


def test_what_is_behind_an_open_switch_is_dead() -> None:
    live = LiveTopology.of(RING).tried({"S1": OPEN})
    assert not live.energised[at(live, "n3")]
    assert live.energised[at(live, "n2")]
    assert str(live.feed(at(live, "n3"))) == ""
    assert customers_in(live.graph, ~live.energised) == 3


def test_after_a_transfer_the_other_feeder_feeds() -> None:
    live = LiveTopology.of(RING).tried({"S1": OPEN, "S2": CLOSED})
    assert str(live.feed(at(live, "n3"))) == "F1"
    assert live.feed(at(live, "n3")).sources == ("G1",)
    assert not live.looped.any()


def test_a_closed_tie_between_two_sources_is_a_loop_on_all_of_the_way() -> None:
    live = LiveTopology.of(RING).tried({"S2": CLOSED})
    assert live.looped.all()
    assert str(live.feed(at(live, "n3"))) == "F0,F1"


def test_only_what_is_on_the_loop_is_looped() -> None:
    grid = make(5, [], [(0, 1, False), (1, 2, False), (2, 3, False), (3, 1, True), (2, 4, False)], [0])
    live = LiveTopology.of(grid).tried({"S3": CLOSED})
    assert [bool(live.looped[at(live, f"n{i}")]) for i in range(5)] == [False, True, True, True, False]


def test_a_switch_that_bridges_equipment_makes_a_loop() -> None:
    live = LiveTopology.of(make(2, [(0, 1)], [(0, 1, True)], [0]))
    assert not live.looped.any()
    assert live.tried({"S0": CLOSED}).looped.all()


def test_parallel_lines_without_switches_are_a_loop() -> None:
    assert LiveTopology.of(make(2, [(0, 1), (1, 0)], [], [0])).looped.all()


def test_two_sources_at_one_busbar_are_no_loop() -> None:
    live = LiveTopology.of(make(1, [], [], [0, 0]))
    assert not live.looped.any()
    assert live.feed(0).sources == ("G0", "G1")


def test_an_unknown_tie_makes_the_way_between_the_sources_uncertain_and_calls_nothing_dead() -> None:
    live = LiveTopology.of(RING).tried({"S2": UNKNOWN})
    assert live.energised.all()
    assert live.uncertain.all()
    assert live.looped.all()
    assert not live.dark.looped.any()


def test_behind_an_unknown_switch_supply_is_uncertain_and_not_dead() -> None:
    live = LiveTopology.of(RING).tried({"S1": UNKNOWN})
    zone = at(live, "n3")
    assert live.uncertain[zone]
    assert live.energised[zone]
    assert not live.dark.energised[zone]
    assert not live.uncertain[at(live, "n2")]
    assert live.unknown.tolist() == [live.graph.device["S1"]]


def test_an_earthing_switch_earths_its_island_only_when_it_is_known_to_be_closed() -> None:
    live = LiveTopology.of(RING).tried({"S1": OPEN, "E0": UNKNOWN})
    zone = at(live, "n3")
    assert (bool(live.earthed[zone]), bool(live.uncertain[zone])) == (False, True)
    live = live.tried({"E0": CLOSED})
    assert (bool(live.earthed[zone]), bool(live.earthed[at(live, "n2")])) == (True, False)
    assert live.tried({"S1": CLOSED}).earthed[at(live, "n2")]


def test_an_island_grows_when_an_unknown_switch_might_be_closed() -> None:
    live = LiveTopology.of(RING).tried({"S2": UNKNOWN})
    assert live.island_uncertain.all()
    assert len(set(live.dark.island.tolist())) == 2


def test_trying_changes_nothing() -> None:
    live = LiveTopology.of(RING)
    before = live.positions.copy()
    live.tried({"S0": OPEN})
    assert (live.positions == before).all()
    assert live.energised.all()


def test_the_same_position_again_is_no_change() -> None:
    live = LiveTopology.of(RING)
    assert not live.update(np.array([0]), np.array([CLOSED], np.int8))
    assert live.update(np.array([0]), np.array([OPEN], np.int8))


def test_deviations_are_known_positions_that_are_not_normal() -> None:
    live = LiveTopology.of(RING).tried({"S1": OPEN, "S0": UNKNOWN})
    assert [live.graph.devices[i] for i in live.deviating] == ["S1"]


def test_neighbours_are_switches_with_the_zone_behind() -> None:
    live = LiveTopology.of(RING)
    found = live.neighbours(at(live, "n3"))
    assert found == [("S1", CLOSED, at(live, "n2")), ("S2", OPEN, at(live, "n4"))]


def test_a_head_without_a_switch_is_no_feeder() -> None:
    grid = make(2, [(0, 1)], [], [0])
    grid.feeders["F0"] = Feeder("F0", "nothing")
    assert zone_graph(grid).feeders == ()


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    count = draw(st.integers(1, 9))
    node = st.integers(0, count - 1)
    lines = draw(st.lists(st.tuples(node, node).filter(lambda pair: pair[0] != pair[1]), max_size=5))
    pair = st.tuples(node, node, st.booleans())
    switches = draw(st.lists(pair.filter(lambda item: item[0] != item[1]), max_size=12))
    heads = draw(st.lists(st.integers(0, max(0, len(switches) - 1)), max_size=3, unique=True)) if switches else []
    sources = draw(st.lists(node, max_size=3))
    return make(count, lines, switches, sources, earths=draw(st.lists(node, max_size=2)), heads=heads)


def walk(graph: ZoneGraph, closed: list[bool], without: int = -1) -> list[set[int]]:
    """Islands by plain search."""
    left = set(range(graph.zone_count))
    out = []
    while left:
        island = {left.pop()}
        stack = list(island)
        while stack:
            here = stack.pop()
            for number, (a, b) in enumerate(graph.ends.tolist()):
                for near, far in ((a, b), (b, a)):
                    if closed[number] and number != without and near == here and far not in island:
                        island.add(far)
                        stack.append(far)
        left -= island
        out.append(island)
    return out


@settings(max_examples=120, deadline=None)
@given(grids(), st.data())
def test_incremental_equals_computed_anew(grid: Grid, data: st.DataObject) -> None:
    graph = zone_graph(grid)
    live = LiveTopology.of(graph)
    if not graph.devices:
        return
    for _ in range(6):
        numbers = data.draw(st.lists(st.integers(0, len(graph.devices) - 1), min_size=1, max_size=3))
        values = data.draw(st.lists(st.integers(0, 2), min_size=len(numbers), max_size=len(numbers)))
        live.update(np.array(numbers), np.array(values, np.int8))
        fresh = LiveTopology.of(graph, live.positions)
        for one, other in ((live.dark, fresh.dark), (live.light, fresh.light)):
            for name in ("closed", "section", "island", "energised", "earthed", "looped", "fed"):
                assert (getattr(one, name) == getattr(other, name)).all(), name
            assert one.feeds == other.feeds


@settings(max_examples=120, deadline=None)
@given(grids())
def test_the_arrays_say_what_a_plain_search_says(grid: Grid) -> None:
    graph = zone_graph(grid)
    live = LiveTopology.of(graph)
    closed = [bool(x) for x in live.dark.closed[: graph.switch_count]]
    islands = walk(graph, closed)
    sources = set(graph.source_zone.tolist())
    for island in islands:
        members = sorted(island)
        assert {int(live.dark.island[zone]) for zone in members} == {members[0]}
        assert all(live.dark.energised[zone] == bool(island & sources) for zone in members)
        # a zone is looped when a closed switch of it can be opened without parting it from the other end, where all
        # sources hang together behind the grid
        for zone in members:
            expected = bool(graph.meshed[zone])
            for number, (a, b) in enumerate(graph.ends.tolist()):
                if closed[number] and zone in (a, b):
                    after = walk(graph, closed, without=number)
                    side = next(part for part in after if a in part)
                    other = next(part for part in after if b in part)
                    expected |= b in side or bool(side & sources and other & sources)
            assert bool(live.dark.looped[zone]) == expected


def test_cycles_of_a_large_meshed_grid_are_found() -> None:
    # a comb: a ring of 40 vertices, each with a tail of 3
    ring = [(i, (i + 1) % 40) for i in range(40)]
    tails = [(i if k == 0 else 40 + 3 * i + k - 1, 40 + 3 * i + k) for i in range(40) for k in range(3)]
    edges = np.array(ring + tails)
    found = on_cycle(160, edges[:, 0], edges[:, 1])
    assert found[:40].all()
    assert not found[40:].any()


def test_two_rings_with_a_bridge_leave_the_bridge_out() -> None:
    edges = np.array([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 6), (6, 4)])
    assert np.flatnonzero(on_cycle(7, edges[:, 0], edges[:, 1])).tolist() == [0, 1, 2, 4, 5, 6]


def test_positions_by_address_are_refused_for_unknown_devices() -> None:
    with pytest.raises(KeyError):
        as_positions(zone_graph(RING), {"S9": OPEN})
