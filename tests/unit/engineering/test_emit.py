"""Drafts become text that people can read, and reading it gives the same points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PlaceDraft, PointDraft, Value, at_key, sort
from twin_gateway.engineering.emit import WIDTH, emit
from twin_gateway.engineering.flow import flow, scalar
from twin_gateway.engineering.repeat import make_templates
from twin_gateway.mapping.check import check
from twin_gateway.mapping.read import Source, read_bytes


def points_of(text: str, folder: Path) -> dict[str, tuple[str, Any, Any, tuple[tuple[str, str], ...]]]:
    """Address -> device, fields, control, names; fails with the problems when the text does not pass the check."""
    path = folder / "file.yaml"
    path.write_text(text, "utf-8")
    mapping, problems = check([path])
    assert mapping is not None, f"{problems}\n{text}"
    return {
        point.address: (device.name, point.fields, point.control, point.names) for device, point in mapping.points()
    }


def bay(ioa: int) -> PlaceDraft:
    control: Value = {"ioa": ioa + 4000, "type": "C_DC_NA_1", "model": "sbo-normal"}
    place = PlaceDraft(
        f"MV1/F{ioa // 100:02}",
        [
            PointDraft("QA1/CSWI1/Pos", {"ioa": ioa, "type": "M_DP_TB_1", "control": control}, "the breaker"),
            PointDraft("QA1/XCBR1/Pos", {"ioa": ioa, "type": "M_DP_TB_1", "share": True}),
        ],
    )
    for i, phase in enumerate("ABC"):
        place.points.append(PointDraft(f"MMXU1/A/phs{phase}", {"ioa": ioa + 12 + i, "type": "M_ME_TF_1", "unit": "A"}))
    return place


def rtu(*places: PlaceDraft, name: str = "rtu") -> DeviceDraft:
    return DeviceDraft(name, "iec104", {"host": "10.0.0.1", "common_address": 1}, at=list(places), comment="An RTU.")


def test_neighbours_that_say_the_same_become_one_line(tmp_path: Path) -> None:
    text = emit(FileDraft("dso1", "north/PS01", devices=[rtu(bay(100))]))
    assert '"MMXU1/A/phs{A,B,C}": {ioa: 112..114, type: M_ME_TF_1, unit: A}' in text
    assert points_of(text, tmp_path)["dso1/north/PS01/MV1/F01/_/MMXU1/A/phsC"][1]["ioa"] == 114


def test_places_that_repeat_use_a_template(tmp_path: Path) -> None:
    flat = FileDraft("dso1", "north/PS01", devices=[rtu(bay(100), bay(200), bay(300))])
    expected = points_of(emit(flat), tmp_path)
    make_templates(flat)
    text = emit(flat)
    assert "MV1/F02: {use: f-104, with: {ioa: 200}}" in text
    assert text.count("M_DP_TB_1") == 2
    assert points_of(text, tmp_path) == expected


def test_the_same_draft_in_any_order_gives_the_same_file() -> None:
    there, back = bay(100), bay(100)
    back.points.reverse()
    one = FileDraft("g", "a/s", devices=[rtu(there, name="b10"), rtu(bay(200), name="b9")])
    two = FileDraft("g", "a/s", devices=[rtu(bay(200), name="b9"), rtu(back, name="b10")])
    sort(one)
    sort(two)
    assert emit(one) == emit(two)
    assert [device.name for device in one.devices] == ["b9", "b10"]


def test_long_lines_are_broken_and_long_comments_stand_above(tmp_path: Path) -> None:
    place = bay(100)
    place.points[0].comment = "word " * 60
    place.points[1].fields["display_name"] = {"en": "n" * 40, "de": "m" * 40}
    text = emit(FileDraft("dso1", "north/PS01", header=["head " * 50], devices=[rtu(place)]))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert points_of(text, tmp_path)["dso1/north/PS01/MV1/F01/QA1/XCBR1/Pos"][3][1] == ("de", "m" * 40)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("MV1", "F05", "QA1"), ("MV1/F05", "QA1/")),
        (("MV1", "F05", "_"), ("MV1/F05", "")),
        (("MV1", "_", "BB1"), ("MV1", "BB1/")),
        (("_", "F05", "QA1"), ("_/F05", "QA1/")),
        (("_", "_", "IED1"), ("_/_/IED1", "")),
        (("MV1", "F05", "PROT1"), ("MV1/F05/PROT1", "")),
        (("_", "_", "_"), ("", "")),
    ],
)
def test_the_at_key_leaves_the_equipment_to_the_point_key_unless_it_reads_like_a_function(
    levels: tuple[str, str, str], expected: tuple[str, str]
) -> None:
    assert at_key(*levels) == expected


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.text(max_size=12) | st.integers(-(2**60), 2**60) | st.booleans() | st.none() | FLOATS
KEYS = st.text("abcXYZ019_-./: {}[]#é", min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)))
def test_every_value_reads_back_as_it_was(value: Any) -> None:
    source = read_bytes(f"a: {flow({'v': value})}\n".encode(), Source("x", Path("x")))
    assert source.root is not None, source.problems
    assert source.root["a"]["v"] == value


@pytest.mark.parametrize("word", ["null", "true", "010", "1e3", "-", "a: b", "a #b", "[x", "1-0:1.8.0", "a:", "~", ""])
def test_words_that_yaml_would_read_otherwise_are_quoted(word: str) -> None:
    source = read_bytes(f"a: [{scalar(word)}]\n".encode(), Source("x", Path("x")))
    assert source.root is not None
    assert source.root["a"] == [word]
