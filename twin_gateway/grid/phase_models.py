"""Three-phase models of lines, transformers and sources as the sweep by phase needs them.

Every branch is a pair of relations between its feeding end (p) and its fed end (c):
`V_c = A V_p - B I_c` and `I_p = A' I_c`, voltages from phase to earth and `I_c` what flows out of it (W. H. Kersting,
Distribution System Modeling and Analysis). Charging and no-load admittances stand beside it, at its ends.

Approximations:

* A side that is not earthed (delta, or a star point in the air) has no voltage of its own against earth: it gets the
  one whose phases sum to zero.
* The short-circuit impedance of a transformer is the same in all sequences; an earthed star-delta transformer does not
  feed zero-sequence current into its star side.
* The no-load admittance of a transformer stands at its first side.

A bank of one or two single-phase units has the data of the bank of three.
"""

from __future__ import annotations

import numpy as np

from twin_gateway.grid.arrays import Complexes, Floats, phase_numbers
from twin_gateway.grid.model import Equipment, GridError, TransformerData
from twin_gateway.grid.pgm import line_data, source_impedance, winding_letters

_MEAN = np.full((3, 3), 1 / 3)
# Row of phase a in terms of the feeding side's phases A, B, C; rows b and c follow by turning. The angle of clock k is
# -30 k degrees: V_A - V_C lags V_A by 30 degrees (clock 1), V_B lags by 120 (clock 4).
_DIFFERENCE = {1: (1, 0, -1), 3: (0, 1, -1), 5: (-1, 1, 0), 7: (-1, 0, 1), 9: (0, -1, 1), 11: (1, -1, 0)}
_LETTER = {0: (1, 0, 0), 2: (0, 0, -1), 4: (0, 1, 0), 6: (-1, 0, 0), 8: (0, 0, 1), 10: (0, -1, 0)}
_DELTA = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]])
"""Voltages A-B, B-C, C-A of phase voltages; transposed it turns currents of a delta into those of the phases."""


def delta_matrix() -> Floats:
    """Matrix from phase voltages to those of a delta."""
    return _DELTA


def mask_of(item: Equipment) -> Floats:
    """Diagonal matrix with 1 for each phase of the equipment."""
    diagonal = np.zeros(3)
    diagonal[phase_numbers(item.phases)] = 1.0
    return np.diag(diagonal)


def line_matrices(item: Equipment) -> tuple[Complexes, Complexes]:
    """Series impedance in ohm and half the charging in S of a line, shape (3, 3) each; zero where it has no phase.

    Raises:
        GridError: a matrix has the wrong size.
    """
    data = line_data(item)
    there = phase_numbers(item.phases)
    if data.phase_impedance:
        impedance = _placed(item, data.phase_impedance, there)
    else:
        z1 = complex(data.r, data.x)
        z0 = z1 if data.r0 is None or data.x0 is None else complex(data.r0, data.x0)
        impedance = _sequence_matrix(z1, z0, there)
    if data.phase_susceptance:
        charging = _placed(item, data.phase_susceptance, there)
    else:
        charging = data.b * mask_of(item).astype(np.complex128)
    return impedance, charging * 0.5j


def _placed(item: Equipment, entries: tuple[complex, ...] | tuple[float, ...], there: list[int]) -> Complexes:
    if len(entries) != len(there) ** 2:
        raise GridError(f"{item.address}: a matrix of {len(entries)} entries does not fit {len(there)} phases")
    matrix = np.zeros((3, 3), complex)
    matrix[np.ix_(there, there)] = np.array(entries, complex).reshape(len(there), len(there))
    return matrix


def _sequence_matrix(z1: complex, z0: complex, there: list[int]) -> Complexes:
    matrix = np.zeros((3, 3), complex)
    own, mutual = (2 * z1 + z0) / 3, (z0 - z1) / 3
    matrix[np.ix_(there, there)] = np.full((len(there),) * 2, mutual) + np.eye(len(there)) * (own - mutual)
    return matrix


def transformer_matrices(item: Equipment, *, reverse: bool) -> tuple[Complexes, Complexes, Complexes]:
    """A, B and the no-load admittance at side 1, shape (3, 3) each.

    Args:
        item: the transformer.
        reverse: it is fed from side 2.

    Raises:
        GridError: the data contradict each other.
    """
    data = item.data
    if not isinstance(data, TransformerData):
        raise GridError(f"{item.address}: a transformer needs its ratings")
    first, second = winding_letters(data.connection)
    there = phase_numbers(item.phases)
    taps = np.full(3, data.tap)
    if data.phase_taps:
        if len(data.phase_taps) != len(there):
            raise GridError(f"{item.address}: {len(data.phase_taps)} taps but {len(there)} phases")
        taps[there] = data.phase_taps
    if len(there) < 3 and (first[0], second[0], data.clock) != ("Y", "Y", 0):
        raise GridError(f"{item.address}: of fewer than three phases only star-star units are modelled")
    clock = -data.clock % 12 if reverse else data.clock
    feeding, fed = (second, first) if reverse else (first, second)
    ratio = data.u1 / data.u2 if reverse else data.u2 / data.u1
    mask = mask_of(item)
    a = ratio * _connection(item, feeding, fed, clock)
    # A tap belongs to the windings of side 1: those are the rows of a delta's differences, and the phases of a star.
    a = (taps[:, None] * a) if reverse else (a / taps[:, None] if feeding == "D" else a / taps[None, :])
    base = (data.u1 * taps) ** 2 / data.s if reverse else np.full(3, data.u2**2 / data.s)
    impedance = complex(data.pk / data.s, np.sqrt(max(data.uk**2 - (data.pk / data.s) ** 2, 0.0)))
    b = np.diag(impedance * base).astype(complex)
    if fed.endswith("N") and data.grounding and not reverse:
        b += data.grounding
    exciting = max(data.i0, data.p0 / data.s)
    no_load = complex(data.p0 / data.s, -np.sqrt(max(exciting**2 - (data.p0 / data.s) ** 2, 0.0)))
    admittance = no_load * data.s / data.u1**2
    matrices = (mask @ a @ mask, mask @ b @ mask, mask * admittance)
    return matrices[0].astype(np.complex128), matrices[1].astype(np.complex128), matrices[2].astype(np.complex128)


def _connection(item: Equipment, feeding: str, fed: str, clock: int) -> Floats:
    """Matrix from the phase voltages of the feeding side to those of the fed side, at ratio 1."""
    if "Z" in (feeding[0], fed[0]):
        raise GridError(f"{item.address}: zigzag windings are not modelled by phase")
    rows = _LETTER if feeding[0] == fed[0] else _DIFFERENCE
    if clock not in rows:
        raise GridError(f"{item.address}: these windings cannot have clock {clock}")
    row = np.array(rows[clock], float)
    matrix = np.array([np.roll(row, shift) for shift in range(3)])
    if feeding[0] != fed[0]:
        return np.asarray(matrix / np.sqrt(3))
    return matrix if (feeding, fed) == ("YN", "YN") else np.asarray(matrix @ (np.eye(3) - _MEAN))


def source_matrices(item: Equipment, nominal: float) -> tuple[Complexes, Complexes]:
    """Phase voltages behind a source, V, shape (3,), and its impedance in ohm, shape (3, 3).

    Args:
        item: the source.
        nominal: line-to-line voltage of its node, V.
    """
    positive, zero = source_impedance(item, nominal)
    voltage = float(getattr(item.data, "voltage", 1.0))
    angle = np.radians(float(getattr(item.data, "angle", 0.0)))
    turn = np.exp(1j * (angle - 2 * np.pi / 3 * np.arange(3)))
    return voltage * nominal / np.sqrt(3) * turn, _sequence_matrix(positive, zero, [0, 1, 2])
