from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.mapping.read import BROKEN, MAX_DEPTH, Map, Source, read_bytes, read_file, read_text


def read(text: str) -> Source:
    return read_text(text, Source("f.yaml", Path("f.yaml")))


def lines(source: Source) -> list[str]:
    return [str(problem) for problem in source.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("010", 10),
        ("0o17", 15),
        ("0xFF", 255),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ('"10"', "10"),
        ("'true'", "true"),
        ("1..3", "1..3"),
        ("10.4.7.10", "10.4.7.10"),
        ("9" * 400, "9" * 400),
        ("+", "+"),
        ("0b1", "0b1"),
    ],
)
def test_plain_scalars_follow_yaml_1_2_core(text: str, value: object) -> None:
    source = read(f"a: {text}\n")
    assert source.root is not None
    assert source.root["a"] == value
    assert type(source.root["a"]) is type(value)


def test_not_a_number_is_read() -> None:
    root = read("a: .nan").root
    assert root is not None
    assert math.isnan(root["a"])


def test_every_key_and_value_has_a_position() -> None:
    source = read("a: 1\nbc:\n  - x\n  - {k: 'v', é: [2]}\n")
    root = source.root
    assert root is not None
    assert source.where(root.key_at("bc")) == (2, 1)
    assert source.where(root.value_at("a")) == (1, 4)
    items = root["bc"]
    assert [source.where(mark) for mark in items.marks] == [(3, 5), (4, 5)]
    inner = items[1]
    assert source.where(inner.key_at("é")) == (4, 14)
    assert source.where(inner.value_at("k")) == (4, 9)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_positions_hold_for_every_kind_of_line_end(newline: str) -> None:
    source = read(newline.join(["# x", "a: 1", "b: 2", ""]))
    assert source.root is not None
    assert source.where(source.root.value_at("b")) == (3, 4)


def test_a_byte_order_mark_is_skipped_and_moves_nothing() -> None:
    source = read_bytes(b"\xef\xbb\xbfa: 1\n", Source("f", Path("f")))
    assert source.root == {"a": 1}
    assert source.where(source.root.key_at("a")) == (1, 1)


def test_keys_are_text_as_written() -> None:
    assert read("0417: a\nnull: b\ntrue: c\n'': d\n").root == {"0417": "a", "null": "b", "true": "c", "": "d"}


def test_a_doubled_key_is_reported_with_both_places_and_the_first_stays() -> None:
    source = read("a: 1\nb: 2\na: 3\n")
    assert lines(source) == ["f.yaml:3:1: error TG106: 'a' is defined twice (first in line 1)"]
    assert source.root == {"a": 1, "b": 2}
    assert source.where(source.root.value_at("b")) == (2, 4)


def test_anchors_aliases_merge_keys_and_tags_are_refused_in_one_go() -> None:
    source = read("a: &x {k: 1}\nb: *x\nc: {<<: *x}\nd: !!str 5\ne: &y z\n&q f: 1\n")
    assert [(p.line, p.code) for p in source.problems] == [
        (1, "TG107"),
        (2, "TG107"),
        (3, "TG107"),
        (3, "TG107"),
        (4, "TG108"),
        (5, "TG107"),
        (6, "TG107"),
    ]
    assert source.root is not None
    assert source.root["b"] is BROKEN


def test_a_billion_laughs_stay_a_few_lines() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    source = read(text)
    assert source.root is not None
    assert all(p.code == "TG107" for p in source.problems)


def test_deep_nesting_stops_at_the_limit() -> None:
    source = read("a: " + "[" * 100_000)
    what = f"nested deeper than {MAX_DEPTH} levels (say repeated points in a template)"
    assert lines(source) == [f"f.yaml:1:{3 + MAX_DEPTH}: error TG109: {what}"]
    assert source.root is None


@pytest.mark.parametrize("key", ["? [a, b]\n: c", "{a: b}: c", "? |\n  two\n  lines\n: c", "k" * 600 + ": c"])
def test_keys_must_be_short_plain_text(key: str) -> None:
    source = read(f"{key}\nz: 1\n") if len(key) < 500 else read(f"? {key.split(':', maxsplit=1)[0]}\n: c\nz: 1\n")
    assert [p.code for p in source.problems] == ["TG110"]
    assert source.root == {"z": 1}


def test_a_second_document_is_reported() -> None:
    assert lines(read("a: 1\n---\nb: 2\n")) == [
        "f.yaml:2:1: error TG111: a second document begins here (one file a station)"
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_nothing_is_reported_as_nothing(text: str) -> None:
    assert [p.code for p in read(text).problems] == ["TG104"]


@pytest.mark.parametrize("text", ["just words", "- a\n- b\n", "12"])
def test_a_file_that_is_no_mapping_is_reported(text: str) -> None:
    assert [p.code for p in read(text).problems] == ["TG203"]


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a:\n\t- b: 1\n", 2, "tabs"),
        ("a: @b\n", 1, "quoted"),
        ("a: {k: ${X}}\n", 1, "quoted"),
        ("a: [1, 2\nb: 3\n", 2, ""),
        ("a: 'x\n", 2, ""),
        ("a: b: c\n", 1, ""),
        ("a: \x07\n", 1, ""),
    ],
)
def test_text_that_is_not_yaml_gets_one_problem_at_its_place(text: str, line: int, hint: str) -> None:
    source = read(text)
    assert [(p.code, p.line) for p in source.problems] == [("TG105", line)]
    assert hint in source.problems[0].hint
    assert source.root is None


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as stream:
        stream.truncate(50 * 1024 * 1024)
    source = read_file(path, "big.yaml")
    assert lines(source) == [
        "big.yaml:1:1: error TG102: larger than 16 MiB (one file a station; say repeated points in a template)"
    ]


def test_missing_files_and_directories_are_reported(tmp_path: Path) -> None:
    assert lines(read_file(tmp_path / "no.yaml", "no.yaml")) == ["no.yaml:1:1: error TG101: no such file"]
    assert lines(read_file(tmp_path, "dir")) == ["dir:1:1: error TG101: this is a directory, not a file"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xfea\0", "f:1:1: error TG103: the file is UTF-16 (save it as UTF-8)"),
        (b"a: 1\n\0\0", "f:2:1: error TG103: the file is binary, not text (save it as text in UTF-8)"),
        (
            b"a: 1\nb: \xc3\xa9 \xe9\n",
            "f:2:6: error TG103: not UTF-8 (octet 0xE9) (save the file as UTF-8)",
        ),
    ],
)
def test_other_encodings_are_reported(data: bytes, expected: str) -> None:
    assert lines(read_bytes(data, Source("f", Path("f")))) == [expected]


def test_a_file_with_too_many_errors_is_given_up() -> None:
    source = read("".join(f"a: {i}\n" for i in range(1500)))
    assert len(source.problems) == 1000
    assert source.given_up


@given(st.text(max_size=200) | st.text("{}[]:,-&*!|>'\"#%@` \n\tab1.", max_size=60))
@settings(max_examples=400, deadline=None)
def test_reading_any_text_gives_a_mapping_or_a_problem(text: str) -> None:
    source = read(text)
    assert isinstance(source.root, Map) or source.problems
    for problem in source.problems:
        assert problem.line >= 1
        assert problem.col >= 1


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_reading_any_octets_gives_a_mapping_or_a_problem(data: bytes) -> None:
    source = read_bytes(data, Source("f", Path("f")))
    assert isinstance(source.root, Map) or source.problems
