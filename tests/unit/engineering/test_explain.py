"""What becomes of a datum, from its lines in the files to its names on the faces."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from address_space.table import PointTable
from twin_gateway.cli import app
from twin_gateway.engineering.explain import Explanation, Setting, explain
from twin_gateway.engineering.explain_text import show
from twin_gateway.history.settings import HistorySettings
from twin_gateway.mapping.check import check, find_files
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.read import Source, read_file
from twin_gateway.plant import points_at
from twin_gateway.schemes import make_book

DEMO = Path(__file__).parents[3] / "mappings"
STATION = """\
mapping: 1
grid: dso1
place: north/PS01
templates:
  part:
    protocol: iec104
    params: {ioa: int, name: text}
    points:
      "{name}/CSWI1/Pos": {ioa: "{ioa}", type: M_DP_TB_1, control: {ioa: "{ioa+4000}", type: C_DC_NA_1}}
  bay:
    protocol: iec104
    use: part
    with: {ioa: 1, name: QA1}
    points:
      "MMXU1/A/phs{A,B}": {ioa: 20..21, type: M_ME_NC_1, unit: kA, scale: 0.5, offset: 2, stale_after: 1 min}
devices:
  rtu1:
    protocol: iec104
    host: 10.0.0.1
    common_address: 7
    time_zone: Europe/Berlin
    at:
      MV1/F05:
        use: bay
        points:
          "MMXU1/A/phs{A,B}": {deadband: 5 A}
          QA1/CSWI1/Pos: {aliases: "rds:=C1.Q5-QA1", display_name: {en: Feeder 5, de: Abgang 5}}
          GGIO1/Ind1: {ioa: 30, type: M_SP_TB_1, invert: true, alarm: {normal: false, delay: 5 s}}
      MV1/F06/QB1:
        points:
          XSWI1/Pos: [{ioa: 40, type: M_DP_TB_1}, {device: rtu2, role: backup, ioa: 41, type: M_DP_TB_1}]
  rtu2:
    {protocol: iec104, host: 10.0.0.2, common_address: 8,
     at: {MV1/F09: {points: {GGIO1/Ind1: {ioa: 1, type: M_SP_NA_1}}}}}
"""
FEEDER = "dso1/north/PS01/MV1/F05/"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    path = tmp_path / "ps01.yaml"
    path.write_text(STATION)
    return path


def explained(station: Path, text: str, setting: Setting | None = None) -> Explanation:
    mapping, problems = check([station], environ={})
    assert mapping is not None, problems
    found = explain(mapping, {str(station): read_file(station)}, text, setting or Setting())
    assert isinstance(found, Explanation)
    return found


def test_the_lines_of_a_point_are_told_through_all_templates(station: Path) -> None:
    (binding,) = explained(station, FEEDER + "QA1/CSWI1/Pos").bindings
    assert [(Path(one.file).name, one.line, one.template) for one in binding.written] == [
        ("ps01.yaml", 27, ""),
        ("ps01.yaml", 9, "part"),
    ]
    assert binding.control == {"ioa": 4001, "type": "C_DC_NA_1"}
    (binding,) = explained(station, FEEDER + "_/MMXU1/A/phsB").bindings
    assert [(one.line, one.template) for one in binding.written] == [(26, ""), (15, "bay")]


def test_every_step_of_a_measured_value_has_its_figures(station: Path) -> None:
    found = explained(station, FEEDER + "_/MMXU1/A/phsB")
    (binding,) = found.bindings
    assert [(step.what, step.how) for step in binding.steps] == [
        ("raw", "iec104 of rtu1: ioa 21, type M_ME_NC_1"),
        ("scale", "raw * 0.5 + 2"),
        ("unit", "delivered in kA"),
        ("conversion", "* 1000 to A"),
        ("deadband", "changes of less than 5 A are not published"),
        ("published", "CMV, double in A"),
    ]
    assert binding.time == "the arrival at the gateway: no time tag"
    assert "60 s" in binding.quality
    assert found.unit == "A"


def test_time_zone_inversion_alarm_and_names_are_told(station: Path) -> None:
    found = explained(station, FEEDER + "_/GGIO1/Ind1")
    assert found.bindings[0].time == "the time tag of the device, zone Europe/Berlin"
    assert ("invert", "the two states are exchanged") in [(s.what, s.how) for s in found.bindings[0].steps]
    assert found.alarm is not None
    assert found.alarm["delay"] == 5.0
    assert explained(station, FEEDER + "QA1/CSWI1/Pos").names == {"en": "Feeder 5", "de": "Abgang 5"}


@pytest.mark.parametrize("alias", ["rds:=C1.Q5-QA1", "104:rtu1/7/1"])
def test_an_alias_leads_to_the_same(station: Path, alias: str) -> None:
    assert explained(station, alias) == explained(station, FEEDER + "QA1/CSWI1/Pos")


def test_every_binding_of_one_address_is_told(station: Path) -> None:
    bindings = explained(station, "dso1/north/PS01/MV1/F06/QB1/XSWI1/Pos").bindings
    assert [(one.device, one.role, one.alias) for one in bindings] == [
        ("rtu1", "read", "104:rtu1/7/40"),
        ("rtu2", "backup", "104:rtu2/8/41"),
    ]


def test_names_topic_and_history_are_those_of_the_configuration(station: Path) -> None:
    setting = Setting("https://dso1.example", "grid", HistorySettings(retention_days=9, exclude=("*/GGIO1/*",)))
    found = explained(station, FEEDER + "_/MMXU1/A/phsA", setting)
    assert found.node_id == f"nsu=https://dso1.example;s={FEEDER}_/MMXU1/A/phsA"
    assert found.topic == f"grid/v/{FEEDER}_/MMXU1/A/phsA"
    assert found.browse_path == ("Objects", "Grid", "dso1", "north", "PS01", "MV1", "F05", "MMXU1", "A", "phsA")
    assert found.history == "kept for 9 days"
    assert explained(station, FEEDER + "_/GGIO1/Ind1", setting).history == "not kept"


RUN = CliRunner()


def test_the_command_prints_text_for_people_and_json_for_machines(station: Path) -> None:
    told = RUN.invoke(app, ["explain", FEEDER + "_/MMXU1/A/phsA", str(station)])
    assert told.exit_code == 0
    assert f"{station}:15 template bay" in told.output
    assert "  published  CMV, double in A\n" in told.output
    told = RUN.invoke(app, ["explain", "104:rtu1/7/1", str(station), "--json"])
    document = json.loads(told.output)
    assert document["address"] == FEEDER + "QA1/CSWI1/Pos"
    assert document["bindings"][0]["steps"][-1] == {"what": "published", "how": "DPC, int32"}


def test_a_terminal_folds_what_is_long(station: Path) -> None:
    out = io.StringIO()
    show(explained(station, FEEDER + "_/MMXU1/A/phsA"), Console(file=out, force_terminal=True, width=60))
    assert "published" in out.getvalue()
    assert "…" not in out.getvalue()


def test_what_names_no_point_is_said_in_one_sentence(station: Path) -> None:
    for text, said in [("dso1/north/PS01/MV1/F05", "(bay)"), (FEEDER + "_/MMXU1/A/phsD", "did you mean")]:
        told = RUN.invoke(app, ["explain", text, str(station)])
        assert told.exit_code == 1
        assert said in told.output
    station.write_text("devices: {")
    told = RUN.invoke(app, ["explain", "x", str(station)])
    assert (told.exit_code, "TG105" in told.output, "Traceback" in told.output) == (1, True, False)


GOOSE = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  bus:
    protocol: goose
    interface: eth1
    subscriptions:
      trip:
        {control_block: F07Q1LD0/LLN0$GO$gcbTrip, destination: 01-0C-CD-01-00-01, app_id: 0x3001, conf_rev: 3,
         members: [LD0/PTRC1.Tr.general, LD0/PTRC1.Tr.q]}
    at: {MV1/F07: {points: {PTRC1/Tr: {subscription: trip, ref: LD0/PTRC1.Tr}}}}
"""
LINE = re.compile(r"(?:raw )?\* (?P<factor>\S+)(?: (?P<sign>[+-]) (?P<summand>\S+))?")
TIME = {
    "iec104": ("time tag", "arrival"),
    "iec61850": ("time stamp t",),
    "goose": ("time stamp t",),
    "dlms": ("time of the reading",),
    "coap": ("time in the answer",),
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping, dict[str, Source]]:
    """The demo's mapping with a GOOSE subscription beside it."""
    bus = tmp_path_factory.mktemp("goose") / "bus.yaml"
    bus.write_text(GOOSE, "utf-8")
    paths = [DEMO / "demo", DEMO / "templates", bus]
    mapping, problems = check(paths, secrets_required=False)
    assert mapping is not None, problems
    return mapping, {str(path): read_file(path) for path in find_files(paths, [])}


@pytest.mark.parametrize("protocol", TIME)
def test_the_steps_of_a_point_of_each_protocol_come_to_what_the_gateway_computes(
    shipped: tuple[Mapping, dict[str, Source]], protocol: str
) -> None:
    mapping, sources = shipped
    seen: set[tuple[object, ...]] = set()
    for device, point in mapping.points():
        profile = point.profile
        kind = (profile.gain, profile.bias, point.unit, profile.invert, profile.deadband > 0, point.control is None)
        if device.protocol != protocol or kind in seen or len(seen) >= 6:
            continue
        seen.add(kind)
        found = explain(mapping, sources, point.address, Setting())
        assert isinstance(found, Explanation)
        binding = next(one for one in found.bindings if one.device == device.name and one.role == point.role)
        said = {step.what: step.how for step in binding.steps}
        gain, bias = 1.0, 0.0
        for what in ("scale", "conversion"):
            if what in said:
                line = LINE.match(said[what])
                assert line is not None, said
                factor, summand = float(line["factor"]), float(f"{line['sign'] or '+'}{line['summand'] or 0}")
                gain, bias = gain * factor, bias * factor + summand
        assert (gain, bias) == pytest.approx((profile.gain, profile.bias))
        assert ("invert" in said, "deadband" in said) == (profile.invert, profile.deadband > 0)
        assert said["raw"].startswith(f"{protocol} of {device.name}: ")
        assert all(f"{name} {value}" in said["raw"] for name, value in point.fields.items())
        assert said["published"].startswith(f"{profile.cdc}, {profile.value_type.name.lower()}")
        assert profile.unit is None or said["published"].endswith(f" in {profile.unit.symbol}")
        assert any(part in binding.time for part in TIME[protocol])
        assert binding.control == point.control
        assert binding.written[0].file == point.file
        assert binding.written[0].line == point.line
        assert explain(mapping, sources, binding.alias, Setting()) == found or point.share
    assert seen


def test_the_protocol_alias_of_every_point_leads_to_it(shipped: tuple[Mapping, dict[str, Source]]) -> None:
    mapping, _ = shipped
    table = PointTable()
    table.add(points_at(mapping, {point.address for _, point in mapping.points()}).values())
    book = make_book(mapping, (), table, "https://example.org")
    for device, point in mapping.points():
        alias = f"{device.spec.scheme}:{device.spec.alias(device.name, device.config, point.source)}"
        found = book.resolve(alias).address
        assert found == point.address or point.share or point.role != "read", alias


def test_the_demo_is_explained_as_its_gateway_has_it() -> None:
    config = DEMO / "demo" / "gateway.yaml"
    told = RUN.invoke(app, ["explain", "104:rtu-rmu02/2/100", "--config", str(config), "--json"])
    assert told.exit_code == 0, told.output
    assert [one["template"] for one in json.loads(told.output)["bindings"][0]["written"]] == [
        "",
        "line-cubicle",
        "ring-cubicle-104",
    ]
