"""The protocols there are, those of the gateway and of installed plug-ins, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from twin_gateway.drivers.contract import BoundPoint, DeviceConfig, Driver, ProtocolSpec

_SPECS = {
    "iec104": "twin_gateway.drivers.iec104.config",
    "iec61850": "twin_gateway.drivers.iec61850.config",
    "goose": "twin_gateway.drivers.iec61850.goose.config",
    "dlms": "twin_gateway.drivers.dlms.config",
    "coap": "twin_gateway.drivers.coap.config",
}
GROUP = "twin_gateway.protocols"
"""Entry-point group of plug-ins: the name is the value of `protocol:`, the object a `ProtocolSpec`."""
OWN_PROTOCOLS = tuple(_SPECS)
"""Protocols of the gateway itself."""


class PluginError(RuntimeError):
    """A plug-in cannot be used; the message says which and why."""


def protocol_names() -> tuple[str, ...]:
    """Values that `protocol:` may have; those of plug-ins last."""
    return (*OWN_PROTOCOLS, *_plugins())


@cache
def protocol(name: str) -> ProtocolSpec:
    """The declaration of a protocol.

    Raises:
        KeyError: when there is no such protocol.
        PluginError: the plug-in that has it cannot be loaded, or declares something else.
    """
    if name in _SPECS:
        return cast(ProtocolSpec, import_module(_SPECS[name]).SPEC)
    return _load(_plugins()[name])


def fault_of(name: str) -> str:
    """Why a protocol that `protocol_names` has cannot be used; empty when it can."""
    try:
        protocol(name)
    except PluginError as error:
        return str(error)
    return ""


def create_driver(spec: ProtocolSpec, name: str, config: DeviceConfig, points: Sequence[BoundPoint]) -> Driver:
    """A driver for one device; imports the protocol's stack only now."""
    module, _, attribute = spec.driver.partition(":")
    return cast(Driver, getattr(import_module(module), attribute)(name, config, points))


@cache
def _plugins() -> dict[str, EntryPoint]:
    """Plug-ins by protocol; the gateway's own protocols cannot be replaced."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    return {entry.name: entry for entry in found if entry.name not in _SPECS}


def _load(entry: EntryPoint) -> ProtocolSpec:
    where = f"plug-in {entry.value} for protocol {entry.name}"
    try:
        spec = entry.load()
    except Exception as error:  # foreign code: whatever it raises is why this protocol is not there
        raise PluginError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(spec, ProtocolSpec) or spec.name != entry.name:
        raise PluginError(f"{where} is no declaration of that protocol: {spec!r:.100}")
    return spec
