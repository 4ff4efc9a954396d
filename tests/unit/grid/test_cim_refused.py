"""CIM RDF/XML that cannot be used: refused, with its line, before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.grid.cim_feeder import BODY, read, xml

from twin_gateway.grid.cim import CimReading, read_cim


def errors(reading: CimReading) -> list[str]:
    assert reading.grid is None
    return [
        f"{problem.code}:{problem.line}: {problem.message}"
        for problem in reading.problems
        if problem.severity == "error"
    ]


def line_of(body: str, text: str) -> int:
    return xml(body).split(text)[0].count("\n") + 1


def test_text_that_is_no_xml_is_one_error_with_its_line(tmp_path: Path) -> None:
    broken = xml(BODY).replace("</cim:Feeder>", "</cim:Feder>", 1)
    found = errors(read(tmp_path, "", whole=broken))
    assert found == [f"TG721:{broken.split('</cim:Feder>')[0].count(chr(10)) + 1}: not XML: mismatched tag"]


@pytest.mark.parametrize("cut", [0, 20, 400, 2000])
def test_a_file_that_ends_early_is_one_error(tmp_path: Path, cut: int) -> None:
    found = errors(read(tmp_path, "", whole=xml(BODY)[:cut] or " "))
    assert len(found) == 1
    assert found[0].startswith("TG721")


def test_a_document_type_declaration_is_refused_before_anything_is_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    whole = xml(BODY).replace("<rdf:RDF", bomb + "\n<rdf:RDF")
    assert [text[:7] for text in errors(read(tmp_path, "", whole=whole))] == ["TG722:2"]


def test_another_kind_of_xml_is_refused(tmp_path: Path) -> None:
    assert errors(read(tmp_path, "", whole="<html><body/></html>")) == [
        "TG724:1: the file begins with <html>, not with <rdf:RDF>"
    ]


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "grid.xml"
    path.write_text(xml(BODY))
    reading = read_cim([path], grid="ieee", max_bytes=1000)
    assert [text[:5] for text in errors(reading)] == ["TG723"]


def test_nesting_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    deep = "<a>" * 40 + "</a>" * 40
    assert [text[:5] for text in errors(read(tmp_path, BODY + deep))] == ["TG723"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    reading = read_cim([tmp_path / "nothing.xml"], grid="ieee")
    assert [problem.code for problem in reading.problems] == ["TG101"]
    assert reading.grid is None


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        (
            'Terminal.ConnectivityNode rdf:resource="#_c"',
            'Terminal.ConnectivityNode rdf:resource="#_x"',
            "l1",
            "terminal",
        ),
        ("<cim:Conductor.length>500<", "<cim:Conductor.length>far<", "l1", "Conductor.length"),
        ('PerLengthImpedance rdf:resource="#_z2"', 'PerLengthImpedance rdf:resource="#_z9"', "l1", "impedance"),
        ("conductorCount>2<", "conductorCount>3<", "z2", "diagonal"),
        ("#SinglePhaseKind.C", "#SinglePhaseKind.B", "l1", "phases"),
        ("<cim:Conductor.length>500</cim:Conductor.length>", "", "l1", "no length"),
        ("voltageMagnitude>4243.2<", "voltageMagnitude>4.2<", "s1", "4.2 V"),
        ("nominalVoltage>4160<", "nominalVoltage>4.16<", "mv", "not kV"),
    ],
)
def test_an_object_that_cannot_be_used_is_an_error_with_its_line(
    tmp_path: Path, old: str, new: str, where: str, what: str
) -> None:
    assert old in xml(BODY)
    body = BODY.replace(old, new, 1)
    found = errors(read(tmp_path, body))
    place = line_of(body, f'rdf:about="#_{where}"')
    assert any(text.startswith(f"TG725:{place}:") and what in text for text in found), found
