"""What a record of commissioning was made with, and what counts as another binding."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.place import _below
from twin_gateway.mapping.check import check

SWITCH = "dso1/north/PS01/MV1/F05/QA1/CSWI1/Pos"
HZ = "dso1/north/PS01/MV1/F05/_/MMXU1/Hz"
FILE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 10.0.0.1
    at:
      MV1/F05:
        points:
          QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1, control: {ioa: 4010, type: C_DC_NA_1, model: direct-normal}}
          MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz, deadband: 0.01 Hz}
"""
APART = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 10.0.0.1
    at:
      MV1/F05:
        points:
          QA1/CSWI1/Pos:
            - {ioa: 10, type: M_DP_TB_1}
            - {device: sensor, role: command, path: /sw, control: {path: /sw, model: direct}}
  sensor:
    protocol: coap
    uri: coap://10.0.0.2
    at:
      MV1/F05: {points: {TA1/STMP1/Tmp: {path: /t}}}
"""


def bindings(folder: Path, text: str) -> dict[str, Binding]:
    (folder / "m.yaml").write_text(text)
    mapping, problems = check([folder / "m.yaml"])
    assert mapping is not None, [str(problem) for problem in problems]
    return {address: point.binding for address, point in _below(mapping, "dso1/north").items()}


@pytest.mark.parametrize(
    ("old", "new", "value", "command"),
    [
        ("ioa: 10,", "ioa: 11,", True, True),
        ("ioa: 4010", "ioa: 4011", False, True),
        ("direct-normal", "sbo-normal", False, True),
        ("host: 10.0.0.1", "host: 10.0.0.9", False, True),
        ("  rtu:", "  rtu2:", True, True),
        ("deadband: 0.01 Hz", "deadband: 0.02 Hz", False, False),
        ("host: 10.0.0.1", "host: 10.0.0.1\n    t1: 20 s", False, False),
    ],
)
def test_what_decides_the_value_or_where_a_command_goes_makes_another_binding(
    tmp_path: Path, old: str, new: str, value: bool, command: bool
) -> None:
    before, after = bindings(tmp_path, FILE)[SWITCH], bindings(tmp_path, FILE.replace(old, new))[SWITCH]
    assert (before.digest != after.digest) is value
    assert (before.command_digest != after.command_digest) is command


def test_scale_and_unit_belong_to_the_binding_of_a_value(tmp_path: Path) -> None:
    before = bindings(tmp_path, FILE)[HZ]
    after = bindings(tmp_path, FILE.replace("unit: Hz,", "unit: Hz, scale: 0.001,"))[HZ]
    assert before.digest != after.digest
    assert before.command_digest == after.command_digest == ""
    assert before.text == "104:rtu/1/30"


def test_a_command_by_another_device_is_tested_by_the_rules_of_that_device(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(APART)
    mapping, problems = check([tmp_path / "m.yaml"])
    assert mapping is not None, [str(problem) for problem in problems]
    point = _below(mapping, SWITCH)[SWITCH]
    assert (point.device, point.commanded_by) == ("rtu", "coap")
    assert point.binding.text.startswith("104:rtu/")
    assert point.binding.command_text.startswith("coap:")
