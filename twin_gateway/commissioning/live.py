"""Every point of a device read once: asked for, awaited, and told with what the driver found odd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.point import Rows
from address_space.quality import Quality, StatusCode
from address_space.table import PointTable
from twin_gateway.commissioning.reading import Reading, reading_of
from twin_gateway.drivers.contract import ComparedDriver, DiscoveredPoint, LinkService, StrayKeepingDriver
from twin_gateway.drivers.link import LinkState, LinkSupervisor
from twin_gateway.functions.slices import Slices
from twin_gateway.mapping.model import MappedDevice

_LOOK_S: Final = 0.05
_STRAYS: Final = 100
_DIFFERENCES: Final = 100
_REFERENCED: Final = frozenset({"iec61850"})
"""Protocols whose devices have told their whole model when they are connected: to ask for it costs nothing."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What one device said.

    Attributes:
        device, protocol: of it.
        state: of its link, at the end.
        reason: why the link is not up; empty when it is.
        asked: what came of asking for every value; empty where the driver asks by itself when it connects.
        error: last error of the link itself, that is, of no point of it.
        seconds: how long it took.
        points: every point that the device delivers.
        strays: what came and no point takes: where, why, how often, last value.
        differences: between the device and its description: item, expected, found.
    """

    device: str
    protocol: str
    state: str
    reason: str
    asked: str
    error: str
    seconds: float
    points: list[Reading] = field(default_factory=list)
    strays: list[dict[str, Any]] = field(default_factory=list)
    differences: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return plain | {"points": [point.as_json() for point in self.points]}


async def read_device(
    table: PointTable,
    link: LinkSupervisor,
    device: MappedDevice,
    digests: Mapping[str, str],
    seconds: float,
    *,
    ask: bool,
    complete: Callable[[], bool] = lambda: True,
) -> DeviceReading:
    """Wait until every point of a device has come, at most so long. It never commands.

    Args:
        table: where the link publishes.
        link: of the device; somebody runs it.
        device: of the mapping.
        digests: of the bindings, by address.
        seconds: time limit.
        ask: ask for every value; without, what comes by itself after the connection counts.
        complete: whether the points of the device are all known.
    """
    loop = asyncio.get_running_loop()
    began, since = loop.time(), clock.now() if ask else 0
    deadline = began + seconds
    await _until(lambda: link.state is LinkState.UP, deadline)
    asked = ""
    if ask and link.state is LinkState.UP:
        asked, whole = await _interrogate(link, deadline)
        if not whole:
            since = 0  # the protocol has no such question: what there is counts

    def over() -> bool:
        # A whole model adds to the rows.
        return link.state is not LinkState.UP or (
            complete() and not _missing(table, table.rows_of_link(link.name), since).any()
        )

    await _until(over, deadline)
    return await _told(table, link, device, digests, (asked, loop.time() - began, since))


async def _until(reached: Callable[[], bool], deadline: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        if reached() or loop.time() >= deadline:
            return
        await asyncio.sleep(_LOOK_S)


async def _interrogate(link: LinkSupervisor, deadline: float) -> tuple[str, bool]:
    """(what came of it, whether the device was asked)."""
    try:
        async with asyncio.timeout_at(deadline):
            outcome = await link.serve(LinkService.INTERROGATE)
    except TimeoutError:
        return "the device did not answer in time", True
    return outcome.text, outcome.status != StatusCode.BadNotSupported


def _missing(table: PointTable, rows: Rows, since: int) -> npt.NDArray[np.bool_]:
    waiting = table.quality[rows] & np.uint32(Quality.NOT_INITIALISED) != 0
    missing: npt.NDArray[np.bool_] = waiting | (table.received[rows] < since)
    return missing


async def _told(
    table: PointTable,
    link: LinkSupervisor,
    device: MappedDevice,
    digests: Mapping[str, str],
    how: tuple[str, float, int],
) -> DeviceReading:
    asked, seconds, since = how
    rows = table.rows_of_link(link.name)
    missing = _missing(table, rows, since).tolist()
    types = await _types(link, device) if link.state is LinkState.UP else {}
    points, slices = [], Slices()
    for row, gone in zip(rows.tolist(), missing, strict=True):
        address = table.address(row)
        more = {"answered": not gone, "device_type": types.get(address, ""), "binding": digests.get(address, "")}
        points.append(reading_of(table, row, link.last_errors.get(address, (0, ""))[1], **more))
        await slices.pause()
    driver = link.driver
    strays = driver.unmapped() if isinstance(driver, StrayKeepingDriver) else ()
    differences = driver.differences if isinstance(driver, ComparedDriver) else ()
    return DeviceReading(
        device=link.name,
        protocol=device.protocol,
        state=str(link.state),
        reason=link.reason,
        asked=asked,
        error=link.last_errors.get("", (0, ""))[1],
        seconds=round(seconds, 3),
        points=points,
        strays=[
            {"fields": dict(each.fields), "reason": each.reason, "count": each.count, "value": each.value}
            for each in list(strays)[-_STRAYS:]
        ],
        differences=[
            {"item": each.item, "expected": each.expected, "found": each.found}
            for each in list(differences)[:_DIFFERENCES]
        ],
    )


async def _types(link: LinkSupervisor, device: MappedDevice) -> dict[str, str]:
    """Points whose common data class is another one at the device."""
    if device.protocol not in _REFERENCED:
        return {}
    try:
        offered = await link.driver.discover()
    except (ConnectionError, TimeoutError):
        return {}  # the link has just gone; its state says so
    return await asyncio.to_thread(_other_types, offered, device)


def _other_types(offered: Iterable[DiscoveredPoint], device: MappedDevice) -> dict[str, str]:
    said: Mapping[str, str] = {str(point.fields.get("ref", "")): point.cdc for point in offered if point.cdc}
    ied = str(getattr(device.config, "ied", None) or "")
    found = {}
    for point in device.points:
        reference = str(point.fields.get("ref", ""))
        forms: Sequence[str] = (reference, f"{ied}{reference}", reference.removeprefix(ied))
        cdc = next((said[form] for form in forms if form in said), "")
        if cdc and cdc != point.profile.cdc:
            found[point.address] = cdc
    return found
