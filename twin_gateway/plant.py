"""From a mapping to running things: rows in the table, a driver and a supervisor for each device, command targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from address_space.address import escape
from address_space.events import EventJournal
from address_space.table import PointTable
from twin_gateway.commands.target import ControlTarget, build_target
from twin_gateway.drivers.link import Backoff, LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.drivers.spread import Spread
from twin_gateway.mapping.model import MappedDevice, MappedPoint, Mapping
from twin_gateway.system_points import link_place


@dataclass(slots=True)
class Plant:
    """Everything a mapping became.

    Attributes:
        links: one supervisor a device, in the order of the mapping.
        targets: every commanded data object.
        aliases: (alias, address) pairs from the mapping files.
    """

    links: list[LinkSupervisor] = field(default_factory=list)
    targets: list[ControlTarget] = field(default_factory=list)
    aliases: list[tuple[str, str]] = field(default_factory=list)


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
    plant = Plant()
    rows = _add_points(mapping, table)
    plant.aliases += mapping.place_aliases
    for device in mapping.devices:
        bound = [point.bound(rows[point.address]) for point in device.points if gives_value(point)]
        supervisor = LinkSupervisor(
            device.name,
            create_driver(device.spec, device.name, device.config, bound),
            table=table,
            events=events,
            address=link_place(grid, gateway, device.name),
            data_directory=data_directory / "links" / escape(device.name),
            backoff=backoff,
            on_state=on_state,
            spread=spread,
        )
        supervisor.way = device.config.way
        supervisor.certificates = getattr(getattr(device.config, "tls", None), "certificates", ())
        plant.links.append(supervisor)
        plant.aliases += [(alias, point.address) for point in device.points for alias in point.aliases]
        plant.targets += [
            build_target(table, point.bound(rows[point.address]), supervisor, point.profile)
            for point in _commanded(device)
        ]
    return plant


def _add_points(mapping: Mapping, table: PointTable) -> dict[str, int]:
    primary = [(device, point) for device, point in mapping.points() if gives_value(point)]
    added = table.add([point.point(device.name) for device, point in primary])
    rows = {point.address: row for (_device, point), row in zip(primary, added, strict=True)}
    # A data object that is only commanded still has an address, and waits for a value that never comes.
    unread = [(device, point) for device, point in mapping.points() if point.address not in rows]
    alone = {point.address: point.point("") for _device, point in unread}
    rows.update(zip(alone, table.add(alone.values()), strict=True))
    return rows


def _commanded(device: MappedDevice) -> list[MappedPoint]:
    return [
        point for point in device.points if point.control is not None and point.control.get("model") != "status-only"
    ]
