"""Setting groups (IEC 61850-7-2 16): their control blocks and the settings of a group, read only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from open61850.data import StructureData
from open61850.mms.types import ArrayType, MmsType, PrimitiveType, StructureType

from twin_gateway.drivers.contract import DeviceLine

from . import services
from .association import Association
from .discovery import chunks, object_name
from .errors import DataAccessError, MmsConnectionError, MmsError, MmsTimeout
from .model import Model
from .plan import leaves
from .shown import flattened, shown

BLOCK = "LLN0$SP$SGCB"
MAX_LINES = 20_000
_LEAF, _TEXT = 24, 256
"""Octets of a setting in a response, and of a text."""


def control_blocks(model: Model) -> dict[str, StructureType]:
    """Type of the control block of each logical device (domain) that has setting groups."""
    found: dict[str, StructureType] = {}
    for domain in model.nodes:
        kind = model.type_of(f"{domain}/{BLOCK}")
        if isinstance(kind, StructureType):
            found[domain] = kind
    return found


async def setting_groups(link: Association, model: Model) -> list[DeviceLine]:
    """Active group, number of groups, time of the last change and whatever else the blocks say, a line each.

    Raises:
        MmsConnectionError, MmsTimeout: the association failed.
    """
    lines: list[DeviceLine] = []
    for domain, kind in control_blocks(model).items():
        try:
            (value,) = await services.read(link, object_name(f"{domain}/{BLOCK}"))
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError as error:
            lines.append(DeviceLine(f"{domain}/{BLOCK}", "", str(error)))
            continue
        if not isinstance(value, StructureData) or len(value.members) != len(kind.components):
            refusal = str(value) if isinstance(value, DataAccessError) else "not what its type says"
            lines.append(DeviceLine(f"{domain}/{BLOCK}", "", refusal))
            continue
        lines += [
            DeviceLine(f"{domain}/LLN0.SGCB.{name}", shown(member), _kind(of))
            for (name, of), member in zip(kind.components, value.members, strict=True)
        ]
    return lines


def _kind(of: MmsType) -> str:
    return of.kind if isinstance(of, PrimitiveType) else ""


def settings_of(model: Model, domain: str) -> dict[str, MmsType]:
    """The data objects below FC SG of a logical device: `domain/LN$SG$DO` and type."""
    found: dict[str, MmsType] = {}
    for node in model.nodes[domain].values():
        inside = node.constraint("SG")
        for name, kind in inside.components if inside is not None else ():
            found[f"{domain}/{node.name}$SG${name}"] = kind
    return found


async def settings(link: Association, model: Model, domain: str) -> tuple[list[DeviceLine], bool]:
    """(settings of the active group of a logical device, a line each; whether the list was cut).

    Raises:
        MmsConnectionError, MmsTimeout: the association failed.
        MmsError: the device refuses a request as a whole.
    """
    objects = settings_of(model, domain)
    names = {name: leaves(name, kind) for name, kind in objects.items()}
    lines: list[DeviceLine] = []
    for group in chunks(link, ((name, _size(names[name], objects[name])) for name in objects)):
        results = await services.read(link, *(object_name(name) for name in group))
        for name, result in zip(group, results, strict=True):
            lines += _lines(name, names[name], result)
            if len(lines) > MAX_LINES:
                return lines[:MAX_LINES], True
    return lines, False


def _lines(name: str, parts: Sequence[str], result: object) -> Iterator[DeviceLine]:
    if isinstance(result, DataAccessError):
        yield DeviceLine(_reference(name), "", str(result))
        return
    values = list(flattened(result))  # type: ignore[arg-type]  # a result is data or an error, and errors are out
    if len(values) != len(parts):
        yield DeviceLine(_reference(name), "", f"{len(values)} values instead of the {len(parts)} of its type")
        return
    for part, value in zip(parts, values, strict=True):
        yield DeviceLine(_reference(part), shown(value))


def _reference(variable: str) -> str:
    """`LD0/PTOC1.StrVal.setMag.f[SG]` of `LD0/PTOC1$SG$StrVal$setMag$f`."""
    domain, _, item = variable.partition("/")
    node, constraint, *path = item.split("$")
    return f"{domain}/{node}.{'.'.join(path)}[{constraint}]"


def _size(parts: Sequence[str], kind: MmsType) -> int:
    texts = 0
    stack = [kind]
    while stack:
        of = stack.pop()
        if isinstance(of, StructureType):
            stack.extend(inner for _, inner in of.components)
        elif isinstance(of, ArrayType):
            stack.append(of.element)
            texts += of.count if isinstance(of.element, PrimitiveType) and "string" in of.element.kind else 0
        elif isinstance(of, PrimitiveType) and "string" in of.kind and of.kind != "bit-string":
            texts += 1
    return len(parts) * _LEAF + texts * _TEXT
