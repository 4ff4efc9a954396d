"""104 point lists as utilities have them: columns by a map, quirks of spreadsheets, every wrong cell told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.cells import CellError, asdu_type, number, object_address
from twin_gateway.engineering.column_map import FIELDS, ColumnMap, map_of_text, read_map
from twin_gateway.engineering.emit import emit
from twin_gateway.engineering.list_import import ListImport, import_list
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.mapping.check import check
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import LIST_CODES

SIMPLE = "address=A,ioa=IOA,type=T"
LIST = """\
Datenpunktliste UW Nord;;;;;;;;;
;;;;;;;;;
;;Überwachung;;;;Befehl;;;
Feld;Signal;IOA;Typ;Einheit;Faktor;IOA;Totband;"Text
lang";Status
F05;LS Stellung;1.2.3;31;;;2.2.3;;LS Q0;
;Strom L1;66052;M_ME_TF_1;A;0,1;;1;;
;Wirkleistung;66056;36;kW;1;;5;"P ""ges"" kW";
;Reserve;;;;;;;;
;Tür;66060;ES;;;;;Tür offen;0=ein/1=aus
F06;LS Stellung;1.2.104;31;;;2.2.4;;;
"""
MAP = """\
list: 1
grid: dso1
place: north/PS01
device: rtu-ps01
devices: {rtu-ps01: {host: 10.4.7.10, common_address: 7}}
columns:
  level: {value: MV1}
  bay: {column: Feld, fill: down}
  point:
    column: Signal
    values:
      {LS Stellung: QA1/CSWI1/Pos, Strom L1: MMXU1/A/phsA, Wirkleistung: MMXU1/TotW, Reserve: null, Tür: GGIO1/Ind1}
  ioa: Überwachung/IOA
  type: {column: Typ, values: {ES: M_SP_TB_1}}
  unit: Einheit
  scale: Faktor
  control_ioa: Befehl/IOA
  control_model: {value: sbo-normal}
  deadband: Totband
  name: Text lang
  states: Status
"""


def read(folder: Path, text: str, columns: str | ColumnMap, *, encoding: str = "utf-8") -> ListImport:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    if isinstance(columns, str):
        if columns.startswith("list:"):
            (folder / "map.yaml").write_text(columns, "utf-8")
            columns = read_map(folder / "map.yaml")
        else:
            columns = map_of_text(columns)
            columns.grid, columns.place, columns.device = "dso1", "north/PS01", "rtu"
            columns.devices["rtu"] = {"host": "10.0.0.1"}
    return import_list(path, columns)


def points(folder: Path, found: ListImport) -> dict[str, MappedPoint]:
    assert found.draft is not None, found.problems
    make_templates(found.draft)
    (folder / "out.yaml").write_text(emit(found.draft), "utf-8")
    mapping, problems = check([folder / "out.yaml"], environ={})
    assert mapping is not None, problems
    return {point.address.removeprefix("dso1/north/PS01/"): point for _, point in mapping.points()}


def told(found: ListImport) -> list[str]:
    return [f"{p.line}:{p.col} {p.code} {p.message}" for p in found.problems if p.severity == "error"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_list_of_a_spreadsheet_becomes_points_in_every_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    found = read(tmp_path, LIST.replace("\n", newline), MAP, encoding=encoding)
    assert told(found) == []
    assert (found.points, found.left_out, found.faulty) == (5, 1, 0)
    made = points(tmp_path, found)
    breaker, door = made["MV1/F05/QA1/CSWI1/Pos"], made["MV1/F05/_/GGIO1/Ind1"]
    assert breaker.fields == {"ioa": 66051, "type": "M_DP_TB_1"}
    assert breaker.control == {"ioa": 131587, "type": "C_DC_NA_1", "model": "sbo-normal"}
    assert made["MV1/F05/_/MMXU1/A/phsA"].profile.gain == 0.1
    assert made["MV1/F05/_/MMXU1/TotW"].profile.deadband == 5000.0
    assert made["MV1/F05/_/MMXU1/TotW"].display_name == 'P "ges" kW'
    assert door.profile.invert
    assert door.display_name == "Tür offen"
    assert made["MV1/F06/QA1/CSWI1/Pos"].fields["ioa"] == 66152


@pytest.mark.parametrize("separator", [";", "\t", ",", "|"])
def test_the_separator_is_found_out(tmp_path: Path, separator: str) -> None:
    rows = ["A;IOA;T", "MV1/F05/QA1/XCBR1/Pos;1;31", "MV1/F05/_/MMXU1/TotW;2;36"]
    assert set(points(tmp_path, read(tmp_path, "\n".join(rows).replace(";", separator), SIMPLE))) == {
        "MV1/F05/QA1/XCBR1/Pos",
        "MV1/F05/_/MMXU1/TotW",
    }


def test_bays_that_repeat_become_a_template(tmp_path: Path) -> None:
    rows = ["address;ioa;type;unit"]
    for bay in range(1, 9):
        for k, (key, kind, unit) in enumerate(
            (
                ("QA1/XCBR1/Pos", 31, ""),
                ("_/MMXU1/TotW", 36, "W"),
                ("_/MMXU1/TotVAr", 36, "var"),
                ("_/PTRC1/Tr", 30, ""),
            )
        ):
            rows.append(f"MV1/F0{bay}/{key};{1000 * bay + k};{kind};{unit}")
    found = read(tmp_path, "\n".join(rows), "address=address,ioa=ioa,type=type,unit=unit")
    assert len(points(tmp_path, found)) == 32
    text = (tmp_path / "out.yaml").read_text("utf-8")
    assert text.count("use:") == 8
    assert text.count("TotVAr") == 1


def test_a_command_in_a_row_of_its_own_belongs_to_the_point_of_its_address(tmp_path: Path) -> None:
    rows = "A;IOA;T\nMV1/F05/QA1/CSWI1/Pos;1;31\nMV1/F05/QA1/CSWI1/Pos;4001;C_DC_NA_1\n"
    made = points(tmp_path, read(tmp_path, rows, SIMPLE))
    assert made["MV1/F05/QA1/CSWI1/Pos"].control == {"ioa": 4001, "type": "C_DC_NA_1"}


def test_two_points_of_a_characteristic_give_scale_and_offset(tmp_path: Path) -> None:
    rows = "A;IOA;T;u;r0;r1;e0;e1\nMV1/F05/_/MMXU1/Hz;1;35;Hz;-32768;32767;45;55\n"
    columns = SIMPLE + ",unit=u,raw_low=r0,raw_high=r1,low=e0,high=e1"
    profile = points(tmp_path, read(tmp_path, rows, columns))["MV1/F05/_/MMXU1/Hz"].profile
    assert -32768 * profile.gain + profile.bias == pytest.approx(45)
    assert 32767 * profile.gain + profile.bias == pytest.approx(55)


def test_several_devices_and_common_addresses_are_said_once(tmp_path: Path) -> None:
    rows = (
        "A;IOA;T;dev;ip;CA\n"
        "MV1/F05/QA1/XCBR1/Pos;1;31;rtu-a;10.0.0.1;3\n"
        "MV1/F06/QA1/XCBR1/Pos;1;31;rtu-b;10.0.0.2;0.4\n"
        "MV1/F07/QA1/XCBR1/Pos;1;31;rtu-b;10.0.0.2;5\n"
    )
    columns = map_of_text(SIMPLE + ",device=dev,host=ip,common_address=CA")
    columns.grid, columns.place = "dso1", "north/PS01"
    made = points(tmp_path, read(tmp_path, rows, columns))
    assert "common_address" not in made["MV1/F06/QA1/XCBR1/Pos"].fields
    assert made["MV1/F07/QA1/XCBR1/Pos"].fields["common_address"] == 5
    assert "common_address: [4, 5]" in (tmp_path / "out.yaml").read_text("utf-8")


X, W = "MV1/F05/QA1/XCBR1/Pos", "MV1/F05/_/MMXU1/TotW"
WRONG = [
    ("", f"{X};»;31", "TG803 ioa: the cell is empty"),
    ("", f"{X};1;»", "TG803 type: the cell is empty"),
    ("", f"{X};»1,00E+05;31", "TG805 ioa: '1,00E+05' is a number that the spreadsheet has shortened"),
    ("", f"{X};»01.02.2003;31", "TG805 ioa: '01.02.2003' is a date"),
    ("", f"{X};»05. Jan;31", "TG805 ioa: '05. Jan' is a date"),
    ("", f"{X};»#BEZUG!;31", "TG805 ioa: '#BEZUG!' is an error of the spreadsheet"),
    ("", f"{X};»########;31", "TG805 ioa: '########' is an error of the spreadsheet"),
    ("", f"{X};»66.051;31", "TG804 ioa: '66.051' may be 66051 or the octets 66 and 51"),
    ("", f"{X};»1.2.300;31", "TG804 ioa: '1.2.300' has 300 where an octet is 0 to 255"),
    ("", f"{X};»0;31", "TG804 ioa: 0 is not between 1 and 16777215"),
    ("", f"{X};»zwei;31", "TG804 ioa: 'zwei' is no address"),
    ("", f"{X};1;»M_XX_NA_1", "TG804 type: no type 'M_XX_NA_1'"),
    ("", f"{X};1;»29", "TG804 type: no type 29"),
    ("", f"{X};1;»EM", "TG804 type: 'EM' is no type"),
    ("", f"{X};1;»M_SP_TB_1 (31)", "TG804 type: 'M_SP_TB_1 (31)': M_SP_TB_1 is type 30, not 31"),
    ("", f"{X};1;»36", "TG501 M_ME_TF_1 cannot give a DPC"),
    ("", "»MV1/F05/QA1/XCB/Pos;1;31", "TG804 address: 'MV1/F05/QA1/XCB/Pos' has no function"),
    ("", "»MV1/F05/QA1/XCBR1/Posi;1;31", "TG405 XCBR has no data object 'Posi'"),
    ("", f"»other/a/b/{X};1;31", "TG804 address: 'other/a/b/MV1/F05/QA1/XCBR1/Pos' begins with 'other'"),
    ("", f"{X};1;31\n»{X};2;31", "TG406 'north/PS01/MV1/F05/QA1/XCBR1/Pos' is already in line 2"),
    ("", f"{X};1;31\nMV1/F06/QA1/XCBR1/Pos;»1;31", "TG506 104:rtu/1/1 already feeds"),
    ("", f"{X};1;»C_DC_NA_1", "TG807 C_DC_NA_1 is a command, and no other row"),
    (",unit=U", f"{W};1;36;»kV", "TG503 unit: 'kV' is voltage, but MMXU1/TotW is active power"),
    (",unit=U", f"{W};1;36;»Stück", "TG502 unit: no unit 'Stück'"),
    (",scale=U", f"{W};1;36;»0", "TG206 scale: a scale of 0"),
    (",scale=U", f"{W};1;36;»viel", "TG804 scale: 'viel' is no number"),
    (",scale=U", f"{W};1;36;»1.234", "TG804 scale: '1.234' may be a thousand or a fraction"),
    (",deadband=U", f"{W};1;36;»5", "TG504 deadband: 5 of what"),
    (",invert=U", f"{X};1;31;»vielleicht", "TG804 invert: 'vielleicht' is neither yes nor no"),
    (",control_type=U", f"{X};1;31;»46", "TG803 control_type: no control_ioa beside it"),
    (",control_ioa=U", f"{W};1;36;»2", "TG508 MMXU1/TotW is an MV: it cannot be commanded"),
    (",stale_after=U", f"{W};1;36;»15", "TG505 stale_after"),
    (",aliases=U", f"{W};1;36;»tag:7", "TG511 aliases: no alias scheme 'tag'"),
    (",states=U", f"{X};1;31;»0=ein/1=aus", "TG804 states: '0=ein/1=aus' says that 0 is ein"),
    (",name=U", f'{X};1;31;»"nie geschlossen', "TG801 a quotation mark is opened here and never closed"),
    (",role=U", f"{X};1;31;»backup", "TG804 role: 'backup': one of several bindings"),
]


@pytest.mark.parametrize(("columns", "rows", "expected"), WRONG)
def test_every_wrong_cell_is_told_with_its_line_and_column(
    tmp_path: Path, columns: str, rows: str, expected: str
) -> None:
    before, _, _ = rows.partition("»")
    line, col = before.count("\n") + 2, len(before.rpartition("\n")[2]) + 1
    found = read(tmp_path, f"A;IOA;T;U\n{rows.replace('»', '')}\n", SIMPLE + columns)
    assert told(found)[0].startswith(f"{line}:{col} {expected}")
    assert all(problem.hint for problem in found.problems if problem.code in ("TG803", "TG805", "TG807"))


def test_the_good_rows_go_on_to_be_checked_beside_the_wrong_ones(tmp_path: Path) -> None:
    found = read(tmp_path, f"A;IOA;T\n{X};zwei;31\n{W};3;30\nMV1/F06/QA1/XCBR1/Pos;1;31\n", SIMPLE)
    assert [text.partition(" ")[0] for text in told(found)] == [f"2:{len(X) + 2}", f"3:{len(W) + 4}"]
    assert (found.points, found.faulty) == (1, 2)


def test_a_device_has_one_site(tmp_path: Path) -> None:
    rows = "f;d;IOA;T;s\nXCBR1;Pos;1;31;PS01\nXCBR1;Pos;2;31;PS02\n"
    columns = map_of_text("function=f,data=d,ioa=IOA,type=T,site=s")
    columns.grid, columns.place, columns.device = "dso1", "north", "rtu"
    columns.devices["rtu"] = {"host": "10.0.0.1"}
    found = read(tmp_path, rows, columns)
    assert told(found) == ["3:16 TG804 the point is at north/PS02, but 'rtu' is at north/PS01"]


def test_a_device_without_a_host_is_told_once(tmp_path: Path) -> None:
    columns = map_of_text(SIMPLE)
    columns.grid, columns.place, columns.device = "dso1", "north/PS01", "rtu"
    found = read(tmp_path, f"A;IOA;T\n{X};1;31\n", columns)
    assert told(found) == ["1:1 TG202 device 'rtu': 'host' is missing in 'rtu'"]


def test_a_list_that_is_wrong_in_every_row_is_told_up_to_a_limit(tmp_path: Path) -> None:
    found = read(tmp_path, "A;IOA;T\n" + f"{X};zwei;31\n" * 1500, SIMPLE)
    assert len(found.problems) == 1001
    assert "500 more problems are left out" in {problem.message for problem in found.problems}
    assert found.faulty == 1500


MAPS = [
    ("address=A,ioa=IOA", "1:1 TG802 no column for 'type'"),
    ("ioa=IOA,type=T", "1:1 TG802 no column says which datum a row is"),
    ("address=A,ioa=IAO,type=T", "1:1 TG802 ioa: no column 'IAO' in the list"),
    ("address=A,ioa=U,type=T", "1:1 TG802 ioa: the columns 4, 5 are all called 'U'"),
    ("address=A,ioa=U#3,type=T", "1:1 TG802 ioa: there is no 3. column 'U'"),
    ("adress=A", "1:1 TG802 no field 'adress'"),
    ("ioa", "1:1 TG802 'ioa' is not of the form field=column"),
    ("list: 2\ncolumns: {}", "1:1 TG802 'list: 1' is missing"),
    ("list: 1\ncolumns: {ioa: {colum: A}}", "2:17 TG802 ioa: no field 'colum'"),
    ("list: 1\nsheet: {decimal: x}\ncolumns: {ioa: IOA}", "2:18 TG802 sheet: decimal is '.' or ','"),
    ("list: 1\nsheet: {header: 9}\ncolumns: {ioa: IOA, type: T, address: A}", "1:1 TG802 the list has 2 rows"),
]


@pytest.mark.parametrize(("columns", "expected"), MAPS)
def test_a_column_map_that_does_not_fit_is_told(tmp_path: Path, columns: str, expected: str) -> None:
    found = read(tmp_path, f"A;IOA;T;U;U\n{X};1;31;7;8\n", columns)
    assert any(text.startswith(expected) for text in told(found)), told(found)
    assert found.draft is None


def test_a_column_whose_name_occurs_twice_is_chosen_by_its_number(tmp_path: Path) -> None:
    made = points(tmp_path, read(tmp_path, f"A;IOA;T;IOA\n{X};1;31;77\n", "address=A,ioa=IOA#2,type=3"))
    assert made[X].fields["ioa"] == 77


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("66051", 66051),
        ("1.2.3", 66051),
        ("001.002.003", 66051),
        ("0x10203", 66051),
        ("66 051", 66051),
        ("66051,0", 66051),
        ("66051.0", 66051),
        ("'66051", 66051),
        ("1.4", 260),
        ("10203h", 66051),
    ],
)
def test_object_addresses_are_read_in_the_forms_lists_have(text: str, expected: int) -> None:
    assert object_address(text) == expected


def test_octets_may_be_written_the_lowest_first() -> None:
    assert object_address("3.2.1", low_first=True) == 66051


@pytest.mark.parametrize("text", ["M_SP_TB_1", "m_sp_tb_1", "M_SP_TB", "30", "30,0", "TI 30", "<30>", "M_SP_TB_1 (30)"])
def test_types_are_read_by_name_and_by_number(text: str) -> None:
    assert asdu_type(text) == "M_SP_TB_1"


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("0,1", "", 0.1),
        ("0.001", "", 0.001),
        ("1.234,5", "", 1234.5),
        ("1,234.5", "", 1234.5),
        ("1 234,5", "", 1234.5),
        ("1.234", ",", 1234.0),
        ("1,234", ",", 1.234),
        ("1,5E-3", "", 0.0015),
        ("−5", "", -5.0),
    ],
)
def test_numbers_have_a_decimal_comma_or_point(text: str, decimal: str, expected: float) -> None:
    assert number(text, decimal, doubtful=True) == expected


@pytest.mark.parametrize(("text", "decimal"), [("1.5", ","), ("1,5", "."), ("", ""), ("1,2,3", ""), ("nan", "")])
def test_what_is_no_number_is_refused(text: str, decimal: str) -> None:
    with pytest.raises(CellError):
        number(text, decimal, doubtful=True)


def test_files_that_are_no_tables_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for data, expected in (
        (b"PK\x03\x04rest", "this is a workbook, not a text file"),
        (b"a;b\x00c" + b"x" * 300, "the file is binary, not text"),
        (b"", "the file holds nothing"),
        (b"\xff\xfea", "the text is not UTF-16"),
    ):
        path.write_bytes(data)
        found = import_list(path, map_of_text(SIMPLE))
        assert expected in found.problems[0].message
        assert found.draft is None
    assert import_list(tmp_path / "none.csv", map_of_text(SIMPLE)).problems[0].message == "no such file"


def test_nothing_is_written_while_there_is_an_error_unless_the_good_rows_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"address;ioa;type\n{X};zwei;31\n{W};2;36\n", "utf-8")
    to = tmp_path / "out.yaml"
    command = ["import", "csv", str(tmp_path / "list.csv"), "--grid", "dso1", "--place", "north/PS01"]
    command += ["--device", "rtu", "--host", "10.0.0.1", "--to", str(to)]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, to.exists()) == (1, False)
    assert "TG804: ioa: 'zwei' is no address" in refused.stderr
    partial = CliRunner().invoke(app, [*command, "--partial"])
    assert partial.exit_code == 1
    assert check([to])[0] is not None
    again = CliRunner().invoke(app, [*command, "--partial"])
    assert "is there already" in again.stderr
    as_json = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (as_json["points"], as_json["problems"][0]["code"]) == (1, "TG804")
    assert as_json["problems"][0]["about"]


def test_a_list_is_merged_into_what_people_have_edited(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"address;ioa;type;unit\n{W};2;36;kW\n", "utf-8")
    to = tmp_path / "out.yaml"
    command = ["import", "csv", str(tmp_path / "list.csv"), "--grid", "dso1", "--place", "north/PS01"]
    command += ["--device", "rtu", "--host", "10.0.0.1", "--to", str(to)]
    assert CliRunner().invoke(app, command).exit_code == 0
    edited = (
        to.read_text("utf-8").replace("unit: kW", "unit: kW, deadband: 7 kW").replace("10.0.0.1", "10.0.0.1  # ours")
    )
    to.write_text(edited, "utf-8")
    (tmp_path / "list.csv").write_text(f"address;ioa;type;unit\n{W};2;36;kW\n{X};3;31;\n", "utf-8")
    merged = CliRunner().invoke(app, [*command, "--mode", "merge"])
    assert merged.exit_code == 0, merged.stderr
    assert "1 new points" in merged.stderr
    assert "# ours" in to.read_text("utf-8")
    mapping, problems = check([to], environ={})
    assert mapping is not None, problems
    assert {point.address[16:]: point.profile.deadband for _, point in mapping.points()} == {W: 7000.0, X: 0.0}
    assert CliRunner().invoke(app, [*command, "--mode", "overwrite"]).exit_code == 0
    assert "# ours" not in to.read_text("utf-8")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_no_mutation_of_a_list_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    pick = random.Random(seed)
    data = bytearray(LIST.encode("cp1252" if seed % 2 else "utf-8"))
    for _ in range(cuts):
        at = pick.randrange(len(data))
        data[at : at + pick.randrange(3)] = pick.choice([b"", b";", b'"', b"\n", b"\0", b"\xff", b"9", b"/", b"\t"])
    (folder / "map.yaml").write_text(MAP, "utf-8")
    (folder / "list.csv").write_bytes(bytes(data))
    found = import_list(folder / "list.csv", read_map(folder / "map.yaml"))
    assert all(problem.line >= 1 and problem.col >= 1 and problem.message for problem in found.problems)
    if found.draft is not None:
        (folder / "out.yaml").write_text(emit(found.draft), "utf-8")
        mapping, problems = check([folder / "out.yaml"], environ={})
        assert mapping is not None, problems


def test_the_page_has_a_column_map_that_reads_and_names_every_field_and_code(tmp_path: Path) -> None:
    page = Path(__file__).parents[3].joinpath("docs", "point-lists.md").read_text("utf-8")
    (tmp_path / "map.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], "utf-8")
    assert read_map(tmp_path / "map.yaml").problems == []
    assert [name for name in FIELDS if f"`{name}`" not in page and name not in ("protocol", "role")] == []
    assert [code for code, text in LIST_CODES.items() if f"| {code} | {text} |" not in page] == []
