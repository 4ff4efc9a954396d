"""The data model of an IED: logical nodes with their types, data sets, report control blocks and configured constants.

It comes from the device itself (`discovery.py`) or from an SCL file (`scl.py`); both give the same record, so that they
can be compared. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from open61850.mms.types import ArrayType, MmsType, StructureType

from .errors import ModelError
from .plan import leaves

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
            node = node.component(part)
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
        constants: values of configuration attributes (FC CF) as far as they are known, by `domain/LN$CF$…`.
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


def differences(expected: Model, actual: Model, *, limit: int = 50) -> list[str]:
    """What a device has otherwise than its SCL file says, one line each; at most `limit` and a line about the rest."""
    found: list[str] = []
    _compare(found, "logical device", expected.nodes, actual.nodes)
    for domain, nodes in expected.nodes.items():
        if domain not in actual.nodes:
            continue
        _compare(found, f"{domain}: logical node", nodes, actual.nodes[domain])
        for name, node in nodes.items():
            other = actual.nodes[domain].get(name)
            if other is not None:
                _compare(found, f"{domain}/{name}: attribute", _attributes(node), _attributes(other))
    _compare(found, "data set", expected.data_sets, actual.data_sets)
    for name, members in expected.data_sets.items():
        if name in actual.data_sets and actual.data_sets[name] != members:
            found.append(f"data set {name} has other members")
    ours, theirs = ({block.name: None for block in model.blocks} for model in (expected, actual))
    _compare(found, "report control block", ours, theirs)
    if len(found) > limit:
        found[limit:] = [f"and {len(found) - limit} more differences"]
    return found


def _attributes(node: LogicalNode) -> dict[str, str]:
    described: dict[str, str] = {}
    for constraint in node.constraints():
        inside = node.type.component(constraint)
        if inside is not None:
            described.update((leaf, "") for leaf in leaves(constraint, inside))
    return described


def _compare(found: list[str], what: str, expected: Collection[str], actual: Collection[str]) -> None:
    found.extend(f"{what} {name} is missing in the device" for name in expected if name not in actual)
    found.extend(f"{what} {name} is not in the SCL file" for name in actual if name not in expected)


def element(of: MmsType | None) -> MmsType | None:
    """The type of the elements of an array, or the type itself."""
    while isinstance(of, ArrayType):
        of = of.element
    return of
