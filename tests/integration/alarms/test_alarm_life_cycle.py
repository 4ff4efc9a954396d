"""The life of an alarm from a change in the field over a real OPC UA client and a restart to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from conformance.alarms import Stream, call, comment, of, streaming
from peers.alarm_station import configured
from peers.iec104.outstation import Outstation
from peers.opcua.agent import Agent, Peer
from peers.waiting import until

from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.security.passwords import hash_password
from twin_gateway.security.users import User

ACKNOWLEDGE, CONFIRM, TIMED_SHELVE, UNSHELVE = "i=9111", "i=9113", "i=9213", "i=9211"
GAS = "dso1/north/PS01/MV1/F01/QA1/SIMG1/Pres"
CONDITION = f"{GAS}$C04"
PASSWORD = "a word for tests"
POINT = (
    "QA1/SIMG1/Pres: {ioa: 1010, type: M_ME_TF_1, alarm: {code: C04, lo: 130 kPa, lolo: 120 kPa, hysteresis: 1 kPa, "
    "severity: 650, severity_outer: 900, confirm: true, text: Gas of the breaker}}"
)
FIELDS = ["EventId", "Message", "Severity", "ActiveState/Id", "AckedState/Id", "ConfirmedState/Id", "Retain"]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(tmp_path)
    await made.start()
    yield made
    await made.close()


def _gateway(folder: Path, port: int, users: dict[str, User]) -> Gateway:
    config, mapping = configured(folder, port, POINT)
    return Gateway(config, mapping, users, backoff=Backoff(0.1, 0.5, 1.0))


async def _connected(agent: Agent, gateway: Gateway) -> Peer:
    assert gateway.server is not None
    return await agent.connect(gateway.server.url, user="sven", password=PASSWORD)


async def _next(stream: Stream, text: str) -> list[Any]:
    """The fields of the next event whose message begins so; others are passed over."""
    while True:
        for row in await stream.told():
            if row[1] is not None and str(row[1]["text"]).startswith(text):
                return row


async def test_an_alarm_from_the_field_is_acknowledged_shelved_and_confirmed_over_a_restart(
    tmp_path: Path, agent: Agent
) -> None:
    users = {"sven": User(password=hash_password(PASSWORD), roles=("Supervisor",))}
    points = [{"ioa": 1010, "type": "M_ME_TF_1", "value": 140_000}]
    async with Outstation(tmp_path / "rtu.yaml", [{"common_address": 7, "points": points}]) as rtu:
        first = _gateway(tmp_path, rtu.port, users)
        await first.start()
        try:
            sven = await _connected(agent, first)
            await until(lambda: first.table.value(first.table.find(GAS)) == 140_000)
            async with streaming(sven) as stream:
                await stream.add("i=2253", FIELDS)
                await rtu.order(ioa=1010, value=125_000)
                event, _, severity, active, acked, *_ = await _next(stream, "Gas of the breaker: 125000 Pa is below")
                assert (severity, active, acked) == (650, True, False)
                done = await call(
                    sven, of(CONDITION), ACKNOWLEDGE, ("ByteString", {"$bytes": event}), comment("on my way")
                )
                assert done["statusCode"] == "Good"
                shelving = of(CONDITION, "ShelvingState")
                done = await call(sven, shelving, TIMED_SHELVE, ("Double", 3_600_000.0))
                assert done["statusCode"] == "Good"
            await sven.disconnect()
        finally:
            await first.stop()

        second = _gateway(tmp_path, rtu.port, users)
        await second.start()
        try:
            kept = second.conditions.get(CONDITION)
            assert kept is not None
            assert (kept.active, kept.acked, kept.confirmed, kept.comment) == (True, True, False, "on my way")
            assert kept.shelving == "TimedShelved"
            sven = await _connected(agent, second)
            await until(lambda: second.table.value(second.table.find(GAS)) == 125_000)
            async with streaming(sven) as stream:
                await stream.add("i=2253", FIELDS)
                done = await call(sven, of(CONDITION, "ShelvingState"), UNSHELVE)
                assert done["statusCode"] == "Good"
                await rtu.order(ioa=1010, value=141_000)
                event, _, _, active, acked, confirmed, retain = await _next(
                    stream, "Gas of the breaker: 141000 Pa (over)"
                )
                assert (active, acked, confirmed, retain) == (False, True, False, True)
                done = await call(sven, of(CONDITION), CONFIRM, ("ByteString", {"$bytes": event}), comment(None))
                assert done["statusCode"] == "Good"
            await sven.disconnect()
            kinds = [each.kind for each in await second.audit.records() if each.kind.startswith("condition.")]
            assert kinds == ["condition.confirm", "condition.unshelve", "condition.shelve", "condition.acknowledge"]
        finally:
            await second.stop()
        ended = second.conditions.get(CONDITION)
        assert ended is not None and not ended.retain
