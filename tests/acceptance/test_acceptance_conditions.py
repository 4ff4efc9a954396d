"""An alarm from the field to people and over a restart: 104 simulator, gateway and node-opcua, each a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conformance import ask
from conformance.alarms import CONDITION_TYPE, SERVER, call, field, of, streaming
from peers.acceptance.feeder import Gateway
from peers.acceptance.processes import ROOT, Simulator
from peers.opcua.agent import Agent, Peer
from peers.ports import free_port
from peers.waiting import patient

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
POWER = "dso1/north/PS01/MV1/F05/_/MMXU1/TotW"
ALARM = f"{POWER}$P08"
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  rtu:
    protocol: iec104
    host: 127.0.0.1
    port: {rtu}
    common_address: 7
    at:
      MV1/F05:
        points:
          MMXU1/TotW: {ioa: 1010, type: M_ME_TF_1, alarm: {hi: 2 kW, hihi: 3 kW, code: P08, confirm: true}}
"""
RTU = """\
stations:
- common_address: 7
  points:
  - {ioa: 1010, type: M_ME_TF_1, value: 1200}
"""
CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [station.yaml]
opcua: {port: {opcua}, trust_any_client: true}
http: {port: {http}}
"""
SELECTS = [
    "EventId",
    field("", CONDITION_TYPE, 1),
    "ActiveState/Id",
    "AckedState/Id",
    "ConfirmedState/Id",
    "LimitState/CurrentState",
    "Retain",
    "ShelvingState/CurrentState",
]


class Station:
    """The gateway and its only device."""

    def __init__(self, folder: Path) -> None:
        ports = {"rtu": free_port(), "opcua": free_port(), "http": free_port()}
        for name, text in {"station": MAPPING, "rtu": RTU, "gateway": CONFIG}.items():
            for key, value in ports.items():
                text = text.replace(f"{{{key}}}", str(value))
            (folder / f"{name}.yaml").write_text(text)
        self.rtu = Simulator("rtu", "iec104", folder, folder / "rtu.yaml", "--port", ports["rtu"])
        self.gateway = Gateway(folder, ports["opcua"], ports["http"])
        command = (sys.executable, "-m", "twin_gateway", "user", "add", "eva", "--role", "Operator")
        subprocess.run(
            (*command, "--role", "Supervisor", "--password-stdin"),
            input="eva's password\n",
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=30,
            check=True,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def station(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    made = await asyncio.to_thread(Station, tmp_path_factory.mktemp("conditions"))
    try:
        await asyncio.gather(asyncio.to_thread(made.rtu.start), asyncio.to_thread(made.gateway.start))
        yield made
    finally:
        made.gateway.stop()
        made.rtu.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    made = Agent(tmp_path_factory.mktemp("agent"))
    await made.start()
    yield made
    await made.close()


async def connected(agent: Agent, station: Station) -> Peer:
    how = {"security": "Basic256Sha256", "mode": "SignAndEncrypt", "user": "eva", "password": "eva's password"}
    return await agent.connect(station.gateway.url, **how)


async def becomes(peer: Peer, path: str, wanted: Callable[[Any], bool]) -> Any:
    """Value of a variable of the condition once it is as wanted."""
    async with patient(15):
        while True:
            answer = await ask.read(peer, of(ALARM, path))
            found = (answer["value"] or {}).get("value")
            if answer["statusCode"] in {None, "Good"} and wanted(found):
                return found
            await asyncio.sleep(0.05)


async def test_an_alarm_lives_from_the_field_over_people_and_a_restart(station: Station, agent: Agent) -> None:
    eva = await connected(agent, station)
    async with streaming(eva) as stream:
        await stream.add(SERVER, SELECTS, handle=1)
        # Nothing is wrong: the point has no condition of interest.
        await call(eva, CONDITION_TYPE, "i=3875", ("UInt32", stream.id))
        assert [row[1] for row in await stream.told(2)] == [None, None]
        station.rtu.order(ioa=1010, value=3500)
        [raised] = [row for row in await stream.told() if row[1] == of(ALARM)]
        assert raised[2:5] == [True, False, True]
        assert (raised[5]["text"], raised[6]) == ("HighHigh", True)
        acknowledged = await eva.alarm("acknowledgeCondition", of(ALARM), raised[0], "going there")
        assert acknowledged == "Good"
        [seen] = await stream.told()
        assert seen[2:5] == [True, True, False]
        assert await eva.alarm("acknowledgeCondition", of(ALARM), seen[0], "") == "BadConditionBranchAlreadyAcked"
        assert await eva.alarm("confirmCondition", of(ALARM), seen[0], "switched over") == "Good"
        [confirmed] = await stream.told()
        assert confirmed[2:5] == [True, True, True]
        assert await eva.alarm("addCommentCondition", of(ALARM), confirmed[0], "a transformer") == "Good"
        shelved = await call(eva, of(ALARM), "i=9213", ("Double", 3_600_000.0))
        assert shelved["statusCode"] == "Good"
    await eva.disconnect()

    await asyncio.to_thread(station.gateway.kill)
    await asyncio.to_thread(station.gateway.start)
    eva = await connected(agent, station)
    assert await becomes(eva, "ActiveState/Id", lambda found: found is True)
    assert await becomes(eva, "AckedState/Id", lambda found: found is True)
    assert (await becomes(eva, "Comment", bool))["text"] == "a transformer"
    assert (await becomes(eva, "ShelvingState/CurrentState", bool))["text"] == "Timed Shelved"
    async with streaming(eva) as stream:
        await stream.add(SERVER, SELECTS)
        await call(eva, CONDITION_TYPE, "i=3875", ("UInt32", stream.id))
        refreshed = [row for row in await stream.told(3) if row[1] == of(ALARM)]
        assert refreshed[0][2:4] == [True, True]
        assert (await call(eva, of(ALARM), "i=9211"))["statusCode"] == "Good"
        station.rtu.order(ioa=1010, value=1200)
        assert await becomes(eva, "ActiveState/Id", lambda found: found is False) is False
        assert await becomes(eva, "Retain", lambda found: found is False) is False
    await eva.disconnect()
