"""From a mapping to rows, links, command targets, aliases and the gateway's own points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from address_space import clock
from address_space.events import EventJournal
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.link import LinkState
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping
from twin_gateway.plant import Plant, build_plant
from twin_gateway.schemes import make_book
from twin_gateway.system_points import SystemPoints, gateway_place, link_place

STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu-1:
    protocol: iec104
    host: 127.0.0.1
    port: 1
    common_address: [7, 8]
    at:
      MV1/F05:
        aliases: ["rds:=C1"]
        points:
          QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1, control: {ioa: 4010, type: C_DC_NA_1, model: sbo-normal}}
          QA1/XCBR1/Pos: {ioa: 10, type: M_DP_TB_1, share: true, aliases: ["mrid:6f0c3c5e-0d0a-4f2a-9a53-1f0b8a1f2c33"]}
          QA1/XCBR1/Loc: {ioa: 11, type: M_SP_TB_1}
          QA1/CILO1/EnaOpn: {ioa: 12, type: M_SP_TB_1}
          QA1/CILO1/EnaCls: {ioa: 13, type: M_SP_TB_1}
          MMXU1/TotW: {ioa: 20, common_address: 8, type: M_ME_TF_1, unit: kW}
  ied:
    protocol: iec61850
    host: 127.0.0.1
    ied: F07Q1
    at: {MV1/F07: {points: {MMXU1/TotW: {ref: LD0/MMXU1.TotW}}}}
"""
BAY = "dso1/north/PS01/MV1/F05"


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    path = tmp_path / "station.yaml"
    path.write_text(STATION)
    found, problems = check([path], environ={})
    assert found is not None, [str(problem) for problem in problems]
    return found


@pytest.fixture
def table() -> PointTable:
    return PointTable()


@pytest.fixture
def plant(mapping: Mapping, table: PointTable, tmp_path: Path) -> Iterator[Plant]:
    yield build_plant(mapping, table, EventJournal(), grid="dso1", gateway="gw1", data_directory=tmp_path)


def test_every_point_waits_for_its_first_value(plant: Plant, table: PointTable) -> None:
    assert len(table) == 7
    assert {int(status) for status in table.status[:7]} == {StatusCode.BadWaitingForInitialData}
    assert {table.value(row) for row in range(7)} == {None}


def test_every_device_has_a_link_under_the_gateway(plant: Plant) -> None:
    assert [(link.name, link.address) for link in plant.links] == [
        ("rtu-1", "dso1/_sys/gw1/_/_/rtu-1"),
        ("ied", "dso1/_sys/gw1/_/_/ied"),
    ]
    assert {link.state for link in plant.links} == {LinkState.DOWN}


def test_a_commanded_point_knows_what_its_gates_look_at(plant: Plant, table: PointTable) -> None:
    (target,) = plant.targets
    assert target.address.text == f"{BAY}/QA1/CSWI1/Pos"
    assert target.link is plant.links[0]
    assert target.needs_selection
    assert target.breaks_load
    named = [table.address(row) for row in (*target.local, *target.release_open, *target.release_close)]
    assert named == [f"{BAY}/QA1/XCBR1/Loc", f"{BAY}/QA1/CILO1/EnaOpn", f"{BAY}/QA1/CILO1/EnaCls"]
    assert table.address(target.position) == f"{BAY}/QA1/CSWI1/Pos"


@pytest.mark.parametrize(
    ("alias", "address"),
    [
        ("104:rtu-1/7/11", f"{BAY}/QA1/XCBR1/Loc"),
        ("104:rtu-1/8/20", f"{BAY}/_/MMXU1/TotW"),
        ("61850:F07Q1/LD0/MMXU1.TotW", "dso1/north/PS01/MV1/F07/_/MMXU1/TotW"),
        ("mrid:6F0C3C5E-0D0A-4F2A-9A53-1F0B8A1F2C33", f"{BAY}/QA1/XCBR1/Pos"),
        ("rds:=C1", BAY),
        ("104:rtu-1/7/20", ""),
        ("104:other/7/11", ""),
        ("dlms:rtu-1/7/11", ""),
    ],
)
def test_aliases_of_files_and_protocols_resolve(
    mapping: Mapping, plant: Plant, table: PointTable, alias: str, address: str
) -> None:
    assert make_book(mapping, plant.aliases, table, "https://example.org").resolve(alias).address == address


def test_a_commanded_point_shows_both_of_its_bindings(mapping: Mapping, plant: Plant, table: PointTable) -> None:
    found = make_book(mapping, plant.aliases, table, "https://example.org", "twin/a").resolve(f"{BAY}/QA1/CSWI1/Pos")
    assert [(item.role, item.driver, item.point) for item in found.bindings] == [
        ("read", "104", "rtu-1/7/10"),
        ("command", "104", "rtu-1/7/4010"),
    ]
    assert found.topic == f"twin/a/v/{BAY}/QA1/CSWI1/Pos"


def test_names_that_are_no_segments_are_escaped() -> None:
    assert gateway_place("dso1", "gw.1") == "dso1/_sys/gw~2E1"
    assert link_place("dso1", "gw1", "rtu 1") == "dso1/_sys/gw1/_/_/rtu~201"


def test_the_gateways_own_points_follow_its_counters_and_links(plant: Plant, table: PointTable) -> None:
    counted = {"LnkCnt": 2.0, "SmpCnt": 0.0}
    place = gateway_place("dso1", "gw1")
    system = SystemPoints(table, place, lambda: counted)
    counters = {"FrmErrCnt": ("framing_errors", "decode_errors"), "TmoCnt": ("timeouts",)}
    system.add_links((link, counters) for link in plant.links)

    def value(address: str) -> object:
        row = table.find(address)
        assert table.status[row] == StatusCode.Good, address
        return table.value(row)

    def refresh() -> None:
        for _ in system.refresh():
            pass

    before = clock.now()
    refresh()
    assert value(f"{place}/_/_/_/twGWAY1/LnkCnt") == 2
    assert value(f"{place}/_/_/rtu-1/LCCH1/ChLiv") is False
    assert before <= table.sample(table.find(f"{place}/_/_/_/twGWAY1/SmpCnt")).source_time <= clock.now()
    counted["SmpCnt"] = 7.0
    plant.links[0].up()
    plant.links[0].count("decode_errors", 3)
    cursor = table.journal.cursor("test")
    plant.links[0].count("framing_errors", 2)
    plant.links[0].error("the scale is unknown", "dso1/north/PS01/MV1/F05/_/MMXU1/Hz")
    refresh()
    assert value(f"{place}/_/_/_/twGWAY1/SmpCnt") == 7
    assert value(f"{place}/_/_/rtu-1/LCCH1/ChLiv") is True
    assert value(f"{place}/_/_/rtu-1/LCCH1/FerCh") == 5
    assert value(f"{place}/_/_/rtu-1/twLINK1/FrmErrCnt") == 5
    assert value(f"{place}/_/_/rtu-1/twLINK1/ConnCnt") == 1
    assert value(f"{place}/_/_/rtu-1/twLINK1/TmoCnt") == 0
    assert value(f"{place}/_/_/rtu-1/twLINK1/LastErr") == "dso1/north/PS01/MV1/F05/_/MMXU1/Hz: the scale is unknown"
    assert value(f"{place}/_/_/ied/LCCH1/ChLiv") is False
    changed = sorted(table.address(int(row)).rpartition("/")[2] for chunk in cursor.take() for row in chunk.rows)
    assert changed == ["ChLiv", "ConnCnt", "FerCh", "FrmErrCnt", "LastErr", "SmpCnt"], (
        "what stays costs nothing downstream"
    )


def test_the_gateway_does_not_claim_a_synchronised_clock_without_the_kernel(
    table: PointTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_gateway.system_points.ctypes.CDLL", lambda _name: object())
    place = gateway_place("dso1", "gw1")
    assert not list(SystemPoints(table, place, dict).refresh()), "it has no links"
    assert table.value(table.find(f"{place}/_/_/_/LTMS1/TmSyn")) == 0
