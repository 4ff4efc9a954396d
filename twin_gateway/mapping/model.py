"""What mapping files say once they are read, expanded and checked: devices, points, and requests for whole models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from address_space.point import Point, PointProfile
from twin_gateway.drivers.contract import BoundPoint, DeviceConfig, ProtocolSpec
from twin_gateway.mapping.alarm_rule import AlarmRule

if TYPE_CHECKING:
    from twin_gateway.mapping.packed import Packed

Role = Literal["read", "command", "backup", "verify"]


@dataclass(slots=True)
class MappedPoint:
    """One binding of one address to one device.

    Attributes:
        address: canonical text of the technological address.
        profile: what the point table keeps; gain and bias hold scale, offset and unit conversion.
        fields: validated protocol fields.
        control: validated control fields; None when this binding does not command.
        source: the protocol point inside the device, as `ProtocolSpec.source` packs it.
        quantity: physical quantity of an analog point; None where the catalogue does not know.
        unit: symbol of the unit that the device delivers after scale; None when the driver knows it by itself.
        role: `read` for the binding that gives the value, also when it commands; the others as in the format.
        rank: 0 for the best source, 1 for the first backup, …
        share: the same protocol point may feed other addresses too.
        names: (LocaleId, readable name); an empty LocaleId for a name without a language.
        aliases: alias texts given in the file (protocol aliases come by themselves).
        group: bindings of one address from one list have the same number; 0 for a point with a single binding.
        file, line, col: where the point is written; for a point of a template, where the template is used.
        alarm: its alarm rule; None for none.
    """

    address: str
    profile: PointProfile
    fields: dict[str, Any]
    control: dict[str, Any] | None
    source: int | str
    quantity: str | None
    unit: str | None
    role: Role
    rank: int
    share: bool
    names: tuple[tuple[str, str], ...]
    aliases: tuple[str, ...]
    file: str
    line: int
    col: int
    group: int = 0
    alarm: AlarmRule | None = None

    def point(self, device: str) -> Point:
        """The point as the point table takes it."""
        if not self.names:
            return Point(self.address, self.profile, device, self.source, "", self.aliases)
        further = tuple((locale, name) for locale, name in self.names if locale)
        return Point(self.address, self.profile, device, self.source, self.display_name, self.aliases, further)

    @property
    def display_name(self) -> str:
        """The name for those who ask for no language: the plain one, else the English, else the first; may be empty."""
        names = dict(self.names)
        return names.get("") or names.get("en") or next(iter(names.values()), "")

    def bound(self, row: int) -> BoundPoint:
        """The point as the driver takes it, once it has a row in the table."""
        profile = self.profile
        return BoundPoint(
            row,
            self.address,
            profile.cdc,
            profile.value_type,
            self.fields,
            self.control,
            self.quantity,
            self.unit,
            profile.stale_after or None,
        )


@dataclass(frozen=True, slots=True)
class WholeModel:
    """`all: LD0` at a place: every data object of a logical device that no line names, known from the device itself.

    Attributes:
        place: canonical text of the place, six levels with fillers where needed, without the function.
        logical_device: name as in the file.
    """

    place: str
    logical_device: str
    file: str
    line: int
    col: int


@dataclass(slots=True)
class MappedDevice:
    """One device: the section for its driver and the points it gives.

    Attributes:
        name: also the name of its link.
        spec: declaration of its protocol.
        config: validated device section with secrets filled in.
        place: grid, area and site as an address text, for points that are found at run time.
        whole: `all:` requests.
        files: SHA-256 (hex) of the content of every file that the section names, by field, as it was at the check.
        packed: the points as they came from another process or from the cache, until somebody asks for them.
    """

    name: str
    spec: ProtocolSpec
    config: DeviceConfig
    place: str
    file: str
    line: int
    col: int
    whole: list[WholeModel] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    packed: Packed | None = field(default=None, repr=False)
    _points: list[MappedPoint] = field(default_factory=list, repr=False)

    @property
    def points(self) -> list[MappedPoint]:
        """The points in the order of the files. Those that are packed are unpacked first, once (some 2 us a point)."""
        packed = self.packed
        if packed is not None:
            self._points = packed.points()
            self.packed = None
        return self._points

    @points.setter
    def points(self, points: list[MappedPoint]) -> None:
        self.packed = None
        self._points = points

    @property
    def point_count(self) -> int:
        """Number of points; unpacks none."""
        packed = self.packed
        return packed.count if packed is not None else len(self._points)

    @property
    def protocol(self) -> str:
        """Name of the protocol, `iec104`."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Former:
    """`was:` at a point or a place: the address it had before a move.

    Attributes:
        was: the former address, of a point or of a place.
        address: the address now.
        until: the last day on which the former address still leads to the new one; None: 400 days from the move.
    """

    was: str
    address: str
    until: date | None
    file: str
    line: int
    col: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A tombstone under `retired:`: the address of a place, function or point that is not used again.

    Attributes:
        date: the day it was retired.
        successor: the address that took its place; empty when there is none.
    """

    address: str
    date: date
    reason: str
    successor: str
    file: str
    line: int
    col: int


@dataclass(slots=True)
class Mapping:
    """All devices of a set of files.

    Attributes:
        devices: in the order of the files.
        place_aliases: (alias, address of a place) pairs.
        former: former addresses of moved points and places.
        retired: tombstones by address.
        files: SHA-256 (hex) of every mapping file as it was read.
        secrets_missing: a secret was not found and the check was told to go on: not fit to run with.
    """

    devices: list[MappedDevice] = field(default_factory=list)
    place_aliases: list[tuple[str, str]] = field(default_factory=list)
    former: list[Former] = field(default_factory=list)
    retired: dict[str, Retired] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)
    secrets_missing: bool = False

    def points(self) -> Iterator[tuple[MappedDevice, MappedPoint]]:
        """Every binding with its device."""
        for device in self.devices:
            for point in device.points:
                yield device, point

    @property
    def point_count(self) -> int:
        """Number of bindings."""
        return sum(device.point_count for device in self.devices)
