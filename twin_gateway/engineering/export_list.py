"""Point lists out of a mapping: as CSV, one line a binding, and as Markdown, one table a bay, for commissioning."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from address_space import units
from address_space.address import unescape
from address_space.units import Unit
from twin_gateway.drivers.iec104.config import common_address_of
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.model import Mapping as Mapped
from twin_gateway.mapping.point import MappedPoint

COLUMNS: Final = (
    "address",
    "device",
    "protocol",
    "role",
    "host",
    "common_address",
    "ioa",
    "type",
    "nominal",
    "bit",
    "read",
    "source",
    "cdc",
    "unit",
    "display_unit",
    "scale",
    "offset",
    "deadband",
    "stale_after",
    "invert",
    "share",
    "name",
    "aliases",
    "control_ioa",
    "control_type",
    "control_model",
    "control_common_address",
    "control_qu",
    "control_qualifier",
    "control_termination",
    "control_feedback",
    "control_nominal",
    "control_absent",
)
"""Columns of a list; `import csv` knows them by these names. Names in languages follow as `name.de`."""
_FORMULA: Final = ("=", "+", "-", "@", "'")


def export_csv(mapping: Mapped, *, separator: str = ";", decimal: str = ".") -> str:
    """The list of every binding; for points of 104 `import csv` gives the same points again.

    Points of other protocols say where they come from in `source`. Alarm rules and aliases of places are not in it.
    """
    rows = [_row(device, point, decimal) for device, point in mapping.points()]
    languages = sorted({name for row in rows for name in row if name.startswith("name.")})
    out = io.StringIO()
    writer = csv.DictWriter(out, (*COLUMNS, *languages), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _row(device: MappedDevice, point: MappedPoint, decimal: str) -> dict[str, str]:
    row: dict[str, str] = {"address": point.address, "device": device.name, "protocol": device.protocol}
    row["role"] = point.role if point.group == 0 else f"{point.role} {point.rank}"
    row["host"] = str(getattr(device.config, "host", "") or "")
    row["cdc"], row["source"] = point.profile.cdc, source_text(device, point)
    if device.protocol == "iec104":
        row["common_address"] = str(common_address_of(device.config, point.fields))
        row |= {name: _cell(value, decimal) for name, value in point.fields.items() if name != "common_address"}
        if "read" in point.fields:
            row["read"] = f"{point.fields['read']:g} s"
        row |= {f"control_{name}": _cell(value, decimal) for name, value in (point.control or {}).items()}
    row |= _profile(point, decimal)
    names = dict(point.names)
    row |= {f"name.{locale}" if locale else "name": _text(name) for locale, name in names.items()}
    row["aliases"] = " ".join(point.aliases)
    row["share"] = "yes" if point.share else ""
    return row


def _profile(point: MappedPoint, decimal: str) -> dict[str, str]:
    """Unit, scale, offset, deadband and the like, as a mapping file says them."""
    profile = point.profile
    canonical = units.canonical(point.quantity) if point.quantity is not None else None
    published = profile.unit
    delivered = units.unit(point.unit) if point.unit is not None else canonical
    scale, offset = scaling(point)
    row = {
        "unit": point.unit or "",
        "display_unit": published.symbol if published is not None and published != canonical and delivered else "",
        "scale": _number(scale, decimal) if scale != 1 else "",
        "offset": _number(offset, decimal) if offset else "",
        "invert": "yes" if profile.invert else "",
        "stale_after": f"{profile.stale_after:g} s" if profile.stale_after else "",
    }
    if profile.deadband:
        symbol = f" {published.symbol}" if published is not None and published.symbol != "1" else ""
        row["deadband"] = f"{_number(profile.deadband, decimal)}{symbol}"
    return row


def scaling(point: MappedPoint) -> tuple[float, float]:
    """Scale and offset as the mapping file has them: the conversion of units is taken out of gain and bias."""
    profile = point.profile
    canonical: Unit | None = units.canonical(point.quantity) if point.quantity is not None else None
    delivered = units.unit(point.unit) if point.unit is not None else canonical
    by, plus = 1.0, 0.0
    if delivered is not None and profile.unit is not None and delivered.quantity == profile.unit.quantity:
        by, plus = units.conversion(delivered, profile.unit)
    return _fitting(profile.gain / by, by, profile.gain), _fitting((profile.bias - plus) / by, by, profile.bias - plus)


def _fitting(value: float, by: float, product: float) -> float:
    """The shortest number that gives the product again."""
    for digits in (12, 15, 16):
        near = float(f"{value:.{digits}g}")
        if near * by == product:
            return near
    return value


def source_text(device: MappedDevice, point: MappedPoint) -> str:
    """Where the point comes from, in the words of its protocol: `104:rtu-ps01/7/1010`."""
    return f"{device.spec.scheme}:{device.spec.alias(device.name, device.config, point.source)}"


def command_text(device: MappedDevice, point: MappedPoint) -> str:
    """What commands the point; empty when nothing does."""
    if point.control is None:
        return ""
    words = [str(point.control[name]) for name in ("ioa", "ref", "obis", "path") if name in point.control]
    words += [str(point.control[name]) for name in ("type", "method", "model") if name in point.control]
    return " ".join(words) or "yes"


def _cell(value: Any, decimal: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value, decimal)
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return _text(str(value))


def _number(value: float, decimal: str) -> str:
    text = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    return text.replace(".", decimal)


def _text(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def export_markdown(mapping: Mapped) -> dict[str, str]:
    """Site (`dso1/north/PS01`) -> its point list for the commissioning folder, with empty boxes to fill in."""
    sites: dict[str, dict[str, list[tuple[MappedDevice, MappedPoint]]]] = {}
    for device, point in mapping.points():
        levels = point.address.split("/")
        bay = "/".join(levels[3:5]).replace("/_", "")
        sites.setdefault("/".join(levels[:3]), {}).setdefault(bay, []).append((device, point))
    return {site: _site(site, bays) for site, bays in sorted(sites.items())}


def _site(site: str, bays: Mapping[str, list[tuple[MappedDevice, MappedPoint]]]) -> str:
    devices = {device.name: device for points in bays.values() for device, _ in points}
    count = sum(map(len, bays.values()))
    lines = [f"# Point list {site}", "", f"{count} points of {len(devices)} devices.", ""]
    lines += _table(
        ("Device", "Protocol", "Host", "Points"),
        (
            (
                name,
                device.protocol,
                str(getattr(device.config, "host", "") or getattr(device.config, "uri", "") or ""),
                str(sum(own is device for points in bays.values() for own, _ in points)),
            )
            for name, device in sorted(devices.items())
        ),
    )
    head = ("Point", "Name", "Class", "Unit", "Source", "Command", "Seen", "By, date")
    for bay, points in sorted(bays.items()):
        lines += ["", f"## {unescape_all(bay) if bay.strip('_') else 'Site'}", ""]
        ordered = sorted(points, key=lambda item: item[1].address)
        lines += _table(head, (_line(device, point) for device, point in ordered))
    return "\n".join(lines) + "\n"


def _line(device: MappedDevice, point: MappedPoint) -> tuple[str, ...]:
    unit = point.profile.unit.symbol if point.profile.unit is not None else ""
    key = "/".join(point.address.split("/")[5:]).removeprefix("_/")
    role = "" if point.group == 0 else f" ({point.role} {point.rank})"
    source = source_text(device, point) + role
    return key, point.display_name, point.profile.cdc, unit, source, command_text(device, point), "☐", ""


def unescape_all(path: str) -> str:
    """Levels in readable letters."""
    return "/".join(unescape(level) for level in path.split("/"))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [_cells(head), "|" + " --- |" * len(head), *map(_cells, rows)]


def _cells(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
