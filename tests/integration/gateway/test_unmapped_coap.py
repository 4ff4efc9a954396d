"""CoAP endpoints that register and no mapping names, and resources of a known device that no point takes."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiocoap
from peers import unmapped_bed
from peers.acceptance.processes import Simulator
from peers.ports import free_port
from peers.waiting import patient, until

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  sensor: {{protocol: coap, uri: 'coap://127.0.0.1:{port}', timeout: 2 s, at: {{MV1/F07: {{points:
    {{MMXU1/TotW: {{path: /p, unit: W}}}}}}}}}}
"""
SENSOR = """\
devices:
  s1:
    port: {port}
    resources:
      /p: {text: 1000, max_age: 60}
      /t: {text: 21.5, max_age: 60, rt: temperature}
"""
DIRECTORY = "coap_directory: {{port: {port}}}\n"
PLACE = "dso1/north/PS01"


async def _lists(bed: unmapped_bed.Bed, words: str, *arguments: str) -> str:
    """What the command prints once these words are in it."""
    async with patient(10):
        while words not in (text := await bed.unmapped(*arguments)):
            await asyncio.sleep(0.05)
    return text


async def _register(port: int) -> None:
    context = await aiocoap.Context.create_client_context()
    try:
        uri = f"coap://127.0.0.1:{port}/rd?ep=node-7&lt=600&lwm2m=1.1&b=U"
        request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=b"</3303/0>,</3304/0>,</9999/0>")
        request.opt.content_format = 40
        async with patient(10):
            response = await context.request(request).response
        assert response.code.is_successful()
    finally:
        await context.shutdown()


async def test_an_endpoint_and_a_resource_are_proposed_and_leave_the_list_when_mapped(tmp_path: Path) -> None:
    port, directory = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    (tmp_path / "sensor.yaml").write_text(SENSOR.replace("{port}", str(port)))
    sensor = Simulator("sensor", "coap", tmp_path, tmp_path / "sensor.yaml")
    await asyncio.to_thread(sensor.start)
    try:
        mapping, more = MAPPING.format(port=port), DIRECTORY.format(port=directory)
        async with unmapped_bed.bed(tmp_path, mapping, more) as bed:
            await _register(directory)
            await until(lambda: bed.good(f"{PLACE}/MV1/F07/_/MMXU1/TotW"))
            listed = await _lists(bed, "node-7")
            assert "endpoint node-7: unknown endpoint, offers /3303/0 /3304/0 /9999/0" in listed
            text = await _lists(bed, "path /t", "sensor")
            assert "path /t: unmapped resource" in text
            assert "path /p:" not in text
            await bed.unmapped("sensor", "--into", bed.mapping)
            await bed.unmapped("coap_directory", "--into", bed.mapping)
            await bed.apply()
            home = f"{PLACE}/_/_/sensor/STMP1/Tmp"
            await until(lambda: bed.good(home) and bed.value(home) == 21.5)
            assert bed.link("sensor").driver.unmapped() == []
            assert bed.link("sensor").counters["connects"] == 1
            assert await bed.unmapped() == "# nothing is unmapped\n"
            assert bed.gateway.table.find(f"{PLACE}/_/_/node-7/STMP1/Tmp") >= 0
    finally:
        await asyncio.to_thread(sensor.stop)
