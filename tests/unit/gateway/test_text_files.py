"""A file of people is written whole or not at all, and stays theirs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twin_gateway.text_files import replace_text


def test_a_file_keeps_its_rights_and_its_owner_and_a_link_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda _path, user, group: given.append((user, group)))
    real, link = tmp_path / "real.yaml", tmp_path / "ps01.yaml"
    real.write_text("old\n", "utf-8")
    real.chmod(0o640)
    link.symlink_to(real)
    replace_text(link, "new\r\n")
    assert link.is_symlink()
    assert real.read_bytes() == b"new\r\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert given == [(os.getuid(), os.getgid())]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ps01.yaml", "real.yaml"]


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "like").touch()
    replace_text(tmp_path / "new", "text\n")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "like").stat().st_mode


def test_what_fails_leaves_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ps01.yaml"
    path.write_text("old\n", "utf-8")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_text(path, "new\n")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("ps01.yaml", "old\n")]
