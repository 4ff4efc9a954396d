"""What a device offers: filters, long lists in blocks, and points that reach the supervision."""

from collections.abc import Callable
from typing import Any

import pytest
from peers.coap.rig import Recorder, free_port, running

from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver


def with_resources(number: int) -> str:
    lines = [
        f'      /s{each}: {{text: {each}, rt: "{"temperature" if each % 2 else "humidity"}"}}' for each in range(number)
    ]
    return "devices:\n  sensor:\n    resources:\n" + "\n".join(lines) + "\n"


async def test_a_long_list_comes_in_blocks(simulator: Callable[..., Any], recorder: Recorder) -> None:
    peer = await simulator(with_resources(400))
    device = CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{peer.ready['ports']['sensor']}"), [])
    async with running(device, recorder):
        await recorder.until(lambda: recorder.ups > 0)
        offered = await device.discover()
    assert len(offered) == 400
    assert offered[1].description == "rt=temperature ct=0"


async def test_the_device_is_asked_for_what_fits_the_filter(simulator: Callable[..., Any], recorder: Recorder) -> None:
    peer = await simulator(with_resources(6))
    config = CoapConfig(uri=f"coap://127.0.0.1:{peer.ready['ports']['sensor']}", discover="rt=temp*")
    device = CoapDriver("sensor", config, [])
    async with running(device, recorder):
        await recorder.until(lambda: recorder.ups > 0)
        offered = {str(found.fields["path"]) for found in await device.discover()}
    assert offered == {"/s1", "/s3", "/s5"}


async def test_a_list_that_is_none_is_told(node_peer: Callable[..., Any], recorder: Recorder) -> None:
    peer = await node_peer(free_port())
    await peer.say(path="/.well-known/core", payload="no links", maxAge=60)
    device = CoapDriver("sensor", CoapConfig(uri=f"coap://127.0.0.1:{peer.ready['port']}"), [])
    async with running(device, recorder):
        await recorder.until(lambda: recorder.ups > 0)
        with pytest.raises(ConnectionError, match="no link at character 0"):
            await device.discover()
