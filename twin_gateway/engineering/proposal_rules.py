"""From something unmapped to a point line: which key it gets by the rules of its protocol, or why it gets none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from address_space.address import escape
from twin_gateway.drivers.iec104.types import BY_NAME, Family
from twin_gateway.engineering.draft import PointDraft, Value, at_key
from twin_gateway.mapping.model import MappedDevice

_LONGEST_LEVEL: Final = 48


class NotProposedError(ValueError):
    """No point line can be made of it; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(slots=True)
class Row:
    """A point line with the place it is proposed for.

    Attributes:
        at: at-key.
        point: the line; its comment says what is known of it.
        guessed: the place is a generic one, for somebody to put right.
    """

    at: str
    point: PointDraft
    guessed: bool = True


@dataclass(slots=True)
class Known:
    """What the rules may look at.

    Attributes:
        device: as the mapping files have it.
        at: at-keys (voltage level, bay, equipment) of the device's points, by a part of their binding.
    """

    device: MappedDevice
    at: dict[str, tuple[str, str, str]] = field(default_factory=dict)


def home_of(device: MappedDevice, part: str = "") -> str:
    """At-key of what stands at the device itself, for no better place is known."""
    name = escape(device.name) + (f"-{escape(part)}" if part else "")
    return at_key("_", "_", name[:_LONGEST_LEVEL].rstrip("-"), apart=True)[0]


_OBJECTS_104: Final[Mapping[Family, str]] = {
    Family.SINGLE: "Ind",
    Family.DOUBLE: "DPCSO",
    Family.STEP: "IntIn",
    Family.BITSTRING: "IntIn",
    Family.NORMALISED: "AnIn",
    Family.NORMALISED_BARE: "AnIn",
    Family.SCALED: "AnIn",
    Family.FLOAT: "AnIn",
    Family.COUNTER: "CntVal",
    Family.PROTECTION: "Ind",
    Family.PROTECTION_START: "Ind",
    Family.PROTECTION_OUTPUT: "Ind",
    Family.PACKED_SINGLE: "IntIn",
}
"""Data object of GGIO that takes what a type carries; its number is the object address."""


def _of_104(known: Known, stray: Mapping[str, Any]) -> Row:
    fields = stray["fields"]
    station, ioa, name = int(fields["common_address"]), int(fields["ioa"]), str(fields["type"])
    stations = list(getattr(known.device.config, "common_address", ()))
    kind = BY_NAME.get(name)
    if stray["reason"] == "other type":
        hint = "put the type of its line right, or give it a line of its own beside it"
        raise NotProposedError(f"object {station}/{ioa} is mapped with another type than {name}", hint)
    if kind is None or not kind.monitor:
        raise NotProposedError(f"type {name} is not known")
    if station not in stations:
        hint = f"add {station} to common_address of {known.device.name}, then it is proposed"
        raise NotProposedError(f"station {station} is not one of the device's", hint)
    line: dict[str, Value] = {"ioa": ioa, "type": name}
    if station != stations[0]:
        line["common_address"] = station
    key = f"GGIO{stations.index(station) + 1}/{_OBJECTS_104[kind.family]}{ioa}"
    return Row(home_of(known.device), PointDraft(key, line))


def _of_61850(known: Known, stray: Mapping[str, Any]) -> Row:
    reference = str(stray["fields"]["ref"])
    inst, _, rest = reference.partition("/")
    node, *path = rest.partition("[")[0].split(".")
    key = "/".join((node, *path))
    line: dict[str, Value] = dict(stray["fields"])
    levels = known.at.get(f"{inst}/{node}")
    if levels is not None:
        at, before = at_key(*levels)
        return Row(at, PointDraft(before + key, line), guessed=False)
    several = len({name.partition("/")[0] for name in known.at} | {inst}) > 1
    return Row(home_of(known.device, inst if several else ""), PointDraft(key, line))


RULES: Final[Mapping[str, Callable[[Known, Mapping[str, Any]], Row]]] = {
    "iec104": _of_104,
    "iec61850": _of_61850,
    "goose": _of_61850,
}
"""By protocol. Raises NotProposedError."""


def places_known(device: MappedDevice) -> dict[str, tuple[str, str, str]]:
    """Where the device's points of each logical node stand (`LD0/MMXU1`), as far as they stand at one place."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for point in device.points:
        reference = point.fields.get("ref")
        if isinstance(reference, str) and "/" in reference:
            inst, _, rest = reference.partition("/")
            levels = point.address.split("/")
            found.setdefault(f"{inst}/{rest.partition('.')[0]}", set()).add((levels[3], levels[4], levels[5]))
    return {name: places.pop() for name, places in found.items() if len(places) == 1}
