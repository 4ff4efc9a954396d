"""What stands below the grid's own nodes: parts of data objects, nameplates, states of links, steps of plans."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import Primitives, struct_from_binary, variant_from_binary
from peers.opcua.rig import BAY, CONTROL, POSITION, STATE_TIME, grid, point

from address_space import clock
from address_space.alias import Binding
from address_space.opcua.members import numbers_of
from address_space.opcua.model.ids import INDEX, numbers, own
from address_space.opcua.model.snapshot import SnapshotNodes
from address_space.opcua.space import GridSpace, Node
from address_space.opcua.wire import Reader, encode_node_id
from address_space.point import Batch, TextSample
from address_space.ports import MethodSpec
from address_space.quality import Quality, TimeFlag
from address_space.table import PointTable

LINK = "dso1/_sys/gw1/_/_/ps01-rtu"
DEVICE = "dso1/north/PS01/MV1/F05/IED1"
STEPS = "dso1/north/_/_/_/_/twFLSR1/IsoSteps"
GOOD = 0


def table() -> PointTable:
    """A device behind a link, both with their points; a plan."""
    made = PointTable()
    plate = f"{DEVICE}/LPHD1/PhyNam"
    made.add(
        [
            point(f"{plate}/vendor", link="ps01-rtu", source="vendor"),
            point(f"{plate}/serNum", link="ps01-rtu", source="serNum"),
            point(f"{DEVICE}/LPHD1/PhyHealth", link="ps01-rtu", source="health"),
            point(f"{DEVICE}/LLN0/NamPlt/swRev", link="ps01-rtu", source="swRev"),
            point(f"{LINK}/LCCH1/ChLiv", link=""),
            point(f"{LINK}/LCCH1/RxCnt", link=""),
            point(f"{LINK}/LCCH1/FerCh", link=""),
            point(f"{BAY}/_/LCCH1/ChLiv", link=""),
            point(STEPS, link=""),
        ]
    )
    texts = [
        TextSample(0, "Acme", 0, STATE_TIME),
        TextSample(1, "4711", 0, STATE_TIME),
        TextSample(3, "7.1", 0, STATE_TIME),
    ]
    made.ingest(Batch.of([], [], texts=texts))
    made.ingest(Batch.of([4, 5, 6], [1, 17, 2], 0, STATE_TIME))
    return made


@pytest.fixture
def space() -> GridSpace:
    return GridSpace(table(), 2, lambda *_: {})


def find(space: GridSpace, identifier: str) -> Node:
    node = space.find(identifier)
    assert node is not None, identifier
    return node


def read(space: GridSpace, identifier: str) -> Any:
    """DataValue of a member."""
    parts = space.member_value(find(space, identifier))
    assert parts is not None
    return struct_from_binary(ua.DataValue, Buffer(parts.encode(2)))


def structures(space: GridSpace, identifier: str) -> list[tuple[bytes, bytes]]:
    """(encoding, body) of the ExtensionObjects of a member, as octets: asyncua's classes of them are process-wide."""
    parts = space.member_value(find(space, identifier))
    assert parts is not None
    reader = Reader(parts.variant, 0)
    kind = reader.u8()
    assert kind & 0x3F == ua.VariantType.ExtensionObject
    found = []
    for _ in range(reader.i32() if kind & 0x80 else 1):
        encoding = reader.node_id()
        assert reader.u8() == 1
        found.append((encoding, reader.octets() or b""))
    assert reader.position == len(parts.variant)
    return found


def value(space: GridSpace, identifier: str) -> Any:
    held = read(space, identifier)
    assert held.StatusCode.value == GOOD
    return held.Value.Value


def test_the_nameplate_comes_from_lphd_and_lln0(space: GridSpace) -> None:
    assert value(space, f"{DEVICE}#Manufacturer").Text == "Acme"
    assert value(space, f"{DEVICE}#SerialNumber") == "4711"
    assert value(space, f"{DEVICE}#SoftwareRevision") == "7.1"
    assert value(space, f"{DEVICE}#Model").Text == ""
    assert value(space, f"{DEVICE}#RevisionCounter") == -1


def test_a_nameplate_keeps_the_time_of_its_point(space: GridSpace) -> None:
    assert read(space, f"{DEVICE}#SerialNumber").SourceTimestamp == clock.to_datetime(STATE_TIME)


@pytest.mark.parametrize(("health", "expected"), [(1, 0), (2, 4), (3, 1)])
def test_health_of_a_device(space: GridSpace, health: int, expected: int) -> None:
    space.table.ingest(Batch.of([2], [health], 0, STATE_TIME))
    assert value(space, f"{DEVICE}#DeviceHealth") == expected


def test_an_unknown_health_is_no_health(space: GridSpace) -> None:
    assert read(space, f"{DEVICE}#DeviceHealth").StatusCode.name == "BadWaitingForInitialData"
    space.table.ingest(Batch.of([2], [9], 0, STATE_TIME))
    assert read(space, f"{DEVICE}#DeviceHealth").StatusCode.name == "BadNoData"
    space.table.ingest(Batch.of([2], [1], int(Quality.INVALID), STATE_TIME))
    assert read(space, f"{DEVICE}#DeviceHealth").StatusCode.is_bad()


def test_a_link_has_the_nameplate_of_its_device_and_its_own_state(space: GridSpace) -> None:
    space.protocol_of = {"ps01-rtu": "104"}.get  # type: ignore[assignment]  # a table stands for the address book
    assert value(space, f"{LINK}#SerialNumber") == "4711"
    assert value(space, f"{LINK}#State") == numbers_of("LinkStateKind")["up"]
    assert value(space, f"{LINK}#RedundantState") == numbers_of("LinkStateKind")["unknown"]
    assert (value(space, f"{LINK}#ReceivedCount"), value(space, f"{LINK}#ErrorCount")) == (17.0, 2)
    assert value(space, f"{LINK}#Protocol") == "104"


def test_counts_of_a_link_have_the_time_and_the_status_of_their_points(space: GridSpace) -> None:
    assert read(space, f"{LINK}#ReceivedCount").SourceTimestamp == clock.to_datetime(STATE_TIME)
    space.table.ingest(Batch.of([5, 6], [18, 3], int(Quality.INVALID), STATE_TIME))
    assert read(space, f"{LINK}#ReceivedCount").StatusCode.is_bad()
    assert read(space, f"{LINK}#ErrorCount").StatusCode.is_bad()


def test_the_device_of_a_link_is_the_first_of_those_it_delivers() -> None:
    made = PointTable()
    made.add([point(f"{LINK}/LCCH1/ChLiv", link="")])
    for number in (3, 2):
        device = f"{BAY}/IED{number}"
        made.add([point(f"{device}/LPHD1/PhyNam/serNum", link="ps01-rtu"), point(f"{device}/GGIO1/Ind1", link="other")])
    made.ingest(Batch.of([], [], texts=[TextSample(1, "three", 0, STATE_TIME), TextSample(3, "two", 0, STATE_TIME)]))
    assert value(GridSpace(made, 2, lambda *_: {}), f"{LINK}#SerialNumber") == "three"


def test_a_link_without_a_device_is_as_healthy_as_it_answers() -> None:
    made = PointTable()
    made.add([point(f"{LINK}/LCCH1/ChLiv", link="")])
    space = GridSpace(made, 2, lambda *_: {})
    assert read(space, f"{LINK}#DeviceHealth").StatusCode.name == "BadWaitingForInitialData"
    for alive, health in ((1, 0), (0, 1)):
        made.ingest(Batch.of([0], [alive], 0, STATE_TIME + alive))
        assert value(space, f"{LINK}#DeviceHealth") == health


def test_types_of_devices_links_and_channels_elsewhere(space: GridSpace) -> None:
    names = {identifier: space.definition(find(space, identifier)) for identifier in (DEVICE, LINK, BAY, "dso1/_sys")}
    assert [each.name for each in names.values() if each is not None] == [
        "GridDeviceType",
        "LinkType",
        "BayType",
        "SystemAreaType",
    ]


def test_devices_that_come_later_are_found(space: GridSpace) -> None:
    assert [space.tree.address(each) for each in space.devices.places()] == [DEVICE, LINK]
    space.table.add([point(f"{BAY}/IED2/LPHD1/PhyHealth")])
    assert f"{BAY}/IED2" in {space.tree.address(each) for each in space.devices.places()}


def test_the_time_of_a_device_that_gave_none_is_no_time() -> None:
    space = GridSpace(grid(), 2, lambda *_: {})
    assert value(space, f"{POSITION}#t") == clock.to_datetime(STATE_TIME)
    row = space.table.find(POSITION)
    space.table.ingest(Batch.of([row], [1], int(TimeFlag.RECEIVED)))
    held = read(space, f"{POSITION}#t")
    assert (held.StatusCode.name, held.Value.Value) == ("BadNoData", None)


def test_quality_is_the_word_of_the_table() -> None:
    space = GridSpace(grid(), 2, lambda *_: {})
    row = space.table.find(POSITION)
    space.table.ingest(Batch.of([row], [2], int(Quality.TEST | Quality.OLD_DATA), STATE_TIME))
    assert value(space, f"{POSITION}#q") == int(space.table.quality[row]) & 0xFFFF_FFFF
    bits = int(value(space, f"{POSITION}#q"))
    assert bits & Quality.TEST
    assert bits & Quality.OLD_DATA


def test_bits_of_the_quality_are_named_as_they_are() -> None:
    definition = SnapshotNodes()[ua.NodeId(numbers()["QualityBits"], 4)].attributes[ua.AttributeIds.DataTypeDefinition]
    fields = {each.Name: each.Value for each in definition.value.Value.Value.Fields}
    for flag in (*Quality, *TimeFlag):
        word = "".join(part.capitalize() for part in (flag.name or "").split("_"))
        prefix = "time" if isinstance(flag, TimeFlag) else ""
        name = f"{prefix}{word}" if prefix else word[0].lower() + word[1:]
        assert 1 << fields[name] == flag, name


def test_the_control_model_stands_at_controllable_points_where_it_is_known() -> None:
    space = GridSpace(grid(), 2, lambda *_: {})
    assert space.find(f"{CONTROL}/Pos#ctlModel") is None
    space.control_model = {f"{CONTROL}/Pos": 4}.get
    assert value(space, f"{CONTROL}/Pos#ctlModel") == 4
    assert space.find(f"{POSITION}#ctlModel") is None


def test_steps_of_a_plan_are_structures(space: GridSpace) -> None:
    sent = "2024-12-30T02:40:00.000Z"
    rows = [[1, POSITION, "open", "done", sent, sent], [2, POSITION, "close", "pending", None, None]]
    row = space.table.find(STEPS)
    space.table.ingest(Batch.of([], [], texts=[TextSample(row, json.dumps(rows), 0, STATE_TIME)]))
    held = structures(space, f"{STEPS}#steps")
    assert [encoding for encoding, _ in held] == [own("SwitchingStepDataType_DefaultBinary")] * 2
    reader = Reader(held[0][1], 0)
    assert (reader.u32(), reader.text(), reader.i32(), reader.i32()) == (1, POSITION, 0, 4)
    assert (reader.i64(), reader.i64()) == (clock.from_iso(sent), clock.from_iso(sent))
    pending = held[1][1]
    assert struct.unpack_from("<qq", pending, len(pending) - 16) == (0, 0)


def by_definition(name: str, encoding: bytes, body: bytes) -> dict[str, Any]:
    """The fields of a structure, read as its definition says and no other way."""
    definition = SnapshotNodes()[ua.NodeId(numbers()[name], INDEX)].attributes[ua.AttributeIds.DataTypeDefinition]
    structure = definition.value.Value.Value
    assert encode_node_id(structure.DefaultEncodingId) == encoding
    assert structure.StructureType == ua.StructureType.Structure
    buffer, found = Buffer(body), {}
    for field in structure.Fields:
        assert (field.ValueRank, field.IsOptional) == (-1, False)
        kind = field.DataType
        if kind == ua.NodeId(ua.ObjectIds.BaseDataType):
            found[field.Name] = variant_from_binary(buffer).Value
            continue
        of = {294: "DateTime", 19: "UInt32"}.get(kind.Identifier) if kind.NamespaceIndex == 0 else "Int32"
        found[field.Name] = getattr(Primitives, of or ua.VariantType(kind.Identifier).name).unpack(buffer)
    assert not len(buffer)
    return found


def test_structures_are_encoded_as_their_definitions_say(space: GridSpace) -> None:
    space.bindings_of = lambda _: (Binding("104", "rtu", "rtu/1/5", "command"),)
    [(encoding, body)] = structures(space, f"{DEVICE}/LPHD1/PhyHealth#Bindings")
    binding = by_definition("BindingDataType", encoding, body)
    assert binding == {"Driver": "104", "Link": "rtu", "Point": "rtu/1/5", "Role": "command"}
    plan = json.dumps([[3, POSITION, "close", "verifying", None, None]])
    space.table.ingest(Batch.of([], [], texts=[TextSample(space.table.find(STEPS), plan, 0, STATE_TIME)]))
    [(encoding, body)] = structures(space, f"{STEPS}#steps")
    step = by_definition("SwitchingStepDataType", encoding, body)
    assert (step["Number"], step["Address"], step["Action"], step["State"]) == (3, POSITION, 1, 3)
    space.methods_of = lambda *_: {"Operate": MethodSpec("", "Operate", (), ())}
    record = {"commandId": "c", "verb": "operate", "dataObject": "Pos", "value": 7, "status": 0x80AF0000}
    function = f"{DEVICE}/LPHD1"
    space.last_commands[function] = ({**record, "addCause": 10, "gate": "device", "text": "no"}, STATE_TIME)
    [(encoding, body)] = structures(space, f"{function}#LastCommand")
    outcome = by_definition("CommandOutcomeDataType", encoding, body)
    assert (outcome["Value"], outcome["Status"], outcome["AddCause"], outcome["Text"]) == (7, 0x80AF0000, 10, "no")
    assert outcome["Time"] == clock.to_datetime(STATE_TIME)


@pytest.mark.parametrize("text", ['[[1, "x"]]', '[[1, 2, "open", "done", null, null]]', '{"a": 1}', "[[1,"])
def test_steps_that_cannot_be_read_are_bad_and_not_nothing(space: GridSpace, text: str) -> None:
    row = space.table.find(STEPS)
    space.table.ingest(Batch.of([], [], texts=[TextSample(row, text, 0, STATE_TIME)]))
    assert read(space, f"{STEPS}#steps").StatusCode.name == "BadDataEncodingInvalid"


@pytest.mark.parametrize("asked", [None, True, 7, -1, 2**64 - 1, 1.5])
def test_the_last_command_keeps_the_type_of_what_was_asked(asked: Any) -> None:
    methods = {"Operate": MethodSpec("", "Operate", (), ())}
    space = GridSpace(grid(), 2, lambda owner, _: methods if owner == CONTROL else {})
    assert read(space, f"{CONTROL}#LastCommand").StatusCode.name == "BadWaitingForInitialData"
    record = {"commandId": "c", "verb": "operate", "dataObject": "Pos", "value": asked, "status": 0x80AF0000}
    space.last_commands[CONTROL] = ({**record, "addCause": 10, "gate": "device", "text": "no"}, STATE_TIME)
    [(encoding, body)] = structures(space, f"{CONTROL}#LastCommand")
    assert encoding == own("CommandOutcomeDataType_DefaultBinary")
    buffer = Buffer(body)
    texts = [Primitives.String.unpack(buffer) for _ in range(3)]
    assert texts == ["c", "operate", "Pos"]
    assert variant_from_binary(buffer).Value == asked
