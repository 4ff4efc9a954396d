"""HistoryRead requests as a whole: their time, and continued parts beside other nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conformance.history_asks import NOON, SECOND, history, one, raw
from peers.opcua.rig import POWER, Rig
from peers.opcua.wire_client import WireClient

from address_space.opcua import history_read

SHARED = pytest.mark.asyncio(loop_scope="module")
COUNT = 12_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: Any) -> AsyncIterator[Rig]:
    """A server whose history has a point of many samples."""
    made = Rig(tmp_path_factory.mktemp("server"))
    made.history.put(POWER, [NOON + each * SECOND for each in range(COUNT)], [float(each) for each in range(COUNT)])
    async with made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(rig: Rig) -> AsyncIterator[WireClient]:
    async with WireClient(int(rig.url.rpartition(":")[2].partition("/")[0])) as made:
        yield made


@SHARED
async def test_a_continued_part_shares_the_answer_with_the_other_nodes(wire: WireClient) -> None:
    details = raw(0, COUNT * SECOND)
    first = await one(wire, details, POWER)
    assert len(first.HistoryData.DataValues) == 10_000
    results = await history(wire, details, POWER, *["ns=2;s=nowhere"] * 99, points=[first.ContinuationPoint])
    assert len(results[0].HistoryData.DataValues) == 1_000


@SHARED
async def test_what_is_not_read_in_time_is_told_for_every_node(
    rig: Rig, wire: WireClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as hanging:
        hanging.setattr(rig.history, "raw", never)
        hanging.setattr(history_read, "_MOST_SECONDS", 0.1)
        results = await history(wire, raw(0, SECOND), *[POWER] * 50)
    assert {each.StatusCode.name for each in results} == {"BadTimeout"}
    assert (await one(wire, raw(0, SECOND), POWER)).StatusCode.is_good()
