"""The check in a process of its own gives what the check in this one gives, in pieces."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from twin_gateway import checked_apart
from twin_gateway.checked_apart import CheckingError, Files, check_apart, first_problems, in_pieces, put_together
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.mapping.check import check
from twin_gateway.mapping.difference import difference

DEMO = Path(__file__).parents[3] / "mappings"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever secrets the demo asks for are there."""
    _, problems = check([DEMO], environ={})
    for problem in problems:
        if problem.code == "TG604":
            monkeypatch.setenv(re.findall(r"TWIN_\w+", problem.message)[0], "00" * 16)


def test_the_mapping_in_pieces_is_the_same_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_apart, "_PIECE", 7)
    here, problems = check([DEMO])
    assert here is not None, problems
    pieces = in_pieces(Files([DEMO]))
    there = put_together(pieces)
    assert len(pieces) > 10
    assert there.mapping is not None
    assert not difference(here, there.mapping)
    assert there.mapping.files == here.files
    assert there.mapping.former == here.former
    assert [each.address for _, each in there.mapping.points()] == [each.address for _, each in here.points()]
    assert list(there.problems) == problems
    profiles = {id(point.profile) for _, point in there.mapping.points()}
    assert len(profiles) == len({point.profile for _, point in there.mapping.points()})


async def test_a_verdict_of_another_process_says_what_is_wrong_and_how_much(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mapping: 1\ngrid: dso1\ndevices: {a: 1, b: 2, c: 3, d: 4, e: 5}\n")
    checked = await check_apart(Files([tmp_path]))
    assert (checked.mapping, checked.sound, checked.errors) == (None, False, 5)
    told = list(first_problems(checked.problems, checked.errors))
    assert len(told) == 4
    assert told[0].startswith(f"{tmp_path / 'a.yaml'}:3:")
    assert told[-1] == "and 2 more"


def test_only_the_verdict_holds_no_mapping() -> None:
    checked = put_together(in_pieces(Files([DEMO], wanted=False)))
    assert (checked.mapping, checked.sound, checked.errors) == (None, True, 0)


@pytest.mark.parametrize("error", [ComputeError("the compute process died"), OSError("no more memory")], ids=str)
async def test_a_check_that_fails_says_nothing_of_the_files(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(Worker, "run_within", fails)
    with pytest.raises(CheckingError, match=f"could not be checked: .*{error}"):
        await check_apart(Files([DEMO]))


@pytest.mark.parametrize("name", ["a.yaml", "x.cid"])
def test_a_pipe_among_the_files_is_told_and_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "b.yaml").write_text(
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"
        "  ied: {protocol: iec61850, host: 10.0.0.1, scl: x.cid, at: {MV1/F01: {all: LD0}}}\n"
    )
    os.mkfifo(tmp_path / name)
    checked = put_together(in_pieces(Files([tmp_path])))
    assert checked.problems[0].code in ("TG101", "TG607")
    assert list(checked.files) == [tmp_path / "b.yaml"]
