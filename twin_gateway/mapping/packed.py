"""Points of a device in compact columns: how they travel between processes, lie in the cache, and wait to be used.

Points of one shape (profile, unit, role, names, alarm rule and the like) share one entry; what differs is a column, and
a column of equal values is one value. The columns are JSON, so that reading them runs nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any, Final

from address_space import units
from address_space.catalogue import ValueType, VariableKind
from address_space.point import PointProfile
from twin_gateway.mapping.alarm_rule import AlarmRule
from twin_gateway.mapping.point import MappedPoint

CONTAINER_DEPTH: Final = 7
"""Six place levels and the function: everything above the data object."""
_LEVEL: Final = 1
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_MOST: Final = 1 << 30
"""Octets of the columns of one device at most: what claims to be more is damaged."""


class PackingError(ValueError):
    """The points cannot be packed, or what was packed is damaged."""


@dataclass(slots=True)
class Packed:
    """The points of one device in one file.

    Attributes:
        body: the columns, as JSON, compressed.
        count: how many points.
        containers: the distinct addresses of functions (seven levels) in the order in which they first occur.
        aliases: (alias, address) pairs of the points.
        targets: whether an alarm rule compares with another point.
        file: name of the file that they are written in.
        first_group: added to the numbers of groups, which count from 1 in every file.
    """

    body: bytes
    count: int
    containers: list[str]
    aliases: list[tuple[str, str]]
    targets: bool
    file: str
    first_group: int = 0
    shapes: dict[str, _Shape] = field(default_factory=dict)
    """Shapes already read, shared by all that is unpacked together."""

    def same(self, other: Packed | None) -> bool:
        """Whether both hold the same points, whatever the files are called."""
        return other is not None and self.count == other.count and self.body == other.body

    def points(self) -> list[MappedPoint]:
        """The points, made anew with every call.

        Raises:
            PackingError: they are damaged.
        """
        try:
            return self._points(_columns(self.body))
        except (LookupError, TypeError, ValueError) as error:
            raise PackingError(f"packed points of {self.file} are damaged: {error}") from error

    def addresses(self) -> list[str]:
        """The addresses, in no special order.

        Raises:
            PackingError: they are damaged.
        """
        try:
            return [address for kind in _columns(self.body)["kinds"] for address in kind["address"].split("\n")]
        except (LookupError, TypeError, ValueError) as error:
            raise PackingError(f"packed points of {self.file} are damaged: {error}") from error

    def _points(self, columns: dict[str, Any]) -> list[MappedPoint]:
        out: list[Any] = [None] * self.count
        file = self.file
        for kind in columns["kinds"]:
            shape = self._shape(kind["shape"])
            rows, addresses = kind["rows"], kind["address"].split("\n")
            count = len(rows)
            fields = _fields(kind["fields"], count)
            profile, quantity, unit, role, rank, share, names, alarm = shape
            rest = (_column(kind[name], count) for name in ("source", "line", "col"))
            for row, address, own, source, line, col in zip(rows, addresses, fields, *rest, strict=True):
                out[row] = MappedPoint(
                    address, profile, own, None, source, quantity, unit, role, rank, share, names, (), file,
                    line, col, 0, alarm,
                )  # fmt: skip
        for row, control in columns["control"]:
            out[row].control = control
        for row, group in columns["group"]:
            out[row].group = group + self.first_group
        for row, aliases in columns["aliases"]:
            out[row].aliases = tuple(aliases)
        if None in out:
            raise PackingError(f"packed points of {self.file} are damaged: some are missing")
        return out

    def _shape(self, text: str) -> _Shape:
        found = self.shapes.get(text)
        if found is None:
            found = self.shapes[text] = _read_shape(json.loads(text))
        return found


_Shape = tuple[PointProfile, str | None, str | None, Any, int, bool, tuple[tuple[str, str], ...], AlarmRule | None]


def pack(points: Sequence[MappedPoint], file: str) -> Packed:
    """The points of one device, all written in one file, in columns.

    Raises:
        PackingError: a point holds what JSON does not (fields of a foreign plug-in's own types).
    """
    texts: dict[tuple[Any, ...], str] = {}
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for row, point in enumerate(points):
        alarm = point.alarm
        key = (
            id(point.profile), point.quantity, point.unit, point.role, point.rank, point.share, point.names,
            id(alarm) if alarm is not None else 0, tuple(point.fields),
        )  # fmt: skip
        rows = kinds.get(key)
        if rows is None:
            rows = kinds[key] = []
            texts[key] = _shape_text(point)
        rows.append(row)
    columns = {
        "kinds": [_kind(texts[key], rows, points) for key, rows in kinds.items()],
        "control": [(row, _plain(point.control)) for row, point in enumerate(points) if point.control is not None],
        "group": [(row, point.group) for row, point in enumerate(points) if point.group],
        "aliases": [(row, point.aliases) for row, point in enumerate(points) if point.aliases],
    }
    body = zlib.compress(json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode(), _LEVEL)
    containers = dict.fromkeys(container_of(point.address) for point in points)
    aliases = [(alias, point.address) for point in points for alias in point.aliases]
    targets = any(point.alarm is not None and point.alarm.target for point in points)
    return Packed(body, len(points), list(containers), aliases, targets, file)


def container_of(address: str) -> str:
    """The function that a point belongs to, with its place."""
    return "/".join(address.split("/", CONTAINER_DEPTH)[:CONTAINER_DEPTH])


def _columns(body: bytes) -> dict[str, Any]:
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(body, _MOST)
    except zlib.error as error:
        raise PackingError(str(error)) from error
    if not reader.eof:
        raise PackingError("the columns are cut off, or too many")
    found: dict[str, Any] = json.loads(text)
    return found


# ---- columns of the points of one shape


def _kind(shape: str, rows: list[int], points: Sequence[MappedPoint]) -> dict[str, Any]:
    some = [points[row] for row in rows]
    names = tuple(some[0].fields)
    return {
        "shape": shape,
        "rows": rows,
        "address": "\n".join([point.address for point in some]),
        "fields": {name: _packed_column([_scalar(point.fields[name]) for point in some]) for name in names},
        "source": _packed_column([point.source for point in some]),
        "line": _packed_column([point.line for point in some]),
        "col": _packed_column([point.col for point in some]),
    }


def _packed_column(values: list[Any]) -> list[Any]:
    """One value for all when they are equal, and of one type: true is no 1."""
    first = values[0]
    if values.count(first) == len(values) and len({*map(type, values)}) == 1:
        return [first]
    return values


def _column(values: list[Any], count: int) -> Iterable[Any]:
    return values if len(values) == count else repeat(values[0], count)


def _fields(columns: dict[str, list[Any]], count: int) -> list[dict[str, Any]]:
    """The fields of each point, in the order of the columns."""
    first = {name: values[0] for name, values in columns.items()}
    made = [first.copy() for _ in range(count)]
    for name, values in columns.items():
        if len(values) == count:
            for fields, value in zip(made, values, strict=True):
                fields[name] = value
    return made


def _scalar(value: Any) -> Any:
    if type(value) not in _SCALARS:
        raise PackingError(f"a field holds a {type(value).__name__}")
    return value


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _scalar(value) for name, value in fields.items()}


# ---- what points share


def _shape_text(point: MappedPoint) -> str:
    profile, alarm = point.profile, point.alarm
    return json.dumps(
        [
            [
                profile.cdc, int(profile.value_type), profile.kind.value, profile.enumeration,
                profile.unit.symbol if profile.unit is not None else None, profile.gain, profile.bias, profile.deadband,
                profile.stale_after, profile.invert, profile.controllable, profile.low, profile.high,
            ],
            point.quantity, point.unit, point.role, point.rank, point.share, point.names,
            asdict(alarm) if alarm is not None else None,
        ],
        ensure_ascii=False,
    )  # fmt: skip


def _read_shape(document: list[Any]) -> _Shape:
    (cdc, value_type, kind, enumeration, unit, *numbers), quantity, own_unit, role, rank, share, names, alarm = document
    profile = PointProfile(
        cdc,
        ValueType(value_type),
        VariableKind(kind),
        enumeration,
        units.unit(unit) if unit is not None else None,
        *numbers,
    )
    rule = None
    if alarm is not None:
        make: Callable[[Any], Any] = tuple
        rule = AlarmRule(**{name: make(value) if isinstance(value, list) else value for name, value in alarm.items()})
    return profile, quantity, own_unit, role, rank, share, tuple((locale, name) for locale, name in names), rule
