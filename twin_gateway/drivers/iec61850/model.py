"""The data model of an IED: logical nodes with their types, data sets, report control blocks and configured constants.

It comes from the device itself (`discovery.py`) or from an SCL file (`scl.py`); both give the same record, so that they
can be compared. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from open61850.mms.types import ArrayType, MmsType, StructureType

from .errors import ModelError

CONTROL_BLOCKS = frozenset({"BR", "RP", "LG", "GO", "GS", "MS", "US"})
"""Functional constraints that hold control blocks, not data."""
_INDEX = re.compile(r"\d{2}$")


@dataclass(frozen=True, slots=True)
class LogicalNode:
    """One logical node: name, and a structure of functional constraints of structures of data objects."""

    domain: str
    name: str
    type: StructureType

    def constraint(self, name: str) -> StructureType | None:
        """The data objects under a functional constraint; None when there are none."""
        found = self.type.component(name)
        return found if isinstance(found, StructureType) else None

    def constraints(self) -> list[str]:
        """Functional constraints of data, in the device's order."""
        return [name for name, _ in self.type.components if name not in CONTROL_BLOCKS]

    def data_objects(self) -> list[str]:
        """Names of the data objects, each once."""
        seen: dict[str, None] = {}
        for constraint in self.constraints():
            inside = self.constraint(constraint)
            for name, _ in inside.components if inside is not None else ():
                if (constraint, name) != ("SP", "SGCB"):
                    seen.setdefault(name, None)
        return list(seen)

    def find(self, constraint: str, path: tuple[str, ...]) -> MmsType | None:
        """The type at a path under a functional constraint; None when there is none."""
        node: MmsType | None = self.type.component(constraint)
        for part in path:
            if not isinstance(node, StructureType):
                return None
            name, _, index = part.partition("(")
            node = node.component(name)
            if index:  # an element of an array
                node = node.element if isinstance(node, ArrayType) and int(index[:-1]) < node.count else None
        return node


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """One instance of a report control block.

    Attributes:
        name: `domain/LN$BR$name01`.
        buffered: BRCB or URCB.
        attributes: what the block has (ResvTms, Owner, … are optional).
    """

    name: str
    buffered: bool
    attributes: frozenset[str]

    @property
    def base(self) -> str:
        """Name without the number of the instance."""
        return _INDEX.sub("", self.name)


@dataclass(slots=True)
class Model:
    """An IED.

    Attributes:
        ied: name of the IED in its SCL; empty when it is not known.
        nodes: logical nodes by domain and name.
        data_sets: members (`domain/LN$FC$DO…`) of each data set (`domain/LN$name`).
        blocks: report control blocks.
        constants: values of configuration attributes (FC CF) and revisions as far as they are known, by variable.
    """

    ied: str = ""
    nodes: dict[str, dict[str, LogicalNode]] = field(default_factory=dict)
    data_sets: dict[str, list[str]] = field(default_factory=dict)
    blocks: list[ReportBlock] = field(default_factory=list)
    constants: dict[str, bool | int | float | str] = field(default_factory=dict)

    def domain(self, name: str) -> str:
        """The MMS domain of a logical device, named with or without the name of the IED.

        Raises:
            ModelError: no such logical device, or several.
        """
        for full in (name, self.ied + name):
            if full in self.nodes:
                return full
        found = [domain for domain in self.nodes if domain.endswith(name)]
        if len(found) == 1:
            return found[0]
        what = "is ambiguous" if found else "does not exist"
        raise ModelError(f"logical device {name!r} {what}; there are {', '.join(self.nodes) or 'none'}")

    def node(self, device: str, name: str) -> LogicalNode:
        """A logical node (ModelError when it does not exist)."""
        domain = self.domain(device)
        found = self.nodes[domain].get(name)
        if found is None:
            raise ModelError(f"{domain} has no logical node {name!r}; there are {', '.join(self.nodes[domain])}")
        return found

    def all_nodes(self) -> Iterator[LogicalNode]:
        """Every logical node."""
        for nodes in self.nodes.values():
            yield from nodes.values()

    def type_of(self, variable: str) -> MmsType | None:
        """Type of `domain/LN$FC$…`; None when there is no such variable."""
        domain, _, item = variable.partition("/")
        name, *rest = item.split("$")
        node = self.nodes.get(domain, {}).get(name)
        if node is None:
            return None
        return node.find(rest[0], tuple(rest[1:])) if rest else node.type

    def add_blocks(self) -> None:
        """Fill `blocks` from the types of the logical nodes."""
        self.blocks = [
            ReportBlock(
                f"{node.domain}/{node.name}${constraint}${name}",
                constraint == "BR",
                frozenset(part for part, _ in of.components),
            )
            for node in self.all_nodes()
            for constraint in ("BR", "RP")
            for name, of in getattr(node.constraint(constraint), "components", ())
            if isinstance(of, StructureType)
        ]


def element(of: MmsType | None) -> MmsType | None:
    """The type of the elements of an array, or the type itself."""
    while isinstance(of, ArrayType):
        of = of.element
    return of
