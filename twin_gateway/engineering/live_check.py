"""Devices read once for `check --live`: through the gateway that runs, or over short-lived connections of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from address_space.events import EventJournal
from address_space.table import PointTable
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commissioning.binding import digests_of
from twin_gateway.commissioning.live import read_device
from twin_gateway.config import GatewayConfig
from twin_gateway.control import ask
from twin_gateway.drivers.contract import DeviceConfig
from twin_gateway.drivers.link import Backoff, LinkSupervisor
from twin_gateway.drivers.spread import Spread
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.plant import build_plant, gives_value
from twin_gateway.whole_models import WholeModels

_AT_ONCE: Final = 50
"""Devices that are connected at a time."""
_ASKED_AT_ONCE: Final = 4
"""Requests to the gateway at a time."""
_BACKOFF: Final = Backoff(first=1.0, most=5.0)
_CLOCKS: Final = {"clock_sync": None, "clock_set": "never"}
"""Fields of device sections that set clocks, and what keeps them from it."""

Done = Callable[[str, str], None]
"""Called with the name of a device and the state of its link when it has been read."""


def devices_of_gateway(config: GatewayConfig) -> list[str]:
    """Names of the devices of the gateway that runs.

    Raises:
        ControlError: none runs, or it does not answer.
    """
    return [each["device"] for each in ask(config.data_directory, "live.devices")]


def read_through_gateway(
    config: GatewayConfig, names: Sequence[str], seconds: float, done: Done
) -> list[dict[str, Any]]:
    """Let the running gateway ask its devices; they see no further connection.

    Raises:
        ControlError: it does not answer.
    """
    found: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="live") as pool:
        work = {pool.submit(_asked, config, name, seconds): name for name in names}
        try:
            for each in as_completed(work):
                found[work[each]] = told = each.result()
                done(work[each], told["state"])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[name] for name in names]


def _asked(config: GatewayConfig, name: str, seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = ask(config.data_directory, "live.read", device=name, seconds=seconds)
    points = told["points"]
    while len(points) < told["total"]:
        points += ask(config.data_directory, "live.more", ticket=told["ticket"], offset=len(points))
    return told


async def read_by_itself(
    config: GatewayConfig, mapping: Mapping, devices: Sequence[MappedDevice], seconds: float, done: Done
) -> list[dict[str, Any]]:
    """Connect to devices, wait for every point, and sign off. Only one process may do so with a data directory.

    Nothing is commanded, no clock is set, and nothing that devices keep for the gateway (EntryIDs, load profiles) is
    noted as received.
    """
    passive = [replace(device, config=_without_clocks(device.config)) for device in devices]
    read_from = {point.address for device in devices for point in device.points}
    digests = digests_of(each for each in mapping.points() if each[1].address in read_from)
    async with _connections(config, replace(mapping, devices=passive)) as (table, links, whole):
        several = asyncio.Semaphore(_AT_ONCE)

        async def read(device: MappedDevice, link: LinkSupervisor) -> dict[str, Any]:
            async with several:
                work = asyncio.create_task(link.run(), name=f"link {link.name}")
                try:
                    found = await read_device(
                        table,
                        link,
                        device,
                        digests,
                        seconds,
                        ask=False,
                        complete=lambda: not device.whole or bool(whole.added(device.name)),
                    )
                finally:
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                done(device.name, found.state)
                return found.as_json()

        return await asyncio.gather(*(read(device, link) for device, link in zip(passive, links, strict=True)))


@asynccontextmanager
async def _connections(
    config: GatewayConfig, mapping: Mapping
) -> AsyncIterator[tuple[PointTable, Sequence[LinkSupervisor], WholeModels]]:
    """A table and links as a gateway has them, without anything that could command."""
    table, events = PointTable(), EventJournal()
    plant = build_plant(
        mapping,
        table,
        events,
        grid=config.grid,
        gateway=config.gateway,
        data_directory=config.data_directory,
        backoff=_BACKOFF,
        spread=Spread(config.links.connects_per_second),
    )
    for link in plant.links:
        link.kept = lambda: 0  # nothing is kept, so nothing counts as received
    refusing = CommandDesk(table, (), policy=None, audit=None, events=events)
    whole = WholeModels(mapping, plant, table, events, refusing)
    async with AsyncExitStack() as stack:
        work = asyncio.create_task(whole.run(), name="whole models")
        stack.push_async_callback(_ended, work)
        yield table, plant.links, whole


async def _ended(work: asyncio.Task[None]) -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _without_clocks(config: DeviceConfig) -> DeviceConfig:
    has = type(config).model_fields
    return config.model_copy(update={name: value for name, value in _CLOCKS.items() if name in has})


def expected_of(mapping: Mapping) -> dict[str, tuple[str, str]]:
    """Address -> the device that gives its value, and digest of its binding."""
    digests = digests_of(mapping.points())
    return {
        point.address: (device.name, digests[point.address]) for device, point in mapping.points() if gives_value(point)
    }
