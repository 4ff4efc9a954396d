"""Protocols: what is written is verified, what is edited is recognised, and nothing in a cell breaks the table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_gateway.commissioning.protocol import Protocol, ProtocolLine, verify

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30)


def line(**fields: str) -> ProtocolLine:
    names = ProtocolLine.__slots__
    return ProtocolLine(**{name: fields.get(name, name) for name in names})


HEAD = [("place", "dso1/north"), ("gateway", "gw1")]


def protocol(*pages: Sequence[ProtocolLine]) -> Protocol:
    made = Protocol()
    for lines in pages:
        made.add(lines)
    return made


def as_markdown(*lines: ProtocolLine) -> tuple[str, str]:
    return protocol(lines).as_markdown(HEAD)


def as_csv(*lines: ProtocolLine) -> tuple[str, str]:
    return protocol(lines).as_csv(HEAD)


@given(TEXT, TEXT, TEXT)
def test_whatever_people_and_devices_write_is_one_line_and_verified(note: str, value: str, name: str) -> None:
    made = line(remark=note, value=value, name=name), line()
    for text, digest in (as_markdown(*made), as_csv(*made)):
        found = verify(text)
        assert found.unchanged
        assert found.stated == digest
        for other in (text.replace("\n", "\r\n"), text + "\n\n", "\ufeff" + text):
            assert verify(other).unchanged
    rows = list(csv.reader(io.StringIO(as_csv(*made)[0])))
    assert [len(row) for row in rows if row[0] in {"address"}] == [16, 16, 16]
    table = [row for row in as_markdown(*made)[0].split("\n") if row.startswith("| address |")]
    assert len(table) == 3


@given(st.data())
def test_any_changed_letter_is_recognised(data: st.DataObject) -> None:
    for text, _ in (as_markdown(line()), as_csv(line())):
        at = data.draw(st.integers(0, len(text) - 2))
        if text[at] == "\n":
            continue
        other = "x" if text[at] != "x" else "y"
        assert not verify(text[:at] + other + text[at + 1 :]).unchanged


def test_a_line_more_or_less_is_recognised() -> None:
    text, _ = as_markdown(line(address="one"), line(address="two"))
    lines = text.split("\n")
    row = next(number for number, each in enumerate(lines) if each.startswith("| one"))
    assert not verify("\n".join(lines[:row] + lines[row + 1 :])).unchanged
    assert not verify("\n".join([*lines[:row], lines[row], *lines[row:]])).unchanged


@pytest.mark.parametrize("text", ["", "\n", "no protocol", "sha256,123", "SHA-256 of the lines above: " + "g" * 64])
def test_what_has_no_digest_is_no_protocol(text: str) -> None:
    assert verify(text).stated == ""
    assert not verify(text).unchanged


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(as_csv(line(remark=text))[0])))
    cell = next(row for row in rows if row[0] == "address" and row[1] == "name" and row[10] != "remark")[10]
    assert cell[0] in {"'", " "}


def test_numbers_stay_numbers() -> None:
    text, _ = as_csv(line(value="-12.5"))
    assert ",-12.5," in text


def test_markdown_of_people_does_not_break_the_table() -> None:
    text, _ = as_markdown(line(remark="a|b\n| c | <b>"))
    assert "| a\\|b \\| c \\| &lt;b> |" in text


def test_a_protocol_that_is_made_in_pages_is_the_same_as_one_of_a_piece() -> None:
    lines = [line(address=str(number), state="failed" if number % 3 else "bound") for number in range(7)]
    whole, pages = protocol(lines), protocol(lines[:3], lines[3:6], lines[6:])
    assert whole.as_markdown(HEAD) == pages.as_markdown(HEAD)
    assert whole.as_csv(HEAD) == pages.as_csv(HEAD)
    assert pages.states == {"failed": 4, "bound": 3}
    assert verify(pages.as_csv(HEAD)[0]).unchanged
