"""Builds what this package ships: our NodeSet2 file with its NodeIds, and the snapshot of all standard nodes.

`python -m address_space.opcua.model.build` writes the files; a test compares them with what this would write.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from asyncua.server.internal_server import InternalServer
from asyncua.server.standard_address_space.standard_address_space import fill_address_space

from address_space.opcua.model.generate import generate
from address_space.opcua.model.ids import DI_URI, IDS_FILE, URI
from address_space.opcua.model.nodeset import read_nodeset
from address_space.opcua.model.snapshot import FILE, compress, pack
from address_space.opcua.untyped import ua

_FOLDER = Path(str(resources.files("address_space.opcua.model")))
DI_FILE = "Opc.Ua.Di.NodeSet2.xml"
NODESET_FILE = "TwinGateway.Grid.NodeSet2.xml"
TABLES_FILE = "types.yaml"
_PLACES = ("http://opcfoundation.org/UA/", "urn:application", "urn:authority", DI_URI, URI)
"""Namespaces in the order of the server's NamespaceArray; the second and third are the server's own."""
_NO_INVERSE = frozenset({37, 40})
"""HasModellingRule and HasTypeDefinition: types would carry a reference for every one of their instances."""


def standard_nodes(nodesets: Sequence[str]) -> list[Any]:
    """Namespace 0 of asyncua and the nodes of NodeSet2 texts, references in both directions."""
    internal = InternalServer()
    try:
        fill_address_space(internal.node_mgt_service)  # type: ignore[no-untyped-call]  # asyncua
        nodes = {node_id: internal.aspace[node_id] for node_id in internal.aspace.keys()}  # noqa: SIM118  # no Mapping
    finally:
        internal.method_service.stop()
    for text in nodesets:
        for node in read_nodeset(text, _PLACES):
            nodes[node.nodeid] = node
    _complete(nodes)
    return list(nodes.values())


def _complete(nodes: dict[Any, Any]) -> None:
    """Give every reference its inverse."""
    for node in list(nodes.values()):
        for reference in list(node.references):
            target = nodes.get(reference.NodeId)
            if target is None or reference.ReferenceTypeId.Identifier in _NO_INVERSE:
                continue
            back = ua.ReferenceDescription()
            back.ReferenceTypeId, back.NodeId = reference.ReferenceTypeId, node.nodeid
            back.IsForward = not reference.IsForward
            target.references.append(back)


def shipped(name: str) -> str:
    """Text of a file of this package; empty when it has not been written yet."""
    path = _FOLDER / name
    return path.read_text("utf-8") if path.exists() else ""


def build() -> dict[str, bytes]:
    """Files by name; the snapshot as records, not yet compressed."""
    nodeset, numbers = generate(shipped(TABLES_FILE), shipped(IDS_FILE))
    return {
        NODESET_FILE: nodeset.encode(),
        IDS_FILE: numbers.encode(),
        FILE: pack(standard_nodes((shipped(DI_FILE), nodeset))),
    }


def main() -> None:
    """Write the files."""
    for name, content in build().items():
        (_FOLDER / name).write_bytes(compress(content) if name == FILE else content)


if __name__ == "__main__":
    main()
