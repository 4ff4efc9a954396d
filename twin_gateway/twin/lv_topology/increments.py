"""The order along the line: by how much one customer's current lowers another's voltage is the path that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin_gateway.twin.lv_topology.correlation import Courses, courses, prepared
from twin_gateway.twin.lv_topology.data import AreaData

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
NOMINAL = 230.0


def shared_resistances(data: AreaData, sets: Sequence[tuple[Ints, Ints]], course: Courses | None = None) -> list[F64]:
    """Resistances of the paths from the busbar that channels share, ohm, (n, n) each, the transformer's included.

    The slope of voltage against current (power over nominal voltage) of all channels of the transformer together,
    the common modes of the medium voltage taken off. Negative shares are impossible and set to 0.

    Args:
        data: see `AreaData`.
        sets: channels asked about, of one phase of one transformer, and further channels of the same transformer,
            whose currents return through the same neutral.
        course: of the same data, where it is at hand.
    """
    course = course or courses(data)
    volts = prepared(course)
    out = []
    for channels, others in sets:
        current = course.watts[np.concatenate([channels, others])] / NOMINAL
        both = np.concatenate([current, volts.common])
        gram = both @ both.T
        gram += np.eye(len(gram)) * 1e-3 * np.diag(gram).mean()
        slope = -np.linalg.solve(gram, both @ volts.channels[channels].T)[: len(channels)].T
        out.append(np.maximum((slope + slope.T) / 2, 0.0))
    return out


def parents(shared: F64) -> Ints:
    """The next meter up the line of every meter, -1 for the first, from shared path resistances.

    A meter's junction is the farthest point that its path shares with another's. Meters whose junction comes earlier
    are up the line; of those the one that shares most is the parent.
    """
    count = len(shared)
    out = np.full(count, -1)
    if count < 2:
        return out
    apart = shared.copy()
    np.fill_diagonal(apart, -np.inf)
    order = np.lexsort((np.diag(shared), apart.max(1)))
    for place in range(1, count):
        row = order[place]
        before = order[:place]
        out[row] = before[np.argmax(apart[row, before])]
    return out
