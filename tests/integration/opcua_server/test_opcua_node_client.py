"""The server as npm node-opcua sees it: an implementation that shares no code with ours."""

from __future__ import annotations

import asyncio

import pytest
from peers.opcua.rig import BAY, CONTROL, POSITION, POWER, STATE_TIME, NodeClient, Rig

from address_space import clock
from address_space.point import Batch
from address_space.quality import Quality, StatusCode

pytestmark = pytest.mark.asyncio(loop_scope="module")
POS = f"ns=2;s={POSITION}"
OPERATE = {"do": "call", "objectId": f"ns=2;s={CONTROL}", "methodId": f"ns=2;s={CONTROL}#Operate"}
OPERATE_INPUTS = [
    ("String", "Pos"),
    ("Boolean", True),
    ("Boolean", False),
    ("Boolean", True),
    ("Boolean", True),
    ("String", "test"),
    ("String", "r-1"),
]


async def test_browses_from_objects_to_a_breaker_position(rig: Rig, node: NodeClient) -> None:
    places = ["i=85", "ns=2;s=#Grid", "ns=2;s=dso1", f"ns=2;s={BAY}", f"ns=2;s={BAY}/QA1/XCBR1", POS]
    steps = [{"do": "browse", "nodeId": place} for place in places]
    objects, grids, areas, bay, breaker, position = await node(rig.url, *steps)
    assert "ns=2;s=#Grid" in [each["nodeId"] for each in objects["references"]]
    assert {each["name"] for each in grids["references"]} >= {"dso1", "Resolve", "Lookup"}
    assert {each["name"] for each in areas["references"]} == {"north", "south"}
    assert {each["name"] for each in bay["references"]} == {"QA1", "MMXU1", "IED1", "MMTR1", "Double", "Refused"}
    assert [each["nodeId"] for each in breaker["references"] if each["name"] == "Pos"] == [POS]
    assert {each["name"] for each in position["references"]} == {
        "EnumValues",
        "ValueAsText",
        "stVal",
        "q",
        "t",
        "Bindings",
    }


async def test_reads_attributes_properties_and_units(rig: Rig, node: NodeClient) -> None:
    wanted = [
        (POS, "Value"),
        (POS, "DataType"),
        (POS, "AccessLevel"),
        (POS, "MinimumSamplingInterval"),
        (f"{POS}#EnumValues", "Value"),
        (f"{POS}#ValueAsText", "Value"),
        (f"ns=2;s={POWER}#EngineeringUnits", "Value"),
        (f"ns=2;s={POWER}#EURange", "Value"),
        (f"ns=2;s={CONTROL}/Loc#TrueState", "Value"),
        ("ns=2;s=dso1/south/PS~2EA~2F7", "DisplayName"),
        (f"ns=2;s={POSITION}x", "Value"),
    ]
    steps = [{"do": "read", "nodeId": node, "attribute": attribute} for node, attribute in wanted]
    value, kind, access, interval, states, text, unit, extent, true, name, missing = await node(rig.url, *steps)
    assert (value["value"], value["type"], value["status"]) == (2, "Int32", "Good")
    assert value["source"] == "2024-12-30T02:40:00.000Z"
    assert (kind["value"], access["value"], interval["value"]) == ("ns=0;i=6", 1, 0)
    assert [(each["value"][1], each["displayName"]["text"]) for each in states["value"]] == [
        (0, "intermediate-state"),
        (1, "off"),
        (2, "on"),
        (3, "bad-state"),
    ]
    assert text["value"]["text"] == "on"
    assert (unit["value"]["unitId"], unit["value"]["displayName"]["text"]) == (5723220, "W")
    assert (extent["value"]["low"], extent["value"]["high"]) == (-1e7, 1e7)
    assert true["value"]["text"] == "on"
    assert name["value"]["text"] == "PS.A/7"
    assert missing["status"] == "BadNodeIdUnknown"


async def test_translates_a_browse_path_without_fillers(rig: Rig, node: NodeClient) -> None:
    good, bad = await node(
        rig.url,
        {"do": "path", "start": "i=85", "path": "/2:Grid/2:dso1/2:north/2:PS01/2:MV1/2:F05/2:MMXU1/2:TotW"},
        {"do": "path", "start": "i=85", "path": "/2:Grid/2:dso1/2:north/2:nowhere"},
    )
    assert (good["status"], good["targets"]) == ("Good", [f"ns=2;s={POWER}"])
    assert bad["status"] == "BadNoMatch"


async def test_goes_on_with_browse_next(rig: Rig, node: NodeClient) -> None:
    [answer] = await node(rig.url, {"do": "browse", "nodeId": f"ns=2;s={BAY}", "max": 2})
    assert answer["parts"] == [2, 2, 2, 2, 2]
    assert len({each["nodeId"] for each in answer["references"]}) == 6


async def test_resolves_and_looks_up(rig: Rig, node: NodeClient) -> None:
    grid = "ns=2;s=#Grid"
    found, alias, lookup, nearest = await node(
        rig.url,
        {"do": "call", "objectId": grid, "methodId": f"{grid}#Resolve", "inputs": [("String", POSITION)]},
        {"do": "call", "objectId": grid, "methodId": f"{grid}#Resolve", "inputs": [("String", "104:ps01-rtu/1/4001")]},
        {
            "do": "call",
            "objectId": grid,
            "methodId": f"{grid}#Lookup",
            "inputs": [("String", "dso1/+/+/+/+/+/XCBR1/Pos"), ("String", "quality=good"), ("UInt32", 0)],
        },
        {"do": "call", "objectId": grid, "methodId": f"{grid}#Resolve", "inputs": [("String", POSITION + "n")]},
    )
    assert found["outputs"][0] == alias["outputs"][0] == POSITION
    assert found["outputs"][2:5] == [POS, f"twin/v/{POSITION}", f"https://example.org/uta/{POSITION}"]
    assert found["outputs"][6] == ["mrid:6f0c3c5e-0d0a-4f2a-9a53-1f0b8a1f2c33", "104:ps01-rtu/1/4001"]
    assert lookup["outputs"] == [[POSITION], [POS], False]
    assert nearest["status"] == "BadNoMatch"
    assert nearest["outputs"][8][0] == POSITION


async def test_operates_with_user_and_password_on_the_secure_endpoint(rig: Rig, node: NodeClient) -> None:
    rig.desk.commands.clear()
    [definition, done] = await node(
        rig.url,
        {"do": "argumentsOf", "methodId": f"ns=2;s={CONTROL}#Operate"},
        {**OPERATE, "inputs": OPERATE_INPUTS},
        secure=True,
        user="olga",
        password="o-secret",
    )
    assert definition["inputs"][:2] == ["dataObject", "value"]
    assert definition["outputs"] == ["commandId", "addCause", "gate", "text"]
    assert (done["status"], done["outputs"]) == ("Good", ["cmd-1", -1, "", "confirmed by the device"])
    [(command, caller)] = rig.desk.commands
    assert (command.address, command.value, command.request_id) == (f"{CONTROL}/Pos", True, "r-1")
    assert caller.user == "olga"
    assert caller.client.startswith("127.0.0.1:")


async def test_a_password_on_the_endpoint_without_security_is_encrypted_and_taken(rig: Rig, node: NodeClient) -> None:
    [done] = await node(rig.url, {**OPERATE, "inputs": OPERATE_INPUTS}, user="olga", password="o-secret")
    assert done["status"] == "Good"


async def test_a_wrong_password_is_refused_and_audited(rig: Rig, node: NodeClient) -> None:
    rig.audit.records.clear()
    with pytest.raises(ConnectionError, match="BadUserAccessDenied"):
        await node(rig.url, {"do": "read", "nodeId": POS}, secure=True, user="olga", password="wrong")
    logins = [each for each in rig.audit.records if each.kind.startswith("login")]
    assert [(each.kind, each.user, each.status) for each in logins] == [
        ("login.refused", "olga", StatusCode.BadUserAccessDenied)
    ]


@pytest.mark.parametrize("user", ["", "otto"])
async def test_who_is_no_operator_cannot_operate(rig: Rig, node: NodeClient, user: str) -> None:
    rig.desk.commands.clear()
    executable, done = await node(
        rig.url,
        {"do": "read", "nodeId": f"ns=2;s={CONTROL}#Operate", "attribute": "UserExecutable"},
        {**OPERATE, "inputs": OPERATE_INPUTS},
        user=user,
        password="w-secret",
        secure=bool(user),
    )
    assert executable["value"] is False
    assert done["status"] == "BadUserAccessDenied"
    assert rig.desk.commands == []


async def test_a_refused_command_returns_its_reason(rig: Rig, node: NodeClient) -> None:
    good = rig.desk.outcome
    rig.desk.refuse()
    try:
        [done] = await node(
            rig.url, {**OPERATE, "inputs": OPERATE_INPUTS}, secure=True, user="olga", password="o-secret"
        )
    finally:
        rig.desk.outcome = good
    assert done["status"] == "BadInvalidState"
    assert done["outputs"] == ["cmd-2", 10, "device", "the switch is blocked by interlocking"]


async def test_a_point_cannot_be_written(rig: Rig, node: NodeClient) -> None:
    [done] = await node(
        rig.url,
        {"do": "write", "nodeId": POS, "value": 1},
        secure=True,
        user="olga",
        password="o-secret",
    )
    assert done["status"] == "BadNotWritable"


async def test_sees_changes_with_device_time_and_quality(rig: Rig, node: NodeClient) -> None:
    count = f"{BAY}/QA1/XCBR1/OpCnt"
    row = rig.table.find(count)
    watching = asyncio.create_task(
        node(rig.url, {"do": "watch", "nodeIds": [f"ns=2;s={count}", f"ns=2;s={POWER}"], "ms": 1500})
    )
    started = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < started + 2.5 and not watching.done():
        await asyncio.sleep(0.3)
        value = int(rig.table.value(row) or 0) + 1
        rig.table.ingest(Batch.of([row], [value], int(Quality.SUBSTITUTED), STATE_TIME + value * 10_000_000))
    [heard] = await watching
    counts = [each for each in heard if each["nodeId"].endswith("OpCnt")]
    values = [each["value"] for each in counts]
    assert len(values) >= 3
    assert values == list(range(values[0], values[0] + len(values)))
    assert {each["status"] for each in counts[1:]} == {"GoodLocalOverride"}
    assert counts[-1]["source"] == clock.iso(STATE_TIME + values[-1] * 10_000_000)
    assert [each["value"] for each in heard if each["nodeId"].endswith("TotW")] == [1234.5]
