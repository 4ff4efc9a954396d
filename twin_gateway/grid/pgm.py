"""Export of a grid to power-grid-model: balanced, or by phase where all equipment has three.

Nodes joined by closed switches become one node, because a link of very high admittance between every two of them would
cost accuracy; switches get their flows back by the sums of what is beyond them. Charging, shunts, taps and loads of
constant current or impedance are carried over; a delta is not (`twin_gateway.grid.unbalanced` does those).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from power_grid_model import ComponentType, DatasetType, LoadGenType, WindingType, initialize_array

from twin_gateway.grid.arrays import Booleans, Complexes, Floats, GridArrays, Indexes, Switching
from twin_gateway.grid.model import Equipment, GridError, LineData, SourceData, TransformerData

Dataset = dict[ComponentType, npt.NDArray[Any]]

FREQUENCY = 50.0
"""Hz; only turns susceptances into the capacitances that the engine wants, and back."""
IDEAL_SOURCE = 1e15
"""VA; short-circuit power of a source without impedance (the engine's own default would add one)."""
KEPT_SWITCH = 1e-5
"""Impedance of a kept switch, per unit at 1 MVA."""
_LINE, _TRANSFORMER, _SWITCH, _INJECTION, _SOURCE = (k << 26 for k in range(1, 6))
_BASE = {
    "line": _LINE,
    "transformer": _TRANSFORMER,
    "switch": _SWITCH,
    "injection": _INJECTION,
    "source": _SOURCE,
}
_LOAD_TYPE = np.array([LoadGenType.const_power, LoadGenType.const_current, LoadGenType.const_impedance], np.int8)
_WINDING = {
    "D": WindingType.delta,
    "Y": WindingType.wye,
    "YN": WindingType.wye_n,
    "Z": WindingType.zigzag,
    "ZN": WindingType.zigzag_n,
}


@dataclass(frozen=True, slots=True)
class PgmExport:
    """A dataset of power-grid-model and what its parts are in the grid.

    Attributes:
        data: input arrays by component.
        symmetric: balanced; by phase otherwise.
        lines, transformers, switches, injections: which of those of `GridArrays` are in, by number.
        notes: approximations.
    """

    data: Dataset
    symmetric: bool
    lines: Indexes
    transformers: Indexes
    switches: Indexes
    injections: Indexes
    notes: tuple[str, ...]


def equipment_id(kind: str, row: int) -> int:
    """Id in the dataset of a line, transformer, switch, injection or source, by its number in `GridArrays`."""
    return _BASE[kind] + row


def injection_ids(export: PgmExport) -> Indexes:
    """Ids of the loads, generators and shunts, in the order of `export.injections`."""
    return _INJECTION + export.injections


def source_ids(rows: int | Indexes) -> int | Indexes:
    """Ids of sources by their number in `GridArrays.sources`."""
    return _SOURCE + rows


def export(
    arrays: GridArrays,
    state: Switching,
    drawn: Complexes,
    *,
    symmetric: bool = True,
    kept: Booleans | None = None,
    only: Booleans | None = None,
) -> PgmExport:
    """Write a grid in one switching state as a dataset of power-grid-model.

    Args:
        arrays: of the grid.
        state: its topological nodes.
        drawn: VA drawn by each injection and phase, shape (injections, 3).
        symmetric: balanced model; otherwise by phase, with zero-sequence data.
        kept: switches that become lines of next to no impedance (the engine measures nothing in its own links).
        only: topological nodes that take part; all that are energised by default.

    Raises:
        GridError: a transformer's data make no sense.
    """
    part = state.energised if only is None else only
    lines = np.nonzero(state.line & part[state.joined[arrays.line_ends[:, 0]]])[0]
    transformers = np.nonzero(state.transformer & part[state.joined[arrays.transformer_ends[:, 0]]])[0]
    injections = np.nonzero(part[state.joined[arrays.injection_node]])[0]
    chosen = np.zeros(len(arrays.switches), bool) if kept is None else kept & state.closed
    switches = np.nonzero(chosen & part[state.joined[arrays.switch_ends[:, 0]]])[0]
    notes: list[str] = [f"the third winding of {address} is left out" for address in arrays.three_winding]
    sources = np.nonzero(part[state.joined[arrays.source_node]])[0]
    data: Dataset = {
        ComponentType.node: _nodes(state, np.nonzero(part)[0]),
        ComponentType.line: np.concatenate(
            [_lines(arrays, state, lines, notes, symmetric=symmetric), _switches(arrays, state, switches)]
        ),
        ComponentType.transformer: _transformers(arrays, state, transformers),
        ComponentType.source: _sources(arrays, state, sources),
    }
    kind = ComponentType.sym_load if symmetric else ComponentType.asym_load
    load = initialize_array(DatasetType.input, kind, len(injections))
    load["id"], load["node"] = _INJECTION + injections, state.joined[arrays.injection_node[injections]]
    load["status"] = 1
    load["type"] = _LOAD_TYPE[arrays.exponent[injections]]
    load["p_specified"], load["q_specified"] = load_powers(drawn[injections], symmetric=symmetric)
    data[kind] = load
    return PgmExport(data, symmetric, lines, transformers, switches, injections, tuple(notes))


def load_powers(drawn: Complexes, *, symmetric: bool) -> tuple[Floats, Floats]:
    """W and var of loads as the engine takes them: sums, or by phase."""
    power = drawn.sum(-1) if symmetric else drawn
    return power.real, power.imag


def _nodes(state: Switching, part: Indexes) -> npt.NDArray[Any]:
    node = initialize_array(DatasetType.input, ComponentType.node, len(part))
    node["id"], node["u_rated"] = part, state.nominal[part]
    return node


def _lines(
    arrays: GridArrays, state: Switching, rows: Indexes, notes: list[str], *, symmetric: bool
) -> npt.NDArray[Any]:
    line = initialize_array(DatasetType.input, ComponentType.line, len(rows))
    ends = state.joined[arrays.line_ends[rows]]
    line["id"], line["from_node"], line["to_node"] = _LINE + rows, ends[:, 0], ends[:, 1]
    line["from_status"] = line["to_status"] = 1
    records = [line_data(arrays.lines[row]) for row in rows]
    unknown = sum(data.r0 is None or data.x0 is None for data in records)
    if unknown and not symmetric:
        notes.append(f"the zero sequence of {unknown} lines is not known and taken as the positive")
    line["r1"], line["x1"] = [data.r for data in records], [data.x for data in records]
    line["c1"] = [data.b / (2 * np.pi * FREQUENCY) for data in records]
    line["tan1"] = 0.0
    line["r0"] = [data.r if data.r0 is None else data.r0 for data in records]
    line["x0"] = [data.x if data.x0 is None else data.x0 for data in records]
    line["c0"], line["tan0"] = line["c1"], 0.0
    return line


def _switches(arrays: GridArrays, state: Switching, rows: Indexes) -> npt.NDArray[Any]:
    line = initialize_array(DatasetType.input, ComponentType.line, len(rows))
    ends = state.joined[arrays.switch_ends[rows]]
    line["id"], line["from_node"], line["to_node"] = _SWITCH + rows, ends[:, 0], ends[:, 1]
    line["from_status"] = line["to_status"] = 1
    line["r1"] = line["r0"] = 0.0
    line["x1"] = line["x0"] = KEPT_SWITCH * state.nominal[ends[:, 0]] ** 2 / 1e6
    line["c1"] = line["tan1"] = line["c0"] = line["tan0"] = 0.0
    return line


def line_data(item: Equipment) -> LineData:
    """Electrical data of a line.

    Raises:
        GridError: it has none.
    """
    if not isinstance(item.data, LineData):
        raise GridError(f"{item.address}: a line needs its impedance")
    return item.data


def winding_letters(connection: str) -> tuple[str, str]:
    """Vector group taken apart: `Dyn` -> (`D`, `YN`).

    Raises:
        GridError: it is none.
    """
    text = connection.upper()
    for length in (2, 1):
        first, second = text[:length], text[length:]
        if first in _WINDING and second in _WINDING:
            return first, second
    raise GridError(f"{connection!r} is no vector group such as Dyn, Yyn or Yy")


def _transformers(arrays: GridArrays, state: Switching, rows: Indexes) -> npt.NDArray[Any]:
    result = initialize_array(DatasetType.input, ComponentType.transformer, len(rows))
    ends = state.joined[arrays.transformer_ends[rows]]
    result["id"], result["from_node"], result["to_node"] = _TRANSFORMER + rows, ends[:, 0], ends[:, 1]
    result["from_status"] = result["to_status"] = 1
    for index, row in enumerate(rows):
        item = arrays.transformers[row]
        data = item.data
        if not isinstance(data, TransformerData):
            raise GridError(f"{item.address}: a transformer needs its ratings")
        first, second = winding_letters(data.connection)
        if ((first[0] == "Y") == (second[0] == "Y")) == bool(data.clock % 2):
            raise GridError(f"{item.address}: {data.connection} cannot have clock {data.clock}")
        if not 0 < data.uk < 1 or data.pk > data.uk * data.s * (1 + 1e-9):
            raise GridError(f"{item.address}: uk {data.uk:g} and pk {data.pk:g} W do not go together")
        entry = result[index]
        entry["u1"], entry["u2"], entry["sn"] = data.u1 * data.tap, data.u2, data.s
        entry["uk"], entry["pk"] = data.uk, min(data.pk, data.uk * data.s)
        entry["i0"], entry["p0"] = max(data.i0, data.p0 / data.s), data.p0
        entry["winding_from"], entry["winding_to"] = _WINDING[first], _WINDING[second]
        entry["clock"] = data.clock
        # The tap is in u1; these say that there is none besides.
        entry["tap_side"] = entry["tap_pos"] = entry["tap_nom"] = entry["tap_min"] = entry["tap_max"] = 0
        entry["tap_size"] = 0.0
        if data.grounding:
            entry["r_grounding_to"], entry["x_grounding_to"] = data.grounding.real, data.grounding.imag
    return result


def source_impedance(item: Equipment, nominal: float) -> tuple[complex, complex]:
    """Impedance of a source in positive and zero sequence, ohm; zero for an ideal one."""
    data = item.data
    if not isinstance(data, SourceData):
        raise GridError(f"{item.address}: a source needs its voltage")
    if data.r is not None and data.x is not None:
        positive = complex(data.r, data.x)
        return positive, positive if data.r0 is None or data.x0 is None else complex(data.r0, data.x0)
    if data.s_short is None:
        return 0j, 0j
    size = nominal**2 / data.s_short
    positive = size * complex(0.1, 1.0) / abs(complex(0.1, 1.0))
    return positive, positive


def _sources(arrays: GridArrays, state: Switching, rows: Indexes) -> npt.NDArray[Any]:
    source = initialize_array(DatasetType.input, ComponentType.source, len(rows))
    source["id"], source["node"] = _SOURCE + rows, state.joined[arrays.source_node[rows]]
    source["status"] = 1
    for index, row in enumerate(rows):
        item = arrays.sources[row]
        nominal = float(arrays.nominal[arrays.source_node[row]])
        positive, zero = source_impedance(item, nominal)
        data = item.data
        if not isinstance(data, SourceData):
            raise GridError(f"{item.address}: a source needs its voltage")
        entry = source[index]
        entry["u_ref"], entry["u_ref_angle"] = data.voltage, np.radians(data.angle)
        entry["sk"] = min(nominal**2 / abs(positive), IDEAL_SOURCE) if positive else IDEAL_SOURCE
        entry["rx_ratio"] = positive.real / positive.imag if positive.imag else 0.1
        entry["z01_ratio"] = abs(zero) / abs(positive) if positive else 1.0
    return source
