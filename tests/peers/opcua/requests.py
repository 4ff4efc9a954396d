"""Single requests through asyncua's client, with every field of the request in the test's hand."""

from __future__ import annotations

from typing import Any

from asyncua import ua


async def read(client: Any, node: str, attribute: int = 13, **more: Any) -> Any:
    """One DataValue; `stamps`, `age` and fields of the ReadValueId can be given."""
    wanted = ua.ReadValueId(NodeId=ua.NodeId.from_string(node), AttributeId=ua.AttributeIds(attribute))
    stamps, age = more.pop("stamps", 2), more.pop("age", 0.0)
    for name, value in more.items():
        setattr(wanted, name, value)
    parameters = ua.ReadParameters(MaxAge=age, NodesToRead=[wanted])
    parameters.TimestampsToReturn = stamps if stamps > 3 else ua.TimestampsToReturn(stamps)
    [value] = await client.uaclient.read(parameters)
    return value


def status(value: Any) -> str:
    return str(value.StatusCode.name)


async def browse(client: Any, node: str, **fields: Any) -> Any:
    wanted = ua.BrowseDescription(NodeId=ua.NodeId.from_string(node), IncludeSubtypes=True, ResultMask=63)
    wanted.ReferenceTypeId = ua.NodeId(0)
    most = fields.pop("most", 0)
    for name, value in fields.items():
        setattr(wanted, name, value)
    parameters = ua.BrowseParameters(NodesToBrowse=[wanted], RequestedMaxReferencesPerNode=most)
    [result] = await client.uaclient.browse(parameters)
    return result
