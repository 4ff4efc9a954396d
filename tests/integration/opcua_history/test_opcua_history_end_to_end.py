"""The history that the gateway keeps, read by node-opcua: what the table had comes back, aggregates are right."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from peers.history.grid import HistoryGrid, address
from peers.opcua.rig import NodeClient, Rig

from address_space import clock
from address_space.events import Event
from address_space.point import Batch

_SECOND = clock.TICKS_PER_SECOND
_BEGIN = clock.now() // (3600 * _SECOND) * 3600 * _SECOND - 7200 * _SECOND
_VALUES = [float((number * 37) % 101) for number in range(300)]
_POINT, _SWITCH = address(0), address(0, "XCBR1/Pos")
_BAD = 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HistoryGrid]:
    """A history with a value every second for five minutes, of which one is invalid, and a few positions."""
    grid = HistoryGrid(tmp_path_factory.mktemp("history") / "kept")
    await grid.start()
    rows = [grid.table.find(_POINT), grid.table.find(_SWITCH)]
    for number, value in enumerate(_VALUES):
        quality = 2 if number == _BAD else 0
        grid.table.ingest(Batch.of([rows[0]], [value], quality, _BEGIN + number * _SECOND))
    for number, position in enumerate((1, 2, 1)):
        grid.table.ingest(Batch.of([rows[1]], [position], 0, _BEGIN + number * 60 * _SECOND))
    for number in range(5):
        grid.events.append(Event("D01", f"trouble {number}", address=_SWITCH, source_time=_BEGIN + number * _SECOND))
    yield grid
    await grid.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(kept: HistoryGrid, tmp_path_factory: Any) -> AsyncIterator[str]:
    """A server over that history."""
    rig = Rig(tmp_path_factory.mktemp("server"), table=kept.table)
    rig.server.ports = replace(rig.server.ports, history=kept.history, events=kept.events)
    async with rig:
        yield rig.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: Any) -> AsyncIterator[NodeClient]:
    peer = NodeClient(Path(tmp_path_factory.mktemp("peer")))
    await peer.start()
    yield peer
    await peer.close()


def _iso(second: int) -> str:
    return clock.iso(_BEGIN + second * _SECOND)


def _range(point: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"nodeId": f"ns=2;s={point}", "start": _iso(start), "end": _iso(end), **more}


@pytest.mark.asyncio(loop_scope="module")
async def test_node_opcua_reads_what_the_table_had_part_by_part(url: str, node: NodeClient) -> None:
    [answer] = await node(url, {"do": "history", **_range(_POINT, 0, 300, max=70)})
    assert answer["parts"] == 5
    *values, bound = answer["values"]
    assert [value for value, _, _ in values] == _VALUES
    assert [time for _, _, time in values] == [_iso(second) for second in range(300)]
    assert [status >= 0x8000_0000 for _, status, _ in values] == [second == _BAD for second in range(300)]
    # node-opcua asks for bounds, and there is nothing at the end or behind it.
    assert bound == [None, ua.StatusCodes.BadBoundNotFound, _iso(300)]


@pytest.mark.asyncio(loop_scope="module")
async def test_node_opcua_reads_aggregates(url: str, node: NodeClient) -> None:
    names = ("Average", "Minimum", "Maximum", "Count")
    answers = await node(
        url, *({"do": "aggregate", "name": name, "interval": 60_000, **_range(_POINT, 0, 300)} for name in names)
    )
    minutes = [[v for n, v in enumerate(_VALUES) if n // 60 == minute and n != _BAD] for minute in range(5)]
    for answer, work in zip(answers, (statistics.fmean, min, max, len), strict=True):
        assert [round(value, 9) for value, _, _ in answer["values"]] == [round(work(part), 9) for part in minutes]
    assert [status for _, status, _ in answers[0]["values"]][3] == 0x40A4_0401  # the minute with the invalid value


@pytest.mark.asyncio(loop_scope="module")
async def test_positions_hold_between_their_changes(url: str, node: NodeClient) -> None:
    [answer] = await node(
        url, {"do": "aggregate", "name": "Interpolative", "interval": 30_000, **_range(_SWITCH, 0, 180)}
    )
    assert [value for value, _, _ in answer["values"]] == [1, 1, 2, 2, 1, 1]


@pytest.mark.asyncio(loop_scope="module")
async def test_past_events_are_read_by_a_filter(url: str) -> None:
    clause = ua.SimpleAttributeOperand(
        TypeDefinitionId=ua.NodeId(2041), BrowsePath=[ua.QualifiedName("Message")], AttributeId=ua.AttributeIds.Value
    )
    details = ua.ReadEventDetails(NumValuesPerNode=0, Filter=ua.EventFilter(SelectClauses=[clause]))
    details.StartTime, details.EndTime = (clock.to_datetime(_BEGIN + each * _SECOND) for each in (1, 4))
    parameters = ua.HistoryReadParameters(
        HistoryReadDetails=details, TimestampsToReturn=ua.TimestampsToReturn.Both, ReleaseContinuationPoints=False
    )
    parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=ua.NodeId(address(0).partition("/MMXU1")[0], 2))]
    async with Client(url) as client:
        [result] = await client.uaclient.history_read(parameters)
    texts = [each.EventFields[0].Value.Text for each in result.HistoryData.Events]
    assert texts == ["trouble 1", "trouble 2", "trouble 3"]
