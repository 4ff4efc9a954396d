"""Part 4, 5.13 (Subscription Service Set) and the methods of Part 5, 9.1 and 9.2."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from conformance.ask import create_subscription, fault, item, monitor, notifications, publish, subscribe
from conformance.registry import case, check, each
from conformance.security_server import SecurityServer
from conformance.subject import PASSWORDS, Subject
from peers.opcua.agent import Agent, Peer
from peers.opcua.certificates import application
from peers.opcua.wire_client import WireClient

LONG = {"requestedMaxKeepAliveCount": 200}
SIGNED = "stock asyncua is not asked: its server would have to be set up with this trust list"


@pytest_asyncio.fixture(loop_scope="session")
async def olga(agent: Agent, subject: Subject) -> AsyncIterator[Peer]:
    """A session of the check's own: publish requests belong to sessions."""
    peer = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    yield peer
    await peer.disconnect()


def numbers(answer: dict[str, Any]) -> list[Any]:
    return [value["value"]["value"] for _, value in notifications(answer)]


def sequence(answer: dict[str, Any]) -> int:
    return int(answer["notificationMessage"]["sequenceNumber"])


# ---- creating and modifying ------------------------------------------------------------------------------------------


@each(
    "asked, least, most",
    case("Part 4 5.13.2", "A publishing interval of 0 is revised to the fastest that can be", 0.0, 1.0, 1_000.0),
    case("Part 4 5.13.2", "A negative publishing interval is revised", -1.0, 1.0, 1_000.0),
    case("Part 4 5.13.2", "A publishing interval that is no number is revised", "NaN", 1.0, 1_000.0),
    case("Part 4 5.13.2", "A publishing interval beyond all bounds is revised", 1e15, 1_000.0, 86_400_000.0),
)
async def test_revised_interval(wire: WireClient, asked: float | str, least: float, most: float) -> None:
    body = struct.pack("<dIIIBB", float(asked), 600, 10, 0, 1, 0)
    answer = await wire.raw(787, body)
    assert least <= answer.Parameters.RevisedPublishingInterval <= most


@check("Part 4 5.13.2", "The lifetime count is at least three times the keep-alive count")
async def test_lifetime(olga: Peer) -> None:
    answer = await create_subscription(olga, 100, requestedLifetimeCount=5, requestedMaxKeepAliveCount=10)
    assert answer["revisedLifetimeCount"] >= 3 * answer["revisedMaxKeepAliveCount"]


@check("Part 4 5.13.2", "A keep-alive count of 0 is revised to the smallest that can be")
async def test_keep_alive_count(olga: Peer) -> None:
    asked = [(await create_subscription(olga, 100, requestedMaxKeepAliveCount=count)) for count in (0, 1)]
    assert asked[0]["revisedMaxKeepAliveCount"] == asked[1]["revisedMaxKeepAliveCount"] >= 1


async def modify(peer: Peer, subscription: int, interval: float, **more: Any) -> dict[str, Any]:
    fields = {"requestedLifetimeCount": 600, "requestedMaxKeepAliveCount": 200, "maxNotificationsPerPublish": 0, **more}
    return await peer.request(
        "ModifySubscriptionRequest", subscriptionId=subscription, requestedPublishingInterval=interval, **fields
    )


@check("Part 4 5.13.3", "ModifySubscription changes the publishing interval, and tells the revised one")
async def test_modify(olga: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point))
    await publish(olga)
    answer = await modify(olga, subscription, 400)
    await subject.write((point, 11.0))
    started = time.monotonic()
    await publish(olga)
    assert (answer["revisedPublishingInterval"], time.monotonic() - started > 0.2) == (400, True)


@check("Part 4 5.13.3", "ModifySubscription of an unknown subscription answers BadSubscriptionIdInvalid")
async def test_modify_unknown(olga: Peer) -> None:
    assert fault(await modify(olga, 4_000_000, 100)) == "BadSubscriptionIdInvalid"


# ---- publishing ------------------------------------------------------------------------------------------------------


@check("Part 4 5.13.5", "Publish without a subscription answers BadNoSubscription")
async def test_no_subscription(olga: Peer) -> None:
    assert fault(await publish(olga)) == "BadNoSubscription"


@check("Part 4 5.13.5", "A publish request that waits answers BadNoSubscription when the last subscription is deleted")
async def test_last_subscription_deleted(olga: Peer) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await publish(olga)
    waiting = asyncio.ensure_future(publish(olga))
    await asyncio.sleep(0.05)
    await olga.request("DeleteSubscriptionsRequest", subscriptionIds=[subscription])
    done, _ = await asyncio.wait([waiting], timeout=5)
    assert done and fault(waiting.result()) == "BadNoSubscription"


@check("Part 4 5.13.1.2", "The first message of a subscription without news is a keep-alive after one interval")
async def test_first_keep_alive(olga: Peer) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    answer = await publish(olga)
    message = answer["notificationMessage"]
    assert (answer["subscriptionId"], message["notificationData"] or [], message["sequenceNumber"]) == (
        subscription,
        [],
        1,
    )


@check("Part 4 5.13.1.1", "A keep-alive has the sequence number of the next message and does not use it up")
async def test_keep_alive_sequence(olga: Peer, point: str) -> None:
    subscription = await subscribe(olga, 50)
    keep_alives = [sequence(await publish(olga)) for _ in range(3)]
    await monitor(olga, subscription, item(point))
    while not notifications(answer := await publish(olga)):
        pass
    assert (keep_alives, sequence(answer)) == ([1, 1, 1], 1)


@check("Part 4 5.13.1.1", "Sequence numbers begin with 1 and rise by one")
async def test_sequence_numbers(olga: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point))
    found = []
    for number in range(3):
        found.append(sequence(await publish(olga)))
        await subject.write((point, 20.0 + number))
    assert found == [1, 2, 3]


@check("Part 4 5.13.1.2", "Changes that wait are sent as soon as a publish request comes")
async def test_late(olga: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point))
    await publish(olga)
    await subject.write((point, 11.0))
    await asyncio.sleep(0.3)
    started = time.monotonic()
    assert numbers(await publish(olga)) == [11.0]
    assert time.monotonic() - started < 0.25


@check("Part 4 5.13.2", "MaxNotificationsPerPublish bounds a message; MoreNotifications says that there are more")
async def test_most_notifications(olga: Peer, subject: Subject) -> None:
    subscription = await subscribe(olga, 50, maxNotificationsPerPublish=2, **LONG)
    await monitor(olga, subscription, *(item(subject.fresh(), number) for number in range(5)))
    answers = [await publish(olga) for _ in range(3)]
    told = [(len(notifications(each)), each["moreNotifications"]) for each in answers]
    assert told == [(2, True), (2, True), (1, False)]


@check("Part 4 5.13.4", "Without PublishingEnabled only keep-alives are sent")
async def test_publishing_disabled(olga: Peer, point: str) -> None:
    subscription = await subscribe(olga, 50, publishingEnabled=False)
    await monitor(olga, subscription, item(point))
    assert [notifications(await publish(olga)) for _ in range(3)] == [[], [], []]


@check("Part 4 5.13.4", "SetPublishingMode gives what has waited")
async def test_publishing_enabled(olga: Peer, point: str) -> None:
    subscription = await subscribe(olga, 50, publishingEnabled=False, **LONG)
    await monitor(olga, subscription, item(point))
    answer = await olga.request("SetPublishingModeRequest", publishingEnabled=True, subscriptionIds=[subscription])
    while not (found := notifications(await publish(olga))):
        pass
    assert (answer["results"], len(found)) == (["Good"], 1)


@check(
    "Part 4 5.13.4", "SetPublishingMode of an unknown subscription answers BadSubscriptionIdInvalid beside the others"
)
async def test_publishing_mode_of_unknown(olga: Peer) -> None:
    ids = [4_000_000, await subscribe(olga)]
    answer = await olga.request("SetPublishingModeRequest", publishingEnabled=True, subscriptionIds=ids)
    assert answer["results"] == ["BadSubscriptionIdInvalid", "Good"]


@each(
    "request_name, fields",
    case(
        "Part 4 5.13.4", "SetPublishingMode of no subscriptions answers BadNothingToDo", "SetPublishingModeRequest", {}
    ),
    case("Part 4 5.13.7", "TransferSubscriptions of none answers BadNothingToDo", "TransferSubscriptionsRequest", {}),
    case("Part 4 5.13.8", "DeleteSubscriptions of none answers BadNothingToDo", "DeleteSubscriptionsRequest", {}),
)
async def test_nothing_to_do(olga: Peer, request_name: str, fields: dict[str, Any]) -> None:
    assert fault(await olga.request(request_name, subscriptionIds=[], **fields)) == "BadNothingToDo"


@check("Part 4 5.13.5", "More publish requests than the server keeps answer the oldest with BadTooManyPublishRequests")
async def test_too_many_publish_requests(wire: WireClient) -> None:
    await wire.raw(787, struct.pack("<dIIIBB", 1000.0, 10_000, 3_000, 0, 1, 0))
    for _ in range(400):
        wire.publish()
    answer = await asyncio.wait_for(wire.published.get(), 10)
    while not hasattr(answer, "name"):
        answer = await asyncio.wait_for(wire.published.get(), 10)
    assert answer.name == "BadTooManyPublishRequests"


@check("Part 4 7.33", "A publish request whose TimeoutHint has passed is not used for a message")
async def test_timeout_hint(wire: WireClient) -> None:
    await wire.raw(787, struct.pack("<dIIIBB", 100.0, 10_000, 5, 0, 1, 0))
    await asyncio.sleep(0.05)
    wire.publish(timeout_hint=1)
    first = await asyncio.wait_for(wire.published.get(), 10)
    assert getattr(first, "name", "") == "BadTimeout"


# ---- acknowledging and republishing ----------------------------------------------------------------------------------


async def published(peer: Peer, point: str) -> tuple[int, dict[str, Any]]:
    """A subscription with a message that is not acknowledged."""
    subscription = await subscribe(peer, 50)
    await monitor(peer, subscription, item(point))
    return subscription, await publish(peer)


@each(
    "number, subscription_too, expected",
    case("Part 4 5.13.5", "An acknowledgement of a message is Good", 1, True, "Good"),
    case(
        "Part 4 5.13.5",
        "An acknowledgement of an unknown number answers BadSequenceNumberUnknown",
        77,
        True,
        "BadSequenceNumberUnknown",
    ),
    case(
        "Part 4 5.13.5",
        "An acknowledgement for an unknown subscription answers BadSubscriptionIdInvalid",
        1,
        False,
        "BadSubscriptionIdInvalid",
    ),
)
async def test_acknowledge(olga: Peer, point: str, number: int, subscription_too: bool, expected: str) -> None:
    subscription, _ = await published(olga, point)
    answer = await publish(olga, (subscription if subscription_too else 4_000_000, number))
    assert answer["results"] == [expected]


@check("Part 4 5.13.5", "A second acknowledgement of a message answers BadSequenceNumberUnknown")
async def test_acknowledge_twice(olga: Peer, point: str) -> None:
    subscription, _ = await published(olga, point)
    answers = [await publish(olga, (subscription, 1)) for _ in range(2)]
    assert [each["results"] for each in answers] == [["Good"], ["BadSequenceNumberUnknown"]]


@check("Part 4 5.13.5", "AvailableSequenceNumbers are those that can be republished")
async def test_available(olga: Peer, point: str) -> None:
    subscription, answer = await published(olga, point)
    later = await publish(olga, (subscription, 1))
    assert (answer["availableSequenceNumbers"], later["availableSequenceNumbers"] or []) == ([1], [])


async def republish(peer: Peer, subscription: int, number: int) -> dict[str, Any]:
    return await peer.request("RepublishRequest", subscriptionId=subscription, retransmitSequenceNumber=number)


@check("Part 4 5.13.6", "Republish gives the same message again, as often as it is asked")
async def test_republish(olga: Peer, point: str) -> None:
    subscription, answer = await published(olga, point)
    again = [await republish(olga, subscription, 1) for _ in range(2)]
    assert [fault(each) for each in again] == ["Good", "Good"]
    assert [each["notificationMessage"] for each in again] == [answer["notificationMessage"]] * 2


@check("Part 4 5.13.6", "Republish of an unknown number answers BadMessageNotAvailable")
async def test_republish_unknown(olga: Peer, point: str) -> None:
    subscription, _ = await published(olga, point)
    assert fault(await republish(olga, subscription, 77)) == "BadMessageNotAvailable"


@check("Part 4 5.13.6", "Republish of what was acknowledged answers BadMessageNotAvailable")
async def test_republish_acknowledged(olga: Peer, point: str) -> None:
    subscription, _ = await published(olga, point)
    await publish(olga, (subscription, 1))
    assert fault(await republish(olga, subscription, 1)) == "BadMessageNotAvailable"


@check("Part 4 5.13.6", "Republish for an unknown subscription answers BadSubscriptionIdInvalid")
async def test_republish_for_unknown(olga: Peer) -> None:
    assert fault(await republish(olga, 4_000_000, 1)) == "BadSubscriptionIdInvalid"


# ---- whose, transfer, end --------------------------------------------------------------------------------------------


@each(
    "request_name, fields",
    case("Part 4 5.13.3", "Another session cannot modify a subscription", "ModifySubscriptionRequest", {}),
    case(
        "Part 4 5.13.6",
        "Another session cannot republish for a subscription",
        "RepublishRequest",
        {"retransmitSequenceNumber": 1},
    ),
    case(
        "Part 4 5.12.2",
        "Another session cannot create items in a subscription",
        "CreateMonitoredItemsRequest",
        {"itemsToCreate": [item("i=2258")]},
    ),
    case(
        "Part 4 5.12.6",
        "Another session cannot delete items of a subscription",
        "DeleteMonitoredItemsRequest",
        {"monitoredItemIds": [1]},
    ),
)
async def test_foreign_subscription(olga: Peer, node: Peer, request_name: str, fields: dict[str, Any]) -> None:
    subscription = await subscribe(olga)
    answer = await node.request(request_name, subscriptionId=subscription, **fields)
    assert fault(answer) == "BadSubscriptionIdInvalid"


@check("Part 4 5.13.8", "Another session cannot delete a subscription")
async def test_foreign_delete(olga: Peer, node: Peer) -> None:
    subscription = await subscribe(olga)
    answer = await node.request("DeleteSubscriptionsRequest", subscriptionIds=[subscription])
    kept = await modify(olga, subscription, 50)
    assert (answer["results"], fault(kept)) == (["BadSubscriptionIdInvalid"], "Good")


async def transfer(peer: Peer, subscription: int, *, values: bool = False) -> dict[str, Any]:
    answer = await peer.request(
        "TransferSubscriptionsRequest", subscriptionIds=[subscription], sendInitialValues=values
    )
    return dict(answer["results"][0]) if "results" in answer else {"statusCode": fault(answer)}


@check("Part 4 5.13.7", "A transferred subscription publishes to its new session, with the values when asked")
async def test_transfer(agent: Agent, olga: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point))
    await publish(olga)
    other = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    result = await transfer(other, subscription, values=True)
    again = numbers(await asyncio.wait_for(publish(other), 5))
    await subject.write((point, 11.0))
    changed = numbers(await asyncio.wait_for(publish(other), 5))
    await other.disconnect()
    assert (result["statusCode"], result["availableSequenceNumbers"], again, changed) == ("Good", [1], [10.0], [11.0])


@check("Part 4 5.13.7", "Without sendInitialValues only changes are sent after a transfer")
async def test_transfer_without_values(agent: Agent, olga: Peer, subject: Subject, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point))
    await publish(olga)
    other = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    await transfer(other, subscription)
    await subject.write((point, 11.0))
    changed = numbers(await asyncio.wait_for(publish(other), 5))
    await other.disconnect()
    assert changed == [11.0]


@check("Part 4 5.13.7", "The former session is told GoodSubscriptionTransferred")
async def test_former_session_is_told(agent: Agent, olga: Peer, subject: Subject) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await publish(olga)
    waiting = asyncio.ensure_future(publish(olga))
    await asyncio.sleep(0.05)
    other = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    await transfer(other, subscription)
    done, _ = await asyncio.wait([waiting], timeout=5)
    await other.disconnect()
    assert done
    data = waiting.result()["notificationMessage"]["notificationData"]
    assert [each["status"] for each in data] == ["GoodSubscriptionTransferred"]


@check("Part 4 5.13.7", "A subscription of another user is not transferred")
async def test_transfer_to_another_user(agent: Agent, olga: Peer, subject: Subject) -> None:
    subscription = await subscribe(olga)
    thief = await agent.connect(subject.url, user="otto", password=PASSWORDS["otto"])
    result = await transfer(thief, subscription)
    await thief.disconnect()
    assert result["statusCode"] == "BadUserAccessDenied"


@check("Part 4 5.13.7", "Transfer to the session that has the subscription answers BadNothingToDo")
async def test_transfer_to_itself(olga: Peer) -> None:
    assert (await transfer(olga, await subscribe(olga)))["statusCode"] == "BadNothingToDo"


@check("Part 4 5.13.7", "A subscription of an anonymous user is not transferred where nothing proves the application")
async def test_anonymous_transfer_in_clear(agent: Agent, subject: Subject) -> None:
    first, second = [await agent.connect(subject.url) for _ in range(2)]
    result = await transfer(second, await subscribe(first))
    for peer in (first, second):
        await peer.disconnect()
    assert result["statusCode"] == "BadUserAccessDenied"


@each(
    "same, status",
    case(
        "Part 4 5.13.7",
        "A subscription of an anonymous user goes to a session of the same application",
        True,
        "Good",
        ours_only=SIGNED,
    ),
    case(
        "Part 4 5.13.7",
        "A subscription of an anonymous user does not go to another application",
        False,
        "BadUserAccessDenied",
        ours_only=SIGNED,
    ),
)
async def test_anonymous_transfer(agent: Agent, secure: SecurityServer, same: bool, status: str) -> None:
    other = secure.peer if same else application("another scada", issuer=secure.root)
    first = await agent.connect(secure.url, **secure.secured(mode="Sign"))
    second = await agent.connect(secure.url, **secure.secured(application=secure.as_client(other)))
    result = await transfer(second, await subscribe(first))
    for peer in (first, second):
        await peer.disconnect()
    assert result["statusCode"] == status


@check("Part 4 5.13.7", "Transfer of an unknown subscription answers BadSubscriptionIdInvalid")
async def test_transfer_unknown(olga: Peer) -> None:
    assert (await transfer(olga, 4_000_000))["statusCode"] == "BadSubscriptionIdInvalid"


@check("Part 4 5.13.8", "A deleted subscription is unknown, and deleting it again says so")
async def test_delete(olga: Peer) -> None:
    subscription = await subscribe(olga)
    answers = [await olga.request("DeleteSubscriptionsRequest", subscriptionIds=[subscription]) for _ in range(2)]
    assert [each["results"] for each in answers] == [["Good"], ["BadSubscriptionIdInvalid"]]


@check("Part 4 5.13.1.2", "A subscription whose client asks for nothing ends after its lifetime")
async def test_lifetime_ends(olga: Peer) -> None:
    subscription = await subscribe(olga, 50, requestedLifetimeCount=3, requestedMaxKeepAliveCount=1)
    await asyncio.sleep(0.6)
    assert fault(await republish(olga, subscription, 1)) == "BadSubscriptionIdInvalid"


# ---- methods of the Server object ------------------------------------------------------------------------------------


async def call(peer: Peer, method: str, subscription: int) -> dict[str, Any]:
    one = {"objectId": "i=2253", "methodId": method, "inputArguments": [{"$variant": ["UInt32", subscription]}]}
    answer = await peer.request("CallRequest", methodsToCall=[one])
    return dict(answer["results"][0])


@check("Part 5 9.1", "GetMonitoredItems tells the items of a subscription and their client handles")
async def test_get_monitored_items(olga: Peer, point: str) -> None:
    subscription = await subscribe(olga)
    made = await monitor(olga, subscription, item(point, 5), item("i=2258", 6))
    result = await call(olga, "i=11492", subscription)
    told = [each["value"] for each in result["outputArguments"] or []]
    assert told == [[each["monitoredItemId"] for each in made], [5, 6]]


@check("Part 5 9.1", "GetMonitoredItems of another session's subscription answers BadUserAccessDenied")
async def test_get_foreign_items(olga: Peer, node: Peer) -> None:
    subscription = await subscribe(olga)
    assert (await call(node, "i=11492", subscription))["statusCode"] == "BadUserAccessDenied"


@check("Part 5 9.1", "GetMonitoredItems of an unknown subscription answers BadSubscriptionIdInvalid")
async def test_get_items_of_unknown(olga: Peer) -> None:
    assert (await call(olga, "i=11492", 4_000_000))["statusCode"] == "BadSubscriptionIdInvalid"


@check("Part 5 9.2", "ResendData reports the present value of every item once more")
async def test_resend(olga: Peer, point: str) -> None:
    subscription = await subscribe(olga, 50, **LONG)
    await monitor(olga, subscription, item(point), item(f"ns=2;s={point}#EURange"))
    await publish(olga)
    result = await call(olga, "i=12873", subscription)
    assert result["statusCode"] == "Good"
    assert len(notifications(await asyncio.wait_for(publish(olga), 5))) == 2
