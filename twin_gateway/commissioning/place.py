"""The points at and below a place of the running gateway, each with its binding."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twin_gateway.commissioning.binding import Binding, Bound, binding_of, binding_of_whole
from twin_gateway.control import ControlError
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.plant import gives_value, is_commanded

if TYPE_CHECKING:
    from twin_gateway.gateway import Gateway

MOST: Final = 20_000
"""Points of one place: more are not looked at in one go."""
_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class PlacePoint:
    """One point.

    Attributes:
        address: of it.
        device: that gives it, or takes its commands where nothing gives it.
        commanded_by: protocol of the device that takes its commands; empty where it is not commanded.
        binding: of all its lines.
    """

    address: str
    device: str
    commanded_by: str
    binding: Binding


class Places:
    """Finds places and their points; what was found is kept until the mapping or the points change."""

    def __init__(self, gateway: Gateway) -> None:
        self._of = gateway
        self._mapping: PointMapping | None = None
        self._state = (0, 0)
        self._found: OrderedDict[str, dict[str, PlacePoint]] = OrderedDict()

    def canonical(self, text: str) -> str:
        """The address that a text names.

        Raises:
            ControlError: nothing here has it.
        """
        found = self._of.book.resolve(text)
        if found.found:
            return found.address
        if self._of.table.tree.find(text) >= 0:
            return text
        near = f"; did you mean {' or '.join(found.nearest)}?" if found.nearest else ""
        raise ControlError(f"{text!r} names nothing here{near}")

    async def points(self, place: str) -> Mapping[str, PlacePoint]:
        """Every point at and below a place, in the order of the mapping files.

        Raises:
            ControlError: there are none, or too many.
        """
        found = await self.found(place)
        if not found:
            raise ControlError(f"no point is mapped at or below {place}")
        return found

    async def found(self, place: str) -> Mapping[str, PlacePoint]:
        """The same, also when there are none any more.

        Raises:
            ControlError: there are too many.
        """
        mapping, table = self._of.mapping, self._of.table
        state = (len(table), table.edition)
        if mapping is not self._mapping or state != self._state:
            self._found.clear()
            self._mapping, self._state = mapping, state
        found = self._found.get(place)
        if found is None:
            found = await asyncio.to_thread(self._look, mapping, place)
            if mapping is self._mapping and state == self._state:
                self._found[place] = found
                while len(self._found) > _KEPT:
                    self._found.popitem(last=False)
        elif place in self._found:
            self._found.move_to_end(place)
        return found

    def _look(self, mapping: PointMapping, place: str) -> dict[str, PlacePoint]:
        """On a thread: what the files map there, and what devices have named themselves (`all:`)."""
        found = _below(mapping, place)
        table = self._of.table
        for device in mapping.devices:
            if not device.whole:
                continue
            for point in self._of.whole_models.added(device.name):
                if not _is_below(point.address, place) or point.address in found:
                    continue
                binding = binding_of_whole(device, point, table.profile(point.row), table.binding(point.row)[1])
                commanded_by = device.protocol if binding.command_digest else ""
                found[point.address] = PlacePoint(point.address, device.name, commanded_by, binding)
                _limit(len(found), place)
        return found


def _below(mapping: PointMapping, place: str) -> dict[str, PlacePoint]:
    bound: dict[str, list[Bound]] = {}
    for device, point in mapping.points():
        if _is_below(point.address, place):
            bound.setdefault(point.address, []).append((device, point))
            _limit(len(bound), place)
    return {address: _point(address, lines) for address, lines in bound.items()}


def _limit(count: int, place: str) -> None:
    if count > MOST:
        raise ControlError(f"{place} has more than {MOST} points: name a place below it")


def _point(address: str, lines: Sequence[Bound]) -> PlacePoint:
    device = next((device.name for device, point in lines if gives_value(point)), lines[0][0].name)
    commanded_by = next((device.protocol for device, point in lines if is_commanded(point)), "")
    return PlacePoint(address, device, commanded_by, binding_of(lines))


def _is_below(address: str, place: str) -> bool:
    return address == place or address.startswith(f"{place}/")
