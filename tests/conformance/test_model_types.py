"""Parts 3, 5, 17 and 100: types, names, namespaces, aliases and devices of the address space."""

from __future__ import annotations

from typing import Any

from asyncua import ua
from conformance.ask import BOTH, as_node, read
from conformance.registry import case, check, each
from conformance.subject import BAY, CONTROL, NAMESPACE, POSITION, POWER, Subject
from peers.opcua.agent import Peer
from peers.opcua.wire_client import WireClient

OURS = "stock asyncua has no model of ours"
GRID = f"ns={NAMESPACE};s=#Grid"
DEVICE = f"{BAY}/IED1"
DEVICE_SET = "ns=3;i=5001"
DI = "http://opcfoundation.org/UA/DI/"
MODEL = "urn:twin-gateway:UA:Grid"
ALIASES, TAG_VARIABLES, TOPICS = "i=23470", "i=23479", "i=23488"
HAS_TYPE_DEFINITION, HAS_SUBTYPE, HAS_PROPERTY, HAS_COMPONENT, ORGANIZES = "i=40", "i=45", "i=46", "i=47", "i=35"
BROWSE_NAME, DISPLAY_NAME, DESCRIPTION, DATA_TYPE, DEFINITION = 3, 4, 5, 14, 23


async def browse(peer: Peer, address: str, relation: str = "i=33", *, inverse: bool = False) -> list[dict[str, Any]]:
    """References of a node."""
    wanted = {
        "nodeId": as_node(address),
        "referenceTypeId": relation,
        "browseDirection": int(inverse),
        "includeSubtypes": True,
        "nodeClassMask": 0,
        "resultMask": 63,
    }
    answer = await peer.request("BrowseRequest", requestedMaxReferencesPerNode=0, nodesToBrowse=[wanted])
    return list(answer["results"][0]["references"])


async def names(peer: Peer, address: str, relation: str = "i=33") -> dict[str, int]:
    """BrowseNames of what a node has, with their namespace."""
    found = await browse(peer, address, relation)
    return {each["browseName"]["name"]: each["browseName"]["namespaceIndex"] for each in found}


async def supertypes(peer: Peer, type_id: str) -> list[str]:
    """Names of the types that a type is derived from, the nearest first."""
    found = []
    while above := await browse(peer, type_id, HAS_SUBTYPE, inverse=True):
        found.append(above[0]["browseName"]["name"])
        type_id = above[0]["nodeId"]
    return found


async def value(peer: Peer, address: str) -> Any:
    """Value of a variable."""
    return (await read(peer, address))["value"]["value"]


async def find_alias(peer: Peer, category: str, method: str, pattern: str, filter_: str = "i=0") -> dict[str, Any]:
    """The result of FindAlias."""
    inputs = [{"$variant": ["String", pattern]}, {"$variant": ["NodeId", {"$node": filter_}]}]
    call = {"objectId": category, "methodId": method, "inputArguments": inputs}
    answer = await peer.request("CallRequest", methodsToCall=[call])
    return dict(answer["results"][0])


def found(result: dict[str, Any]) -> dict[str, list[str]]:
    """Aliases of a result and the nodes they name."""
    aliases = result["outputArguments"][0]["value"] or []
    return {each["aliasName"]["name"]: each["referencedNodes"] for each in aliases}


# ---- types ---------------------------------------------------------------------------------------------------------


@each(
    "address, name, base",
    case("Part 3 5.5.2", "A place has a type derived from FolderType", BAY, "BayType", "FolderType", ours_only=OURS),
    case(
        "Part 3 5.5.2",
        "A switch has a type derived from that of equipment",
        f"{BAY}/QA1",
        "CircuitBreakerType",
        "EquipmentType",
        ours_only=OURS,
    ),
    case(
        "Part 3 5.5.2",
        "A logical node has the type of its class",
        f"{BAY}/QA1/XCBR1",
        "XCBRType",
        "LogicalNodeType",
        ours_only=OURS,
    ),
    case(
        "Part 8 5.3.3.4",
        "A double point has a type derived from MultiStateValueDiscreteType",
        POSITION,
        "DPCType",
        "MultiStateValueDiscreteType",
        ours_only=OURS,
    ),
    case(
        "Part 8 5.3.2.4",
        "A measured value has a type derived from AnalogUnitType",
        POWER,
        "MVType",
        "AnalogUnitType",
        ours_only=OURS,
    ),
    case(
        "Part 100 5.6",
        "A device has a type derived from DeviceType of DI",
        DEVICE,
        "GridDeviceType",
        "DeviceType",
        ours_only=OURS,
    ),
)
async def test_type_definitions(node: Peer, address: str, name: str, base: str) -> None:
    [definition] = await browse(node, address, HAS_TYPE_DEFINITION)
    assert definition["browseName"] == {"namespaceIndex": 4, "name": name}
    assert base in await supertypes(node, definition["nodeId"])


@check("Part 3 5.5.2", "The TypeDefinition in a Browse result is that of HasTypeDefinition", ours_only=OURS)
async def test_type_definition_in_references(node: Peer) -> None:
    for reference in await browse(node, BAY, ORGANIZES):
        [definition] = await browse(node, reference["nodeId"], HAS_TYPE_DEFINITION)
        assert reference["typeDefinition"] == definition["nodeId"]


@check("Part 3 6.2.6", "An instance has the mandatory children of its type by their BrowseNames", ours_only=OURS)
async def test_mandatory_children(node: Peer) -> None:
    for address in (CONTROL, DEVICE, POSITION, POWER):
        [definition] = await browse(node, address, HAS_TYPE_DEFINITION)
        own = await names(node, address)
        type_id = definition["nodeId"]
        while type_id:
            for child in await browse(node, type_id, "i=34"):
                rules = await browse(node, child["nodeId"], "i=37")
                if child["nodeClass"] != 8 and [each["nodeId"] for each in rules] == ["ns=0;i=78"]:
                    name = child["browseName"]
                    assert own.get(name["name"]) == name["namespaceIndex"], (address, name)
            above = await browse(node, type_id, HAS_SUBTYPE, inverse=True)
            type_id = above[0]["nodeId"] if above else ""


@check("Part 3 5.8.3", "An enumeration has EnumStrings or EnumValues and a definition", ours_only=OURS)
async def test_enumerations(node: Peer) -> None:
    data_type = (await read(node, f"{POSITION}#stVal", DATA_TYPE))["value"]["value"]
    assert set(await names(node, data_type, HAS_PROPERTY)) == {"EnumStrings"}
    definition = (await read(node, data_type, DEFINITION))["value"]["value"]
    assert [(each["name"], each["value"]) for each in definition["fields"]][1:3] == [("off", [0, 1]), ("on", [0, 2])]


@check("Part 3 5.8.3", "A structure has a definition with the NodeId of its binary encoding", ours_only=OURS)
async def test_structures(node: Peer) -> None:
    data_type = (await read(node, f"{CONTROL}#LastCommand", DATA_TYPE))["value"]["value"]
    definition = (await read(node, data_type, DEFINITION))["value"]["value"]
    encodings = {each["browseName"]["name"]: each["nodeId"] for each in await browse(node, data_type, "i=38")}
    assert set(encodings) == {"Default Binary", "Default JSON", "Default XML"}
    assert definition["defaultEncodingId"] == encodings["Default Binary"]
    assert [each["name"] for each in definition["fields"]][:3] == ["CommandId", "Verb", "DataObject"]


# ---- names and namespaces --------------------------------------------------------------------------------------------


@check("Part 5 6.3.1", "NamespaceArray begins with the standard and the application's own URI")
async def test_namespace_array(node: Peer, subject: Subject) -> None:
    uris, servers = await value(node, "i=2255"), await value(node, "i=2254")
    assert uris[0] == "http://opcfoundation.org/UA/"
    assert uris[1] == servers[0]


@check("Part 5 6.3.13", "Every namespace has its metadata below Namespaces", ours_only=OURS)
async def test_namespace_metadata(node: Peer) -> None:
    uris = await value(node, "i=2255")
    described = {each["browseName"]["name"]: each["nodeId"] for each in await browse(node, "i=11715", HAS_COMPONENT)}
    assert set(described) == set(uris)
    for uri, node_id in described.items():
        properties = {each["browseName"]["name"]: each["nodeId"] for each in await browse(node, node_id, HAS_PROPERTY)}
        assert await value(node, properties["NamespaceUri"]) == uri
        assert await value(node, properties["IsNamespaceSubset"]) in {True, False}


@check("Part 3 5.2.4", "Names that a type declares are of the type's namespace", ours_only=OURS)
async def test_names_of_declared_children(node: Peer) -> None:
    assert await names(node, f"{BAY}/QA1/XCBR1", HAS_COMPONENT) == {"Pos": 4, "OpCnt": 4}
    own = await names(node, CONTROL, HAS_COMPONENT)
    assert (own["Operate"], own["Pos"]) == (4, 4)


@check("Part 4 5.8.4", "A path of names of several namespaces leads to the part of a data object", ours_only=OURS)
async def test_path_to_a_part(wire: WireClient) -> None:
    steps = [(2, "QA1"), (2, "XCBR1"), (4, "Pos"), (4, "stVal")]
    path = ua.BrowsePath(StartingNode=ua.NodeId(BAY, NAMESPACE))
    path.RelativePath.Elements = [
        ua.RelativePathElement(
            ReferenceTypeId=ua.NodeId(33),
            IsInverse=False,
            IncludeSubtypes=True,
            TargetName=ua.QualifiedName(name, index),
        )
        for index, name in steps
    ]
    request = ua.TranslateBrowsePathsToNodeIdsRequest()
    request.Parameters.BrowsePaths = [path]
    [result] = (await wire.call(request)).Results
    assert result.StatusCode.name == "Good"
    assert [each.TargetId.Identifier for each in result.Targets] == [f"{POSITION}#stVal"]


@check("Part 3 5.6.2", "The parts of a data object have its value, quality and time", ours_only=OURS)
async def test_parts_of_a_data_object(node: Peer) -> None:
    whole, part = await read(node, POSITION), await read(node, f"{POSITION}#stVal")
    assert part["value"]["value"] == whole["value"]["value"]
    assert part["sourceTimestamp"] == whole["sourceTimestamp"]
    assert (await read(node, f"{POSITION}#t"))["value"]["value"] == whole["sourceTimestamp"]
    assert (await read(node, f"{POSITION}#q"))["value"] == {"dataType": "UInt32", "arrayType": "Scalar", "value": 0}


@check(
    "Part 3 8.13", "A property may be an array of structures that a client decodes by their definition", ours_only=OURS
)
async def test_bindings(node: Peer) -> None:
    whole = await read(node, f"{POSITION}#Bindings")
    assert (whole["statusCode"], len(whole["value"]["value"])) == ("Good", 1)
    octets = bytes.fromhex(whole["value"]["value"][0]["octets"])
    assert octets.endswith(b"\x04\0\0\0read")


@check("Part 5 6.3.2", "LocaleIdArray names the languages of the texts", ours_only=OURS)
async def test_locales(node: Peer) -> None:
    assert await value(node, "i=2271") == ["en", "de"]


@check("Part 4 5.7.3", "Texts come in the first language of LocaleIds that the server has", ours_only=OURS)
async def test_texts_in_a_language(wire: WireClient) -> None:
    async def text(node_id: Any, attribute: int) -> Any:
        item = ua.ReadValueId(NodeId=node_id, AttributeId=ua.AttributeIds(attribute))
        answer = await wire.call(ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[item])))
        return answer.Results[0].Value.Value

    position, states = ua.NodeId(POSITION, NAMESPACE), ua.NodeId(f"{POSITION}#ValueAsText", NAMESPACE)
    assert (await text(position, DESCRIPTION)).Locale == "en"
    activate = ua.ActivateSessionRequest()
    activate.Parameters.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
    activate.Parameters.LocaleIds = ["fr", "de-AT", "en"]
    await wire.call(activate)
    assert (await text(position, DESCRIPTION)).Locale == "de"
    assert (await text(position, DESCRIPTION)).Text.startswith("Schalterstellung")
    assert await text(states, 13) == ua.LocalizedText("ein", "de")


@check("Part 3 4.6.4", "The grid object has a NodeVersion", ours_only=OURS)
async def test_node_version(node: Peer) -> None:
    assert int(await value(node, f"{GRID}#NodeVersion")) >= 1
    assert len(await value(node, f"{GRID}#MappingRevision")) == 16


# ---- Part 17: aliases ------------------------------------------------------------------------------------------------


@check("Part 17 9.2", "Aliases holds TagVariables, Topics and a category for each scheme", ours_only=OURS)
async def test_alias_categories(node: Peer) -> None:
    below = await browse(node, ALIASES, ORGANIZES)
    assert {"TagVariables", "Topics", "104", "mrid"} <= {each["browseName"]["name"] for each in below}
    assert {each["typeDefinition"] for each in below} == {"ns=0;i=23456"}


@each(
    "category, method, pattern, expected",
    case(
        "Part 17 6.3.2",
        "FindAlias with the whole name finds the one node",
        ALIASES,
        "i=23476",
        "104:ps01-rtu/1/4001",
        {"104:ps01-rtu/1/4001"},
        ours_only=OURS,
    ),
    case(
        "Part 17 6.3.2",
        "FindAlias takes percent for any run of characters",
        "ns=1;s=Aliases/104",
        "i=23462",
        "104:ps01-rtu/%02",
        {"104:ps01-rtu/1/4002"},
        ours_only=OURS,
    ),
    case(
        "Part 17 6.3.2",
        "FindAlias takes an underscore for one character",
        TAG_VARIABLES,
        "i=23485",
        "104:ps01-rtu/1/400_",
        {f"104:ps01-rtu/1/{number}" for number in range(4001, 4009)},
        ours_only=OURS,
    ),
    case(
        "Part 17 6.3.2",
        "FindAlias finds nothing of another category",
        "ns=1;s=Aliases/mrid",
        "i=23462",
        "104:%",
        set(),
        ours_only=OURS,
    ),
    case(
        "Part 17 9.4",
        "FindAlias of Topics finds the topics of values",
        TOPICS,
        "i=23494",
        "twin/v/dso1/north/%/XCBR1/Pos",
        {f"twin/v/{POSITION}"},
        ours_only=OURS,
    ),
)
async def test_find_alias(node: Peer, category: str, method: str, pattern: str, expected: set[str]) -> None:
    result = await find_alias(node, category, method, pattern)
    assert result["statusCode"] == "Good"
    assert set(found(result)) == expected


@check("Part 17 6.3.2", "An alias names the NodeId of its node", ours_only=OURS)
async def test_alias_names_a_node(node: Peer) -> None:
    result = await find_alias(node, TAG_VARIABLES, "i=23485", "104:ps01-rtu/1/4001")
    assert found(result)["104:ps01-rtu/1/4001"] == [as_node(POSITION)]


@each(
    "filter_, count",
    case("Part 17 6.3.2", "FindAlias with a supertype of AliasFor finds aliases", "i=32", 1, ours_only=OURS),
    case("Part 17 6.3.2", "FindAlias with another reference type finds nothing", "i=46", 0, ours_only=OURS),
)
async def test_reference_type_filter(node: Peer, filter_: str, count: int) -> None:
    result = await find_alias(node, ALIASES, "i=23476", "104:ps01-rtu/1/4001", filter_)
    assert (result["statusCode"], len(found(result))) == ("Good", count)


@each(
    "pattern, filter_, expected",
    case("Part 17 6.3.2", "FindAlias without a pattern is refused", "", "i=0", "BadInvalidArgument", ours_only=OURS),
    case("Part 17 6.3.2", "FindAlias with an open list is refused", "[a", "i=0", "BadInvalidArgument", ours_only=OURS),
    case(
        "Part 17 6.3.2",
        "FindAlias with what is no reference type is refused",
        "%",
        "i=85",
        "BadReferenceTypeIdInvalid",
        ours_only=OURS,
    ),
)
async def test_find_alias_refused(node: Peer, pattern: str, filter_: str, expected: str) -> None:
    assert (await find_alias(node, ALIASES, "i=23476", pattern, filter_))["statusCode"] == expected


@check("Part 4 5.11.2", "FindAlias of another category's method answers BadMethodInvalid", ours_only=OURS)
async def test_find_alias_of_another(node: Peer) -> None:
    assert (await find_alias(node, ALIASES, "i=23485", "%"))["statusCode"] == "BadMethodInvalid"


# ---- Part 100: devices -----------------------------------------------------------------------------------------------


@check("Part 100 5.9", "DeviceSet leads to every device and the device back", ours_only=OURS)
async def test_device_set(node: Peer) -> None:
    devices = {each["nodeId"] for each in await browse(node, DEVICE_SET, ORGANIZES)}
    assert as_node(DEVICE) in devices
    above = await browse(node, DEVICE, ORGANIZES, inverse=True)
    assert DEVICE_SET in {each["nodeId"] for each in above}


@check("Part 100 4.5.2", "A device has the whole nameplate of DI, empty where nothing is known", ours_only=OURS)
async def test_nameplate(node: Peer) -> None:
    plate = await names(node, DEVICE, HAS_PROPERTY)
    mandatory = {"Manufacturer", "Model", "HardwareRevision", "SoftwareRevision", "DeviceRevision", "DeviceManual"}
    assert {name for name, index in plate.items() if index == 3} == mandatory | {"SerialNumber", "RevisionCounter"}
    assert (await value(node, f"{DEVICE}#SerialNumber"), await value(node, f"{DEVICE}#RevisionCounter")) == ("", -1)


@check(
    "Part 100 4.5.4", "DeviceHealth is of DeviceHealthEnumeration and bad before the device has told it", ours_only=OURS
)
async def test_device_health(node: Peer) -> None:
    assert (await read(node, f"{DEVICE}#DeviceHealth", DATA_TYPE))["value"]["value"] == "ns=3;i=6244"
    health = await read(node, f"{DEVICE}#DeviceHealth", stamps=BOTH)
    assert (health["statusCode"], health["value"]["value"]) == ("BadWaitingForInitialData", None)


@check("Part 4 5.8.2", "A reference type of another namespace is a filter of Browse", ours_only=OURS)
async def test_reference_type_of_a_companion(node: Peer) -> None:
    connects = "ns=3;i=6030"
    [below] = [each for each in await browse(node, "ns=3;i=6247", "i=31") if each["referenceTypeId"] == connects]
    assert await browse(node, "ns=3;i=6247", connects) == [below]
