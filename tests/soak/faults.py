"""Faults of the field: each begins, lasts, ends, and what it touches is kept so that differences can be explained."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from peers.waiting import pause
from soak.field import FAKETIME, Device, Field
from soak.wires import StreamWire

EVERYTHING, BROKER = "everything", "broker"


@dataclass(frozen=True)
class Fault:
    """One fault as it was: what, of whom, from when to when (ms since 1970, true time)."""

    kind: str
    of: str
    began: float
    ended: float


def _now() -> float:
    return time.time() * 1000


async def kill_device(field: Field, device: Device) -> None:
    device.process.kill()
    await asyncio.sleep(2)
    device.process.start()
    await device.process.ready()
    device.process.order(rest=False)


async def freeze_device(_field: Field, device: Device) -> None:
    pause(device.process.pid)
    await asyncio.sleep(10)
    os.kill(device.process.pid, signal.SIGCONT)


async def half_open(_field: Field, device: Device) -> None:
    device.wire.silence()
    await asyncio.sleep(12)
    device.wire.speak()


async def delay(_field: Field, device: Device) -> None:
    device.wire.delay = 0.5
    await asyncio.sleep(8)
    device.wire.delay = 0.0


async def loss(_field: Field, device: Device) -> None:
    device.wire.loss = 0.4
    await asyncio.sleep(8)
    device.wire.loss = 0.0


async def cut(_field: Field, device: Device) -> None:
    assert isinstance(device.wire, StreamWire)
    device.wire.cut()


async def clock_ahead(_field: Field, device: Device) -> None:
    device.process.order(clock=3_600_000)
    await asyncio.sleep(8)
    device.process.order(clock=0)


async def clock_back(_field: Field, device: Device) -> None:
    device.process.order(clock=-3_600_000)
    await asyncio.sleep(8)
    device.process.order(clock=0)


async def broker_gone(field: Field, _device: Device) -> None:
    field.broker.kill()
    await asyncio.sleep(10)
    field.broker.start()


async def broker_frozen(field: Field, _device: Device) -> None:
    field.broker.signal(signal.SIGSTOP)
    await asyncio.sleep(8)
    field.broker.signal(signal.SIGCONT)


async def disk_full(field: Field, _device: Device) -> None:
    field.gateway.full_disk(True)
    await asyncio.sleep(12)
    field.gateway.full_disk(False)


async def kill_gateway(field: Field, _device: Device) -> None:
    field.gateway.kill()
    await field.bereave()
    field.gateway.start()
    await field.attend()


async def freeze_gateway(field: Field, _device: Device) -> None:
    pause(field.gateway.pid)
    await asyncio.sleep(4)
    os.kill(field.gateway.pid, signal.SIGCONT)


async def gateway_clock(field: Field, _device: Device) -> None:
    field.gateway.clock_file.write_text("-900")
    await asyncio.sleep(8)
    field.gateway.clock_file.write_text("+0")
    await asyncio.sleep(1.5)  # until the library has read it again


Do = Callable[[Field, Device], Awaitable[None]]
OF_DEVICES: dict[str, Do] = {
    "kill": kill_device, "freeze": freeze_device, "half-open": half_open, "delay": delay, "loss": loss,
}  # fmt: skip
OF_STREAMS: dict[str, Do] = {"cut": cut}
OF_CLOCKS: dict[str, Do] = {"clock ahead": clock_ahead, "clock back": clock_back}
OF_ALL: dict[str, tuple[str, Do]] = {
    "broker gone": (BROKER, broker_gone), "broker frozen": (BROKER, broker_frozen), "disk full": ("disk", disk_full),
    "gateway killed": (EVERYTHING, kill_gateway), "gateway frozen": (EVERYTHING, freeze_gateway),
}  # fmt: skip
if FAKETIME.exists():
    OF_ALL["gateway clock"] = (EVERYTHING, gateway_clock)

FIRST = (
    ("kill", "iec104"), ("gateway killed", ""), ("half-open", "iec61850"), ("loss", "iec104"), ("disk full", ""),
    ("clock back", "iec104"), ("broker gone", ""), ("delay", "iec61850"), ("freeze", "coap"),
)  # fmt: skip
"""Every kind that there is to survive, one after the other."""


def schedule(count: int, devices: dict[str, Device], seed: int) -> list[tuple[str, str]]:
    """(kind, device) of so many faults: first those of `FIRST`, then by chance, all kinds and devices in turn. The
    gateway is killed in the first half only, so that its memory can be watched in the second; after that its clock is
    left alone.
    """
    chance = random.Random(seed)
    every = [(kind, name) for kind in OF_DEVICES for name in devices]
    every += [(kind, name) for kind in OF_STREAMS for name in devices if name != "coap"]
    every += [(kind, name) for kind in OF_CLOCKS for name in devices if name != "coap"]
    every += [(kind, "") for kind in OF_ALL]
    chosen = list(FIRST[:count])
    while len(chosen) < count:
        some = list(every)
        chance.shuffle(some)
        if len(chosen) > count // 2:
            some.remove(("gateway killed", ""))
        chosen += some
    last = last_life(chosen[:count])
    return [fault for n, fault in enumerate(chosen) if n < last or fault[0] != "gateway clock"][:count]


def last_life(faults: list[tuple[str, str]]) -> int:
    """Place of the fault after which the gateway is not killed any more; -1: it never is."""
    return max((n for n, (kind, _) in enumerate(faults) if kind == "gateway killed"), default=-1)


async def strike(field: Field, kind: str, name: str) -> Fault:
    """Let one fault happen, to its end."""
    of = name
    if kind in OF_ALL:
        of, do = OF_ALL[kind]
        device = next(iter(field.devices.values()))
    else:
        do, device = (OF_DEVICES | OF_STREAMS | OF_CLOCKS)[kind], field.devices[name]
    began = _now()
    await do(field, device)
    return Fault(kind, of, began, _now())


def log(path: Path, fault: Fault) -> None:
    """One line of the list of faults."""
    with path.open("a") as file:
        file.write(f"{fault.began:.0f} {fault.ended - fault.began:7.0f} ms  {fault.kind} {fault.of}\n")
