"""From an SCL file to the draft of a mapping file: places, devices, the data worth mapping, controls, names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from address_space import units
from twin_gateway.drivers.iec104.config import SPEC as SPEC_104
from twin_gateway.drivers.iec61850.config import FROM_DEVICE, MODELS
from twin_gateway.drivers.iec61850.errors import ModelError
from twin_gateway.drivers.iec61850.model import Model
from twin_gateway.drivers.iec61850.points import OfferedPoint, Reference, points_of, resolve
from twin_gateway.drivers.iec61850.scl import read_scl
from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.draft import DeviceDraft, FileDraft, PointDraft, Value, at_key, sort
from twin_gateway.engineering.scl_104 import Address104, addresses_104
from twin_gateway.engineering.scl_file import Endpoint, SclFile
from twin_gateway.engineering.scl_names import data_names, device_name, readable, variable
from twin_gateway.engineering.scl_parts import Ied, Server, ln_name
from twin_gateway.engineering.scl_places import Spot, Spots, device_level, find_spots
from twin_gateway.engineering.scl_wanted import Wanted
from twin_gateway.mapping.place import PlaceError, Places

_SWITCHES: Final = ("XCBR", "XSWI")
_LONGEST_LEVEL: Final = 48
_PLATES: Final = ("VSS", "LPL", "DPL")


@dataclass(frozen=True, slots=True)
class Datum:
    """One datum that becomes a point.

    Attributes:
        reference: `LD0/MMXU1.A.phsB`.
        key: `MMXU1/A/phsB`.
        cdc, quantity: as the catalogue knows them.
        control: model of its control; empty when it is not commanded.
        unit: symbol of the unit that the file says; empty for none.
    """

    spot: Spot
    reference: str
    key: str
    cdc: str
    quantity: str | None
    control: str
    unit: str
    name: str


@dataclass(slots=True)
class SclImport:
    """Imports one file.

    Args:
        file: as `read_scl_file` gives it; problems are added to it.
        grid: level 1.
        area, site: levels 2 and 3; the site may be empty where the file's substation section says it.
        scl: the path that the mapping file says.
        every: all data objects, not only those of data sets and controls.
    """

    file: SclFile
    grid: str
    area: str
    site: str
    scl: str
    every: bool = False
    places: Places = field(default_factory=Places)
    left_out: int = 0

    def draft(self) -> FileDraft | None:
        """The draft; None when the file has an error."""
        file = self.file
        try:
            self.places.base(self.grid, f"{self.area}/{self.site}" if self.site else self.area)
        except PlaceError as error:
            file.report(file.root, error.code, f"--grid and --place: {error}", error.hint)
            return None
        spots = find_spots(file, self.site)
        out = FileDraft(self.grid)
        taken: set[str] = set()
        for ied in file.ieds.values():
            if file.failed:
                return None
            home = self._home(ied, spots)
            if home is not None:
                out.devices += self._ied(ied, home, spots, taken)
        if file.failed:
            return None
        if not out.devices:
            what = "no IED of the file has a datum that a point can be made of"
            file.report(file.root, "TG735", what, "import the SCD, or the CID of an IED with a server")
            return None
        _common_place(out)
        for device in out.devices:
            for place in device.at:
                place.comment = self._said(device, place.key, spots, out.place)
        sort(out)
        title = file.root.first("Header")
        said = readable(title.get("id")) if title is not None else ""
        out.header = [f"Imported from {file.path.name}{f' ({said})' if said else ''}."]
        return out

    def _home(self, ied: Ied, spots: Spots) -> Spot | None:
        """Where an IED itself belongs."""
        home = spots.homes.get(ied.name)
        if home is not None:
            return home
        sites = {spot.site for spot in spots.descriptions}
        site = self.site or (sites.pop() if len(sites) == 1 else "")
        if not site:
            what = f"the file does not say where {ied.name} is"
            self.file.report(ied.element, "TG735", what, "say area and site: --place north/PS01")
            return None
        return Spot(site)

    def _ied(self, ied: Ied, home: Spot, spots: Spots, taken: set[str]) -> Iterator[DeviceDraft]:
        file = self.file
        if not any(server.devices for server in ied.servers):
            file.warn(ied.element, "TG735", f"{ied.name} has no server: it is left out")
            return
        try:
            model = read_scl(file.path, ied.name)
        except ModelError as error:
            file.report(ied.element, "TG732", f"{ied.name}: {error}", "correct the type that it names")
            return
        wanted = Wanted(file, ied)
        far = addresses_104(file, ied)
        for server in ied.servers:
            data = list(self._data(ied, server, model, home, spots))
            own = [address for address in far if address.inst in server.devices]
            remote, bound = self._remote(own, data)
            left = [datum for datum in data if datum.reference not in bound]
            chosen = [datum for datum in left if self.every or datum.control or self._covered(wanted, datum)]
            if not chosen and not wanted:
                chosen = [datum for datum in left if datum.cdc not in _PLATES]
            ends = [
                end for name in (server.access_point, *server.also) for end in file.endpoints.get((ied.name, name), ())
            ]
            mms = [end for end in ends if "104" not in end.kind]
            several = len(ied.servers) > 1
            name = f"{ied.name}-{server.access_point}" if several else ied.name
            if chosen and (mms or not bound):
                yield self._device(ied, name, mms, chosen, taken)
            if bound:
                yield self._device_104(ied, name, [end for end in ends if "104" in end.kind] or mms, remote, taken)

    @staticmethod
    def _covered(wanted: Wanted, datum: Datum) -> bool:
        inst, _, rest = datum.reference.partition("/")
        node, _, path = rest.partition(".")
        return wanted.covers(inst, node, tuple(path.split(".")), datum.cdc)

    def _data(self, ied: Ied, server: Server, model: Model, home: Spot, spots: Spots) -> Iterator[Datum]:
        """All data of a server that can be points; what cannot is told, one line a logical node."""
        for inst, element in server.devices.items():
            try:
                offers = points_of(model, element.get("ldName") or inst)
            except ModelError as error:
                self.file.report(element, "TG732", str(error))
                continue
            nodes = {ln_name(node): node for node in element.all("LN0", "LN")}
            names = {name: data_names(node) for name, node in nodes.items()}
            refused: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
            for offer in offers:
                spot = self._spot(ied, inst, offer.function, home, spots)
                name = names[offer.function].get(offer.path[0], "") if len(offer.path) == 1 else ""
                found = self._datum(spot, offer, model, name)
                if isinstance(found, Datum):
                    yield found
                else:
                    refused[offer.function].append((".".join(offer.path), found))
            for name, items in refused.items():
                self._refused(nodes[name], name, items)
            level = device_level(ied, inst)
            if len(level) > _LONGEST_LEVEL:
                what = f"'{level}' has {len(level)} characters, more than {_LONGEST_LEVEL}"
                self.file.report(element, "TG735", what, "shorten the name of the IED or of the logical device")

    def _refused(self, node: Element, name: str, items: list[tuple[str, str]]) -> None:
        self.left_out += len(items)
        first = items[0][1]
        more = f"{len(items)} data objects are" if len(items) > 1 else f"{items[0][0]} is"
        which = "" if len(items) == 1 else f" ({', '.join(path for path, _ in items[:4])}{', …' * (len(items) > 4)})"
        self.file.warn(node, "TG735", f"{name}: {more} left out{which}: {first}")

    def _spot(self, ied: Ied, inst: str, node: str, home: Spot, spots: Spots) -> Spot:
        spot = spots.nodes.get((ied.name, inst, node))
        if spot is not None and spot.site == home.site:
            return spot
        return Spot(home.site, home.vlevel, home.bay, device_level(ied, inst), apart=True)

    def _datum(self, spot: Spot, offer: OfferedPoint, model: Model, name: str) -> Datum | str:
        """The datum of an offer, or why it cannot be a point."""
        key = "/".join((offer.function, *offer.path))
        levels = (self.grid, self.area, spot.site, spot.vlevel, spot.bay, spot.equipment)
        try:
            _, _, known = self.places.complete(levels, key)
            source = resolve(model, Reference.parse(offer.reference), known.cdc.name)
        except (PlaceError, ModelError) as error:
            return str(error)
        control = ""
        function = offer.function.rstrip("0123456789")
        commanded = offer.controllable and known.cdc.controllable and not function.endswith(_SWITCHES)
        if commanded and (self.every or offer.path[-1] != "Mod"):
            control = _control_model(model, offer)
        roles = {role: model.constants.get(variable) for role, variable in source.constants}
        unit = _unit(roles.get("SIUnit"), roles.get("multiplier"), known.quantity)
        return Datum(spot, offer.reference, key, known.cdc.name, known.quantity, control, unit, name)

    def _device(self, ied: Ied, name: str, ends: list[Endpoint], data: list[Datum], taken: set[str]) -> DeviceDraft:
        device = DeviceDraft(device_name(name, taken), "iec61850", comment=_about(ied))
        self._endpoint(device, name, ends)
        device.fields |= {"scl": self.scl, "ied": ied.name}
        for datum in data:
            fields: dict[str, Value] = {"ref": datum.reference}
            if datum.control:
                fields["control"] = datum.control
            if datum.name:
                fields["display_name"] = datum.name
            self._put(device, datum, PointDraft(datum.key, fields, datum.unit))
        return device

    def _put(self, device: DeviceDraft, datum: Datum, point: PointDraft) -> None:
        spot = datum.spot
        device.place = f"{self.area}/{spot.site}"
        key, before = at_key(spot.vlevel, spot.bay, spot.equipment, apart=spot.apart)
        point.key = before + point.key
        device.at_place(key).points.append(point)

    def _endpoint(self, device: DeviceDraft, name: str, ends: list[Endpoint]) -> None:
        """Host and port; a variable of the environment where the file says none."""
        if not ends:
            device.fields["host"] = f"${{{variable(name)}}}"
            device.comment = f"{device.comment} The SCL file says no address: set {variable(name)}.".strip()
            return
        device.fields["host"] = ends[0].host
        if ends[0].port:
            device.fields["port"] = ends[0].port
        if len(ends) > 1:
            further = ", ".join(end.host for end in ends[1:])
            device.comment = f"{device.comment} Also reached at {further}.".strip()

    def _remote(
        self, own: list[Address104], data: list[Datum]
    ) -> tuple[dict[str, tuple[Datum, dict[str, Value]]], set[str]]:
        """Points with a 104 address: by reference the datum and its fields; and these references."""
        by_path = {(datum.reference.partition("/")[0], datum.key): datum for datum in data}
        found: dict[str, tuple[Datum, dict[str, Value]]] = {}
        commands: dict[str, Address104] = {}
        used: set[tuple[int, int]] = set()
        for address in own:
            datum = self._of(address, by_path)
            if datum is None:
                continue
            if address.command:
                commands[datum.reference] = address
                continue
            fields: dict[str, Value] = {
                "ioa": address.ioa,
                "type": address.type,
                "common_address": address.common_address,
            }
            cdcs = SPEC_104.cdcs(fields)
            if cdcs is not None and datum.cdc not in cdcs:
                self._no_104(address, f"{address.type} cannot give a {datum.cdc}")
            elif datum.reference in found:
                self._no_104(address, "it has a 104 address already")
            else:
                fields |= _treatment(address, datum)
                if (address.common_address, address.ioa) in used:
                    fields["share"] = True
                used.add((address.common_address, address.ioa))
                found[datum.reference] = (datum, fields)
        for reference, address in commands.items():
            if reference not in found or not found[reference][0].control:
                self._no_104(address, "a command needs a position that can be commanded, with a 104 address of its own")
                continue
            datum, fields = found[reference]
            model = "sbo-normal" if datum.control.startswith("sbo") else "direct-normal"
            fields["control"] = {"ioa": address.ioa, "type": address.type, "model": model}
        return found, set(found)

    def _of(self, address: Address104, data: dict[tuple[str, str], Datum]) -> Datum | None:
        for depth in range(len(address.path), 0, -1):
            datum = data.get((address.inst, "/".join((address.node, *address.path[:depth]))))
            if datum is not None and address.fits(depth):
                return datum
        self._no_104(address, "it is not the value of a point")
        return None

    def _no_104(self, address: Address104, why: str) -> None:
        where = f"{address.inst}/{address.node}.{'.'.join(address.path)}"
        self.file.warn(address.at, "TG735", f"{where}: the 104 address is left out: {why}")

    def _device_104(
        self,
        ied: Ied,
        name: str,
        ends: list[Endpoint],
        found: dict[str, tuple[Datum, dict[str, Value]]],
        taken: set[str],
    ) -> DeviceDraft:
        device = DeviceDraft(device_name(f"{name}-104", taken), "iec104", comment=_about(ied))
        self._endpoint(device, f"{name}_104", ends)
        stations = sorted({int(str(fields["common_address"])) for _, fields in found.values()})
        device.fields["common_address"] = stations[0] if len(stations) == 1 else list(stations)
        for datum, fields in found.values():
            if fields["common_address"] == stations[0]:
                del fields["common_address"]
            if datum.name:
                fields["display_name"] = datum.name
            self._put(device, datum, PointDraft(datum.key, fields))
        return device

    def _said(self, device: DeviceDraft, key: str, spots: Spots, place: str) -> str:
        site = (device.place or place).rpartition("/")[2]
        vlevel, bay, *_ = (*key.split("/"), "_", "_")
        for spot in (Spot(site, vlevel, bay), Spot(site, vlevel)):
            if key.count("/") < 2 and (spot.bay != "_" or "/" not in key) and spots.descriptions.get(spot):
                return readable(spots.descriptions[spot])
        return ""


def _control_model(model: Model, offer: OfferedPoint) -> str:
    """The control model that the file says, as mappings call it; `device` where it does not say one."""
    reference = Reference.parse(offer.reference)
    name = "$".join((f"{model.domain(reference.device)}/{reference.node}", "CF", *reference.path, "ctlModel"))
    number = model.constants.get(name)
    if isinstance(number, int) and 1 <= number <= len(MODELS):
        return MODELS[number - 1]
    return FROM_DEVICE


def _unit(si: object, multiplier: object, quantity: str | None) -> str:
    """The symbol of a unit and its multiplier where the service knows it and it fits the quantity; else empty."""
    if not isinstance(si, int) or quantity is None:
        return ""
    prefix = {0: "", 3: "k", 6: "M", -3: "m"}.get(multiplier if isinstance(multiplier, int) else 0)
    symbol = units.FROM_61850.get(si)
    if symbol is None or symbol == "1" or prefix is None:
        return ""
    try:
        unit = units.unit(prefix + symbol)
    except units.UnitError:
        return ""
    return unit.symbol if unit.quantity == quantity else ""


def _treatment(address: Address104, datum: Datum) -> dict[str, Value]:
    """What is done with a value that comes by 104."""
    out: dict[str, Value] = {}
    if datum.unit:
        out["unit"] = datum.unit
    if address.inverted and datum.cdc in {"SPS", "SPC", "DPS", "DPC", "ACT", "ACD", "SPG"}:
        out["invert"] = True
    if datum.quantity is not None and address.scale not in (0.0, 1.0):
        out["scale"] = address.scale
    if datum.quantity is not None and address.offset:
        out["offset"] = address.offset
    return out


def _about(ied: Ied) -> str:
    """What the file says of an IED, as a comment."""
    element = ied.element
    product = " ".join(readable(element.get(name)) for name in ("manufacturer", "type")).strip()
    said = [ied.name, readable(element.get("desc")), product]
    return ", ".join(part for part in said if part) + "."


def _common_place(draft: FileDraft) -> None:
    """The place of most devices goes to the top of the file."""
    counts: defaultdict[str, int] = defaultdict(int)
    for device in draft.devices:
        counts[device.place] += 1
    draft.place = max(counts, key=lambda place: (counts[place], place))
    for device in draft.devices:
        if device.place == draft.place:
            device.place = ""


def import_scl(file: SclFile, *, grid: str, place: str, scl: Path | str, every: bool = False) -> FileDraft | None:
    """The draft of a mapping file of an SCL file; None when it has an error (told in `file.problems`).

    Args:
        file: as `read_scl_file` gives it.
        grid: level 1 of the addresses.
        place: area, or area and site: `north`, `north/PS01`.
        scl: the SCL file as the mapping file names it.
        every: all data objects, not only those of data sets and controls.
    """
    area, _, site = place.partition("/")
    return SclImport(file, grid, area, site, str(scl), every).draft()
