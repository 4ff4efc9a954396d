"""Ties of a feeder: to other feeders, and between its own branches."""

from __future__ import annotations

from pathlib import Path

from twin_gateway.grid.model import Position
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.twin.switchgear.feeder import FeederAreas

DEMO = Path(__file__).parents[3] / "mappings" / "demo" / "grid.yaml"
FEEDER = "dso1/north/PS01/MV1/F01"


def test_switches_that_rest_open_between_branches_of_one_feeder_are_ties() -> None:
    grid, _problems = read_grid([DEMO])
    assert grid is not None
    live = LiveTopology.of(grid)
    found = FeederAreas(grid, live.graph).downstream(live, FEEDER).ties
    resting = [name for name, position in grid.normal_positions().items() if position is Position.OPEN]
    assert sorted(tie.switch for tie in found) == sorted(name for name in resting if name.endswith("/QB1"))
    assert len(found) == 5
    assert {tie.other for tie in found} == {FEEDER}
