"""From technological addresses to orders for the simulators, and back, by nothing but the mapping files. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from address_space.units import unit
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.point import MappedPoint

_DIGITS = 7
_WHOLE = frozenset({"BCR", "DPC", "DPS", "ISC", "BSC", "INS", "ENS", "ENC", "INC", "SEC"})
_STATES = frozenset({"SPS", "SPC", "ACD", "ACT"})
_QUALITY_104 = {
    "good": 0,
    "invalid": 0x80,
    "questionable": 0x40,
    "old": 0x40,
    "substituted": 0x20,
    "blocked": 0x10,
    "overflow": 0x01,
}
_QUALITY_61850 = {
    "good": 0,
    "invalid": 1 << 11,
    "questionable": 3 << 11,
    "old": 3 << 11 | 1 << 5,
    "substituted": 1 << 2,
    "blocked": 3 << 11 | 1,
    "overflow": 3 << 11 | 1 << 10,
    "test": 1 << 1,
}
QUALITIES = tuple(_QUALITY_61850)
"""Words for the quality of a forced value; not every protocol has all."""
REGISTER_UNITS = {
    "active energy": ("Wh", 0),
    "reactive energy": ("varh", 0),
    "active power": ("W", 0),
    "reactive power": ("var", 0),
    "voltage": ("V", -1),
    "current": ("A", -2),
    "frequency": ("Hz", -2),
}
"""Unit and scaler of a meter's register by the quantity of its point."""


class WiringError(ValueError):
    """A point that the simulators cannot play; the message says which."""


@dataclass(slots=True)
class Wire:
    """How one address is told to its simulator.

    Attributes:
        address: of the point.
        device: that the point belongs to.
        protocol: of the device.
        order: the order without its value.
        member: of the order that carries the value.
        scale, bias: told = published * scale + bias.
        cdc: common data class of the point.
        invert: the device tells the opposite of a state.
        deadband: of the published value, from the mapping.
    """

    address: str
    device: str
    protocol: str
    order: dict[str, Any]
    cdc: str
    member: str = "value"
    scale: float = 1.0
    bias: float = 0.0
    invert: bool = False
    deadband: float = 0.0

    @property
    def discrete(self) -> bool:
        """Whether every change counts."""
        return self.cdc in _STATES or (self.cdc in _WHOLE and self.cdc != "BCR")

    def value(self, published: float | str) -> float | int | bool | str:
        """What the device tells for a published value."""
        if isinstance(published, str):
            return published
        if self.member == "connected":
            return published == 2
        if self.cdc in _STATES:
            return bool(published) != self.invert
        told = published * self.scale + self.bias
        return round(told) if self.cdc in _WHOLE else float(f"{told:.{_DIGITS}g}")

    def line(self, published: float | str, at: float | None = None, quality: str = "") -> str:
        """The order as a line of JSON.

        Args:
            published: value in published units.
            at: Unix time of the change where the device keeps it.
            quality: a word of `QUALITIES`; empty to leave the quality as it is.

        Raises:
            WiringError: the device has no such quality.
        """
        order = {**self.order, self.member: self.value(published)}
        if at is not None and self.protocol in {"iec104", "iec61850"}:
            order["time"] = round(at, 3)
        if quality:
            order |= self._quality(quality)
        return json.dumps(order) + "\n"

    def _quality(self, quality: str) -> dict[str, Any]:
        if self.protocol == "coap":
            return {"code": "2.05" if quality == "good" else "5.03"}
        table = {"iec104": _QUALITY_104, "iec61850": _QUALITY_61850}.get(self.protocol, {"good": 0})
        if quality not in table:
            raise WiringError(f"{self.device} ({self.protocol}) cannot say that a value is {quality}")
        return {"quality": table[quality]} if self.protocol != "dlms" else {}


@dataclass(slots=True)
class Wiring:
    """All wires of a mapping.

    Attributes:
        wires: by address.
        sources: addresses that a device moves by itself (on command), by what `address_of` makes of a line.
        commands: commanded address by device and object of the command, where that is told (104).
    """

    wires: dict[str, Wire] = field(default_factory=dict)
    sources: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    commands: dict[tuple[str, int], str] = field(default_factory=dict)
    stations: dict[int, str] = field(default_factory=dict)

    def addresses_of(self, device: str, line: Mapping[str, Any]) -> tuple[list[str], int] | None:
        """Addresses and the new position that a simulator tells of in a line; None when the line tells of none.

        Args:
            device: a device that the simulator plays; the line may name another one.
            line: as read from stdout.
        """
        match line:
            case {"moved": ioa, "value": value, "common_address": common}:
                key, position = (self.stations.get(int(common), device), f"ioa {ioa}"), int(value)
            case {"operated": reference, "value": value}:
                key, position = (device, str(reference)), int(value)
            case {"meter": meter, "connected": connected}:
                key, position = (str(meter), "disconnector"), 2 if connected else 1
            case _:
                return None
        addresses = self.sources.get(key)
        return (addresses, position) if addresses else None

    def commanded(self, device: str, line: Mapping[str, Any]) -> tuple[str, float] | None:
        """Address and value of a confirmed command that a simulator tells of in a line; None when it tells of none."""
        match line:
            case {"command": ioa, "value": value, "common_address": common}:
                address = self.commands.get((self.stations.get(int(common), device), int(ioa)))
                return None if address is None else (address, float(value))
        return None


def wire_up(mapping: PointMapping) -> Wiring:
    """Wires for every point that a device gives.

    Raises:
        WiringError: a point cannot be played.
    """
    wiring = Wiring()
    for device, point in mapping.points():
        wiring.wires.setdefault(point.address, _wire(device, point))
        source = _source(device.protocol, point)
        if source:
            wiring.sources.setdefault((device.name, source), []).append(point.address)
        if device.protocol == "iec104":
            wiring.stations[station_of(device, point.fields)] = device.name
            if point.control is not None and point.control.get("ioa") is not None:
                wiring.commands[device.name, int(point.control["ioa"])] = point.address
    return wiring


def station_of(device: MappedDevice, fields: Mapping[str, Any]) -> int:
    """Common address of a 104 point."""
    return int(fields.get("common_address") or getattr(device.config, "common_address", (1,))[0])


def _source(protocol: str, point: MappedPoint) -> str:
    if protocol == "iec104":
        return f"ioa {point.fields['ioa']}"
    if protocol == "iec61850":
        return str(point.fields["ref"])
    return "disconnector" if protocol == "dlms" and point.profile.cdc == "DPC" else ""


def _wire(device: MappedDevice, point: MappedPoint) -> Wire:
    fields, profile, protocol = point.fields, point.profile, device.protocol
    wire = Wire(point.address, device.name, protocol, {}, profile.cdc, invert=profile.invert, deadband=profile.deadband)
    if protocol in {"iec104", "coap"}:
        wire.scale, wire.bias = 1.0 / profile.gain, -profile.bias / profile.gain
    if protocol == "iec104":
        if fields.get("bit") is not None:
            raise WiringError(f"{point.address} is one bit of an object, which the simulated station does not have")
        wire.scale /= float(fields.get("nominal") or 1.0)
        wire.order = {"common_address": station_of(device, fields), "ioa": fields["ioa"]}
    elif protocol == "iec61850":
        wire.order, wire.member = {"ref": fields["ref"]}, "si"
        # The base unit of a share is 1, published are percent.
        wire.scale = 0.01 if point.quantity == "percent" else 1.0
    elif protocol == "dlms":
        wire.order = {"meter": device.name, "obis": fields["obis"]}
        if profile.cdc == "DPC":
            wire.order, wire.member = {"meter": device.name}, "connected"
        elif profile.unit is not None:
            counted = REGISTER_UNITS.get(profile.unit.quantity)
            wire.scale = profile.unit.factor / unit(counted[0]).factor if counted else 1.0
    else:
        wire.order = {"device": device.name, "path": fields["path"]}
        name = fields.get("name") or fields.get("pointer") or fields.get("member")
        if name:
            wire.order["name"] = name
    return wire
