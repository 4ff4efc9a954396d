"""`twin-gateway links` and `capture` ask the running gateway, here one with the device of a plug-in."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peers.ports import free_port
from peers.waiting import patient, until

from twin_gateway.config import load_config
from twin_gateway.drivers.registry import protocol_names
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [m.yaml]
opcua: {port: 0, anonymous: observe}
http: {port: 0}
history: {enabled: false}
"""
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  pump:
    protocol: modbus
    host: 127.0.0.1
    port: PORT
    poll: 0.2 s
    at:
      MV1/F05:
        points:
          MMXU1/TotW: {table: input, register: 0, type: f32, unit: W}
          MMXU1/Hz: {table: holding, register: 99, unit: Hz}
"""
BAD = "dso1/north/PS01/MV1/F05/_/MMXU1/Hz"


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """The folder of a gateway that runs over a Modbus device, one of whose registers is refused."""
    if "modbus" not in protocol_names():
        pytest.skip("the plug-in for modbus is not installed")
    port = free_port()
    device = await asyncio.create_subprocess_exec(
        "node",
        "tests/peers/modbus/server.js",
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert device.stdout is not None
    async with patient(20):
        assert json.loads(await device.stdout.readline())["ready"]
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "m.yaml").write_text(MAPPING.replace("PORT", str(port)))
    config = load_config(tmp_path / "gateway.yaml")
    mapping, problems = check(config.mappings)
    assert mapping is not None, [str(problem) for problem in problems]
    gateway = Gateway(config, mapping, {})
    await gateway.start()
    await until(lambda: gateway.plant.links[0].last_errors)
    yield tmp_path
    await gateway.stop()
    device.kill()
    await device.communicate()


async def twin_gateway(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twin_gateway", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


async def test_links_tells_state_counters_and_the_last_error_of_each_point(folder: Path) -> None:
    (told,) = json.loads((await twin_gateway(folder, "links", "pump", "--json")).stdout)
    assert (told["link"], told["protocol"], told["state"]) == ("pump", "modbus", "up")
    assert told["counters"]["read_errors"] >= 1
    ((error),) = told["errors"]
    assert error["address"] == BAD
    assert "refuses to read" in error["text"]
    text = (await twin_gateway(folder, "links")).stdout
    assert text.startswith("pump ")
    assert "up since" in text


async def test_capture_writes_a_file_that_tshark_reads_and_nobody_else_may(folder: Path) -> None:
    done = await twin_gateway(folder, "capture", "pump", "--out", "p.pcapng")
    assert done.returncode == 0, done.stderr
    assert (folder / "p.pcapng").stat().st_mode & 0o777 == 0o600
    command = done.stdout.split("look at it with: ")[1].split()
    found = await asyncio.to_thread(
        subprocess.run, [*command, "-T", "fields", "-e", "modbus.func_code"], cwd=folder, capture_output=True, text=True
    )
    codes = {int(code) for code in found.stdout.replace(",", " ").split()}
    assert codes == {3, 4}


async def test_a_link_that_is_not_there_is_told_with_the_one_that_was_meant(folder: Path) -> None:
    done = await twin_gateway(folder, "capture", "pumb")
    assert done.returncode == 1
    assert "there is no link 'pumb'; did you mean 'pump'?" in done.stderr
    assert not (folder / "pumb.pcapng").exists()


async def test_without_a_running_gateway_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "m.yaml").write_text(MAPPING.replace("PORT", "502"))
    done = await twin_gateway(tmp_path, "links")
    assert done.returncode == 1
    assert "no gateway runs on" in done.stderr
