"""What mapping files say, written out for others: lists that come back as the same points, Markdown, 61850 and 80-1."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.column_map import default_map
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.export_list import export_csv, export_markdown
from twin_gateway.engineering.export_scl import export_scl_mapping
from twin_gateway.engineering.list_import import import_list
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 10.0.0.1
    common_address: [7, 9]
    at:
      MV1/F05:
        points:
          MMXU1/TotW: {ioa: 10, type: M_ME_TF_1, unit: kW, scale: 0.1, offset: -3, deadband: 20 kW, stale_after: 90 s}
          MMXU1/TotVAr: {ioa: 11, type: M_ME_TD_1, nominal: 1.2, unit: kvar, display_unit: Mvar, deadband: 1.234 kvar}
          "MMXU1/A/phs{A,B,C}": {ioa: 12..14, type: M_ME_TE_1, unit: A, scale: 0.015259254737998596}
          MMXU1/Hz: {ioa: 15, type: M_ME_TF_1, display_name: {de: "Frequenz; Netz", en: "=Frequency"}}
          TA1/STMP1/Tmp: {ioa: 16, type: M_ME_NB_1, unit: K, scale: 0.1, read: 30 s}
          QA1/CSWI1/Pos:
            {ioa: 1, type: M_DP_TB_1, aliases: ["rds:=C1.Q5-QA1"], display_name: "Breaker \\"Q0\\" | F05",
             control: {ioa: 4001, type: C_DC_NA_1, model: sbo-normal, qu: 1, absent: [Loc, CILO], termination: true}}
          QA1/XCBR1/Pos: {ioa: 1, type: M_DP_TB_1, share: true}
          GGIO1/Ind1: {ioa: 2, type: M_SP_TB_1, invert: true, common_address: 9}
          GGIO1/Ind2: {ioa: 3, type: M_BO_TB_1, bit: 7}
      LV1/_/RTU1: {points: {LPHD1/PhyHealth: {ioa: 50, type: M_ST_TB_1}}}
  ied:
    protocol: iec61850
    host: 10.0.0.2
    ied: F06Q1
    at: {MV1/F06: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}}}}
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    (tmp_path / "ps01.yaml").write_text(MAPPING, "utf-8")
    return checked(tmp_path / "ps01.yaml")


def checked(path: Path) -> Mapping:
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    return mapping


def points(mapping: Mapping) -> dict[str, object]:
    """What each point of 104 is, wherever it is written."""
    return {
        point.address: (
            device.name,
            point.profile,
            point.fields | {"common_address": point.source >> 24 if isinstance(point.source, int) else 0},
            point.control,
            point.source,
            point.unit,
            point.names,
            point.aliases,
        )
        for device, point in mapping.points()
        if device.protocol == "iec104"
    }


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_list_of_104_points_comes_back_as_the_same_points(tmp_path: Path, mapping: Mapping, decimal: str) -> None:
    (tmp_path / "list.csv").write_text(export_csv(mapping, decimal=decimal), "utf-8")
    columns = default_map()
    columns.decimal = decimal
    found = import_list(tmp_path / "list.csv", columns, every=False)
    assert [problem for problem in found.problems if problem.severity == "error"] == []
    assert found.left_out == 1  # the point of 61850
    assert found.draft is not None
    make_templates(found.draft)
    (tmp_path / "again.yaml").write_text(emit(found.draft), "utf-8")
    assert points(checked(tmp_path / "again.yaml")) == points(mapping)


def test_no_cell_is_a_formula_for_a_spreadsheet(mapping: Mapping) -> None:
    rows = list(csv.reader(io.StringIO(export_csv(mapping)), delimiter=";"))
    assert any("'=Frequency" in row for row in rows)
    texts = {rows[0].index(name) for name in rows[0] if name.startswith("name") or name == "aliases"}
    assert not [row[k] for row in rows[1:] for k in texts if row[k].startswith(("=", "+", "-", "@"))]


def test_the_list_of_a_site_has_a_line_and_a_box_for_every_point(mapping: Mapping) -> None:
    sites = export_markdown(mapping)
    assert set(sites) == {"dso1/north/PS01"}
    text = sites["dso1/north/PS01"]
    assert text.count("☐") == mapping.point_count
    assert '| QA1/CSWI1/Pos | Breaker "Q0" \\| F05 | DPC |  | 104:rtu/7/1 | 4001 C_DC_NA_1 sbo-normal | ☐ |  |' in text
    assert "## MV1/F05" in text


def test_references_and_80_1_objects_stand_at_their_addresses(mapping: Mapping) -> None:
    rows = {row["address"]: row for row in csv.DictReader(io.StringIO(export_scl_mapping(mapping)), delimiter=";")}
    assert len(rows) == mapping.point_count
    ied = rows["dso1/north/PS01/MV1/F06/QA1/XCBR1/Pos"]
    assert (ied["ied"], ied["reference"], ied["ioa"]) == ("F06Q1", "LD0/XCBR1.Pos", "")
    rtu = rows["dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"]
    assert (rtu["casdu"], rtu["ioa"], rtu["ti"], rtu["control_ioa"], rtu["control_ti"]) == (
        "7",
        "1",
        "31",
        "4001",
        "46",
    )
    assert rows["dso1/north/PS01/MV1/F05/_/GGIO1/Ind1"]["casdu"] == "9"


def test_a_mapping_with_errors_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "ps01.yaml").write_text(MAPPING.replace("M_DP_TB_1, share", "M_XX, share"), "utf-8")
    for what in (["csv"], ["markdown"], ["scl-mapping"], ["opcua-nodeset", "--authority", "https://example.org"]):
        result = CliRunner().invoke(app, ["export", *what, str(tmp_path / "ps01.yaml"), "--to", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert "TG204" in result.stderr
        assert not (tmp_path / "out").exists()


def test_markdown_of_a_folder_is_one_file_a_site(tmp_path: Path, mapping: Mapping) -> None:
    (tmp_path / "lists").mkdir()
    command = ["export", "markdown", str(tmp_path / "ps01.yaml"), "--to", str(tmp_path / "lists")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["dso1-north-PS01.md"]
    assert "is there already" in CliRunner().invoke(app, command).stderr
