"""Reading the model from the device itself: names, types, data sets, configured constants."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from open61850.mms.pdu import (
    OBJECT_CLASS_DOMAIN,
    OBJECT_CLASS_NAMED_VARIABLE,
    OBJECT_CLASS_NAMED_VARIABLE_LIST,
    ObjectName,
)
from open61850.mms.types import MmsType, StructureType

from . import services
from .association import Association
from .errors import DataAccessError, MmsConnectionError, MmsError, MmsTimeout
from .model import LogicalNode, Model

_CONSTANT_SIZE = 24
"""Octets of a configuration value in a read response, at most."""


def object_name(variable: str) -> ObjectName:
    """The MMS name of `domain/item`."""
    domain, _, item = variable.partition("/")
    return ObjectName(item, domain)


async def read_model(link: Association, ied: str = "") -> Model:
    """The whole model of a device: one request a page of names, one a logical node, one a data set.

    Raises:
        MmsConnectionError, MmsTimeout: the association failed meanwhile.
        MmsError: the device does not give its names.
    """
    model = Model(ied=ied)
    for domain in await services.names(link, OBJECT_CLASS_DOMAIN):
        names = await services.names(link, OBJECT_CLASS_NAMED_VARIABLE, domain)
        inside: dict[str, dict[str, list[str]]] = {}
        for name in names:
            node, *rest = name.split("$", 3)
            constraints = inside.setdefault(node, {})
            if len(rest) == 1:
                constraints.setdefault(rest[0], [])
            elif len(rest) == 2:
                constraints.setdefault(rest[0], []).append(rest[1])
        types = await asyncio.gather(*(_node_type(link, domain, node, fcs) for node, fcs in inside.items()))
        model.nodes[domain] = {
            name: LogicalNode(domain, name, of) for name, of in zip(inside, types, strict=True) if of is not None
        }
        for data_set, members in await _data_sets(link, domain):
            model.data_sets[f"{domain}/{data_set}"] = members
    model.add_blocks()
    return model


async def _node_type(
    link: Association, domain: str, node: str, constraints: Mapping[str, Sequence[str]]
) -> StructureType | None:
    """Type of a logical node; what is refused as a whole (it may exceed a PDU) is asked in its parts.

    `constraints` are the names of the data objects below each functional constraint.
    """
    whole = await _type(link, ObjectName(node, domain))
    if isinstance(whole, StructureType):
        return whole
    known: list[tuple[str, MmsType]] = []
    for constraint, data_objects in constraints.items():
        of = await _type(link, ObjectName(f"{node}${constraint}", domain))
        if of is None and data_objects:
            parts = [
                (name, await _type(link, ObjectName(f"{node}${constraint}${name}", domain))) for name in data_objects
            ]
            of = StructureType([(name, kind) for name, kind in parts if kind is not None])
        if of is not None:
            known.append((constraint, of))
    return StructureType(known) if known else None


async def _type(link: Association, name: ObjectName) -> MmsType | None:
    try:
        return await services.type_of(link, name)
    except (MmsConnectionError, MmsTimeout):
        raise
    except MmsError:
        return None


async def _data_sets(link: Association, domain: str) -> list[tuple[str, list[str]]]:
    try:
        names = await services.names(link, OBJECT_CLASS_NAMED_VARIABLE_LIST, domain)
    except (MmsConnectionError, MmsTimeout):
        raise
    except MmsError:
        return []

    async def members(name: str) -> tuple[str, list[str]] | None:
        try:
            found = await services.data_set_members(link, ObjectName(name, domain))
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            return None
        return name, found

    return [of for of in await asyncio.gather(*(members(name) for name in names)) if of is not None]


def chunks(link: Association, sizes: Iterable[tuple[str, int]]) -> list[list[str]]:
    """Variables in groups of which each fits into one request and one response.

    Args:
        link: whose PDU size counts.
        sizes: variable and octets of its value in a response, at most.
    """
    room = link.pdu_size - services.READ_OVERHEAD
    groups: list[list[str]] = []
    asked = answered = room + 1
    for variable, size in sizes:
        request = services.request_size(object_name(variable))
        if asked + request > room or answered + size > room:
            groups.append([])
            asked = answered = 0
        groups[-1].append(variable)
        asked, answered = asked + request, answered + size
    return groups


async def read_constants(link: Association, variables: Iterable[str]) -> dict[str, bool | int | float | str]:
    """Values of configuration attributes; those that the device refuses are left out."""
    wanted = list(dict.fromkeys(variables))
    found: dict[str, bool | int | float | str] = {}
    groups = chunks(link, ((variable, _CONSTANT_SIZE) for variable in wanted))
    while groups:
        group = groups.pop()
        try:
            results = await services.read(link, *(object_name(variable) for variable in group))
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            # the answer may not fit, or one variable spoils it for all
            if len(group) > 1:
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
            continue
        for variable, result in zip(group, results, strict=True):
            value = None if isinstance(result, DataAccessError) else getattr(result, "value", None)
            if isinstance(value, bool | int | float | str):
                found[variable] = value
    return found
