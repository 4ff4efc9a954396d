"""Peers and a recording link of the CoAP tests."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from peers import ports
from peers.waiting import patient
from peers.wire_notes import WireNotes

from address_space.catalogue import ValueType
from address_space.point import Batch
from twin_gateway.drivers.coap.driver import CoapDriver
from twin_gateway.drivers.contract import BoundPoint, Link, LinkLost

PEER = Path(__file__).parent
CLIENT = shutil.which("coap-client-notls")
SERVERS = [kind for kind in ("notls", "openssl", "gnutls") if shutil.which(f"coap-server-{kind}")]
"""Builds of libcoap's server that are here: without and with a library of DTLS."""


def free_port() -> int:
    return ports.free_port(socket.SOCK_DGRAM)


def point(row: int, path: str, *, value_type: ValueType = ValueType.DOUBLE, **more: Any) -> BoundPoint:
    own = {name: more.pop(name) for name in ("quantity", "unit", "stale_after", "cdc") if name in more}
    cdc = own.pop("cdc", "MV")
    return BoundPoint(row, f"g/a/s/v/b/e/STMP{row}/Tmp", cdc, value_type, {"path": path, **more}, **own)


class Recorder(WireNotes):
    """A link that keeps what the driver says; `last` is (value, quality, source time in ticks) by row."""

    def __init__(self, directory: Path) -> None:
        self.name = "sensor"
        self.data_directory = directory
        self.counters: Counter[str] = Counter()
        self.events: list[tuple[str, str]] = []
        self.last: dict[int, tuple[Any, int, int]] = {}
        self.seen: dict[int, list[Any]] = {}
        self.late: list[tuple[int, Any, int]] = []
        self.ups = 0
        self._changed = asyncio.Event()

    def up(self) -> None:
        self.ups += 1

    def publish(self, batch: Batch) -> None:
        rows = [
            (int(r), float(v), int(q), int(t))
            for r, v, q, t in zip(batch.rows, batch.values, batch.quality, batch.source_time, strict=True)
        ]
        rows += [(t.row, t.text, t.quality, t.source_time) for t in batch.texts]  # type: ignore[misc]  # text or number
        for row, value, quality, ticks in rows:
            if batch.late:
                self.late.append((row, value, ticks))
                continue
            self.last[row] = (value, quality, ticks)
            self.seen.setdefault(row, []).append(value)
        self._changed.set()

    def event(self, code: str, text: str, *, severity: int = 400, address: str = "") -> None:
        self.events.append((code, text))

    def count(self, counter: str, by: int = 1) -> None:
        self.counters[counter] += by

    async def until(self, condition: Callable[[], bool], seconds: float = 8.0) -> None:
        async with patient(seconds):
            while not condition():
                await asyncio.sleep(0.02)


class Peer:
    """A peer process that speaks JSON lines on stdin and stdout."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=PEER.parents[2]
        )
        assert self.process.stdout is not None
        async with patient(20):
            self.ready = json.loads(await self.process.stdout.readline())

    async def say(self, **order: Any) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process._transport.close()  # type: ignore[attr-defined]  # frees the pipes before the loop ends
        self.process = None


@contextlib.asynccontextmanager
async def running(device: CoapDriver, link: Link) -> AsyncIterator[asyncio.Task[None]]:
    """A driver at work; its task tells whether the association still stands."""
    task = asyncio.create_task(device.run(link))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LinkLost):
            await task


@contextlib.asynccontextmanager
async def libcoap(port: int, *arguments: str, kind: str = "notls") -> AsyncIterator[None]:
    """libcoap's server; it takes up to ten new resources, which can be observed."""
    process = await asyncio.create_subprocess_exec(
        f"coap-server-{kind}",
        *("-A", "127.0.0.1", "-p", str(port), "-d", "10", "-v", "0", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            await asyncio.sleep(0.05)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        yield
    finally:
        process.kill()
        await process.wait()


async def libcoap_client(*arguments: str, seconds: float = 8.0) -> str:
    """What libcoap's client says to its standard output, errors included."""
    process = await asyncio.create_subprocess_exec(
        CLIENT or "", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with patient(seconds):
        out, _ = await process.communicate()
    return out.decode()
