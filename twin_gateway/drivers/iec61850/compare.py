"""An SCL file against the live device: nodes, types, data sets and members, report blocks, revisions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from open61850.mms.types import PrimitiveType, StructureType

from twin_gateway.drivers.contract import ModelDifference

from . import services
from .association import Association
from .discovery import chunks, object_name
from .errors import DataAccessError, MmsConnectionError, MmsError, MmsTimeout
from .model import CONTROL_BLOCKS, Model
from .plan import leaves_with_types

MAX_DIFFERENCES = 500
REVISION = "LLN0$DC$NamPlt$configRev"
_VALUE = 140
"""Octets of such a value in a response, at most."""
_NUMBERS = frozenset(("integer", "unsigned", "float"))
_THERE = "there"
_MADE = re.compile(r"\$twg[0-9a-f]{8}_")
"""Names of the data sets that gateways make, see `data_sets.prefix`."""


def compare(expected: Model, actual: Model, live: Mapping[str, bool | int | float | str]) -> list[ModelDifference]:
    """What a device has otherwise than its SCL file says.

    Data sets that a gateway has made, and what changes in a block that has been given one, are no differences.

    Args:
        expected: of the file, with the values of `revisions` among its constants.
        actual: of the device.
        live: values of `revisions` as the device says them; what it does not say is not compared.

    Returns:
        At most `MAX_DIFFERENCES`, and a line about the rest.
    """
    found = list(_all(expected, actual, live))
    if len(found) > MAX_DIFFERENCES:
        found[MAX_DIFFERENCES:] = [ModelDifference("more differences", "", str(len(found) - MAX_DIFFERENCES))]
    return found


def _all(expected: Model, actual: Model, live: Mapping[str, bool | int | float | str]) -> Iterator[ModelDifference]:
    yield from _names("logical device", expected.nodes, actual.nodes)
    for domain, nodes in expected.nodes.items():
        if domain not in actual.nodes:
            continue
        others = actual.nodes[domain]
        yield from _names("logical node", (f"{domain}/{n}" for n in nodes), {f"{domain}/{n}" for n in others})
        for name, node in nodes.items():
            if name in others:
                yield from _types(f"{domain}/{name}", _objects(node.type), _objects(others[name].type))
    theirs = {name: members for name, members in actual.data_sets.items() if not _MADE.search(name)}
    yield from _names("data set", expected.data_sets, theirs)
    for name, members in expected.data_sets.items():
        if name in theirs and theirs[name] != members:
            yield from _members(name, members, theirs[name])
    yield from _names(
        "report control block", (block.name for block in expected.blocks), {block.name for block in actual.blocks}
    )
    for variable in revisions(expected, actual):
        block, _, _ = variable.rpartition("$")
        lent = _MADE.search(str(live.get(f"{block}$DatSet", "")))
        if not lent and variable in live and live[variable] != expected.constants[variable]:
            yield ModelDifference(variable, str(expected.constants[variable]), str(live[variable]))


def revisions(expected: Model, actual: Model) -> list[str]:
    """Variables whose values are compared: configRev of the logical devices, ConfRev and DatSet of the blocks.

    ConfRev only of buffered blocks with a data set: that of the others counts up whenever a client gives them one.
    """
    blocks = {block.name for block in actual.blocks}
    wanted = [f"{domain}/{REVISION}" for domain in expected.nodes if domain in actual.nodes]
    for block in expected.blocks:
        if block.name in blocks:
            wanted.append(f"{block.name}$DatSet")
            if block.buffered and expected.constants.get(f"{block.name}$DatSet"):
                wanted.append(f"{block.name}$ConfRev")
    return [variable for variable in wanted if expected.constants.get(variable, "") != ""]


async def read_revisions(link: Association, expected: Model, actual: Model) -> dict[str, bool | int | float | str]:
    """Values of `revisions` in the device; what it refuses is left out.

    Raises:
        MmsConnectionError, MmsTimeout: the association failed.
    """
    found: dict[str, bool | int | float | str] = {}
    for group in chunks(link, ((variable, _VALUE) for variable in revisions(expected, actual))):
        try:
            results = await services.read(link, *(object_name(variable) for variable in group))
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            continue
        for variable, result in zip(group, results, strict=True):
            value = None if isinstance(result, DataAccessError) else getattr(result, "value", None)
            if isinstance(value, bool | int | float | str):
                found[variable] = value
    return found


def text_of(difference: ModelDifference) -> str:
    """One difference as a sentence."""
    if not difference.found:
        return f"{difference.item} is missing in the device"
    if not difference.expected:
        return f"{difference.item} is not in the SCL file"
    return f"{difference.item} is {difference.found}, not {difference.expected}"


def summary(found: list[ModelDifference], *, shown: int = 3) -> str:
    """All of them as one sentence: how many, and the first ones."""
    first = "; ".join(text_of(of) for of in found[:shown])
    more = f"; {len(found) - shown} more" if len(found) > shown else ""
    return f"The device is otherwise than its SCL file: {first}{more}"


def _names(what: str, expected: Iterable[str], actual: Iterable[str]) -> Iterator[ModelDifference]:
    ours, theirs = dict.fromkeys(expected), dict.fromkeys(actual)
    yield from (ModelDifference(f"{what} {name}", _THERE, "") for name in ours if name not in theirs)
    yield from (ModelDifference(f"{what} {name}", "", _THERE) for name in theirs if name not in ours)


def _objects(of: StructureType) -> dict[str, dict[str, str]]:
    """Leaves with their types of each data object: `ST$Pos` -> `ST$Pos$stVal` -> `bit-string`."""
    found: dict[str, dict[str, str]] = {}
    for constraint, inside in of.components:
        if not isinstance(inside, StructureType) or constraint in CONTROL_BLOCKS:
            continue
        for name, kind in inside.components:
            described = leaves_with_types(f"{constraint}${name}", kind)
            found[f"{constraint}${name}"] = {leaf: _described(of) for leaf, of in described}
    return found


def _described(of: object) -> str:
    """Kind of a leaf, of numbers with their size: lengths of texts and strings of bits are told in several ways."""
    if not isinstance(of, PrimitiveType):
        return "a named type"
    return f"{of.kind}{of.size}" if of.kind in _NUMBERS and of.size else of.kind


def _types(
    node: str, expected: Mapping[str, Mapping[str, str]], actual: Mapping[str, Mapping[str, str]]
) -> Iterator[ModelDifference]:
    yield from _names("data object", (f"{node}${name}" for name in expected), {f"{node}${name}": 0 for name in actual})
    for name, leaves in expected.items():
        others = actual.get(name)
        if others is None:
            continue
        yield from _names("attribute", (f"{node}${leaf}" for leaf in leaves), {f"{node}${leaf}": 0 for leaf in others})
        for leaf, kind in leaves.items():
            if leaf in others and others[leaf] != kind:
                yield ModelDifference(f"type of {node}${leaf}", kind, others[leaf])


def _members(name: str, expected: list[str], actual: list[str]) -> Iterator[ModelDifference]:
    missing = [member for member in expected if member not in actual]
    further = [member for member in actual if member not in expected]
    yield from (ModelDifference(f"data set {name}: member {member}", _THERE, "") for member in missing)
    yield from (ModelDifference(f"data set {name}: member {member}", "", _THERE) for member in further)
    if not missing and not further:
        yield ModelDifference(f"order of data set {name}", ", ".join(expected), ", ".join(actual))
