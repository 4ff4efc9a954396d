"""From a mapping to running things: rows in the table, a driver and a supervisor for each device, command targets."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from address_space.address import escape
from address_space.events import EventJournal
from address_space.point import Point
from address_space.table import PointTable
from twin_gateway.commands.target import ControlTarget, build_target
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.link import Backoff, LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.drivers.spread import Spread
from twin_gateway.mapping.alarm_rule import AlarmRule
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.system_points import link_place


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """What all links of a gateway have in common; arguments as of `LinkSupervisor`."""

    table: PointTable
    events: EventJournal
    grid: str
    gateway: str
    data_directory: Path
    backoff: Backoff | None = None
    on_state: Callable[[LinkSupervisor], None] | None = None
    spread: Spread | None = None

    def make(self, device: MappedDevice, bound: Sequence[BoundPoint]) -> LinkSupervisor:
        """The link of a device with these points; nothing connects yet."""
        made = LinkSupervisor(
            device.name,
            create_driver(device.spec, device.name, device.config, bound),
            table=self.table,
            events=self.events,
            address=link_place(self.grid, self.gateway, device.name),
            data_directory=self.data_directory / "links" / escape(device.name),
            backoff=self.backoff,
            on_state=self.on_state,
            spread=self.spread,
        )
        describe(made, device)
        return made


def describe(link: LinkSupervisor, device: MappedDevice) -> None:
    """Tell a link what its device's section says of it."""
    link.way = device.config.way
    link.certificates = getattr(getattr(device.config, "tls", None), "certificates", ())


@dataclass(slots=True)
class Plant:
    """Everything a mapping became.

    Attributes:
        maker: makes links of further devices.
        links: one supervisor a device, in the order of the mapping.
        targets: every commanded data object.
        aliases: (alias, address) pairs from the mapping files.
    """

    maker: LinkMaker
    links: list[LinkSupervisor] = field(default_factory=list)
    targets: list[ControlTarget] = field(default_factory=list)
    aliases: list[tuple[str, str]] = field(default_factory=list)

    def link(self, name: str) -> LinkSupervisor | None:
        """The link of a device; None for none of that name."""
        return next((link for link in self.links if link.name == name), None)


def gives_value(point: MappedPoint) -> bool:
    """Whether the binding is the one that delivers the value of its address."""
    return point.role == "read" and point.rank == 0


def build_plant(
    mapping: Mapping,
    table: PointTable,
    events: EventJournal,
    *,
    grid: str,
    gateway: str,
    data_directory: Path,
    backoff: Backoff | None = None,
    on_state: Callable[[LinkSupervisor], None] | None = None,
    spread: Spread | None = None,
) -> Plant:
    """Put all points into the table and make the links; nothing connects yet.

    Raises:
        AddressError: when two addresses collide (the mapping check has reported that already).
    """
    plant = Plant(
        LinkMaker(table, events, grid, gateway, data_directory, backoff, on_state, spread), aliases=aliases_of(mapping)
    )
    rows = _add_points(mapping, table)
    for device in mapping.devices:
        points = device.points
        bound = [point.bound(rows[point.address]) for point in points if gives_value(point)]
        supervisor = plant.maker.make(device, bound)
        plant.links.append(supervisor)
        plant.targets += [
            build_target(table, point.bound(rows[point.address]), supervisor, point.profile)
            for point in points
            if is_commanded(point)
        ]
    return plant


def aliases_of(mapping: Mapping) -> list[tuple[str, str]]:
    """(alias, address) pairs of places and points."""
    points = [
        (alias, point.address) for device in mapping.devices for point in device.points for alias in point.aliases
    ]
    return [*mapping.place_aliases, *points]


def rules_of(mapping: Mapping) -> dict[str, AlarmRule]:
    """The alarm rules of a mapping by the address that has them."""
    points = (point for device in mapping.devices for point in device.points)
    return {point.address: point.alarm for point in points if point.alarm is not None}


def points_at(mapping: Mapping, addresses: Container[str]) -> dict[str, Point]:
    """What the table has at some addresses, by address."""
    found: dict[str, Point] = {}
    alone: dict[str, Point] = {}
    for device, point in mapping.points():
        if point.address in addresses:
            if gives_value(point):
                found[point.address] = point.point(device.name)
            else:
                alone[point.address] = point.point("")
    return alone | found


def _add_points(mapping: Mapping, table: PointTable) -> dict[str, int]:
    # In columns, without an object for each point on the way: most of the time of a large start would go there.
    addresses: list[str] = []
    profiles: list[int] = []
    links: list[int] = []
    sources: list[int] = []
    named: list[tuple[int, MappedPoint]] = []
    further: list[MappedPoint] = []
    numbers: dict[int, int] = {}  # of profiles by identity: points share them
    for device in mapping.devices:
        primary = [point for point in device.points if gives_value(point)]
        if len(primary) < len(device.points):
            further += [point for point in device.points if not gives_value(point)]
        if not primary:
            continue
        numbers.update(
            (key, table.profile_number(profile))
            for key, profile in {id(point.profile): point.profile for point in primary}.items()
            if key not in numbers
        )
        named += [(place, point) for place, point in enumerate(primary, len(addresses)) if point.names]
        addresses += [point.address for point in primary]
        profiles += [numbers[id(point.profile)] for point in primary]
        links += [table.link_number(device.name)] * len(primary)
        sources += [table.source_number(point.source) for point in primary]
    added = table.add_columns(addresses, profiles, links, sources)
    for place, mapped in named:
        point = mapped.point("")
        table.name(added[place], point.display_name, point.display_names)
    rows = dict(zip(addresses, added, strict=True))
    # A data object that is only commanded still has an address, and waits for a value that never comes.
    alone = {point.address: point.point("") for point in further if point.address not in rows}
    rows.update(zip(alone, table.add(alone.values()), strict=True))
    return rows


def is_commanded(point: MappedPoint) -> bool:
    """Whether commands go out by the binding."""
    return point.control is not None and point.control.get("model") != "status-only"
