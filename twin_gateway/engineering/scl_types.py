"""DataTypeTemplates of an SCL file: what is wrong with the types of its logical nodes, as problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from twin_gateway.drivers.iec61850.scl_types import MAX_ATTRIBUTES, TypeFault, TypeKey, TypeSizes
from twin_gateway.drivers.iec61850.scl_xml import Element
from twin_gateway.engineering.scl_parts import Ied, ln_name
from twin_gateway.mapping.problem import did_you_mean


class Report(Protocol):
    """Where problems go."""

    def report(self, at: Element, code: str, message: str, hint: str = "") -> None:
        """Note an error."""

    def warn(self, at: Element, code: str, message: str, hint: str = "") -> None:
        """Note something that is left out."""


class TypeCheck:
    """Looks through the types that the logical nodes of a file use.

    A logical node or data object without its type is left out, with a warning. A structure without its type, a type
    that holds itself, and types that unfold without end are errors: no model can be built of them.
    """

    def __init__(self, types: Mapping[TypeKey, Element], out: Report) -> None:
        self.types = types
        self.out = out
        self.sizes = TypeSizes(types, self._wrong)

    def run(self, ieds: Iterable[Ied]) -> None:
        """Check every logical node of every IED."""
        for ied in ieds:
            total = 0
            for server in ied.servers:
                for device in server.devices.values():
                    nodes = list(device.all("LN0", "LN"))
                    for node in nodes:
                        self._type_of(ied, node)
                    total += self.sizes.of_device(nodes)
            if total > MAX_ATTRIBUTES:
                what = f"the types of {ied.name} unfold to {total} attributes, more than {MAX_ATTRIBUTES}"
                self.out.report(ied.element, "TG734", what, "look for types that hold each other again and again")

    def _type_of(self, ied: Ied, node: Element) -> None:
        name = node.attributes.get("lnType", "")
        if ("LNodeType", name) in self.types:
            return
        what = f"{ln_name(node)} of {ied.name} has no LNodeType '{name}'" if name else f"{ln_name(node)} has no lnType"
        self.out.warn(node, "TG732", f"{what}: it is left out", self._near("LNodeType", name))

    def _wrong(self, fault: TypeFault, item: Element, key: TypeKey) -> None:
        kind, name = key
        if fault is TypeFault.HOLDS_ITSELF:
            self.out.report(item, "TG732", f"the {kind} '{name}' holds itself", "a type may hold others, never itself")
        elif fault is TypeFault.TOO_DEEP:
            hint = "types need some ten levels: export the file again"
            self.out.report(item, "TG734", f"the {kind} '{name}' is nested too deep", hint)
        else:
            what, hint = f"{item.get('name')} has no {kind} '{name}'", self._near(kind, name)
            if kind == "DOType":
                self.out.warn(item, "TG732", f"{what}: it is left out", hint)
            elif kind == "EnumType":
                hint = hint or "add the type, or export the file again"
                self.out.warn(item, "TG732", f"{what}: values that the file says for it are not read", hint)
            else:
                self.out.report(item, "TG732", what, hint or "add the type, or export the file again")

    def _near(self, kind: str, name: str) -> str:
        return did_you_mean(name, [known for of, known in self.types if of == kind]) if name else ""
