"""SCL files (CID, ICD, SCD) as models; no network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from open61850.mms.types import StructureType
from open61850.scl import SclIed, load_ieds
from open61850.server.model import IedModel

from .errors import ModelError
from .model import LogicalNode, Model
from .scl_types import MAX_ATTRIBUTES, MAX_SETTING_GROUPS, TypeFault, TypeKey, TypeSizes, times
from .scl_xml import Element, read_tree

_REVISIONS = frozenset(("configRev", "ConfRev", "DatSet"))
"""What says by which engineering a device and its report blocks were made; kept beside configuration attributes."""
_FAULTS = {
    TypeFault.MISSING: "has no {kind} '{id}'",
    TypeFault.HOLDS_ITSELF: "is of the {kind} '{id}', which holds itself",
    TypeFault.TOO_DEEP: "is of the {kind} '{id}', which is nested too deep",
}


def read_scl(path: Path, ied: str | None = None) -> Model:
    """The model of an IED of an SCL file; `ied` may be left out when the file has only one.

    Raises:
        ModelError: the file cannot be read, is no SCL, is beyond a limit, or has no such IED.
    """
    return _read(path, ied, *_version(path))


def read_ieds(path: Path) -> list[SclIed]:
    """Addresses, data sets and control blocks of every IED of an SCL file.

    Raises:
        ModelError: the file cannot be read, is no SCL, or is beyond a limit.
    """
    found = _inspected(path, *_version(path))
    if isinstance(found, ModelError):
        raise found.with_traceback(None)  # it is raised again for every device of the file
    try:
        return load_ieds(path)
    except (ValueError, TypeError, LookupError, OSError, RecursionError) as error:
        raise ModelError(f"{path}: {error}") from error


def _version(path: Path) -> tuple[int, int]:
    """When a file was changed last, and its size."""
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=32)
def _inspected(path: Path, _changed: int, _size: int) -> dict[str, str] | ModelError:
    """What forbids to build a model, by IED: the codec library reads whatever a file says; or why it is no SCL."""
    try:
        root = read_tree(path)
    except ModelError as error:
        return error
    types: dict[TypeKey, Element] = {}
    for templates in root.children:
        if templates.local == "DataTypeTemplates":
            types |= {(element.local, element.attributes.get("id", "")): element for element in templates.children}
    found: dict[str, str] = {}
    for ied in root.children:
        if ied.local == "IED" and (fault := _fault(ied, types)):
            found.setdefault(ied.attributes.get("name", ""), fault)
    return found


def _fault(ied: Element, types: dict[TypeKey, Element]) -> str:
    """Why no model can be built of an IED, with the line; empty when one can."""
    faults: list[str] = []

    def tell(fault: TypeFault, item: Element, key: TypeKey) -> None:
        # A data object without its type is left out of the model; a structure without its type has no layout.
        if fault is not TypeFault.MISSING or key[0] == "DAType":
            what = _FAULTS[fault].format(kind=key[0], id=key[1])
            faults.append(f"{item.line}:{item.column}: {item.get('name')} {what}")

    sizes = TypeSizes(types, tell)
    total = 0
    waiting = [ied]
    while waiting:
        element = waiting.pop()
        waiting += element.children
        if element.local == "LDevice":
            total += sizes.of_device([node for node in element.children if node.local in ("LN0", "LN")])
        elif element.local == "SettingControl" and times(element, "numOfSGs") > MAX_SETTING_GROUPS:
            faults.append(f"{element.line}:{element.column}: numOfSGs is more than {MAX_SETTING_GROUPS}")
    if total > MAX_ATTRIBUTES:
        what = f"the types unfold to {total} attributes, more than {MAX_ATTRIBUTES}"
        faults.append(f"{ied.line}:{ied.column}: {what}")
    return faults[0] if faults else ""


@lru_cache(maxsize=32)
def _read(path: Path, ied: str | None, changed: int, size: int) -> Model:
    found = _inspected(path, changed, size)
    if isinstance(found, ModelError):
        raise found.with_traceback(None)  # it is raised again for every device of the file
    # Without a name there is one IED, or else the library refuses.
    fault = found.get(ied) if ied is not None else next(iter(found.values()), None)
    if fault:
        raise ModelError(f"{path}:{fault}")
    try:
        source = IedModel.from_scl(path, ied)
    except (ValueError, TypeError, LookupError, OSError, RecursionError, AssertionError) as error:
        raise ModelError(f"{path}: {error}") from error
    model = Model(ied=source.ied_name)
    for domain, nodes in source.logical_devices.items():
        model.nodes[domain] = {
            name: LogicalNode(domain, name, node.mms_type)
            for name, node in nodes.items()
            if isinstance(node.mms_type, StructureType)
        }
        for node in nodes.values():
            for constraint in node.children.values():
                if constraint.name not in {"CF", "SP", "DC", "BR", "RP"}:
                    continue
                for leaf in constraint.leaves():
                    if constraint.name not in {"CF", "SP"} and leaf.name not in _REVISIONS:
                        continue
                    value = getattr(leaf.value, "value", None)
                    if isinstance(value, bool | int | float | str):
                        model.constants[f"{domain}/{leaf.item}"] = value
    model.data_sets = {
        f"{of.domain}/{of.item}": [f"{member.domain}/{member.item}" for member in members]
        for of, members in source.data_sets.items()
    }
    model.add_blocks()
    return model
