"""From technological addresses to orders for the simulators, and back, by nothing but the mapping files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from address_space.units import unit
from twin_gateway.mapping.model import MappedDevice, MappedPoint
from twin_gateway.mapping.model import Mapping as PointMapping

_DIGITS = 6
_IED_UNITS = {"MMXU1.TotW": 1e-3, "MMXU1.TotVAr": 1e-3, "MMTR1.SupWh": 0.01, "MMTR1.DmdWh": 0.01}
"""What the SCL files of the demo say: powers in kW and kvar, energies in pulses of 100 Wh."""
_WHOLE = frozenset({"BCR", "DPC", "ISC", "BSC", "INS"})
_STATES = frozenset({"SPS", "ACD", "ACT"})


@dataclass(slots=True)
class Wire:
    """How one address is told to its simulator.

    Attributes:
        device: that the point belongs to.
        order: the order without its value.
        member: of the order that carries the value.
        scale, bias: told = published * scale + bias.
        cdc: common data class of the point.
        invert: the device tells the opposite of a state.
    """

    device: str
    order: dict[str, Any]
    cdc: str
    member: str = "value"
    scale: float = 1.0
    bias: float = 0.0
    invert: bool = False

    def value(self, published: float) -> float | int | bool:
        """What the device tells for a published value."""
        if self.member == "connected":
            return published == 2
        if self.cdc in _STATES:
            return bool(published) != self.invert
        told = published * self.scale + self.bias
        return round(told) if self.cdc in _WHOLE else float(f"{told:.{_DIGITS}g}")

    def line(self, published: float, at: float | None = None) -> str:
        """The order as a line of JSON; `at` is the Unix time of the change where the device keeps it."""
        order = {**self.order, self.member: self.value(published)}
        if at is not None and ("ioa" in order or "ref" in order):
            order["time"] = round(at, 3)
        return json.dumps(order) + "\n"


@dataclass(slots=True)
class Wiring:
    """All wires of a mapping.

    Attributes:
        wires: by address.
        sources: address of the position that a device reports, by what `reported` makes of a line.
    """

    wires: dict[str, Wire] = field(default_factory=dict)
    sources: dict[tuple[str, str], str] = field(default_factory=dict)

    def address_of(self, device: str, line: Mapping[str, Any]) -> tuple[str, int] | None:
        """Address and new position that a simulator tells of in a line; None when the line tells of none.

        Args:
            device: whose simulator it is; the line may name another one behind the same port.
            line: as read from stdout.
        """
        match line:
            case {"moved": ioa, "value": value}:
                key, position = (device, f"ioa {ioa}"), int(value)
            case {"operated": reference, "value": value}:
                key, position = (device, str(reference)), int(value)
            case {"meter": meter, "connected": connected}:
                key, position = (str(meter), "disconnector"), 2 if connected else 1
            case _:
                return None
        address = self.sources.get(key)
        return (address, position) if address is not None else None


def wire_up(mapping: PointMapping, registers: Mapping[tuple[str, str], str], positions: Iterable[str]) -> Wiring:
    """Wires for every point that a device gives.

    Args:
        mapping: the checked mapping.
        registers: unit of each register by meter and OBIS code, as in the simulators' files.
        positions: addresses of everything that moves by command.
    """
    wiring, moving = Wiring(), frozenset(positions)
    for device, point in mapping.points():
        wire = _wire(device, point, registers)
        wiring.wires.setdefault(point.address, wire)
        if point.address in moving:
            wiring.sources[device.name, _source(device.protocol, point)] = point.address
    return wiring


def _source(protocol: str, point: MappedPoint) -> str:
    if protocol == "iec104":
        return f"ioa {point.fields['ioa']}"
    return str(point.fields["ref"]) if protocol == "iec61850" else "disconnector"


def _wire(device: MappedDevice, point: MappedPoint, registers: Mapping[tuple[str, str], str]) -> Wire:
    fields, profile = point.fields, point.profile
    wire = Wire(device.name, {}, profile.cdc, invert=profile.invert)
    if device.protocol in {"iec104", "coap"}:
        wire.scale, wire.bias = 1.0 / profile.gain, -profile.bias / profile.gain
    if device.protocol == "iec104":
        common = getattr(device.config, "common_address", (1,))[0]
        wire.order = {"common_address": int(fields.get("common_address") or common), "ioa": fields["ioa"]}
    elif device.protocol == "iec61850":
        wire.order = {"ref": fields["ref"]}
        wire.scale = _IED_UNITS.get(str(fields["ref"]).partition("/")[2], 1.0)
    elif device.protocol == "dlms":
        wire.order = {"meter": device.name, "obis": fields["obis"]}
        if profile.cdc == "DPC":
            wire.order, wire.member = {"meter": device.name}, "connected"
        elif profile.unit is not None:
            counted = unit(registers[device.name, str(fields["obis"])])
            wire.scale = profile.unit.factor / counted.factor
    else:
        wire.order = {"device": device.name, "path": fields["path"]}
        name = fields.get("name") or fields.get("pointer")
        if name:
            wire.order["name"] = name
    return wire
