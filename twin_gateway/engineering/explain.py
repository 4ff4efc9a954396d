"""What becomes of a datum: the lines it is written in, its protocol address, every step of its value, and its names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from address_space import units
from address_space.address import parse
from address_space.alias import Resolution
from address_space.table import PointTable
from twin_gateway.engineering.written import Written, written
from twin_gateway.history.settings import HistorySettings, Selection
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.point import MappedPoint
from twin_gateway.mapping.read import Source
from twin_gateway.plant import aliases_of, gives_value, points_at
from twin_gateway.schemes import make_book

_TIMES: Final[dict[str, str]] = {
    "iec61850": "the time stamp t of the data object",
    "goose": "the time stamp t of the data object where the data set has it, else that of the message",
    "dlms": "the time of the reading; of entries of a load profile their own",
    "coap": "the time in the answer where it has one, else the arrival at the gateway",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a value: what is done and with which figures."""

    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Binding:
    """One source of a datum or way to command it, with everything that the mapping says of it."""

    device: str
    protocol: str
    role: str
    written: tuple[Written, ...]
    alias: str
    fields: dict[str, Any]
    steps: tuple[Step, ...]
    time: str
    quality: str
    control: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of one datum; `alarm` and `history` are sentences."""

    address: str
    names: dict[str, str]
    cdc: str
    type: str
    unit: str
    bindings: tuple[Binding, ...]
    alarm: dict[str, Any] | None
    history: str
    node_id: str
    browse_path: tuple[str, ...]
    topic: str
    uri: str
    aliases: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the gateway's configuration adds to mapping files; None where only mapping files are looked at."""

    authority: str = "https://example.org"
    mqtt_root: str = "twin"
    history: HistorySettings | None = None


def explain(mapping: Mapped, sources: Mapping[str, Source], text: str, setting: Setting) -> Explanation | Resolution:
    """What becomes of the datum that an address or alias names; a resolution when it names none or no point."""
    table = PointTable()
    table.add(points_at(mapping, {point.address for _, point in mapping.points()}).values())
    resolved = make_book(mapping, aliases_of(mapping), table, setting.authority, setting.mqtt_root).resolve(text)
    mine = [(device, point) for device, point in mapping.points() if point.address == resolved.address]
    if not mine:
        return resolved
    first = next((point for _, point in mine if gives_value(point)), mine[0][1])
    profile = first.profile
    rule = next((point.alarm for _, point in mine if point.alarm is not None), None)
    return Explanation(
        resolved.address,
        dict(first.names),
        profile.cdc,
        str(profile.value_type.name).lower() + (f" ({profile.enumeration})" if profile.enumeration else ""),
        profile.unit.symbol if profile.unit is not None else "",
        tuple(_binding(device, point, sources) for device, point in mine),
        {key: value for key, value in asdict(rule).items() if value not in ("", (), None)} if rule else None,
        _history(setting.history, resolved.address),
        resolved.node_id,
        ("Objects", "Grid", *parse(resolved.address).browse_path()),
        resolved.topic,
        resolved.uri,
        resolved.aliases,
    )


def _binding(device: MappedDevice, point: MappedPoint, sources: Mapping[str, Source]) -> Binding:
    spec = device.spec
    stale = point.profile.stale_after
    quality = "as the device tells it"
    quality += f"; old when nothing came for {stale:g} s (stale_after)" if stale else "; never old by age alone"
    return Binding(
        device.name,
        device.protocol,
        point.role,
        tuple(written(device, point, sources)),
        f"{spec.scheme}:{spec.alias(device.name, device.config, point.source)}",
        dict(point.fields),
        tuple(_steps(device, point)),
        _time(device, point),
        quality,
        dict(point.control) if point.control is not None else None,
    )


def _steps(device: MappedDevice, point: MappedPoint) -> Sequence[Step]:
    """From what the device sends to what is published."""
    profile = point.profile
    asked = ", ".join(f"{name} {value}" for name, value in point.fields.items())
    steps = [Step("raw", f"{device.protocol} of {device.name}: {asked}")]
    canonical = units.canonical(point.quantity) if point.quantity is not None else None
    arriving = units.unit(point.unit) if point.unit is not None else canonical
    published = profile.unit
    by, plus = units.conversion(arriving, published) if arriving is not None and published is not None else (1.0, 0.0)
    scale, offset = profile.gain / by, (profile.bias - plus) / by
    if (scale, offset) != (1.0, 0.0):
        steps.append(Step("scale", f"raw {_line(scale, offset)}"))
    if point.unit is not None and arriving is not None:
        steps.append(Step("unit", f"delivered in {arriving.symbol}"))
    elif published is not None:
        steps.append(Step("unit", f"as the device says; in {published.symbol} where it says nothing"))
    if (by, plus) != (1.0, 0.0) and published is not None:
        steps.append(Step("conversion", f"{_line(by, plus)} to {published.symbol}"))
    if profile.invert:
        steps.append(Step("invert", "the two states are exchanged"))
    if profile.deadband:
        unit = f" {published.symbol}" if published is not None else ""
        steps.append(Step("deadband", f"changes of less than {profile.deadband:g}{unit} are not published"))
    shown = f" in {published.symbol}" if published is not None else ""
    steps.append(Step("published", f"{profile.cdc}, {profile.value_type.name.lower()}{shown}"))
    return steps


def _line(factor: float, summand: float) -> str:
    sign = "+" if summand > 0 else "-"
    return f"* {factor:.12g}" + (f" {sign} {abs(summand):.12g}" if summand else "")


def _time(device: MappedDevice, point: MappedPoint) -> str:
    if device.protocol == "iec104":
        tagged = "_T" in str(point.fields.get("type", "")).removeprefix("M_")
        zone = getattr(device.config, "time_zone", "UTC")
        return f"the time tag of the device, zone {zone}" if tagged else "the arrival at the gateway: no time tag"
    return _TIMES.get(device.protocol, "as the driver of the plug-in says")


def _history(settings: HistorySettings | None, address: str) -> str:
    if settings is None:
        return "as the gateway's configuration says (none was given)"
    if address not in Selection(settings):
        return "not kept"
    return f"kept for {settings.retention_days} days"
