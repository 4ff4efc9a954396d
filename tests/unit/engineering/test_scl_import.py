"""SCL files of every kind become mapping files that pass the check, or fail with file, line and reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import scl_text as t

from twin_gateway.engineering.scl_run import Outcome, Request, run_import
from twin_gateway.mapping.check import check
from twin_gateway.mapping.point import MappedPoint

BREAKER = t.lnode("XCBR") + t.lnode("CSWI")


def imported(
    folder: Path, text: str, place: str = "north/PS01", *, every: bool = False, name: str = "a.scd"
) -> Outcome:
    """What the import makes of a text; written to `a.yaml`."""
    path = folder / name
    path.write_text(text, "utf-8")
    out = run_import(path, Request("g", place, folder, every=every))
    if out.text is not None and out.target is not None:
        out.target.write_text(out.text, "utf-8")
    return out


def points(folder: Path, text: str, place: str = "north/PS01", *, every: bool = False) -> dict[str, MappedPoint]:
    """The points of the mapping file of a text, by address without grid and area."""
    out = imported(folder, text, place, every=every)
    assert out.text is not None, out.problems
    mapping, problems = check([folder / "a.yaml"], secrets_required=False)
    assert mapping is not None, problems
    return {point.address.partition("/")[2].partition("/")[2]: point for _, point in mapping.points()}


def test_every_reference_file_imports_and_passes_the_check(tmp_path: Path) -> None:
    if not (folder := os.environ.get("TWIN_REFERENCE_DATA")):
        pytest.skip("TWIN_REFERENCE_DATA is not set")
    files = sorted(Path(folder, "scl").iterdir())
    assert files
    for path in files:
        place = "north" if b"<Substation" in path.read_bytes() else "north/PS01"
        out = run_import(path, Request("dso1", place, tmp_path))
        assert out.text is not None, out.problems
        (tmp_path / path.name).with_suffix(".yaml").write_text(out.text, "utf-8")
    mapping, problems = check([tmp_path])
    assert mapping is not None, problems
    assert mapping.point_count >= 70


def test_without_a_substation_section_the_ied_is_the_place(tmp_path: Path) -> None:
    found = points(tmp_path, t.scl())
    assert set(found) == {"PS01/_/_/F01Q1/XCBR1/Pos", "PS01/_/_/F01Q1/CSWI1/Pos"}
    assert found["PS01/_/_/F01Q1/CSWI1/Pos"].control == {"model": "sbo-enhanced"}
    assert found["PS01/_/_/F01Q1/XCBR1/Pos"].control is None


def test_several_logical_devices_are_part_of_the_ied(tmp_path: Path) -> None:
    ied = t.ied(
        devices=t.ld("LD0", t.ln("XCBR"), t.POSITIONS + t.REPORT) + t.ld("LD1", t.ln("CSWI", inside=t.control()))
    )
    assert set(points(tmp_path, t.scl([ied]))) == {"PS01/_/_/F01Q1-LD0/XCBR1/Pos", "PS01/_/_/F01Q1-LD1/CSWI1/Pos"}


def test_the_substation_section_says_the_place(tmp_path: Path) -> None:
    inside = f'<ConductingEquipment name="QA1" type="CBR">{BREAKER}</ConductingEquipment>'
    found = points(tmp_path, t.scl(substation=t.bay(inside)), "north")
    assert set(found) == {"PS01/MV1/F01/QA1/XCBR1/Pos", "PS01/MV1/F01/QA1/CSWI1/Pos"}
    assert "Feeder 1" in (tmp_path / "a.yaml").read_text()


def test_functions_however_nested_are_no_level(tmp_path: Path) -> None:
    inside = (
        f'<Function name="C"><SubFunction name="S"><SubFunction name="T">{t.lnode("CSWI")}</SubFunction></SubFunction>'
    )
    inside += (
        f'<ConductingEquipment name="QA1" type="CBR"><EqFunction name="E"><EqSubFunction name="F">{t.lnode("XCBR")}'
    )
    inside += "</EqSubFunction></EqFunction></ConductingEquipment></Function>"
    found = points(tmp_path, t.scl(substation=t.bay(inside)), "north")
    assert set(found) == {"PS01/MV1/F01/_/CSWI1/Pos", "PS01/MV1/F01/QA1/XCBR1/Pos"}


def test_parts_of_equipment_are_named_with_a_hyphen(tmp_path: Path) -> None:
    part = f'<SubEquipment name="R">{t.lnode("XCBR")}</SubEquipment>'
    inside = f'<ConductingEquipment name="QA1" type="CBR">{part}</ConductingEquipment>'
    assert "PS01/MV1/F01/QA1-R/XCBR1/Pos" in points(tmp_path, t.scl(substation=t.bay(inside)), "north")


def test_what_the_section_does_not_name_stands_at_the_ied_in_its_bay(tmp_path: Path) -> None:
    inside = f'<ConductingEquipment name="QA1" type="CBR">{t.lnode("XCBR")}</ConductingEquipment>'
    assert "PS01/MV1/F01/F01Q1/CSWI1/Pos" in points(tmp_path, t.scl(substation=t.bay(inside)), "north")


def test_logical_nodes_of_one_name_at_one_place_stand_at_their_ieds(tmp_path: Path) -> None:
    ieds = [t.ied("A1Q1"), t.ied("A2Q1")]
    networks = [t.network(t.address("A1Q1"), t.address("A2Q1", "10.0.0.2"))]
    inside = t.lnode("XCBR", "1", "A1Q1") + t.lnode("XCBR", "1", "A2Q1")
    found = points(tmp_path, t.scl(ieds, networks=networks, substation=t.bay(inside)), "north")
    assert {"PS01/MV1/F01/A1Q1/XCBR1/Pos", "PS01/MV1/F01/A2Q1/XCBR1/Pos"} <= set(found)


def test_a_line_is_a_site(tmp_path: Path) -> None:
    line = f'<Line name="L12"><ConductingEquipment name="WB1" type="LIN">{t.lnode("XCBR")}</ConductingEquipment></Line>'
    assert "L12/_/_/WB1/XCBR1/Pos" in points(tmp_path, t.scl(substation=line), "north")


def test_names_that_are_no_segments_are_escaped(tmp_path: Path) -> None:
    inside = f'<ConductingEquipment name="QA 1" type="CBR">{BREAKER}</ConductingEquipment>'
    section = t.bay(inside, "Bay.1", "20 kV", "Süd/1")
    assert "S~C3~BCd~2F1/20~20kV/Bay~2E1/QA~201/XCBR1/Pos" in points(tmp_path, t.scl(substation=section), "north")


def test_every_access_point_with_a_server_is_a_device(tmp_path: Path) -> None:
    second = f'<AccessPoint name="AP2"><Server>{t.ld("LD9", t.ln("CSWI", inside=t.control()))}</Server></AccessPoint>'
    third = '<AccessPoint name="AP3"><ServerAt apName="AP1"/></AccessPoint>'
    ied = t.ied(devices=t.ld(nodes=t.ln("XCBR"), first=t.POSITIONS + t.REPORT), more=second + third)
    port = '<P type="MMS-Port">1102</P>'
    network = t.network(
        t.address(),
        t.address(host="10.0.0.2", access_point="AP2", more=port),
        t.address(host="10.9.9.9", access_point="AP3"),
    )
    out = imported(tmp_path, t.scl([ied], networks=[network]))
    assert out.text is not None, out.problems
    mapping, _ = check([tmp_path / "a.yaml"])
    assert mapping is not None
    where = {device.name: (device.config.host, device.config.port) for device in mapping.devices}  # type: ignore[attr-defined]  # of 61850
    assert where == {"f01q1-ap1": ("10.0.0.1", None), "f01q1-ap2": ("10.0.0.2", 1102)}
    assert "Also reached at 10.9.9.9." in out.text


def test_names_of_edition_1_are_read(tmp_path: Path) -> None:
    text = t.scl(attributes="", substation=t.bay(BREAKER)).replace('cdc="ENS"', 'cdc="INS"')
    found = points(tmp_path, text, "north", every=True)
    assert {"PS01/MV1/F01/_/XCBR1/Pos", "PS01/MV1/F01/F01Q1/LLN0/Beh"} <= set(found)


def test_files_without_the_namespace_are_read(tmp_path: Path) -> None:
    assert points(tmp_path, t.scl(namespace=""))


def test_elements_of_other_namespaces_are_passed_over(tmp_path: Path) -> None:
    foreign = (
        '<Private type="x"><e:LNode xmlns:e="urn:e" iedName="F01Q1" ldInst="LD0" lnClass="XCBR" lnInst="1"/></Private>'
    )
    inside = f'<ConductingEquipment name="QA1" type="CBR">{foreign}</ConductingEquipment>{t.lnode("CSWI")}'
    found = points(tmp_path, t.scl(substation=t.bay(inside)), "north")
    assert "PS01/MV1/F01/F01Q1/XCBR1/Pos" in found


def test_data_sets_tell_what_is_mapped_and_all_maps_the_rest(tmp_path: Path) -> None:
    some = points(tmp_path, t.scl())
    (tmp_path / "a.yaml").unlink()
    every = points(tmp_path, t.scl(), every=True)
    assert set(some) < set(every)
    assert "PS01/_/_/F01Q1/XCBR1/OpCnt" in every


def test_without_data_sets_and_controls_everything_is_mapped(tmp_path: Path) -> None:
    assert "PS01/_/_/F01Q1/XCBR1/OpCnt" in points(tmp_path, t.scl([t.ied(devices=t.ld(nodes=t.ln("XCBR")))]))


def test_a_member_without_a_data_object_is_the_whole_logical_node(tmp_path: Path) -> None:
    whole = '<DataSet name="ds"><FCDA ldInst="LD0" lnClass="MMXU" lnInst="1" fc="MX"/></DataSet>'
    found = points(tmp_path, t.scl([t.ied(devices=t.ld(nodes=t.ln("MMXU"), first=whole + t.REPORT))]))
    assert set(found) == {f"PS01/_/_/F01Q1/MMXU1/{name}" for name in ("TotW", "PhV/phsA", "PhV/phsB", "PhV/phsC")}


def test_a_status_only_control_is_not_commanded_and_an_unsaid_model_is_the_devices_own(tmp_path: Path) -> None:
    nodes = t.ln("CSWI", "1", t.control("status-only")) + t.ln("CSWI", "2", t.control("direct-with-normal-security"))
    found = points(tmp_path, t.scl([t.ied(devices=t.ld(nodes=nodes))]), every=True)
    assert found["PS01/_/_/F01Q1/CSWI1/Pos"].control is None
    assert found["PS01/_/_/F01Q1/CSWI2/Pos"].control == {"model": "direct-normal"}


def test_descriptions_become_names_and_units_comments(tmp_path: Path) -> None:
    unit = '<DOI name="TotW" desc="Power {sum}"><SDI name="units"><DAI name="SIUnit"><Val>W</Val></DAI>'
    unit += '<DAI name="multiplier"><Val>k</Val></DAI></SDI></DOI>'
    out = imported(tmp_path, t.scl([t.ied(devices=t.ld(nodes=t.ln("MMXU", inside=unit)))]), every=True)
    assert "MMXU1/TotW:" in (out.text or "")
    assert "display_name: Power (sum)}  # kW" in (out.text or "")


def test_without_an_address_the_host_is_a_variable(tmp_path: Path) -> None:
    out = imported(tmp_path, t.scl([t.ied("TEMPLATE")], networks=[]), name="a.icd")
    assert out.text is not None, out.problems
    assert 'host: "${HOST_TEMPLATE}"' in out.text
    assert not out.errors


def private(common: str, ioa: str, ti: int, more: str = "") -> str:
    space = 'xmlns:t="http://www.iec.ch/61850-80-1/2007/SCL"'
    return (
        f'<Private type="IEC_60870_5_104"><t:Address {space} casdu="{common}" ioa="{ioa}" ti="{ti}" {more}/></Private>'
    )


def test_private_104_addresses_become_points_of_a_104_device(tmp_path: Path) -> None:
    state = f'<DAI name="stVal">{private("7", "1001", 31)}</DAI>'
    command = f'<SDI name="Oper"><DAI name="ctlVal">{private("7", "5001", 59)}</DAI></SDI>'
    model = '<DAI name="ctlModel"><Val>sbo-with-enhanced-security</Val></DAI>'
    position = f'<DOI name="Pos">{state}{model}{command}</DOI>'
    scaled = private("8", "2001", 36, 'scaleMultiplier="0.5"')
    power = f'<DOI name="TotW"><SDI name="mag"><DAI name="f">{scaled}</DAI></SDI></DOI>'
    short = '<DOI name="Ind1"><DAI name="stVal" sAddr="casdu=7; ioa=3001; ti=30"/></DOI>'
    nodes = t.ln("CSWI", "1", position) + t.ln("MMXU", "1", power) + t.ln("GGIO", "1", short)
    networks = [t.network(t.address(host="10.0.0.104", more='<P type="TCP-PORT">2405</P>'), kind="104")]
    found = points(tmp_path, t.scl([t.ied(devices=t.ld(nodes=nodes))], networks=networks))
    base = "PS01/_/_/F01Q1/"
    assert {key.removeprefix(base) for key in found} == {"CSWI1/Pos", "MMXU1/TotW", "GGIO1/Ind1"}
    assert found[f"{base}CSWI1/Pos"].fields == {"ioa": 1001, "type": "M_DP_TB_1"}
    assert found[f"{base}CSWI1/Pos"].control == {"ioa": 5001, "type": "C_DC_TA_1", "model": "sbo-normal"}
    assert found[f"{base}MMXU1/TotW"].fields == {"ioa": 2001, "type": "M_ME_TF_1", "common_address": 8}
    assert found[f"{base}MMXU1/TotW"].profile.gain == 0.5
    assert found[f"{base}GGIO1/Ind1"].fields["ioa"] == 3001


def test_104_addresses_that_mean_no_point_are_told_with_their_line(tmp_path: Path) -> None:
    bad = "".join(
        f'\n<DOI name="{name}"><DAI name="{attribute}">{item}</DAI></DOI>'
        for name, attribute, item in (
            ("Ind1", "stVal", private("0", "1", 30)),
            ("Ind2", "q", private("1", "2", 30)),
            ("Ind3", "stVal", private("1", "3", 36)),
        )
    )
    out = imported(tmp_path, t.scl([t.ied(devices=t.ld(nodes=t.ln("GGIO", "1", bad)))]))
    told = [str(problem) for problem in out.problems]
    assert ["casdu is '0'" in told[0], "not the value of a point" in told[1], "M_ME_TF_1 cannot give" in told[2]] == [
        True
    ] * 3
    assert [problem.line for problem in out.problems] == [7, 8, 9]


def test_an_unknown_class_and_a_missing_type_are_left_out_with_their_line(tmp_path: Path) -> None:
    nodes = (
        t.ln("GGIO", "1", lnType="ODD_T")
        + "\n"
        + t.ln("ZZZZ", "1", lnType="GGIO_T")
        + "\n"
        + t.ln("XCBR", "1", lnType="NONE_T")
    )
    out = imported(tmp_path, t.scl([t.ied(devices=t.ld(nodes=nodes))]), every=True)
    told = {(problem.line, problem.severity): problem.message for problem in out.problems}
    assert "no LNodeType 'NONE_T'" in told[8, "warning"]
    assert "no logical-node class 'ZZZZ'" in told[7, "warning"]
    assert "GGIO has no data object 'Strange'" in told[6, "warning"]
    assert out.text is not None
    assert "GGIO1/Ind1" in out.text


def test_references_to_what_is_not_there_are_warnings_with_their_line(tmp_path: Path) -> None:
    sets = '<DataSet name="ds"><FCDA lnClass="XCBR" lnInst="9" doName="Pos" fc="ST"/></DataSet>'
    ied = t.ied(devices=t.ld(nodes=t.ln("CSWI", inside=t.control()), first=sets + t.REPORT.replace('"ds"', '"gone"')))
    inside = t.lnode("XCBR", "1", "NOBODY") + t.lnode("XCBR", "7") + t.lnode("XCBR", "1", "None")
    out = imported(
        tmp_path, t.scl([ied], substation=t.bay(inside), networks=[t.network(t.address(), t.address("GONE"))]), "north"
    )
    assert out.text is not None
    told = [(problem.line, problem.message) for problem in out.problems]
    for line, part in (
        (4, "no IED NOBODY"),
        (4, "no logical node F01Q1/LD0/XCBR7"),
        (6, "no data set 'gone'"),
        (6, "no logical node LD0/XCBR9"),
        (5, "'GONE'"),
    ):
        assert any(at == line and part in message for at, message in told), (line, part, told)
    assert len(told) == 5


def test_equal_bays_use_a_template(tmp_path: Path) -> None:
    ieds = [t.ied(f"F0{i}Q1", t.ld(nodes=t.ln("MMXU") + t.ln("XCBR"))) for i in (1, 2)]
    bays = "".join(
        f'<Bay name="F0{i}">{t.lnode("XCBR", ied_name=f"F0{i}Q1")}{t.lnode("MMXU", ied_name=f"F0{i}Q1")}</Bay>'
        for i in (1, 2)
    )
    section = f'<Substation name="PS01"><VoltageLevel name="MV1">{bays}</VoltageLevel></Substation>'
    out = imported(tmp_path, t.scl(ieds, substation=section, networks=[]), "north")
    assert out.text is not None, out.problems
    assert "MV1/F01: {use: f-61850}" in out.text
    assert "MV1/F02: {use: f-61850}" in out.text


def test_a_file_of_10_mb_imports(tmp_path: Path) -> None:
    nodes = "".join(t.ln("GGIO", str(i), f"<Private type='x'>{'y' * 50000}</Private>") for i in range(1, 220))
    out = imported(tmp_path, t.scl([t.ied(devices=t.ld(nodes=nodes))]))
    assert (tmp_path / "a.scd").stat().st_size > 10_000_000
    assert out.text is not None, out.problems
    assert out.points > 600


def test_an_existing_file_is_not_written_over(tmp_path: Path) -> None:
    imported(tmp_path, t.scl())
    again = imported(tmp_path, t.scl())
    assert again.text is None
    assert [problem.code for problem in again.problems] == ["TG736"]
