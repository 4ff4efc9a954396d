"""Part 9, 5.5 to 5.8: conditions as nodes and in events, their states and types."""

from __future__ import annotations

from typing import Any

import pytest
from conformance import alarms, ask
from conformance.alarms import CONDITION_TYPE, PLACE, SERVER, Stream, alarm, clear, field, of
from conformance.registry import check
from conformance.subject import PASSWORDS, Ours
from peers.opcua.agent import Agent, Peer

from address_space import clock

_STOCK = "stock asyncua has no conditions"
_HAS_CONDITION, _HAS_TYPE, _HAS_TRUE_SUB_STATE = "i=9006", "i=40", "i=9004"


async def browse(peer: Peer, node: str, reference: str = "i=0", *, direction: int = 0) -> list[dict[str, Any]]:
    """References of a node."""
    description = {
        "nodeId": node,
        "browseDirection": direction,
        "referenceTypeId": reference,
        "includeSubtypes": True,
        "nodeClassMask": 0,
        "resultMask": 63,
    }
    answer = await peer.request("BrowseRequest", requestedMaxReferencesPerNode=0, nodesToBrowse=[description])
    return list(answer["results"][0]["references"] or [])


async def value(peer: Peer, condition: str, path: str) -> Any:
    """Value of a variable of a condition."""
    answer = await ask.read(peer, of(condition, path))
    return answer["value"]["value"]


async def status(peer: Peer, condition: str, path: str) -> str:
    """StatusCode of a variable of a condition."""
    return str((await ask.read(peer, of(condition, path)))["statusCode"])


# ---- the instance ----------------------------------------------------------------------------------------------------


@check("Part 9 5.12", "HasCondition leads from the source to its condition, and back", ours_only=_STOCK)
async def test_has_condition(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert [each["nodeId"] for each in await browse(eva, f"ns=2;s={point}", _HAS_CONDITION)] == [of(condition)]
    assert [each["nodeId"] for each in await browse(eva, of(condition), _HAS_CONDITION, direction=1)] == [
        f"ns=2;s={point}"
    ]


@check("Part 9 5.5.2", "A condition instance is an object of its alarm type", ours_only=_STOCK)
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("AlarmConditionType", 2915),
        ("OffNormalAlarmType", 10637),
        ("SystemOffNormalAlarmType", 11753),
        ("TripAlarmType", 10751),
        ("DiscrepancyAlarmType", 17080),
        ("ExclusiveLimitAlarmType", 9341),
        ("NonExclusiveLimitAlarmType", 9906),
        ("CertificateExpirationAlarmType", 13225),
        ("InstrumentDiagnosticAlarmType", 18347),
    ],
)
async def test_the_type_definition(eva: Peer, subject: Ours, point: str, name: str, number: int) -> None:
    condition = alarm(subject, point, type_name=name)
    [reference] = await browse(eva, of(condition), _HAS_TYPE)
    assert (reference["nodeId"], reference["browseName"]["name"]) == (f"ns=0;i={number}", name)
    assert (await ask.read(eva, of(condition), 2))["value"]["value"] == 1


@check("Part 9 5.8.2", "A condition has all variables and methods that its type declares mandatory", ours_only=_STOCK)
@pytest.mark.parametrize(
    "name",
    [
        "OffNormalAlarmType",
        "TripAlarmType",
        "ExclusiveLimitAlarmType",
        "NonExclusiveLimitAlarmType",
        "DiscrepancyAlarmType",
        "CertificateExpirationAlarmType",
    ],
)
async def test_mandatory_components(eva: Peer, subject: Ours, point: str, name: str) -> None:
    condition = alarm(subject, point, type_name=name)
    present = {each["browseName"]["name"] for each in await browse(eva, of(condition), "i=44")}
    type_id = (await browse(eva, of(condition), _HAS_TYPE))[0]["nodeId"]
    wanted: set[str] = set()
    while type_id != "ns=0;i=58":
        for each in await browse(eva, type_id, "i=44"):
            rules = [rule["nodeId"] for rule in await browse(eva, each["nodeId"], "i=37")]
            if rules == ["ns=0;i=78"]:
                wanted.add(each["browseName"]["name"])
        [above] = await browse(eva, type_id, "i=45", direction=1)
        type_id = above["nodeId"]
    assert wanted - present == set()


@check("Part 9 5.2", "A TwoStateVariable has Id, TransitionTime, TrueState and FalseState", ours_only=_STOCK)
async def test_two_state_variables(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    parts = {each["browseName"]["name"] for each in await browse(eva, of(condition, "AckedState"), "i=46")}
    assert {"Id", "TransitionTime", "TrueState", "FalseState"} <= parts
    assert (await value(eva, condition, "AckedState"))["text"] == "Unacknowledged"
    assert await value(eva, condition, "AckedState/Id") is False
    assert (await value(eva, condition, "AckedState/TrueState"))["text"] == "Acknowledged"
    assert await value(eva, condition, "ActiveState/TransitionTime") > "2024"


@check(
    "Part 9 5.5.2",
    "EnabledState has the states that only an enabled condition has as true sub-states",
    ours_only=_STOCK,
)
async def test_true_sub_states(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    found = {
        each["browseName"]["name"] for each in await browse(eva, of(condition, "EnabledState"), _HAS_TRUE_SUB_STATE)
    }
    assert found == {"AckedState", "ConfirmedState", "ActiveState"}


@check("Part 9 5.8.2", "InputNode and SourceNode name the point whose value is judged", ours_only=_STOCK)
async def test_input_node(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await value(eva, condition, "InputNode") == f"ns=2;s={point}"
    assert await value(eva, condition, "SourceNode") == f"ns=2;s={point}"


@check("Part 9 5.5.2", "Severity, LastSeverity and their time follow a worsening condition", ours_only=_STOCK)
async def test_last_severity(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point, severity=400)
    alarm(subject, point, severity=800)
    assert await value(eva, condition, "Severity") == 800
    assert await value(eva, condition, "LastSeverity") == 400
    assert await value(eva, condition, "LastSeverity/SourceTimestamp") > "2024"


@check("Part 9 5.5.2", "Quality is the StatusCode of the source when the condition changed", ours_only=_STOCK)
async def test_quality(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point, status=0x408F_0000)
    assert await value(eva, condition, "Quality") == "UncertainNoCommunicationLastUsableValue"


@check(
    "Part 9 5.5.2", "Retain is true while it is active or unacknowledged, false when both are over", ours_only=_STOCK
)
async def test_retain(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await value(eva, condition, "Retain") is True
    clear(subject, condition)
    assert await value(eva, condition, "Retain") is True
    await alarms.call(eva, of(condition), "i=9111", alarms.event_id(subject, condition), alarms.comment(None))
    assert await value(eva, condition, "Retain") is False


@check("Part 9 5.9", "The condition class is told by NodeId and name", ours_only=_STOCK)
@pytest.mark.parametrize(
    ("name", "number"), [("Process", 11164), ("Maintenance", 11165), ("System", 11166), ("Safety", 17218)]
)
async def test_condition_classes(eva: Peer, subject: Ours, point: str, name: str, number: int) -> None:
    condition = alarm(subject, point, condition_class=name)
    assert await value(eva, condition, "ConditionClassId") == f"ns=0;i={number}"
    assert (await value(eva, condition, "ConditionClassName"))["text"] == f"{name}ConditionClassType"


@check("Part 9 5.8.19", "LimitState of an exclusive limit alarm is the limit that is passed", ours_only=_STOCK)
async def test_exclusive_limit_state(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point, type_name="ExclusiveLimitAlarmType", limit="HighHigh")
    assert (await value(eva, condition, "LimitState/CurrentState"))["text"] == "HighHigh"
    assert await value(eva, condition, "LimitState/CurrentState/Id") == "ns=0;i=9329"
    clear(subject, condition)
    assert await status(eva, condition, "LimitState/CurrentState") == "BadStateNotActive"


@check("Part 9 5.8.20", "A non-exclusive limit alarm beyond HighHigh is beyond High too", ours_only=_STOCK)
async def test_non_exclusive_limit_states(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point, type_name="NonExclusiveLimitAlarmType", limit="HighHigh")
    states = [await value(eva, condition, f"{name}State/Id") for name in ("HighHigh", "High", "Low", "LowLow")]
    assert states == [True, True, False, False]


@check(
    "Part 9 5.8.18", "A limit alarm has the limits that it uses as properties and fields, no others", ours_only=_STOCK
)
async def test_limits(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, [field(name, "i=2955") for name in ("HighHighLimit", "HighLimit", "LowLimit")])
    kind = "ExclusiveLimitAlarmType"
    condition = alarm(subject, point, type_name=kind, limit="High", judged_by={"limits": (None, 2.5, 90.0, None)})
    assert await stream.told() == [[None, 90.0, 2.5]]
    assert await value(stream.peer, condition, "HighLimit") == 90.0
    assert await status(stream.peer, condition, "HighHighLimit") == "BadNodeIdUnknown"
    properties = {each["browseName"]["name"] for each in await browse(stream.peer, of(condition), "i=46")}
    assert {name for name in properties if name.endswith("Limit")} == {"HighLimit", "LowLimit"}
    assert (await ask.read(stream.peer, of(condition, "HighLimit"), 14))["value"]["value"] == "ns=0;i=11"


@check("Part 9 5.8.17", "A discrepancy alarm says with what the source should agree, and how soon", ours_only=_STOCK)
async def test_discrepancy(eva: Peer, subject: Ours, point: str) -> None:
    judged_by = {"target": PLACE, "tolerance": 0.5, "expected": 1.5}
    condition = alarm(subject, point, type_name="DiscrepancyAlarmType", judged_by=judged_by)
    values = [await value(eva, condition, name) for name in ("TargetValueNode", "Tolerance", "ExpectedTime")]
    assert values == [f"ns=2;s={PLACE}", 0.5, 1500.0]


@check("Part 9 5.8.24", "A certificate alarm says when the certificate expires", ours_only=_STOCK)
async def test_expiration_date(eva: Peer, subject: Ours, point: str) -> None:
    judged_by = {"expires": clock.from_iso("2031-02-03T04:05:06Z")}
    condition = alarm(subject, point, type_name="CertificateExpirationAlarmType", judged_by=judged_by)
    assert (await value(eva, condition, "ExpirationDate")).startswith("2031-02-03T04:05:06")
    assert await status(eva, condition, "Certificate") == "BadNotSupported"


@check("Part 4 5.9.4", "TranslateBrowsePaths finds the variables of a condition", ours_only=_STOCK)
async def test_translate_browse_paths(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    elements = [
        {
            "referenceTypeId": "i=47",
            "isInverse": False,
            "includeSubtypes": True,
            "targetName": {"$name": [0, "AckedState"]},
        },
        {"referenceTypeId": "i=46", "isInverse": False, "includeSubtypes": True, "targetName": {"$name": [0, "Id"]}},
    ]
    answer = await eva.request(
        "TranslateBrowsePathsToNodeIdsRequest",
        browsePaths=[{"startingNode": of(condition), "relativePath": {"elements": elements}}],
    )
    assert answer["results"][0]["targets"][0]["targetId"] == of(condition, "AckedState/Id")


@check("Part 4 5.13", "A variable of a condition can be monitored", ours_only=_STOCK)
async def test_a_state_can_be_monitored(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    subscription = await ask.subscribe(eva, 20)
    [made] = await ask.monitor(eva, subscription, ask.item(of(condition, "ActiveState/Id"), sampling=20))
    assert made["statusCode"] == "Good"
    seen: list[Any] = []
    while not seen:
        seen += [each["value"]["value"] for _, each in ask.notifications(await ask.publish(eva))]
    clear(subject, condition)
    while len(seen) < 2:
        seen += [each["value"]["value"] for _, each in ask.notifications(await ask.publish(eva))]
    await eva.request("DeleteSubscriptionsRequest", subscriptionIds=[subscription])
    assert seen == [True, False]


@check("Part 4 5.11.2", "A method of a condition is executable for those with the right only", ours_only=_STOCK)
async def test_user_executable(agent: Agent, eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert (await ask.read(eva, of(condition, "Acknowledge"), 22))["value"]["value"] is True
    otto = await agent.connect(subject.url, user="otto", password=PASSWORDS["otto"])
    assert (await ask.read(otto, of(condition, "Acknowledge"), 21))["value"]["value"] is True
    assert (await ask.read(otto, of(condition, "Acknowledge"), 22))["value"]["value"] is False
    await otto.disconnect()


@check("Part 4 5.11.2", "Methods of a condition describe their arguments", ours_only=_STOCK)
async def test_input_arguments(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    arguments = await value(eva, condition, "Acknowledge/InputArguments")
    assert [each["name"] for each in arguments] == ["EventId", "Comment"]


@check("Part 4 5.10.2", "A condition that does not exist answers BadNodeIdUnknown", ours_only=_STOCK)
async def test_an_unknown_condition(eva: Peer, point: str) -> None:
    assert await status(eva, f"{point}$X99", "Retain") == "BadNodeIdUnknown"


# ---- in events -------------------------------------------------------------------------------------------------------


@check(
    "Part 9 5.5.2", "ConditionId is selected by ConditionType, an empty path and the attribute NodeId", ours_only=_STOCK
)
async def test_condition_id(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, [field("", CONDITION_TYPE, 1), field("ConditionName", CONDITION_TYPE)])
    condition = alarm(subject, point)
    assert await stream.told() == [[of(condition), "X02"]]


@check(
    "Part 9 5.5.2",
    "Every change of a condition is an event with its states and an EventId of its own",
    ours_only=_STOCK,
)
async def test_changes_are_events(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, ["EventId", "ActiveState/Id", "AckedState/Id", "Retain", "ActiveState"])
    condition = alarm(subject, point)
    clear(subject, condition)
    first, second = await stream.told(2)
    assert first[1:4] == [True, False, True]
    assert second[1:4] == [False, False, True]
    assert (first[4]["text"], second[4]["text"]) == ("Active", "Inactive")
    assert first[0] != second[0]


@check("Part 9 5.5.2", "A condition that does not change is not told again", ours_only=_STOCK)
async def test_no_change_no_event(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, ["Message"])
    alarm(subject, point)
    alarm(subject, point)
    alarms.happen(subject, "end")
    assert [row[0]["text"] for row in await stream.told(2)] == ["The gas is thin", "end"]


@check("Part 9 5.5.2", "BranchId of the condition itself is null", ours_only=_STOCK)
async def test_branch_id(stream: Stream, subject: Ours, point: str) -> None:
    await stream.add(SERVER, ["BranchId"])
    alarm(subject, point)
    assert await stream.told() == [["ns=0;i=0"]]
