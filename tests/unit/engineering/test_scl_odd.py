"""Odd SCL files: as XML allows them, and as tools of any age write them; each imports, or says where and why not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import scl_text as t

from twin_gateway.engineering.scl_run import Request, run_import
from twin_gateway.mapping.check import check

BASE = t.scl()
BAY = f'<ConductingEquipment name="QA1" type="CBR">{t.lnode("XCBR")}{t.lnode("CSWI")}</ConductingEquipment>'
USUAL = frozenset(("_/_/F01Q1/XCBR1/Pos", "_/_/F01Q1/CSWI1/Pos"))


def prefixed(text: str) -> str:
    """The same file with every element of SCL in a prefix."""
    text = re.sub(r"<(/?)(?=[A-Z])", r"<\1scl:", text)
    return text.replace("xmlns=", "xmlns:scl=")


def with_inputs() -> str:
    """A subscriber: an IED that takes another one's position by GOOSE."""
    reference = '<ExtRef iedName="F02Q1" ldInst="LD0" lnClass="XCBR" lnInst="1" doName="Pos" daName="stVal"/>'
    inputs = f'<Inputs>{reference}<ExtRef desc="not connected"/></Inputs>'
    inside = t.ld(nodes=t.ln("XCBR", inside=inputs) + t.ln("CSWI", "1", t.control()), first=t.POSITIONS + t.REPORT)
    return t.scl([t.ied(devices=inside)])


def of_release(attributes: str, *more: str) -> str:
    text = t.scl(attributes=attributes)
    for old, new in zip(more[::2], more[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return text


def with_prefixes() -> str:
    """Logical nodes of one class told apart by their prefix alone."""
    nodes = t.ln("XCBR", "1", prefix="Q0") + t.ln("XCBR", "1", prefix="Q1") + t.ln("XCBR", "1", prefix="")
    sets = "".join(
        f'<FCDA ldInst="LD0" prefix="{prefix}" lnClass="XCBR" lnInst="1" doName="Pos" fc="ST"/>'
        for prefix in ("Q0", "Q1", "")
    )
    return t.scl([t.ied(devices=t.ld(nodes=nodes, first=f'<DataSet name="ds">{sets}</DataSet>{t.REPORT}'))])


def on_one_line() -> str:
    """More than a megabyte without a line break, as minifying tools write it."""
    foreign = f"<Private type='x'>{'y' * 600_000}</Private>"
    nets = t.network(t.address(), t.address("F02Q1"))
    return t.scl([t.ied(more=foreign), t.ied("F02Q1", more=foreign)], networks=[nets]).replace("\n", "")


GONE = t.DATA_TYPES.replace('<DOType id="SPS"', '<DOType id="SPX"')
NO_ENUM = re.sub(r'<EnumType id="Ctl">.*?</EnumType>', "", t.DATA_TYPES)
MANY = [t.ied(f"F{i:02}Q1") for i in range(1, 41)]
SERVER_AT = '<AccessPoint name="AP2"><ServerAt apName="AP9"/></AccessPoint>'


@dataclass(frozen=True)
class Case:
    """A file, and what it gives: its addresses below the site, and parts of what is told."""

    content: str | bytes
    addresses: frozenset[str] = USUAL
    told: tuple[str, ...] = field(default=())
    place: str = "north/PS01"


IMPORTING = {
    "a byte order mark": Case(b"\xef\xbb\xbf" + BASE.encode()),
    "UTF-16, little end first": Case(BASE.replace("UTF-8", "UTF-16").encode("utf-16")),
    "UTF-16, big end first": Case(b"\xfe\xff" + BASE.replace("UTF-8", "UTF-16").encode("utf-16-be")),
    "Latin 1": Case(BASE.replace("UTF-8", "ISO-8859-1").replace('id="test"', 'id="Prüfung"').encode("latin-1")),
    "Windows 1252": Case(BASE.replace("UTF-8", "windows-1252").replace('id="test"', 'id="Prüf–ung"').encode("cp1252")),
    "no declaration": Case(BASE[len(t.HEAD) :]),
    "line ends of Windows": Case(BASE.replace("\n", "\r\n").encode()),
    "blanks behind the end": Case(BASE + "\n\n  \n"),
    "a prefix for SCL": Case(prefixed(BASE)),
    "comments everywhere": Case(re.sub(r"(?<=>)(?=<[A-Z/])", "<!-- IED --><?tool x?>", BASE)),
    "texts in CDATA": Case(BASE.replace(">sbo-with-enhanced-security<", "><![CDATA[sbo-with-enhanced-security]]><")),
    "character references": Case(BASE.replace('"F01Q1"', '"F&#48;1Q&#x31;"')),
    "one line of a megabyte": Case(
        on_one_line(), USUAL | {address.replace("F01", "F02") for address in USUAL}
    ),
    "edition 1, with its spelling": Case(of_release("", 'fc="ST"/><DA name="q"', 'fc="ST" dchg="true"/><DA name="q"')),
    "edition 2": Case(of_release('version="2007" revision="A"')),
    "edition 2.1": Case(of_release('version="2007" revision="B" release="5"')),
    "a version of before edition 1": Case(of_release('version="1.7"'), told=("'1.7' is read like",)),
    "inputs of other IEDs": Case(with_inputs()),
    "prefixes of logical nodes": Case(
        with_prefixes(), frozenset(f"_/_/F01Q1/{name}XCBR1/Pos" for name in ("Q0", "Q1", ""))
    ),
    "a data object without its type": Case(
        t.scl([t.ied(devices=t.ld(nodes=t.ln("XCBR", inside=""), first=""))], types=GONE),
        frozenset(("_/_/F01Q1/XCBR1/Pos", "_/_/F01Q1/XCBR1/OpCnt", "_/_/F01Q1/LLN0/Beh", "_/_/F01Q1/LLN0/Mod")),
        ("Loc has no DOType 'SPS'",),
    ),
    "an enumeration without its type": Case(
        t.scl(types=NO_ENUM), frozenset(("_/_/F01Q1/XCBR1/Pos",)), ("ctlModel has no EnumType 'Ctl'",)
    ),
    "a second type of one name": Case(
        t.scl(types=t.DATA_TYPES.replace("<EnumType", '<EnumType id="Beh"/><EnumType', 1)), told=("a second EnumType",)
    ),
    "a server of an access point that is not there": Case(t.scl([t.ied(more=SERVER_AT)]), told=("'AP9'",)),
    "forty IEDs": Case(
        t.scl(MANY, networks=[t.network(*(t.address(f"F{i:02}Q1") for i in range(1, 41)))]),
        frozenset(f"_/_/F{i:02}Q1/{node}/Pos" for i in range(1, 41) for node in ("XCBR1", "CSWI1")),
    ),
    "names of two alphabets": Case(
        t.scl(substation=t.bay(BAY, "Поле 1", "20 кВ")),
        frozenset(
            f"20~20~D0~BA~D0~92/~D0~9F~D0~BE~D0~BB~D0~B5~201/QA1/{node}/Pos" for node in ("XCBR1", "CSWI1")
        ),
    ),
    "two empty sections": Case(t.scl(substation='<Substation name="PS01"/>').replace("<Header", "<Header/><Header")),
    "a process": Case(
        t.scl(substation=f'<Process name="P7">{BAY}</Process>'),
        frozenset(("_/_/QA1/XCBR1/Pos", "_/_/QA1/CSWI1/Pos")),
        place="north",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPORTING)
def test_an_odd_file_imports(tmp_path: Path, name: str) -> None:
    case = IMPORTING[name]
    path = tmp_path / "a.scd"
    path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    out = run_import(path, Request("g", case.place, tmp_path))
    assert out.text is not None, out.problems
    (tmp_path / "a.yaml").write_text(out.text, "utf-8")
    mapping, problems = check([tmp_path / "a.yaml"], secrets_required=False)
    assert mapping is not None, problems
    assert {point.address.split("/", 3)[3] for _, point in mapping.points()} == case.addresses
    told = [str(problem) for problem in out.problems]
    assert all(any(part in line for line in told) for part in case.told), told
    assert all(re.match(rf"{re.escape(str(path))}:\d+:\d+: warning TG73\d: ", line) for line in told), told
    assert not told or case.told, told


BROKEN = {
    "nothing but blanks": b" \n \n",
    "octets that are no text": bytes(range(256)),
    "half a character": BASE.encode()[:200] + b"\xc3" + BASE.encode()[200:],
    "UTF-16 cut in two": BASE.replace("UTF-8", "UTF-16").encode("utf-16")[:501],
    "an encoding of nobody": BASE.replace("UTF-8", "\xfcber-8").encode("latin-1"),
    "an external entity": b'<!DOCTYPE SCL SYSTEM "file:///etc/hostname"><SCL/>',
    "a parameter entity": b'<!DOCTYPE SCL [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><SCL/>',
    "entities of entities": b'<!DOCTYPE SCL [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;">]><SCL>&b;</SCL>',
    "an entity of nobody": BASE.replace('id="test"', 'id="&nobody;"').encode(),
    "two roots": BASE.encode() + b"<SCL/>",
    "an attribute twice": BASE.replace('name="F01Q1"', 'name="F01Q1" name="F02Q1"').encode(),
    "a prefix that is not declared": BASE.replace("<Header", "<x:Header").encode(),
    "an archive": b"PK\x03\x04" + bytes(40),
    "a page": b"<!doctype html><html><body>Not found</body></html>",
    "a text of two megabytes": BASE.replace("<Header", f"<Private>{'z' * 2_000_000}</Private><Header").encode(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_with_its_line_its_column_and_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.scd"
    path.write_bytes(BROKEN[name])
    out = run_import(path, Request("g", "north/PS01", tmp_path))
    assert out.text is None
    (problem,) = out.problems
    assert re.match(rf"{re.escape(str(path))}:[1-9]\d*:[1-9]\d*: error TG73[134]: .*\(.+\)$", str(problem)), problem


def test_a_station_on_one_line_still_has_no_place_twice(tmp_path: Path) -> None:
    twice = t.bay("").replace("</Bay>", '</Bay><Bay name="F01"/>')
    path = tmp_path / "a.scd"
    path.write_text(t.scl(substation=twice).replace("\n", ""), "utf-8")
    out = run_import(path, Request("g", "north", tmp_path))
    assert "a second Bay 'F01'" in out.problems[0].message
    assert out.problems[0].col > 100
