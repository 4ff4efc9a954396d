"""Addresses of IEC 60870-5-104 that an SCL file keeps for its data (IEC TS 61850-80-1).

Two forms are read at a DAI: `<Private type="IEC_60870_5_104"><Address casdu="1" ioa="1001" ti="30"/></Private>`, and
`sAddr="casdu=1;ioa=1001;ti=30"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from twin_gateway.drivers.iec104.types import TYPES
from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.scl_file import SclFile
from twin_gateway.engineering.scl_parts import Ied, ln_name

_PRIVATE: Final = "IEC_60870_5_104"
_SHORT: Final = re.compile(r"\s*([A-Za-z]+)\s*=\s*([^\s;,]+)\s*[;,]?")
_CONTROLS: Final = range(45, 65)
PRIMARY: Final = frozenset(
    ("stVal", "general", "cnt", "actVal", "frVal", "valWTr.posVal", "mag.f", "mag.i", "instMag.f", "instMag.i",
     "cVal.mag.f", "cVal.mag.i", "mxVal.f", "mxVal.i", "setVal", "setMag.f", "setMag.i")
)  # fmt: skip
"""Attributes that are the value of a point."""
_COMMANDED: Final = frozenset(("ctlVal", "ctlVal.f", "ctlVal.i"))


@dataclass(frozen=True, slots=True)
class Address104:
    """One address.

    Attributes:
        inst, node, path: logical device, logical node, and names below it down to the attribute.
        common_address, ioa: of the information object.
        type: name of its type, `M_SP_TB_1`.
        inverted, scale, offset: how the value is sent.
        at: the DAI.
    """

    inst: str
    node: str
    path: tuple[str, ...]
    common_address: int
    ioa: int
    type: str
    inverted: bool
    scale: float
    offset: float
    at: Element

    @property
    def command(self) -> bool:
        """Whether it is that of a command."""
        return self.type.startswith("C_")

    def fits(self, depth: int) -> bool:
        """Whether the attribute below a data object of so many names is the value of a point, or what commands it."""
        rest = ".".join(self.path[depth:])
        if not self.command:
            return rest in PRIMARY
        return re.sub(r"^(Oper|SBOw)\.", "", rest) in _COMMANDED or rest in PRIMARY


def addresses_104(file: SclFile, ied: Ied) -> list[Address104]:
    """All 104 addresses of an IED; what is wrong with one is reported, and it is left out."""
    return [
        found
        for inst, node in ied.nodes()
        for dai, path in _attributes(node, ())
        for element, fields in _fields(dai)
        if (found := _address(file, (inst, ln_name(node)), path, element, fields)) is not None
    ]


def _attributes(element: Element, path: tuple[str, ...]) -> Iterator[tuple[Element, tuple[str, ...]]]:
    for child in element.all("DOI", "SDI", "DAI"):
        here = (*path, child.get("name"))
        if child.name == "DAI":
            yield child, here
        else:
            yield from _attributes(child, here)


def _fields(dai: Element) -> Iterator[tuple[Element, dict[str, str]]]:
    for private in dai.all("Private"):
        if private.get("type") == _PRIVATE:
            for child in private.children:
                if child.name.rpartition("}")[2] == "Address":
                    yield child, {name.lower(): value.strip() for name, value in child.attributes.items()}
    short = dai.get("sAddr")
    if "ioa" in short.lower() and "=" in short:
        yield dai, {match[1].lower(): match[2] for match in _SHORT.finditer(short)}


def _address(
    file: SclFile, at: tuple[str, str], path: tuple[str, ...], element: Element, fields: dict[str, str]
) -> Address104 | None:
    where = f"{'/'.join(at)}.{'.'.join(path)}"

    def number(name: str, low: int, high: int) -> int | None:
        text = fields.get(name, "")
        if text.isdecimal() and len(text) < 9 and low <= int(text) <= high:
            return int(text)
        what = f"{where}: {name} is '{text}'" if text else f"{where}: the 104 address says no {name}"
        file.warn(element, "TG735", f"{what}: left out", f"a number of {low} to {high}")
        return None

    common, ioa, ti = number("casdu", 1, 65_534), number("ioa", 1, 16_777_215), number("ti", 1, 127)
    if common is None or ioa is None or ti is None:
        return None
    known = TYPES.get(ti)
    if known is None or not (known.monitor or ti in _CONTROLS):
        file.warn(element, "TG735", f"{where}: type {ti} is that of no point: left out")
        return None
    if fields.get("expectedvalue"):
        what = f"{where}: one address for the state {fields['expectedvalue']} alone: left out"
        file.warn(element, "TG735", what, "map it by hand, as a point of its own")
        return None
    try:
        scale, offset = float(fields.get("scalemultiplier") or 1), float(fields.get("scaleoffset") or 0)
    except ValueError:
        file.warn(element, "TG735", f"{where}: scaleMultiplier or scaleOffset is no number: left out")
        return None
    inverted = fields.get("inverted", "").lower() == "true"
    return Address104(*at, path, common, ioa, known.name, inverted, scale, offset, element)
