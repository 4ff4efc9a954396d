"""OSCORE against aiocoap's server in another process. There is no independent implementation to test against: what is
independent are the test vectors of RFC 8613 appendix C in the unit tests."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from peers.coap.rig import PEER, Peer, Recorder, free_port, point, running

from address_space.catalogue import ValueType
from address_space.ports import Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.coap import oscore
from twin_gateway.drivers.coap.config import CoapConfig
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, LinkLost

SECRET = "0102030405060708090a0b0c0d0e0f10"
OSCORE = {"sender_id": "01", "recipient_id": "02", "secret": SECRET, "salt": "9e7ca92223786340"}


@contextlib.asynccontextmanager
async def server(folder: Path, *more: str) -> AsyncIterator[int]:
    folder.mkdir(exist_ok=True)
    theirs = {"sender-id_hex": "02", "recipient-id_hex": "01", "secret_hex": SECRET, "salt_hex": OSCORE["salt"]}
    (folder / "settings.json").write_text(json.dumps(theirs))
    port = free_port()
    peer = Peer(sys.executable, str(PEER / "protected_server.py"), str(port), str(folder), *more)
    try:
        await peer.start()
        yield port
    finally:
        await peer.kill()


def protected(port: int, *points: BoundPoint, **more: Any) -> CoapDriver:
    config = CoapConfig(uri=f"coap://127.0.0.1:{port}", timeout=2.0, ack_timeout=0.3, oscore={**OSCORE, **more})
    return CoapDriver("sensor", config, points)


def written(path: str) -> BoundPoint:
    control = {"model": "direct", "method": "put"}
    return BoundPoint(3, "g/a/s/v/b/e/GGIO1/AnOut", "APC", ValueType.DOUBLE, {"path": path}, control)


async def test_resources_are_read_observed_and_written(tmp_path: Path, recorder: Recorder) -> None:
    large = point(2, "/large", cdc="VSS", value_type=ValueType.STRING)
    echoed = written("/echo")
    async with server(tmp_path / "peer") as port:
        device = protected(port, point(1, "/value"), large, echoed)
        async with running(device, recorder):
            await recorder.until(lambda: {1, 2, 3} <= set(recorder.last) and recorder.counters["notifications"] >= 3)
            outcome = await device.execute(DeviceCommand(Verb.OPERATE, echoed, 42.5, "c1"))
            await recorder.until(lambda: recorder.last[3][0] == 42.5)
    assert outcome.status == StatusCode.Good, outcome
    assert recorder.last[2][0] == "x" * 3000
    assert recorder.seen[1] == sorted(recorder.seen[1])
    sent = b"".join(record.octets for record in recorder.ring.records())
    assert b"value" not in sent and b"xxxx" not in sent, "paths and payloads are ciphered on the wire"


async def test_sequence_numbers_go_on_after_a_restart_and_after_a_crash(tmp_path: Path, recorder: Recorder) -> None:
    def following() -> int:
        (file,) = tmp_path.glob("oscore-*.json")
        assert file.stat().st_mode & 0o077 == 0
        return int(json.loads(file.read_text())["next"])

    async with server(tmp_path / "peer") as port:
        async with running(protected(port, point(1, "/value")), recorder):
            await recorder.until(lambda: recorder.ups > 0)
            reserved = following()
        used = following()
        assert 0 < used < reserved, "an orderly end wastes none"
        async with running(protected(port, point(1, "/value")), recorder):
            recorder.last.clear()
            await recorder.until(lambda: 1 in recorder.last)
            assert following() > used, "a crash now would skip numbers, never use one twice"


async def test_a_server_that_lost_its_window_is_answered_with_its_echo(tmp_path: Path, recorder: Recorder) -> None:
    async with (
        server(tmp_path / "peer", "restarted") as port,
        running(protected(port, point(1, "/value")), recorder),
    ):
        await recorder.until(lambda: 1 in recorder.last and recorder.counters["notifications"] >= 1)
    assert recorder.counters["echo_requests"] == 1


async def test_a_forged_notification_ends_nothing(tmp_path: Path, recorder: Recorder) -> None:
    async with (
        server(tmp_path / "peer") as port,
        running(device := protected(port, point(1, "/value")), recorder),
    ):
        await recorder.until(lambda: recorder.counters["notifications"] >= 1)
        session = device._session
        assert session is not None
        client, (observation,) = session.client, session._observations.values()
        forged = aiocoap.Message(code=aiocoap.CHANGED, payload=b"x" * 20, observe=99_999)
        forged.opt.oscore = b"\x01\x7f"
        forged.mtype, forged.mid, forged.token = aiocoap.NON, 9, observation._token
        client._interface.token_interface.message_interface._received_datagram(client._remote, forged.encode())
        assert recorder.counters["oscore_errors"] == 1
        seen = recorder.counters["notifications"]
        await recorder.until(lambda: recorder.counters["notifications"] >= seen + 3)
    assert recorder.counters["requests"] == 1, "no need to register anew"


async def test_a_wrong_secret_ends_in_bounded_time_with_a_sentence(tmp_path: Path, recorder: Recorder) -> None:
    async with server(tmp_path / "peer") as port:
        began = time.monotonic()
        with pytest.raises(LinkLost, match=r"without OSCORE: are the identifiers, the secret and the context right"):
            await protected(port, point(1, "/value"), secret="ff" * 16).run(recorder)
        assert time.monotonic() - began < 4.0
    assert recorder.ups == 0
    assert recorder.counters["oscore_errors"] >= 1


async def test_a_disk_that_is_full_ends_the_association_and_leaves_no_socket(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with server(tmp_path / "peer") as port:
        device = protected(port, point(1, "/value"))
        task = asyncio.create_task(device.run(recorder))
        await recorder.until(lambda: recorder.counters["notifications"] >= 1)
        session = device._session
        assert session is not None
        keys, client = session.client.protection, session.client
        assert keys is not None
        monkeypatch.setattr(oscore, "write_whole", full)
        keys.sender_sequence_number = keys._reserved  # the block is used up
        outcome = await device.execute(DeviceCommand(Verb.OPERATE, written("/echo"), 1.0, "c1"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert client._remote.sock.fileno() == -1, "the socket is closed"
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)
    assert "No space left" in outcome.text
