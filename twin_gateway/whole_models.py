"""Whole models: points that a mapping asks for with `all:` and that only the device itself can name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from address_space.address import AddressError
from address_space.events import Event, EventJournal
from address_space.table import PointTable
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commands.target import build_target
from twin_gateway.drivers.contract import BoundPoint, PointChange
from twin_gateway.drivers.link import LinkState, LinkSupervisor
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.whole import Offer, expand_whole
from twin_gateway.plant import Plant

log = logging.getLogger(__name__)

PATIENCE_S = 0.5


class WholeModels:
    """Adds the points of whole models once their device has answered for the first time.

    Models that an SCL file describes are no business of this class: the mapping has their points from the start.

    Attributes:
        changing: whoever changes which points there are holds it.
    """

    def __init__(
        self, mapping: Mapping, plant: Plant, table: PointTable, events: EventJournal, desk: CommandDesk
    ) -> None:
        links = {link.name: link for link in plant.links}
        self._waiting = [(device, links[device.name]) for device in mapping.devices if device.whole]
        self._added: dict[str, list[BoundPoint]] = {}
        self._table = table
        self._events = events
        self._desk = desk
        self.changing = asyncio.Lock()

    async def run(self) -> None:
        """Wait for the devices; returns when every request is fulfilled."""
        while self._waiting:
            for device, link in [pair for pair in self._waiting if pair[1].state is LinkState.UP]:
                try:
                    await self._try(device, link)
                except Exception as error:  # one device must not keep the others from theirs
                    log.exception("link %s: its model cannot be taken up", device.name)
                    self._waiting = [pair for pair in self._waiting if pair[0] is not device]
                    text = f"The model of {device.name} cannot be taken up: {type(error).__name__}: {error}"
                    self._events.append(Event("G01", text, 600, link.address))
            await asyncio.sleep(PATIENCE_S)

    async def _try(self, device: MappedDevice, link: LinkSupervisor) -> None:
        offers = await self._offered(device, link)
        if offers is None:
            return
        async with self.changing:
            if (device, link) in self._waiting:  # the mapping may be another one by now
                await self._take(device, link, offers)
                self._waiting.remove((device, link))

    def watch(self, device: MappedDevice, link: LinkSupervisor) -> bool:
        """A device asks for whole models, or for others than before; whether there is anything to wait for."""
        self.forget(device.name)
        if device.whole:
            self._waiting.append((device, link))
        return bool(device.whole)

    def forget(self, name: str) -> None:
        """A device is gone, or asks for nothing any more."""
        self._waiting = [pair for pair in self._waiting if pair[0].name != name]

    def added(self, name: str) -> list[BoundPoint]:
        """The points that a device has of whole models."""
        points = self._added.get(name, [])
        return [point for point in points if self._table.find(point.address) == point.row]

    @staticmethod
    async def _offered(device: MappedDevice, link: LinkSupervisor) -> list[Offer] | None:
        try:
            found = await link.driver.discover()
        except (ConnectionError, TimeoutError) as error:
            log.info("link %s: its model could not be read (%s); it is tried again", device.name, error)
            return None
        return [Offer(str(point.fields["ref"]), point.cdc) for point in found if "ref" in point.fields]

    async def _take(self, device: MappedDevice, link: LinkSupervisor, offers: Sequence[Offer]) -> None:
        points: list[MappedPoint] = []
        for request in device.whole:
            wanted = [offer for offer in offers if offer.reference.partition("/")[0] == request.logical_device]
            expanded = expand_whole(device, request, wanted)
            points += expanded.points
            if expanded.left_out:
                text = (
                    f"{len(expanded.left_out)} data objects of {request.logical_device} are left out: "
                    f"the catalogue does not have them ({', '.join(expanded.left_out[:5])} …)"
                )
                self._events.append(Event("G01", text, 300, link.address))
        bound = self._add(device, link, points)
        await link.update(PointChange(added=bound))
        log.info("link %s: %d points of whole models added", link.name, len(bound))

    def _add(self, device: MappedDevice, link: LinkSupervisor, points: Sequence[MappedPoint]) -> list[BoundPoint]:
        new = [point for point in points if self._table.find(point.address) < 0]
        try:
            rows = self._table.add([point.point(device.name) for point in new])
        except AddressError as error:
            self._events.append(Event("G01", f"The model of {device.name} cannot be shown: {error}", 600, link.address))
            return []
        bound = [point.bound(row) for point, row in zip(new, rows, strict=True)]
        self._added.setdefault(device.name, []).extend(bound)
        # Loc, Beh and CILO of what is commanded already may be among the new points.
        self._desk.renew()
        self._desk.add(
            build_target(self._table, point, link, mapped.profile)
            for mapped, point in zip(new, bound, strict=True)
            if point.control is not None
        )
        return bound
