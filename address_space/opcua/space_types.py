"""Types of the grid's nodes: which of our types or of the standard's a node has, by its address alone."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

from address_space import catalogue
from address_space.address import FILLER, function_name, is_terminal
from address_space.catalogue import VariableKind
from address_space.opcua.model.ids import INDEX, numbers, own
from address_space.opcua.wire import numeric_node_id
from address_space.point import PointProfile

STANDARD_VARIABLE_TYPES = {
    VariableKind.TWO_STATE: 2373,
    VariableKind.MULTI_STATE: 11238,
    VariableKind.ANALOG: 17497,
    VariableKind.BASE_ANALOG: 15318,
    VariableKind.DATA: 63,
}
"""NodeIds (namespace 0) of the VariableTypes that ours are derived from."""
_PLACES = {1: "GridType", 2: "AreaType", 3: "SiteType", 4: "VoltageLevelType", 5: "BayType"}
_SYSTEM_PLACES = {2: "SystemAreaType", 3: "GatewayType"}
_EQUIPMENT = {
    "QA": "CircuitBreakerType",
    "QB": "DisconnectorType",
    "QC": "EarthingSwitchType",
    "TA": "PowerTransformerType",
    "BA": "VoltageTransformerType",
    "BC": "CurrentTransformerType",
    "FC": "FuseType",
    "WA": "BusbarType",
    "WB": "ConductorType",
    "WC": "ConductorType",
    "WD": "ConductorType",
    "CN": "ConnectivityNodeType",
}
"""Class letters of IEC 81346-2, and ours for connectivity nodes, as names of equipment begin."""
_SYSTEM = 2
_EQUIPMENT_LEVEL, _FUNCTION_LEVEL = 6, 7


class TypeOf(NamedTuple):
    """NodeId (on the wire), name, and namespace of the name of a type."""

    node_id: bytes
    name: str
    namespace: int


@cache
def _own(name: str) -> TypeOf:
    return TypeOf(own(name), name, INDEX)


def standard(number: int, name: str) -> TypeOf:
    """A type of namespace 0."""
    return TypeOf(numeric_node_id(number), name, 0)


@lru_cache(maxsize=4096)
def variable_type(profile: PointProfile) -> TypeOf:
    """Type of a point: that of its common data class, or of the standard for single attributes."""
    name = f"{profile.cdc}Type"
    derived = catalogue.CDCS.get(profile.cdc)
    if name in numbers() and derived is not None and derived.kind is profile.kind:
        return _own(name)
    return standard(STANDARD_VARIABLE_TYPES[profile.kind], profile.kind.value)


@lru_cache(maxsize=8192)
def function_type(name: str) -> TypeOf:
    """Type of a level-7 node by its name: that of its logical-node class."""
    if is_terminal(name):
        return _own("TerminalType")
    known = function_name(name)
    symbol = f"{known.ln_class}Type" if known is not None else ""
    return _own(symbol if symbol in numbers() else "LogicalNodeType")


@lru_cache(maxsize=8192)
def container_type(function: str, data_object: str) -> TypeOf:
    """Type of a data object that has parts and no value, by the names of its logical node and its own."""
    known = function_name(function)
    objects = catalogue.data_objects(known.ln_class) if known is not None else {}
    found = objects.get(data_object) or objects.get(data_object.rstrip("0123456789"))
    symbol = f"{found[0]}Type" if found is not None else ""
    container = found is not None and found[0] in catalogue.CDCS and catalogue.CDCS[found[0]].container
    return _own(symbol) if container and symbol in numbers() else standard(58, "BaseObjectType")


def grid_type() -> TypeOf:
    """Type of the grid object."""
    return _own("GridRootType")


def place_type(level: int, *, system: bool) -> TypeOf:
    """Type of a place of levels 1 to 5; `system` for those below a reserved second level."""
    return _own(_SYSTEM_PLACES.get(level, _PLACES[level]) if system else _PLACES[level])


@lru_cache(maxsize=8192)
def equipment_type(name: str, *, device: bool, link: bool) -> TypeOf:
    """Type of a level-6 place by its name; `device` when it has an LPHD, `link` when it is one of a gateway's links."""
    if link or device:
        return _own("LinkType" if link else "GridDeviceType")
    rest = name[2:].partition("-")[0]
    plain = not rest or rest.isdigit()
    return _own(_EQUIPMENT.get(name[:2], "EquipmentType") if plain and "-" not in name else "EquipmentType")


def is_system(address: str) -> bool:
    """Whether an address is of what serves the grid: a reserved name at level 2."""
    parts = address.split("/", _SYSTEM)
    return len(parts) >= _SYSTEM and parts[1].startswith(FILLER) and len(parts[1]) > 1
