"""What mapping files say once they are read, expanded and checked: devices, points, and requests for whole models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from twin_gateway.drivers.contract import DeviceConfig, ProtocolSpec
from twin_gateway.mapping.packed import Packed
from twin_gateway.mapping.point import MappedPoint


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
