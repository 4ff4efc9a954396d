"""From an SCL file to live values without editing a line: import, check, simulated IED, gateway, OPC UA client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from asyncua import Client, ua
from peers.acceptance.processes import Simulator
from peers.gateway_config import gateway_config
from peers.ports import free_port
from peers.waiting import until
from typer.testing import CliRunner

from address_space.quality import StatusCode
from twin_gateway.cli import app
from twin_gateway.drivers.link import Backoff
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check


async def test_all_points_of_an_imported_ied_are_live_without_editing_a_line(tmp_path: Path) -> None:
    if not (folder := os.environ.get("TWIN_REFERENCE_DATA")):
        pytest.skip("TWIN_REFERENCE_DATA is not set")
    port = free_port()
    # The file's own port is the usual one, 102, which only root may open: the SCL file says another one.
    said = Path(folder, "scl/own_feeder_bay.cid").read_text("utf-8")
    said = said.replace('<P type="IP">', f'<P type="MMS-Port">{port}</P><P type="IP">', 1)
    source = tmp_path / "own_feeder_bay.cid"
    source.write_text(said, "utf-8")
    into = tmp_path / "mappings"
    into.mkdir()
    arguments = ["import", "scl", str(source), "--grid", "dso1", "--place", "north/PS01", "--into", str(into)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    mapping, problems = check([into])
    assert (problems, mapping is not None) == ([], True)
    assert mapping is not None
    config = gateway_config(tmp_path, into)
    ied = Simulator("ied", "iec61850", tmp_path, source, "--port", port)
    gateway = Gateway(config, mapping, {}, backoff=Backoff(0.1, 0.5, 1.0))
    try:
        await asyncio.to_thread(ied.start)
        await gateway.start()
        table = gateway.table
        rows = [table.find(point.address) for _, point in mapping.points()]
        assert len(rows) == 22
        await until(lambda: all(table.status[row] == StatusCode.Good for row in rows))
        power = table.find("dso1/north/PS01/_/_/FDR1/MMXU1/TotW")
        ied.order(ref="LD0/MMXU1.TotW", value=1234.5)
        await until(lambda: table.value(power) == 1234.5, what="the value that the device has now")
        # What an OPC UA client reads: every mapped point, with the value, the quality and the time of the device.
        addresses = [point.address for _, point in mapping.points()]
        async with Client(gateway.server.url) as client:
            space = await client.get_namespace_index("https://example.org")
            nodes = [client.get_node(ua.NodeId(address, space)) for address in addresses]
            values = await client.read_attributes(nodes)
        assert [value.StatusCode.value for value in values] == [ua.StatusCodes.Good] * len(addresses)
        assert all(value.Value is not None and value.Value.Value is not None for value in values)
        assert all(value.SourceTimestamp is not None for value in values)
        assert values[addresses.index(table.address(power))].Value.Value == 1234.5
    finally:
        await gateway.stop()
        await asyncio.to_thread(ied.stop)
