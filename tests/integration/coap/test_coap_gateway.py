"""A whole gateway with a resource directory: a device registers and its value reaches the point table."""

import asyncio
import socket
import struct
from pathlib import Path

import aiocoap
from peers.coap.rig import free_port
from peers.waiting import patient

from twin_gateway.config import load_config
from twin_gateway.drivers.coap import tlv
from twin_gateway.drivers.coap.directory import DIRECTORY
from twin_gateway.gateway import Gateway
from twin_gateway.mapping.check import check

CONFIG = """\
gateway: gw1
grid: dso1
authority: https://example.org
mappings: [m.yaml]
opcua: {port: 0, anonymous: observe}
http: {port: 0}
history: {enabled: false}
coap_directory: {port: PORT}
"""
MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  sensor-7:
    protocol: coap
    endpoint: node-7
    ack_timeout: 0.5 s
    at: {MV1/C02: {points: {STMP1/Tmp: {object: 3303/0/5700, unit: Cel}}}}
"""
POINT = "dso1/north/PS01/MV1/C02/_/STMP1/Tmp"


def device(directory: int, stop: list[bool]) -> None:
    """Registers and answers reads of /3303/0 until it is stopped; runs in a thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.1)
        made = aiocoap.Message(code=aiocoap.POST, uri="coap://x/rd?ep=node-7&lt=60", payload=b"</3303/0>")
        made.mtype, made.mid, made.token, made.remote = aiocoap.CON, 1, b"r", None
        sock.sendto(made.encode(), ("127.0.0.1", directory))
        while not stop:
            try:
                octets, source = sock.recvfrom(2048)
            except TimeoutError:
                continue
            request = aiocoap.Message.decode(octets)
            if request.code == aiocoap.GET:
                payload = tlv.encode((3303, 0, 5700), struct.pack(">f", 23.5))
                answer = aiocoap.Message(code=aiocoap.CONTENT, payload=payload, content_format=11542)
                answer.mtype, answer.mid, answer.token = aiocoap.ACK, request.mid, request.token
                sock.sendto(answer.encode(), source)


async def test_a_device_that_registers_at_the_gateway_feeds_its_points(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace("PORT", str(port)))
    (tmp_path / "m.yaml").write_text(MAPPING)
    config = load_config(tmp_path / "gateway.yaml")
    mapping, problems = check(config.mappings)
    assert mapping is not None, [str(problem) for problem in problems]
    gateway = Gateway(config, mapping, {})
    stop: list[bool] = []
    await gateway.start()
    answering = asyncio.create_task(asyncio.to_thread(device, port, stop))
    try:
        row = gateway.table.find(POINT)
        async with patient(15):
            while gateway.table.sample(row).value != 23.5:
                await asyncio.sleep(0.05)
    finally:
        stop.append(True)
        await answering
        await gateway.stop()
        for known in DIRECTORY:
            DIRECTORY.remove(known.location, known.address)
    assert DIRECTORY.listening is None
