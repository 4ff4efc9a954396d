"""Our NodeSet2 loaded by tools that share no code with the gateway: node-opcua, and asyncua's importer."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from peers.opcua_model.loader import load

MODEL = Path(str(resources.files("address_space.opcua.model")))
DI, OURS = MODEL / "Opc.Ua.Di.NodeSet2.xml", MODEL / "TwinGateway.Grid.NodeSet2.xml"


@pytest.fixture(scope="module")
def loaded() -> Any:
    return load("standard", DI, OURS)


def test_node_opcua_finds_the_types_derived_as_they_are_meant(loaded: Any) -> None:
    assert (loaded["breaker"], loaded["link"], loaded["device"]) == (True, True, "1:DeviceType")
    assert (loaded["position"], loaded["event"]) == ("MultiStateValueDiscreteType", "2:GridEventType")


def test_node_opcua_makes_a_class_of_a_structure(loaded: Any) -> None:
    assert loaded["fields"] == [
        "commandId",
        "verb",
        "dataObject",
        "value",
        "status",
        "addCause",
        "gate",
        "text",
        "time",
    ]


def test_node_opcua_instantiates_a_logical_node(loaded: Any) -> None:
    assert loaded["instance"] == ["2:DPCType", 4]


async def test_asyncua_imports_our_model_strictly(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    await server.init()
    try:
        with caplog.at_level(logging.CRITICAL):
            # asyncua 2.1.0 takes DI only when it may leave out what it does not manage.
            await server.import_xml(DI, strict_mode=False)
            nodes = await server.import_xml(OURS)
        index = await server.get_namespace_index("urn:twin-gateway:UA:Grid")
        types = await server.nodes.base_object_type.get_child(
            [f"{index}:EquipmentType", f"{index}:SwitchType", f"{index}:CircuitBreakerType"]
        )
        assert types.nodeid in nodes
        assert ua.CommandOutcomeDataType().AddCause is not None
    finally:
        await server.iserver.stop()
