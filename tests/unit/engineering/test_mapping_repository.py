"""The example of a repository of mapping files: what runs before a commit and before a merge does what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from twin_gateway.cli import app

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "mapping-repository"
STATION = "mappings/north/ps01.yaml"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "repository"))
    monkeypatch.chdir(folder)
    return folder


def run(words: str, *files: str) -> tuple[int, str]:
    """A command of the example, in this process."""
    program, *rest = shlex.split(words)
    assert program == "twin-gateway"
    done = CliRunner().invoke(app, [*rest, *files])
    return done.exit_code, done.output


def recipe() -> list[str]:
    return [line for line in (EXAMPLE / "ci.sh").read_text("utf-8").splitlines() if line.startswith("twin-gateway")]


def change(folder: Path, old: str, new: str) -> None:
    path = folder / STATION
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def hooks(folder: Path) -> list[dict[str, Any]]:
    (local,) = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    found: list[dict[str, Any]] = local["hooks"]
    return found


def test_the_example_passes_its_own_recipe_without_any_secret(repository: Path) -> None:
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["./ci.sh"], cwd=repository, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok: 2 devices, 16 points" in done.stdout


def test_the_recipe_stops_at_a_mistake_and_names_its_line(repository: Path) -> None:
    change(repository, "common_address: 1", "common_adress: 1")
    (form, _), (found, told) = map(run, recipe())
    assert (form, found) == (0, 1)
    assert f"{STATION}:10:5: error TG201" in told


def test_the_recipe_stops_at_another_form_and_the_hooks_bring_it_back(repository: Path) -> None:
    before = (repository / STATION).read_text("utf-8")
    change(repository, "MV1/F01: {use: feeder-bay, with: {ioa: 1000}}", "MV1/F01: { with: {ioa: 1000},use: feeder-bay}")
    assert run(recipe()[0]) == (1, f"would change {STATION}\n3 files, 1 to change\n")
    for hook in hooks(repository):
        assert re.search(hook["files"], STATION)
        code, told = run(hook["entry"], *([STATION] if hook.get("pass_filenames", True) else []))
        assert code == 0, told
    assert (repository / STATION).read_text("utf-8") == before


def test_the_hooks_that_the_project_offers_are_commands_it_has() -> None:
    offered = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [hook["id"] for hook in offered] == ["twin-gateway-check", "twin-gateway-fmt"]
    for hook in offered:
        assert run(hook["entry"], "--help")[0] == 0
        assert re.search(hook["files"], STATION)
    exclude = re.compile(offered[1]["exclude"])
    assert all(exclude.search(name) for name in ("gateway.yaml", "a/grid.yml", ".pre-commit-config.yaml"))
    assert exclude.search(STATION) is None
