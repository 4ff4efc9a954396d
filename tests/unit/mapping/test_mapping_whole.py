from __future__ import annotations

from pathlib import Path

import pytest

from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping
from twin_gateway.mapping.whole import Offer, expand_whole

HEAD = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  ied-f07:
    protocol: iec61850
    host: 10.4.7.11
    scl: {scl}
    at:
      MV1/F07:
        points:
          QA1/XCBR1/Pos: {{ref: LD0/XCBR1.Pos}}
          QA1/CSWI1/Pos: {{ref: {ref}, control: sbo-enhanced}}
      MV1/F07/IED1: {{all: {ld}}}
"""
SCL = next((Path(__file__).parents[3] / "mappings" / "demo" / "scl").glob("F07*"), None)
needs_scl = pytest.mark.skipif(SCL is None, reason="the demo's SCL file is not there")


def station(tmp_path: Path, *, scl: str = "", ref: str = "LD0/CSWI1.Pos", ld: str = "LD0") -> Path:
    text = HEAD.format(scl=scl or SCL, ref=ref, ld=ld)
    path = tmp_path / "station.yaml"
    path.write_text(text.replace("    scl: null\n", ""), "utf-8")
    return path


def good(path: Path) -> Mapping:
    mapping, problems = check([path], environ={})
    assert [p for p in problems if p.severity == "error"] == []
    assert mapping is not None
    return mapping


def test_without_scl_a_whole_model_stays_a_request_with_its_place(tmp_path: Path) -> None:
    (device,) = good(station(tmp_path, scl="null")).devices
    (request,) = device.whole
    assert (request.place, request.logical_device, request.line) == ("dso1/north/PS01/MV1/F07/IED1", "LD0", 13)
    assert len(device.points) == 2


def test_what_the_device_offers_becomes_points_with_the_names_kept(tmp_path: Path) -> None:
    (device,) = good(station(tmp_path, scl="null")).devices
    offers = [
        Offer("LD0/XCBR1.Pos", "DPC"),
        Offer("LD0/MMXU1.A.phsB", "CMV"),
        Offer("LD0/GGIO1.SPCSO1", "SPC"),
        Offer("LD0/XSWI1.Pos", "DPC"),
        Offer("LD0/ABCD1.Foo", "SPS"),
        Offer("LD0/MMXU1.Nonsense", "MV"),
    ]
    expanded = expand_whole(device, device.whole[0], offers)
    base = "dso1/north/PS01/MV1/F07/IED1/"
    assert [(p.address.removeprefix(base), p.control) for p in expanded.points] == [
        ("MMXU1/A/phsB", None),
        ("GGIO1/SPCSO1", {"model": "device"}),
        # a switch is commanded through its controller, or by a line of its own
        ("XSWI1/Pos", None),
    ]
    assert expanded.left_out == ["LD0/ABCD1.Foo", "LD0/MMXU1.Nonsense"]
    assert {p.line for p in expanded.points} == {13}


@needs_scl
def test_with_scl_every_other_data_object_of_the_device_is_mapped_at_once(tmp_path: Path) -> None:
    mapping = good(station(tmp_path))
    (device,) = mapping.devices
    assert device.whole == []
    addresses = [p.address for p in device.points]
    assert len(addresses) == len(set(addresses)) > 40
    assert "dso1/north/PS01/MV1/F07/IED1/LPHD1/PhyHealth" in addresses
    assert "dso1/north/PS01/MV1/F07/IED1/XCBR1/Pos" not in addresses


@needs_scl
def test_references_that_the_scl_file_does_not_have_are_reported(tmp_path: Path) -> None:
    mapping, problems = check([station(tmp_path, ref="LD0/CSWI77.Pos", ld="LD77")], environ={})
    assert mapping is None
    assert [(p.code, p.line) for p in problems] == [("TG607", 13), ("TG607", 14)]
    assert "CSWI77" in problems[0].message
    assert "LD77" in problems[1].message


def test_an_scl_file_that_is_none_is_reported(tmp_path: Path) -> None:
    (tmp_path / "bad.scd").write_text("<SCL")
    mapping, problems = check([station(tmp_path, scl="bad.scd")], environ={})
    assert mapping is None
    assert [(p.code, p.line) for p in problems] == [("TG607", 5)]


def test_the_scl_file_stands_beside_the_mapping_file_wherever_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if SCL is None:
        pytest.skip("the demo's SCL file is not there")
    (tmp_path / "scl").mkdir()
    (tmp_path / "scl" / "f07.cid").write_bytes(SCL.read_bytes())
    monkeypatch.chdir("/")
    (device,) = good(station(tmp_path, scl="scl/f07.cid")).devices
    assert device.config.scl == str(tmp_path / "scl" / "f07.cid")  # type: ignore[attr-defined] # the driver's own model
