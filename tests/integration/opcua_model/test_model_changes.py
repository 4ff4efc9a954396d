"""Changes of the model while clients look on: events, versions, alias categories; and many aliases at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from asyncua import Client, ua
from peers.opcua.rig import BAY, POSITION, POWER, Numbers, Rig, Users, point
from peers.waiting import patient

from address_space.alias import AddressBook
from address_space.opcua.server import GatewayServer
from address_space.opcua.settings import ServerSettings
from address_space.point import Point
from address_space.ports import Caller, Right
from address_space.table import PointTable

ALIASES, TAG_VARIABLES = "i=23470", "i=23479"


@pytest_asyncio.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr("address_space.opcua.model_changes._LOOK_SECONDS", 0.05)
    async with Rig(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def client(rig: Rig) -> AsyncIterator[Any]:
    async with Client(rig.url) as connected:
        yield connected


class Heard:
    """The model change events of a subscription."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()

    def event_notification(self, event: Any) -> None:
        self.events.put_nowait(event)

    async def next(self) -> Any:
        async with patient(5):
            return await self.events.get()


async def listen(client: Any) -> Heard:
    heard = Heard()
    subscription = await client.create_subscription(50, heard)
    await client.load_data_type_definitions()
    types = [ua.ObjectIds.GeneralModelChangeEventType, ua.ObjectIds.SemanticChangeEventType]
    await subscription.subscribe_events(client.nodes.server, types)
    return heard


async def look(rig: Rig) -> None:
    assert rig.server.internal is not None
    await rig.server.internal.model_watch.refresh()


async def text(client: Any, member: str) -> str:
    return str(await client.get_node(f"ns=2;s=#Grid#{member}").read_value())


async def categories(client: Any) -> set[Any]:
    return {each.nodeid.Identifier for each in await client.get_node(ALIASES).get_children()}


async def test_new_points_are_told_with_what_they_stand_below(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    before = (await text(client, "NodeVersion"), await text(client, "MappingRevision"))
    rig.table.add([point(f"{BAY}/QA1/SIMG1/Pres", source=99)])
    await look(rig)
    event = await heard.next()
    assert event.EventType == ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType)
    changes = {(each.Affected.Identifier, each.Verb) for each in event.Changes}
    assert changes == {(f"{BAY}/QA1/SIMG1", 1), (f"{BAY}/QA1", 4)}
    after = (await text(client, "NodeVersion"), await text(client, "MappingRevision"))
    assert int(after[0]) == int(before[0]) + 1
    assert after[1] != before[1]


async def test_points_that_somebody_adds_are_noticed_without_being_told(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    rig.table.add([point(f"{BAY}/QA1/SIMG1/Pres", source=99)])
    assert (await heard.next()).EventType == ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType)


async def test_a_change_that_cannot_be_told_does_not_hide_the_next(
    rig: Rig, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard = await listen(client)
    assert rig.server.internal is not None
    watch, failing = rig.server.internal.model_watch, [OSError("no thread")]
    refresh = watch.refresh

    async def fails_once() -> bool:
        if failing:
            rig.table.add([point(f"{BAY}/QA1/SIMG1/Tmp", source=98)])
            raise failing.pop()
        return await refresh()

    monkeypatch.setattr(watch, "refresh", fails_once)
    rig.table.add([point(f"{BAY}/QA1/SIMG1/Pres", source=99)])
    assert (await heard.next()).EventType == ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType)
    assert "cannot be told" in caplog.text


async def test_very_many_new_points_are_one_change_of_the_grid(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    rig.table.add(point(f"{BAY}/QA{number}/XCBR1/Pos", source=number) for number in range(2, 150))
    await look(rig)
    [change] = (await heard.next()).Changes
    assert (change.Affected.Identifier, change.Verb) == ("#Grid", 4)


async def test_a_look_without_a_change_tells_nothing(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    version = await text(client, "NodeVersion")
    await look(rig)
    await asyncio.sleep(0.2)
    assert heard.events.empty()
    assert await text(client, "NodeVersion") == version


async def test_a_new_scheme_gets_its_category(rig: Rig, client: Any) -> None:
    rig.server.book.add_alias("rds:=C1-QA1", POSITION)
    await look(rig)
    assert "Aliases/rds" in await categories(client)
    [alias] = await client.get_node("ns=1;s=Aliases/rds").call_method("0:FindAlias", "rds:%", ua.NodeId())
    assert [each.Identifier for each in alias.ReferencedNodes] == [POSITION]


async def test_a_scheme_that_is_gone_has_no_category(rig: Rig, client: Any) -> None:
    rig.server.book.adopt(AddressBook(rig.server.table))
    await look(rig)
    assert "Aliases/mrid" not in await categories(client)
    value = await client.get_node("ns=1;s=Aliases/mrid").read_attributes([ua.AttributeIds.BrowseName])
    assert value[0].StatusCode.name == "BadNodeIdUnknown"


async def test_a_scheme_in_place_of_another_is_the_only_one_found(rig: Rig, client: Any) -> None:
    assert "Aliases/mrid" in await categories(client)
    rig.server.book.adopt(AddressBook(rig.server.table))
    rig.server.book.add_alias("rds:=C1-QA1", POSITION)
    await look(rig)
    assert {"Aliases/rds", "Aliases/mrid"} & await categories(client) == {"Aliases/rds"}


async def test_a_scheme_alone_is_the_alias_of_nothing(rig: Rig, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    monkeypatch.setattr(rig.server.book, "resolve", resolved.append)
    for text in ("mrid", "10", "DSO1"):
        assert not await client.get_node(ALIASES).call_method("0:FindAlias", text, ua.NodeId())
    assert not resolved


class OneFeeder(Users):
    """Everybody sees the measurements of one feeder, and the way to them."""

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return super().permits(replace(caller, user="nina"), right, address)


@pytest.mark.parametrize("category", [ALIASES, TAG_VARIABLES, "ns=1;s=Aliases/104"])
async def test_aliases_of_what_the_caller_may_not_see_are_not_told(tmp_path: Path, category: str) -> None:
    async with Rig(tmp_path, policy=OneFeeder()) as rig, Client(rig.url) as client:
        for text, seen in (("104:%", {POWER, f"{BAY}/_/MMXU1/A/phsB"}), ("104:ps01-rtu/1/4001", set())):
            found = await client.get_node(category).call_method("0:FindAlias", text, ua.NodeId())
            assert {each.Identifier for alias in found or () for each in alias.ReferencedNodes} == seen


@pytest.mark.parametrize("text", ["[z-a]", "[a", "x\\"])
async def test_a_pattern_that_is_none_is_an_invalid_argument(client: Any, text: str) -> None:
    with pytest.raises(ua.uaerrors.BadInvalidArgument):
        await client.get_node(ALIASES).call_method("0:FindAlias", text, ua.NodeId())


async def test_many_aliases_are_looked_through_in_slices_and_never_told_in_part(tmp_path: Path) -> None:
    table = PointTable()
    profile = table.profile_number(point(POSITION).profile)
    link = table.link_number("rtu")
    count = 50_000
    addresses = (f"dso1/a{each // 1000}/S{each % 1000}/MV1/F1/QA1/XCBR1/Pos" for each in range(count))
    table.add_columns(addresses, [profile] * count, [link] * count, list(range(count)))
    book = AddressBook(table, [Numbers()], "https://example.org")
    book.add_link("rtu", "104")
    server = GatewayServer(table, ServerSettings("https://example.org", tmp_path / "pki", port=0), book=book)
    await server.start()
    try:
        async with Client(server.url) as client:
            category = client.get_node("ns=1;s=Aliases/104")
            longest = 0.0

            async def watch() -> None:
                nonlocal longest
                while True:
                    began = time.perf_counter()
                    await asyncio.sleep(0)
                    longest = max(longest, time.perf_counter() - began)

            watching = asyncio.create_task(watch())
            found = await category.call_method("0:FindAlias", "104:rtu/1/4999_", ua.NodeId())
            watching.cancel()
            assert len(found) == 10
            assert longest < 0.25
            try:
                await category.call_method("0:FindAlias", "104:rtu/%", ua.NodeId())
            except ua.UaStatusCodeError as error:
                assert error.code == ua.StatusCodes.BadResponseTooLarge
            else:
                raise AssertionError("fifty thousand aliases came in one answer")
    finally:
        await server.stop()


async def test_retired_points_are_told_with_what_they_stood_below(rig: Rig, client: Any) -> None:
    rig.table.add([point(f"{BAY}/QA1/SIMG1/Pres", source=99)])
    await look(rig)
    heard = await listen(client)
    before = await text(client, "NodeVersion")
    rig.table.retire(np.array([rig.table.find(f"{BAY}/QA1/SIMG1/Pres")], np.int32))
    await look(rig)
    event = await heard.next()
    assert event.EventType == ua.NodeId(ua.ObjectIds.GeneralModelChangeEventType)
    changes = {(each.Affected.Identifier, each.Verb) for each in event.Changes}
    assert changes == {(f"{BAY}/QA1/SIMG1", 2), (f"{BAY}/QA1", 8)}
    assert int(await text(client, "NodeVersion")) == int(before) + 1


async def test_a_changed_point_is_a_semantic_change_of_its_node(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    row = rig.table.find(POWER)
    link, source = rig.table.binding(row)
    profile = replace(rig.table.profile(row), low=0.0, high=9e6)
    rig.table.change(np.array([row], np.int32), [Point(POWER, profile, link, source)])
    await look(rig)
    event = await heard.next()
    assert event.EventType == ua.NodeId(ua.ObjectIds.SemanticChangeEventType)
    assert [each.Affected.Identifier for each in event.Changes] == [POWER]


async def test_points_that_mean_something_else_are_a_semantic_change(rig: Rig, client: Any) -> None:
    heard = await listen(client)
    version = await text(client, "NodeVersion")
    rig.table._display_names[0] = "renamed"
    await look(rig)
    event = await heard.next()
    assert event.EventType == ua.NodeId(ua.ObjectIds.SemanticChangeEventType)
    assert [each.Affected.Identifier for each in event.Changes] == ["#Grid"]
    assert await text(client, "NodeVersion") == version
