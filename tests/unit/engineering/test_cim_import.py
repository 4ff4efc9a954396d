"""Grid files of published CIM feeders: unique and lasting addresses, and the topology that is in the file."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from address_space.address import parse
from twin_gateway.cli import app
from twin_gateway.engineering.cim_import import import_cim
from twin_gateway.grid.model import Grid
from twin_gateway.grid.yaml_grid import read_grid

REFERENCE = os.environ.get("TWIN_REFERENCE_DATA")
reference = pytest.mark.skipif(REFERENCE is None, reason="TWIN_REFERENCE_DATA does not say where the CIM files are")
FILES = ("cim_IEEE13.xml", "cim_IEEE123.xml")
CIM, RDF = "{http://iec.ch/TC57/CIM100#}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def file(name: str) -> Path:
    return Path(REFERENCE or "") / "cim" / name


def grid_of(folder: Path, text: str) -> Grid:
    (folder / "grid.yaml").write_text(text, "utf-8")
    grid, problems = read_grid([folder / "grid.yaml"])
    assert grid is not None, problems
    return grid


def terminals(path: Path) -> dict[str, Counter[str]]:
    """mRID of equipment -> mRIDs of its connectivity nodes, straight from the XML."""
    out: dict[str, Counter[str]] = {}
    for item in ET.parse(path).getroot().iterfind(f"{CIM}Terminal"):
        ends = [
            re.sub(r".*#_?|urn:uuid:", "", found.get(f"{RDF}resource", "")).lower()
            for name in ("ConductingEquipment", "ConnectivityNode")
            if (found := item.find(f"{CIM}Terminal.{name}")) is not None
        ]
        assert len(ends) == 2
        out.setdefault(ends[0], Counter())[ends[1]] += 1
    return out


@reference
@pytest.mark.parametrize("name", FILES)
def test_the_topology_is_that_of_the_file(tmp_path: Path, name: str) -> None:
    grid = grid_of(tmp_path, import_cim([file(name)], grid="ieee").text)
    mrid = {address: node.mrid for address, node in grid.nodes.items()}
    made = {item.mrid: {mrid[node] for node in item.nodes} for item in grid.equipment.values()}
    in_file = {key: set(nodes) for key, nodes in terminals(file(name)).items()}
    assert set(mrid.values()) == set().union(*in_file.values())
    pairs = {key: nodes for key, nodes in in_file.items() if len(nodes) <= 2}
    assert {key: made.get(key) for key in pairs} == pairs
    # A transformer of more windings is pairs of them, all with its nodes.
    wide = [nodes for key, nodes in in_file.items() if key not in pairs]
    edges = [{mrid[node] for node in item.nodes} for item in grid.equipment.values() if item.mrid not in pairs]
    assert all(any(edge <= nodes for nodes in wide) for edge in edges)
    assert all(set().union(*(edge for edge in edges if edge <= nodes)) == nodes for nodes in wide)


@reference
@pytest.mark.parametrize("name", FILES)
def test_addresses_are_unique_and_do_not_depend_on_the_order_of_the_file(tmp_path: Path, name: str) -> None:
    text = import_cim([file(name)], grid="ieee").text
    grid = grid_of(tmp_path, text)
    addresses = [*grid.nodes, *grid.equipment]
    assert len({address.lower() for address in addresses}) == len(addresses)
    assert all(str(parse(address)) == address for address in addresses)
    tree = ET.parse(file(name))
    objects = list(tree.getroot())
    random.Random(5).shuffle(objects)
    tree.getroot()[:] = objects
    (tmp_path / "mixed").mkdir()
    tree.write(tmp_path / "mixed" / name, encoding="utf-8", xml_declaration=True)
    again = grid_of(tmp_path, import_cim([tmp_path / "mixed" / name], grid="ieee").text)
    assert {item.mrid: address for address, item in again.nodes.items()} == {
        item.mrid: address for address, item in grid.nodes.items()
    }
    assert {(a, i.mrid, i.nodes, i.phases) for a, i in again.equipment.items()} == {
        (a, i.mrid, i.nodes, i.phases) for a, i in grid.equipment.items()
    }
    assert import_cim([file(name)], grid="ieee").text == text


@reference
@pytest.mark.parametrize("name", FILES)
def test_addresses_do_not_depend_on_the_hashes_of_a_run(name: str) -> None:
    command = [sys.executable, "-m", "twin_gateway", "import", "cim", str(file(name)), "--grid", "ieee"]
    runs = [
        subprocess.Popen(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for seed in ("1", "4711")
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert b"grid_model: 1" in first
    assert first == second


@reference
def test_the_file_says_what_it_is_from_and_what_was_left_out(tmp_path: Path) -> None:
    to = tmp_path / "grid.yaml"
    result = CliRunner().invoke(app, ["import", "cim", str(file(FILES[0])), "--grid", "ieee", "--to", str(to)])
    assert result.exit_code == 0
    head = to.read_text("utf-8").split("grid_model:")[0]
    assert "Grid model of cim_IEEE13.xml" in head
    assert "22 TopologicalNode" in head
    assert "Location" in head
    again = CliRunner().invoke(app, ["import", "cim", str(file(FILES[0])), "--grid", "ieee", "--to", str(to)])
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no xml", "TG721"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "TG722"),
        ("<a/>", "TG724"),
        ('<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>', "TG724"),
    ],
)
def test_what_is_no_model_is_refused_with_file_and_line(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "grid.xml").write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["import", "cim", str(tmp_path / "grid.xml")])
    assert result.exit_code == 1
    assert "grid.xml:1:" in result.stderr
    assert code in result.stderr
