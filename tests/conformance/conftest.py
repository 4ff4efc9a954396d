"""The subject of the checks and its clients, shared by all of them.

A check takes `subject` (the server), `node` (a node-opcua session of olga), `agent` (node-opcua for more connections),
`wire` (an anonymous session of raw messages), `second` (another one) and `point` (a Double of its own). The environment
variable `TWIN_CONFORMANCE_SUBJECT=stock` runs the checks against stock asyncua, `TWIN_CONFORMANCE_REPORT` names a file
that gets a JSON line for each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conformance.alarms import Stream, streaming
from conformance.registry import Check
from conformance.security_server import SecurityServer
from conformance.subject import PASSWORDS, Ours, Stock, Subject
from peers.opcua.agent import Agent, Peer
from peers.opcua.wire_client import WireClient

_SUBJECT = os.environ.get("TWIN_CONFORMANCE_SUBJECT", "ours")


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", "conformance(check): a behaviour that the OPC UA standard asks for")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what stock asyncua is not asked."""
    for item in items:
        marker = item.get_closest_marker("conformance")
        if _SUBJECT != "ours" and marker is not None and marker.args[0].ours_only:
            item.add_marker(pytest.mark.skip(reason=marker.args[0].ours_only))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Write a line of the report for each check."""
    outcome = yield
    report = outcome.get_result()
    marker = item.get_closest_marker("conformance")
    target = os.environ.get("TWIN_CONFORMANCE_REPORT")
    if marker is None or target is None or (report.when != "call" and report.passed):
        return
    asked: Check = marker.args[0]
    fixtures = set(getattr(item, "fixturenames", ()))
    line = {
        "test": item.nodeid.split("/")[-1],
        "part": asked.part,
        "behaviour": asked.behaviour,
        "client": "node-opcua" if fixtures & {"node", "agent"} else "raw",
        "result": report.outcome,
        "said": _said(call) if report.failed else asked.ours_only,
    }
    with Path(target).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _said(call: pytest.CallInfo[None]) -> str:
    """The answer that failed a check, in a few words."""
    assert call.excinfo is not None
    if call.excinfo.errisinstance(TimeoutError):
        return "no answer"
    text = str(call.excinfo.value).strip().partition("\n")[0] or call.excinfo.typename
    text = re.sub(r"^assert ", "", text)
    return text if len(text) <= 100 else text[:97] + "..."


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def subject(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    """The server that is checked."""
    if _SUBJECT == "stock":
        async with Stock() as stock:
            yield stock
    else:
        async with Ours(tmp_path_factory.mktemp("conformance")) as ours:
            yield ours


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    """The node-opcua client, for connections of a check's own."""
    made = Agent(tmp_path_factory.mktemp("agent"))
    await made.start()
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecurityServer]:
    """A server of our own with a strict trust list and the gateway's users."""
    async with SecurityServer(tmp_path_factory.mktemp("secure")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(agent: Agent, subject: Subject) -> AsyncIterator[Peer]:
    """A session of the operator by node-opcua, shared by the checks of a module."""
    peer = await agent.connect(subject.url, user="olga", password=PASSWORDS["olga"])
    yield peer
    await peer.disconnect()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def eva(agent: Agent, subject: Subject) -> AsyncIterator[Peer]:
    """A session of somebody who may do all to alarms, shared by the checks of a module."""
    peer = await agent.connect(subject.url, user="eva", password=PASSWORDS["eva"])
    yield peer
    await peer.disconnect()


@pytest_asyncio.fixture(loop_scope="session")
async def stream(eva: Peer) -> AsyncIterator[Stream]:
    """A subscription of eva's for events, the check's own."""
    async with streaming(eva) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def wire(subject: Subject) -> AsyncIterator[WireClient]:
    """An anonymous session of raw messages, the check's own."""
    async with WireClient(subject.port) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def second(subject: Subject) -> AsyncIterator[WireClient]:
    """Another anonymous session."""
    async with WireClient(subject.port) as client:
        yield client


@pytest.fixture
def point(subject: Subject) -> str:
    """Address of a Double that no other check uses; 10.0 with an EURange of 0 to 200."""
    return subject.fresh()
