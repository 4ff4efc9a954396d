"""Every golden file prints exactly the lines beside it; `REWRITE_GOLDEN=1` writes them anew for review."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from twin_gateway.drivers import registry
from twin_gateway.mapping import problem
from twin_gateway.mapping.check import check, run_check

GOLDEN = Path(__file__).parent / "golden"
ENVIRON = {"GOOD_KEY": "00" * 16, "SHORT_KEY": "0A", "M1_EK": "11" * 16}
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml") if not path.stem.endswith(".second"))


def printed(case: str) -> str:
    files = [path for path in (Path(f"{case}.yaml"), Path(f"{case}.second.yaml")) if path.exists()]
    mapping, problems = check(files, environ=ENVIRON)
    assert mapping is None
    return "".join(f"{p}\n" for p in problems)


@pytest.mark.parametrize("case", CASES)
def test_check_prints_exactly_the_expected_lines(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    monkeypatch.setattr(registry, "_plugins", dict)  # whatever else is installed beside the gateway
    expected = GOLDEN / f"{case}.expected"
    if os.environ.get("REWRITE_GOLDEN"):
        expected.write_text(printed(case), "utf-8")
    assert printed(case) == expected.read_text("utf-8")


LINES = [line for path in sorted(GOLDEN.glob("*.expected")) for line in path.read_text("utf-8").splitlines()]
PARTS = re.compile(
    r"(?P<file>\S+\.yaml):(?P<line>\d+):(?P<col>\d+): (?P<severity>error|warning) (?P<code>TG\d{3}): "
    r"(?P<wrong>\S.{8,}?) \((?P<todo>[^ )][^()]*(\([^()]*\)[^()]*)*)\)"
)


def text_of(name: str) -> str:
    """What stands in a golden file; octets that are no text stand for one character each."""
    data = (GOLDEN / name).read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return data.decode(encoding, "replace").removeprefix("\ufeff")


@pytest.mark.parametrize("line", LINES)
def test_each_line_names_file_line_column_code_what_is_wrong_and_what_to_do(line: str) -> None:
    found = PARTS.fullmatch(line)
    assert found is not None
    rows = re.split(r"\r\n|\r|\n", text_of(found["file"]))
    row, col = int(found["line"]), int(found["col"])
    assert 1 <= row <= len(rows)
    assert 1 <= col <= len(rows[row - 1]) + 1
    assert found["code"] in problem.CODES
    assert found["todo"] != found["wrong"]


def test_the_golden_files_hold_two_hundred_different_mistakes() -> None:
    parts = [found for line in LINES if (found := PARTS.fullmatch(line))]
    assert len({(found["code"], found["wrong"]) for found in parts if found["severity"] == "error"}) >= 200
    # These are not faults of a text that could stand in a folder: sizes, missing files, whole models.
    shown = {found["code"] for found in parts}
    assert {code for code in problem.CODES if code < "TG7"} - shown <= {"TG101", "TG102", "TG112", "TG609"}


def test_no_message_speaks_the_language_of_a_library() -> None:
    for path in GOLDEN.glob("*.expected"):
        assert not re.search(r"input should|string should|pydantic|unable to parse", path.read_text("utf-8")), path.name


def test_every_code_is_documented_and_used() -> None:
    package = Path(problem.__file__).parent
    used = {
        code
        for path in package.glob("*.py")
        if path.name != "problem.py"
        for code in re.findall(r'"(TG\d{3})"', path.read_text("utf-8"))
    }
    assert used == set(problem.CODES)


def test_a_literal_secret_never_shows_in_any_message() -> None:
    for path in GOLDEN.glob("*.expected"):
        assert "D0D1D2D3" not in path.read_text("utf-8")


def test_all_files_together_print_the_same_lines_in_the_same_order_every_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(GOLDEN)
    outputs = []
    for _ in range(2):
        assert run_check([Path()], environ=ENVIRON) == 1
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    places = [line.split(":")[:3] for line in outputs[0].splitlines()[:-1]]
    keys = [(file, int(line), int(col)) for file, line, col in places]
    assert keys == sorted(keys)
