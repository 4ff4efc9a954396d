from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_gateway.bench.mapping import QUICK_POINTS, flat_file, run
from twin_gateway.mapping.check import check
from twin_gateway.mapping.pattern import PatternError, choices, evaluate, spread, substitute
from twin_gateway.mapping.schema import mapping_schema

MAPPINGS = Path(__file__).parents[3] / "mappings"
STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu1:
    protocol: iec104
    host: 10.4.7.10
    common_address: 7
    at:
      MV1/F05: {use: feeder-bay-104, with: {ioa: 1000}}
      MV1/F06: {use: ring-cubicle-104, with: {ioa: 1100}}
  ied1: {protocol: iec61850, host: 10.4.7.11, at: {MV1/F07: {use: feeder-bay-61850, with: {model: sbo-normal}}}}
  m1: {protocol: dlms, host: 10.9.3.2, at: {LV1/_/M1: {use: switched-meter}}}
  m2: {protocol: dlms, host: 10.9.3.3, at: {LV1/_/M2: {use: single-phase-meter}}}
  c1:
    protocol: coap
    uri: coap://[fd00::1]
    at:
      MV1/C02: {use: transformer-sensors}
      MV1/C03: {use: room-climate, with: {path: /room}}
"""


def test_the_shipped_templates_are_clean_by_themselves() -> None:
    mapping, problems = check([MAPPINGS / "templates"], environ={})
    assert problems == []
    assert mapping is not None


def test_every_shipped_template_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "station.yaml"
    path.write_text(STATION)
    mapping, problems = check([MAPPINGS / "templates", path], environ={})
    assert problems == []
    assert mapping is not None
    found = {point.address: point for _, point in mapping.points()}
    bay = found["dso1/north/PS01/MV1/F05/_/MMXU1/PPV/phsBC"]
    assert (bay.fields["ioa"], bay.profile.deadband) == (1016, 50.0)
    control = found["dso1/north/PS01/MV1/F07/QA1/CSWI1/Pos"].control
    assert control == {"model": "sbo-normal"}
    assert found["dso1/north/PS01/LV1/_/M1/MMTR1/SupVArh"].fields == {"obis": "1-0:4.8.0"}
    assert found["dso1/north/PS01/MV1/C02/TA1/MMXU1/A/phsB"].fields == {"path": "/senml", "name": "current-b"}


def test_the_schema_file_for_editors_is_up_to_date() -> None:
    assert json.loads((MAPPINGS / "mapping.schema.json").read_text("utf-8")) == mapping_schema()


def test_the_schema_names_every_field_of_every_protocol() -> None:
    definitions = mapping_schema()["definitions"]
    assert {"ioa", "type", "unit", "control"} <= set(definitions["iec104-point"]["properties"])
    assert definitions["iec104-complete"] == {"required": ["ioa", "type"]}
    assert {"path", "object", "control"} <= set(definitions["coap-point"]["properties"])
    text = json.dumps(mapping_schema())
    assert "$defs" not in text
    assert '"oneOf"' not in text


def test_the_benchmark_checks_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # What it measures of commands and of a restart is run, as a command, with the other benchmarks.
    monkeypatch.setattr("twin_gateway.bench.mapping_files.run", lambda _quick: {"files": 0})
    result = run(quick=True)
    assert result["files"] == 0
    assert result["points"] == QUICK_POINTS
    assert result["ratio"] == pytest.approx(result["seconds"] / result["csafeloader_seconds"], rel=0.05)
    assert flat_file(QUICK_POINTS).count("ioa:") == QUICK_POINTS


@pytest.mark.parametrize(
    ("expression", "value"),
    [("ioa", 1000), ("ioa+10", 1010), ("2*(ioa-1)", 1998), ("-ioa + 3", -997), (" name ", "F05"), ("ioa*2*3-1", 5999)],
)
def test_arithmetic_of_parameters(expression: str, value: object) -> None:
    assert evaluate(expression, {"ioa": 1000, "name": "F05"}) == value


@pytest.mark.parametrize(
    "expression", ["", "nam", "name+1", "ioa+", "(ioa", "ioa)", "ioa ioa", "ioa**2", "ioa/2", "0x10"]
)
def test_arithmetic_that_cannot_be_computed(expression: str) -> None:
    with pytest.raises(PatternError):
        evaluate(expression, {"ioa": 1000, "name": "F05"})


def test_braces_and_ranges_spread_in_order() -> None:
    assert choices("phs{A,B}{1..2}") == ["phsA1", "phsA2", "phsB1", "phsB2"]
    assert choices("F{08..11}") == ["F08", "F09", "F10", "F11"]
    assert choices("MMXU1/TotW") is None
    assert spread("1020..1022") == [1020, 1021, 1022]
    assert spread("{5,7}") == [5, 7]
    assert spread("1-0:{32,52}.7.0") == ["1-0:32.7.0", "1-0:52.7.0"]
    assert spread("kW") is None
    assert substitute("{ioa}..{ioa+2}", {"ioa": 5}) == "5..7"
    assert substitute("${NAME}", {"NAME": "x"}) == "${NAME}"
