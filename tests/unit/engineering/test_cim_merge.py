"""CIM imported again into a grid file that people edited: each value is that of whoever changed it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cim_text import model
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.cim_import import import_cim
from twin_gateway.engineering.grid_merge import SECTION, GridMerged, entries_of, merge_grid
from twin_gateway.engineering.memory import keep_section
from twin_gateway.grid.model import Grid, LoadData
from twin_gateway.grid.yaml_grid import read_grid

RUN = CliRunner()
Loads = dict[str, tuple[int, int]]
"""Name -> active and reactive power in kW and kvar."""


def imported(folder: Path, loads: Loads, *, merging: bool = True) -> list[str]:
    """Import loads into `grid.yaml`; what was told of the merge."""
    text = model({name: (1000 * p, 1000 * q) for name, (p, q) in loads.items()})
    (folder / "model.xml").write_text(text, "utf-8")
    found = import_cim([folder / "model.xml"], grid="g", area="north")
    path = folder / "grid.yaml"
    merged = merge_grid(path, found.text) if merging else GridMerged(found.text, entries=entries_of(found.text))
    assert merged.text is not None, merged.problems
    path.write_text(merged.text, "utf-8")
    assert not keep_section(path, SECTION, merged.entries)
    return [str(problem) for problem in merged.problems]


def text_of(folder: Path) -> str:
    return (folder / "grid.yaml").read_text("utf-8")


def loads_of(folder: Path) -> Loads:
    grid, problems = read_grid([folder / "grid.yaml"])
    assert isinstance(grid, Grid), problems
    return {
        address.rpartition("/LD")[2]: (round(item.data.p / 1000), round(item.data.q / 1000))
        for address, item in grid.equipment.items()
        if isinstance(item.data, LoadData)
    }


def by_hand(folder: Path, name: str, power: tuple[int, int]) -> None:
    """Give a load other values, and a remark."""
    text = text_of(folder)
    row = next(row for row in text.split("\n") if f"/LD{name}:" in row)
    new = re.sub(r"\bp: [\d.]+ k?W", f"p: {power[0]} kW", row)
    new = re.sub(r"\bq: [\d.]+ (k?var)", f"q: {power[1]} kvar", new)
    (folder / "grid.yaml").write_text(text.replace(row, f"{new}   # mine"), "utf-8")


NAMES = ("c", "d", "e", "f")
POWERS = st.tuples(st.integers(1, 3), st.integers(1, 3))
TABLE = st.dictionaries(st.sampled_from(NAMES), POWERS, min_size=1)


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(first=TABLE, hand=TABLE, second=TABLE, out=st.sets(st.sampled_from(NAMES), max_size=1))
def test_each_value_is_that_of_whoever_changed_it(
    tmp_path_factory: pytest.TempPathFactory, first: Loads, hand: Loads, second: Loads, out: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("cim")
    imported(folder, first, merging=False)
    for name in hand.keys() & first.keys():
        by_hand(folder, name, hand[name])
    taken_out = out & first.keys() if len(first) > 1 else set()
    rows = [row for row in text_of(folder).split("\n") if not any(f"/LD{name}:" in row for name in taken_out)]
    (folder / "grid.yaml").write_text("\n".join(rows), "utf-8")
    ours = loads_of(folder)
    told = imported(folder, second)
    now = loads_of(folder)
    assert set(now) == set(ours) | (set(second) - taken_out)
    for name, (p, q) in now.items():
        for i, (label, got) in enumerate((("p", p), ("q", q))):
            if name not in second:
                assert got == ours[name][i]
                continue
            if name not in ours:
                assert got == second[name][i]
                continue
            b, h, s = first[name][i], ours[name][i], second[name][i]
            assert got == (s if h == b else h), text_of(folder)
            conflict = any(f"LD{name}: {label} is" in line for line in told)
            assert conflict == (len({b, h, s}) == 3), told
    assert text_of(folder).count("# mine") == len((hand.keys() & first.keys()) - taken_out)
    for name in first.keys() - second.keys() - taken_out:
        assert any(f"LD{name}' is not in the import any more" in line for line in told)
    before = text_of(folder)
    assert imported(folder, second) == told
    assert text_of(folder) == before


def test_without_a_memory_the_files_values_stay_and_differences_are_told(tmp_path: Path) -> None:
    imported(tmp_path, {"c": (1, 1)}, merging=False)
    (tmp_path / ".import" / "grid.yaml.json").unlink()
    (told,) = imported(tmp_path, {"c": (2, 1), "d": (3, 3)})
    assert re.search(r"grid\.yaml:\d+:\d+: warning TG736: .*LDc: p is 1 kW in the file, 2 kW in the import", told)
    assert loads_of(tmp_path) == {"c": (1, 1), "d": (3, 3)}


def test_an_entry_that_is_laid_out_otherwise_is_told_and_the_others_are_merged(tmp_path: Path) -> None:
    imported(tmp_path, {"c": (1, 1), "d": (1, 1)}, merging=False)
    text = text_of(tmp_path)
    row = next(row for row in text.split("\n") if "/LDc:" in row)
    key, _, fields = row.partition(": {")
    lines = "".join(f"\n    {item}" for item in fields.rstrip("}").split(", "))
    opened = key + ":" + lines.replace("p: 1 kW", "p: >-\n      1 kW")
    assert opened.count("\n") > 2
    (tmp_path / "grid.yaml").write_text(text.replace(row, opened), "utf-8")
    (told,) = imported(tmp_path, {"c": (2, 1), "d": (3, 1)})
    assert "LDc: p is 1 kW in the file, 2 kW in the import, and nobody has changed it by hand: 'p' stands on" in told
    assert "change it by hand" in told
    assert loads_of(tmp_path) == {"c": (1, 1), "d": (3, 1)}
    assert opened in text_of(tmp_path)
    assert imported(tmp_path, {"c": (2, 1), "d": (3, 1)}) == [told]


def test_a_file_with_errors_and_one_of_another_grid_are_not_merged_into(tmp_path: Path) -> None:
    imported(tmp_path, {"c": (1, 1)}, merging=False)
    good = text_of(tmp_path)
    for wrong, what in ((good.replace("grid: g", "grid: h"), "grid is h in the file"), ("grid_model: [", "TG")):
        (tmp_path / "grid.yaml").write_text(wrong, "utf-8")
        arguments = ["import", "cim", str(tmp_path / "model.xml"), "--grid", "g", "--area", "north", "--mode", "merge"]
        done = RUN.invoke(app, [*arguments, "--to", str(tmp_path / "grid.yaml")])
        assert (done.exit_code, what in done.stderr) == (1, True), done.output
        assert text_of(tmp_path) == wrong


def test_the_command_writes_remembers_and_merges(tmp_path: Path) -> None:
    imported(tmp_path, {"c": (1, 1)}, merging=False)
    (tmp_path / "grid.yaml").unlink()
    arguments = ["import", "cim", str(tmp_path / "model.xml"), "--grid", "g", "--area", "north"]
    arguments += ["--to", str(tmp_path / "grid.yaml")]
    assert RUN.invoke(app, arguments).exit_code == 0
    model = (tmp_path / "model.xml").read_text("utf-8").replace("p>1000<", "p>2000<")
    (tmp_path / "model.xml").write_text(model, "utf-8")
    assert RUN.invoke(app, arguments).exit_code == 1
    done = RUN.invoke(app, [*arguments, "--mode", "merge"])
    assert (done.exit_code, "0 new entries, 1 changed" in done.stderr) == (0, True), done.output
    assert loads_of(tmp_path) == {"c": (2, 1)}
    (tmp_path / "model.xml").write_text(model.replace("p>2000<", "p>3000<"), "utf-8")
    document = json.loads(RUN.invoke(app, [*arguments, "--mode", "merge", "--json"]).stdout)
    assert (document["ok"], document["added"], document["changed"]) == (True, 0, 1)
    assert loads_of(tmp_path) == {"c": (3, 1)}


def test_a_memory_of_nonsense_is_told_and_made_anew(tmp_path: Path) -> None:
    imported(tmp_path, {"c": (1, 1)}, merging=False)
    kept = tmp_path / ".import" / "grid.yaml.json"
    for content in ("{", '{"import": 1, "grid": {"equipment": {"x": 5}}}', '{"import": 1, "grid": 3}'):
        kept.write_text(content, "utf-8")
        (told,) = imported(tmp_path, {"c": (1, 1)})
        assert "cannot be read" in told
    assert imported(tmp_path, {"c": (1, 1)}) == []
