"""A changed mapping is applied to a gateway at work: who is not touched notices nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from click.testing import Result
from peers.acceptance.processes import Simulator
from peers.gateway_config import gateway_config
from peers.ports import free_port
from peers.waiting import until
from typer.testing import CliRunner

from address_space.point import Batch
from address_space.quality import StatusCode
from twin_gateway.applying import Applied, ApplyError
from twin_gateway.cli import app
from twin_gateway.drivers.link import Backoff, LinkState
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping
from twin_gateway.twin.rules import DeviceState

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATION = """\
stations:
- common_address: 7
  points:
  - {ioa: 10, type: M_DP_TB_1, value: 2}
  - {ioa: 20, type: M_ME_TF_1, value: 12.5}
  - {ioa: 30, type: M_ME_TF_1, value: 50}
  - {ioa: 40, type: M_ME_TF_1, value: 7}
  commands:
  - {ioa: 4010, type: C_DC_NA_1, model: direct, moves: 10, travel: 0.1}
"""
DEVICE = """\
  {name}:
    protocol: iec104
    host: 127.0.0.1
    port: {port}
    common_address: 7
    at:
      MV1/{bay}:
        points:
          MMXU1/TotW: {{ioa: 20, type: M_ME_TF_1, unit: W}}
          MMXU1/Hz: {{ioa: 30, type: M_ME_TF_1, unit: Hz}}
"""
HZ = "          MMXU1/Hz: {ioa: 30, type: M_ME_TF_1, unit: Hz}\n"
SWITCH = """\
          QA1/CSWI1/Pos: {ioa: 10, type: M_DP_TB_1, control: {ioa: 4010, type: C_DC_NA_1, model: direct-normal}}
"""
BAY_A, BAY_B, BAY_C = (f"dso1/north/PS01/MV1/F0{number}/_/MMXU1" for number in (1, 2, 3))


class Field:
    """The mapping file of a station with RTUs `a` and `b`, of which only `a` is ever changed."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self._path = folder / "station.yaml"
        self.ports = ports
        self.a = DEVICE.format(name="a", port=ports[0], bay="F01")
        self.b = DEVICE.format(name="b", port=ports[1], bay="F02")
        self.c = DEVICE.format(name="c", port=ports[0], bay="F03")

    def mapping(self, *devices: str) -> Mapping:
        self._path.write_text("mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n" + "".join(devices))
        found, problems = check([self._path])
        assert found is not None, [str(problem) for problem in problems]
        return found


class Watcher:
    """A client with a subscription, and what it was told by address."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: dict[str, list[Any]] = defaultdict(list)
        self.status: list[Any] = []
        self._subscription: Any = None

    def datachange_notification(self, node: Any, _value: Any, data: Any) -> None:
        self.told[node.nodeid.Identifier].append(data.monitored_item.Value)

    def status_change_notification(self, status: Any) -> None:
        self.status.append(status)

    def node(self, address: str) -> Any:
        return self.client.get_node(ua.NodeId(address, 2))

    async def begin(self) -> None:
        self.told.clear()
        self._subscription = await self.client.create_subscription(20, self)

    async def end(self) -> None:
        await self._subscription.delete()

    async def watch(self, *addresses: str) -> None:
        nodes = [self.node(address) for address in addresses]
        await self._subscription.subscribe_data_change(nodes, queuesize=1000, sampling_interval=0)

    async def has(self, address: str, value: Any) -> None:
        await until(lambda: any(each.Value is not None and each.Value.Value == value for each in self.told[address]))


class Bed:
    """A gateway that works, its field, a client; and what happens meanwhile at the points that are not touched."""

    def __init__(self, field: Field, gateway: Gateway, watcher: Watcher) -> None:
        self.field, self.gateway, self.watcher = field, gateway, watcher
        self._sent = 0
        self._stream: asyncio.Task[None] | None = None
        self._connects: dict[str, int] = {}

    def link(self, name: str) -> Any:
        return next(link for link in self.gateway.plant.links if link.name == name)

    async def begin(self) -> None:
        """The mapping is the one of the beginning again, and values begin to come at the point that is watched."""
        await self.apply(self.field.a, self.field.b)
        await self.watcher.begin()
        for link in self.gateway.plant.links:
            await until(lambda link=link: link.state is LinkState.UP)
        table = self.gateway.table
        for place in (BAY_A, BAY_B):
            await until(lambda place=place: table.status[table.find(f"{place}/TotW")] == 0)
            await until(lambda place=place: table.value(table.find(f"{place}/Hz")) == 50.0)
        self._sent = 0
        self.link("b").publish(Batch.of([table.find(f"{BAY_B}/TotW")], [1000.0]))
        await self.watcher.watch(f"{BAY_B}/TotW")
        await self.watcher.has(f"{BAY_B}/TotW", 1000.0)
        self.watcher.told.clear()
        self._connects = {link.name: link.counters["connects"] for link in self.gateway.plant.links}
        self._stream = asyncio.create_task(self._keep_sending())

    async def _keep_sending(self) -> None:
        row = self.gateway.table.find(f"{BAY_B}/TotW")
        while True:
            self._sent += 1
            self.link("b").publish(Batch.of([row], [1000.0 + self._sent]))
            await asyncio.sleep(0.002)

    def connects(self, name: str) -> int:
        """How often a link has come up since the test began."""
        return int(self.link(name).counters["connects"] - self._connects[name])

    async def end(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        await self.watcher.end()

    async def nothing_was_noticed(self) -> None:
        """By the client of `b`: every value once and in order, no other status, no new association or session."""
        assert self._stream is not None
        self._stream.cancel()
        await asyncio.gather(self._stream, return_exceptions=True)
        await self.watcher.has(f"{BAY_B}/TotW", 1000.0 + self._sent)
        told = self.watcher.told[f"{BAY_B}/TotW"]
        assert [each.Value.Value for each in told] == [1001.0 + number for number in range(self._sent)]
        assert {each.StatusCode.value for each in told} <= {0}
        assert self.connects("b") == 0
        assert self.gateway.server is not None
        assert self.gateway.server.sessions == 1
        assert self.watcher.status == []
        assert self.gateway.lost_changes() == 0
        assert self.gateway.health()[0]

    async def apply(self, *devices: str) -> Applied:
        return await self.gateway.apply(self.field.mapping(*devices))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    tmp_path = tmp_path_factory.mktemp("apply")
    (tmp_path / "rtu.yaml").write_text(STATION)
    ports = [free_port(), free_port()]
    rtus = [Simulator(f"rtu{port}", "iec104", tmp_path, tmp_path / "rtu.yaml", "--port", port) for port in ports]
    for rtu in rtus:
        await asyncio.to_thread(rtu.start)
    field = Field(tmp_path, ports)
    config = gateway_config(tmp_path, history={"enabled": False}, twin={"place": "dso1/north"})
    gateway = Gateway(config, field.mapping(field.a, field.b), {}, backoff=Backoff(0.1, 0.5, 0.1))
    await gateway.start()
    assert gateway.server is not None
    try:
        async with Client(gateway.server.url) as client:
            yield Bed(field, gateway, Watcher(client))
    finally:
        await gateway.stop()
        for rtu in rtus:
            await asyncio.to_thread(rtu.stop)


@pytest_asyncio.fixture(loop_scope="module")
async def bed(shared: Bed) -> AsyncIterator[Bed]:
    await shared.begin()
    yield shared
    await shared.end()


async def test_a_removed_point_says_bad_node_id_unknown_to_its_subscribers_before_it_goes(bed: Bed) -> None:
    watcher = bed.watcher
    await watcher.watch(f"{BAY_A}/Hz", f"{BAY_A}/TotW")
    await watcher.has(f"{BAY_A}/Hz", 50.0)
    done = await bed.apply(bed.field.a.replace(HZ, ""), bed.field.b)
    assert done == Applied(points_removed=(f"{BAY_A}/Hz",))
    await until(lambda: watcher.told[f"{BAY_A}/Hz"][-1].StatusCode.value == StatusCode.BadNodeIdUnknown)
    assert watcher.told[f"{BAY_A}/Hz"][-1].Value.Value is None
    assert [each.StatusCode.value for each in watcher.told[f"{BAY_A}/Hz"]].count(StatusCode.BadNodeIdUnknown) == 1
    with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
        await watcher.node(f"{BAY_A}/Hz").read_value()
    children = {each.nodeid.Identifier for each in await watcher.node(BAY_A).get_children()}
    assert f"{BAY_A}/TotW" in children
    assert f"{BAY_A}/Hz" not in children
    found = bed.gateway.book.resolve(f"{BAY_A}/Hz")
    assert not found.found
    assert found.tombstone is not None
    assert bed.connects("a") == 0
    await bed.nothing_was_noticed()


async def test_an_address_that_comes_back_is_a_point_like_any_other(bed: Bed) -> None:
    short = bed.field.a.replace(HZ, "")
    assert await bed.watcher.node(f"{BAY_A}/Hz").read_value() == 50.0
    await bed.apply(short, bed.field.b)
    done = await bed.apply(bed.field.a, bed.field.b)
    assert done == Applied(points_added=(f"{BAY_A}/Hz",))
    await bed.watcher.watch(f"{BAY_A}/Hz")
    await bed.watcher.has(f"{BAY_A}/Hz", 50.0)
    assert await bed.watcher.node(f"{BAY_A}/Hz").read_value() == 50.0
    assert bed.gateway.book.resolve(f"{BAY_A}/Hz").tombstone is None
    assert bed.connects("a") == 0
    await bed.nothing_was_noticed()


async def test_another_unit_and_scale_show_by_the_new_value_with_semantics_changed(bed: Bed) -> None:
    await bed.watcher.watch(f"{BAY_A}/TotW", f"{BAY_A}/Hz")
    await bed.watcher.has(f"{BAY_A}/TotW", 12.5)
    done = await bed.apply(bed.field.a.replace("unit: W", "unit: W, scale: 2"), bed.field.b)
    assert done == Applied(points_changed=(f"{BAY_A}/TotW",))
    await bed.watcher.has(f"{BAY_A}/TotW", 25.0)
    assert len(bed.watcher.told[f"{BAY_A}/TotW"]) == 2
    assert len(bed.watcher.told[f"{BAY_A}/Hz"]) == 1
    assert bed.connects("a") == 0
    await bed.nothing_was_noticed()


async def test_another_binding_of_the_same_link_gives_its_value_without_reconnecting(bed: Bed) -> None:
    await bed.watcher.watch(f"{BAY_A}/TotW")
    done = await bed.apply(bed.field.a.replace("ioa: 20", "ioa: 40"), bed.field.b)
    assert done == Applied(points_changed=(f"{BAY_A}/TotW",))
    await bed.watcher.has(f"{BAY_A}/TotW", 7.0)
    assert bed.connects("a") == 0
    await bed.nothing_was_noticed()


async def test_a_device_comes_and_goes_while_the_others_work(bed: Bed) -> None:
    done = await bed.apply(bed.field.a, bed.field.b, bed.field.c)
    assert (done.devices_added, set(done.points_added)) == (("c",), {f"{BAY_C}/TotW", f"{BAY_C}/Hz"})
    await bed.watcher.watch(f"{BAY_C}/TotW")
    await bed.watcher.has(f"{BAY_C}/TotW", 12.5)
    alive = "dso1/_sys/gw1/_/_/c/LCCH1/ChLiv"
    await until(lambda: bed.gateway.table.value(bed.gateway.table.find(alive)) is True)
    # It is supervised from now on, and counted at the places above it.
    state = "dso1/_sys/gw1/_/_/c/twSUPV1/St"
    await until(lambda: bed.gateway.table.value(bed.gateway.table.find(state)) == DeviceState.OK)
    done = await bed.apply(bed.field.a, bed.field.b)
    assert (done.devices_removed, len(done.points_removed)) == (("c",), 2)
    await until(lambda: bed.watcher.told[f"{BAY_C}/TotW"][-1].StatusCode.value == StatusCode.BadNodeIdUnknown)
    assert bed.gateway.table.find(alive) == -1
    await until(lambda: bed.gateway.table.find(state) == -1)
    assert [link.name for link in bed.gateway.plant.links] == ["a", "b"]
    await bed.nothing_was_noticed()


async def test_only_the_device_whose_section_changed_reconnects(bed: Bed) -> None:
    await bed.watcher.watch(f"{BAY_A}/TotW")
    changed = bed.field.a.replace("    common_address: 7\n", "    common_address: 7\n    t3: 9 s\n")
    assert (await bed.apply(changed, bed.field.b)).reconnected == ("a",)
    await until(lambda: bed.connects("a") == 1)
    await until(lambda: bed.gateway.table.status[bed.gateway.table.find(f"{BAY_A}/TotW")] == 0)
    await bed.nothing_was_noticed()


async def test_commands_go_where_the_new_mapping_says(bed: Bed) -> None:
    pos = "dso1/north/PS01/MV1/F01/QA1/CSWI1/Pos"
    await bed.apply(bed.field.a + SWITCH, bed.field.b)
    assert bed.gateway.desk.controllable(pos)
    await until(lambda: bed.gateway.table.value(bed.gateway.table.find(pos)) == 2)
    done = await bed.apply(bed.field.a, bed.field.b)
    assert done.restart == ("twin functions: switchgear has what was added or removed from the next start on",)
    assert not bed.gateway.desk.controllable(pos)
    await bed.nothing_was_noticed()


async def test_a_point_under_command_is_not_changed_until_its_outcome_is_there(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    pos = "dso1/north/PS01/MV1/F01/QA1/CSWI1/Pos"
    await bed.apply(bed.field.a + SWITCH, bed.field.b)
    with bed.gateway.desk.under_way.sending("c1", pos, "a"):
        removal = asyncio.create_task(bed.apply(bed.field.a, bed.field.b))
        await asyncio.sleep(0.3)
        assert bed.gateway.table.find(pos) >= 0
        assert bed.gateway.desk.controllable(pos)
    assert (await removal).points_removed == (pos,)
    await bed.apply(bed.field.a + SWITCH, bed.field.b)
    monkeypatch.setattr("twin_gateway.applying.COMMAND_PATIENCE_S", 0.05)
    with bed.gateway.desk.under_way.sending("c2", pos, "a"):
        edition = bed.gateway.table.edition
        with pytest.raises(ApplyError, match=f"a command to {pos} has had no outcome"):
            await bed.apply(bed.field.a, bed.field.b)
        with pytest.raises(ApplyError, match="no outcome"):
            await bed.apply(bed.field.b)
        assert bed.gateway.table.edition == edition
        # What is not under command may change.
        await bed.apply(bed.field.a.replace(HZ, "") + SWITCH, bed.field.b)
    await bed.nothing_was_noticed()


async def test_alarms_of_a_removed_point_end_and_those_of_a_new_rule_begin(bed: Bed) -> None:
    limited = bed.field.a.replace("unit: W}", "unit: W, alarm: {code: A02, hi: 10 W}}")
    await bed.apply(limited, bed.field.b)
    conditions = bed.gateway.conditions
    await until(lambda: any(each.active for each in conditions.at(f"{BAY_A}/TotW")))
    await bed.apply(bed.field.b)
    assert not any(each.active for each in conditions.at(f"{BAY_A}/TotW"))
    await bed.nothing_was_noticed()


async def test_the_same_mapping_again_is_nothing(bed: Bed) -> None:
    edition = bed.gateway.table.edition
    assert await bed.apply(bed.field.a, bed.field.b) == Applied()
    assert bed.gateway.table.edition == edition
    await bed.nothing_was_noticed()


async def test_a_mapping_that_cannot_be_applied_changes_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError("no such library")

    table, edition = bed.gateway.table, bed.gateway.table.edition
    before = bed.gateway.mapping
    with monkeypatch.context() as patch:
        patch.setattr("twin_gateway.applying.create_driver", refuses)
        with pytest.raises(ApplyError, match="no such library"):
            await bed.apply(bed.field.b, bed.field.c)
    taken = bed.field.a.replace("MMXU1/Hz:", "MMXU2/Hz:")
    table.add([replace(before.devices[0].points[0].point(""), address=f"{BAY_A[:-1]}2/Hz")])
    with pytest.raises(ApplyError, match="of the gateway itself"):
        await bed.apply(taken, bed.field.b)
    assert (table.edition, bed.gateway.mapping) == (edition, before)
    assert bed.connects("a") == 0
    await bed.nothing_was_noticed()


async def test_the_command_applies_the_files_and_says_what_was_done_or_what_is_wrong(bed: Bed, tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    folder, station = bed.gateway.config.data_directory, bed.gateway.config.mappings[0]
    config.write_text(
        "gateway: gw1\ngrid: dso1\nauthority: https://example.org\n"
        f"mappings: [{station}]\ndata_directory: {folder}\nopcua: {{anonymous: observe}}\n"
    )

    async def run() -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["apply", "--config", str(config)])

    good = station.read_text()
    station.write_text(good.replace(HZ, "", 1))
    done = await run()
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"points removed: 1\n  {BAY_A}/Hz\n")
    assert "restart" not in done.stdout
    station.write_text(good.replace("type: M_ME_TF_1", "type: M_XX", 1))
    failed = await run()
    assert failed.exit_code == 1
    assert "station.yaml:" in failed.stderr
    assert "nothing has changed" in failed.stderr
    assert bed.gateway.table.find(f"{BAY_A}/TotW") >= 0
    await bed.nothing_was_noticed()
