"""`twin-gateway plan`: what an engineer reads before he changes mapping files for good."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.control import ControlServer
from twin_gateway.mapping.check import check
from twin_gateway.revisions import keep

BASE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    at:
      MV1/F01:
        points:
          MMXU1/TotW: {ioa: 1000, type: M_ME_TF_1, unit: kW, scale: 0.5, deadband: 5 kW}
          MMXU1/Hz: {ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}
          QA1/CSWI1/Pos: {ioa: 1, type: M_DP_TB_1, control: {ioa: 4001, type: C_DC_NA_1, model: sbo-normal}}
          QA1/XCBR1/Pos: {ioa: 1, type: M_DP_TB_1, share: true}
"""
GRID = """\
grid_model: 1
grid: dso1
place: north
voltages: {MV1: 10 kV}
equipment:
  PS01/MV1/_/SRC1: {class: EnergySource, node: PS01/MV1/_/CN1}
  PS01/MV1/F01/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L01/MV1/_/CN1]}
"""
F01 = "dso1/north/PS01/MV1/F01"
HZ = "          MMXU1/Hz: {ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}\n"


def planned(folder: Path, *edits: tuple[str, str], options: tuple[str, ...] = ()) -> tuple[int, str]:
    old, new = folder / "old.yaml", folder / "new.yaml"
    text = BASE
    for before, after in edits:
        assert before in text
        text = text.replace(before, after, 1)
    old.write_text(BASE, "utf-8")
    new.write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["plan", str(old), str(new), *options])
    return result.exit_code, result.output


def document(folder: Path, *edits: tuple[str, str], options: tuple[str, ...] = ()) -> dict[str, Any]:
    _, output = planned(folder, *edits, options=("--json", *options))
    found: dict[str, Any] = json.loads(output)
    return found


def test_files_that_say_the_same_are_no_changes_and_exit_0(tmp_path: Path) -> None:
    assert planned(tmp_path) == (0, "No changes: the files say the same.\n")


def test_every_kind_of_change_has_its_line_and_the_summary_counts_them(tmp_path: Path) -> None:
    code, output = planned(
        tmp_path,
        ("scale: 0.5", "scale: 0.1"),
        ("MMXU1/Hz: {", f"MMXU2/Hz: {{was: {F01}/_/MMXU1/Hz, "),
        ("          QA1/XCBR1/Pos: {ioa: 1, type: M_DP_TB_1, share: true}\n", ""),
        ("        points:\n", "        points:\n          MMXU1/TotVAr: {ioa: 1002, type: M_ME_TF_1, unit: kvar}\n"),
    )
    assert code == 2
    lines = output.splitlines()
    assert lines[0] == "~ device rtu-1 (iec104)"
    assert f"    + {F01}/_/MMXU1/TotVAr" in lines
    assert f"    ~ {F01}/_/MMXU1/TotW  scale: 0.5 -> 0.1" in lines
    assert f"    > {F01}/_/MMXU1/Hz -> {F01}/_/MMXU2/Hz" in lines
    assert f"    - {F01}/QA1/XCBR1/Pos" in lines
    assert lines[-1] == "Plan: 1 to add, 1 to change, 1 to move, 1 to remove; 0 links reconnect"


def test_a_device_that_is_reached_elsewhere_reconnects(tmp_path: Path) -> None:
    _, output = planned(tmp_path, ("10.0.0.1", "10.0.0.9"))
    lines = output.splitlines()
    assert lines[0] == "~ device rtu-1 (iec104), reconnects: host: 10.0.0.1 -> 10.0.0.9"
    assert lines[-1] == "Plan: 0 to add, 0 to change, 0 to move, 0 to remove; 1 link reconnects"


def test_numbers_in_published_units_are_told_with_them(tmp_path: Path) -> None:
    _, output = planned(tmp_path, ("deadband: 5 kW", "deadband: 7 kW"), ("hi: 51 Hz", "hi: 52 Hz"))
    assert "deadband: 5000 W -> 7000 W" in output
    assert "alarm.hi: 51 Hz -> 52 Hz" in output
    assert output.splitlines()[-1].endswith("0 links reconnect")


def test_a_point_removed_without_a_tombstone_breaks_and_with_one_does_not(tmp_path: Path) -> None:
    found = document(tmp_path, (HZ, ""))
    assert [item["address"] for item in found["breaking"]] == [f"{F01}/_/MMXU1/Hz"]
    stone = f"retired:\n  {F01}/_/MMXU1/Hz: {{date: 2026-11-01, reason: not measured any more}}\ndevices:"
    found = document(tmp_path, (HZ, ""), ("devices:", stone))
    assert not found["breaking"]
    assert found["summary"]["remove"] == 1


def test_a_move_without_was_is_a_guess_and_breaks(tmp_path: Path) -> None:
    found = document(tmp_path, ("MMXU1/Hz:", "MMXU2/Hz:"))
    (point,) = found["devices"][0]["points"]
    assert (point["action"], point["guessed"], point["moved_from"]) == ("move", True, f"{F01}/_/MMXU1/Hz")
    assert "without 'was:" in point["breaking"][0]


def test_another_published_unit_and_a_lost_command_break(tmp_path: Path) -> None:
    found = document(
        tmp_path,
        ("unit: kW", "unit: kW, display_unit: kW"),
        (", control: {ioa: 4001, type: C_DC_NA_1, model: sbo-normal}", ", share: true"),
    )
    assert {item["what"] for item in found["breaking"]} == {
        "the unit of the published value changes from W to kW",
        "it can no longer be commanded",
    }


def test_alarms_and_commands_that_are_touched_are_listed(tmp_path: Path) -> None:
    found = document(tmp_path, ("hi: 51 Hz", "hi: 52 Hz"), ("ioa: 4001", "ioa: 4002"), ("scale: 0.5", "scale: 0.1"))
    assert found["alarms"] == [f"{F01}/_/MMXU1/Hz"]
    assert found["commands"] == [f"{F01}/QA1/CSWI1/Pos"]


def test_what_the_grid_model_refers_to_is_a_twin_input_and_may_not_move_away_alone(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID, "utf-8")
    grid = ("--grid", str(tmp_path / "grid.yaml"))
    found = document(tmp_path, ("MV1/F01:", f"MV1/F02:\n        was: {F01}"), options=grid)
    assert {f"{F01}/QA1/XCBR1/Pos", f"{F01}/QA1/CSWI1/Pos"} <= set(found["twin_inputs"])
    assert f"the grid model refers to '{F01}/QA1/XCBR1/Pos'" in {item["what"] for item in found["breaking"]}


def test_files_alone_say_nothing_of_clients_and_active_alarms(tmp_path: Path) -> None:
    edit = ("scale: 0.5", "scale: 0.1")
    assert document(tmp_path, edit)["running"] is None
    assert "`plan --running` asks the gateway" in planned(tmp_path, edit)[1]


def test_twin_inputs_say_what_the_twin_takes_from_them(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID, "utf-8")
    grid = ("--grid", str(tmp_path / "grid.yaml"))
    found = document(tmp_path, ("MV1/F01:", f"MV1/F02:\n        was: {F01}"), options=grid)
    assert found["twin_uses"][f"{F01}/QA1/XCBR1/Pos"] == [f"position of {F01}/QA1"]


def test_a_replaced_device_keeps_its_points_and_breaks_nothing(tmp_path: Path) -> None:
    found = document(tmp_path, ("rtu-1:", "rtu-9:"), ("10.0.0.1", "10.0.0.9"))
    assert [(device["name"], device["action"]) for device in found["devices"]] == [
        ("rtu-9", "add"),
        ("rtu-1", "remove"),
    ]
    assert {point["action"] for point in found["devices"][0]["points"]} == {"change"}
    assert not found["breaking"]


def test_a_backup_that_comes_is_a_change_of_its_address_and_no_new_point(tmp_path: Path) -> None:
    two = (
        "MMXU1/Hz: [{ioa: 1001, type: M_ME_TF_1, unit: Hz, alarm: {hi: 51 Hz}}, {ioa: 1009, type: M_ME_TF_1, unit: Hz}]"
    )
    code, output = planned(tmp_path, (HZ.strip(), two))
    assert code == 2
    assert "the binding with the role backup of rtu-1 comes" in output
    assert "Plan: 0 to add, 1 to change, 0 to move, 0 to remove" in output


def test_long_lists_are_cut_unless_all_is_asked_for(tmp_path: Path) -> None:
    many = "        points:\n" + "".join(
        f"          MMXU{n}/TotW: {{ioa: {n}, type: M_ME_TF_1, unit: kW}}\n" for n in range(10, 40)
    )
    _, short = planned(tmp_path, ("        points:\n", many))
    _, full = planned(tmp_path, ("        points:\n", many), options=("--detailed",))
    assert "… and 10 more of 30" in short
    assert short.count("    + ") == 21
    assert full.count("    + ") == 30


def test_files_with_errors_exit_1_with_the_line(tmp_path: Path) -> None:
    code, output = planned(tmp_path, ("type: M_DP_TB_1, share: true", "typ: M_DP_TB_1, share: true"))
    assert code == 1
    assert "new.yaml:15:" in output
    assert "cannot be compared: " in output
    assert "Traceback" not in output


def test_one_path_alone_is_asked_for_the_other() -> None:
    result = CliRunner().invoke(app, ["plan", "old.yaml"])
    assert result.exit_code == 1
    assert "name OLD and NEW" in result.output


def test_other_names_of_places_and_tombstones_are_changes_too(tmp_path: Path) -> None:
    stone = f"retired:\n  {F01}/_/MMXU3/Hz: {{date: 2026-11-01, reason: taken out}}\ndevices:"
    code, output = planned(tmp_path, ("devices:", stone), ("MV1/F01:\n", 'MV1/F01:\n        aliases: "rds:=C1.Q1"\n'))
    assert code == 2
    assert f"+ alias rds:=C1.Q1  {F01}" in output.splitlines()
    assert f"+ tombstone {F01}/_/MMXU3/Hz  2026-11-01: taken out" in output.splitlines()
    assert "Plan: 0 to add, 0 to change, 0 to move, 0 to remove; 0 links reconnect" in output


async def test_the_running_gateway_is_compared_with_what_it_started_with(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    path = tmp_path / "mappings" / "station.yaml"
    path.write_text(BASE, "utf-8")
    config = tmp_path / "gateway.yaml"
    config.write_text("gateway: gw1\ngrid: dso1\nauthority: https://example.org\nmappings: [mappings]\n", "utf-8")
    mapping, _ = check([path.parent])
    assert mapping is not None
    running = keep(tmp_path / "data", mapping)
    server = ControlServer(tmp_path / "data", {})

    async def nobody_watches(_: object) -> dict[str, Any]:
        return {"sessions": [], "conditions": [], "conditions_in_all": 0}

    server.offer({**running.handlers, "plan": nobody_watches})
    await server.start()
    try:
        command = ["plan", "--running", "--config", str(config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert (result.exit_code, result.output) == (0, "No changes: the files say the same.\n")
        path.write_text(BASE.replace("scale: 0.5", "scale: 0.1"), "utf-8")
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert result.exit_code == 2
        assert "scale: 0.5 -> 0.1" in result.output
        assert "No OPC UA client watches any of this" in result.output
    finally:
        await server.stop()
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert result.exit_code == 1
    assert "no gateway runs on" in result.output
