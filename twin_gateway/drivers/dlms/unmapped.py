"""Objects in a meter's list that no point takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.discovery import MeterObject, description_of
from twin_gateway.drivers.strays import StrayBook

_VALUES = obis.WITH_UNIT | {obis.DATA, obis.DISCONNECT}
"""Classes that may become points."""


class MeterKey(NamedTuple):
    """Key of an object of the meter, beside those of unknown senders."""

    name: bytes


def renew(strays: StrayBook, objects: Sequence[MeterObject], points: Iterable[BoundPoint]) -> None:
    """List what the meter offers now and no point takes."""
    mapped = {_name(point) for point in points}
    free = {item.name: item for item in objects if item.class_id in _VALUES and item.name not in mapped}
    strays.forget(lambda key: isinstance(key, MeterKey) and key.name not in free)
    for name, item in free.items():
        if not item.readable(3 if item.class_id == obis.DISCONNECT else 2):
            continue
        about = description_of(item).partition(",")[0]
        fields: dict[str, object] = {"obis": obis.text(name)}
        if obis.default_class(name) != item.class_id:
            fields["class"] = item.class_id
        strays.note(MeterKey(name), "unmapped object", fields, about=about, counts=False)


def forget(strays: StrayBook, points: Iterable[BoundPoint]) -> None:
    """Points take some of it now."""
    mapped = {_name(point) for point in points}
    strays.forget(lambda key: isinstance(key, MeterKey) and key.name in mapped)


def _name(point: BoundPoint) -> bytes:
    return obis.parse(str(point.fields["obis"]))
