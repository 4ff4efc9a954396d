"""Real brokers, an independent subscriber and a table to mirror; brokers and subscriber are processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from peers.ports import free_port

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Point, PointProfile
from address_space.quality import names, time_names
from address_space.table import PointTable
from twin_gateway.mqtt.mirror import Mirror
from twin_gateway.mqtt.settings import MqttSettings

GATEWAY = "dso1/_sys/gw1"
_SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)))


def program(name: str) -> str:
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Broker:
    """One broker process that can be killed, stopped and started again on its port."""

    def __init__(self, directory: Path, command: Callable[[Path, int], list[str]]) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "broker.log"
        self._command = command(directory, self.port)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the broker did not start: {self.log.read_text()}")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(5)
            self.process = None


def mosquitto(extra: str = "allow_anonymous true", tls: str = "") -> Callable[[Path, int], list[str]]:
    def command(directory: Path, port: int) -> list[str]:
        config = directory / "mosquitto.conf"
        user = pwd.getpwuid(os.getuid()).pw_name
        # Of more than 1000 retained messages a new subscriber would otherwise get only the first 1000.
        config.write_text(
            f"user {user}\npersistence false\nmax_queued_messages 0\nlistener {port} 127.0.0.1\n{extra}\n{tls}\n"
        )
        return [program("mosquitto"), "-c", str(config)]

    return command


def nats(directory: Path, port: int) -> list[str]:
    config = directory / "nats.conf"
    config.write_text(
        f'host: 127.0.0.1\nport: {free_port()}\nserver_name: test\njetstream {{ store_dir: "{directory}/js" }}\n'
        f"mqtt {{ host: 127.0.0.1, port: {port} }}\n"
    )
    return [program("nats-server"), "-c", str(config)]


class Subscriber:
    """mosquitto_sub, reading: newest payload by topic, and everything in order with the retained flag."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.last: dict[str, Any] = {}
        self.all: list[tuple[str, bool, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            retained, topic, payload = line.decode().rstrip("\n").split(" ", 2)
            content = json.loads(payload) if payload else None
            self.last[topic] = content
            self.all.append((topic, retained == "1", content))

    def of(self, kind: str) -> dict[str, Any]:
        head = f"twin/{kind}/"
        return {topic.removeprefix(head): content for topic, content in self.last.items() if topic.startswith(head)}

    async def close(self) -> None:
        # Not SIGTERM: mosquitto_sub takes a lock in its signal handler and may wait for itself for ever.
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def subscribed(port: int, *arguments: str, topic: str = "twin/#") -> AsyncIterator[Subscriber]:
    process = await asyncio.create_subprocess_exec(
        program("mosquitto_sub"),
        *("-h", "127.0.0.1", "-p", str(port), "-q", "1", "-F", "%r %t %p", "-t", topic, *arguments),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    subscriber = Subscriber(process)
    try:
        yield subscriber
    finally:
        await subscriber.close()


BAY = (
    "QA1/XCBR1/Pos",
    "_/MMXU1/TotW",
    "_/MMXU1/A/phsA",
    "_/MMTR1/SupWh",
    "QA1/CSWI1/Loc",
)


def table_of_bays(bays: int = 4, **options: Any) -> PointTable:
    table = PointTable(**options)
    table.add(
        Point(address, PointProfile.of(classify(parse(address))), f"link{bay % 2}", index)
        for bay in range(bays)
        for index, address in enumerate(f"dso1/north/PS01/MV1/F{bay:02d}/{tail}" for tail in BAY)
    )
    return table


def quick_settings(port: int, **options: Any) -> MqttSettings:
    return MqttSettings(port=port, **{"reconnect_min": 0.1, "reconnect_max": 0.3, "connect_timeout": 2.0} | options)


@contextlib.asynccontextmanager
async def mirrored(table: PointTable, settings: MqttSettings, **options: Any) -> AsyncIterator[Mirror]:
    """A running mirror; its events are `mirror.journal` for the test."""
    events = options.pop("events", None) or EventJournal()
    mirror = Mirror(table, events, settings, gateway=GATEWAY, **options)
    task = asyncio.create_task(mirror.run())
    try:
        yield mirror
        assert not task.done(), "the mirror ended by itself"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def settled(mirror: Mirror) -> bool:
    """All state has been published and acknowledged."""
    counters = mirror.counters
    return counters.connected and not (
        counters.waiting or counters.due or counters.in_flight or counters.events_waiting or counters.late_waiting
    )


def expected(table: PointTable) -> dict[str, dict[str, Any]]:
    """What the mirror owes for every point, made from single samples of the table."""
    owed = {}
    for row in range(len(table)):
        sample = table.sample(row)
        owed[table.address(row)] = {
            "v": sample.value,
            "s": sample.status,
            "t": clock.iso(sample.source_time),
            "q": names(sample.quality & 0x00FF_FFFF),
            "tq": time_names(sample.quality),
        }
    return owed
