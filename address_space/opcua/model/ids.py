"""NodeIds of our types and of DI's as the server has them: fixed namespace indexes, numbers of the NodeIds file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import cache
from importlib import resources

from address_space.opcua.wire import numeric_node_id

URI = "urn:twin-gateway:UA:Grid"
"""Namespace of our types."""
DI_URI = "http://opcfoundation.org/UA/DI/"
APPLICATION_INDEX, AUTHORITY_INDEX, DI_INDEX, INDEX = 1, 2, 3, 4
"""Indexes in the server's NamespaceArray: the application's own, the addresses', DI's, our types'."""
IDS_FILE = "TwinGateway.Grid.NodeIds.csv"


def read_ids(text: str) -> dict[str, int]:
    """Symbols and numbers of a NodeIds file."""
    return {row[0]: int(row[1]) for row in csv.reader(io.StringIO(text)) if row}


@cache
def numbers() -> Mapping[str, int]:
    """Number of each of our nodes by its symbol: `SPCType`, `SPCType_q`."""
    return read_ids(resources.files("address_space.opcua.model").joinpath(IDS_FILE).read_text("utf-8"))


@cache
def own(symbol: str) -> bytes:
    """NodeId of one of our nodes on the wire.

    Raises:
        KeyError: when there is no such node.
    """
    return numeric_node_id(numbers()[symbol], INDEX)
