"""Grid models in YAML: what is read, what is refused and where, and that what is written reads back."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Feeder,
    Grid,
    GridError,
    LineData,
    LoadData,
    Measurement,
    MeterRole,
    Quantity,
    SwitchRating,
    TransformerData,
)
from twin_gateway.grid.write import write_grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.problem import Problem

SMALL = """\
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 12.66 kV, LV1: 400 V}
types:
  cable: {r: 0.2 ohm/km, x: 0.1 ohm/km, b: 80 uS/km, i_max: 300 A}
equipment:
  PS01/MV1/_/SRC1: {class: EnergySource, node: PS01/MV1/_/CN1, voltage: 1.02, s_short: 500 MVA}
  PS01/MV1/F01/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L01/MV1/_/CN1]}
  PS01/MV1/F01/QC1: {class: GroundDisconnector, node: L01/MV1/_/CN1}
  L01/MV1/_/WB1: {class: ACLineSegment, nodes: [L01/MV1/_/CN1, L01/MV1/_/CN2], type: cable, length: 500 m, i_max: 200 A}
  RMU02/MV1/C01/QB1: {class: LoadBreakSwitch, nodes: [L01/MV1/_/CN2, RMU02/MV1/_/CN1], normal: open, position: null}
  RMU02/MV1/_/WA1: {class: BusbarSection, node: RMU02/MV1/_/CN1}
  RMU02/MV1/T01/LD1: {class: EnergyConsumer, node: RMU02/MV1/_/CN1, p: 10 kW, q: 6 kvar, customers: 4, weight: hospital}
  RMU02/MV1/_/CP1: {class: ShuntCompensator, node: RMU02/MV1/_/CN1, q: 300 kvar}
  TS14/MV1/T01/TA1: {class: PowerTransformer, nodes: [RMU02/MV1/_/CN1, TS14/LV1/_/CN1], u1: 12.66 kV, u2: 400 V,
    s: 400 kVA, uk: 4 %, pk: 4.6 kW, p0: 610 W, connection: Dyn5, rn: 2 ohm}
  SP14/LV1/_/LD1: {class: EnergyConsumer, node: TS14/LV1/_/CN1, p: {A: 2 kW, C: 1 kW}, model: impedance}
  SP15/LV1/_/G1: {class: PowerElectronicsConnection, node: TS14/LV1/_/CN1, p: 5 kW, rating: 10 kVA, name: "roof, south"}
indicators:
  RMU02/MV1/C01/_/SFPI1/FltInd: {at: RMU02/MV1/C01/QB1, terminal: 2, directional: true, poll: false}
measurements:
  RMU02/MV1/C01/_/MMXU1/TotW: {at: RMU02/MV1/C01/QB1, direction: -1, accuracy: 2 %}
  RMU02/MV1/C01/_/MMXU1/A/phsB: {at: RMU02/MV1/C01/QB1}
  RMU02/MV1/_/_/MMXU1/PPV/phsAB: {at: RMU02/MV1/_/WA1}
meters:
  SP14/LV1/_/M1: {at: SP14/LV1/_/LD1, phases: A, class: 2, transformer: TS14/MV1/T01/TA1, digits: 8}
  TS14/LV1/_/M0: {at: TS14/MV1/T01/TA1, terminal: 2, direction: -1, role: boundary, class: 0.5, rating: 400 kW}
feeders:
  PS01/MV1/F01: {head: PS01/MV1/F01/QA1, trip: [PS01/MV1/F01/IED1/PTRC1/Tr], reclosing: none,
    pickup: 450 A, neutral: isolated}
"""
N = "dso1/north/"


def read(tmp_path: Path, *texts: str) -> tuple[Grid | None, list[Problem]]:
    paths = []
    for i, text in enumerate(texts):
        path = tmp_path / f"g{i}.yaml"
        path.write_text(text, "utf-8")
        paths.append(path)
    return read_grid(paths)


def small(tmp_path: Path) -> Grid:
    grid, problems = read(tmp_path, SMALL)
    assert grid is not None, problems
    assert problems == []
    return grid


def only(tmp_path: Path, old: str, new: str) -> Problem:
    """The single problem of the small grid with one text replaced."""
    assert old in SMALL
    grid, problems = read(tmp_path, SMALL.replace(old, new, 1))
    assert len(problems) == 1, [str(problem) for problem in problems]
    assert (grid is None) == (problems[0].severity == "error")
    return problems[0]


def test_addresses_are_completed_with_grid_and_place(tmp_path: Path) -> None:
    grid = small(tmp_path)
    assert grid.equipment[N + "L01/MV1/_/WB1"].nodes == (N + "L01/MV1/_/CN1", N + "L01/MV1/_/CN2")
    assert grid.nodes[N + "TS14/LV1/_/CN1"].nominal == 400.0


def test_an_address_that_begins_with_the_grid_is_complete(tmp_path: Path) -> None:
    grid, _ = read(tmp_path, SMALL.replace("  PS01/MV1/_/SRC1:", "  dso1/south/PS02/MV1/_/SRC1:"))
    assert grid is not None
    assert "dso1/south/PS02/MV1/_/SRC1" in grid.equipment


def test_a_line_takes_its_type_per_length_and_may_say_otherwise(tmp_path: Path) -> None:
    data = small(tmp_path).equipment[N + "L01/MV1/_/WB1"].data
    assert isinstance(data, LineData)
    assert (data.r, data.x, data.b) == pytest.approx((0.1, 0.05, 4e-5))
    assert (data.length, data.i_max) == (0.5, 200.0)


def test_points_of_a_switch_are_those_below_it_unless_said(tmp_path: Path) -> None:
    grid = small(tmp_path)
    breaker = grid.equipment[N + "PS01/MV1/F01/QA1"].data
    switch = grid.equipment[N + "RMU02/MV1/C01/QB1"].data
    earth = grid.equipment[N + "PS01/MV1/F01/QC1"].data
    assert isinstance(breaker, SwitchRating)
    assert isinstance(switch, SwitchRating)
    assert isinstance(earth, SwitchRating)
    assert breaker.position == N + "PS01/MV1/F01/QA1/XCBR1/Pos"
    assert breaker.command == N + "PS01/MV1/F01/QA1/CSWI1/Pos"
    assert (switch.position, switch.normal_open) == ("", True)
    assert (earth.normal_open, earth.command, earth.load_break) == (True, "", False)


def test_loads_may_be_told_by_phase(tmp_path: Path) -> None:
    data = small(tmp_path).equipment[N + "SP14/LV1/_/LD1"].data
    assert isinstance(data, LoadData)
    assert (data.p, data.p_phases, data.q_phases) == (3000.0, (2000.0, 0.0, 1000.0), (0.0, 0.0, 0.0))


def test_the_vector_group_may_hold_the_clock(tmp_path: Path) -> None:
    data = small(tmp_path).equipment[N + "TS14/MV1/T01/TA1"].data
    assert isinstance(data, TransformerData)
    assert (data.connection, data.clock, data.uk, data.grounding) == ("Dyn", 5, 0.04, 2 + 0j)


def test_what_a_point_measures_follows_from_its_data_object(tmp_path: Path) -> None:
    found = small(tmp_path).measurements
    assert found[N + "RMU02/MV1/C01/_/MMXU1/TotW"] == Measurement(
        N + "RMU02/MV1/C01/_/MMXU1/TotW", Quantity.P, N + "RMU02/MV1/C01/QB1", direction=-1, accuracy=0.02
    )
    assert found[N + "RMU02/MV1/C01/_/MMXU1/A/phsB"].quantity is Quantity.I
    assert found[N + "RMU02/MV1/C01/_/MMXU1/A/phsB"].phase == "B"
    assert found[N + "RMU02/MV1/_/_/MMXU1/PPV/phsAB"].quantity is Quantity.U


def test_meters_and_feeders_keep_what_is_on_record(tmp_path: Path) -> None:
    grid = small(tmp_path)
    assert grid.meters[N + "TS14/LV1/_/M0"].role is MeterRole.BOUNDARY
    assert grid.meters[N + "SP14/LV1/_/M1"].phases == "A"
    assert grid.feeders[N + "PS01/MV1/F01"] == Feeder(
        N + "PS01/MV1/F01",
        N + "PS01/MV1/F01/QA1",
        trip=(N + "PS01/MV1/F01/IED1/PTRC1/Tr",),
        reclosing="none",
        pickup=450.0,
        neutral="isolated",
    )


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    grid = small(tmp_path)
    again, problems = read(tmp_path, write_grid(grid))
    assert problems == []
    assert again == grid


def test_an_empty_grid_is_not_written() -> None:
    with pytest.raises(GridError):
        write_grid(Grid())


def test_several_files_make_one_grid(tmp_path: Path) -> None:
    head, sections = SMALL.split("indicators:", 1)
    frame = "grid_model: 1\ngrid: dso1\nplace: north\nindicators:"
    grid, problems = read(tmp_path, head, frame + sections)
    assert problems == []
    assert grid == small(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("grid_model: 1", "grid_model: 2", "TG205", 1),
        ("place: north", "place: -x", "TG401", 3),
        ("voltages: {MV1: 12.66 kV", "voltages: {MV1: 12.66 kW", "TG503", 4),
        ("class: Breaker", "class: Braker", "TG701", 9),
        ("0.1 ohm/km", "0.1 ohm/mile", "TG502", 6),
        ("0.1 ohm/km", "5", "TG504", 6),
        ("voltage: 1.02", "voltage: 102", "TG206", 8),
        ("length: 500 m, ", "", "TG709", 11),
        ("type: cable", "type: kable", "TG708", 11),
        ("normal: open", "normal: opened", "TG204", 12),
        ("customers: 4", "custmers: 4", "TG201", 14),
        ("class: GroundDisconnector, node: L01/MV1/_/CN1", "class: GroundDisconnector, nodes: []", "TG702", 10),
        ("[L01/MV1/_/CN1, L01/MV1/_/CN2]", "[L01/MV1/_/CN1, L01/MV1/CN2]", "TG402", 11),
        ("[L01/MV1/_/CN1, L01/MV1/_/CN2]", "[L01/MV1/_/CN1, L01/MV1/_/CN1]", "TG702", 11),
        ("[L01/MV1/_/CN2, RMU02/MV1/_/CN1]", "[L01/MV1/_/CN2, RMU02/MV9/_/CN1]", "TG705", 12),
        ("[L01/MV1/_/CN2, RMU02/MV1/_/CN1]", "[L01/MV1/_/CN2, TS14/LV1/_/CN1]", "TG706", 12),
        ("u1: 12.66 kV, u2: 400 V", "u1: 400 V, u2: 400 V", "TG706", 16),
        ("connection: Dyn5", "connection: Dny5", "TG207", 17),
        ("uk: 4 %", "uk: 0.1 %", "TG206", 16),
        ("p: {A: 2 kW, C: 1 kW}", "p: {A: 2 kW, D: 1 kW}", "TG711", 18),
        ("at: SP14/LV1/_/LD1", "at: SP14/LV1/_/LD2", "TG704", 27),
        ("transformer: TS14/MV1/T01/TA1", "transformer: PS01/MV1/F01/QA1", "TG704", 27),
        ("terminal: 2, directional", "terminal: 3, directional", "TG702", 21),
        ("SFPI1/FltInd:", "SFPI1/FltInt:", "TG405", 21),
        ("MMXU1/TotW:", "MMXU1/TotPF:", "TG710", 23),
        ("direction: -1, accuracy", "direction: 2, accuracy", "TG204", 23),
        ("head: PS01/MV1/F01/QA1", "head: RMU02/MV1/_/WA1", "TG704", 30),
        ("PS01/MV1/F01/IED1/PTRC1/Tr", "PS01/MV1/F01/IED1/PTRC1", "TG404", 30),
        ("PS01/MV1/F01: {head", "PS01/MV1/F01/QA1: {head", "TG402", 30),
        ("  RMU02/MV1/_/CP1:", "  RMU02/MV1/T01/LD1:", "TG106", 15),
        ("  RMU02/MV1/_/CP1:", "  rmu02/MV1/_/WA1:", "TG703", 15),
        ("  RMU02/MV1/_/CP1:", "  RMU02/MV1/_/CN1:", "TG703", 8),
    ],
)
def test_a_problem_is_told_with_its_line(tmp_path: Path, old: str, new: str, code: str, line: int) -> None:
    problem = only(tmp_path, old, new)
    assert problem.code == code, str(problem)
    if code != "TG703" or "CN1" not in new:
        assert problem.line == line, str(problem)
    assert problem.col > 0


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    first = SMALL.replace("class: Breaker", "class: Braker").replace("uk: 4 %", "uk: 4 V")
    second = "grid_model: 1\ngrid: dso1\nequipment:\n  A: {class: Fuse}\n  B/C: 3\n"
    _, problems = read(tmp_path, first, second)
    assert [(Path(p.file).name, p.line, p.code) for p in problems] == [
        ("g0.yaml", 9, "TG701"),
        ("g0.yaml", 17, "TG503"),
        ("g1.yaml", 4, "TG402"),
        ("g1.yaml", 5, "TG203"),
    ]


def test_a_hint_names_what_was_probably_meant(tmp_path: Path) -> None:
    assert "LoadBreakSwitch" in only(tmp_path, "class: LoadBreakSwitch", "class: LoadBrakeSwitch").hint
    assert "SP14/LV1/_/LD1" in only(tmp_path, "at: SP14/LV1/_/LD1", "at: SP14/LV1/_/LD7").hint


def test_a_file_that_cannot_be_read_does_not_make_others_wrong(tmp_path: Path) -> None:
    head, sections = SMALL.split("indicators:", 1)
    frame = "grid_model: 1\ngrid: dso1\nplace: north\nindicators:"
    grid, problems = read(tmp_path, head + "  - [", frame + sections)
    assert grid is None
    assert [problem.code for problem in problems] == ["TG105"]


def test_a_part_that_no_source_can_feed_is_a_warning(tmp_path: Path) -> None:
    lost = "\n  L99/MV1/_/WB1: {class: ACLineSegment, nodes: [L99/MV1/_/CN1, L99/MV1/_/CN2], type: cable, length: 1 km}"
    problem = only(
        tmp_path,
        "{class: ShuntCompensator, node: RMU02/MV1/_/CN1, q: 300 kvar}",
        "{class: ShuntCompensator, node: RMU02/MV1/_/CN1, q: 300 kvar}" + lost,
    )
    assert (problem.code, problem.severity, problem.line) == ("TG707", "warning", 16)
    assert "2 connectivity nodes" in problem.message


def test_a_grid_without_any_source_is_a_warning(tmp_path: Path) -> None:
    problem = only(
        tmp_path,
        "class: EnergySource, node: PS01/MV1/_/CN1, voltage: 1.02, s_short: 500 MVA",
        "class: BusbarSection, node: PS01/MV1/_/CN1",
    )
    assert (problem.code, problem.severity) == ("TG707", "warning")


def test_voltages_may_differ_between_sites(tmp_path: Path) -> None:
    text = SMALL.replace("voltages: {", "voltages: {TS14/LV1: 690 V, ").replace("u2: 400 V", "u2: 690 V")
    grid, problems = read(tmp_path, text)
    assert problems == []
    assert grid is not None
    assert grid.nodes[N + "TS14/LV1/_/CN1"].nominal == 690.0


def test_two_voltages_of_one_level_are_refused(tmp_path: Path) -> None:
    _, problems = read(tmp_path, SMALL, "grid_model: 1\ngrid: dso1\nplace: north\nvoltages: {MV1: 20 kV}\n")
    assert [problem.code for problem in problems] == ["TG705"]


def test_equipment_of_two_files_may_not_have_one_address(tmp_path: Path) -> None:
    again = "grid_model: 1\ngrid: dso1\nplace: north\nequipment:\n" + SMALL.split("\n")[7] + "\n"
    _, problems = read(tmp_path, SMALL, again)
    assert [(Path(p.file).name, p.code) for p in problems] == [("g1.yaml", "TG703")]
    assert "g0.yaml:8" in problems[0].hint


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(SMALL)
    grid, problems = read_grid([path], max_bytes=100)
    assert grid is None
    assert [problem.code for problem in problems] == ["TG102"]


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL)
    (tmp_path / "notes.txt").write_text("nothing")
    grid, problems = read_grid([tmp_path])
    assert problems == []
    assert grid is not None


def test_an_empty_file_says_how_a_grid_file_begins(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "# nothing\n")
    assert [(problem.code, problem.hint) for problem in problems] == [
        ("TG104", "a grid file begins with 'grid_model: 1'")
    ]


def test_very_many_errors_end_the_reading_of_a_file(tmp_path: Path) -> None:
    lines = "".join(f"  L{i}/MV1/_/WB1: {{class: Nonsense}}\n" for i in range(1500))
    _, problems = read(tmp_path, "grid_model: 1\ngrid: dso1\nplace: north\nequipment:\n" + lines)
    assert len(problems) == 1001
    assert problems[0].code == "TG112"


def test_a_matrix_must_fit_the_phases(tmp_path: Path) -> None:
    good = "phases: AC, impedance: {unit: ohm/km, rows: [[0.2+0.6j, 0.1+0.3j], [0.1+0.3j, 0.2+0.6j]]}, length: 2 km"
    grid, problems = read(tmp_path, SMALL.replace("type: cable, length: 500 m", good))
    assert problems == []
    assert grid is not None
    data = grid.equipment[N + "L01/MV1/_/WB1"].data
    assert isinstance(data, LineData)
    assert data.phase_impedance == (0.4 + 1.2j, 0.2 + 0.6j, 0.2 + 0.6j, 0.4 + 1.2j)
    assert (data.r, data.x) == pytest.approx((0.2, 0.6))
    assert only(tmp_path, "type: cable, length: 500 m", good.replace("AC", "ABC")).code == "TG711"


def test_switches_of_a_class_have_its_abilities(tmp_path: Path) -> None:
    grid = small(tmp_path)
    assert [item.address for item in grid.of(CimClass.GROUND_DISCONNECTOR)] == [N + "PS01/MV1/F01/QC1"]
    assert grid.normal_positions()[N + "PS01/MV1/F01/QC1"].name == "OPEN"


@given(st.floats(0, 1), st.floats(1e-6, 1e9), st.floats(-1e12, 1e12))
def test_numbers_are_written_so_that_they_read_back_the_same(fraction: float, power: float, q: float) -> None:
    grid = Grid()
    grid.add([ConnectivityNode("g/a/s/MV1/_/CN1", power), ConnectivityNode("g/a/s/MV1/_/CN2", power)])
    data = TransformerData(power, power, power, uk=fraction, pk=0.0, i0=fraction, connection="Yyn", clock=0)
    nodes = ("g/a/s/MV1/_/CN1", "g/a/s/MV1/_/CN2")
    grid.add([Equipment("g/a/s/MV1/_/TA1", CimClass.TRANSFORMER, nodes, data)])
    grid.add([Equipment("g/a/s/MV1/_/LD1", CimClass.LOAD, nodes[:1], LoadData(q, -q))])
    with TemporaryDirectory() as folder:
        again, problems = read(Path(folder), write_grid(grid))
    assert {problem.code for problem in problems} <= {"TG707"}
    assert again == grid


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_text_makes_the_reader_fail_otherwise_than_by_problems(data: st.DataObject) -> None:
    words = [
        "~",
        "[]",
        "{}",
        "{a: b}",
        "[1, 2]",
        "-1",
        "1e99 kV",
        "x" * 60,
        "'é'",
        "true",
        "5 kW",
        "_",
        "/",
        "*a",
        "&a b",
    ]
    lines = SMALL.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    pieces = re.split(r"([:,\[\]{} ]+)", lines[at])
    spot = data.draw(st.integers(0, len(pieces) - 1))
    pieces[spot] = data.draw(st.sampled_from(words))
    lines[at] = "".join(pieces)
    with TemporaryDirectory() as folder:
        grid, problems = read(Path(folder), "\n".join(lines))
    assert grid is not None or any(problem.severity == "error" for problem in problems)
    assert all(problem.as_json()["about"] for problem in problems)
