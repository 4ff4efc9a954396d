"""Technological addresses for CIM objects: the place by the container chain, the equipment by letters and name."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from address_space.address import FILLER, MAX_SEGMENT, escape
from twin_gateway.grid.cim_objects import CimObject, CimObjects

LETTERS: Final = {
    "Breaker": "QA",
    "Recloser": "QA",
    "LoadBreakSwitch": "QB",
    "Sectionaliser": "QB",
    "Disconnector": "QB",
    "Switch": "QB",
    "Jumper": "QB",
    "Cut": "QB",
    "GroundDisconnector": "QC",
    "Fuse": "FC",
    "ACLineSegment": "WB",
    "BusbarSection": "WA",
    "PowerTransformer": "TA",
    "LinearShuntCompensator": "CA",
    "NonlinearShuntCompensator": "CA",
    "EnergyConsumer": "LD",
    "ConformLoad": "LD",
    "NonConformLoad": "LD",
    "EnergySource": "SRC",
    "PowerElectronicsConnection": "GP",
    "PhotovoltaicUnit": "GP",
    "BatteryUnit": "GB",
    "ConnectivityNode": "CN",
    "FaultIndicator": "BF",
}
"""Letters before the name of equipment (IEC 81346-2 where it has some)."""
_ORDINAL: Final = re.compile(r"(EHV|HV|MV|LV)[0-9]{1,2}\Z")
_PARENTS: Final = {
    "Bay": ("Bay.VoltageLevel", "Bay.Substation"),
    "VoltageLevel": ("VoltageLevel.Substation",),
    "Substation": ("Substation.Region",),
    "Feeder": ("Feeder.NormalEnergizingSubstation",),
    "Line": ("Line.Region",),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container stands: area, site, name of its VoltageLevel (empty when it has none), bay (or the filler)."""

    area: str
    site: str
    level: str
    bay: str


@dataclass(slots=True)
class CimPlaces:
    """Gives addresses; all equipment is announced before the first is asked for, so that names that meet are seen.

    Attributes:
        grid: level 1.
        area: level 2; empty for the name of the SubGeographicalRegion.
    """

    objects: CimObjects
    grid: str
    area: str = ""
    _places: dict[str, Place] = field(default_factory=dict)
    _volts: dict[tuple[str, str], set[tuple[float, str]]] = field(default_factory=lambda: defaultdict(set))
    _wishes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _wanted: dict[str, str] = field(default_factory=dict)

    def place(self, container: str) -> Place:
        """Place of a container by its identity; fillers where the chain ends early."""
        known = self._places.get(container)
        if known is None:
            known = self._places[container] = self._walk(container)
        return known

    def _walk(self, container: str) -> Place:
        area, site, level, bay = "", "", "", ""
        seen: set[str] = set()
        item = self.objects.objects.get(container)
        while item is not None and item.id not in seen:
            seen.add(item.id)
            name = segment(item.name or item.id, item.id)
            if item.kind == "Bay":
                bay = name
            elif item.kind == "VoltageLevel":
                level = item.name or item.id
            elif item.kind in ("Substation", "Line", "Feeder"):
                site = site or name
            elif item.kind == "SubGeographicalRegion":
                area = name
            parents = _PARENTS.get(item.kind, ())
            item = next((found for key in parents if (found := self._object(item.values.get(key, "")))), None)
        return Place(self.area or area or FILLER, site or FILLER, level, bay or FILLER)

    def _object(self, identity: str) -> CimObject | None:
        return self.objects.objects.get(identity)

    def announce(self, container: str, volts: float, item: CimObject, letters: str = "", name: str = "") -> None:
        """Say that an object will ask for an address."""
        place = self.place(container)
        self._volts[place.area, place.site].add((volts, place.level))
        found = named(letters or LETTERS[item.kind], name or item.name or item.id[:8], item.id)
        key = "\0".join((place.area, place.site, f"{volts:g}", place.level, place.bay, found)).lower()
        self._wishes[key].append(item.id)
        self._wanted[item.id] = key + "\0" + found

    def address(self, item: CimObject, container: str, volts: float) -> str:
        """The address of an announced object. Objects whose names meet all get part of their identity at the end."""
        place = self.place(container)
        key, _, name = self._wanted[item.id].rpartition("\0")
        if len(self._wishes[key]) > 1:
            name = f"{name[: MAX_SEGMENT - 9]}_{segment(item.id[:8], item.id)}"
        level = self._level(place, volts)
        return "/".join((self.grid, place.area, place.site, level, place.bay, name))

    def site(self, container: str) -> str:
        """The address of the site of a container."""
        place = self.place(container)
        return f"{self.grid}/{place.area}/{place.site}"

    def _level(self, place: Place, volts: float) -> str:
        """Ordinal of a voltage level within its site: HV1, MV1, MV2, LV1 by falling voltage."""
        if _ORDINAL.match(place.level):
            return place.level
        kind = _kind(volts)
        here = self._volts[place.area, place.site]
        alike = [entry for entry in here if _kind(entry[0]) == kind and not _ORDINAL.match(entry[1])]
        order = sorted(alike, key=lambda entry: (-entry[0], entry[1]))
        return f"{kind}{order.index((volts, place.level)) + 1}"


def _kind(volts: float) -> str:
    return "EHV" if volts > 300_000 else "HV" if volts > 52_000 else "MV" if volts > 1_000 else "LV"


def named(letters: str, name: str, identity: str) -> str:
    """Letters and name in one segment; a name that begins with the letters and a number stays as it is."""
    if re.match(rf"{letters}[0-9]", name):
        return segment(name, identity)
    return segment(letters + name, identity)


def segment(name: str, identity: str) -> str:
    """A legal segment from any name; one that gets too long ends in part of the identity."""
    found = escape(name)
    if len(found) <= MAX_SEGMENT:
        return found
    tail = "_" + "".join(char for char in identity if char.isascii() and char.isalnum())[:8]
    while len(escape(name)) > MAX_SEGMENT - len(tail):
        name = name[:-1]
    return escape(name) + tail
