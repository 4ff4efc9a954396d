"""Mapping files in one form: the same meaning, the same comments, the same text the second time."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.tidy import WIDTH, NotTidiedError, tidy
from twin_gateway.mapping.check import check
from twin_gateway.mapping.difference import difference
from twin_gateway.mapping.model import Mapping

MAPPINGS = Path(__file__).parents[3] / "mappings"
SHIPPED = sorted(
    path
    for folder in ("demo", "templates")
    for path in (MAPPINGS / folder).glob("*.yaml")
    if path.name not in ("gateway.yaml", "grid.yaml", "plates.yaml")
)
UNTIDY = """\
# the station
devices:   # all of them

    rtu1:
        at:
            MV1/F05:
                points:
                    # the active power
                    MMXU1/TotW:   {deadband: 5 kW, unit: kW,type: M_ME_TF_1,   ioa: 1001}   # by the book


                    QA1/CSWI1/Pos: {control: {model: sbo-normal, ioa: 5001, type: C_DC_NA_1}, type: M_DP_TB_1, ioa: 7}
                    # no more here
                use: bay
        host: 10.4.7.10   # the first
        common_address: 7
        protocol: iec104
    # ---- meters
place: north/PS01
templates: {bay: {points: {}, protocol: iec104}}
grid: dso1
mapping: 1
# the end
"""
TIDY = """\
mapping: 1
grid: dso1
place: north/PS01
templates: {bay: {protocol: iec104, points: {}}}
# the station
devices:   # all of them
  rtu1:
    protocol: iec104
    host: 10.4.7.10   # the first
    common_address: 7
    at:
      MV1/F05:
        use: bay
        points:
          # the active power
          MMXU1/TotW:   {ioa: 1001, type: M_ME_TF_1, unit: kW, deadband: 5 kW}    # by the book

          QA1/CSWI1/Pos: {ioa: 7, type: M_DP_TB_1, control: {ioa: 5001, type: C_DC_NA_1, model: sbo-normal}}
          # no more here
  # ---- meters
# the end
"""


def mapped(folder: Path, text: str) -> Mapping:
    path = folder / "station.yaml"
    path.write_text(text, "utf-8")
    mapping, problems = check([path], environ={})
    assert mapping is not None, problems
    return mapping


def test_keys_are_sorted_indented_and_commented_as_people_write_them() -> None:
    assert tidy(UNTIDY) == TIDY


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_have_the_form(path: Path) -> None:
    assert tidy(path.read_text("utf-8")) == path.read_text("utf-8")


def test_a_long_line_in_braces_is_broken_between_its_members_at_any_depth() -> None:
    places = ", ".join(f"MV1/F{number:02}: {{use: feeder-bay-104, with: {{ioa: {number}00}}}}" for number in range(9))
    text = f"mapping: 1\ndevices:\n  r: {{protocol: iec104, host: h, at: {{{places}}}}}  # one\n"
    out = tidy(text)
    lines = out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[2] == "  r:"
    assert lines[-1].endswith("}}}  # one")
    assert tidy(out) == out


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("mapping: 1\ndevices: {\n", 3, "not YAML"),
        ("mapping: 1\nmapping: 1\n", 2, "defined twice"),
        ("mapping: 1\ngrid: |\n  dso1\n", 2, "block form"),
        ("---\nmapping: 1\n", 1, "document marks"),
        ("{mapping: 1}\n", 1, "not in braces"),
        ("mapping: &a 1\n", 1, "anchor"),
    ],
)
def test_what_cannot_be_read_or_laid_out_is_told_with_its_place(text: str, line: int, what: str) -> None:
    with pytest.raises(NotTidiedError) as told:
        tidy(text, "a.yaml")
    (problem, *_) = told.value.problems
    assert problem.line == line
    assert what in problem.message


def test_comments_inside_braces_stay_where_they_are() -> None:
    text = "mapping: 1\ndevices:\n  a: {host: h, # the host\n     protocol: iec104}\n"
    out = tidy(text)
    assert "# the host" in out
    assert tidy(out) == out


# ---- any layout of one content

POINT_KEYS = ("MMXU1/TotW", "MMXU1/Hz", "MMXU1/TotVAr", "MMXU2/TotW", "MMXU2/Hz")


def content(chance: random.Random) -> dict[str, Any]:
    """A mapping file that is right, with fields in any order."""

    def shuffled(fields: dict[str, Any]) -> dict[str, Any]:
        items = list(fields.items())
        chance.shuffle(items)
        return dict(items)

    devices: dict[str, Any] = {}
    for number in range(chance.randint(1, 3)):
        points: dict[str, Any] = {}
        for at, key in enumerate(chance.sample(POINT_KEYS, chance.randint(1, 5))):
            fields: dict[str, Any] = {"ioa": 100 + at, "type": "M_ME_TF_1"}
            more = {"scale": 0.1, "offset": -2.5, "stale_after": "15 min", "display_name": "a # no comment: 'x'"}
            fields |= {name: value for name, value in more.items() if chance.random() < 0.3}
            if chance.random() < 0.3 and key.endswith("TotW"):
                fields["alarm"] = shuffled({"hi": "3 W", "delay": "5 s", "code": "P08"})
            points[key] = shuffled(fields)
        place = {"points": points, **({"aliases": [f"rds:=C1.Q{number}"]} if chance.random() < 0.4 else {})}
        device = {"protocol": "iec104", "host": f"10.0.0.{number}", "common_address": 7, "k": 12, "w": 8}
        devices[f"rtu{number}"] = shuffled({**device, "at": {f"MV1/F{number}": shuffled(place)}})
    return shuffled({"mapping": 1, "grid": "dso1", "place": "north/PS01", "devices": devices})


class Writer:
    """Writes a content as somebody might: any indentation, braces or not, comments and blank lines anywhere."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.notes = 0

    def note(self, odds: float) -> str:
        if self.chance.random() > odds:
            return ""
        self.notes += 1
        return f"# note {self.notes}: {{[x, 'y"

    def scalar(self, value: object) -> str:
        if not isinstance(value, str):
            return str(value)
        if "#" in value or self.chance.random() < 0.2:
            return "'" + value.replace("'", "''") + "'" if self.chance.random() < 0.5 else f'"{value}"'
        return value

    def flow(self, value: object) -> str:
        space = self.chance.choice(("", " "))
        if isinstance(value, dict):
            inner = f",{space or ' '}".join(f"{key}: {self.flow(item)}" for key, item in value.items())
            return f"{{{space}{inner}{space}}}"
        if isinstance(value, list):
            return f"[{', '.join(map(self.flow, value))}]"
        return self.scalar(value)

    def own(self, indent: int) -> list[str]:
        lines = [" " * indent + text for _ in range(2) if (text := self.note(0.15))]
        return [*lines, *([""] * self.chance.choice((0, 0, 0, 1, 3)))]

    def block(self, value: object, indent: int) -> list[str]:
        lines: list[str] = []
        pad = " " * indent
        members = value.items() if isinstance(value, dict) else [(None, item) for item in value]  # type: ignore[attr-defined] # the other kind of branch is a list
        for key, item in members:
            lines += self.own(self.chance.choice((indent, indent, 0)))
            head = pad + (f"{key}:" if key else "-")
            behind = self.note(0.15)
            behind = behind and " " * self.chance.randint(1, 9) + behind
            if isinstance(item, dict | list) and self.chance.random() < (0.4 if key and len(pad) > 4 else 0.95):
                inner = indent + self.chance.randint(1, 4)
                if key is None:
                    first, *rest = self.block(item, indent + 2)
                    while not first.strip() or first.lstrip().startswith("#"):
                        first = rest.pop(0) if rest else ""
                    lines += [head + first[indent + 1 :], *rest]
                else:
                    lines += [head + behind, *self.block(item, inner)]
            elif self.chance.random() < 0.2 and key:
                lines += [head + behind, *self.own(indent + 1), " " * (indent + 3) + self.flow(item) + self.note(0.0)]
            else:
                lines.append(head + " " * self.chance.randint(1, 6) + self.flow(item) + behind)
        return lines


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_any_layout_keeps_its_meaning_and_comments_and_is_left_alone_the_second_time(seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(chance)
    text = "\n".join([*writer.block(content(chance), 0), *writer.own(0)]) + "\n" * chance.randint(0, 2)
    out = tidy(text)
    assert tidy(out) == out
    assert sorted(re.findall(r"# note \d+: \{\[x, 'y", text)) == sorted(re.findall(r"# note \d+: \{\[x, 'y", out))


@pytest.mark.parametrize("seed", range(20))
def test_the_checked_mapping_of_any_layout_is_the_same_after_it(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    text = "\n".join(Writer(chance).block(content(chance), 0)) + "\n"
    assert difference(mapped(tmp_path, text), mapped(tmp_path, tidy(text))).devices == ()


# ---- the command

RUN = CliRunner()


def test_fmt_writes_what_has_another_form_and_says_so(tmp_path: Path) -> None:
    untidy, broken, done = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    untidy.write_bytes(b"\xef\xbb\xbf" + UNTIDY.replace("\n", "\r\n").encode())
    untidy.chmod(0o640)
    broken.write_text("devices: {\n")
    done.write_text(TIDY)
    before = untidy.read_bytes()
    told = RUN.invoke(app, ["fmt", "--check", str(tmp_path)])
    assert told.exit_code == 1
    assert f"would change {untidy}" in told.output
    assert "3 files, 1 to change" in told.output
    assert untidy.read_bytes() == before
    told = RUN.invoke(app, ["fmt", str(tmp_path)])
    assert told.exit_code == 1  # for the broken one
    assert "TG105" in told.output
    assert broken.read_text() == "devices: {\n"
    assert untidy.read_bytes() == TIDY.encode()
    assert untidy.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml", "c.yaml"]
    assert RUN.invoke(app, ["fmt", "--check", str(untidy), str(done)]).exit_code == 0
