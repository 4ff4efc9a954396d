"""The order of keys in a mapping file, as the project's own files are written; names of people's choice keep theirs."""

from __future__ import annotations

from functools import cache
from typing import Final

from twin_gateway.drivers.registry import fault_of, protocol, protocol_names
from twin_gateway.mapping.schema import ALARM_FIELDS

Order = tuple[str, ...]
TOP: Final[Order] = ("mapping", "grid", "place", "templates", "devices", "retired")
DEVICE_FIRST: Final[Order] = ("protocol", "display_name", "place")
DEVICE_LAST: Final[Order] = ("use", "with", "all", "points", "at")
"""Between them the fields of the driver, in the order of whoever wrote them."""
TEMPLATE: Final[Order] = ("protocol", "params", "use", "with", "points")
PLACE: Final[Order] = ("use", "with", "all", "aliases", "was", "points")
ALARM: Final[Order] = ALARM_FIELDS
_FIRST: Final[Order] = ("device", "role")
_LAST: Final[Order] = (
    *("unit", "scale", "offset", "invert", "deadband", "stale_after", "display_unit", "share"),
    *("control", "alarm", "display_name", "aliases", "was"),
)
_CONTROL_FIRST: Final[Order] = ("ioa", "type", "model")


@cache
def point(name: str) -> Order:
    """Fields of a point line of a protocol: where it comes from, what it is, how it is treated, what it is called."""
    own = tuple(spec.name for spec in protocol(name).point_fields) if _known(name) else ()
    return (*_FIRST, *own, *_LAST)


@cache
def control(name: str) -> Order:
    """Fields of the `control` of a point."""
    own = tuple(spec.name for spec in protocol(name).control_fields) if _known(name) else ()
    return (*_CONTROL_FIRST, *(key for key in own if key not in _CONTROL_FIRST), "absent", "feedback")


def _known(name: str) -> bool:
    return name in protocol_names() and not fault_of(name)
