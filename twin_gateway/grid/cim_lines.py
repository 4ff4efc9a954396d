"""Lines of a CIM file: impedance by phase matrices or sequences, length, limits of current."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twin_gateway.grid.cim_frame import Frame, Terminal
from twin_gateway.grid.cim_objects import CimObject
from twin_gateway.grid.model import LineData
from twin_gateway.grid.records import positive_sequence

Matrix = npt.NDArray[np.complex128]
Limits = dict[str, tuple[float, float | None]]


def line_data(
    frame: Frame, item: CimObject, terminals: list[Terminal], limit: tuple[float, float | None] | None
) -> tuple[str | None, LineData | None]:
    """Phases and record of a line; phases None when it has no usable impedance, which is reported."""
    rows = frame.children("ACLineSegmentPhase", "ACLineSegmentPhase.ACLineSegment", item)
    rows = sorted(rows, key=lambda row: frame.number(row, "ACLineSegmentPhase.sequenceNumber", 0.0))
    literals = [row.values.get("ACLineSegmentPhase.phase", "") for row in rows]
    for row in rows:
        frame.take(row)
    metres = frame.number(item, "Conductor.length", 0.0)
    i_max, i_emergency = limit or (None, None)
    per_length = frame.objects.objects.get(item.values.get("ACLineSegment.PerLengthImpedance", ""))
    if per_length is not None and metres <= 0:
        frame.error(item, "has its impedance per length, but no length")
        return None, None
    if per_length is not None and per_length.kind == "PerLengthPhaseImpedance":
        frame.take(per_length)
        found = _matrices(frame, item, per_length, literals, terminals[0].node)
        if found is None:
            return None, None
        phases, z, y = found
        impedance, susceptance = _flat(z * metres), tuple(part.imag for part in _flat(y * metres))
        r, x = positive_sequence(impedance)
        size = len(phases)
        own = sum(impedance[:: size + 1]) / size
        mutual = (sum(impedance) - size * own) / (size * (size - 1)) if size > 1 else 0j
        zero = own + (size - 1) * mutual
        return phases, LineData(
            r=r,
            x=x,
            r0=zero.real,
            x0=zero.imag,
            b=positive_sequence(tuple(complex(part) for part in susceptance))[0],
            length=metres / 1000.0,
            i_max=i_max,
            i_emergency=i_emergency,
            phase_impedance=impedance,
            phase_susceptance=susceptance if any(susceptance) else (),
        )
    phases = "".join(sorted({frame.letter(literal, terminals[0].node) for literal in literals})) or "ABC"
    holder, key, scale = item, "ACLineSegment", 1.0
    if per_length is not None and per_length.kind == "PerLengthSequenceImpedance":
        frame.take(per_length)
        holder, key, scale = per_length, "PerLengthSequenceImpedance", metres
    values = {
        name: frame.number(holder, f"{key}.{name}", 0.0) * scale if f"{key}.{name}" in holder.values else None
        for name in ("r", "x", "r0", "x0", "bch")
    }
    if values["r"] is None or values["x"] is None:
        what = "by the wires and their spacing only" if "ACLineSegment.WireSpacingInfo" in item.values else "nowhere"
        frame.error(item, f"has its impedance {what}: r and x, or a matrix by phase, are needed")
        return None, None
    return phases, LineData(
        r=values["r"],
        x=values["x"],
        r0=values["r0"],
        x0=values["x0"],
        b=values["bch"] or 0.0,
        length=metres / 1000.0,
        i_max=i_max,
        i_emergency=i_emergency,
    )


def _matrices(
    frame: Frame, item: CimObject, per_length: CimObject, literals: list[str], node: str
) -> tuple[str, Matrix, Matrix] | None:
    """Phases in order, impedance (ohm/m) and admittance (S/m) over them; None when it does not fit, which is told."""
    count = int(frame.number(per_length, "PerLengthPhaseImpedance.conductorCount", float(len(literals) or 3)))
    if not 1 <= count <= 8:
        frame.error(per_length, f"has {count} conductors")
        return None
    z, y = np.zeros((count, count), complex), np.zeros((count, count), complex)
    given = np.zeros((count, count), bool)
    for part in frame.children("PhaseImpedanceData", "PhaseImpedanceData.PhaseImpedance", per_length):
        row = int(frame.number(part, "PhaseImpedanceData.row", 0.0)) - 1
        column = int(frame.number(part, "PhaseImpedanceData.column", 0.0)) - 1
        if not (0 <= row < count and 0 <= column < count):
            frame.error(part, f"row {row + 1}, column {column + 1} of a matrix of {count} conductors")
            return None
        key = "PhaseImpedanceData."
        value = complex(frame.number(part, f"{key}r", 0.0), frame.number(part, f"{key}x", 0.0))
        charge = 1j * frame.number(part, f"{key}b", 0.0)
        for first, second in ((row, column), (column, row)):
            z[first, second], y[first, second], given[first, second] = value, charge, True
        frame.take(part)
    if not given.diagonal().all():
        frame.error(per_length, "does not say the whole diagonal of its matrix")
        return None
    names = [literal.rpartition(".")[2] for literal in literals] or list("ABC")[:count]
    if len(names) != count:
        frame.error(item, f"has {len(names)} phases and an impedance of {count} conductors")
        return None
    if "s1" in names or "s2" in names:
        frame.simplified(item, "a three-wire service is taken as one loop, loads on it as between its hot conductors")
        return frame.split.get(node, "A"), _loop(names, z), np.zeros((1, 1), complex)
    keep = sorted((i for i, name in enumerate(names) if name != "N"), key=lambda i: names[i])
    neutral = [i for i, name in enumerate(names) if name == "N"]
    if any(names[i] not in ("A", "B", "C") for i in keep) or len({names[i] for i in keep}) < len(keep) or not keep:
        frame.error(item, f"has the phases {', '.join(names)}")
        return None
    reduced = z[np.ix_(keep, keep)]
    if neutral:
        # The neutral is earthed at both ends, so it is eliminated (Kron).
        inner = np.linalg.inv(z[np.ix_(neutral, neutral)])
        reduced = reduced - z[np.ix_(keep, neutral)] @ inner @ z[np.ix_(neutral, keep)]
    return "".join(names[i] for i in keep), reduced, y[np.ix_(keep, keep)]


def _loop(names: list[str], z: Matrix) -> Matrix:
    """A three-wire service: the loop of both hot conductors, as one phase of twice the voltage."""
    hot = [i for i, name in enumerate(names) if name in ("s1", "s2")]
    pick = z[np.ix_(hot, hot)]
    loop = pick[0, 0] if len(hot) == 1 else pick[0, 0] + pick[1, 1] - 2 * pick[0, 1]
    return np.array([[loop]])


def _flat(matrix: Matrix) -> tuple[complex, ...]:
    return tuple(complex(value) for value in matrix.ravel())


def operational_limits(frame: Frame) -> Limits:
    """Current limits by equipment: the lasting one, and the highest of the short ones."""
    by_set: dict[str, list[tuple[float, float]]] = {}
    for item in frame.of("CurrentLimit"):
        kind = frame.objects.objects.get(item.values.get("OperationalLimit.OperationalLimitType", ""))
        lasting = frame.number(kind, "OperationalLimitType.acceptableDuration", 0.0) if kind is not None else 0.0
        value = frame.number(item, "CurrentLimit.value", 0.0)
        group = item.values.get("OperationalLimit.OperationalLimitSet", "")
        if value > 0:
            by_set.setdefault(group, []).append((lasting, value))
            frame.take(item)
            for holder in (kind, frame.objects.objects.get(group)):
                if holder is not None:
                    frame.take(holder)
    out: Limits = {}
    for item in frame.of("Terminal"):
        group = item.values.get("ACDCTerminal.OperationalLimitSet", "")
        values = by_set.get(group)
        if not values:
            continue
        values.sort(reverse=True)
        normal = values[0][1]
        short = max((value for lasting, value in values if lasting < values[0][0]), default=None)
        equipment = item.values.get("Terminal.ConductingEquipment", "")
        known = out.get(equipment)
        if known is None or normal < known[0]:
            out[equipment] = normal, short
    return out
