"""A feeder at thousands of changes a second with a fault every 30 s: nothing that clients get differs unexplained.

Four devices with ledgers (104 with an event buffer, 61850 with a buffered report block, CoAP with observed resources, a
DLMS meter that pushes), wires that misbehave, mosquitto, the gateway by its command, node-opcua and mosquitto_sub as
clients.

TWIN_SOAK_MINUTES (5), TWIN_SOAK_RATE (changes a second of all devices), TWIN_SOAK_SEED, TWIN_SOAK_FOLDER (where
everything stays afterwards; a temporary folder otherwise).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import Client
from soak import history_client
from soak.audit import Audit, Sent, Subject
from soak.faults import last_life, log, schedule, strike
from soak.field import Field
from soak.ledger import GOT, SENT, read
from soak.wires import DatagramWire

MINUTES = float(os.environ.get("TWIN_SOAK_MINUTES", "5"))
RATE = float(os.environ.get("TWIN_SOAK_RATE", "5000"))
SEED = int(os.environ.get("TWIN_SOAK_SEED", "1"))
EVERY_S = 30.0
SHARES = {"iec104": (0.58, 300), "iec61850": (0.26, 150), "coap": (0.12, 70), "dlms": (0.04, 20)}
"""Of the changes, and points."""
_MEMORY = 0.05
_LONG_MINUTES = 20.0
_SETTLED_S = 600.0 if MINUTES >= _LONG_MINUTES else 60.0
"""Rings, caches and what a database keeps in memory fill up for some minutes: flat is what a longer run must show."""
_HISTORY_MIB = 300.0
"""128 MiB of DuckDB, and the process around it."""
_REST_S = 4.0

pytestmark = [
    pytest.mark.timeout(MINUTES * 60 + 900),
    pytest.mark.skipif(
        importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed: no independent peer"
    ),
]


class Memory:
    """What the processes of the gateway hold, twice a second."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.samples: list[tuple[float, int, str, float]] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, IndexError, AssertionError):  # it has just been killed
                for name, octets in self._field.gateway.resident().items():
                    self.samples.append((time.monotonic(), self._field.gateway.pid, name, octets))
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        lines = (f"{at:.1f} {pid} {name} {octets / (1 << 20):.2f}\n" for at, pid, name, octets in self.samples)
        (self._field.folder / "memory.txt").write_text("".join(lines))

    def growth(self, name: str) -> tuple[float, float]:
        """(MiB, share by which it grew) of a process of the last life, once it had settled.

        Its last third is compared with its first: a database collects what it writes for some minutes, and of an hour
        a third holds a whole such time.
        """
        last = self.samples[-1][1]
        own = [(at, octets) for at, pid, which, octets in self.samples if pid == last and which == name]
        own = [(at, octets) for at, octets in own if at > own[0][0] + _SETTLED_S]
        third = max(1, len(own) // 3)
        first, end = (float(np.mean([octets for _, octets in part])) for part in (own[:third], own[-third:]))
        return end / (1 << 20), end / first - 1


async def test_a_feeder_under_faults_tells_its_clients_what_its_devices_sent(tmp_path: Path) -> None:
    folder = Path(os.environ.get("TWIN_SOAK_FOLDER", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    field = Field(folder, {name: (RATE * share, points) for name, (share, points) in SHARES.items()})
    faults = []
    memory = None
    try:
        await field.start()
        memory = Memory(field)
        await asyncio.sleep(10)
        since = time.time() * 1000
        began = time.monotonic()
        planned = schedule(int(MINUTES * 60 / EVERY_S) - 1, field.devices, SEED)
        for number, (kind, name) in enumerate(planned):
            await asyncio.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
            if number == last_life(planned):
                field.gateway.keep_time()
            faults.append(await strike(field, kind, name))
            log(folder / "faults.txt", faults[-1])
        await asyncio.sleep(max(0.0, began + MINUTES * 60 - time.monotonic()))
        until = time.time() * 1000
        await memory.stop()
        grown = {name: memory.growth(name) for name in ("service", "history")}
        for device in field.devices.values():
            device.process.order(rest=True)
        await asyncio.sleep(_REST_S)
        await field.leave()
        await asyncio.to_thread(field.mqtt.terminate, 20)
        audit = await _audit(field, folder, faults, since, until)
        (folder / "metrics.txt").write_text(await asyncio.to_thread(field.gateway.metrics))
    finally:
        if memory is not None:
            await memory.stop()
        await field.stop()
    text = audit.report.text()
    text += "".join(f"\n{name}: {mib:.1f} MiB, {share:+.1%}" for name, (mib, share) in grown.items())
    (folder / "report.txt").write_text(text)
    print(text)
    assert not audit.report.differences, text
    assert "Traceback" not in field.gateway.errors.read_text(), field.gateway.complaint()
    allowed = _MEMORY if MINUTES >= _LONG_MINUTES else 2 * _MEMORY
    assert grown["service"][1] < allowed, text
    assert grown["history"][0] < _HISTORY_MIB, text
    assert MINUTES < _LONG_MINUTES or grown["history"][1] < _MEMORY, text


def _subjects(field: Field) -> list[Subject]:
    return [
        Subject(
            name, Sent(read(device.ledger, SENT), device.points), device.first, device.points,
            buffers=name in {"iec104", "iec61850"}, time_ms={"iec104": 0.1, "iec61850": 1.1, "dlms": 0.1}.get(name),
        )
        for name, device in field.devices.items()
    ]  # fmt: skip


async def _audit(field: Field, folder: Path, faults: list[Any], since: float, until: float) -> Audit:
    drops = {name: device.wire.drops for name, device in field.devices.items() if isinstance(device.wire, DatagramWire)}
    # links lead through wires of this very loop, which must not stand still meanwhile
    subjects = await asyncio.to_thread(_subjects, field)
    audit = Audit(subjects, faults)
    absent = await asyncio.to_thread(_compare, audit, subjects, folder, field.lives, (since, until), drops)
    # a client that decodes for seconds is alive all the same
    async with Client(f"opc.tcp://127.0.0.1:{field.gateway.opcua}", timeout=60, watchdog_intervall=60) as client:
        for subject in subjects:
            if subject.buffers:
                found = await _history(client, field, subject, absent[subject.name])
            else:
                found = (np.empty(0), np.empty(0), np.empty(0))
            audit.kept(subject, absent[subject.name], *found)
    return audit


def _compare(
    audit: Audit, subjects: list[Subject], folder: Path, count: int, span: tuple[float, float], drops: dict[str, int]
) -> Any:
    """Compare what came live; what the subscriber has not got, by device."""
    lives: dict[str, list[Any]] = {subject.name: [] for subject in subjects}
    for life in range(1, count + 1):
        for name, got in audit.live("opcua", read(folder / f"opcua-{life}.got", GOT)).items():
            lives[name].append(got)
    absent = audit.missing(lives, *span, drops)
    mirrored = audit.live("mqtt", read(folder / "mqtt.got", GOT), "broker")
    audit.late(read(folder / "mqtt.late", GOT))
    for subject in subjects:
        audit.last("opcua", subject, lives[subject.name][-1])
        audit.last("mqtt", subject, mirrored[subject.name])
        audit.conflated(subject, mirrored[subject.name], *span)
    return absent


async def _history(client: Client, field: Field, subject: Subject, absent: Any) -> tuple[Any, Any, Any]:
    """What the history has of the points that miss something, over the times of what they miss."""
    parts = []
    gap_ms = 5_000
    times = np.sort(np.unique(absent["tag"]))
    starts = np.nonzero(np.diff(times, prepend=-(1 << 60)) > gap_ms)[0]
    for number, start in enumerate(starts):
        stop = starts[number + 1] - 1 if number + 1 < len(starts) else len(times) - 1
        begin, end = float(times[start]), float(times[stop])
        chosen = np.unique(absent["point"][(absent["tag"] >= begin) & (absent["tag"] <= end)]).astype(np.int64)
        nodes = [field.nodes[subject.first + point] for point in chosen.tolist()]
        positions, values, sources = await history_client.read(client, nodes, begin - 50, end + 50)
        parts.append((chosen[positions], values, sources))
    if not parts:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    points, values, sources = (np.concatenate(column) for column in zip(*parts, strict=True))
    return points, values, sources
