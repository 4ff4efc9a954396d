"""What a meter's object list says: objects that may become points, registers with their unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from address_space import units
from twin_gateway.drivers.contract import DiscoveredPoint
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.obis import Attribute

_NAMES = {
    obis.DATA: "data",
    obis.REGISTER: "register",
    obis.EXTENDED_REGISTER: "extended register",
    obis.DEMAND_REGISTER: "demand register",
    obis.PROFILE: "load profile or log",
    obis.CLOCK: "clock",
    obis.DISCONNECT: "disconnector",
}
_MOST = 5000
"""Objects taken from one list; real meters have a few hundred."""


def _objects(object_list: Value) -> Iterator[tuple[int, bytes]]:
    for item in object_list[:_MOST] if isinstance(object_list, list) else ():
        match item:
            case [int(class_id), int(), bytes(name), *_] if len(name) == 6 and class_id in _NAMES:
                yield class_id, name


def registers(object_list: Value) -> list[Attribute]:
    """scaler_unit attributes of all registers in an object list, in its order."""
    return [
        Attribute(class_id, name, 4 if class_id == obis.DEMAND_REGISTER else 3)
        for class_id, name in _objects(object_list)
        if class_id in obis.WITH_UNIT
    ]


def discovered(object_list: Value, scalers: Sequence[Value | DlmsError]) -> list[DiscoveredPoint]:
    """Points from an object list; `scalers` are the values of `registers` in the same order."""
    found, units_left = [], iter(scalers)
    for class_id, name in _objects(object_list):
        fields: dict[str, object] = {"obis": obis.text(name)}
        if obis.default_class(name) != class_id:
            fields["class"] = class_id
        unit = ""
        if class_id in obis.WITH_UNIT:
            match next(units_left, None):
                case [int(), int(code)]:
                    unit = units.FROM_DLMS.get(code, "")
        cdc = "DPC" if class_id == obis.DISCONNECT else ""
        found.append(DiscoveredPoint(fields, _NAMES[class_id], cdc, unit))
    return found
