"""Lines that are proposed for what came and no point takes, by what the control socket says of it."""

from pathlib import Path
from typing import Any

import pytest
from peers import unmapped_bed
from typer.testing import CliRunner

from twin_gateway import unmapped_cli
from twin_gateway.cli import app
from twin_gateway.drivers.contract import Stray
from twin_gateway.engineering.proposal import Proposal, propose, put_into
from twin_gateway.mapping.check import check
from twin_gateway.unmapped import shown

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  node: {protocol: coap, uri: 'coap://127.0.0.1:5683', at: {MV1/F07: {points: {MMXU1/TotW: {path: /p, unit: W}}}}}
  rtu: {protocol: iec104, host: 127.0.0.1, port: 2404, common_address: 7, at: {MV1/F01: {points: {
    MMXU1/TotW: {ioa: 20, type: M_ME_TF_1, unit: W}}}}}
"""


def stray(reason: str, **fields: object) -> dict[str, Any]:
    said = {"about": "", "value": "", "unit": "", "cdc": "", "count": 1, "first": "", "last": ""}
    return {"reason": reason, "fields": fields, **said}


def endpoint(name: str) -> dict[str, Any]:
    return stray("unknown endpoint", endpoint=name, links=[{"target": "/3303/0"}], lwm2m=True)


@pytest.fixture
def station(tmp_path: Path) -> Path:
    path = tmp_path / "station.yaml"
    path.write_text(MAPPING)
    return path


def proposed(path: Path, link: str, protocol: str, *strays: dict[str, Any]) -> Proposal:
    mapping, problems = check([path])
    assert mapping is not None, problems
    return propose(mapping, [{"link": link, "protocol": protocol, "strays": strays}], path)


def test_endpoints_that_would_be_called_alike_get_numbers_and_fit_the_file(station: Path) -> None:
    made = proposed(station, "coap_directory", "coap", endpoint("a:node"), endpoint("b:node"), endpoint("c:other"))
    (file,) = made.files
    assert {device.name for device in file.draft.devices} == {"node-2", "node-3", "other"}
    text, problems = put_into(file)
    assert text is not None, problems


def test_an_object_that_the_files_have_already_gets_no_second_line(station: Path) -> None:
    new = stray("unknown address", common_address=7, ioa=30, type="M_ME_TF_1")
    old = stray("unknown address", common_address=7, ioa=20, type="M_ME_TF_1")
    made = proposed(station, "rtu", "iec104", new, old)
    (file,) = made.files
    assert [point.key for point in file.draft.devices[0].at[0].points] == ["GGIO1/AnIn30"]
    assert [each.why for each in made.left_out] == ["the mapping files have it already"]


def test_what_a_device_calls_its_resources_is_shown_without_what_steers_a_terminal(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = stray("unmapped resource", path="/x\x1b[2J\nlink up")
    evil["about"] = "rt=\x1b]0;title\x07"
    made = proposed(station, "node", "coap", evil)
    listed = {"link": "node", "protocol": "coap", "strays": [evil], "left_out": 0, "dropped": 0, "not_asked": ""}
    unmapped_cli._print([listed], made)
    said = capsys.readouterr().out
    assert "path /x [2J link up" in said
    assert "".join(each for each in said if not each.isprintable()).strip("\n") == ""
    kept = Stray({"path": "/x\x1b[2J\nlink up"}, "unmapped resource", 1, 0, 0)
    assert shown(kept) == "path /x?[2J?link up"


def test_lines_go_only_into_a_file_that_the_gateway_reads(station: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (station.parent / "gateway.yaml").write_text(unmapped_bed.CONFIG)
    other = station.parent / "other.yaml"
    other.write_text(MAPPING)
    listed = {"link": "coap_directory", "protocol": "coap", "left_out": 0, "dropped": 0, "not_asked": ""}
    strays = [endpoint("n1")]
    monkeypatch.setattr("twin_gateway.control.ask", lambda *_, **__: [{**listed, "strays": strays}])
    command = ["unmapped", "--config", str(station.parent / "gateway.yaml"), "--into"]
    refused = CliRunner().invoke(app, [*command, str(other)])
    assert refused.exit_code == 1
    assert "is none of the mapping files" in refused.stderr
    assert other.read_text() == MAPPING
    done = CliRunner().invoke(app, [*command, str(station)])
    assert (done.exit_code, "1 new line in" in done.stdout) == (0, True)
    strays.clear()
    assert "no new line for" in CliRunner().invoke(app, [*command, str(station)]).stdout
