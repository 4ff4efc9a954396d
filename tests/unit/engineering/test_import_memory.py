"""What changed in the source is changed in the file, what people changed stays, and where both did it is told."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import scl_text as t
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.engineering.column_map import read_map
from twin_gateway.engineering.list_import import import_list
from twin_gateway.engineering.memory import keep, meanings
from twin_gateway.engineering.merge import merge, write_anew
from twin_gateway.engineering.mode import Mode
from twin_gateway.engineering.scl_run import Request, run_import
from twin_gateway.mapping.check import check
from twin_gateway.mapping.point import MappedPoint

RUN = CliRunner()


def points(folder: Path) -> dict[str, MappedPoint]:
    """The points of `ps01.yaml` by address below the site."""
    mapping, problems = check([folder / "ps01.yaml"])
    assert mapping is not None, f"{problems}\n{(folder / 'ps01.yaml').read_text()}"
    return {point.address.split("/", 3)[3]: point for _, point in mapping.points()}


def text_of(folder: Path) -> str:
    return (folder / "ps01.yaml").read_text("utf-8")


def edit(folder: Path, old: str, new: str) -> None:
    text = text_of(folder)
    assert text.count(old) == 1, text
    (folder / "ps01.yaml").write_text(text.replace(old, new), "utf-8")


# Point lists

MAP = """\
list: 1
grid: g
place: north/PS01
device: rtu
devices: {{rtu: {{host: {host}, common_address: 7}}}}
columns: {{address: a, ioa: ioa, type: type, unit: unit, scale: scale, deadband: deadband, name: name}}
"""
HEAD = "a;ioa;type;unit;scale;deadband;name\n"


@dataclass
class Row:
    """A measured value of a list."""

    unit: str = "kW"
    scale: str = ""
    deadband: str = ""
    name: str = ""

    def text(self, number: int, key: str) -> str:
        return f"MV1/F01/_/MMXU1/{key};{number};36;{self.unit};{self.scale};{self.deadband};{self.name}\n"


def from_list(folder: Path, rows: str, *, merging: bool = True, host: str = "10.0.0.1") -> list[str]:
    """Import a list into `ps01.yaml`, as the command does; what was told."""
    (folder / "map.yaml").write_text(MAP.format(host=host), "utf-8")
    (folder / "list.csv").write_text(HEAD + rows, "utf-8")
    path = folder / "ps01.yaml"
    found = import_list(folder / "list.csv", read_map(folder / "map.yaml"))
    assert found.draft is not None and not found.errors, found.problems
    merged = merge(path, found.draft) if merging else write_anew(path, found.draft, templates=False)
    assert merged.text is not None, merged.problems
    path.write_text(merged.text, "utf-8")
    assert not keep(path, merged.memory)
    return [str(problem) for problem in merged.problems]


KEYS = ["TotW", "TotVAr", "TotVA"]
UNITS = {"TotW": ["kW", "MW"], "TotVAr": ["kvar", "Mvar"], "TotVA": ["kVA", "MVA"]}
SCALES, DEADBANDS, NAMES = ["", "0.5", "2"], ["", "1", "5"], ["", "one", "two"]
TABLE = st.fixed_dictionaries({
    key: st.builds(Row, *map(st.sampled_from, (UNITS[key], SCALES, DEADBANDS, NAMES))) for key in KEYS
})  # fmt: skip
FIELDS = ("scale", "deadband", "display_name")


def listed(table: dict[str, Row]) -> str:
    return "".join(row.text(number, key) for number, key in enumerate(KEYS, 100) if (row := table[key]))


def line_of(key: str, row: Row, number: int) -> str:
    """A line as a person writes it: fields in another order, and with a remark."""
    said = {"unit": row.unit, "scale": row.scale, "deadband": row.deadband, "display_name": row.name}
    unit = UNITS[key][0]
    said["deadband"] = f"{row.deadband} {unit if row.unit == unit else UNITS[key][1]}" if row.deadband else ""
    fields = ", ".join(f"{name}: {value}" for name, value in said.items() if value)
    return f"MMXU1/{key}:   {{{fields}, type: M_ME_TF_1, ioa: {number}}}  # by hand"


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(first=TABLE, hand=TABLE, second=TABLE, touched=st.sets(st.sampled_from(KEYS)))
def test_of_a_list_each_value_is_that_of_whoever_changed_it(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, Row],
    hand: dict[str, Row],
    second: dict[str, Row],
    touched: set[str],
) -> None:
    folder = tmp_path_factory.mktemp("list")
    from_list(folder, listed(first), merging=False)
    base = {key: meanings(point) for key, point in points(folder).items()}
    lines = text_of(folder).split("\n")
    for i, line in enumerate(lines):
        found = re.match(r"( +)MMXU1/(\w+):", line)
        if found and found[2] in touched:
            number = 100 + KEYS.index(found[2])
            lines[i] = found[1] + line_of(found[2], hand[found[2]], number)
    (folder / "ps01.yaml").write_text("\n".join(lines), "utf-8")
    ours = {key: meanings(point) for key, point in points(folder).items()}
    told = from_list(folder, listed(second))
    merged = {key: meanings(point) for key, point in points(folder).items()}
    apart = tmp_path_factory.mktemp("apart")
    from_list(apart, listed(second), merging=False)
    theirs = {key: meanings(point) for key, point in points(apart).items()}
    for key, now in merged.items():
        for name in FIELDS:
            b, h, s = base[key][name], ours[key][name], theirs[key][name]
            assert now[name] == (s if h == b else h), (key, name, text_of(folder))
            conflict = any(f"{key}: {name} is" in line for line in told)
            assert conflict == (len({json.dumps(value) for value in (b, h, s)}) == 3), (key, name, told)
    assert all(line.endswith("# by hand") for line in text_of(folder).split("\n") if "# by hand" in line)
    # A second time the same is told, and nothing changes any more.
    before = text_of(folder)
    assert from_list(folder, listed(second)) == told
    assert text_of(folder) == before


# SCL files

NODES = ("XCBR.Pos", "XCBR.Loc", "MMXU.TotW", "GGIO.Ind1", "GGIO.Ind2", "GGIO.Ind3")


def station(
    *members: str, model: str = "sbo-with-enhanced-security", host: str = "10.0.0.1", name: str = "", bays: int = 1
) -> str:
    """An SCD with an IED a bay; `members`: data objects of its data set, `name`: description of the measured value."""
    sets = "".join(
        f'<FCDA ldInst="LD0" lnClass="{item[:4]}" lnInst="1" doName="{item[5:]}"/>' for item in members or NODES
    )
    ieds, section = [], ""
    for bay in range(1, bays + 1):
        said = f'<DOI name="TotW" desc="{name}"/>' if name else ""
        nodes = t.ln("XCBR") + t.ln("CSWI", "1", t.control(model)) + t.ln("MMXU", inside=said) + t.ln("GGIO")
        ieds.append(t.ied(f"F{bay:02}Q1", t.ld(nodes=nodes, first=f'<DataSet name="ds">{sets}</DataSet>{t.REPORT}')))
        inside = "".join(t.lnode(node, ied_name=f"F{bay:02}Q1") for node in ("XCBR", "CSWI", "MMXU", "GGIO"))
        section += f'<Bay name="F{bay:02}">{inside}</Bay>'
    nets = t.network(*(t.address(f"F{bay:02}Q1", host) for bay in range(1, bays + 1)))
    place = f'<Substation name="PS01"><VoltageLevel name="MV1">{section}</VoltageLevel></Substation>'
    return t.scl(ieds, substation=place, networks=[nets])


def from_scl(folder: Path, text: str, mode: str = "merge") -> list[str]:
    """Import an SCD into `ps01.yaml` by the command line; what was told."""
    (folder / "ps01.scd").write_text(text, "utf-8")
    arguments = ["import", "scl", str(folder / "ps01.scd"), "--grid", "g", "--place", "north"]
    done = RUN.invoke(app, [*arguments, "--into", str(folder), "--mode", mode])
    assert done.exit_code == 0, done.output
    return [line for line in done.stderr.splitlines() if " TG" in line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from_scl(tmp_path, station(name="Power"), "create")
    return tmp_path


POWER, SWITCH = "MV1/F01/_/MMXU1/TotW", "MV1/F01/_/CSWI1/Pos"


def test_a_value_that_changed_in_the_source_alone_is_changed_in_its_line(folder: Path) -> None:
    mine = "{ deadband: 5 kW,ref: LD0/MMXU1.TotW, display_name: Power }  # mine"
    edit(folder, "{ref: LD0/MMXU1.TotW, display_name: Power}", mine)
    assert from_scl(folder, station(name="Active power", host="10.0.0.9", model="direct-with-normal-security")) == []
    assert mine.replace("Power", "Active power") in text_of(folder)
    assert points(folder)[SWITCH].control == {"model": "direct-normal"}
    assert "host: 10.0.0.9" in text_of(folder)


MODELS = {"sbo-with-enhanced-security": "sbo-enhanced", "direct-with-normal-security": "direct-normal"}
SAID = st.tuples(
    st.sampled_from(list(MODELS)), st.sampled_from(["", "A", "B"]), st.sampled_from(["10.0.0.1", "10.0.0.2"])
)


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(first=SAID, hand=SAID, second=SAID, templates=st.booleans())
def test_of_an_scl_file_each_value_is_that_of_whoever_changed_it(
    tmp_path_factory: pytest.TempPathFactory,
    first: tuple[str, str, str],
    hand: tuple[str, str, str],
    second: tuple[str, str, str],
    templates: bool,
) -> None:
    folder = tmp_path_factory.mktemp("scl")
    path = folder / "ps01.yaml"

    def imported(said: tuple[str, str, str], mode: Mode) -> list[str]:
        model, name, host = said
        (folder / "ps01.scd").write_text(station(model=model, name=name, host=host), "utf-8")
        out = run_import(folder / "ps01.scd", Request("g", "north", folder, mode, templates=templates))
        assert out.text is not None, out.problems
        path.write_text(out.text, "utf-8")
        keep(path, out.memory)
        return [problem.message for problem in out.problems]

    imported(first, Mode.CREATE)
    text = text_of(folder).replace(f"control: {MODELS[first[0]]}", f"control: {MODELS[hand[0]]}  ")
    text = text.replace(f"host: {first[2]}", f"host: {hand[2]}   # mine")
    if first[1] and hand[1]:
        text = text.replace(f"display_name: {first[1]}}}", f"display_name: {hand[1]} }}")
    path.write_text(text, "utf-8")
    ours = (hand[0], hand[1] if first[1] and hand[1] else first[1], hand[2])
    told = imported(second, Mode.MERGE)
    device = next(iter(check([path])[0].devices))  # type: ignore[union-attr]  # the merge has passed the check
    now = points(folder)
    made = (now[SWITCH].control, now[POWER].display_name, device.config.host)  # type: ignore[attr-defined]  # of 61850
    for i, (got, label) in enumerate(zip(made, ("control", "display_name", "host"), strict=True)):
        b, h, s = first[i], ours[i], second[i]
        wanted = s if h == b else h
        assert got == ({"model": MODELS[wanted]} if i == 0 else wanted), text_of(folder)
        assert any(f"{label} is" in line for line in told) == (len({b, h, s}) == 3), told
    assert "# mine" in text_of(folder)


def test_a_value_that_the_source_says_no_more_goes_out_of_its_line(folder: Path) -> None:
    assert from_scl(folder, station()) == []
    assert "{ref: LD0/MMXU1.TotW}" in text_of(folder)


def test_what_was_changed_by_hand_stays_and_is_no_conflict_while_the_source_stays(folder: Path) -> None:
    edit(folder, "control: sbo-enhanced", "control: direct-enhanced")
    edit(folder, "display_name: Power", "display_name: P")
    edit(folder, "host: 10.0.0.1", "host: 10.9.9.9")
    before = text_of(folder)
    assert from_scl(folder, station(name="Power")) == []
    assert text_of(folder) == before


def test_what_was_changed_by_both_is_told_each_time_until_one_gives_way(folder: Path) -> None:
    edit(folder, "display_name: Power", "display_name: P")
    for _ in range(2):
        (told,) = from_scl(folder, station(name="Active power"))
        assert "display_name is P in the file, Active power in the import" in told
        assert "changed by hand and in the source" in told
        assert points(folder)[POWER].display_name == "P"
    edit(folder, "display_name: P", "display_name: Active power")
    assert from_scl(folder, station(name="Active power")) == []
    from_scl(folder, station(name="Real power"))
    assert points(folder)[POWER].display_name == "Real power"


def test_a_line_or_a_device_that_was_taken_out_stays_out(folder: Path) -> None:
    lines = [line for line in text_of(folder).split("\n") if "TotW" not in line]
    (folder / "ps01.yaml").write_text("\n".join(lines), "utf-8")
    (told,) = from_scl(folder, station(name="Power"))
    assert "a point was taken out of 'f01q1'" in told
    assert POWER not in points(folder)
    from_scl(folder, station(bays=2))
    text = text_of(folder)
    (folder / "ps01.yaml").write_text(text[: text.index("  # F02Q1")].rstrip() + "\n", "utf-8")
    assert any("'f02q1' was taken out" in line for line in from_scl(folder, station(bays=2)))
    assert "f02q1" not in text_of(folder)


def test_a_point_that_left_both_and_comes_again_is_new(folder: Path) -> None:
    fewer = [node for node in NODES if node != "MMXU.TotW"]
    lines = [line for line in text_of(folder).split("\n") if "TotW" not in line]
    (folder / "ps01.yaml").write_text("\n".join(lines), "utf-8")
    from_scl(folder, station(*fewer))
    from_scl(folder, station(name="Power"))
    assert POWER in points(folder)


def test_a_line_for_several_points_is_changed_when_all_of_them_change(folder: Path) -> None:
    assert "GGIO1/Ind{1..3}" in text_of(folder)
    said = {
        names: station(name="Power").replace(
            t.ln("GGIO"),
            t.ln("GGIO", inside="".join(f'<DOI name="Ind{i}" desc="{n}"/>' for i, n in enumerate(names, 1))),
        )
        for names in ("ABB", "BBB")
    }
    told = from_scl(folder, said["ABB"])
    assert len(told) == 3
    assert all("its line stands for other points too (change it by hand)" in line for line in told)
    assert from_scl(folder, said["BBB"]) == []
    assert {points(folder)[f"MV1/F01/_/GGIO1/Ind{i}"].display_name for i in (1, 2, 3)} == {"B"}


def test_what_a_template_says_is_overridden_where_the_source_differs_now(tmp_path: Path) -> None:
    from_scl(tmp_path, station(name="Power", bays=2), "create")
    assert "use:" in text_of(tmp_path)
    changed = station(name="Power", bays=2)
    place = changed.index('<IED name="F02Q1"')
    changed = changed[:place] + changed[place:].replace("sbo-with-enhanced", "direct-with-normal", 1)
    assert from_scl(tmp_path, changed) == []
    now = points(tmp_path)
    assert now[SWITCH].control == {"model": "sbo-enhanced"}
    assert now[SWITCH.replace("F01", "F02")].control == {"model": "direct-normal"}
    assert from_scl(tmp_path, changed) == []


def test_a_memory_that_cannot_be_read_is_told_and_made_anew(folder: Path) -> None:
    kept = folder / ".import" / "ps01.yaml.json"
    for content in ("{", "[]", '{"import": 7}', '{"import": 1, "devices": {"a": 5}}', "[" * 100_000):
        kept.write_text(content, "utf-8")
        before = text_of(folder)
        told = from_scl(folder, station(name="Power"))
        assert [f"{kept}:1:1: warning TG736" in line for line in told] == [True], told
        assert text_of(folder) == before
    assert from_scl(folder, station(name="Power")) == []


def test_the_memory_holds_no_secret_and_is_no_mapping_file(folder: Path) -> None:
    mapping, problems = check([folder])
    assert (mapping is not None, problems) == (True, [])
    document = json.loads((folder / ".import" / "ps01.yaml.json").read_text("utf-8"))
    assert set(document["devices"]["f01q1"]["fields"]) == {"host", "scl", "ied"}
    assert len(document["devices"]["f01q1"]["points"]) == len(points(folder))


@pytest.mark.skipif("TWIN_REFERENCE_DATA" not in os.environ, reason="TWIN_REFERENCE_DATA is not set")
@pytest.mark.parametrize("kind", ["scl", "cim"])
def test_a_reference_file_imported_again_changes_nothing(tmp_path: Path, kind: str) -> None:
    for path in sorted(Path(os.environ["TWIN_REFERENCE_DATA"], kind).glob("*.[scx][cim][dl]")):
        place = "north" if b"<Substation" in path.read_bytes() else "north/PS01"
        to = tmp_path / f"{path.stem}.yaml"
        given = {
            "scl": ["import", "scl", str(path), "--grid", "g", "--place", place, "--into", str(tmp_path)],
            "cim": ["import", "cim", str(path), "--grid", "g", "--to", str(to)],
        }[kind]
        assert RUN.invoke(app, given).exit_code == 0
        text, memory = to.read_text("utf-8"), (tmp_path / ".import" / f"{to.name}.json").read_text("utf-8")
        done = RUN.invoke(app, [*given, "--mode", "merge"])
        assert (done.exit_code, "TG736" in done.output) == (0, False), done.output
        assert to.read_text("utf-8") == text
        assert (tmp_path / ".import" / f"{to.name}.json").read_text("utf-8") == memory
    assert len(list(tmp_path.glob("*.yaml"))) >= 2


NOMINAL = """\
list: 1
grid: g
place: north/PS01
device: rtu
devices: {rtu: {common_address: 7%s}}
columns: {address: a, host: host, ioa: ioa, type: type, nominal: nominal}
"""


def test_a_field_of_the_protocol_comes_and_goes_with_the_source(tmp_path: Path) -> None:
    """What a normalised value is of decides its scale."""
    path = tmp_path / "ps01.yaml"

    def take(nominal: str, *, port: str = "", merging: bool = True) -> list[str]:
        (tmp_path / "map.yaml").write_text(NOMINAL % port, "utf-8")
        rows = f"a;host;ioa;type;nominal\nMV1/F01/_/MMXU1/TotW;10.0.0.1;1;M_ME_NA_1;{nominal}\n"
        (tmp_path / "list.csv").write_text(rows, "utf-8")
        found = import_list(tmp_path / "list.csv", read_map(tmp_path / "map.yaml"))
        assert found.draft is not None, found.problems
        merged = merge(path, found.draft) if merging else write_anew(path, found.draft, templates=False)
        assert merged.text is not None, merged.problems
        path.write_text(merged.text, "utf-8")
        assert not keep(path, merged.memory)
        return [str(problem) for problem in merged.problems]

    def nominal() -> object:
        return points(tmp_path)["MV1/F01/_/MMXU1/TotW"].fields.get("nominal")

    take("", port=", port: 2405", merging=False)
    for said, now in (("1000", 1000), ("", None), ("2000", 2000), ("", None)):
        assert not take(said, port=", port: 2405")
        assert nominal() == now
    take("500", port=", port: 2405")
    edit(tmp_path, "nominal: 500", "nominal: 600")
    (told,) = take("", port=", port: 2405")
    assert "nominal is 600.0 in the file, nothing in the import" in told
    assert nominal() == 600
    (told,) = [line for line in take("500") if "nominal" not in line]
    assert "port is 2405 in the file, nothing in the import, and nobody has changed it by hand" in told


CONTROL = """\
list: 1
grid: g
place: north/PS01
device: rtu
devices: {rtu: {common_address: 7, host: 10.0.0.1}}
columns: {address: a, ioa: ioa, type: type, control_ioa: control, control_qu: qu}
"""


def test_a_part_of_a_control_that_the_source_says_no_more_goes_and_what_people_added_stays(tmp_path: Path) -> None:
    path = tmp_path / "ps01.yaml"

    def take(qualifier: str) -> list[str]:
        (tmp_path / "map.yaml").write_text(CONTROL, "utf-8")
        row = f"MV1/F01/QA1/CSWI1/Pos;2;M_DP_TB_1;77;{qualifier}"
        (tmp_path / "list.csv").write_text(f"a;ioa;type;control;qu\n{row}\n", "utf-8")
        found = import_list(tmp_path / "list.csv", read_map(tmp_path / "map.yaml"))
        assert found.draft is not None, found.problems
        merged = merge(path, found.draft) if path.exists() else write_anew(path, found.draft, templates=False)
        assert merged.text is not None, merged.problems
        path.write_text(merged.text, "utf-8")
        assert not keep(path, merged.memory)
        return [str(problem) for problem in merged.problems]

    def control() -> dict[str, object]:
        return dict(points(tmp_path)["MV1/F01/QA1/CSWI1/Pos"].control or {})

    take("2")
    assert control()["qu"] == 2
    edit(tmp_path, "qu: 2", "qu: 2, absent: [CILO]")
    assert not take("")
    assert "qu" not in control()
    assert "absent: [CILO]" in text_of(tmp_path)
    assert not take("1")
    assert control()["qu"] == 1
    edit(tmp_path, "qu: 1", "qu: 2")
    (told,) = take("")
    assert "changed by hand and in the source" in told
    assert control()["qu"] == 2
