"""The files of a kept revision are written back: all of them, with the rights that they had, or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from twin_gateway import restoring
from twin_gateway.mapping.check import check
from twin_gateway.restoring import plan_restoring, restore
from twin_gateway.revisions import Revision, RevisionStore

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  {name}:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at: {{MV1/{name}: {{points: {{MMXU1/TotW: {{ioa: 1, type: M_ME_TF_1, unit: kW}}}}}}}}
"""


class Kept:
    """A revision of two files, which have been edited since, and a third that came later."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder / "files", RevisionStore(folder / "data")
        self.folder.mkdir()
        for name in ("F01", "F02"):
            (self.folder / f"{name}.yaml").write_text(STATION.format(name=name))
        mapping, problems = check([self.folder], environ={})
        assert mapping is not None, problems
        self.revision: Revision = self.store.record(mapping, reason="start")
        for name in ("F01", "F02"):
            (self.folder / f"{name}.yaml").write_text("edited")
        (self.folder / "F03.yaml").write_text("later")

    def plan(self) -> restoring.Restoring:
        return plan_restoring(self.store, self.revision, [self.folder])

    def content(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.folder.iterdir())}


def test_an_edited_file_that_is_put_aside_leaves_its_rights_to_the_kept_one(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    edited = kept.folder / "F01.yaml"
    edited.chmod(0o600)
    (kept.folder / "F02.yaml").chmod(0o664)
    told = list(restore(kept.plan()))
    assert [sentence.removeprefix(f"{kept.folder}/") for sentence in told] == [
        "F03.yaml is not of that revision: it is F03.yaml.before-rollback now",
        "F01.yaml is as it was, the edited one is F01.yaml.before-rollback now",
        "F02.yaml is as it was, the edited one is F02.yaml.before-rollback now",
    ]
    assert kept.content() == {
        "F01.yaml": STATION.format(name="F01"),
        "F01.yaml.before-rollback": "edited",
        "F02.yaml": STATION.format(name="F02"),
        "F02.yaml.before-rollback": "edited",
        "F03.yaml.before-rollback": "later",
    }
    assert [(kept.folder / f"{name}.yaml").stat().st_mode & 0o777 for name in ("F01", "F02")] == [0o600, 0o664]


def test_what_cannot_be_written_leaves_every_file_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, copied = Kept(tmp_path), shutil.copyfile
    before, plan = kept.content(), kept.plan()

    def fills_the_disk(source: Path, target: Path) -> None:
        if "F02" in target.name:
            target.write_text("hal")
            raise OSError(28, os.strerror(28))
        copied(source, target)

    monkeypatch.setattr(shutil, "copyfile", fills_the_disk)
    with pytest.raises(OSError, match="No space left"):
        list(restore(plan))
    assert kept.content() == before
