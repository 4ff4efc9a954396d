"""Variables that stand below the grid's own nodes: parts of data objects, nameplates, states; made when asked for.

Their values are read off the point table; nothing is kept for a member.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from address_space import catalogue, clock
from address_space.address import function_name
from address_space.catalogue import VariableKind
from address_space.opcua.model.ids import DI_INDEX, INDEX, numbers, own
from address_space.opcua.nodes import HAS_COMPONENT, HAS_PROPERTY, Node
from address_space.opcua.properties import properties_of, property_value
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_text, localized_text, numeric_node_id, pack_i32, pack_u32
from address_space.point import PointProfile, Sample
from address_space.quality import StatusCode, TimeFlag

if TYPE_CHECKING:
    from address_space.opcua.space import GridSpace

_PROPERTY_TYPE, _DATA_VARIABLE_TYPE = numeric_node_id(68), numeric_node_id(63)
_STRING, _LOCALIZED_TEXT, _INT32, _UINT32, _DOUBLE = (numeric_node_id(number) for number in (12, 21, 6, 7, 11))
_UTC_TIME = numeric_node_id(294)
_DEVICE_HEALTH = numeric_node_id(6244, DI_INDEX)
_STEPS = frozenset({"IsoSteps", "RstSteps"})
_WAITING = int(StatusCode.BadWaitingForInitialData)
_NO_DATA = int(ua.StatusCodes.BadNoData)
_NO_STEPS = int(ua.StatusCodes.BadDataEncodingInvalid)


class Member(NamedTuple):
    """A variable below a node.

    Attributes:
        namespace: index of its BrowseName.
        relation: HasProperty or HasComponent.
        data_type: NodeId on the wire.
        rank: ValueRank.
    """

    name: str
    namespace: int
    relation: int
    data_type: bytes
    rank: int = -1

    @property
    def definition(self) -> bytes:
        """TypeDefinition on the wire."""
        return _PROPERTY_TYPE if self.relation == HAS_PROPERTY else _DATA_VARIABLE_TYPE

    @property
    def definition_name(self) -> str:
        """BrowseName of the TypeDefinition."""
        return "PropertyType" if self.relation == HAS_PROPERTY else "BaseDataVariableType"


class Parts(NamedTuple):
    """One DataValue: Variant on the wire (empty for none), StatusCode, times in ticks (0 for none)."""

    variant: bytes
    status: int = 0
    source: int = 0
    received: int = 0

    def encode(self, stamps: int) -> bytes:
        """DataValue on the wire; TimestampsToReturn 0 source, 1 server, 2 both, 3 neither."""
        mask, tail = 1 if self.variant else 0, b""
        if self.status:
            mask, tail = mask | 2, pack_u32(self.status)
        if self.source and stamps in {0, 2}:
            mask, tail = mask | 4, tail + struct.pack("<q", self.source)
        if stamps in {1, 2}:
            mask, tail = mask | 8, tail + struct.pack("<q", self.received or clock.now())
        return bytes((mask,)) + self.variant + tail


NONE: Mapping[str, Member] = {}
"""No members at all."""
Reader = Callable[["GridSpace", "Node"], Parts]


# ---- parts of data objects -----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def of_profile(profile: PointProfile) -> Mapping[str, Member]:
    """Members of points of a profile: the properties of their VariableType, then the attributes of the data object."""
    members = {}
    for name in properties_of(profile):
        if name == "ValueAsText":
            data_type, rank = _LOCALIZED_TEXT, -1
        else:
            value = property_value(profile, name)
            data_type, rank = numeric_node_id(value.data_type), value.value_rank
        members[name] = Member(name, 0, HAS_PROPERTY, data_type, rank)
    cdc = catalogue.CDCS.get(profile.cdc)
    if cdc is not None and cdc.attribute:
        data_type = numeric_node_id(int(profile.value_type))
        if profile.kind is VariableKind.MULTI_STATE and profile.enumeration in numbers():
            data_type = own(profile.enumeration)
        name = cdc.attribute.partition(".")[0]
        members[name] = Member(name, INDEX, HAS_COMPONENT, data_type)
        members["q"] = Member("q", INDEX, HAS_COMPONENT, own("QualityBits"))
        members["t"] = Member("t", INDEX, HAS_COMPONENT, _UTC_TIME)
    return members


def of_point(space: GridSpace, node: Node) -> Mapping[str, Member]:
    """Members of a point."""
    profile = space.table.profile(node.row)
    members = of_profile(profile)
    further: dict[str, Member] = {}
    if space.table.binding(node.row)[0] and cdc_of(profile):
        further["Bindings"] = _BINDINGS
    if profile.controllable and space.control_model(node.owner) is not None:
        further["ctlModel"] = Member("ctlModel", INDEX, HAS_PROPERTY, own("ControlModelKind"))
    name = space.tree.name(node.tree)
    if name in _STEPS and "/twFLSR" in node.owner:
        further["steps"] = Member("steps", INDEX, HAS_COMPONENT, own("SwitchingStepDataType"), 1)
    if profile.cdc == "BCR" and space.tree.child(node.tree, "actVal") >= 0:
        # The count itself is a point of its own.
        return {key: member for key, member in {**members, **further}.items() if key != "actVal"}
    return {**members, **further} if further else members


def cdc_of(profile: PointProfile) -> bool:
    """Whether points of the profile are data objects and not single attributes."""
    return f"{profile.cdc}Type" in numbers()


def _bindings(space: GridSpace, node: Node) -> Parts:
    bodies = [
        structure("BindingDataType", b"".join(map(encode_text, (each.driver, each.link, each.point, each.role))))
        for each in space.bindings_of(node.owner)
    ]
    return Parts(b"\x96" + pack_i32(len(bodies)) + b"".join(bodies))


def _sampled(sample: Sample, variant: bytes) -> Parts:
    if sample.status & 0xFFFF_0000 == _WAITING:
        return Parts(b"", sample.status, sample.source_time, sample.received)
    return Parts(variant, sample.status, sample.source_time, sample.received)


def _quality(space: GridSpace, node: Node) -> Parts:
    sample = space.table.sample(node.row)
    return Parts(b"\x07" + pack_u32(sample.quality), 0, sample.source_time, sample.received)


def _time(space: GridSpace, node: Node) -> Parts:
    sample = space.table.sample(node.row)
    if sample.quality & TimeFlag.RECEIVED:
        # The device gave no time; what stands for it is when the gateway heard of the value.
        return Parts(b"", _NO_DATA, 0, sample.received)
    return Parts(b"\x0d" + struct.pack("<q", sample.source_time), 0, sample.source_time, sample.received)


def _control_model(space: GridSpace, node: Node) -> Parts:
    model = space.control_model(node.owner)
    return Parts(b"", _NO_DATA) if model is None else Parts(b"\x06" + pack_i32(model))


def _step(step: list[Any]) -> bytes:
    number, address, action, state, sent, done = step
    times = (0 if each is None else clock.from_iso(each) for each in (sent, done))
    codes = (_code("SwitchingActionKind", action), _code("StepStateKind", state))
    body = pack_u32(number) + encode_text(address) + struct.pack("<iiqq", *codes, *times)
    return structure("SwitchingStepDataType", body)


def _steps(space: GridSpace, node: Node) -> Parts:
    """Steps of a plan out of the JSON text of their point: [number, address, action, state, sent, done] each."""
    sample = space.table.sample(node.row)
    try:
        bodies = [_step(each) for each in json.loads(str(sample.value or "[]"))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        # The text is not of the twin, or of another version of it.
        return Parts(b"", _NO_STEPS, sample.source_time, sample.received)
    return _sampled(sample, b"\x96" + pack_i32(len(bodies)) + b"".join(bodies))


# ---- structures ----------------------------------------------------------------------------------------------------


def structure(data_type: str, body: bytes) -> bytes:
    """ExtensionObject of one of our structures on the wire."""
    return own(f"{data_type}_DefaultBinary") + b"\x01" + pack_i32(len(body)) + body


@lru_cache(maxsize=256)
def _code(enumeration: str, label: str) -> int:
    return numbers_of(enumeration)[label]


def numbers_of(enumeration: str) -> Mapping[str, int]:
    """Number of each label of one of our enumerations that is not of the catalogue."""
    return {label: number for number, label in enumerate(_LABELS[enumeration])}


_LABELS = {
    "SwitchingActionKind": ("open", "close", "block-reclose", "unblock-reclose"),
    "StepStateKind": ("pending", "waiting", "sent", "verifying", "done", "failed"),
    "LinkStateKind": ("down", "up", "unknown"),
}


def _asked(value: float | None) -> bytes:
    """Variant of what a command asked for; of any integer that a client can send."""
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return bytes((1, value))
    if isinstance(value, int):
        return b"\x09" + struct.pack("<Q", value) if value >> 63 > 0 else b"\x08" + struct.pack("<q", value)
    return b"\x0b" + struct.pack("<d", value)


def _last_command(space: GridSpace, node: Node) -> Parts:
    record, moment = space.last_commands.get(node.owner, ({}, 0))
    if not moment:
        return Parts(b"", _WAITING)
    body = b"".join(
        (
            encode_text(record["commandId"]),
            encode_text(record["verb"]),
            encode_text(record["dataObject"]),
            _asked(record["value"]),
            pack_u32(record["status"]),
            pack_i32(record["addCause"]),
            encode_text(record["gate"]),
            encode_text(record["text"]),
            struct.pack("<q", moment),
        )
    )
    return Parts(b"\x16" + structure("CommandOutcomeDataType", body), 0, moment, moment)


# ---- functions and places ------------------------------------------------------------------------------------------


def of_object(space: GridSpace, node: Node, methods: Mapping[str, Any]) -> Mapping[str, Member]:
    """Members of a place or function; empty for most."""
    if node.tree < 0:
        return _GRID
    level = int(space.tree.level[node.tree])
    if level == _FUNCTION_LEVEL:
        if function_name(space.tree.name(node.tree)) is None:
            return NONE
        return _CONTROLLED_FUNCTION if "Operate" in methods else _FUNCTION
    if level < _FUNCTION_LEVEL:
        if space.devices.is_link(node.tree):
            return _LINK
        if space.devices.is_device(node.tree):
            return _DEVICE
    return NONE


def _text_of(space: GridSpace, address: str) -> Sample | None:
    row = space.table.find(address)
    return None if row < 0 else space.table.sample(row)


def _nameplate(*sources: tuple[str, str], localized: bool = False) -> Reader:
    """A text of the nameplate: the first point that is there of (function, path below it); empty where none is."""

    def read(space: GridSpace, node: Node) -> Parts:
        physical = space.devices.physical(node.tree)
        for function, path in sources:
            at = physical if function == "LPHD" else f"{physical.rpartition('/')[0]}/{function}"
            sample = _text_of(space, f"{at}/{path}") if physical else None
            if sample is not None:
                return _sampled(sample, encode(str(sample.value or "")))
        # OPC 10000-100, 4.5.2: what is not known of a mandatory property is an empty text.
        return Parts(encode(""))

    def encode(text: str) -> bytes:
        return b"\x15" + localized_text(text) if localized else b"\x0c" + encode_text(text)

    return read


_HEALTH = {1: 0, 2: 4, 3: 1}
"""HealthKind Ok, Warning, Alarm -> DeviceHealthEnumeration NORMAL, MAINTENANCE_REQUIRED, FAILURE."""


def _device_health(space: GridSpace, node: Node) -> Parts:
    """PhyHealth of the LPHD; for a link without one whether its device answers."""
    physical = space.devices.physical(node.tree)
    sample = _text_of(space, f"{physical}/PhyHealth") if physical else None
    if sample is not None:
        health = _HEALTH.get(int(sample.value)) if isinstance(sample.value, int) else None
        if health is None:
            return Parts(b"", sample.status if sample.status >> 31 else _NO_DATA, sample.source_time, sample.received)
        return _sampled(sample, b"\x06" + pack_i32(health))
    alive = _text_of(space, f"{space.devices.channel(node.tree)}/ChLiv")
    if alive is None:
        return Parts(b"", _NO_DATA)
    return _sampled(alive, b"\x06" + pack_i32(0 if alive.value else 1))


def _link_state(data_object: str) -> Reader:
    def read(space: GridSpace, node: Node) -> Parts:
        sample = _text_of(space, f"{space.devices.channel(node.tree)}/{data_object}")
        if sample is None or sample.value is None:
            return Parts(b"\x06" + pack_i32(2))
        return _sampled(sample, b"\x06" + pack_i32(int(bool(sample.value))))

    return read


def _link_count(data_object: str, kind: int, layout: str) -> Reader:
    def read(space: GridSpace, node: Node) -> Parts:
        sample = _text_of(space, f"{space.devices.channel(node.tree)}/{data_object}")
        if sample is None or not isinstance(sample.value, (int, float)):
            return Parts(b"", _NO_DATA)
        return _sampled(sample, bytes((kind,)) + struct.pack(layout, sample.value))

    return read


def _protocol(space: GridSpace, node: Node) -> Parts:
    return Parts(b"\x0c" + encode_text(space.protocol_of(space.tree.name(node.tree))))


def _ln_class(space: GridSpace, node: Node) -> Parts:
    known = function_name(space.tree.name(node.tree))
    return Parts(b"\x0c" + encode_text(known.ln_class if known is not None else ""))


def _fixed(variant: bytes) -> Reader:
    return lambda _, __: Parts(variant)


_FUNCTION_LEVEL = 7
_BINDINGS = Member("Bindings", INDEX, HAS_PROPERTY, own("BindingDataType"), 1)
_GRID = {
    "NodeVersion": Member("NodeVersion", 0, HAS_PROPERTY, _STRING),
    "MappingRevision": Member("MappingRevision", INDEX, HAS_PROPERTY, _STRING),
}
_FUNCTION = {"LNClass": Member("LNClass", INDEX, HAS_PROPERTY, _STRING)}
_CONTROLLED_FUNCTION = {
    **_FUNCTION,
    "LastCommand": Member("LastCommand", INDEX, HAS_PROPERTY, own("CommandOutcomeDataType")),
}
_DEVICE = {
    **{
        name: Member(name, DI_INDEX, HAS_PROPERTY, data_type)
        for name, data_type in (
            ("Manufacturer", _LOCALIZED_TEXT),
            ("Model", _LOCALIZED_TEXT),
            ("HardwareRevision", _STRING),
            ("SoftwareRevision", _STRING),
            ("DeviceRevision", _STRING),
            ("DeviceManual", _STRING),
            ("SerialNumber", _STRING),
            ("RevisionCounter", _INT32),
        )
    },
    "DeviceHealth": Member("DeviceHealth", DI_INDEX, HAS_COMPONENT, _DEVICE_HEALTH),
}
_LINK = {
    **_DEVICE,
    "Protocol": Member("Protocol", INDEX, HAS_PROPERTY, _STRING),
    "State": Member("State", INDEX, HAS_COMPONENT, own("LinkStateKind")),
    "RedundantState": Member("RedundantState", INDEX, HAS_COMPONENT, own("LinkStateKind")),
    "ReceivedCount": Member("ReceivedCount", INDEX, HAS_COMPONENT, _DOUBLE),
    "ErrorCount": Member("ErrorCount", INDEX, HAS_COMPONENT, _INT32),
}
_READERS: Mapping[str, Reader] = {
    "q": _quality,
    "t": _time,
    "ctlModel": _control_model,
    "steps": _steps,
    "Bindings": _bindings,
    "NodeVersion": lambda space, _: Parts(b"\x0c" + encode_text(str(space.version))),
    "MappingRevision": lambda space, _: Parts(b"\x0c" + encode_text(space.revision_of_mapping() or space.fingerprint)),
    "LNClass": _ln_class,
    "LastCommand": _last_command,
    "Manufacturer": _nameplate(("LPHD", "PhyNam/vendor"), ("LLN0", "NamPlt/vendor"), localized=True),
    "Model": _nameplate(("LPHD", "PhyNam/model"), localized=True),
    "HardwareRevision": _nameplate(("LPHD", "PhyNam/hwRev")),
    "SoftwareRevision": _nameplate(("LPHD", "PhyNam/swRev"), ("LLN0", "NamPlt/swRev")),
    "DeviceRevision": _fixed(b"\x0c" + encode_text("")),
    "DeviceManual": _fixed(b"\x0c" + encode_text("")),
    "SerialNumber": _nameplate(("LPHD", "PhyNam/serNum")),
    "RevisionCounter": _fixed(b"\x06" + pack_i32(-1)),
    "DeviceHealth": _device_health,
    "Protocol": _protocol,
    "State": _link_state("ChLiv"),
    "RedundantState": _link_state("RedChLiv"),
    "ReceivedCount": _link_count("RxCnt", 11, "<d"),
    "ErrorCount": _link_count("FerCh", 6, "<i"),
}


def reader_of(name: str) -> Reader | None:
    """What reads a member's value; None for properties of points and for the value itself."""
    return _READERS.get(name)
