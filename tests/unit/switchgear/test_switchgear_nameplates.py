"""Nameplates from YAML: what is read, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_gateway.functions.switchgear_nameplates import read_nameplates

HEAD = "switchgear: 1\ngrid: dso1\nplace: north\n"
GOOD = (
    HEAD
    + """\
types:
  v: {medium: sf6, rated_current: 630 A, breaking_current: 20 kA, operations: 10000, breaking_operations: 100}
equipment:
  PS01/MV1/F01/QA1: {type: v, opening_time: 45 ms, gas: sf6, fill: 140 kPa, alarm: 1.3 bar, block: 120 kPa,
                     pressure: gauge, altitude: 400 m, wear: {A: 10, B: 12, C: 11}, ambient: PS01/MV1/_/_/TTMP1/TmpSv}
  dso1/north/PS01/MV1/F02/QA1: {rated_current: 400 A, operations: 5000, curve: [[400 A, 5000], [16 kA, 50]],
                                gas: {constant: 180.2, coefficients: [0, -1.0e-3, 0, 0]}}
"""
)


def read(folder: Path, text: str) -> tuple[dict, list[str]]:
    path = folder / "plates.yaml"
    path.write_text(text)
    found, problems = read_nameplates(path)
    return found, [str(problem).split("plates.yaml:")[1] for problem in problems]


def test_reads_types_units_gas_and_curves(tmp_path: Path) -> None:
    found, problems = read(tmp_path, GOOD)
    assert not problems
    first, second = found["dso1/north/PS01/MV1/F01/QA1"], found["dso1/north/PS01/MV1/F02/QA1"]
    assert first.wear is not None and first.wear.exponent == 1.7 and first.wear.breaking_current == 20_000.0
    assert first.gas is not None and first.gas.limits is not None and first.gas.gauge
    assert first.gas.limits.alarm == pytest.approx(130_000.0)
    assert (first.opening_time, first.wear_start["B"]) == (pytest.approx(0.045), 12.0)
    assert first.ambient == "dso1/north/PS01/MV1/_/_/TTMP1/TmpSv"
    assert second.wear is not None and second.wear.permitted(16_000.0) == pytest.approx(50.0)
    assert second.gas is not None and second.gas.gas.constant == 180.2 and second.gas.limits is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PS01/MV1/F01/QA1: {rated_curent: 630 A}", "5:22: error TG201"),
        ("PS01/MV1/F01/QA1: {rated_current: 630}", "5:37: error TG504"),
        ("PS01/MV1/F01/QA1: {rated_current: 630 V}", "5:37: error TG503"),
        ("PS01/MV1/F01/QA1: {type: w}", "5:28: error TG204"),
        ("PS01/MV1/F01/QA1: {gas: sf7}", "5:27: error TG204"),
        ("PS01/MV1/F01/QA1: {breaking_operations: 100}", "5:21: error TG202"),
        ("PS01/MV1/F01/QA1: {gas: sf6, fill: 140 kPa}", "5:21: error TG202"),
        ("PS01/MV1/F01/QA1: {gas: sf6, fill: 120 kPa, alarm: 130 kPa, block: 110 kPa}", "5:21: error TG206"),
        ("PS01/MV1/F01/QA1: {fill: 120 kPa}", "5:21: error TG202"),
        ("PS01/MV1/F01/QA1: {rated_current: 1 A, operations: 1, curve: [[2 A, 5], [1 A, 4]]}", "5:64: error TG206"),
        ("PS01/MV1/F01: {rated_current: 630 A}", "5:3: error TG402"),
        ("PS01/MV1//QA1: {rated_current: 630 A}", "5:3: error TG401"),
        ("PS01/MV1/F01/QA1: 7", "5:21: error TG203"),
        ("PS01/MV1/F01/QA1: {wear: {D: 1}}", "5:28: error TG201"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, line: str, expected: str) -> None:
    found, problems = read(tmp_path, f"{HEAD}equipment:\n  {line}\n")
    assert not found
    assert len(problems) == 1
    assert problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("grid: dso1\n", "TG202"),
        ("switchgear: 2\ngrid: dso1\n", "TG205"),
        ("switchgear: 1\n", "TG202"),
        ("switchgear: 1\ngrid: dso1\nequpment: {}\n", "TG201"),
        ("", "TG104"),
    ],
)
def test_the_frame_of_the_file_is_checked(tmp_path: Path, text: str, code: str) -> None:
    found, problems = read(tmp_path, text)
    assert not found and code in problems[0]


def test_a_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    found, problems = read_nameplates(tmp_path / "none.yaml")
    assert not found and problems[0].code == "TG101"
