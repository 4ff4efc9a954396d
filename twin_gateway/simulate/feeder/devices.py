"""The simulators that play the devices of a mapping: one plan for each process, and the files that they run from."""

from __future__ import annotations

import json
import math
import os
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from address_space.units import unit
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.simulate.feeder.defaults import default_of
from twin_gateway.simulate.feeder.wiring import REGISTER_UNITS, WiringError, station_of

_STATIONS_A_PROCESS = 20
_LINK = {"tick_ms": 100, "slack_ms": 20, "t1": 5, "t2": 2, "t3": 8}
_WINDOW = 12
_PROFILE_PERIOD_S = 900
_SENML_UNITS = {"%": "%RH"}

History = Callable[[str], Sequence[float] | None]
"""Values of a point at the ends of the past quarter hours, oldest first, in published units; None when not known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulator process.

    Attributes:
        name: for people, logs and facts.
        protocol: of its devices.
        command: program and arguments.
        devices: names of the devices that it plays.
        ports: that it listens on.
    """

    name: str
    protocol: str
    command: tuple[str, ...]
    devices: tuple[str, ...]
    ports: frozenset[int]


def make_plans(
    mapping: PointMapping, folder: Path, *, travel: Callable[[str], float], history: History = lambda _address: None
) -> list[Plan]:
    """Write the simulators' files and say how they are started.

    Args:
        mapping: the checked mapping, with its secrets.
        folder: takes the files, which only their owner may read.
        travel: seconds that a switch needs, by the address of its position.
        history: of the points in load profiles.

    Raises:
        WiringError: a device cannot be played.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plans = [_ied(device) for device in mapping.devices if device.protocol == "iec61850"]
    plans += _stations([one for one in mapping.devices if one.protocol == "iec104"], folder, travel)
    plans += _meters([one for one in mapping.devices if one.protocol == "dlms"], folder, history)
    sensors = [one for one in mapping.devices if one.protocol == "coap"]
    if sensors:
        plans.append(_sensors(sensors, folder))
    return plans


def _write(path: Path, content: Mapping[str, Any]) -> str:
    # JSON is YAML, and much faster to write and read.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return str(path)


def _module(protocol: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"twin_gateway.simulate.{protocol}")


def _ied(device: MappedDevice) -> Plan:
    config: Any = device.config
    if not config.scl or not config.ied:
        raise WiringError(f"{device.name} has no SCL file to be played from")
    command = (*_module("iec61850"), config.scl, "--ied", config.ied, "--port", str(config.endpoint_port), "--still")
    return Plan(device.name, "iec61850", command, (device.name,), frozenset({config.endpoint_port}))


# -- 104 ---------------------------------------------------------------------------------------------------------------


def _stations(devices: Sequence[MappedDevice], folder: Path, travel: Callable[[str], float]) -> list[Plan]:
    plans = []
    processes = math.ceil(len(devices) / _STATIONS_A_PROCESS)
    size = math.ceil(len(devices) / max(processes, 1))
    for number in range(1, processes + 1):
        chosen = devices[(number - 1) * size : number * size]
        name = chosen[0].name if len(chosen) == 1 else f"rtus-{number}"
        stations = [station for device in chosen for station in _station(device, travel)]
        link = {**_LINK, "k": _window(stations)}
        path = _write(folder / f"{name}.iec104", {"stations": stations, **link})
        ports = frozenset(int(getattr(device.config, "port", 0)) for device in chosen)
        command = (*_module("iec104"), path)
        plans.append(Plan(name, "iec104", command, tuple(device.name for device in chosen), ports))
    return plans


def _window(stations: Sequence[Mapping[str, Any]]) -> int:
    """A send window that two events in a row do not fill, whatever they change at a port.

    With a full window the station's thread asks without a pause, with a whole core, whether it may send the rest, and
    takes the time from the very client that it waits for.
    """
    points: dict[Any, int] = {}
    for station in stations:
        points[station["port"]] = points.get(station["port"], 0) + len(station["points"])
    return max(_WINDOW, 2 * max(points.values(), default=0))


def _station(device: MappedDevice, travel: Callable[[str], float]) -> list[dict[str, Any]]:
    stations: dict[int, dict[str, Any]] = {}
    seen: set[tuple[int, int]] = set()
    for point in device.points:
        fields, common = point.fields, station_of(device, point.fields)
        port = getattr(device.config, "port", None)
        station = stations.setdefault(common, {"common_address": common, "port": port, "points": [], "commands": []})
        if (common, fields["ioa"]) not in seen:
            seen.add((common, fields["ioa"]))
            value = default_of(point.address, point.profile.cdc)
            station["points"].append({"ioa": fields["ioa"], "type": fields["type"], "value": float(value)})
        if point.control is not None:
            station["commands"].append(_control(point, travel))
    return list(stations.values())


def _control(point: MappedPoint, travel: Callable[[str], float]) -> dict[str, Any]:
    control = point.control or {}
    return {
        "ioa": control["ioa"],
        "type": control["type"],
        "model": "sbo" if str(control.get("model", "")).startswith("sbo") else "direct",
        "moves": point.fields["ioa"],
        "travel": travel(point.address),
    }


# -- meters ------------------------------------------------------------------------------------------------------------


def _meters(devices: Sequence[MappedDevice], folder: Path, history: History) -> list[Plan]:
    by_port: dict[int, list[MappedDevice]] = {}
    for device in devices:
        by_port.setdefault(int(getattr(device.config, "port", 4059)), []).append(device)
    plans = []
    for number, (port, chosen) in enumerate(by_port.items(), 1):
        name = f"meters-{number}"
        meters = {device.name: _meter(device, history) for device in chosen}
        path = _write(folder / f"{name}.dlms", {"port": port, "meters": meters})
        names = tuple(device.name for device in chosen)
        plans.append(Plan(name, "dlms", (*_module("dlms"), path), names, frozenset({port})))
    return plans


def _meter(device: MappedDevice, history: History) -> dict[str, Any]:
    config: Any = device.config
    registers: dict[str, dict[str, Any]] = {}
    columns: dict[str, MappedPoint] = {}
    switched = False
    for point in device.points:
        if point.profile.cdc == "DPC":
            switched = True
            continue
        code, quantity = str(point.fields["obis"]), point.profile.unit.quantity if point.profile.unit else ""
        symbol, scaler = REGISTER_UNITS.get(quantity, ("1", -3))
        registers[code] = {"unit": symbol, "scaler": scaler}
        if point.fields.get("profile"):
            columns[code] = point
    found: dict[str, Any] = {
        "logical_device": config.logical_device,
        "serial": f"{zlib.crc32(device.name.encode()) % 10**8:08}",
        "security": config.security,
        "client": config.client_sap,
        "registers": registers,
        "disconnector": "connected" if switched else "none",
    }
    if config.password is not None:
        found["password"] = config.password.get_secret_value()
    if config.keys is not None:
        found["keys"] = {
            name: getattr(config.keys, name).get_secret_value() for name in ("authentication", "encryption")
        }
    if columns:
        found["profile"] = _profile(columns, config.profile_depth, history)
    return found


def _profile(columns: Mapping[str, MappedPoint], depth: float, history: History) -> dict[str, Any]:
    pasts: list[Sequence[float]] = []
    for point in columns.values():
        known = history(point.address)
        if known is not None and point.profile.unit is not None:
            counted = unit(REGISTER_UNITS[point.profile.unit.quantity][0])
            pasts.append([value * point.profile.unit.factor / counted.factor for value in known])
    rows = list(map(list, zip(*pasts, strict=True))) if len(pasts) == len(columns) else []
    count = max(int(depth // _PROFILE_PERIOD_S), len(rows), 1)
    return {"columns": list(columns), "period": _PROFILE_PERIOD_S, "rows": count, "history": rows}


# -- sensors -----------------------------------------------------------------------------------------------------------


def _sensors(devices: Sequence[MappedDevice], folder: Path) -> Plan:
    content = {device.name: _sensor(number, device) for number, device in enumerate(devices)}
    path = _write(folder / "sensors.coap", {"devices": content})
    ports = frozenset(one["port"] for one in content.values())
    return Plan("sensors", "coap", (*_module("coap"), path), tuple(content), ports)


def _sensor(number: int, device: MappedDevice) -> dict[str, Any]:
    port = int(str(getattr(device.config, "uri", "")).rsplit(":", 1)[1].partition("/")[0])
    resources: dict[str, dict[str, Any]] = {}
    for point in device.points:
        fields = point.fields
        value = default_of(point.address, point.profile.cdc)
        resource = resources.setdefault(str(fields["path"]), {"max_age": 30})
        pointer = fields.get("pointer") or (f"/{fields['member']}" if fields.get("member") else "")
        if fields.get("name"):
            record: dict[str, Any] = {"value": value}
            if point.unit:
                record["unit"] = _SENML_UNITS.get(point.unit, point.unit)
            resource |= {"time": True, "period": "5 s", "format": ("senml+json", "senml+cbor")[number % 2]}
            resource.setdefault("records", {})[fields["name"]] = record
        elif pointer:
            *way, last = str(pointer).strip("/").split("/")
            node = resource.setdefault("json", {})
            for step in way:
                node = node.setdefault(step, {})
            node[last] = value
        else:
            resource["text"] = value
    return {"port": port, "resources": resources}
