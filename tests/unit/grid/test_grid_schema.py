"""The JSON Schema of grid files: made of the reader's tables, and of one mind with the reader."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers.json_schema import Schema

from twin_gateway.grid.model import CimClass
from twin_gateway.grid.records import RECORDS
from twin_gateway.grid.schema import grid_schema
from twin_gateway.grid.yaml_grid import read_grid

MAPPINGS = Path(__file__).parents[3] / "mappings"
SMALL = """\
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 12.66 kV, LV1: 400 V}
types:
  cable: {class: ACLineSegment, r: 0.206 ohm/km, x: 0.122 ohm/km, i_max: 300 A}
  ring: {u1: 12.66 kV, u2: 400 V, s: 250 kVA, uk: 4 %, connection: Dyn5, tap: {A: 1, B: 1, C: 1.01}}
nodes:
  PS01/MV1/_/CN1: {nominal: 12.66 kV, name: busbar}
equipment:
  PS01/MV1/_/SRC1: {class: EnergySource, node: PS01/MV1/_/CN1, voltage: 1.0}
  PS01/MV1/F01/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L01/MV1/_/CN1], normal: closed, i_max: null}
  L01/MV1/_/WB1: {type: cable, nodes: [L01/MV1/_/CN1, TS01/MV1/_/CN1], length: 1.2 km}
  TS01/MV1/T01/TA1: {class: PowerTransformer, type: ring, nodes: [TS01/MV1/_/CN1, TS01/LV1/_/CN1]}
  TS01/LV1/_/LD1: {class: EnergyConsumer, node: TS01/LV1/_/CN1, p: {A: 1 kW, B: 2 kW, C: 0}, weight: hospital}
indicators: {PS01/MV1/F01/_/SFPI1/FltInd: {at: PS01/MV1/F01/QA1, terminal: 1}}
measurements: {PS01/MV1/F01/_/MMXU1/TotW: {at: PS01/MV1/F01/QA1, direction: -1, accuracy: 1 %}}
meters: {TS01/LV1/_/M0: {at: TS01/MV1/T01/TA1, terminal: 2, role: boundary, class: 0.5}}
feeders:
  PS01/MV1/F01: {head: PS01/MV1/F01/QA1, trip: PS01/MV1/F01/IED1/PTRC1/Tr, reclosing: none, pickup: 450 A}
"""
LINE, BREAKER = "L01/MV1/_/WB1", "PS01/MV1/F01/QA1"
Fault = Callable[[dict[str, Any]], Any]
WRONG: dict[str, Fault] = {
    "another version": lambda file: file.update(grid_model=2),
    "an unknown section": lambda file: file.update(equipmnt={}),
    "no class": lambda file: file["equipment"][BREAKER].pop("class"),
    "an unknown class": lambda file: file["equipment"][BREAKER].update({"class": "Breakr"}),
    "a field of another class": lambda file: file["equipment"][BREAKER].update(r="0.1 ohm"),
    "no nodes": lambda file: file["equipment"][BREAKER].pop("nodes"),
    "a number without its unit": lambda file: file["equipment"][BREAKER].update(i_max=300),
    "a unit of something else": lambda file: file["equipment"][BREAKER].update(i_max="300 V"),
    "a word that is none": lambda file: file["equipment"][BREAKER].update(normal="shut"),
    "too much": lambda file: file["equipment"]["PS01/MV1/_/SRC1"].update(voltage=15.0),
    "phases that are none": lambda file: file["equipment"][LINE].update(phases="RST"),
    "a field of a type that no class has": lambda file: file["types"]["cable"].update(colour="red"),
    "a meter nowhere": lambda file: file["meters"]["TS01/LV1/_/M0"].pop("at"),
    "a direction that is none": lambda file: file["measurements"]["PS01/MV1/F01/_/MMXU1/TotW"].update(direction=0),
    "no head": lambda file: file["feeders"]["PS01/MV1/F01"].pop("head"),
}


def read(folder: Path, content: dict[str, Any]) -> list[str]:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return [str(problem) for problem in read_grid([path])[1] if problem.severity == "error"]


def test_the_schema_file_for_editors_is_up_to_date() -> None:
    assert json.loads((MAPPINGS / "grid.schema.json").read_text("utf-8")) == grid_schema()


def test_the_grid_of_the_demo_is_valid_and_names_its_schema() -> None:
    text = (MAPPINGS / "demo" / "grid.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../grid.schema.json\n")
    assert Schema(grid_schema()).errors(yaml.safe_load(text)) == []


def test_the_schema_knows_every_field_of_every_class() -> None:
    definitions = grid_schema()["definitions"]
    for cim_class in CimClass:
        assert set(RECORDS[cim_class].fields) <= set(definitions[cim_class.value]["properties"])
    assert definitions["Breaker"]["properties"]["i_max"] != definitions["Breaker"]["properties"]["position"]


def test_what_the_reader_takes_is_valid(tmp_path: Path) -> None:
    content = yaml.safe_load(SMALL)
    assert read(tmp_path, content) == []
    assert Schema(grid_schema()).errors(content) == []


@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
def test_what_the_schema_refuses_the_reader_refuses_too(tmp_path: Path, fault: Fault) -> None:
    content = copy.deepcopy(yaml.safe_load(SMALL))
    fault(content)
    assert Schema(grid_schema()).errors(content)
    assert read(tmp_path, content)
