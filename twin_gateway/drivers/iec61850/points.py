"""Data objects as points: primary attribute, quality, time and the device's own scaling, by the CDC table.

`resolve` finds them for one reference of a mapping; `points_of` lists what a logical device offers. Both are pure and
work on a model from the device or from an SCL file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from open61850.mms.types import MmsType, PrimitiveType, StructureType

from address_space import units
from address_space.catalogue import CDCS

from .errors import ModelError
from .model import LogicalNode, Model

_REFERENCE = re.compile(
    r"(?P<ld>[A-Za-z0-9_]{1,64})/(?P<ln>[A-Za-z0-9_]{1,32})(?P<path>(\.[A-Za-z0-9_]{1,64}(\(\d{1,4}\))?){1,12})(\[(?P<fc>[A-Z]{2})\])?"
)
# Primary attributes: catalogue name -> what devices have instead, best first, as (functional constraint, path).
_CANDIDATES: dict[str, tuple[tuple[str, str], ...]] = {
    "stVal": (("ST", "stVal"),),
    "general": (("ST", "general"),),
    "cnt": (("ST", "cnt"),),
    "actVal": (("ST", "actVal"), ("ST", "frVal")),
    "valWTr.posVal": (("ST", "valWTr.posVal"),),
    "mag.f": (("MX", "mag.f"), ("MX", "mag.i"), ("MX", "instMag.f"), ("MX", "instMag.i")),
    "instMag.f": (("MX", "instMag.f"), ("MX", "instMag.i")),
    "cVal.mag.f": (("MX", "cVal.mag.f"), ("MX", "cVal.mag.i"), ("MX", "instCVal.mag.f"), ("MX", "instCVal.mag.i")),
    "mxVal.f": (("MX", "mxVal.f"), ("MX", "mxVal.i")),
    "setVal": (("SP", "setVal"), ("SG", "setVal")),
    "setMag.f": (("SP", "setMag.f"), ("SP", "setMag.i"), ("SG", "setMag.f"), ("SG", "setMag.i")),
    "setSrcRef": (("SP", "setSrcRef"),),
}
_ANGLE = (("MX", "cVal.ang.f"), ("MX", "cVal.ang.i"), ("MX", "instCVal.ang.f"))
_DOUBLE_POINTS = frozenset({"DPS", "DPC"})
_SINGLE_POINTS = frozenset({"SPS", "SPC", "ACT", "ACD", "SPG"})
_TEXTS = frozenset({"visible-string", "mms-string", "octet-string"})
_PERCENT = "percent"
_SCALES = frozenset({"multiplier", "scaleFactor", "offset", "pulsQty"})
"""Roles of constants without which a number is wrong by orders of magnitude."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`LD0/MMXU1.A.phsB`, with or without the name of the IED before the LD, optionally `[FC]`.

    Elements of arrays have their number behind the name, from 0: `LD0/MHAI1.HA.phsAHar(3).mag.f`.
    """

    device: str
    node: str
    path: tuple[str, ...]
    constraint: str | None = None

    @staticmethod
    def parse(text: str) -> Reference:
        """The reference in a text (ModelError when it is none)."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ModelError(f"{text!r} is no reference like LD0/XCBR1.Pos")
        return Reference(match["ld"], match["ln"], tuple(match["path"][1:].split(".")), match["fc"])

    def __str__(self) -> str:
        tail = f"[{self.constraint}]" if self.constraint else ""
        return f"{self.device}/{self.node}.{'.'.join(self.path)}{tail}"


@dataclass(frozen=True, slots=True)
class Source:
    """A point of the device.

    Attributes:
        value, quality, time: MMS variables (`domain/LN$FC$DO$…`); quality and time None where there is none.
        text: the value is a text.
        boolean: the value is a boolean.
        double_point: the value is a two-bit position.
        object: `domain/LN$FC$DO…`, the smallest structure that holds value, quality and time: what is polled.
        scaled: integer form, value x scaleFactor + offset.
        constants: variables that scale it, by role (`SIUnit`, `multiplier`, `scaleFactor`, `offset`, `pulsQty`).
        control: the data object below FC CO (`domain/LN$CO$DO`), None when it cannot be operated.
    """

    value: str
    quality: str | None
    time: str | None
    text: bool
    boolean: bool
    double_point: bool
    object: str
    scaled: bool
    constants: tuple[tuple[str, str], ...]
    control: str | None


@dataclass(frozen=True, slots=True)
class OfferedPoint:
    """A point that a device offers.

    Attributes:
        reference: `LD0/MMXU1.A.phsB`, without the name of the IED where it is known.
        function: `MMXU1`, with prefix.
        path: `("A", "phsB")`, as it continues in the address.
        cdc: common data class as far as the structure shows it; empty when it does not.
        controllable: FC CO has an Oper for it.
    """

    reference: str
    function: str
    path: tuple[str, ...]
    cdc: str
    controllable: bool


def resolve(model: Model, reference: Reference, cdc: str = "") -> Source:
    """What a reference means in a model.

    Args:
        model: of the device or its SCL file.
        reference: to a data object, a sub-object or a single attribute.
        cdc: class of the point that it shall feed; empty takes what is there.

    Raises:
        ModelError: there is no such thing, or it does not fit the class.
    """
    node = model.node(reference.device, reference.node)
    constraints = [reference.constraint] if reference.constraint else node.constraints()
    present = [fc for fc in constraints if node.find(fc, reference.path) is not None]
    if not present:
        raise ModelError(f"{reference} does not exist in the device")
    for constraint in present:
        of = node.find(constraint, reference.path)
        if isinstance(of, PrimitiveType):
            return _source(node, constraint, reference.path, len(reference.path), cdc)
    for constraint, attribute in _candidates(cdc):
        path = (*reference.path, *attribute)
        if constraint in present and isinstance(node.find(constraint, path), PrimitiveType):
            return _source(node, constraint, path, len(reference.path), cdc)
    raise ModelError(f"{reference} has no attribute that could be the value of a {cdc or 'point'}")


def _candidates(cdc: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    known = CDCS.get(cdc)
    rows: tuple[tuple[str, str], ...]
    if cdc == "ANG":
        rows = _ANGLE
    elif cdc == "RAW":
        rows = _CANDIDATES["actVal"]
    elif cdc == "DIR":
        rows = (("ST", "dirGeneral"),)
    elif known is not None and known.attribute in _CANDIDATES:
        rows = _CANDIDATES[known.attribute]
        if cdc == "BAC":
            rows = (*rows, *_CANDIDATES["mag.f"])
    else:
        rows = ()
    yield from ((constraint, tuple(path.split("."))) for constraint, path in rows)
    if cdc in _SINGLE_POINTS or cdc in _DOUBLE_POINTS or not cdc:
        # an activation may be shown as a status and the other way round; a class that is not known takes what is there
        others = _CANDIDATES.values() if not cdc else (_CANDIDATES["stVal"], _CANDIDATES["general"])
        for group in others:
            yield from ((constraint, tuple(path.split("."))) for constraint, path in group)


def _source(node: LogicalNode, constraint: str, path: tuple[str, ...], depth: int, cdc: str) -> Source:
    kind = node.find(constraint, path)
    assert isinstance(kind, PrimitiveType)  # noqa: S101 - both callers have looked
    boolean = kind.kind == "boolean"
    double_point = kind.kind == "bit-string" and kind.size == 2
    if cdc in _SINGLE_POINTS and not boolean:
        raise ModelError(f"{node.name}.{'.'.join(path)} is a {kind.kind}, a {cdc} is a boolean")
    if cdc in _DOUBLE_POINTS and not (boolean or double_point):
        raise ModelError(f"{node.name}.{'.'.join(path)} is a {kind.kind}, a {cdc} is a double point")
    text = kind.kind in _TEXTS
    if not text and kind.kind not in {"boolean", "bit-string", "integer", "unsigned", "float"}:
        raise ModelError(f"{node.name}.{'.'.join(path)} is a {kind.kind}, which is shown nowhere")
    # q and t stand beside the attribute or in a data object above it
    home, quality, time = path[:-1], None, None
    for length in range(len(path) - 1, 0, -1):
        beside = node.find(constraint, path[:length])
        if isinstance(beside, StructureType) and beside.component("q") is not None:
            home, quality = path[:length], _name(node, constraint, (*path[:length], "q"))
            if beside.component("t") is not None:
                time = _name(node, constraint, (*path[:length], "t"))
            break
    if quality is None:
        home = path
    scaled = path[-1] == "i"
    return Source(
        _name(node, constraint, path),
        quality,
        time,
        text,
        boolean,
        double_point,
        # single elements of arrays cannot be read by every device: the whole array is
        _name(node, constraint, home).partition("(")[0],
        scaled,
        tuple(_constants(node, path, scaled=scaled)),
        _control(node, path[:depth]),
    )


def _constants(node: LogicalNode, path: tuple[str, ...], *, scaled: bool) -> Iterator[tuple[str, str]]:
    wanted = {"SIUnit": "units.SIUnit", "multiplier": "units.multiplier"}
    if path[-1] in {"actVal", "frVal"}:
        wanted["pulsQty"] = "pulsQty"
    if scaled:
        prefixes = ("magSVC", "sVC") if "mag" in path and "cVal" in path else ("angSVC",) if "ang" in path else ("sVC",)
        for prefix in prefixes:
            if any(node.find("CF", (*path[:length], prefix)) for length in range(1, len(path))):
                wanted |= {"scaleFactor": f"{prefix}.scaleFactor", "offset": f"{prefix}.offset"}
                break
    for role, tail in wanted.items():
        for length in range(len(path) - 1, 0, -1):
            found = (*path[:length], *tail.split("."))
            for constraint in ("CF", "SP"):
                if isinstance(node.find(constraint, found), PrimitiveType):
                    yield role, _name(node, constraint, found)
                    break
            else:
                continue
            break


def _control(node: LogicalNode, path: tuple[str, ...]) -> str | None:
    return _name(node, "CO", path) if node.find("CO", (*path, "Oper")) is not None else None


def _name(node: LogicalNode, constraint: str, path: tuple[str, ...]) -> str:
    return "$".join((f"{node.domain}/{node.name}", constraint, *path))


def scaling(
    source: Source, constants: dict[str, bool | int | float | str], cdc: str, quantity: str | None
) -> tuple[float, float]:
    """(gain, bias) from the device's number to the canonical unit of the quantity, or to a double point.

    Args:
        source: the point.
        constants: values of the device's configuration attributes by variable name.
        cdc: class of the point that is fed.
        quantity: physical quantity of the point, None where the catalogue does not know it.

    Raises:
        ModelError: the device measures another quantity, or does not give a scale that it has.
    """
    if cdc in _DOUBLE_POINTS and source.boolean:
        return 1.0, 1.0
    if cdc == "RAW" or source.text or source.boolean:
        return 1.0, 0.0
    for role, name in source.constants:
        if role in _SCALES and name not in constants:
            raise ModelError(f"the device does not give {name}, so the scale of the value is not known")
    values = {role: float(constants[name]) for role, name in source.constants if name in constants}
    gain, bias = 1.0, 0.0
    if source.scaled:
        gain, bias = values.get("scaleFactor") or 1.0, values.get("offset", 0.0)
    pulse = values.get("pulsQty", 0.0)
    if pulse:
        gain *= pulse
    factor = 10.0 ** int(values.get("multiplier", 0))
    gain, bias = gain * factor, bias * factor
    symbol = units.FROM_61850.get(int(values.get("SIUnit", 0)))
    if symbol is None or quantity is None:
        return gain, bias
    unit = units.unit(symbol)
    if quantity == _PERCENT and unit.quantity == "ratio":
        return gain * 100.0, bias * 100.0
    if unit.quantity != quantity:
        raise ModelError(f"the device says the unit is {symbol} ({unit.quantity}), the point is {quantity}")
    more, shift = units.conversion(unit, units.canonical(quantity))
    return gain * more, bias * more + shift


def points_of(model: Model, device: str) -> list[OfferedPoint]:
    """Every point of a logical device (named with or without the IED's name), in the device's order.

    Raises:
        ModelError: no such logical device.
    """
    domain = model.domain(device)
    short = domain.removeprefix(model.ied) or domain
    return [
        OfferedPoint(f"{short}/{node.name}.{'.'.join(path)}", node.name, path, cdc, _operable(model, node, path))
        for node in model.nodes[domain].values()
        for data_object in node.data_objects()
        for path, cdc in _offers(node, (data_object,))
    ]


def _operable(model: Model, node: LogicalNode, path: tuple[str, ...]) -> bool:
    """Whether it has an Oper and is not known to be status-only."""
    return _control(node, path) is not None and model.constants.get(_name(node, "CF", (*path, "ctlModel"))) != 0


def _offers(node: LogicalNode, path: tuple[str, ...], depth: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    cdc = _class_of(node, path)
    if cdc is not None:
        yield path, cdc
        return
    if depth > 3:
        return
    children: dict[str, MmsType] = {}
    for constraint in ("ST", "MX", "SP", "DC"):
        of = node.find(constraint, path)
        for name, inner in of.components if isinstance(of, StructureType) else ():
            children.setdefault(name, inner)
    for name, inner in children.items():
        if isinstance(inner, StructureType):
            yield from _offers(node, (*path, name), depth + 1)
        elif depth == 0 and isinstance(inner, PrimitiveType) and inner.kind in _TEXTS and _name_plate(node, path, name):
            yield (*path, name), "VSS"


def _name_plate(node: LogicalNode, path: tuple[str, ...], name: str) -> bool:
    wanted = {"NamPlt": "LPL", "PhyNam": "DPL"}.get(path[-1])
    return wanted is not None and name in dict(CDCS[wanted].children)


def _class_of(node: LogicalNode, path: tuple[str, ...]) -> str | None:
    """The CDC that the structure of a data object shows; None when it has no primary attribute of its own."""

    def kind(constraint: str, *tail: str) -> str | None:
        found = node.find(constraint, (*path, *tail))
        if not isinstance(found, PrimitiveType):
            return None
        return "dbpos" if found.kind == "bit-string" and found.size == 2 else found.kind

    operable = node.find("CO", (*path, "Oper")) is not None
    status = kind("ST", "stVal")
    if status is not None:
        pair = {
            "boolean": ("SPS", "SPC"),
            "dbpos": ("DPS", "DPC"),
            "integer": ("INS", "INC"),
            "unsigned": ("INS", "INC"),
        }
        plain, commanded = pair.get(status, ("VSS", "VSS") if status in _TEXTS else ("", ""))
        if status == "integer" and getattr(node.find("ST", (*path, "stVal")), "size", 32) == 8:
            plain, commanded = "ENS", "ENC"
        return commanded if operable else plain
    tests = (
        ("ST", ("dirGeneral",), "ACD"), ("ST", ("general",), "ACT"), ("ST", ("cnt",), "SEC"),
        ("ST", ("actVal",), "BCR"),
        ("ST", ("valWTr", "posVal"), "BSC"), ("MX", ("mag", "f"), "MV"), ("MX", ("mag", "i"), "MV"),
        ("MX", ("instMag", "f"), "SAV"), ("MX", ("instMag", "i"), "SAV"), ("MX", ("cVal", "mag", "f"), "CMV"),
        ("MX", ("cVal", "mag", "i"), "CMV"), ("MX", ("mxVal", "f"), "APC"), ("MX", ("mxVal", "i"), "APC"),
        ("SP", ("setSrcRef",), "ORG"), ("SP", ("setMag", "f"), "ASG"), ("SP", ("setMag", "i"), "ASG"),
        ("SG", ("setMag", "f"), "ASG"), ("SG", ("setMag", "i"), "ASG"),
    )  # fmt: skip
    for constraint, tail, cdc in tests:
        if kind(constraint, *tail) is not None:
            return cdc
    for constraint in ("SP", "SG"):
        setting = kind(constraint, "setVal")
        if setting is not None:
            return {"boolean": "SPG"}.get(setting, "VSG" if setting in _TEXTS else "ING")
    return None
