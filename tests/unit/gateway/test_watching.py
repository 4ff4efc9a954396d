"""What tells that a mapping file is another one, and to whom it belongs."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from twin_gateway.change_desk import ChangeDesk
from twin_gateway.control import user_name
from twin_gateway.watching import GIT_S, Mark, Watch, git_writes, look, owner_of, rsync_writes

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


def test_a_folder_that_goes_while_it_is_looked_at_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "going").mkdir()
    (tmp_path / "a.yaml").write_text("x")
    scan = os.scandir

    def goes(path: Path) -> Any:
        if Path(path).name == "going":
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", goes)
    assert set(look([tmp_path])) == {tmp_path / "a.yaml"}


@pytest.mark.parametrize(
    ("name", "writes"),
    [
        (".station.yaml.AbC12x", True),
        (".F01Q1.cid.0aZ9qq", True),
        (".station.yaml.swp", False),  # of an editor that stays open
        (".#station.yaml", False),
        ("station.yaml.backup", False),
        (".notes.txt.AbC12x", False),
    ],
)
def test_rsync_writes_while_a_file_of_its_has_a_hidden_name_and_not_for_ever(
    tmp_path: Path, name: str, writes: bool
) -> None:
    path = tmp_path / "mappings" / "scl" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert rsync_writes([tmp_path / "mappings", tmp_path / "missing.yaml"]) is writes
    os.utime(path, (0, time.time() - GIT_S - 1))  # of a transfer that was killed
    assert not rsync_writes([tmp_path / "mappings"])


async def test_files_are_not_still_before_rsync_has_brought_the_next(tmp_path: Path) -> None:
    desk = cast(ChangeDesk, SimpleNamespace(paths=(tmp_path,)))
    watch = Watch(desk, apply=True, every=1.0, settle=0.01)
    (tmp_path / "a.yaml").touch()
    coming = tmp_path / ".b.yaml.AbC12x"
    coming.touch()
    still = asyncio.create_task(watch._still(await watch._look()))
    await asyncio.sleep(0.3)
    assert not still.done()
    coming.rename(tmp_path / "b.yaml")
    async with asyncio.timeout(5):
        assert set(await still) == {tmp_path / "a.yaml", tmp_path / "b.yaml"}
