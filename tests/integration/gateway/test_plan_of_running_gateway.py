"""`twin-gateway plan --running` names the clients, and the alarms, that a change would touch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from peers.ports import free_port
from peers.waiting import until
from typer.testing import CliRunner

from address_space.point import Batch
from twin_gateway.affected import Affected, Touched
from twin_gateway.cli import app
from twin_gateway.config import load_config
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.plan_request import ask_affected
from twin_gateway.revisions import keep

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATION = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  a:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 7
    at:
      MV1/F01:
        points:
          MMXU1/TotW: {{ioa: 20, type: M_ME_TF_1, unit: W, alarm: {{code: A02, hi: 10 W}}}}
          MMXU1/Hz: {{ioa: 30, type: M_ME_TF_1, unit: Hz}}
      MV1/F02:
        points:
          MMXU1/TotW: {{ioa: 21, type: M_ME_TF_1, unit: W}}
          GGIO1/Ind1: {{ioa: 22, type: M_SP_TB_1}}
  b:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 8
    at:
      MV1/F03:
        points:
          MMXU1/TotW: {{ioa: 20, type: M_ME_TF_1, unit: W}}
"""
CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [station.yaml]
data_directory: data
opcua: {port: 0, anonymous: observe}
http: {port: 0}
history: {enabled: false}
"""
BAY, OTHER, THIRD = (f"dso1/north/PS01/MV1/F0{number}" for number in (1, 2, 3))
POWER = f"{BAY}/_/MMXU1/TotW"
EDITS = {
    "the whole bay F01": ("      MV1/F01:\n", "      MV1/F09:\n        was: dso1/north/PS01/MV1/F01\n"),
    "a removed indication": ("          GGIO1/Ind1: {ioa: 22, type: M_SP_TB_1}\n", ""),
    "a scale": ("ioa: 21, type: M_ME_TF_1", "ioa: 21, type: M_ME_TF_1, scale: 0.1"),
}


class Bed:
    """A gateway, its files, and two clients that watch."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.folder, self.gateway = folder, gateway
        self.text = (folder / "station.yaml").read_text()

    async def plan(self, *edits: tuple[str, str], options: tuple[str, ...] = ()) -> str:
        text = self.text
        for before, after in edits:
            assert before in text
            text = text.replace(before, after)
        (self.folder / "station.yaml").write_text(text)
        command = ["plan", "--running", "--config", str(self.folder / "gateway.yaml"), *options]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert result.exit_code in {0, 2}, result.output
        return str(result.output)

    async def running(self, *edits: tuple[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.plan(*edits, options=("--json",)))["running"]
        return found


async def subscribe(client: Client, *nodes: str) -> None:
    class Nobody:
        def datachange_notification(self, *_: object) -> None: ...

        def event_notification(self, _: object) -> None: ...

    subscription = await client.create_subscription(100, Nobody())
    await subscription.subscribe_data_change([client.get_node(ua.NodeId(node, 2)) for node in nodes])
    await subscription.subscribe_events(client.get_node(ua.NodeId(BAY, 2)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    folder = tmp_path_factory.mktemp("plan")
    (folder / "station.yaml").write_text(STATION.format(port=free_port()))
    (folder / "gateway.yaml").write_text(CONFIG)
    config = load_config(folder / "gateway.yaml")
    mapping, _ = check(config.mappings)
    assert mapping is not None
    revision = keep(config.data_directory, mapping)
    gateway = Gateway(config, mapping, {})
    gateway.control.offer(revision.handlers)
    await gateway.start()
    assert gateway.server is not None
    one, two = Client(gateway.server.url), Client(gateway.server.url)
    one.description, two.description = "scada", "historian"
    try:
        async with one, two:
            await subscribe(one, POWER, f"{POWER}#EngineeringUnits", f"{BAY}/_/MMXU1/Hz", f"{THIRD}/_/MMXU1/TotW")
            await subscribe(two, f"{OTHER}/_/MMXU1/TotW", f"{OTHER}/_/GGIO1/Ind1")
            yield Bed(folder, gateway)
    finally:
        await gateway.stop()


def items(running: dict[str, Any]) -> list[dict[str, int]]:
    return [session["items"] for session in running["sessions"]]


async def test_items_of_a_moved_bay_count_with_their_properties_and_the_events_of_the_place(bed: Bed) -> None:
    running = await bed.running(EDITS["the whole bay F01"])
    assert running["items"] == {"removed": 0, "moved": 5, "retyped": 0, "changed": 0, "interrupted": 0}
    # The second client watches nothing there but the events of the bay.
    assert items(running) == [{"moved": 4}, {"moved": 1}]
    assert [session["user"] for session in running["sessions"]] == ["", ""]


async def test_removed_and_changed_items_count_apart(bed: Bed) -> None:
    running = await bed.running(EDITS["a removed indication"], EDITS["a scale"])
    assert items(running) == [{"removed": 1, "changed": 1}]


async def test_a_device_that_goes_takes_its_items_and_one_that_reconnects_interrupts_them(bed: Bed) -> None:
    gone = await bed.running((bed.text[bed.text.index("  b:\n") :], ""))
    assert items(gone) == [{"removed": 1}]
    remade = await bed.running(("common_address: 7", "common_address: 7\n    t3: 9 s"))
    assert items(remade) == [{"interrupted": 2}, {"interrupted": 2}]


async def test_alarms_that_hold_at_what_goes_are_named(bed: Bed) -> None:
    table = bed.gateway.table
    table.ingest(Batch.of([table.find(POWER)], [12.0]))
    await until(lambda: any(each.active for each in bed.gateway.conditions.at(POWER)))
    running = await bed.running(EDITS["the whole bay F01"])
    assert [(each["address"], each["code"], each["active"]) for each in running["conditions"]] == [(POWER, "A02", True)]
    text = await bed.plan(EDITS["the whole bay F01"])
    assert "Alarms that hold there now: 1" in text
    assert f"    {POWER} A02 (active, not acknowledged): " in text


async def test_the_text_names_the_clients_and_says_when_there_are_none(bed: Bed) -> None:
    text = await bed.plan(EDITS["a removed indication"])
    assert "Clients that would notice: 1" in text
    assert "(anonymous, 127.0.0.1): monitored items 1 removed" in text
    added = ("          GGIO1/Ind1:", "          GGIO1/Ind2: {ioa: 23, type: M_SP_TB_1}\n          GGIO1/Ind1:")
    assert "No OPC UA client watches any of this" in await bed.plan(added)


async def test_a_plan_of_many_points_asks_in_parts_and_adds_up(bed: Bed) -> None:
    made_up = [f"dso1/north/PS01/MV1/F02/_/MMXU{number}/TotW" for number in range(1, 3_000)]
    touched = Touched({"removed": [*made_up, POWER]}, ended=["b"])
    found: Affected = await asyncio.to_thread(ask_affected, bed.folder / "data", touched)
    assert [session["items"] for session in found.sessions] == [{"removed": 3}, {"removed": 1}]
