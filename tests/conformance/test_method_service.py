"""Part 4, 5.11 (Method Service Set)."""

from __future__ import annotations

from typing import Any

from conformance.ask import as_node, fault, read
from conformance.registry import case, check, each
from conformance.subject import BAY, CONTROL, PASSWORDS, POWER, Ours, Subject
from conformance.test_attribute_service import limit
from peers.opcua.agent import Agent, Peer
from peers.opcua.wire_client import WireClient

METHOD, REFUSED = f"{BAY}#Double", f"{BAY}#Refused"
FACTOR, NAMES = {"$variant": ["Double", 21.0]}, {"$variant": ["String", ["a"]]}


def one(*arguments: Any, target: str = BAY, method: str = METHOD) -> dict[str, Any]:
    """A CallMethodRequest."""
    return {"objectId": as_node(target), "methodId": as_node(method), "inputArguments": list(arguments)}


async def call(peer: Peer, *arguments: Any, **where: str) -> dict[str, Any]:
    """The CallMethodResult of one call."""
    answer = await peer.request("CallRequest", methodsToCall=[one(*arguments, **where)])
    assert "results" in answer, answer
    return dict(answer["results"][0])


@check("Part 4 5.11.2", "A method is called and gives its output")
async def test_call(node: Peer) -> None:
    result = await call(node, FACTOR, NAMES)
    assert (result["statusCode"], [each["value"] for each in result["outputArguments"]]) == ("Good", [42.0])


@each(
    "arguments, where, status",
    case("Part 4 5.11.2", "A missing argument answers BadArgumentsMissing", [FACTOR], {}, "BadArgumentsMissing"),
    case(
        "Part 4 5.11.2",
        "An argument too many answers BadTooManyArguments",
        [FACTOR, NAMES, FACTOR],
        {},
        "BadTooManyArguments",
    ),
    case(
        "Part 4 5.11.2",
        "An argument of another type answers BadInvalidArgument",
        [{"$variant": ["String", "xx"]}, NAMES],
        {},
        "BadInvalidArgument",
    ),
    case(
        "Part 4 5.11.2",
        "A scalar for an array answers BadInvalidArgument",
        [FACTOR, {"$variant": ["String", "a"]}],
        {},
        "BadInvalidArgument",
    ),
    case(
        "Part 4 5.11.2",
        "A method of another object answers BadMethodInvalid",
        [FACTOR, NAMES],
        {"target": f"{BAY}/QA1"},
        "BadMethodInvalid",
    ),
    case(
        "Part 4 5.11.2",
        "An unknown object answers BadNodeIdUnknown",
        [FACTOR, NAMES],
        {"target": "ns=2;s=nowhere"},
        "BadNodeIdUnknown",
    ),
    case(
        "Part 4 5.11.2",
        "An unknown method answers BadMethodInvalid",
        [],
        {"method": "ns=2;s=nowhere"},
        "BadMethodInvalid",
    ),
    case("Part 4 5.11.2", "What is no method answers BadMethodInvalid", [], {"method": POWER}, "BadMethodInvalid"),
)
async def test_call_refused(node: Peer, arguments: list[Any], where: dict[str, str], status: str) -> None:
    assert (await call(node, *arguments, **where))["statusCode"] == status


@check("Part 4 5.11.2", "InputArgumentResults say which argument is of the wrong type")
async def test_argument_results(node: Peer) -> None:
    result = await call(node, FACTOR, {"$variant": ["Int32", 3]})
    assert result["inputArgumentResults"] == ["Good", "BadTypeMismatch"]


@check("Part 4 5.11.2", "A method that the user may not execute answers BadUserAccessDenied or BadNotExecutable")
async def test_not_executable(node: Peer) -> None:
    assert (await call(node, method=REFUSED))["statusCode"] in {"BadUserAccessDenied", "BadNotExecutable"}


@check("Part 3 5.7", "UserExecutable is False where the user may not call, True where it may")
async def test_user_executable(node: Peer) -> None:
    assert [(await read(node, method, 22))["value"]["value"] for method in (METHOD, REFUSED)] == [True, False]


@check("Part 4 5.11.2", "Call of no methods answers BadNothingToDo")
async def test_no_calls(node: Peer) -> None:
    assert fault(await node.request("CallRequest", methodsToCall=[])) == "BadNothingToDo"


@check("Part 4 5.11.2", "Call of more methods than MaxNodesPerMethodCall answers BadTooManyOperations")
async def test_too_many_calls(node: Peer, wire: WireClient) -> None:
    count = await limit(wire, 11709) + 1
    answer = await node.request("CallRequest", methodsToCall=[one(FACTOR, NAMES)] * count)
    assert fault(answer) == "BadTooManyOperations"


@check("Part 4 5.11.2", "Results of Call have the order of the request, also with failures between")
async def test_order_of_calls(node: Peer) -> None:
    calls = [one(FACTOR, NAMES), one(FACTOR), one({"$variant": ["Double", 2.0]}, NAMES)]
    answer = await node.request("CallRequest", methodsToCall=calls)
    told = [(each["statusCode"], [out["value"] for out in each["outputArguments"] or []]) for each in answer["results"]]
    assert told == [("Good", [42.0]), ("BadArgumentsMissing", []), ("Good", [4.0])]


@check("Part 3 5.7", "InputArguments describe names and types of the arguments")
async def test_arguments_are_described(node: Peer) -> None:
    path = {
        "startingNode": as_node(METHOD),
        "relativePath": {"elements": [{"referenceTypeId": "i=46", "targetName": {"$name": [0, "InputArguments"]}}]},
    }
    answer = await node.request("TranslateBrowsePathsToNodeIdsRequest", browsePaths=[path])
    value = await read(node, answer["results"][0]["targets"][0]["targetId"])
    told = [(each["name"], each["dataType"], each["valueRank"]) for each in value["value"]["value"]]
    assert told == [("factor", "ns=0;i=11", -1), ("names", "ns=0;i=12", 1)]


OPERATE = [{"$variant": pair} for pair in (["String", "Pos"], ["Int32", 2], ["Boolean", False])]
OPERATE += [{"$variant": ["Boolean", True]}] * 2 + [{"$variant": ["String", text]} for text in ("test", "")]


@check("Part 4 5.11.2", "A method knows the user of the session that calls it", ours_only="it has no such method")
async def test_caller_is_known(node: Peer, subject: Subject) -> None:
    assert isinstance(subject, Ours)
    result = await call(node, *OPERATE, target=CONTROL, method=f"{CONTROL}#Operate")
    assert (result["statusCode"], subject.rig.desk.commands[-1][1].user) == ("Good", "olga")


@check("Part 4 5.11.2", "An observer who operates a breaker is refused", ours_only="it has no such method")
async def test_observer_cannot_operate(agent: Agent, subject: Subject) -> None:
    peer = await agent.connect(subject.url, user="otto", password=PASSWORDS["otto"])
    result = await call(peer, *OPERATE, target=CONTROL, method=f"{CONTROL}#Operate")
    await peer.disconnect()
    assert result["statusCode"] == "BadUserAccessDenied"
