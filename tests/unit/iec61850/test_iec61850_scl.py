"""SCL files as models: what would take more memory than any IED is refused before a model is built, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import scl_text as t

from twin_gateway.drivers.iec61850.errors import ModelError
from twin_gateway.drivers.iec61850.scl import read_ieds, read_scl
from twin_gateway.mapping.check import check

OPER = '<DAType id="Oper"><BDA name="ctlVal" bType="BOOLEAN"/></DAType>'
LAUGHS = '<!DOCTYPE SCL [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n'
TEN = [f'<BDA name="x{k}" bType="Struct" type="T{{}}"/>' for k in range(10)]


def unfolding(name: str = "", space: str = "") -> str:
    """Types that hold ten of the next, eight deep, in the place of the usual one."""
    mark, declared = (f"{space}:", f' xmlns:{space}="urn:x"') if space else ("", "")
    first = "".join(TEN).replace('type="T{}"', f'type="{name}T1"')
    rows = [f'<DAType id="Oper">{first}</DAType>']
    for i in range(1, 8):
        inner = "".join(TEN).replace('type="T{}"', f'type="{name}T{i + 1}"')
        rows.append(f'<{mark}DAType{declared} id="{name}T{i}">{inner}</{mark}DAType>')
    last = '<BDA name="x" bType="BOOLEAN"/>'
    return "".join(rows) + f'<{mark}DAType{declared} id="{name}T8">{last}</{mark}DAType>'


def types(oper: str) -> str:
    assert OPER in t.DATA_TYPES
    return t.DATA_TYPES.replace(OPER, oper)


MANY_BLOCKS = t.REPORT.replace("<TrgOps", '<RptEnabled max="100000000000"/><TrgOps')
GROUPS = '<SettingControl numOfSGs="100000000"/>'
REFUSED = {
    "a document type": (t.HEAD + LAUGHS + t.scl()[len(t.HEAD) :], "2:15", "document type"),
    "types without end": (t.scl(types=types(unfolding())), "6:1", "unfold to"),
    "types without end, of another namespace": (t.scl(types=types(unfolding(space="o"))), "6:1", "unfold to"),
    "types without end, of odd names": (t.scl(types=types(unfolding(" "))), "6:1", "unfold to"),
    "an array without end": (
        t.scl(types=types(OPER.replace("/></", ' count="999999999"/></'))),
        "6:1",
        "unfold to",
    ),
    "a type that holds itself": (
        t.scl(types=types('<DAType id="Oper"><BDA name="me" bType="Struct" type="Oper"/></DAType>')),
        "27:",
        "holds itself",
    ),
    "a structure without its type": (t.scl(types=types("")), "20:", "has no DAType 'Oper'"),
    "report blocks without end": (
        t.scl([t.ied(devices=t.ld(nodes=t.ln("XCBR"), first=t.POSITIONS + MANY_BLOCKS))]),
        "6:1",
        "unfold to",
    ),
    "setting groups without end": (t.scl([t.ied(devices=t.ld(first="\n" + GROUPS))]), "7:1", "255"),
    "another document": ("<SLC/>", "1:1", "begins with <SLC>"),
    "no XML": ("a: b\n", "1:1", "not XML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_no_model_can_be_built_of_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, where, what = REFUSED[name]
    path = tmp_path / "station.scd"
    path.write_text(text, "utf-8")
    with pytest.raises(ModelError) as found:
        read_scl(path, "F01Q1")
    assert str(found.value).startswith(f"{path}:{where}"), found.value
    assert what in str(found.value)


def test_what_only_another_ied_uses_forbids_nothing(tmp_path: Path) -> None:
    path = tmp_path / "station.scd"
    other = t.ied("F02Q1", t.ld(nodes=t.ln("MMXU")))
    path.write_text(t.scl([t.ied(), other], types=types(unfolding())), "utf-8")
    assert set(read_scl(path, "F02Q1").nodes["F02Q1LD0"]) == {"LLN0", "MMXU1"}
    with pytest.raises(ModelError, match="unfold to"):
        read_scl(path, "F01Q1")


def test_the_readers_of_control_blocks_refuse_the_same(tmp_path: Path) -> None:
    path = tmp_path / "station.scd"
    path.write_text(LAUGHS + t.scl()[len(t.HEAD) :], "utf-8")
    with pytest.raises(ModelError, match="document type"):
        read_ieds(path)
    path.write_text(t.scl(), "utf-8")
    assert [ied.name for ied in read_ieds(path)] == ["F01Q1"]


def test_the_check_of_a_mapping_tells_why_its_scl_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "station.scd").write_text(LAUGHS + t.scl()[len(t.HEAD) :], "utf-8")
    mapping = tmp_path / "station.yaml"
    mapping.write_text(
        "mapping: 1\ngrid: g\nplace: north/PS01\ndevices:\n  a:\n    protocol: iec61850\n    host: 10.0.0.1\n"
        "    scl: station.scd\n    ied: F01Q1\n    at: {MV1/F01: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}}}}\n",
        "utf-8",
    )
    found, problems = check([mapping])
    assert found is None
    (problem,) = problems
    assert (problem.code, problem.line) == ("TG607", 5)
    assert f"{tmp_path}/station.scd:1:15: a document type" in problem.message
