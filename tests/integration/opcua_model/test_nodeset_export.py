"""The exported address space of a mapping, loaded by asyncua and by node-opcua."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from asyncua import Server, ua
from peers.opcua_model.loader import nodes_of

from twin_gateway.engineering.export_nodeset import export_nodeset
from twin_gateway.mapping.check import check

AUTHORITY = "https://example.org"
F05 = "dso1/north/PS01/MV1/F05"
MAPPING = """\
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
          MMXU1/TotW: {ioa: 1, type: M_ME_TF_1, unit: kW, display_name: {en: "P < 5 MW & more", de: Leistung}}
          QA1/CSWI1/Pos: {ioa: 2, type: M_DP_TB_1, control: {ioa: 3, type: C_DC_NA_1}}
          PTRC1/Tr: {ioa: 4, type: M_SP_TB_1}
"""


@pytest.fixture
def nodeset(tmp_path: Path) -> Path:
    (tmp_path / "ps01.yaml").write_text(MAPPING, "utf-8")
    mapping, problems = check([tmp_path / "ps01.yaml"], environ={})
    assert mapping is not None, problems
    path = tmp_path / "grid.xml"
    path.write_text(export_nodeset(mapping, AUTHORITY), "utf-8")
    return path


async def test_asyncua_finds_the_points_by_their_addresses_and_paths(nodeset: Path) -> None:
    server = Server()
    await server.init()
    try:
        await server.import_xml(nodeset)
        own = await server.get_namespace_index(AUTHORITY)
        types = await server.get_namespace_index("urn:twin-gateway:UA:Grid")
        power = server.get_node(ua.NodeId(f"{F05}/_/MMXU1/TotW", own))
        assert await power.read_data_type() == ua.NodeId(ua.ObjectIds.Double)
        unit = await (await power.get_child("0:EngineeringUnits")).read_value()
        assert (unit.DisplayName.Text, unit.UnitId) == ("W", int.from_bytes(b"WTT", "big"))
        path = [f"{own}:{name}" for name in ("Grid", "dso1", "north", "PS01", "MV1", "F05", "QA1", "CSWI1")]
        switch = await server.nodes.objects.get_child([*path, f"{types}:Pos"])
        assert switch.nodeid.Identifier == f"{F05}/QA1/CSWI1/Pos"
        states = await (await switch.get_child("0:EnumValues")).read_value()
        assert [state.DisplayName.Text for state in states] == ["intermediate-state", "off", "on", "bad-state"]
        assert await switch.get_access_level() == {ua.AccessLevel.CurrentRead}
        trip = server.get_node(ua.NodeId(f"{F05}/_/PTRC1/Tr", own))
        assert (await trip.read_type_definition()).Identifier == ua.ObjectIds.TwoStateDiscreteType
    finally:
        await server.iserver.stop()


def test_node_opcua_loads_it_behind_the_types(nodeset: Path) -> None:
    model = Path(str(resources.files("address_space.opcua.model")))
    files = (model / "Opc.Ua.Di.NodeSet2.xml", model / "TwinGateway.Grid.NodeSet2.xml", nodeset)
    told = nodes_of(AUTHORITY, files, (f"{F05}/_/MMXU1/TotW", f"{F05}/QA1/CSWI1/Pos", "dso1/north/PS01"))
    power = told[f"{F05}/_/MMXU1/TotW"]
    assert (power["browseName"], power["type"], power["dataType"]) == ("TotW", "AnalogUnitType", "Double")
    assert power["unit"] == ["W", int.from_bytes(b"WTT", "big")]
    assert told[f"{F05}/QA1/CSWI1/Pos"]["states"] == ["intermediate-state", "off", "on", "bad-state"]
    assert told["dso1/north/PS01"]["type"] == "FolderType"
