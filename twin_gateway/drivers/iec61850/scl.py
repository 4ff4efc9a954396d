"""SCL files (CID, ICD, SCD) as models; no network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from open61850.mms.types import StructureType
from open61850.server.model import IedModel

from .errors import ModelError
from .model import LogicalNode, Model

MAX_FILE = 256 << 20
"""Octets of an SCL file that is read."""
_REVISIONS = frozenset(("configRev", "ConfRev", "DatSet"))
"""What says by which engineering a device and its report blocks were made; kept beside configuration attributes."""


def read_scl(path: Path, ied: str | None = None) -> Model:
    """The model of an IED of an SCL file; `ied` may be left out when the file has only one.

    Raises:
        ModelError: the file cannot be read, is no SCL, or has no such IED.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if status.st_size > MAX_FILE:
        raise ModelError(f"{path} is larger than {MAX_FILE} octets")
    return _read(path, ied, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _read(path: Path, ied: str | None, _changed: int, _size: int) -> Model:
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
