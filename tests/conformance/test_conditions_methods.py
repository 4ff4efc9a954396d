"""Part 9, 5.5 to 5.8: what people do to conditions, ConditionRefresh, audit events of both."""

from __future__ import annotations

from typing import Any

import pytest
from conformance import alarms, ask
from conformance.alarms import CONDITION_TYPE, SERVER, Stream, alarm, call, clear, comment, event_id, field, of
from conformance.registry import check
from conformance.subject import PASSWORDS, Ours
from peers.opcua.agent import Agent, Peer

_STOCK = "stock asyncua has no conditions"
ENABLE, DISABLE, ADD_COMMENT, ACKNOWLEDGE, CONFIRM = "i=9027", "i=9028", "i=9029", "i=9111", "i=9113"
TIMED_SHELVE, ONE_SHOT_SHELVE, UNSHELVE = "i=9213", "i=9212", "i=9211"
REFRESH, REFRESH_2 = "i=3875", "i=12912"
_START, _END = "ns=0;i=2787", "ns=0;i=2788"
_HOUR = ("Double", 3_600_000.0)


async def _value(peer: Peer, condition: str, path: str) -> Any:
    return (await ask.read(peer, of(condition, path)))["value"]["value"]


async def _did(peer: Peer, target: str, method: str, *inputs: tuple[str, Any]) -> str:
    return str((await call(peer, target, method, *inputs))["statusCode"])


# ---- Acknowledge, Confirm, AddComment ------------------------------------------------------------------------------


@check("Part 9 5.7.3", "Acknowledge by the type's MethodId on the ConditionId makes AckedState true", ours_only=_STOCK)
async def test_acknowledge(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await _did(eva, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment("seen")) == "Good"
    assert await _value(eva, condition, "AckedState/Id") is True
    assert (await _value(eva, condition, "Comment"))["text"] == "seen"
    assert await _value(eva, condition, "ClientUserId") == "eva"


@check("Part 9 5.7.3", "Acknowledge by the instance's own MethodId does the same", ours_only=_STOCK)
async def test_acknowledge_by_the_instance(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    method = of(condition, "Acknowledge")
    assert await _did(eva, of(condition), method, event_id(subject, condition), comment(None)) == "Good"
    assert await _value(eva, condition, "AckedState/Id") is True


@check("Part 9 5.7.3", "Acknowledge of what is acknowledged answers BadConditionBranchAlreadyAcked", ours_only=_STOCK)
async def test_acknowledge_twice(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    again = await _did(eva, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    assert again == "BadConditionBranchAlreadyAcked"


@check("Part 9 5.7.3", "Acknowledge with an EventId of something else answers BadEventIdUnknown", ours_only=_STOCK)
async def test_acknowledge_of_an_unknown_event(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    wrong = "ByteString", {"$bytes": "00" * 16}
    assert await _did(eva, of(condition), ACKNOWLEDGE, wrong, comment(None)) == "BadEventIdUnknown"


@check("Part 9 5.7.3", "Acknowledge on an unknown condition answers BadNodeIdUnknown", ours_only=_STOCK)
async def test_acknowledge_of_an_unknown_condition(eva: Peer, point: str) -> None:
    wrong = "ByteString", {"$bytes": "00" * 16}
    assert await _did(eva, of(f"{point}$X99"), ACKNOWLEDGE, wrong, comment(None)) == "BadNodeIdUnknown"


@check("Part 9 5.7.3", "Acknowledge without arguments answers BadArgumentsMissing", ours_only=_STOCK)
async def test_acknowledge_without_arguments(eva: Peer, subject: Ours, point: str) -> None:
    assert await _did(eva, of(alarm(subject, point)), ACKNOWLEDGE) == "BadArgumentsMissing"


@check("Part 9 5.7.3", "Acknowledge by someone without the right answers BadUserAccessDenied", ours_only=_STOCK)
async def test_acknowledge_without_the_right(agent: Agent, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    otto = await agent.connect(subject.url, user="otto", password=PASSWORDS["otto"])
    answer = await _did(otto, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    await otto.disconnect()
    assert answer == "BadUserAccessDenied"
    found = subject.rig.conditions.get(condition)
    assert found is not None
    assert not found.acked


@check("Part 9 5.7.3", "A null comment leaves the comment, an empty one with a locale takes it away", ours_only=_STOCK)
async def test_null_and_empty_comments(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), ADD_COMMENT, event_id(subject, condition), comment("first"))
    await call(eva, of(condition), ADD_COMMENT, event_id(subject, condition), comment(None))
    assert (await _value(eva, condition, "Comment"))["text"] == "first"
    await call(eva, of(condition), ADD_COMMENT, event_id(subject, condition), comment("", "en"))
    assert not (await _value(eva, condition, "Comment"))["text"]


@check("Part 9 5.7.4", "Confirm after Acknowledge makes ConfirmedState true", ours_only=_STOCK)
async def test_confirm(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point, confirm=True)
    await call(eva, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    assert await _value(eva, condition, "ConfirmedState/Id") is False
    assert await _did(eva, of(condition), CONFIRM, event_id(subject, condition), comment("mended")) == "Good"
    assert await _value(eva, condition, "ConfirmedState/Id") is True
    again = await _did(eva, of(condition), CONFIRM, event_id(subject, condition), comment(None))
    assert again == "BadConditionBranchAlreadyConfirmed"


@check("Part 9 5.5.6", "AddComment is an event with the comment and who made it", ours_only=_STOCK)
async def test_add_comment(stream: Stream, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await stream.add(SERVER, ["Comment", "ClientUserId", "Comment/SourceTimestamp"])
    assert await _did(stream.peer, of(condition), ADD_COMMENT, event_id(subject, condition), comment("look")) == "Good"
    [row] = await stream.told()
    assert (row[0]["text"], row[1]) == ("look", "eva")
    assert row[2] > "2024"


@check("Part 9 5.5.6", "AddComment of an earlier EventId of the same alarm is taken", ours_only=_STOCK)
async def test_comment_on_an_earlier_event(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    seen = event_id(subject, condition)
    clear(subject, condition)
    assert await _did(eva, of(condition), ADD_COMMENT, seen, comment("late")) == "Good"


# ---- Enable, Disable -------------------------------------------------------------------------------------------------


@check("Part 9 5.5.4", "Disable makes EnabledState and Retain false; the condition is told no more", ours_only=_STOCK)
async def test_disable(stream: Stream, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await stream.add(SERVER, ["EnabledState/Id", "Retain", "Message"])
    assert await _did(stream.peer, of(condition), DISABLE) == "Good"
    clear(subject, condition)
    alarms.happen(subject, "end")
    rows = await stream.told(2)
    assert (rows[0][:2], rows[-1][2]["text"]) == ([False, False], "end")
    assert len(rows) == 2


@check(
    "Part 9 5.5.2",
    "A disabled condition provides who it is and EnabledState; its other variables answer BadConditionDisabled",
    ours_only=_STOCK,
)
async def test_variables_of_a_disabled_condition(stream: Stream, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    paths = ["AckedState", "ActiveState/Id", "Quality", "ShelvingState/CurrentState", "SuppressedOrShelved"]
    await stream.add(SERVER, ["Message", "Severity", "ConditionName", *paths])
    await _did(stream.peer, of(condition), DISABLE)
    for path in ("Message", "Severity", *paths):
        assert (await ask.read(stream.peer, of(condition, path)))["statusCode"] == "BadConditionDisabled", path
    kept = ("EventId", "EventType", "SourceNode", "SourceName", "Time", "EnabledState", "EnabledState/Id", "Retain")
    for path in kept:
        assert (await ask.read(stream.peer, of(condition, path)))["statusCode"] == "Good", path
    [row] = await stream.told()
    assert (row[0]["text"], row[1:3]) == ("The gas is thin (disabled)", [650, "X02"])
    assert row[3:] == ["BadConditionDisabled"] * len(paths)
    await _did(stream.peer, of(condition), ENABLE)
    assert await _value(stream.peer, condition, "ActiveState/Id") is True


@check("Part 9 5.5.4", "Disable of a disabled condition answers BadConditionAlreadyDisabled", ours_only=_STOCK)
async def test_disable_twice(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), DISABLE)
    assert await _did(eva, of(condition), DISABLE) == "BadConditionAlreadyDisabled"


@check("Part 9 5.5.5", "Enable of an enabled condition answers BadConditionAlreadyEnabled", ours_only=_STOCK)
async def test_enable_twice(eva: Peer, subject: Ours, point: str) -> None:
    assert await _did(eva, of(alarm(subject, point)), ENABLE) == "BadConditionAlreadyEnabled"


@check("Part 9 5.7.3", "Acknowledge of a disabled condition answers BadConditionDisabled", ours_only=_STOCK)
async def test_acknowledge_a_disabled_condition(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), DISABLE)
    answer = await _did(eva, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    assert answer == "BadConditionDisabled"


@check("Part 9 5.5.5", "Enable tells a condition that is active as of interest again", ours_only=_STOCK)
async def test_enable(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), DISABLE)
    assert await _did(eva, of(condition), ENABLE) == "Good"
    assert [await _value(eva, condition, each) for each in ("EnabledState/Id", "Retain")] == [True, True]


# ---- shelving --------------------------------------------------------------------------------------------------------


@check("Part 9 5.8.17", "TimedShelve shelves for the time; UnshelveTime counts down", ours_only=_STOCK)
async def test_timed_shelve(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await _did(eva, of(condition), TIMED_SHELVE, _HOUR) == "Good"
    assert (await _value(eva, condition, "ShelvingState/CurrentState"))["text"] == "Timed Shelved"
    assert await _value(eva, condition, "ShelvingState/CurrentState/Id") == "ns=0;i=2932"
    assert 3_500_000 < await _value(eva, condition, "ShelvingState/UnshelveTime") <= 3_600_000
    assert await _value(eva, condition, "SuppressedOrShelved") is True


@check(
    "Part 9 5.8.17",
    "Shelving methods are called on the ShelvingState too, by the state machine's MethodId",
    ours_only=_STOCK,
)
async def test_shelve_on_the_state_machine(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await _did(eva, of(condition, "ShelvingState"), "i=2949", _HOUR) == "Good"
    assert await _did(eva, of(condition, "ShelvingState"), of(condition, "ShelvingState/Unshelve")) == "Good"
    assert await _value(eva, condition, "SuppressedOrShelved") is False


@check("Part 9 5.8.17", "A shelving time beyond MaxTimeShelved answers BadShelvingTimeOutOfRange", ours_only=_STOCK)
async def test_shelving_time_out_of_range(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    longest = await _value(eva, condition, "MaxTimeShelved")
    answer = await _did(eva, of(condition), TIMED_SHELVE, ("Double", longest + 1000))
    assert answer == "BadShelvingTimeOutOfRange"
    assert await _did(eva, of(condition), TIMED_SHELVE, ("Double", 0.0)) == "BadShelvingTimeOutOfRange"


@check("Part 9 5.8.17", "TimedShelve of what is so shelved answers BadConditionAlreadyShelved", ours_only=_STOCK)
async def test_shelve_twice(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await call(eva, of(condition), TIMED_SHELVE, _HOUR)
    assert await _did(eva, of(condition), TIMED_SHELVE, _HOUR) == "BadConditionAlreadyShelved"


@check("Part 9 5.8.17", "Unshelve of what is not shelved answers BadConditionNotShelved", ours_only=_STOCK)
async def test_unshelve_what_is_not_shelved(eva: Peer, subject: Ours, point: str) -> None:
    assert await _did(eva, of(alarm(subject, point)), UNSHELVE) == "BadConditionNotShelved"


@check("Part 9 5.8.17", "OneShotShelve ends when the alarm goes inactive", ours_only=_STOCK)
async def test_one_shot_shelve(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await _did(eva, of(condition), ONE_SHOT_SHELVE) == "Good"
    assert await _value(eva, condition, "ShelvingState/CurrentState/Id") == "ns=0;i=2933"
    clear(subject, condition)
    assert await _value(eva, condition, "ShelvingState/CurrentState/Id") == "ns=0;i=2930"


@check("Part 9 5.8.17", "An operator who may acknowledge may not shelve", ours_only=_STOCK)
async def test_shelve_without_the_right(node: Peer, subject: Ours, point: str) -> None:
    assert await _did(node, of(alarm(subject, point)), TIMED_SHELVE, _HOUR) == "BadUserAccessDenied"


@check("Part 9 5.8.5", "Suppress and Unsuppress set SuppressedState", ours_only=_STOCK)
async def test_suppress(eva: Peer, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    assert await _did(eva, of(condition), of(condition, "Suppress")) == "Good"
    assert await _value(eva, condition, "SuppressedState/Id") is True
    assert await _did(eva, of(condition), of(condition, "Unsuppress")) == "Good"
    assert await _value(eva, condition, "SuppressedState/Id") is False


@check("Part 4 5.11.2", "A method that conditions do not have answers BadMethodInvalid", ours_only=_STOCK)
async def test_a_method_that_conditions_do_not_have(eva: Peer, subject: Ours, point: str) -> None:
    assert await _did(eva, of(alarm(subject, point)), "i=16402") == "BadMethodInvalid"


# ---- ConditionRefresh ------------------------------------------------------------------------------------------------

_SELECTS = ["EventType", field("", CONDITION_TYPE, 1), "Retain", "EventId"]


async def _refreshed(stream: Stream) -> list[list[Any]]:
    rows: list[list[Any]] = []
    while not any(row[0] == _END for row in rows):
        rows += await stream.told()
    return rows


@check("Part 9 5.5.7", "ConditionRefresh tells what is retained between RefreshStart and RefreshEnd", ours_only=_STOCK)
async def test_condition_refresh(stream: Stream, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    await stream.add(f"ns=2;s={point.rpartition('/')[0]}", _SELECTS)
    assert await _did(stream.peer, CONDITION_TYPE, REFRESH, ("UInt32", stream.id)) == "Good"
    rows = await _refreshed(stream)
    assert [row[0] for row in rows] == [_START, "ns=0;i=10637", _END]
    assert rows[1][1:3] == [of(condition), True]
    assert rows[1][3] == subject.rig.conditions.get(condition).event_id.hex()  # type: ignore[union-attr]  # there it is


@check("Part 9 5.5.7", "ConditionRefresh leaves out what is no more of interest", ours_only=_STOCK)
async def test_refresh_leaves_out_what_is_over(stream: Stream, subject: Ours, point: str) -> None:
    condition = alarm(subject, point)
    clear(subject, condition)
    await call(stream.peer, of(condition), ACKNOWLEDGE, event_id(subject, condition), comment(None))
    await stream.add(f"ns=2;s={point.rpartition('/')[0]}", _SELECTS)
    await call(stream.peer, CONDITION_TYPE, REFRESH, ("UInt32", stream.id))
    assert [row[0] for row in await _refreshed(stream)] == [_START, _END]


@check("Part 9 5.5.7", "A refresh is told to the subscription that asked for it only", ours_only=_STOCK)
async def test_refresh_is_for_the_asking_subscription(eva: Peer, agent: Agent, subject: Ours) -> None:
    other = await agent.connect(subject.url, user="eva", password=PASSWORDS["eva"])
    async with alarms.streaming(eva) as asking, alarms.streaming(other) as silent:
        await asking.add(SERVER, _SELECTS)
        await silent.add(SERVER, _SELECTS)
        await call(eva, CONDITION_TYPE, REFRESH, ("UInt32", asking.id))
        await _refreshed(asking)
        alarms.happen(subject, "end")
        assert [row[0] for row in await silent.told()] == ["ns=4;i=1115"]
    await other.disconnect()


@check("Part 9 5.5.7", "ConditionRefresh of an unknown subscription answers BadSubscriptionIdInvalid", ours_only=_STOCK)
async def test_refresh_of_an_unknown_subscription(eva: Peer) -> None:
    assert await _did(eva, CONDITION_TYPE, REFRESH, ("UInt32", 999_999)) == "BadSubscriptionIdInvalid"


@check(
    "Part 9 5.5.7", "ConditionRefresh of another session's subscription answers BadUserAccessDenied", ours_only=_STOCK
)
async def test_refresh_of_another_sessions_subscription(eva: Peer, node: Peer) -> None:
    async with alarms.streaming(eva) as stream:
        await stream.add(SERVER, _SELECTS)
        assert await _did(node, CONDITION_TYPE, REFRESH, ("UInt32", stream.id)) == "BadUserAccessDenied"


@check("Part 9 5.5.7", "ConditionRefresh while one is under way answers BadRefreshInProgress", ours_only=_STOCK)
async def test_refresh_in_progress(stream: Stream) -> None:
    await stream.add(SERVER, _SELECTS)
    wanted = {
        "objectId": CONDITION_TYPE,
        "methodId": REFRESH,
        "inputArguments": [{"$variant": ["UInt32", stream.id]}],
    }
    answer = await stream.peer.request("CallRequest", methodsToCall=[wanted, wanted])
    assert [each["statusCode"] for each in answer["results"]] == ["Good", "BadRefreshInProgress"]


@check(
    "Part 9 5.5.7", "ConditionRefresh of a subscription without event items answers BadNothingToDo", ours_only=_STOCK
)
async def test_refresh_without_event_items(stream: Stream) -> None:
    assert await _did(stream.peer, CONDITION_TYPE, REFRESH, ("UInt32", stream.id)) == "BadNothingToDo"


@check("Part 9 5.5.8", "ConditionRefresh2 refreshes one item", ours_only=_STOCK)
async def test_condition_refresh_2(stream: Stream, subject: Ours, point: str) -> None:
    alarm(subject, point)
    place = f"ns=2;s={point.rpartition('/')[0]}"
    await stream.add(place, _SELECTS, handle=1)
    made = await stream.add(place, _SELECTS, handle=2)
    inputs = ("UInt32", stream.id), ("UInt32", made["monitoredItemId"])
    assert await _did(stream.peer, CONDITION_TYPE, REFRESH_2, *inputs) == "Good"
    assert [handle for handle, _ in await stream.told_to(3)] == [2, 2, 2]


@check("Part 9 5.5.8", "ConditionRefresh2 of an unknown item answers BadMonitoredItemIdInvalid", ours_only=_STOCK)
async def test_refresh_of_an_unknown_item(stream: Stream) -> None:
    await stream.add(SERVER, _SELECTS)
    inputs = ("UInt32", stream.id), ("UInt32", 999_999)
    assert await _did(stream.peer, CONDITION_TYPE, REFRESH_2, *inputs) == "BadMonitoredItemIdInvalid"


# ---- audit -----------------------------------------------------------------------------------------------------------


@check(
    "Part 9 5.10.4", "Acknowledge is told as AuditConditionAcknowledgeEvent with EventId and comment", ours_only=_STOCK
)
async def test_acknowledge_is_audited(agent: Agent, eva: Peer, subject: Ours, point: str) -> None:
    sara = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    async with alarms.streaming(sara) as stream:
        selects = ["EventType", "SourceNode", "ClientUserId", "ConditionEventId", "Comment", "Status"]
        await stream.add(SERVER, selects, alarms.operator(14, alarms.literal("NodeId", "i=2790")))
        condition = alarm(subject, point)
        seen = event_id(subject, condition)
        await call(eva, of(condition), ACKNOWLEDGE, seen, comment("seen"))
        [row] = await stream.told()
    await sara.disconnect()
    assert row[:4] == ["ns=0;i=8944", of(condition), "eva", seen[1]["$bytes"]]
    assert (row[4]["text"], row[5]) == ("seen", True)


@check("Part 9 5.10", "A refused shelving is told as AuditConditionShelvingEvent with Status false", ours_only=_STOCK)
async def test_a_refused_shelving_is_audited(agent: Agent, node: Peer, subject: Ours, point: str) -> None:
    sara = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    async with alarms.streaming(sara) as stream:
        selects = ["EventType", "ClientUserId", "Status", "StatusCodeId"]
        await stream.add(SERVER, selects, alarms.operator(14, alarms.literal("NodeId", "i=2790")))
        await call(node, of(alarm(subject, point)), TIMED_SHELVE, _HOUR)
        [row] = await stream.told()
    await sara.disconnect()
    assert row == ["ns=0;i=11093", "olga", False, "BadUserAccessDenied"]


@check("Part 5 6.4.27", "A condition's method called with a wrong argument is told as a refused call", ours_only=_STOCK)
@pytest.mark.parametrize(
    ("inputs", "status"),
    [((), "BadArgumentsMissing"), ((("Double", 1.0), comment(None)), "BadInvalidArgument")],
    ids=["missing", "of the wrong type"],
)
async def test_wrong_arguments_are_audited(
    agent: Agent, eva: Peer, subject: Ours, point: str, inputs: tuple[tuple[str, Any], ...], status: str
) -> None:
    sara = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    async with alarms.streaming(sara) as stream:
        selects = ["SourceNode", "ClientUserId", "Status", "StatusCodeId"]
        await stream.add(SERVER, selects, alarms.operator(14, alarms.literal("NodeId", "i=2127")))
        condition = alarm(subject, point)
        assert await _did(eva, of(condition), ACKNOWLEDGE, *inputs) == status
        [row] = await stream.told()
    await sara.disconnect()
    assert row == [of(condition), "eva", False, status]
