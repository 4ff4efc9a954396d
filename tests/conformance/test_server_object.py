"""Part 5, 6.3: the Server object, its capabilities and its diagnostics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from conformance.ask import create_subscription, fault, item, monitor, read
from conformance.registry import case, check, each
from conformance.subject import PASSWORDS, Subject
from peers.opcua.agent import Agent, Peer

SUMMARY, SUBSCRIPTIONS, SESSIONS, SECURITY, FLAG = "i=2275", "i=2290", "i=3707", "i=3708", "i=2294"


@pytest_asyncio.fixture(loop_scope="session")
async def admin(agent: Agent, subject: Subject) -> AsyncIterator[Peer]:
    """The security administrator."""
    peer = await agent.connect(subject.url, user="sara", password=PASSWORDS["sara"])
    yield peer
    await peer.disconnect()


async def value(peer: Peer, address: str) -> Any:
    found = await read(peer, address)
    return found["value"]["value"] if found["statusCode"] == "Good" else found["statusCode"]


@each(
    "name, address",
    *(
        case("Part 5 6.3.2", f"{name} is a number and not null", name, address)
        for name, address in (
            ("MaxNodesPerRead", "i=11705"),
            ("MaxNodesPerWrite", "i=11707"),
            ("MaxNodesPerMethodCall", "i=11709"),
            ("MaxNodesPerBrowse", "i=11710"),
            ("MaxMonitoredItemsPerCall", "i=11714"),
            ("MaxBrowseContinuationPoints", "i=2735"),
            ("MinSupportedSampleRate", "i=2272"),
            ("ServiceLevel", "i=2267"),
        )
    ),
)
async def test_capabilities(node: Peer, name: str, address: str) -> None:
    assert isinstance(await value(node, address), int | float), name


@each(
    "name, address",
    case("Part 5 6.3.2", "ServerProfileArray is an array and not null", "ServerProfileArray", "i=2269"),
    case("Part 5 6.3.2", "LocaleIdArray is an array and not null", "LocaleIdArray", "i=2271"),
    case(
        "Part 5 6.3.1", "NamespaceArray begins with the standard's and has the server's own", "NamespaceArray", "i=2255"
    ),
    case("Part 5 6.3.1", "ServerArray names the server", "ServerArray", "i=2254"),
)
async def test_arrays(node: Peer, name: str, address: str) -> None:
    assert isinstance(await value(node, address), list), name


@check("Part 5 6.3.1", "ServerStatus tells the state Running and the present time")
async def test_status(node: Peer) -> None:
    status, now = await value(node, "i=2256"), await value(node, "i=2258")
    assert (status["state"], status["currentTime"][:16]) == (0, now[:16])


@check("Part 5 6.3.1", "RedundancySupport is not null")
async def test_redundancy(node: Peer) -> None:
    assert await value(node, "i=3709") == 0


@check("Part 5 6.3.3", "EnabledFlag is a Boolean")
async def test_flag(node: Peer) -> None:
    assert isinstance(await value(node, FLAG), bool)


@check("Part 5 12.9", "ServerDiagnosticsSummary counts sessions and subscriptions")
async def test_summary(agent: Agent, subject: Subject, node: Peer) -> None:
    before = await value(node, SUMMARY)
    peer = await agent.connect(subject.url)
    await create_subscription(peer)
    after = await value(node, SUMMARY)
    await peer.disconnect()
    names = ("currentSessionCount", "cumulatedSessionCount", "currentSubscriptionCount", "cumulatedSubscriptionCount")
    assert [after[name] - before[name] for name in names] == [1, 1, 1, 1]


@check("Part 5 12.9", "The components of ServerDiagnosticsSummary are its fields")
async def test_components(node: Peer) -> None:
    assert await value(node, "i=2277") == (await value(node, SUMMARY))["currentSessionCount"]


@check("Part 5 12.9", "RejectedRequestsCount counts requests that were refused")
async def test_rejected(node: Peer) -> None:
    before = await value(node, "i=2288")
    for _ in range(3):
        await node.request("ReadRequest", maxAge=-1, nodesToRead=[])
    assert await value(node, "i=2288") - before == 3


@check("Part 5 12.9", "SecurityRejectedSessionCount counts wrong passwords")
async def test_rejected_sessions(agent: Agent, subject: Subject, node: Peer) -> None:
    before = await value(node, "i=2279")
    try:
        peer = await agent.connect(subject.url, user="olga", password="wrong")
        await peer.disconnect()
    except ConnectionError:
        pass
    assert await value(node, "i=2279") - before == 1


@check("Part 5 12.11", "SessionDiagnosticsArray has an entry for each session, with its requests counted")
async def test_sessions(agent: Agent, subject: Subject, admin: Peer) -> None:
    peer = await agent.connect(subject.url)
    for _ in range(3):
        await value(peer, "i=2258")
    entries = await value(admin, SESSIONS)
    await peer.disconnect()
    [own] = [each for each in entries if each["sessionId"] == peer.session_id]
    assert own["readCount"]["totalCount"] >= 3
    assert own["endpointUrl"]
    assert own["clientDescription"]["applicationUri"]


@check("Part 5 12.11", "SessionDiagnostics count errors of a service beside its calls")
async def test_errors(agent: Agent, subject: Subject, admin: Peer) -> None:
    peer = await agent.connect(subject.url)
    await peer.request("BrowseRequest", nodesToBrowse=[])
    entries = await value(admin, SESSIONS)
    await peer.disconnect()
    [own] = [each for each in entries if each["sessionId"] == peer.session_id]
    assert (own["browseCount"]["totalCount"], own["browseCount"]["errorCount"]) == (1, 1)


@check("Part 5 12.15", "SubscriptionDiagnosticsArray tells of each subscription what was asked of it and sent")
async def test_subscriptions(agent: Agent, subject: Subject, admin: Peer, point: str) -> None:
    peer = await agent.connect(subject.url)
    number = (await create_subscription(peer, 50))["subscriptionId"]
    await monitor(peer, number, item(point), item(point, 2, mode=0))
    await peer.request("PublishRequest", subscriptionAcknowledgements=[])
    entries = await value(admin, SUBSCRIPTIONS)
    await peer.disconnect()
    [own] = [each for each in entries if each["subscriptionId"] == number]
    names = ("monitoredItemCount", "disabledMonitoredItemCount", "dataChangeNotificationsCount", "nextSequenceNumber")
    assert ([own[name] for name in names], own["sessionId"]) == ([2, 1, 1, 2], peer.session_id)


@check("Part 5 12.12", "SessionSecurityDiagnosticsArray tells a security administrator who is there and how")
async def test_security(agent: Agent, subject: Subject, admin: Peer) -> None:
    peer = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    entries = await value(admin, SECURITY)
    await peer.disconnect()
    [own] = [each for each in entries if each["sessionId"] == peer.session_id]
    names = ("clientUserIdOfSession", "authenticationMechanism", "encoding", "transportProtocol", "securityMode")
    assert [own[name] for name in names] == ["olga", "UserName", "UA Binary", "opc.tcp", 1]


@check("Part 5 12.12", "SessionSecurityDiagnosticsArray is refused to everybody else")
async def test_security_refused(node: Peer) -> None:
    assert await value(node, SECURITY) == "BadUserAccessDenied"


@check("Part 5 6.3.3", "While EnabledFlag is False the diagnostics answer BadNotReadable")
async def test_diagnostics_off(admin: Peer, node: Peer) -> None:
    answers = []
    for flag in (False, True):
        one = {"nodeId": FLAG, "attributeId": 13, "value": {"$data": {"value": {"$variant": ["Boolean", flag]}}}}
        written = await admin.request("WriteRequest", nodesToWrite=[one])
        answers.append((fault(written), (await read(node, SUMMARY))["statusCode"]))
    assert answers == [("Good", "BadNotReadable"), ("Good", "Good")]
