"""What is odd about devices that were read once: no answer, bad quality, times, types, units, descriptions, strays."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from address_space import units

FAR_S: Final = 60.0
"""The newest time that a device gives may lie so far back."""
_EARLIEST: Final = "2000"
_TIME_WORDS: Final = {
    "invalid": ("time invalid", "the device marks its time invalid"),
    "notSynchronised": ("time not synchronised", "the device says that its clock is not synchronised"),
    "future": ("time far off", "the device's time lay more than 2 s ahead and was replaced"),
    "doubtful": ("time not synchronised", "the device marks its clock doubtful"),
    "substituted": ("time not synchronised", "the time was given on the way, not by the device"),
}
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "frequency": (45.0, 65.0),
    "temperature": (-60.0, 250.0),
    "current": (-1e5, 1e5),
    "active power": (-1e10, 1e10),
    "reactive power": (-1e10, 1e10),
    "apparent power": (-1e10, 1e10),
}
"""Quantity -> lowest and highest value, in the canonical unit, that a distribution grid may have; 0 is always one."""
_VOLTAGES: Final[Mapping[str, tuple[float, float]]] = {"LV": (1.0, 2e3), "MV": (50.0, 1e5), "HV": (500.0, 1.5e6)}
"""Letters of the voltage level in the address -> least and largest voltage (V), but for a dead line."""
_POWER_FACTOR: Final = re.compile(r"/MMX[UN]\d*/(?:(?:Tot)?PF|(?:Av|Max|Min)PFPhs)(?:/|$)")
_NAMED: Final = 3
"""Strays that are named; the rest is counted."""
OFFERED: Final = frozenset({"unmapped member", "unmapped object", "unmapped resource"})
"""Reasons of strays that a device offers and nobody has asked for: that is usual, and no surprise."""

Expected = Mapping[str, tuple[str, str]]
"""Address -> the device that gives its value, and digest of its binding, as files say."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """One odd thing.

    Attributes:
        device: at which it is.
        address: of the point; empty for the device itself.
        kind: `no link`, `never answered`, `bad quality`, `time invalid`, `time not synchronised`, `time far off`,
            `other type`, `unit suspicious`, `description differs`, `unmapped`, `other binding` or `not there`.
        text: one sentence.
    """

    device: str
    address: str
    kind: str
    text: str


def surprises(devices: Iterable[Mapping[str, Any]], expected: Expected | None = None) -> list[Surprise]:
    """Everything odd about some devices.

    Args:
        devices: readings as of `DeviceReading.as_json`.
        expected: what the files say that are checked; None when those are what was read.
    """
    found: list[Surprise] = []
    of_device: dict[str, list[str]] = {}
    for address, (name, _) in (expected or {}).items():
        of_device.setdefault(name, []).append(address)
    for device in devices:
        found += _of_device(device)
        points: Sequence[Mapping[str, Any]] = device["points"]
        for point in points:
            found += (Surprise(device["device"], point["address"], *each) for each in _of_point(point))
        if expected is not None:
            found += _bindings(device["device"], points, expected, of_device.get(device["device"], ()))
    return found


def _of_device(device: Mapping[str, Any]) -> Iterator[Surprise]:
    name = device["device"]
    if device["state"] != "up":
        yield Surprise(name, "", "no link", device["reason"] or device["error"] or "it did not answer in time")
    back = _newest_time(device["points"])
    if back > FAR_S:
        text = (
            f"the newest time it gives lies {_duration(back)} back: a wrong clock or time zone, or nothing has changed"
        )
        yield Surprise(name, "", "time far off", text)
    for each in device["differences"]:
        yield Surprise(name, "", "description differs", _difference(each))
    strays = [each for each in device["strays"] if each["reason"] not in OFFERED]
    for each in strays[-_NAMED:]:
        where = ", ".join(f"{key} {value}" for key, value in each["fields"].items())
        text = f"{where}: {each['reason']}, came {each['count']} times, last value {each['value'] or 'not readable'}"
        yield Surprise(name, "", "other type" if each["reason"] == "other type" else "unmapped", text)
    if len(strays) > _NAMED:
        yield Surprise(name, "", "unmapped", f"and {len(strays) - _NAMED} more that no point takes")


def _newest_time(points: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from the newest time of a measured value to its arrival; 0 without any."""
    delays = [point["delay_s"] for point in points if point["delay_s"] is not None and point["unit"]]
    return min(delays, default=0.0)


def _difference(each: Mapping[str, str]) -> str:
    item, expected, found = each["item"], each["expected"], each["found"]
    if not found:
        return f"{item} is described and missing in the device"
    if not expected:
        return f"{item} is in the device and not described"
    return f"{item} is {found} in the device, {expected} in its description"


def _of_point(point: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, text) of one point."""
    error = f": {point['error']}" if point["error"] else ""
    if not point["answered"]:
        since = f"the last sample came at {point['received']}" if point["received"] else "no sample ever came"
        yield "never answered", f"{since}{error}"
        if not point["received"]:
            return
    elif not point["good"]:
        yield "bad quality", f"{point['status']} ({point['quality']}){error}"
    for word in point["time_quality"].split(","):
        if word in _TIME_WORDS:
            yield _TIME_WORDS[word]
    if point["time"] and point["time"] < _EARLIEST:
        yield "time far off", f"the device's time is {point['time']}"
    if point["device_type"]:
        yield "other type", f"the device says {point['device_type']}, the mapping {point['type']}"
    odd = _odd_value(point) if point["good"] else ""
    if odd:
        yield "unit suspicious", odd


def _odd_value(point: Mapping[str, Any]) -> str:
    value, symbol = point["value"], point["unit"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value):
        return f"{value} is no number"
    if not symbol and abs(value) > 1 and _POWER_FACTOR.search(point["address"]):
        return f"a power factor of {value:g}: a percentage?"
    if not symbol or value == 0:
        return ""
    unit = units.unit(symbol)
    canonical = value * unit.factor + unit.offset
    if unit.quantity == "voltage":
        low, high = _VOLTAGES.get(_level(point["address"]), (0.0, math.inf))
        canonical = abs(canonical)
    else:
        low, high = _RANGES.get(unit.quantity, (-math.inf, math.inf))
    if low <= canonical <= high:
        return ""
    limits = f"{low:g} to {high:g} {units.canonical(unit.quantity).symbol}"
    return f"{value:g} {symbol} is not within {limits}: look at unit, scale and the device's own prefix"


def _level(address: str) -> str:
    """`MV` of `dso1/north/PS01/MV1/…`."""
    levels = address.split("/")
    return levels[3][:2] if len(levels) > 3 else ""


def _bindings(
    device: str, points: Iterable[Mapping[str, Any]], expected: Expected, wanted: Iterable[str]
) -> Iterator[Surprise]:
    """Points that the gateway reads otherwise than the files say; points of whole models have no line to compare."""
    read = set()
    for point in points:
        read.add(point["address"])
        _, digest = expected.get(point["address"], ("", ""))
        if digest and point["binding"] and digest != point["binding"]:
            text = "the running gateway has another binding than the files: `twin-gateway apply` changes it to them"
            yield Surprise(device, point["address"], "other binding", text)
    for address in wanted:
        if address not in read:
            text = "the running gateway does not read it from this device: `twin-gateway apply` makes it do so"
            yield Surprise(device, address, "not there", text)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours // 24} days"
