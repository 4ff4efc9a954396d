"""The protocols there are, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import cast

from twin_gateway.drivers.contract import BoundPoint, DeviceConfig, Driver, ProtocolSpec

_SPECS = {
    "iec104": "twin_gateway.drivers.iec104.config",
    "iec61850": "twin_gateway.drivers.iec61850.config",
    "dlms": "twin_gateway.drivers.dlms.config",
    "coap": "twin_gateway.drivers.coap.config",
}


def protocol_names() -> tuple[str, ...]:
    """Values that `protocol:` may have."""
    return tuple(_SPECS)


@cache
def protocol(name: str) -> ProtocolSpec:
    """The declaration of a protocol.

    Raises:
        KeyError: when there is no such protocol.
    """
    return cast(ProtocolSpec, import_module(_SPECS[name]).SPEC)


def create_driver(spec: ProtocolSpec, name: str, config: DeviceConfig, points: Sequence[BoundPoint]) -> Driver:
    """A driver for one device; imports the protocol's stack only now."""
    module, _, attribute = spec.driver.partition(":")
    return cast(Driver, getattr(import_module(module), attribute)(name, config, points))
