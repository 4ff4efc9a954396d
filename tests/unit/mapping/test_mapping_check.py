from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from address_space.address import parse
from twin_gateway.mapping.check import check, find_files, run_check
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.problem import did_you_mean, edit_distance

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
templates:
  switch:
    protocol: iec104
    params: {ioa: int}
    points:
      QA1/CSWI1/Pos: {ioa: "{ioa}", type: M_DP_TB_1, control: {ioa: "{ioa+4000}", type: C_DC_NA_1, model: sbo-normal}}
      QA1/XCBR1/Pos: {ioa: "{ioa}", type: M_DP_TB_1, share: true}
  bay:
    protocol: iec104
    params: {ioa: int, label: {type: text, default: bay}}
    use: switch
    with: {ioa: "{ioa}"}
    points:
      MMXU1/TotW:
        {ioa: "{ioa+10}", type: M_ME_TF_1, unit: kW, deadband: 5 kW, stale_after: 15 min, display_name: "{label}"}
      RREC1/AutoRecSt: {ioa: "{ioa+3}", type: M_ST_TB_1}
devices:
  rtu1:
    protocol: iec104
    host: 10.4.7.10
    common_address: 7
    clock_sync: 15 min
    at:
      MV1/F05:
        use: bay
        with: {ioa: 1000}
        aliases: "rds:=C1.Q5"
        points:
          MMXU1/TotW: {deadband: 20 kW}
          RREC1/AutoRecSt: null
          QA1/CSWI1/Pos: {control: {model: direct-normal}}
          "MMXU1/A/phs{A,B,C}":
            {ioa: "{ioa+20}..{ioa+22}", type: M_ME_TF_1, unit: kA, display_unit: A, scale: 0.1, offset: 1}
          TA1/STMP1/Tmp: {ioa: "{ioa+30}", type: M_ME_TF_1, unit: K, deadband: 1 K}
          _/MMXU1/TotPF: {ioa: "{2*(ioa-100)}", type: M_ME_TF_1, deadband: 0.01}
      MV1/F{06..07}: {use: bay, with: {ioa: 2000, label: second}, points: {MMXU1/TotW: null}}
"""


def write(tmp_path: Path, text: str, name: str = "station.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def mapped(tmp_path: Path, text: str) -> Mapping:
    mapping, problems = check([write(tmp_path, text)], environ={})
    assert [str(p) for p in problems] == []
    assert mapping is not None
    return mapping


def points(mapping: Mapping) -> dict[str, MappedPoint]:
    return {point.address: point for _, point in mapping.points()}


@pytest.fixture
def station(tmp_path: Path) -> Mapping:
    return mapped(
        tmp_path,
        STATION.replace("F{06..07}", "F06"),
    )


def test_an_address_is_grid_place_at_key_and_point_key_with_the_missing_levels_filled(station: Mapping) -> None:
    assert "dso1/north/PS01/MV1/F05/_/MMXU1/TotW" in points(station)
    assert "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos" in points(station)
    for address in points(station):
        assert parse(address).text == address


def test_a_template_builds_on_another_and_offsets_its_numbers(station: Mapping) -> None:
    found = points(station)
    assert found["dso1/north/PS01/MV1/F06/QA1/XCBR1/Pos"].fields == {"ioa": 2000, "type": "M_DP_TB_1"}
    assert found["dso1/north/PS01/MV1/F06/_/RREC1/AutoRecSt"].fields["ioa"] == 2003
    assert found["dso1/north/PS01/MV1/F05/_/MMXU1/TotPF"].fields["ioa"] == 1800


def test_an_override_merges_field_by_field_and_null_drops(station: Mapping) -> None:
    found = points(station)
    power = found["dso1/north/PS01/MV1/F05/_/MMXU1/TotW"]
    assert power.fields == {"ioa": 1010, "type": "M_ME_TF_1"}
    assert power.profile.deadband == 20_000
    assert power.profile.stale_after == 900
    assert power.display_name == "bay"
    assert "dso1/north/PS01/MV1/F05/_/RREC1/AutoRecSt" not in found
    assert "dso1/north/PS01/MV1/F06/_/MMXU1/TotW" not in found


def test_an_override_merges_inside_control_too(station: Mapping) -> None:
    control = points(station)["dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"].control
    assert control == {"ioa": 5000, "type": "C_DC_NA_1", "model": "direct-normal"}


def test_unit_scale_and_offset_become_one_gain_and_bias_to_the_published_unit(station: Mapping) -> None:
    found = points(station)
    power = found["dso1/north/PS01/MV1/F05/_/MMXU1/TotW"]
    assert (power.unit, power.profile.unit and power.profile.unit.symbol) == ("kW", "W")
    assert (power.profile.gain, power.profile.bias) == (1000.0, 0.0)
    current = found["dso1/north/PS01/MV1/F05/_/MMXU1/A/phsB"]
    assert current.fields["ioa"] == 1021
    assert current.profile.unit is not None
    assert current.profile.unit.symbol == "A"
    # 0.1 and 1 in kA, published in A
    assert current.profile.gain == pytest.approx(100.0)
    assert current.profile.bias == pytest.approx(1000.0)


def test_a_deadband_is_a_difference_so_temperature_scales_do_not_shift_it(station: Mapping) -> None:
    temperature = points(station)["dso1/north/PS01/MV1/F05/TA1/STMP1/Tmp"].profile
    assert temperature.deadband == pytest.approx(1.0)
    assert temperature.gain == pytest.approx(1.0)
    assert temperature.bias == pytest.approx(-273.15)


def test_points_know_the_line_they_are_written_in(station: Mapping) -> None:
    found = points(station)
    lines = STATION.splitlines()
    override = found["dso1/north/PS01/MV1/F05/_/MMXU1/TotW"]
    assert lines[override.line - 1].strip() == "MMXU1/TotW: {deadband: 20 kW}"
    from_template = found["dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"]
    assert lines[from_template.line - 1].strip() == "MV1/F05:"
    assert from_template.col == 7


def test_a_place_has_aliases_too(station: Mapping) -> None:
    assert station.place_aliases == [("rds:=C1.Q5", "dso1/north/PS01/MV1/F05")]


def test_a_device_has_its_drivers_configuration(station: Mapping) -> None:
    (device,) = station.devices
    config = device.config.model_dump()
    assert (config["host"], config["port"], config["clock_sync"]) == ("10.4.7.10", 2404, 900.0)
    assert (device.name, device.protocol, device.place) == ("rtu1", "iec104", "dso1/north/PS01")


def test_profiles_are_shared_between_points_alike(station: Mapping) -> None:
    found = points(station)
    phases = [found[f"dso1/north/PS01/MV1/F05/_/MMXU1/A/phs{p}"].profile for p in "ABC"]
    assert phases[0] is phases[1] is phases[2]


def test_a_mapped_point_becomes_a_table_point_and_a_bound_point(station: Mapping) -> None:
    mapped_point = points(station)["dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"]
    point = mapped_point.point("rtu1")
    assert (point.address, point.link, point.source) == (mapped_point.address, "rtu1", mapped_point.source)
    assert point.profile.controllable
    bound = mapped_point.bound(4)
    assert (bound.row, bound.cdc, bound.stale_after) == (4, "DPC", None)
    assert bound.control == mapped_point.control


def test_braces_in_an_at_key_make_several_places(tmp_path: Path) -> None:
    mapping, problems = check([write(tmp_path, STATION)], environ={})
    # Both bays take the same numbers: the second one is told so, for each of its points.
    assert mapping is None
    assert {p.code for p in problems} == {"TG506", "TG507"}
    assert all("F07" in p.message or "F06" in p.message for p in problems)


def test_off_is_text_and_numbers_may_be_names(tmp_path: Path) -> None:
    mapping = mapped(
        tmp_path,
        "mapping: 1\ngrid: dso1\nplace: north/417\ndevices:\n  0417:\n    protocol: coap\n    uri: coap://[fd00::1]\n"
        "    at: {LV1/C02: {points: {TA1/STMP1/Tmp: {path: /t, name: 010, unit: Cel, display_name: off}}}}\n",
    )
    (device,) = mapping.devices
    assert device.name == "0417"
    assert device.points[0].fields["name"] == "010"
    assert device.points[0].display_name == "off"


def test_several_bindings_of_one_address_have_roles_and_ranks(tmp_path: Path) -> None:
    mapping = mapped(
        tmp_path,
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"
        "  m1: {protocol: dlms, host: 10.9.3.2, at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}}\n"
        "  rtu1:\n    protocol: iec104\n    host: 10.4.7.10\n    common_address: 7\n"
        "    at:\n      LV1:\n        points:\n"
        "          MMXU1/TotW: [{ioa: 1, type: M_ME_TF_1, unit: kW}, {device: m1, obis: 1-0:16.7.0}, "
        "{role: verify, ioa: 2, type: M_ME_TF_1}]\n",
    )
    address = "dso1/north/PS01/LV1/_/_/MMXU1/TotW"
    bindings = [(d.name, p.role, p.rank) for d, p in mapping.points() if p.address == address]
    assert bindings == [("m1", "backup", 1), ("rtu1", "read", 0), ("rtu1", "verify", 0)]


def test_a_value_and_its_command_may_come_from_different_devices(tmp_path: Path) -> None:
    mapping = mapped(
        tmp_path,
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n"
        "  ied1: {protocol: iec61850, host: 10.1.1.1, at: {MV1/F06: {points: {QA1/XCBR1/Pos: {ref: LD0/XCBR1.Pos}}}}}\n"
        "  rtu1:\n    protocol: iec104\n    host: 10.4.7.10\n    common_address: 7\n    at:\n      MV1/F05:\n"
        "        points:\n          QA1/CSWI1/Pos:\n"
        "            - {role: command, ioa: 1, type: M_DP_TB_1, control: {ioa: 5, type: C_DC_NA_1}}\n"
        "            - {role: read, device: ied1, ref: LD0/CSWI1.Pos}\n",
    )
    address = "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"
    found = {point.role: (d.name, point) for d, point in mapping.points() if point.address == address}
    assert (found["read"][0], found["command"][0]) == ("ied1", "rtu1")
    assert found["read"][1].rank == 0
    assert found["read"][1].profile.controllable


def test_secrets_come_from_the_environment_and_from_files_and_stay_secret(tmp_path: Path) -> None:
    write(tmp_path, "22" * 16 + "\n", "ek")
    text = (
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  m1:\n    protocol: dlms\n    host: ${METER_HOST}\n"
        '    security: hls-gmac\n    keys: {authentication: "${AK}", encryption: "file:ek"}\n'
        "    at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}\n"
    )
    path = write(tmp_path, text)
    mapping, problems = check([path], environ={"AK": "11" * 16, "METER_HOST": "10.1.1.1"})
    assert problems == []
    assert mapping is not None
    config = mapping.devices[0].config
    assert config.host == "10.1.1.1"  # type: ignore[attr-defined] # a field of the meter's own model
    assert config.keys.encryption.get_secret_value() == "22" * 16  # type: ignore[attr-defined] # as above
    assert "2222" not in repr(mapping.devices[0])


def test_a_missing_secret_is_an_error_for_running_and_a_warning_for_checking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path,
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  m1:\n    protocol: dlms\n    host: 10.1.1.1\n"
        '    security: lls\n    password: "${METER_PASSWORD}"\n'
        "    at: {LV1/_/M1: {points: {MMTR1/DmdWh: {obis: 1-0:1.8.0}}}}\n",
    )
    mapping, problems = check([path], environ={})
    assert mapping is None
    assert [(p.code, p.severity) for p in problems] == [("TG604", "error")]
    mapping, problems = check([path], environ={}, secrets_required=False)
    assert mapping is not None
    assert mapping.secrets_missing
    assert [(p.code, p.severity) for p in problems] == [("TG604", "warning")]
    assert run_check([path], environ={}) == 0
    assert "warning TG604" in capsys.readouterr().out


def test_json_output_is_one_object_with_the_meaning_of_each_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, STATION.replace("unit: kW", "unit: kWw").replace("F{06..07}", "F06"))
    assert run_check([path], as_json=True, environ={}) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["errors"] == 1
    (found,) = document["problems"]
    assert (found["code"], found["line"], found["severity"]) == ("TG502", 18, "error")
    assert found["hint"].startswith("did you mean 'kW'?")
    assert found["about"] == "The unit is not known."


def test_folders_are_searched_and_gateway_yaml_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "north").mkdir()
    write(tmp_path / "north", STATION.replace("F{06..07}", "F06"))
    write(tmp_path, "listen: 4840\n", "gateway.yaml")
    assert run_check([tmp_path], environ={}) == 0
    assert capsys.readouterr().out == "ok: 1 devices, 11 points\n"
    (tmp_path / "empty").mkdir()
    _, problems = check([tmp_path / "empty", tmp_path / "none.yaml"])
    assert [(p.code, p.message) for p in problems] == [
        ("TG101", "no .yaml file in this directory"),
        ("TG101", "no such file"),
    ]


def test_templates_are_shared_between_the_files_of_a_check(tmp_path: Path) -> None:
    head, devices = STATION.replace("F{06..07}", "F06").split("devices:\n")
    shared = write(tmp_path, "mapping: 1\n" + head[head.index("templates:") :], "templates.yaml")
    own = write(tmp_path, "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n" + devices)
    mapping, problems = check([own, shared], environ={})
    assert problems == []
    assert mapping is not None
    assert mapping.point_count == 11
    _, problems = check([own], environ={})
    assert [p.code for p in problems] == ["TG301", "TG301"]


@pytest.mark.parametrize("kind", ["spaces", "brackets", "binary", "words"])
def test_fifty_megabytes_of_nonsense_fail_at_once(tmp_path: Path, kind: str) -> None:
    unit = {
        "spaces": b" " * 1024,
        "brackets": b"[{" * 512,
        "binary": bytes(range(256)) * 4,
        "words": b"lorem: ipsum\n" * 79,
    }
    path = tmp_path / "nonsense.yaml"
    with path.open("wb") as stream:
        for _ in range(50 * 1024):
            stream.write(unit[kind])
    started = time.process_time()
    _, problems = check([path])
    assert time.process_time() - started < 1.0
    assert [p.code for p in problems] == ["TG102"]


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 500_000, "- " * 1_000_000, "? " * 500_000, "a: " * 300_000])
def test_nonsense_below_the_limit_fails_fast_too(tmp_path: Path, text: str) -> None:
    started = time.process_time()
    _, problems = check([write(tmp_path, text)])
    assert time.process_time() - started < 5.0
    assert {p.code for p in problems} & {"TG109", "TG105"}
    assert len(problems) < 50


def test_the_number_of_problems_of_one_file_is_bounded(tmp_path: Path) -> None:
    lines = "".join(f"          X{i}: 5\n" for i in range(1500))
    text = "mapping: 1\ngrid: g\nplace: a/s\ndevices:\n  r:\n    protocol: iec104\n    host: h\n"
    text += "    at:\n      M1:\n        points:\n"
    _, problems = check([write(tmp_path, text + lines)])
    assert len(problems) == 1001
    assert problems[-1].code == "TG112"
    assert problems[-1].message == "so many errors that the rest is left out"


FRAGMENTS = [
    "mapping: 1\n", "mapping: x\n", "grid: dso1\n", "place: north/PS01\n", "place: 1/2/3\n", "templates:\n", "  a:\n",
    "    protocol: iec104\n", "    protocol: dlms\n", "    params: {ioa: int}\n", "    use: a\n", "    points:\n",
    "    with: {ioa: 1}\n", '      MMXU1/TotW: {ioa: "{ioa+1}", type: M_ME_TF_1}\n', "        all: LD0\n",
    '      "MMXU1/A/phs{A,B}": {ioa: 1..2}\n', "devices:\n", "  rtu1:\n", "    host: 10.1.1.1\n", "    at:\n",
    "      MV1/F05:\n", "        use: a\n", "        with: {ioa: 5}\n", "        points:\n", "    points: 5\n",
    "          QA1/CSWI1/Pos: {ioa: 5, type: M_DP_TB_1, control: x}\n", "          MMXU1/TotW: null\n", "- 1\n",
    "          MMXU1/TotW: [{device: rtu1, role: backup}]\n", '    keys: {authentication: "${X}"}\n', "x: *y\n",
    "    at: []\n", "  {a: b}: c\n", "    aliases: [1, null]\n",
    "          MMXU1/Hz: {unit: 1, deadband: .nan, scale: -.inf, stale_after: 1e999 s}\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=12), max_size=30).map("".join))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_check_never_raises_whatever_the_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    mapping, problems = check([path], environ={})
    assert (mapping is None) == any(p.severity == "error" for p in problems)
    for found in problems:
        assert "\n" not in str(found)


LEVEL = st.sampled_from(["MV1", "F05", "QA1", "_", "TA1-LTC1", "XCBR1", "a b", "", "T1", "~2F", "x" * 49])
TAIL = st.sampled_from(
    ["MMXU1/TotW", "MMXU1/A/phsA", "XCBR1/Pos", "LLN0/Beh", "PHLPTOC1/Op", "GGIO1/Ind3", "T1", "MMXU/TotW"]
)


@given(st.lists(LEVEL, min_size=1, max_size=4).map("/".join), st.lists(LEVEL, max_size=3), TAIL)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_address_that_check_lets_through_is_canonical(
    tmp_path: Path, at: str, levels: list[str], tail: str
) -> None:
    key = "/".join([*levels, tail])
    text = (
        "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  i1:\n    protocol: iec61850\n    host: h\n"
        f'    at: {{"{at}": {{points: {{"{key}": {{ref: LD0/X1.Y}}}}}}}}\n'
    )
    path = tmp_path / "any.yaml"
    path.write_text(text)
    mapping, _ = check([path], environ={})
    if mapping is not None:
        ((_, point),) = mapping.points()
        address = parse(point.address)
        assert address.text == point.address
        assert point.address.startswith(f"dso1/north/PS01/{at}")
        assert point.address.endswith(tail)


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8))
@settings(max_examples=300, deadline=None)
def test_edit_distance_is_a_distance(left: str, right: str) -> None:
    distance = edit_distance(left, right, 99)
    assert distance == edit_distance(right, left, 99)
    assert (distance == 0) == (left == right)
    assert abs(len(left) - len(right)) <= distance <= max(len(left), len(right))


def test_suggestions_name_the_nearest_word_or_nothing() -> None:
    assert did_you_mean("untit", ["unit", "limit"]) == "did you mean 'unit'?"
    assert did_you_mean("hsot", ["host", "port"]) == "did you mean 'host'?"
    assert did_you_mean("frequency", ["unit", "limit"]) == ""


def test_not_a_number_is_refused_wherever_a_number_counts(tmp_path: Path) -> None:
    text = STATION.replace("F{06..07}", "F06").replace("scale: 0.1", "scale: .nan").replace("offset: 1", "offset: .inf")
    _, problems = check([write(tmp_path, text)], environ={})
    assert [p.code for p in problems] == ["TG206", "TG206"]
    assert not any(math.isnan(p.line) for p in problems)


def test_a_folder_that_goes_while_files_are_looked_for_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, real = tmp_path / "going", os.scandir
    going.mkdir()
    for name in ("going/a.yaml", "b.yaml", ".c.yaml", "gateway.yaml", "d.txt"):
        (tmp_path / name).write_text("")

    def scandir(path: str | Path) -> Any:
        if str(path) == str(going):
            going.rename(tmp_path / "gone")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_files([tmp_path], []) == [tmp_path / "b.yaml"]
