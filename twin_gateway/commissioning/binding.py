"""The bindings of an address as one text and one digest each: what a record of commissioning was made with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from address_space.point import PointProfile
from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.plant import is_commanded

Bound = tuple[MappedDevice, MappedPoint]
_ENDPOINT: Final = (
    "host",
    "port",
    "uri",
    "endpoint",
    "redundant",
    "ied",
    "common_address",
    "logical_device",
    "interface",
    "unit",
)
"""Fields of device sections, of any protocol, that say which device answers."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What an address is bound to.

    Attributes:
        text: for people: the alias of each source, the best first.
        digest: of everything that decides which value the address has; equal for equal bindings.
        command_text, command_digest: the same of the command; empty where nothing is commanded. The endpoint of the
            device belongs to it: another endpoint may be another switch.
    """

    text: str
    digest: str
    command_text: str = ""
    command_digest: str = ""


def binding_of(bound: Sequence[Bound]) -> Binding:
    """The binding of one address, of all the lines that map it."""
    values = [each for each in bound if each[1].role != "command"]
    commands = [each for each in bound if is_commanded(each[1])]
    return Binding(
        ", ".join(_alias(device, point.source) for device, point in values),
        _digest([_value_part(device, point) for device, point in values]) if values else "",
        ", ".join(dict.fromkeys(_command_alias(device, point) for device, point in commands)),
        _digest([_command_part(device, point) for device, point in commands]) if commands else "",
    )


def digests_of(lines: Iterable[Bound]) -> dict[str, str]:
    """Address -> digest of its binding, of lines that map them: all lines of each address."""
    bound: dict[str, list[Bound]] = {}
    for each in lines:
        bound.setdefault(each[1].address, []).append(each)
    return {address: binding_of(each).digest for address, each in bound.items()}


def binding_of_whole(device: MappedDevice, point: BoundPoint, profile: PointProfile, source: int | str) -> Binding:
    """The binding of a point that only the device has named (`all:`)."""
    part = {**_device_part(device), "fields": dict(point.fields), "cdc": point.cdc, **_scaling(profile)}
    commanded = point.control is not None and point.control.get("model") != "status-only"
    text = _alias(device, source)
    if not commanded:
        return Binding(text, _digest([part]))
    command = {**part, "control": dict(point.control or {}), "endpoint": endpoint_of(device)}
    return Binding(text, _digest([part]), text, _digest([command]))


def endpoint_of(device: MappedDevice) -> dict[str, Any]:
    """Where a device is reached, of the fields that its section has."""
    names: set[str] = {name for name in _ENDPOINT if name in type(device.config).model_fields}
    return device.config.model_dump(mode="json", include=names)


def _device_part(device: MappedDevice) -> dict[str, Any]:
    return {"device": device.name, "protocol": device.protocol}


def _scaling(profile: PointProfile) -> dict[str, Any]:
    unit = profile.unit.symbol if profile.unit is not None else ""
    return {"gain": profile.gain, "bias": profile.bias, "invert": profile.invert, "unit": unit}


def _value_part(device: MappedDevice, point: MappedPoint) -> dict[str, Any]:
    return {
        **_device_part(device),
        "role": point.role,
        "rank": point.rank,
        "fields": point.fields,
        "cdc": point.profile.cdc,
        **_scaling(point.profile),
    }


def _command_part(device: MappedDevice, point: MappedPoint) -> dict[str, Any]:
    return {**_value_part(device, point), "control": point.control, "endpoint": endpoint_of(device)}


def _alias(device: MappedDevice, source: int | str) -> str:
    return f"{device.spec.scheme}:{device.spec.alias(device.name, device.config, source)}"


def _command_alias(device: MappedDevice, point: MappedPoint) -> str:
    source = device.spec.command_source(device.config, point.fields, point.control or {})
    return _alias(device, source)


def _digest(parts: Iterable[dict[str, Any]]) -> str:
    text = json.dumps(list(parts), sort_keys=True, default=str, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]
