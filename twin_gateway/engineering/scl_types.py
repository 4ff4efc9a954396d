"""DataTypeTemplates of an SCL file: types that are missing, hold themselves, or unfold to more than any IED has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from twin_gateway.engineering.scl_parts import Ied, ln_name
from twin_gateway.engineering.scl_xml import Element
from twin_gateway.mapping.problem import did_you_mean

MAX_LEAVES: Final = 2_000_000
"""Attributes of all logical nodes of one IED together."""
_PARTS: Final = {"SDO": "DOType", "DO": "DOType", "DA": "DAType", "BDA": "DAType"}
_NOTHING: Final = 0


class Report(Protocol):
    """Where problems go."""

    def report(self, line: int, code: str, message: str, hint: str = "") -> None:
        """Note an error."""

    def warn(self, line: int, code: str, message: str, hint: str = "") -> None:
        """Note something that is left out."""


class TypeCheck:
    """Looks through the types that the logical nodes of a file use.

    A logical node or data object without its type is left out, with a warning. A structure without its type, a type
    that holds itself, and types that unfold without end are errors: no model can be built of them.
    """

    def __init__(self, types: Mapping[tuple[str, str], Element], out: Report) -> None:
        self.types = types
        self.out = out
        self.sizes: dict[tuple[str, str], int] = {}
        self.open: set[tuple[str, str]] = set()

    def run(self, ieds: Iterable[Ied]) -> None:
        """Check every logical node of every IED."""
        for ied in ieds:
            leaves = 0
            for _, node in ied.nodes():
                name = node.get("lnType")
                if ("LNodeType", name) in self.types:
                    leaves += self.size(("LNodeType", name), ("DO",))
                    continue
                what = (
                    f"{ln_name(node)} of {ied.name} has no LNodeType '{name}'"
                    if name
                    else f"{ln_name(node)} has no lnType"
                )
                self.out.warn(node.line, "TG732", f"{what}: it is left out", self.hint("LNodeType", name))
            if leaves > MAX_LEAVES:
                what = f"the types of {ied.name} unfold to {leaves} attributes, more than {MAX_LEAVES}"
                self.out.report(ied.element.line, "TG734", what, "look for types that hold each other again and again")

    def size(self, key: tuple[str, str], parts: tuple[str, ...]) -> int:
        """Number of attributes that a type unfolds to; each type is looked into once."""
        if key not in self.sizes:
            self.open.add(key)
            self.sizes[key] = sum(self.part(item) for item in self.types[key].all(*parts))
            self.open.discard(key)
        return self.sizes[key]

    def part(self, item: Element) -> int:
        """Number of attributes of a DO, SDO, DA or BDA."""
        kind, name = _PARTS[item.name], item.get("type")
        if kind == "DAType" and item.get("bType") != "Struct":
            return 1
        key = (kind, name)
        if key in self.open:
            self.out.report(
                item.line, "TG732", f"the {kind} '{name}' holds itself", "a type may hold others, never itself"
            )
            return _NOTHING
        if key not in self.types:
            what, hint = f"{item.get('name')} has no {kind} '{name}'", self.hint(kind, name)
            if kind == "DOType":
                self.out.warn(item.line, "TG732", f"{what}: it is left out", hint)
            else:
                self.out.report(item.line, "TG732", what, hint or "add the type, or export the file again")
            return _NOTHING
        return self.size(key, ("SDO", "DA") if kind == "DOType" else ("BDA",))

    def hint(self, kind: str, name: str) -> str:
        """The nearest type of the kind."""
        return did_you_mean(name, [known for of, known in self.types if of == kind]) if name else ""
