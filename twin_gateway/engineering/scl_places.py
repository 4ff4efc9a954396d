"""The substation section of an SCL file: at which place of the grid each logical node stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from address_space.address import AddressError, check_name, escape
from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.scl_file import SclFile
from twin_gateway.engineering.scl_parts import Ied, ln_name

_CONTAINERS: Final = ("Function", "SubFunction", "EqFunction", "EqSubFunction")
"""Functions are no level of an address: what is in them stands where the function stands."""
_EQUIPMENT: Final = ("ConductingEquipment", "GeneralEquipment", "PowerTransformer", "TransformerWinding", "TapChanger")
_PARTS: Final = ("SubEquipment", "TransformerWinding", "TapChanger")
"""Equipment inside other equipment is part of it: `TA1-W1`."""
_SITES: Final = ("Substation", "Line", "Process")
_LONGEST: Final = 48

NodeKey = tuple[str, str, str]
"""IED, inst of the logical device, name of the logical node."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place: site and levels 4 to 6, `_` for those that do not apply. `apart`: that of an IED, not of equipment."""

    site: str
    vlevel: str = "_"
    bay: str = "_"
    equipment: str = "_"
    apart: bool = False


@dataclass(slots=True)
class Spots:
    """Where everything is.

    Attributes:
        nodes: where each logical node stands.
        homes: site, voltage level and bay that an IED belongs to, as far as its logical nodes agree.
        descriptions: readable names of places.
    """

    nodes: dict[NodeKey, Spot] = field(default_factory=dict)
    homes: dict[str, Spot] = field(default_factory=dict)
    descriptions: dict[Spot, str] = field(default_factory=dict)


def find_spots(file: SclFile, site: str) -> Spots:
    """Places of all logical nodes that the substation section names.

    Args:
        file: the file; what does not hold together is reported into it.
        site: level 3 where the caller says it; then the file may have one Substation, Line or Process at most.
    """
    return _Section(file, site).run()


class _Section:
    def __init__(self, file: SclFile, site: str) -> None:
        self.file = file
        self.site = site
        self.out = Spots()
        self.known = {(ied.name, inst, ln_name(node)) for ied in file.ieds.values() for inst, node in ied.nodes()}
        self.bound: defaultdict[NodeKey, list[Element]] = defaultdict(list)
        self.names: dict[tuple[str, ...], Element] = {}
        self.volts: dict[tuple[str, str], float] = {}

    def run(self) -> Spots:
        roots = list(self.file.root.all(*_SITES))
        if self.site and len(roots) > 1:
            names = ", ".join(item.get("name") for item in roots)
            hint = "give the area alone: each becomes a site of its own name"
            self.file.report(roots[1], "TG735", f"several sites in the file ({names}), and --place says one", hint)
            return self.out
        for root in roots:
            site = self.site or self.name(root)
            if site and self.once((root.name, site), root):
                self.out.descriptions[Spot(site)] = root.get("desc")
                self.inside(root, Spot(site))
        self.collisions()
        self.homes()
        return self.out

    def name(self, element: Element) -> str:
        """The name of an element as a level; empty when it has none that could be one (and reported)."""
        name = element.get("name")
        try:
            level = escape(name)
            check_name(level, element.name)
        except AddressError as error:
            self.file.report(
                element, "TG735", f"{element.name} '{name}': {error}", "give it a name of 1 to 48 characters"
            )
            return ""
        return level

    def once(self, key: tuple[str, ...], element: Element) -> bool:
        """Whether this is the first place of its name."""
        first = self.names.setdefault(key, element)
        if first is not element:
            what = f"a second {element.name} '{element.get('name')}' at the same place"
            self.file.report(element, "TG732", what, f"the first is in line {first.line}: rename one")
        return first is element

    def inside(self, element: Element, at: Spot) -> None:
        """Everything inside an element that stands at a place."""
        for child in element.children:
            name = child.name
            if name == "LNode":
                self.node(child, at)
            elif name in _CONTAINERS:
                self.inside(child, at)
            elif name == "VoltageLevel":
                self.level(child, at)
            elif name == "Bay":
                self.bay(child, at)
            elif name in _PARTS and at.equipment != "_":
                self.equipment(child, at, f"{at.equipment}-")
            elif name in _EQUIPMENT:
                self.equipment(child, self.highest(child, at) if name == "PowerTransformer" else at, "")
            elif name in _SITES:
                self.inside(child, at)

    def level(self, element: Element, at: Spot) -> None:
        name = self.name(element)
        spot = Spot(at.site, name)
        if name and self.once((at.site, name), element):
            self.out.descriptions[spot] = element.get("desc")
            self.inside(element, spot)

    def bay(self, element: Element, at: Spot) -> None:
        name = self.name(element)
        spot = Spot(at.site, at.vlevel, name)
        if name and self.once((at.site, at.vlevel, name), element):
            self.out.descriptions[spot] = element.get("desc")
            self.inside(element, spot)

    def equipment(self, element: Element, at: Spot, above: str) -> None:
        name = self.name(element)
        if not name:
            return
        full = f"{above}{name}"
        if len(full) > _LONGEST:
            what = f"'{full}' has {len(full)} characters, more than {_LONGEST}"
            self.file.report(element, "TG735", what, "shorten the names of the equipment")
            return
        spot = Spot(at.site, at.vlevel, at.bay, full)
        if self.once((at.site, at.vlevel, at.bay, full), element):
            self.out.descriptions[spot] = element.get("desc")
            self.inside(element, spot)

    def highest(self, element: Element, at: Spot) -> Spot:
        """A transformer of the site stands at its highest voltage level."""
        if at.vlevel != "_":
            return at
        levels = {terminal.get("voltageLevelName") for terminal in element.walk("Terminal")} - {""}
        volts = {
            level.get("name"): _volts(level)
            for root in self.file.root.all(*_SITES)
            for level in root.all("VoltageLevel")
            if level.get("name") in levels
        }
        best = max(volts, key=lambda name: (volts[name], name), default="")
        return Spot(at.site, escape(best)) if best else at

    def node(self, element: Element, at: Spot) -> None:
        ied, inst, name = element.get("iedName"), element.get("ldInst"), ln_name(element)
        if ied in ("", "None"):
            return
        key = (ied, inst, name)
        if key not in self.known:
            missing = "IED" if ied not in self.file.ieds else "logical node"
            what = f"no {missing} {'/'.join(key) if missing != 'IED' else ied} in the file: the reference is left out"
            self.file.warn(element, "TG732", what)
            return
        self.bound[key].append(element)
        if key not in self.out.nodes:
            self.out.nodes[key] = at
        elif self.out.nodes[key] != at:
            what = f"{'/'.join(key)} stands at a second place; the one of line {self.bound[key][0].line} is taken"
            self.file.warn(element, "TG735", what)

    def collisions(self) -> None:
        """Logical nodes of one name at one place: each of them stands at its IED in that bay instead."""
        by_address: defaultdict[tuple[Spot, str], list[NodeKey]] = defaultdict(list)
        for key, spot in self.out.nodes.items():
            by_address[spot, key[2]].append(key)
        for (spot, name), keys in by_address.items():
            if len(keys) > 1:
                what = f"{len(keys)} logical nodes {name} at one place: each stands at its IED instead"
                self.file.warn(self.bound[keys[1]][0], "TG735", what, ", ".join("/".join(key[:2]) for key in keys))
                for key in keys:
                    level = device_level(self.file.ieds[key[0]], key[1])
                    self.out.nodes[key] = Spot(spot.site, spot.vlevel, spot.bay, level, apart=True)

    def homes(self) -> None:
        spots: defaultdict[str, list[Spot]] = defaultdict(list)
        for (ied, _, _), spot in self.out.nodes.items():
            spots[ied].append(spot)
        for ied, found in spots.items():
            site = Counter(spot.site for spot in found).most_common(1)[0][0]
            at = [spot for spot in found if spot.site == site]
            levels, bays = {spot.vlevel for spot in at}, {spot.bay for spot in at}
            vlevel = levels.pop() if len(levels) == 1 else "_"
            self.out.homes[ied] = Spot(site, vlevel, bays.pop() if len(bays) == 1 and vlevel != "_" else "_")


def device_level(ied: Ied, inst: str) -> str:
    """The equipment level of what stands at the IED: its name, with that of the logical device where it has several."""
    count = sum(len(server.devices) for server in ied.servers)
    return escape(ied.name) if count < 2 else f"{escape(ied.name)}-{escape(inst)}"


def _volts(level: Element) -> float:
    voltage = level.first("Voltage")
    if voltage is None:
        return 0.0
    factor = {"k": 1e3, "M": 1e6, "m": 1e-3, "": 1.0}.get(voltage.get("multiplier"), 1.0)
    try:
        return float(voltage.text) * factor
    except ValueError:
        return 0.0
