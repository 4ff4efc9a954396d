"""`check --live` without a gateway: every point of every device is read once, and what is odd is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers.acceptance.feeder import BAY104, METER, SENSOR
from peers.acceptance.processes import ROOT
from peers.commissioning_bed import Bed
from peers.ports import free_port

ODD = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 127.0.0.1
    port: {rtu}
    common_address: 7
    at:
      MV1/F05:
        points:
          QA1/XCBR1/Pos: {{ioa: 1000, type: M_DP_TB_1}}
          QA1/XCBR1/Loc: {{ioa: 1001, type: M_SP_TB_1}}
          MMXU1/TotW: {{ioa: 1999, type: M_ME_TF_1, unit: kW}}
          MMXU1/PPV/phsAB: {{ioa: 1015, type: M_ME_TF_1, unit: V}}
          MMXU1/A/phsA: {{ioa: 1012, type: M_ME_TF_1, unit: A}}
  ied:
    protocol: iec61850
    host: 127.0.0.1
    port: {ied}
    ied: F07Q1
    scl: other.cid
    at:
      MV1/F07:
        points:
          MMXU1/TotW: {{ref: LD0/MMXU1.TotW}}
          QA1/XCBR1/OpCnt: {{ref: LD0/XCBR1.Loc}}
  gone:
    protocol: iec104
    host: 127.0.0.1
    port: {gone}
    at: {{MV1/F08: {{points: {{MMXU1/Hz: {{ioa: 1, type: M_ME_TF_1, unit: Hz}}}}}}}}
"""


def test_by_itself_every_point_of_a_sound_field_is_read_and_nothing_is_odd(alone: Bed) -> None:
    code, told = alone.live("--seconds", "20")
    assert told["surprises"] == []
    assert code == 0
    assert told["read_by"].startswith("connections of its own")
    assert {device["device"]: device["state"] for device in told["devices"]} == dict.fromkeys(
        alone.feeder.devices, "up"
    )
    assert told["points"] == told["good"] == 45
    points = {point["address"]: point for device in told["devices"] for point in device["points"]}
    assert points[f"{BAY104}/QA1/XCBR1/Pos"]["value"] == 2
    assert points[f"{BAY104}/_/MMXU1/PPV/phsAB"]["unit"] == "V"
    assert points[f"{METER}/MMXU1/PhV/phsA"]["value"] == pytest.approx(230.1)
    sensed = points[f"{SENSOR}/STMP1/Tmp"]
    assert sensed["time"]
    assert 0 <= sensed["delay_s"] < 5
    assert alone.carried_out() == 0


def test_what_is_odd_is_told_with_its_point(alone: Bed, tmp_path: Path) -> None:
    devices = alone.feeder.devices
    text = alone.station.read_text()
    ports = {name: text.split(f"  {name}:\n")[1].split("port: ")[1].split()[0] for name in ("rtu", "ied")}
    odd = tmp_path / "odd.yaml"
    described = (ROOT / "mappings/demo/scl/F07Q1.cid").read_text()
    revision = '<DAI name="configRev"><Val>1</Val>'
    assert revision in described
    (tmp_path / "other.cid").write_text(described.replace(revision, revision.replace("1", "2")))
    odd.write_text(ODD.format(gone=free_port(), **ports))
    devices["rtu"].order(ioa=1012, value=50, quality=0x80, common_address=7)
    devices["ied"].order(clock=-7200, synchronised=False)
    devices["ied"].order(ref="LD0/MMXU1.TotW", value=1000)
    try:
        code, told = alone.live(str(odd), "--seconds", "3")
    finally:
        devices["rtu"].order(ioa=1012, value=50, quality=0, common_address=7)
        devices["ied"].order(clock=0, synchronised=True)
        devices["ied"].order(ref="LD0/MMXU1.TotW", restore=True)
    assert code == 2
    found = {(each["device"], each["address"].removeprefix("dso1/north/PS01/MV1/"), each["kind"]): each["text"]
             for each in told["surprises"]}  # fmt: skip
    assert "no sample ever came" in found["rtu", "F05/_/MMXU1/TotW", "never answered"]
    assert ("rtu", "F05/QA1/XCBR1/Loc", "never answered") in found
    assert "20.1 V is not within 50 to 100000 V" in found["rtu", "F05/_/MMXU1/PPV/phsAB", "unit suspicious"]
    assert found["rtu", "F05/_/MMXU1/A/phsA", "bad quality"].startswith("Bad")
    assert "that no point takes" in found["rtu", "", "unmapped"]
    assert found["ied", "F07/QA1/XCBR1/OpCnt", "other type"] == "the device says SPS, the mapping INS"
    assert ("ied", "F07/_/MMXU1/TotW", "time not synchronised") in found
    assert "2 h 0 min back" in found["ied", "", "time far off"]
    assert "configRev" in found["ied", "", "description differs"]
    assert "refused" in found["gone", "", "no link"].lower()
    assert ("rtu", "F05/QA1/XCBR1/Pos", "never answered") not in found


def test_one_device_only_and_as_a_table(alone: Bed) -> None:
    found = alone.run("check", "--live", "--device", "sensor")
    assert found.exit_code == 0, found.output
    assert f"{SENSOR}/STMP1/Tmp" in found.stdout
    assert BAY104 not in found.stdout
    assert "1 of 1 points answered with good quality; no surprises" in found.stdout


def test_a_device_that_is_not_mapped_is_an_error_with_the_one_that_was_meant(alone: Bed) -> None:
    found = alone.run("check", "--live", "--device", "sensr")
    assert found.exit_code == 1
    assert "no device 'sensr'; did you mean 'sensor'?" in found.stderr
