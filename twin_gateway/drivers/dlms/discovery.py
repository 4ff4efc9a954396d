"""What a meter's object list says: its objects with access rights, units and columns, and which may become points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from address_space import units
from twin_gateway.drivers.contract import DiscoveredPoint
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.buffer import CAPTURE_OBJECTS, captured_of
from twin_gateway.drivers.dlms.errors import DlmsError, MalformedApduError
from twin_gateway.drivers.dlms.obis import Attribute

_NAMES = {
    obis.DATA: "data",
    obis.REGISTER: "register",
    obis.EXTENDED_REGISTER: "extended register",
    obis.DEMAND_REGISTER: "demand register",
    6: "register activation",
    obis.PROFILE: "load profile or log",
    obis.CLOCK: "clock",
    9: "script table",
    10: "schedule",
    11: "special days",
    12: "association (short names)",
    obis.ASSOCIATION: "association",
    17: "SAP assignment",
    18: "image transfer",
    20: "activity calendar",
    21: "register monitor",
    22: "single action schedule",
    23: "HDLC setup",
    obis.PUSH_SETUP: "push setup",
    64: "security setup",
    obis.DISCONNECT: "disconnector",
    71: "limiter",
    72: "M-Bus client",
}
_MOST = 5000
"""Objects taken from one list; real meters have a few hundred."""
_MOST_MEMBERS = 128
_READABLE = frozenset({1, 3, 4, 6})
"""Access modes of attributes that can be read, up to version 2 of the association; 3 and later have a bit for it."""
_POINTS = obis.WITH_UNIT | {obis.DATA, obis.CLOCK, obis.DISCONNECT}


@dataclass(frozen=True, slots=True)
class MeterObject:
    """One object of a meter.

    Attributes:
        class_id, version, name: what it is, and its logical name (six octets).
        attributes: access mode by attribute number, as the meter writes it; empty when it tells none.
        methods: access mode by method number.
        association_version: of the object list; it decides how access modes are written.
    """

    class_id: int
    version: int
    name: bytes
    attributes: Mapping[int, int] = field(default_factory=dict)
    methods: Mapping[int, int] = field(default_factory=dict)
    association_version: int = 0

    def readable(self, number: int) -> bool:
        """Whether an attribute can be read; assumed where the meter does not tell."""
        mode = self.attributes.get(number)
        if mode is None:
            return True
        return bool(mode & 1) if self.association_version >= 3 else mode in _READABLE

    @property
    def rights(self) -> str:
        """Access rights as text: `1 r, 2 rw; method 1`."""
        parts = ", ".join(f"{number} {self._mode(mode)}" for number, mode in sorted(self.attributes.items()))
        methods = ", ".join(str(number) for number, mode in sorted(self.methods.items()) if mode)
        return "; ".join(text for text in (parts, f"methods {methods}" if methods else "") if text)

    def _mode(self, mode: int) -> str:
        if self.association_version >= 3:
            return ("r" if mode & 1 else "") + ("w" if mode & 2 else "") or "-"
        return {0: "-", 1: "r", 2: "w", 3: "rw", 4: "r (authenticated)", 5: "w (authenticated)"}.get(
            mode, "rw (authenticated)"
        )


def objects_of(object_list: Value) -> list[MeterObject]:
    """Objects from the object list; what is no object is left out.

    Raises:
        MalformedApduError: not a list.
    """
    if not isinstance(object_list, list):
        raise MalformedApduError("the object list is not an array")
    found, association_version = [], 0
    for item in object_list[:_MOST]:
        match item:
            case [obis.ASSOCIATION, int(version), obis.ASSOCIATION_LN, *_]:
                association_version = version
    for item in object_list[:_MOST]:
        match item:
            case [int(class_id), int(version), bytes(name), *rest] if len(name) == 6:
                attributes, methods = _rights(rest[0] if rest else None)
                found.append(MeterObject(class_id, version, name, attributes, methods, association_version))
    return found


def _rights(value: Value) -> tuple[dict[int, int], dict[int, int]]:
    match value:
        case [list(attributes), list(methods)]:
            return _modes(attributes), _modes(methods)
    return {}, {}


def _modes(items: list[Value]) -> dict[int, int]:
    found: dict[int, int] = {}
    for item in items[:_MOST_MEMBERS]:
        match item:
            case [int(number), int(mode), *_]:
                found[number] = int(mode)
    return found


def registers(objects: Sequence[MeterObject]) -> list[Attribute]:
    """scaler_unit attributes of all registers, in order."""
    return [
        Attribute(item.class_id, item.name, 4 if item.class_id == obis.DEMAND_REGISTER else 3)
        for item in objects
        if item.class_id in obis.WITH_UNIT
    ]


def profiles(objects: Sequence[MeterObject]) -> list[Attribute]:
    """capture_objects attributes of all profiles, in order."""
    return [
        Attribute(obis.PROFILE, item.name, CAPTURE_OBJECTS)
        for item in objects
        if item.class_id == obis.PROFILE and item.readable(CAPTURE_OBJECTS)
    ]


def discovered(
    objects: Sequence[MeterObject], scalers: Sequence[Value | DlmsError], columns: Sequence[Value | DlmsError] = ()
) -> list[DiscoveredPoint]:
    """Points from the objects of a meter.

    Args:
        objects: of objects_of.
        scalers: values of `registers`, in the same order.
        columns: values of `profiles`, in the same order.
    """
    return list(_points(objects, iter(scalers), _columns(objects, columns)))


def _columns(objects: Sequence[MeterObject], columns: Sequence[Value | DlmsError]) -> dict[bytes, list[Attribute]]:
    """What each profile captures, by its logical name."""
    found: dict[bytes, list[Attribute]] = {}
    for profile, value in zip(profiles(objects), columns, strict=False):
        if isinstance(value, DlmsError):
            continue
        try:
            found[profile.logical_name] = captured_of(value)
        except MalformedApduError:
            continue
    return found


def _points(
    objects: Sequence[MeterObject], scalers: Iterator[Value | DlmsError], columns: Mapping[bytes, list[Attribute]]
) -> Iterator[DiscoveredPoint]:
    captured: dict[Attribute, str] = {}
    for name, attributes in columns.items():
        for attribute in attributes:
            captured.setdefault(attribute, obis.text(name))
    for item in objects:
        if item.class_id == obis.PROFILE:
            listed = ", ".join(str(attribute) for attribute in columns.get(item.name, ()))
            text = description_of(item) + (f": {listed}" if listed else "")
            yield DiscoveredPoint({"obis": obis.text(item.name)}, text)
            continue
        scaler = next(scalers, None) if item.class_id in obis.WITH_UNIT else None
        number = 3 if item.class_id == obis.DISCONNECT else 2
        if item.class_id not in _POINTS or not item.readable(number):
            continue
        fields: dict[str, object] = {"obis": obis.text(item.name)}
        if obis.default_class(item.name) != item.class_id:
            fields["class"] = item.class_id
        if profile := captured.get(Attribute(item.class_id, item.name, number)):
            fields["profile"] = profile
        unit = ""
        match scaler:
            case [int(), int(code)]:
                unit = units.FROM_DLMS.get(code, "")
        cdc = "DPC" if item.class_id == obis.DISCONNECT else ""
        yield DiscoveredPoint(fields, description_of(item), cdc, unit)


def description_of(item: MeterObject) -> str:
    """What an object is, in a few words."""
    name = _NAMES.get(item.class_id, f"class {item.class_id}")
    return f"{name}, version {item.version}" + (f" ({item.rights})" if item.rights else "")
