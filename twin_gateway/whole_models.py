"""Whole models: points that a mapping asks for with `all:` and that only the device itself can name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from address_space.address import AddressError, parse
from address_space.catalogue import CatalogueError, classify
from address_space.events import Event, EventJournal
from address_space.point import Point, PointProfile
from address_space.table import PointTable
from address_space.units import canonical
from twin_gateway.drivers.contract import BoundPoint, DiscoveredPoint, PointChange
from twin_gateway.drivers.link import LinkState, LinkSupervisor
from twin_gateway.mapping.model import MappedDevice, Mapping, WholeModel
from twin_gateway.plant import Plant

log = logging.getLogger(__name__)

PATIENCE_S = 0.5
MOST_POINTS = 100_000


class WholeModels:
    """Adds the points of whole models once their device has answered for the first time."""

    def __init__(self, mapping: Mapping, plant: Plant, table: PointTable, events: EventJournal) -> None:
        links = {link.name: link for link in plant.links}
        self._waiting = [(device, links[device.name]) for device in mapping.devices if device.whole]
        self._table = table
        self._events = events

    async def run(self) -> None:
        """Wait for the devices one after the other; returns when every request is fulfilled."""
        while self._waiting:
            ready = [(device, link) for device, link in self._waiting if link.state is LinkState.UP]
            for device, link in ready:
                if await self._take(device, link):
                    self._waiting.remove((device, link))
            await asyncio.sleep(PATIENCE_S)

    async def _take(self, device: MappedDevice, link: LinkSupervisor) -> bool:
        try:
            offered = await link.driver.discover()
        except (ConnectionError, TimeoutError) as error:
            log.info("link %s: its model could not be read (%s); it is tried again", link.name, error)
            return False
        added: list[BoundPoint] = []
        for request in device.whole:
            added += self._add(device, request, offered)
        await link.driver.update(PointChange(added=added))
        log.info("link %s: %d points of whole models added", link.name, len(added))
        return True

    def _add(self, device: MappedDevice, request: WholeModel, offered: Sequence[DiscoveredPoint]) -> list[BoundPoint]:
        mapped = {point.source for point in device.points}
        points: list[tuple[Point, DiscoveredPoint]] = []
        left_out = 0
        for found in offered:
            if str(found.fields.get("ref", "")).partition("/")[0] != request.logical_device:
                continue
            source = device.spec.source(device.config, found.fields)
            if source in mapped or len(points) >= MOST_POINTS:
                continue
            point = self._point(device, request, found, source)
            if point is None:
                left_out += 1
            else:
                points.append((point, found))
        if left_out:
            text = (
                f"{left_out} data objects of {request.logical_device} have no place in the address space: "
                "the catalogue does not have them"
            )
            self._events.append(Event("G01", text, 300, request.place))
        rows = self._table.add([point for point, _found in points])
        return [
            BoundPoint(
                row,
                point.address,
                point.profile.cdc,
                point.profile.value_type,
                found.fields,
                quantity=point.profile.unit.quantity if point.profile.unit is not None else None,
            )
            for row, (point, found) in zip(rows, points, strict=True)
        ]

    def _point(
        self, device: MappedDevice, request: WholeModel, found: DiscoveredPoint, source: int | str
    ) -> Point | None:
        text = f"{request.place}/{found.description.replace('.', '/')}"
        try:
            point_class = classify(parse(text))
            if point_class.cdc.container or self._table.find(text) >= 0:
                return None
        except (AddressError, CatalogueError):
            return None
        unit = canonical(point_class.quantity) if point_class.quantity is not None else None
        return Point(text, PointProfile.of(point_class, unit), device.name, source)
