"""The address book of a mapping: schemes of its protocols, aliases of its files, all bindings with their roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from address_space.alias import AddressBook, Binding
from address_space.ports import AliasScheme
from address_space.table import PointTable
from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.mapping.model import MappedDevice, Mapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.plant import gives_value
from twin_gateway.tombstones import add_tombstones


class ProtocolScheme:
    """One protocol's scheme; an alias that names no link (a 61850 reference, a CoAP URI) is sought in all of them."""

    def __init__(self, spec: ProtocolSpec, devices: dict[str, DeviceConfig]) -> None:
        self._spec = spec
        self._devices = devices

    @property
    def scheme(self) -> str:
        """The part before the colon."""
        return self._spec.scheme

    def alias(self, link: str, source: int | str) -> str:
        """Alias value of a binding."""
        return self._spec.alias(link, self._devices.get(link), source)

    def sources(self, value: str) -> Iterator[tuple[str, int | str]]:
        """Each (link, source) that an alias value may be of; none when no link of ours can have it."""
        found = self._spec.unalias(value)
        if found is None:
            return
        link, source = found
        if link is not None:
            if link in self._devices:
                yield link, source
            return
        for name, config in self._devices.items():
            if self._spec.alias(name, config, source) == value:
                yield name, source


def schemes_of(mapping: Mapping) -> Sequence[AliasScheme]:
    """One scheme a protocol of the mapping."""
    devices: dict[str, dict[str, DeviceConfig]] = defaultdict(dict)
    specs: dict[str, ProtocolSpec] = {}
    for device in mapping.devices:
        specs[device.protocol] = device.spec
        devices[device.protocol][device.name] = device.config
    return [ProtocolScheme(specs[name], found) for name, found in devices.items()]


def make_book(
    mapping: Mapping, aliases: Sequence[tuple[str, str]], table: PointTable, authority: str, mqtt_root: str = "twin"
) -> AddressBook:
    """The address book of a mapping with the (alias, address) pairs of its files; its points are in the table.

    Raises:
        AliasError: one alias names two addresses.
    """
    book = AddressBook(table, schemes_of(mapping), authority, mqtt_root=mqtt_root)
    for device in mapping.devices:
        book.add_link(device.name, device.spec.scheme)
    for alias, address in aliases:
        book.add_alias(alias, address)
    add_tombstones(book, mapping)
    for device in mapping.devices:
        for point in device.points:
            if point.control is not None or not gives_value(point):
                _add_bindings(book, device, point)
    return book


def _add_bindings(book: AddressBook, device: MappedDevice, point: MappedPoint) -> None:
    spec = device.spec
    if not gives_value(point):
        alias = spec.alias(device.name, device.config, point.source)
        book.add_binding(point.address, Binding(spec.scheme, device.name, alias, point.role))
    if point.control is not None:
        source = spec.command_source(device.config, point.fields, point.control)
        alias = spec.alias(device.name, device.config, source)
        book.add_binding(point.address, Binding(spec.scheme, device.name, alias, "command"))
