"""The requests `live.*` of the control socket: every point of a device of the running gateway, read once."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from twin_gateway.commissioning.binding import digests_of
from twin_gateway.commissioning.live import DeviceReading, read_device
from twin_gateway.commissioning.reading import Reading
from twin_gateway.control import ControlError, Handler
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.problem import did_you_mean

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

PAGE: Final = 500
"""Points in one answer."""
LONGEST_S: Final = 100.0
"""A device is waited for so long at most: who asks waits for the answer."""
_KEPT: Final = 8


class LiveRequests:
    """Answers `live.devices`, `live.read` (which asks the device), and `live.more` (further points of that reading)."""

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self._tickets = itertools.count(1)
        self._kept: OrderedDict[int, Sequence[Reading]] = OrderedDict()

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked."""
        return {"live.devices": self._devices, "live.read": self._read, "live.more": self._more}

    async def _devices(self, _asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {"device": device.name, "protocol": device.protocol, "points": len(device.points)}
            for device in self._of.mapping.devices
        ]

    async def _read(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name, mapping = str(asked.get("device")), self._of.mapping
        device = next((each for each in mapping.devices if each.name == name), None)
        link = self._of.plant.link(name)
        if device is None or link is None:
            hint = did_you_mean(name, [each.name for each in mapping.devices])
            raise ControlError(f"the running gateway has no device {name!r}" + (f"; {hint}" if hint else ""))
        seconds = min(number_of(asked, "seconds", 30.0), LONGEST_S)
        digests = await asyncio.to_thread(_digests, mapping, device)
        found = await read_device(self._of.table, link, device, digests, seconds, ask=True)
        return self._answer(found)

    def _answer(self, found: DeviceReading) -> dict[str, Any]:
        ticket = next(self._tickets)
        if len(found.points) > PAGE:
            self._kept[ticket] = found.points
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        whole = replace(found, points=found.points[:PAGE]).as_json()
        return {"ticket": ticket, "total": len(found.points), **whole}

    async def _more(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        ticket = int(number_of(asked, "ticket", 0))
        points = self._kept.get(ticket)
        if points is None:
            raise ControlError("this reading is no longer kept; read the device again")
        start = int(number_of(asked, "offset", 0))
        if start + PAGE >= len(points):
            del self._kept[ticket]  # that was all of it
        return [point.as_json() for point in points[start : start + PAGE]]


def _digests(mapping: PointMapping, device: MappedDevice) -> dict[str, str]:
    """Of the device's points; to an address that is in a list, the lines of other devices belong too."""
    listed = {point.address for point in device.points if point.group}
    others = (each for each in mapping.points() if each[1].address in listed) if listed else ()
    return digests_of([*((device, point) for point in device.points if not point.group), *others])


def number_of(asked: Mapping[str, Any], name: str, default: float) -> float:
    """A number of a request, not below 0.

    Raises:
        ControlError: it is none.
    """
    value = asked.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ControlError(f"`{name}` is a number, not below 0")
    return float(value)
