"""What an SCL file is made of, as far as an import looks: IEDs, their servers, and the names of logical nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from twin_gateway.drivers.iec61850.scl_xml import Element


def ln_name(element: Element) -> str:
    """Name of the logical node of an LN0, LN, LNode or FCDA."""
    said = element.attributes.get
    if element.name == "LN0" or (element.name != "LN" and said("lnClass") == "LLN0"):
        return "LLN0"
    return f"{said('prefix', '')}{said('lnClass', '')}{said('inst', '') or said('lnInst', '')}"


@dataclass(slots=True)
class Server:
    """One server of an IED: an access point of its own, with its logical devices.

    Attributes:
        access_point: name of the access point.
        devices: inst -> LDevice.
        also: names of further access points that lead to the same server.
    """

    access_point: str
    element: Element
    devices: dict[str, Element] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ied:
    """One IED with its servers."""

    name: str
    element: Element
    servers: list[Server] = field(default_factory=list)

    def nodes(self) -> Iterator[tuple[str, Element]]:
        """(inst of the logical device, LN0 or LN) of every logical node."""
        for server in self.servers:
            for inst, device in server.devices.items():
                for node in device.all("LN0", "LN"):
                    yield inst, node
