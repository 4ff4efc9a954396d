"""SCL files that no mapping file can be made of: each is refused with file, line and reason."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import scl_text as t
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.engineering.scl_run import Request, run_import

NO_SERVER = '<IED name="F01Q1"><AccessPoint name="AP1"/></IED>'
LOOP = '<DAType id="Oper"><BDA name="again" bType="Struct" type="Oper"/></DAType>'
NO_OPER = t.DATA_TYPES.replace('<DAType id="Oper"><BDA name="ctlVal" bType="BOOLEAN"/></DAType>', "")
TEN = [f'a{k}" bType="Struct" type="B' for k in range(10)]
BOMB = (
    "".join(
        f'<DAType id="{"Oper" if i == 0 else f"B{i}"}">'
        + "".join(f'<BDA name="{part}{i + 1}"/>' for part in TEN)
        + "</DAType>"
        for i in range(12)
    )
    + '<DAType id="B12"><BDA name="x" bType="BOOLEAN"/></DAType>'
)
TWO_DEVICES = t.ied(devices=t.ld() + "\n" + t.ld())
TWO_NODES = t.ied(devices=t.ld(nodes=t.ln("XCBR") + t.ln("XCBR")))
TWO_BAYS = t.bay("").replace("</Bay>", '</Bay>\n<Bay name="F01"/>')
TWO_SITES = t.bay("") + "\n" + t.bay("", site="PS02")


def with_types(more: str) -> str:
    """The data types with another type of Oper."""
    return NO_OPER.replace("<EnumType", f"{more}<EnumType", 1)


FAILING: list[tuple[str, str, str, str, int, str]] = [
    ("empty", "", "north/PS01", "TG731", 1, "no element found"),
    ("no XML", "station PS01\n", "north/PS01", "TG731", 1, "not XML"),
    ("cut off", t.scl()[:900], "north/PS01", "TG731", 7, "not XML"),
    ("another document", "<a/>", "north/PS01", "TG731", 1, "begins with <a>"),
    ("another namespace", t.scl(namespace="urn:x"), "north/PS01", "TG731", 2, "unknown namespace 'urn:x'"),
    ("an entity bomb", '<!DOCTYPE a [<!ENTITY b "ha">]>' + t.scl()[39:], "north/PS01", "TG733", 1, "document type"),
    ("an unknown encoding", t.scl().replace("UTF-8", "klingon"), "north/PS01", "TG731", 1, "not XML"),
    ("nested too deep", t.scl([t.ied(devices="<a>" * 70 + "</a>" * 70)]), "north/PS01", "TG734", 6, "deeper than"),
    ("no IED", t.scl([" "]), "north/PS01", "TG732", 2, "no IED in the file"),
    ("no server", t.scl([NO_SERVER]), "north/PS01", "TG735", 2, "no IED of the file has a datum"),
    ("two IEDs of one name", t.scl([t.ied(), t.ied()]), "north/PS01", "TG732", 7, "a second IED 'F01Q1'"),
    ("an IED name with blanks", t.scl([t.ied("F 01")]), "north/PS01", "TG732", 6, "cannot be the name of an IED"),
    ("two logical devices", t.scl([TWO_DEVICES]), "north/PS01", "TG732", 7, "a second logical device"),
    ("two logical nodes", t.scl([TWO_NODES]), "north/PS01", "TG732", 6, "a second logical node XCBR1"),
    ("two bays", t.scl(substation=TWO_BAYS), "north", "TG732", 5, "a second Bay 'F01'"),
    ("a bay without a name", t.scl(substation=t.bay("", "")), "north", "TG735", 4, "Bay ''"),
    ("a name too long", t.scl(substation=t.bay("", "F" * 60)), "north", "TG735", 4, "48"),
    ("no site", t.scl(), "north", "TG735", 6, "does not say where F01Q1 is"),
    ("a site for several", t.scl(substation=TWO_SITES), "north/PS01", "TG735", 5, "several sites"),
    ("a place too long", t.scl(), "a/b/c", "TG402", 2, "more than area and site"),
    ("a structure without type", t.scl(types=NO_OPER), "north/PS01", "TG732", 20, "Oper has no DAType 'Oper'"),
    ("a type that holds itself", t.scl(types=with_types(LOOP)), "north/PS01", "TG732", 28, "holds itself"),
    ("types without end", t.scl(types=with_types(BOMB)), "north/PS01", "TG734", 6, "unfold to"),
]  # fmt: skip


@pytest.mark.parametrize("case", FAILING, ids=[case[0] for case in FAILING])
def test_what_cannot_be_imported_is_told_with_file_line_and_reason(
    tmp_path: Path, case: tuple[str, str, str, str, int, str]
) -> None:
    _, text, place, code, line, message = case
    path = tmp_path / "a.scd"
    path.write_text(text, "utf-8")
    out = run_import(path, Request("g", place, tmp_path))
    assert out.text is None
    errors = [problem for problem in out.problems if problem.severity == "error"]
    assert [(problem.code, problem.line) for problem in errors][:1] == [(code, line)], errors
    assert message in errors[0].message
    assert (errors[0].file, errors[0].col > 0) == (str(tmp_path / "a.scd"), True)
    assert errors[0].hint, "what to do"
    assert errors[0].as_json()["about"]


VALUES = ("", "XX", "1", "LD0", "DPC", "Oper", "999999", "a b", "{A,B}", "ü", "${HOME}", "#", "x" * 70)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_attributes_say_a_file_imports_or_is_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    text = t.scl(substation=t.bay(t.lnode("XCBR") + t.lnode("CSWI")))
    for _ in range(chance.randint(1, 4)):
        found = chance.choice(list(re.finditer(r'="([^"]*)"', text)))
        text = f'{text[: found.start()]}="{chance.choice(VALUES)}"{text[found.end() :]}'
    folder = tmp_path_factory.mktemp("odd")
    path = folder / "a.scd"
    path.write_text(text, "utf-8")
    out = run_import(path, Request("g", "north", folder, every=bool(seed % 2)))
    errors = [problem for problem in out.problems if problem.severity == "error"]
    assert (out.text is None) == bool(errors)
    assert all(problem.file == str(path) and problem.line for problem in errors), errors


def test_an_ln0_is_lln0_whatever_its_class_says(tmp_path: Path) -> None:
    path = tmp_path / "a.scd"
    path.write_text(t.scl().replace('lnClass="LLN0" inst=""', 'lnClass="XX" inst=""'), "utf-8")
    assert run_import(path, Request("g", "north/PS01", tmp_path, every=True)).text is not None
