"""The top of a mapping file: its own keys, its templates, and its device sections on their way to the expander."""

from __future__ import annotations

from typing import Any, Final

from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.drivers.registry import fault_of, protocol, protocol_names
from twin_gateway.mapping.device import DeviceReader
from twin_gateway.mapping.expand import Expander
from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.model import MappedDevice
from twin_gateway.mapping.place import PlaceError
from twin_gateway.mapping.problem import did_you_mean
from twin_gateway.mapping.read import BROKEN, Map, Source
from twin_gateway.mapping.template import Templates

VERSION: Final = 1
_TOP_KEYS: Final = ("mapping", "grid", "place", "templates", "devices", "retired")


def top(source: Source, templates: Templates) -> None:
    """The keys of the file itself, and its templates."""
    root = source.root
    if root is None:
        return
    for key in root:
        if key not in _TOP_KEYS:
            source.report(
                root.key_at(key), "TG201", f"no field '{key}' in a mapping file", did_you_mean(key, _TOP_KEYS)
            )
    version = root.get("mapping")
    if version is None:
        source.report(root.start, "TG202", "'mapping: 1' is missing", "the version of the format, on top of the file")
    elif version is not BROKEN and (type(version) is not int or version != VERSION):
        source.report(
            root.value_at("mapping"), "TG205", f"version {VERSION} of the format expected, not {kind_of(version)}"
        )
    if root.get("templates") is not None:
        templates.add(source, root["templates"], root.value_at("templates"))
    if not any(key in root for key in ("templates", "devices", "retired")):
        hint = "a mapping file holds devices, templates, tombstones under 'retired', or several of these"
        source.report(root.start, "TG202", "'devices' is missing", hint)


class DeviceSections:
    """The devices of one file, handed to the expander."""

    def __init__(self, source: Source, expander: Expander, reader: DeviceReader) -> None:
        self.source = source
        self.root = source.root if source.root is not None else Map()
        self.expander = expander
        self.reader = reader
        self.names: list[str] = []
        """Of all that look like devices, whatever became of them."""
        self.grid: str | None = None
        self.place: str | None = None

    def read(self) -> None:
        """Go through the devices; raises TooManyProblemsError."""
        source, root = self.source, self.root
        devices = root.get("devices")
        if devices is None or devices is BROKEN:
            return
        if not isinstance(devices, Map):
            what = f"devices: a mapping of names expected, not {kind_of(devices)}"
            source.report(root.value_at("devices"), "TG203", what)
            return
        if "grid" not in root:
            source.report(root.start, "TG202", "'grid' is missing", "level 1 of every address in this file")
        self.grid = _text(source, root, "grid")
        self.place = _text(source, root, "place")
        for i, (name, body) in enumerate(devices.items()):
            if isinstance(body, Map):
                self.device(name, devices.marks[2 * i], body)
            elif body is not BROKEN:
                what = f"device '{name}' is a mapping, not {kind_of(body)}"
                source.report(devices.marks[2 * i + 1], "TG203", what)

    def device(self, name: str, at: int, body: Map) -> None:
        """One device section: name, protocol, place, configuration."""
        source, expander = self.source, self.expander
        self.names.append(name)
        first = expander.sections.get(name)
        if first is not None:
            hint = f"first in {first.device.file}:{first.device.line}"
            source.report(at, "TG602", f"a second device '{name}'", hint)
        try:
            expander.places.check_level(name, "device name")
        except PlaceError as error:
            source.report(at, error.code, str(error), "the name is a level of the addresses of its link")
        spec = self.protocol(name, at, body)
        if "place" not in body and "place" not in self.root:
            hint = "area/site, in the device or on top of the file"
            source.report(at, "TG202", f"'place' is missing for '{name}'", hint)
        if spec is None:
            return
        base = self.base(body)
        config = self.reader.config(name, body, spec)
        sound = config is not None and base is not None
        line, col = source.where(at)
        levels = base if base is not None else ("g", "_", "_")
        device = MappedDevice(name, spec, config or DeviceConfig(), "/".join(levels), source.name, line, col)
        device.files = {field: self.expander.digest(path) for field, path in self.reader.files.items()}
        if first is None:
            expander.add(device, source, at, body, levels, sound=sound)

    def protocol(self, name: str, at: int, body: Map) -> ProtocolSpec | None:
        """The declaration of the device's protocol; None when there is none (and reported)."""
        given: Any = body.get("protocol")
        if given is None:
            hint = f"one of {', '.join(protocol_names())}"
            self.source.report(at, "TG202", f"'protocol' is missing in '{name}'", hint)
        elif isinstance(given, str) and given in protocol_names():
            fault = fault_of(given)
            if not fault:
                return protocol(given)
            self.source.report(body.value_at("protocol"), "TG601", fault, "repair or remove the plug-in's package")
        elif given is not BROKEN:
            hint = did_you_mean(str(given), protocol_names()) or f"there are {', '.join(protocol_names())}"
            self.source.report(body.value_at("protocol"), "TG601", f"no protocol '{given}'", hint)
        return None

    def base(self, body: Map) -> tuple[str, ...] | None:
        """Levels 1-3 of a device; None when they are missing or wrong (and reported, once for the file)."""
        places, source, root = self.expander.places, self.source, self.root
        own = "place" in body
        place = _text(source, body, "place") if own else self.place
        if self.grid is None or place is None:
            return None
        try:
            places.check_level(self.grid, "grid")
        except PlaceError as error:
            source.report(root.value_at("grid"), error.code, str(error), error.hint)
            return None
        try:
            return places.base(self.grid, place)
        except PlaceError as error:
            where = body.value_at("place") if own else root.value_at("place")
            source.report(where, error.code, str(error), error.hint)
            return None


def _text(source: Source, holder: Map, key: str) -> str | None:
    """A text field of the file or a device; None when it is missing or no text."""
    value = holder.get(key)
    if value is None or value is BROKEN:
        if key in holder and value is None:
            source.report(holder.value_at(key), "TG203", f"{key}: text expected, not nothing")
        return None
    if isinstance(value, bool | Map | list):
        source.report(holder.value_at(key), "TG203", f"{key}: text expected, not {kind_of(value)}")
        return None
    return value if isinstance(value, str) else source.plain_text(holder.value_at(key), value)
