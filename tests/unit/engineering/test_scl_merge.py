"""Importing again keeps what people wrote, adds what is new, leaves out what they took out, and shows conflicts."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import scl_text as t
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.scl_run import Outcome, Request, run_import
from twin_gateway.mapping.check import check
from twin_gateway.mapping.point import MappedPoint

REQUEST = Request("g", "north")
COUNT = 6
"""Bays of the largest station."""


def station(members: dict[int, set[str]], model: str = "sbo-with-enhanced-security") -> str:
    """An SCD with one IED a bay; `members`: bay -> data objects in its data set."""
    ieds, nets, bays = [], [], []
    for bay, names in sorted(members.items()):
        name = f"F{bay:02}Q1"
        sets = "".join(
            f'<FCDA ldInst="LD0" lnClass="{node[:4]}" lnInst="1" doName="{data}"/>'
            for node, data in (item.split(".") for item in sorted(names))
        )
        first = f'<DataSet name="ds">{sets}</DataSet>{t.REPORT}'
        nodes = t.ln("XCBR") + t.ln("CSWI", "1", t.control(model)) + t.ln("MMXU") + t.ln("GGIO")
        ieds.append(t.ied(name, t.ld(nodes=nodes, first=first)))
        nets.append(t.address(name, f"10.0.0.{bay}"))
        equipment = t.lnode("XCBR", ied_name=name) + t.lnode("CSWI", ied_name=name)
        rest = t.lnode("MMXU", ied_name=name) + t.lnode("GGIO", ied_name=name)
        inside = f'<ConductingEquipment name="QA1" type="CBR">{equipment}</ConductingEquipment>{rest}'
        bays.append(f'<Bay name="F{bay:02}">{inside}</Bay>')
    section = f'<Substation name="PS01"><VoltageLevel name="MV1">{"".join(bays)}</VoltageLevel></Substation>'
    return t.scl(ieds, substation=section, networks=[t.network(*nets)])


DATA = ["XCBR.Pos", "XCBR.Loc", "XCBR.OpCnt", "MMXU.TotW", "MMXU.PhV", "GGIO.Ind1", "GGIO.Ind2", "GGIO.Ind3"]


def run(folder: Path, text: str, mode: Mode = Mode.MERGE, *, templates: bool = True) -> Outcome:
    source = folder / "ps01.scd"
    source.write_text(text, "utf-8")
    out = run_import(source, Request("g", "north", folder, mode, templates=templates))
    if out.text is not None:
        (folder / "ps01.yaml").write_text(out.text, "utf-8")
    return out


def points(folder: Path) -> dict[tuple[str, str], MappedPoint]:
    """The points of the mapping file by device and source."""
    mapping, problems = check([folder / "ps01.yaml"])
    assert mapping is not None, f"{problems}\n{(folder / 'ps01.yaml').read_text()}"
    return {(device.name, str(point.source)): point for device, point in mapping.points()}


FIELDS = ["scale: 2", "deadband: 5 kW", "stale_after: 15 min", "display_name: by hand"]


def edit(text: str, chance: random.Random) -> str:
    """A file as a person leaves it: fields added, lines commented out or moved, comments, blank lines."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 8)):
        at = [i for i, line in enumerate(lines) if re.match(r' +"?[\w/{},]+"?: +\{ref:', line)]
        if not at:
            break
        i = chance.choice(at)
        act = chance.randrange(5)
        if act == 0 and "MMXU" in lines[i]:
            name = chance.choice(FIELDS)
            if name.split(":")[0] not in lines[i] and not ("PhV" in lines[i] and "kW" in name):
                lines[i] = lines[i].replace("{ref:", f"{{{name}, ref:", 1)
        elif act == 1 and "# by hand" not in lines[i]:
            lines[i] += "  # by hand"
        elif act == 2:
            lines.insert(i, f"{lines[i][: len(lines[i]) - len(lines[i].lstrip())]}# a remark above")
        elif act == 3:
            indent = len(lines[i]) - len(lines[i].lstrip())
            lines[i] = f"{' ' * indent}# {lines[i].lstrip()}"
        elif i + 1 in at:
            lines[i], lines[i + 1] = lines[i + 1], lines[i]
    return "\n".join(lines)


def in_order(old: str, new: str) -> bool:
    """Whether every line of the old text stands in the new one, in the same order."""
    rest = iter(new.split("\n"))
    return all(line in rest for line in old.rstrip("\n").split("\n"))


MEMBERS = st.dictionaries(
    st.integers(1, COUNT), st.sets(st.sampled_from(DATA), min_size=3), min_size=1, max_size=3
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(first=MEMBERS, second=MEMBERS, seed=st.integers(0, 2**32))
def test_hand_edits_survive_and_what_is_new_is_added(
    tmp_path_factory: pytest.TempPathFactory, first: dict[int, set[str]], second: dict[int, set[str]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    run(folder, station(first), Mode.CREATE, templates=False)
    path = folder / "ps01.yaml"
    original = points(folder)
    edited = edit(path.read_text("utf-8"), random.Random(seed))
    path.write_text(edited, "utf-8")
    mapping, _ = check([path])
    if mapping is None:  # every point of a device was commented out: no device without points
        return
    before = points(folder)
    out = run(folder, station(second | {bay: first[bay] | second.get(bay, set()) for bay in first}))
    assert out.text is not None, out.problems
    assert in_order(edited, out.text)
    after = points(folder)
    for key, point in before.items():
        assert (after[key].address, after[key].profile, after[key].names, after[key].control) == (
            point.address, point.profile, point.names, point.control
        )  # fmt: skip
    taken_out = set(original) - set(before)
    assert not taken_out & set(after), "what was commented out came back"
    wanted = {bay: first.get(bay, set()) | second.get(bay, set()) for bay in {*first, *second}}
    run(folder, station(wanted), Mode.OVERWRITE, templates=False)
    assert set(after) == set(points(folder)) - taken_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run(tmp_path, station({1: {"XCBR.Pos", "MMXU.TotW"}}), Mode.CREATE)
    return tmp_path


def test_importing_the_same_again_changes_nothing(folder: Path) -> None:
    before = (folder / "ps01.yaml").read_text("utf-8")
    out = run(folder, station({1: {"XCBR.Pos", "MMXU.TotW"}}))
    assert (out.text, out.added, out.problems) == (before, [], [])


def test_a_new_bay_becomes_a_new_device(folder: Path) -> None:
    out = run(folder, station({1: {"XCBR.Pos", "MMXU.TotW"}, 2: {"XCBR.Pos"}}))
    assert out.added == ["g/north/PS01/MV1/F02/QA1/CSWI1/Pos", "g/north/PS01/MV1/F02/QA1/XCBR1/Pos"]
    assert {device for device, _ in points(folder)} == {"f01q1", "f02q1"}


def test_another_control_model_is_a_conflict_and_the_files_stays(folder: Path) -> None:
    out = run(folder, station({1: {"XCBR.Pos", "MMXU.TotW"}}, "direct-with-normal-security"))
    (conflict,) = out.problems
    line = (folder / "ps01.yaml").read_text("utf-8").split("\n")[conflict.line - 1]
    assert "CSWI1/Pos" in line
    assert "model: sbo-enhanced" in conflict.message
    assert "model: direct-normal" in conflict.message
    assert points(folder)["f01q1", "F01Q1/LD0/CSWI1.Pos"].control == {"model": "sbo-enhanced"}


def test_another_host_is_a_conflict(folder: Path) -> None:
    text = station({1: {"XCBR.Pos", "MMXU.TotW"}}).replace("10.0.0.1", "10.0.0.99")
    assert "host is 10.0.0.1 in the file, 10.0.0.99 in the import" in run(folder, text).problems[0].message


def test_points_that_are_gone_are_kept_and_told(folder: Path) -> None:
    out = run(folder, station({1: {"XCBR.Pos"}}))
    assert "not in the import, first g/north/PS01/MV1/F01/_/MMXU1/TotW: kept" in out.problems[0].message
    assert ("f01q1", "F01Q1/LD0/MMXU1.TotW") in points(folder)


def test_a_device_under_another_name_and_a_point_at_another_place_stay_there(folder: Path) -> None:
    path = folder / "ps01.yaml"
    text = path.read_text("utf-8").replace("f01q1:", "bay-unit:").replace("QA1/XCBR1/Pos", "QA2/XCBR1/Pos")
    path.write_text(text, "utf-8")
    out = run(folder, station({1: {"XCBR.Pos", "XCBR.Loc", "MMXU.TotW"}}))
    assert [problem.message.count("QA2/XCBR1/Pos") for problem in out.problems] == [2]
    assert out.added == ["g/north/PS01/MV1/F01/QA1/XCBR1/Loc"]
    assert points(folder)["bay-unit", "F01Q1/LD0/XCBR1.Pos"].address == "g/north/PS01/MV1/F01/QA2/XCBR1/Pos"


def test_lines_in_braces_are_opened_up_to_take_new_points(folder: Path) -> None:
    path = folder / "ps01.yaml"
    path.write_text(
        "mapping: 1\ngrid: g\nplace: north/PS01\ntemplates:\n  bay:\n    protocol: iec61850\n    points:\n"
        "      MMXU1/TotW: {ref: LD0/MMXU1.TotW}\ndevices:\n"
        "  a: {protocol: iec61850, host: 10.0.0.1, ied: F01Q1, scl: ps01.scd, at: {MV1/F01: {use: bay}}}  # mine\n",
        "utf-8",
    )
    out = run(folder, station({1: {"XCBR.Pos", "MMXU.TotW"}}))
    assert out.text is not None, out.problems
    assert "  a:  # mine\n" in out.text
    assert "        use: bay\n        points:\n" in out.text
    assert len(points(folder)) == 3


def test_a_file_with_errors_is_not_merged_into(folder: Path) -> None:
    path = folder / "ps01.yaml"
    path.write_text(path.read_text("utf-8").replace("iec61850", "iec61851"), "utf-8")
    out = run(folder, station({1: {"XCBR.Pos"}}))
    assert out.text is None
    assert {problem.code for problem in out.problems} >= {"TG601", "TG736"}


def test_overwrite_writes_the_file_anew(folder: Path) -> None:
    path = folder / "ps01.yaml"
    fresh = path.read_text("utf-8")
    path.write_text(fresh.replace("{ref: LD0/MMXU1.TotW}", "{ref: LD0/MMXU1.TotW, scale: 3}"), "utf-8")
    run(folder, station({1: {"XCBR.Pos", "MMXU.TotW"}}), Mode.OVERWRITE)
    assert path.read_text("utf-8") == fresh


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_made(tmp_path: Path) -> None:
    text = station({1: {"XCBR.Pos"}})
    for name in ("a.scd", "b.scd"):
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "a.yaml").mkdir()
    files = [str(tmp_path / name) for name in ("a.scd", "b.scd")]
    arguments = ["import", "scl", *files, "--grid", "g", "--place", "north", "--into", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--mode", "overwrite"])
    assert done.exit_code == 1
    assert f"{tmp_path / 'a.yaml'}:1:1: error TG101: cannot be written: Is a directory" in done.stderr
    assert f"made {tmp_path / 'b.yaml'}" in done.stderr
    assert (tmp_path / "b.yaml").is_file()
    assert not list(tmp_path.glob(".*.yaml.*"))
