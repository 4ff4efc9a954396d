"""Reads raw history with stock asyncua, as a client does that was away."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from asyncua import Client, ua

_NODES, _VALUES = 20, 1_000
"""Few enough that decoding an answer, which takes asyncua long, does not hold up the event loop."""


def _time(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


async def read(
    client: Client, nodes: list[str], begin: float, end: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Good values of some nodes between two times (ms since 1970).

    Returns:
        Positions in `nodes`, values and source times (ms).
    """
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=_time(begin), EndTime=_time(end), NumValuesPerNode=_VALUES, ReturnBounds=False
    )
    found: list[tuple[int, float, float]] = []
    for first in range(0, len(nodes), _NODES):
        waiting: list[tuple[int, bytes | None]] = [(first + n, None) for n in range(len(nodes[first : first + _NODES]))]
        while waiting:
            parameters = ua.HistoryReadParameters(
                HistoryReadDetails=details,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ReleaseContinuationPoints=False,
                NodesToRead=[
                    ua.HistoryReadValueId(NodeId=ua.NodeId.from_string(nodes[n]), ContinuationPoint=point)
                    for n, point in waiting
                ],
            )
            results = await client.uaclient.history_read(parameters)
            further = []
            for (n, _), result in zip(waiting, results, strict=True):
                result.StatusCode.check()
                for value in result.HistoryData.DataValues:
                    if value.StatusCode is None or value.StatusCode.value == 0:
                        source = value.SourceTimestamp.replace(tzinfo=UTC).timestamp() * 1000
                        found.append((n, float(value.Value.Value), source))
                if result.ContinuationPoint:
                    further.append((n, result.ContinuationPoint))
            waiting = further
    columns = np.array(found, np.float64).reshape(-1, 3)
    return columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2]
