"""What tells that a mapping file is another one, and to whom it belongs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from twin_gateway.control import user_name
from twin_gateway.watching import GIT_S, Mark, git_writes, look, owner_of

A, B = Path("a.yaml"), Path("b.yaml")
NOBODY = 65_000


def mark(time: int = 1, owner: int = NOBODY) -> Mark:
    return Mark(time, 10, 100, owner)


@pytest.mark.parametrize(
    ("before", "after", "owner"),
    [
        ({A: mark()}, {A: mark(2)}, NOBODY),
        ({A: mark(), B: mark(owner=1)}, {A: mark(2), B: mark(owner=1)}, NOBODY),
        ({}, {A: mark(), B: mark()}, NOBODY),
        ({A: mark(), B: mark()}, {A: mark(2), B: mark(2, NOBODY + 1)}, os.getuid()),
        ({A: mark()}, {}, os.getuid()),
    ],
)
def test_a_change_is_that_of_the_owner_of_all_changed_files(
    before: dict[Path, Mark], after: dict[Path, Mark], owner: int
) -> None:
    assert owner_of(before, after) == user_name(owner)


def test_git_writes_while_it_holds_the_index_and_not_for_ever(tmp_path: Path) -> None:
    index, files = tmp_path / ".git" / "worktrees" / "field", tmp_path / "field" / "mappings"
    index.mkdir(parents=True)
    files.mkdir(parents=True)
    (tmp_path / "field" / ".git").write_text(f"gitdir: {index}\n")
    assert not git_writes([files])
    (index / "index.lock").touch()
    assert git_writes([files / "a.yaml"])
    os.utime(index / "index.lock", (0, time.time() - GIT_S - 1))  # of a git that was killed
    assert not git_writes([files])


def test_files_folders_and_what_is_named_are_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "mappings"
    (folder / "scl").mkdir(parents=True)
    wanted = [folder / "a.yaml", folder / "scl" / "F01Q1.cid", tmp_path / "b.yaml", tmp_path / "named.icd"]
    for path in [*wanted, folder / "notes.txt", folder / ".#a.yaml", folder / "a.yaml~", tmp_path / "other.yaml"]:
        path.write_text("x")
    paths = [folder, tmp_path / "b.yaml", tmp_path / "missing.yaml"]
    assert set(look(paths, [tmp_path / "named.icd"])) == set(wanted)
