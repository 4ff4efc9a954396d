"""Readable names of what an SCL file holds, from its descriptions; names of devices."""

from __future__ import annotations

import re

from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.flow import one_line

_MOST = 200


def readable(text: str) -> str:
    """A description as a name in a mapping file: one line, without the braces that would mean something there."""
    return one_line(text).replace("{", "(").replace("}", ")")[:_MOST].strip()


def data_names(node: Element) -> dict[str, str]:
    """Readable names of the data objects of a logical node: the description of the instance, else its `dU` or `d`."""
    out: dict[str, str] = {}
    for item in node.all("DOI"):
        values = {dai.get("name"): value.text for dai in item.all("DAI") for value in dai.all("Val")}
        name = readable(item.get("desc") or values.get("dU") or values.get("d") or "")
        if name:
            out.setdefault(item.get("name"), name)
    return out


def device_name(text: str, taken: set[str]) -> str:
    """A name for a device that is not taken yet: lower case, letters, digits and `-`."""
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "ied"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    taken.add(name)
    return name


def variable(text: str) -> str:
    """A name for an environment variable: `HOST_F01Q1`."""
    return "HOST_" + re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")
