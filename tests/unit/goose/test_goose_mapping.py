"""Mapping files with GOOSE subscriptions: what is accepted, what is said of mistakes, how points are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from peers.goose_scl import with_goose

from twin_gateway.mapping.check import check

ROOT = Path(__file__).parents[3]
MAPPING = """mapping: 1
grid: dso1
place: north/PS01
devices:
  bus:
    protocol: goose
    interface: eth1
    subscriptions:
      trip:
        control_block: F07Q1LD0/LLN0$GO$gcbTrip
        destination: 01-0C-CD-01-00-01
        app_id: 0x3001
        conf_rev: 3
        members: [LD0/PTRC1.Tr.general, LD0/PTRC1.Tr.q, LD0/XCBR1.Pos.stVal]
    at:
      MV1/F07:
        points:
          PTRC1/Tr: {subscription: trip, ref: LD0/PTRC1.Tr}
          IED1/LGOS1/ConfRevNum: {subscription: trip, item: ConfRevNum}
"""
FROM_SCL = re.sub(r" +(destination|app_id|conf_rev|members).*\n", "", MAPPING)


def problems_of(folder: Path, text: str) -> list[str]:
    path = folder / "bus.yaml"
    path.write_text(text)
    return [str(problem).partition("bus.yaml:")[2] for problem in check([path], environ={})[1]]


def test_a_subscription_may_stand_without_an_scl_file(tmp_path: Path) -> None:
    assert problems_of(tmp_path, MAPPING) == []


def test_aliases_are_the_control_block_with_what_is_taken_of_it(tmp_path: Path) -> None:
    path = tmp_path / "bus.yaml"
    path.write_text(MAPPING)
    mapping, _ = check([path], environ={})
    assert mapping is not None
    (device,) = mapping.devices
    assert [point.source for point in device.points] == [
        "F07Q1LD0/LLN0$GO$gcbTrip/LD0/PTRC1.Tr",
        "F07Q1LD0/LLN0$GO$gcbTrip#ConfRevNum",
    ]
    assert all(device.spec.unalias(str(point.source)) == (None, point.source) for point in device.points)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0x3001", "0x30001", "12:17: error TG206"),
        ("01-0C-CD", "00-0C-CD", "GOOSE messages go to a multicast address"),
        ("01-0C-CD-01-00-01", "01-0C", "error TG207: subscriptions.trip.destination"),
        ("trip, ref", "trap, ref", "no subscription 'trap' here; there are trip"),
        ("ref: LD0/PTRC1.Tr", "item: St", "cannot give an ACT"),
        (", ref: LD0/PTRC1.Tr", "", "a point has either ref"),
        ("ref: LD0/PTRC1.Tr", "ref: LD0/PTRC1.Tr, control: sbo-normal", "goose points cannot be commanded"),
        ("        app_id: 0x3001\n", "", "without an SCL file it needs app_id"),
        ("        conf_rev: 3\n", "", "nobody says which ConfRev is expected"),
        ("        points:", "        all: LD0\n        points:", "goose devices have no model to take whole"),
    ],
)
def test_a_mistake_is_said_in_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MAPPING
    (problem,) = problems_of(tmp_path, MAPPING.replace(old, new, 1))
    assert said in problem


def test_points_are_compared_with_the_data_set_of_the_scl_file(tmp_path: Path) -> None:
    with_goose(tmp_path / "trip.cid")
    text = FROM_SCL.replace("interface: eth1", "interface: eth1\n    scl: trip.cid")
    assert problems_of(tmp_path, text) == []
    (problem,) = problems_of(tmp_path, text.replace("ref: LD0/PTRC1.Tr", "ref: LD0/PTRC1.Str"))
    assert "F07Q1LD0/PTRC1$ST$Str$general is not in the data set (as in trip.cid)" in problem
    found = problems_of(tmp_path, text.replace("$gcbTrip", "$gcbOther"))
    assert len(found) == 2
    assert all("no address of F07Q1LD0/LLN0$GO$gcbOther" in each for each in found)


def test_the_example_of_the_documentation_is_a_mapping(tmp_path: Path) -> None:
    page = (ROOT / "docs/iec61850.md").read_text("utf-8")
    (example,) = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "protocol: goose" in text)
    with_goose(tmp_path / "station.scd")
    assert problems_of(tmp_path, "mapping: 1\ngrid: dso1\nplace: north/PS01\n" + example) == []
