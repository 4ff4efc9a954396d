"""Whether measurements determine the state of each island, and what is missing where they do not.

In a radial island every measured branch cuts it: on both sides the flow is known. A part between cuts is determined
when at most one of its injections (loads, generators, the source) is not known, because the balance of the part gives
that one. Islands with loops are left to the estimator's own judgement.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin_gateway.grid.arrays import GridArrays, Indexes, Switching, components
from twin_gateway.grid.sensors import Sensors, Where, node_of

_NAMED = 3
"""How many unknown injections are named."""


def what_is_missing(
    arrays: GridArrays, state: Switching, sensors: Sensors, measured: Mapping[int, int], labels: Indexes
) -> dict[int, str]:
    """What each island lacks, by its label; an empty text when nothing is missing.

    Args:
        arrays: of the grid.
        state: switching state with its kept switches.
        sensors: measured and pseudo-measured.
        measured: number of measured values of each island.
        labels: of the energised islands.
    """
    result = dict.fromkeys(labels.tolist(), "")
    with_voltage = {int(state.island[state.joined[node]]) for node, _ in sensors.voltage}
    unknown = _unknown_injections(arrays, state, sensors)
    for label in result:
        if not measured.get(label, 0):
            result[label] = "nothing is measured"
        elif label not in with_voltage:
            result[label] = "a measured voltage is missing"
        elif unknown.get(label):
            names = unknown[label]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            result[label] = f"measured power is missing at {', '.join(names[:_NAMED])}{more}"
    return result


def _unknown_injections(arrays: GridArrays, state: Switching, sensors: Sensors) -> dict[int, list[str]]:
    count = len(state.nominal)
    ends = state.joined[np.concatenate([arrays.line_ends, arrays.transformer_ends, arrays.switch_ends])]
    series = np.concatenate([state.line, state.transformer, state.kept])
    lines, transformers = len(arrays.lines), len(arrays.transformers)
    offset = {Where.LINE: 0, Where.TRANSFORMER: lines, Where.SWITCH: lines + transformers}
    cut = np.zeros(len(series), bool)
    known_injection = np.zeros(len(arrays.injections), bool)
    known_source = np.zeros(len(arrays.sources), bool)
    measured_ends = set()
    for terminal, amount, _ in (*sensors.power, *sensors.current):
        where, row, _ = terminal
        if where == Where.BEYOND:
            if amount.points:
                measured_ends.add(terminal)
        elif where == Where.INJECTION:
            known_injection[row] = True
        elif where == Where.SOURCE:
            known_source[row] = True
        else:
            cut[offset[where] + row] = True
    whole = ends[series]
    nodes_in = np.bincount(state.island, minlength=count)
    edges_in = np.bincount(state.island[whole[:, 0]], minlength=count)
    meshed = edges_in >= nodes_in
    parted = ends[series & ~cut]
    piece = components(count, parted[:, 0], parted[:, 1])
    open_ends: dict[int, list[str]] = {}
    for items, nodes, known in (
        (arrays.injections, state.joined[arrays.injection_node], known_injection),
        (arrays.sources, state.joined[arrays.source_node], known_source),
    ):
        for item, node, is_known in zip(items, nodes.tolist(), known.tolist(), strict=True):
            if not is_known and state.energised[node] and not meshed[state.island[node]]:
                open_ends.setdefault(int(piece[node]), []).append(item.address)
    for terminal in sensors.free:
        node = node_of(arrays, state, terminal)
        if terminal not in measured_ends and not meshed[state.island[node]]:
            open_ends.setdefault(int(piece[node]), []).append(arrays.switches[terminal[1]].address)
    missing: dict[int, list[str]] = {}
    for place, names in open_ends.items():
        if len(names) > 1:
            missing.setdefault(int(state.island[place]), []).extend(names[: len(names) - 1])
    return missing
