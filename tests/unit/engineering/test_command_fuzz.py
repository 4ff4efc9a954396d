"""Whatever stands in a file, a command ends with sentences and an exit code, never with a traceback.

`TWIN_FUZZ_FILES` says how many files of each kind are tried; what fails is shown with its content.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import scl_text as t
from cim_text import model
from mutated_files import mutated
from typer.testing import CliRunner

from twin_gateway.cli import app

FILES = int(os.environ.get("TWIN_FUZZ_FILES", "4"))
RUN = CliRunner()
ADDRESS = "g/north/PS01/MV1/F05/_/MMXU1/TotW"
STATION = """\
mapping: 1
grid: g
place: north/PS01
templates:
  bay:
    protocol: iec104
    params: {ioa: int}
    points:
      QA1/CSWI1/Pos: {ioa: "{ioa}", type: M_DP_TB_1, control: {ioa: "{ioa+4000}", type: C_DC_NA_1, model: sbo-normal}}
      MMXU1/TotW: {ioa: "{ioa+1}", type: M_ME_TF_1, unit: kW, deadband: 5 kW}   # the power
devices:
  rtu:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at:
      MV1/F05: {use: bay, with: {ioa: 1000}}
      MV1/F06:
        use: bay
        with: {ioa: 1100}
        points:
          "MMXU1/A/phs{A,B,C}": {ioa: 1120..1122, type: M_ME_TF_1, unit: A, alarm: {hi: 300 A}}
  ied:
    protocol: iec61850
    host: 10.0.0.2
    scl: station.scd
    ied: F01Q1
    at: {MV1/F01: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}, QA1/CSWI1/Pos: {ref: LD0/CSWI1.Pos, control: device}}}}
retired:
  g/north/PS01/MV1/F04: {date: 2026-11-30, reason: dismantled}
"""
METERS = """\
mapping: 1
grid: g
place: north/SP1
devices:
  meter: {protocol: dlms, host: 10.0.0.3, at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}}
  sensor: {protocol: coap, uri: "coap://10.0.0.4", at: {MV1/C1: {points: {TA1/STMP1/Tmp: {path: /t, unit: Cel}}}}}
"""
LIST = """\
address;ioa;type;unit;scale;control_ioa;display_name
MV1/F05/QA1/CSWI1/Pos;1;M_DP_TB_1;;;5001;Feeder 5
MV1/F05/_/MMXU1/TotW;2;36;kW;0,1;;"P ""all"" phases"
MV1/F05/_/GGIO1/Ind1;3;30;;;;
MV1/F06/_/MMXU1/A/phsA;4;M_ME_NC_1;A;1;;
"""
MAP = """\
list: 1
grid: g
place: north/PS01
device: rtu
devices: {rtu: {host: 10.4.7.10, common_address: 7}}
columns: {address: address, ioa: ioa, type: type, unit: unit, scale: scale, control_ioa: control_ioa}
"""
BAY = f'<ConductingEquipment name="QA1" type="CBR">{t.lnode("XCBR")}{t.lnode("CSWI")}</ConductingEquipment>'
SCL = t.scl(substation=t.bay(BAY))
CIM = model({"c": (1000, 100)})
MARKS = {
    "YAML": '{ } [ ] " # &a *a null ~ -1 1e999 .nan {1..3} {ioa+1} ${X} // goose QA1/XCBR1/Pos',
    "CELLS": "; , \" =1+1 1.2.3 1E+05 - ü M_ME_TF_1 200 99999999999 ''",
    "XML": "< > /> \" & &#0; &#x1F600; <!-- ]]> <![CDATA[ xmlns='' LD0 -1 nan {A,B} ${X} # ü"
    " name <LN/> <Private/> F01Q1 Struct",
    "JSON": '{ } [ ] , : " null true -1 1e999 NaN \\u0000 points LD0',
}
YAML_BLANK = (": ", "- ", "!x ", "\t", "\n", "---\n", "\x00", "\u2028", "\ufeff", "\U0001f600", "9" * 40)
YAML = (*YAML_BLANK, *MARKS["YAML"].split())
CELLS = ("\t", "\n", "\r", "\x00", *MARKS["CELLS"].split())
XML = ("<!DOCTYPE a>", "1" * 30, "\x00", *MARKS["XML"].split())
JSON = ("9" * 40, *MARKS["JSON"].split())
GRID = """\
# a grid that was imported
grid_model: 1
grid: g
place: north
voltages: {MV1: 4.16 kV}
nodes:
  ps/MV1/_/CNa: {name: "a", mrid: "a"}
equipment:
  ps/MV1/_/LDc: {class: EnergyConsumer, node: ps/MV1/_/CNa, name: "c", mrid: "c", p: 1 kW, q: 100 var, customers: 1}
"""
MEMORY = """\
{"import": 1, "devices": {"f01q1": {"fields": {"host": "10.0.0.1", "scl": "station.scd", "ied": "F01Q1"},
 "points": {"F01Q1/LD0/CSWI1.Pos": {
   "address": "g/north/PS01/_/_/F01Q1/CSWI1/Pos", "control": {"model": "direct-normal"}},
  "F01Q1/LD0/XCBR1.Pos": {"address": "g/north/PS01/_/_/F01Q1/XCBR1/Pos", "display_name": [["", "x"]]}}}}}
"""
Job = tuple[Sequence[str], Sequence[str], Callable[[Path], list[list[str]]]]


def of_mapping(folder: Path) -> list[list[str]]:
    """The commands that read mapping files; the last one writes."""
    file, old = str(folder / "file"), str(folder / "old.yaml")
    source, merged = str(folder / "list.csv"), str(folder / "file")
    return [
        ["check", file],
        ["check", file, "--json"],
        ["plan", old, file],
        ["plan", file, old, "--json"],
        ["explain", ADDRESS, file],
        ["export", "csv", file],
        ["export", "markdown", file],
        ["export", "opcua-nodeset", file, "--authority", "https://example.org"],
        ["export", "scl-mapping", file],
        ["import", "csv", source, "--map", str(folder / "map.yaml"), "--to", merged, "--mode", "merge"],
        ["fmt", file],
    ]


def of_list(folder: Path) -> list[list[str]]:
    return [["import", "csv", str(folder / "file"), "--map", str(folder / "map.yaml"), "--partial"]]


def of_map(folder: Path) -> list[list[str]]:
    return [["import", "csv", str(folder / "list.csv"), "--map", str(folder / "file"), "--json"]]


def of_scl(folder: Path) -> list[list[str]]:
    given = ["import", "scl", str(folder / "file"), "--grid", "g", "--place", "north"]
    return [given, [*given, "--all", "--json"], ["check", str(folder / "old.yaml")]]


def of_grid(folder: Path) -> list[list[str]]:
    given = ["import", "cim", str(folder / "model.xml"), "--grid", "g", "--area", "north"]
    return [[*given, "--to", str(folder / "file"), "--mode", "merge"]]


def of_memory(folder: Path) -> list[list[str]]:
    given = ["import", "scl", str(folder / "station.scd"), "--grid", "g", "--place", "north/PS01"]
    return [[*given, "--into", str(folder), "--mode", "merge"]]


def of_cim(folder: Path) -> list[list[str]]:
    return [["import", "cim", str(folder / "file"), "--grid", "g"]]


JOBS: dict[str, Job] = {
    "a mapping file": ((STATION, METERS), YAML, of_mapping),
    "a point list": ((LIST,), CELLS, of_list),
    "a column map": ((MAP,), YAML, of_map),
    "an SCL file": ((SCL,), XML, of_scl),
    "a CIM file": ((CIM,), XML, of_cim),
    "a grid file": ((GRID,), YAML, of_grid),
    "what was imported last": ((MEMORY,), JSON, of_memory),
}


PLACES = {"an SCL file": "station.scd", "what was imported last": ".import/station.yaml.json"}
IMPORTED = """\
mapping: 1
grid: g
place: north/PS01
devices:
  f01q1:
    protocol: iec61850
    host: 10.0.0.1
    scl: station.scd
    ied: F01Q1
    at:
      _/_/F01Q1:
        points: {CSWI1/Pos: {ref: LD0/CSWI1.Pos, control: direct-normal}, XCBR1/Pos: {ref: LD0/XCBR1.Pos}}
"""


def prepared(folder: Path) -> None:
    others = {"old.yaml": STATION, "list.csv": LIST, "map.yaml": MAP, "station.scd": t.scl(), "model.xml": CIM}
    for name, text in (others | {"station.yaml": IMPORTED}).items():
        (folder / name).write_text(text, "utf-8")
    (folder / ".import").mkdir(exist_ok=True)


def ends_well(arguments: Sequence[str], content: bytes, number: int) -> int:
    """The exit code of a command that has told what is wrong."""
    result = RUN.invoke(app, list(arguments))
    if (result.exception is not None and not isinstance(result.exception, SystemExit)) or "Traceback" in result.output:
        pytest.fail(f"file {number}, {arguments[:2]}: {result.exception!r}\n{content!r}")
    assert result.exit_code in (0, 1, 2)
    assert result.exit_code != 1 or result.output.strip(), arguments
    return result.exit_code


@pytest.mark.parametrize("kind", JOBS)
def test_a_mutated_file_ends_a_command_with_sentences(kind: str, tmp_path: Path) -> None:
    seeds, pieces, commands = JOBS[kind]
    octets = [seed.encode() for seed in seeds]
    prepared(tmp_path)
    path = tmp_path / PLACES.get(kind, "file")
    refused = 0
    for number in range(FILES):
        data = mutated(random.Random(number), octets, pieces)
        (tmp_path / "file").write_bytes(data)
        path.write_bytes(data)
        by_turns = commands(tmp_path)
        refused += ends_well(by_turns[number % len(by_turns)], data, number) == 1
        prepared(tmp_path)
    # What an import cannot remember is a warning.
    assert refused or kind == "what was imported last", "no file was wrong: the test tries nothing"


@pytest.mark.parametrize("kind", JOBS)
def test_a_file_without_a_mutation_is_taken(kind: str, tmp_path: Path) -> None:
    seeds, _, commands = JOBS[kind]
    prepared(tmp_path)
    for seed in seeds:
        (tmp_path / "file").write_text(seed, "utf-8")
        codes = [ends_well(arguments, seed.encode(), 0) for arguments in commands(tmp_path)]
        # The meters' file has not the address that is explained, and a list of another device is put into it.
        assert 1 not in codes or seed is METERS, codes


def test_a_folder_a_missing_file_and_one_that_cannot_be_read_end_with_a_sentence(tmp_path: Path) -> None:
    prepared(tmp_path)
    folder = tmp_path / "file"
    folder.mkdir()
    for commands in (job[2] for job in JOBS.values()):
        for arguments in commands(tmp_path):
            if str(folder) in arguments:
                ends_well(arguments, b"a folder", 0)
    folder.rmdir()
    for commands in (job[2] for job in JOBS.values()):
        for arguments in commands(tmp_path):
            if str(folder) in arguments:
                assert ends_well(arguments, b"nothing", 0) in (1, 2) or "--to" in arguments
                folder.unlink(missing_ok=True)
