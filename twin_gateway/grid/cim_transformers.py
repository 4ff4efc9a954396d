"""Transformers of a CIM file: ends with mesh impedances, banks of single-phase tanks with test data, tap changers."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from twin_gateway.grid.cim_frame import Frame, Terminal
from twin_gateway.grid.cim_objects import CimObject
from twin_gateway.grid.model import CimClass, Equipment, TransformerData

_ROOT3: Final = math.sqrt(3.0)
_SPLIT: Final = ("s1", "s2")


@dataclass(frozen=True, slots=True)
class _Tank:
    """One two-winding unit between two terminals, in the numbers of a bank of three such units."""

    first: Terminal
    second: Terminal
    letters: tuple[str, str]  # phases of the windings: `A` to neutral, `AB` between phases
    data: TransformerData


def find_split_phases(frame: Frame) -> None:
    """Mark the nodes behind centre-tapped transformers: they hang on one phase, at twice the voltage of a winding."""
    for tank in frame.of("TransformerTank"):
        ends = _tank_ends(frame, tank)
        if len(ends) < 2 or not any(mark in _ordered(ends[1]) for mark in _SPLIT):
            continue
        info = _info(frame, tank).get(2)
        start = frame.terminal.get(ends[1].values.get("TransformerEnd.Terminal", ""))
        letters = [letter for letter in "ABC" if letter in _ordered(ends[0])]
        if start is None or info is None or not letters:
            frame.error(tank, "is centre-tapped, but phase, terminal or voltage is not said")
            continue
        volts = 2.0 * _ROOT3 * frame.number(info, "TransformerEndInfo.ratedU", 120.0)
        queue = deque([start.node])
        while queue:
            node = queue.popleft()
            if node not in frame.split:
                frame.split[node] = letters[0]
                frame.volts[node] = volts
                queue.extend(frame.beside(node))


def read_transformers(frame: Frame) -> list[Equipment]:
    """All transformers as equipment with two terminals; further windings are equipment of their own."""
    out: list[Equipment] = []
    wanted: list[tuple[CimObject, Terminal, str, list[tuple[Terminal, TransformerData, str]]]] = []
    for item in frame.of("PowerTransformer"):
        tanks = frame.children("TransformerTank", "TransformerTank.PowerTransformer", item)
        rows = _bank(frame, item, tanks) if tanks else _from_ends(frame, item)
        if rows is None:
            continue
        first, phases, windings = rows
        frame.places.announce(frame.container(item), frame.base(first.node), item)
        wanted.append((item, first, phases, windings))
    for item, first, _, windings in wanted:
        address = frame.places.address(item, frame.container(item), frame.base(first.node))
        for number, (second, data, phases) in enumerate(windings, 2):
            own = address if number == 2 else f"{address}-W{number}"
            nodes = (frame.node_address[first.node], frame.node_address[second.node])
            if data.u2 > data.u1 * (1 + 1e-9):
                data, nodes = _turned(data), nodes[::-1]
            mrid = item.id if number == 2 else ""
            out.append(Equipment(own, CimClass.TRANSFORMER, nodes, data, phases, item.name, mrid))
            frame.equipment_address.setdefault(item.id, own)
        if len(windings) > 1:
            frame.simplified(item, "has three windings: taken as pairs from the first, without what couples the others")
        frame.take(item)
        frame.taken["Terminal"] += len(frame.terminals.get(item.id, []))
    return out


def _turned(data: TransformerData) -> TransformerData:
    """The same transformer seen from its other side, so that side 1 has the higher voltage."""
    low = data.connection.lstrip("DYNZ")
    high = data.connection[: len(data.connection) - len(low)]
    return TransformerData(
        u1=data.u2,
        u2=data.u1,
        s=data.s,
        uk=data.uk,
        pk=data.pk,
        p0=data.p0,
        i0=data.i0,
        connection=low.upper() + high.lower(),
        clock=-data.clock % 12,
        tap=1.0 / data.tap,
        phase_taps=tuple(1.0 / tap for tap in data.phase_taps),
    )


# ---- transformers by their ends -----------------------------------------------------------------------------------


def _from_ends(
    frame: Frame, item: CimObject
) -> tuple[Terminal, str, list[tuple[Terminal, TransformerData, str]]] | None:
    ends = frame.children("PowerTransformerEnd", "PowerTransformerEnd.PowerTransformer", item)
    ends = sorted(ends, key=lambda end: frame.number(end, "TransformerEnd.endNumber", 0.0))
    terminals = [_terminal(frame, end) for end in ends]
    if not 2 <= len(ends) <= 3 or any(terminal is None for terminal in terminals):
        frame.error(item, f"has {len(ends)} ends with a terminal in the file; two or three are needed")
        return None
    windings: list[tuple[Terminal, TransformerData, str]] = []
    for end, terminal in zip(ends[1:], terminals[1:], strict=True):
        data = _two_ends(frame, item, ends[0], end)
        if data is None or terminal is None:
            return None
        windings.append((terminal, data, "ABC"))
    for end in ends:
        frame.take(end)
    first = terminals[0]
    return None if first is None else (first, "ABC", windings)


def _terminal(frame: Frame, end: CimObject) -> Terminal | None:
    found = frame.terminal.get(end.values.get("TransformerEnd.Terminal", ""))
    return found if found is not None and found.node in frame.node_address else None


def _two_ends(frame: Frame, item: CimObject, first: CimObject, second: CimObject) -> TransformerData | None:
    key = "PowerTransformerEnd."
    u1, u2 = (frame.number(end, f"{key}ratedU", 0.0) for end in (first, second))
    s = frame.number(first, f"{key}ratedS", 0.0)
    if min(u1, u2, s) <= 0:
        frame.error(item, "has an end without ratedU or ratedS")
        return None
    z = _mesh(frame, first, second, u1, u2)
    if z is None:
        z = complex(frame.number(first, f"{key}r", 0.0), frame.number(first, f"{key}x", 0.0))
        z += complex(frame.number(second, f"{key}r", 0.0), frame.number(second, f"{key}x", 0.0)) * (u1 / u2) ** 2
    z *= s / u1**2
    if not 1e-6 < abs(z) < 1 or z.real < 0:
        frame.error(item, f"has a short-circuit impedance of {abs(z):.3g} per unit")
        return None
    p0, i0 = _core(frame, first, second, s)
    taps = [_tap(frame, end) for end in (first, second)]
    clock = int(frame.number(second, f"{key}phaseAngleClock", 0.0) - frame.number(first, f"{key}phaseAngleClock", 0.0))
    grounding = complex(
        frame.number(second, "TransformerEnd.rground", 0.0), frame.number(second, "TransformerEnd.xground", 0.0)
    )
    return TransformerData(
        u1=u1,
        u2=u2,
        s=s,
        uk=abs(z),
        pk=z.real * s,
        p0=p0,
        i0=i0,
        connection=_letter(frame, first) + _letter(frame, second).lower(),
        clock=clock % 12,
        tap=taps[0] / taps[1],
        grounding=grounding if frame.flag(second, "TransformerEnd.grounded", False) else 0j,
    )


def _mesh(frame: Frame, first: CimObject, second: CimObject, u1: float, u2: float) -> complex | None:
    """Impedance between two ends on the side of the first, ohm; None when the file has none."""
    for from_end, to_end, scale in ((first, second, 1.0), (second, first, (u1 / u2) ** 2)):
        rows = frame.children("TransformerMeshImpedance", "TransformerMeshImpedance.FromTransformerEnd", from_end)
        for row in rows:
            if row.values.get("TransformerMeshImpedance.ToTransformerEnd") == to_end.id:
                frame.take(row)
                r = frame.number(row, "TransformerMeshImpedance.r", 0.0)
                return complex(r, frame.number(row, "TransformerMeshImpedance.x", 0.0)) * scale
    return None


def _core(frame: Frame, first: CimObject, second: CimObject, s: float) -> tuple[float, float]:
    """No-load losses in W and no-load current per unit."""
    for end in (first, second):
        for row in frame.children("TransformerCoreAdmittance", "TransformerCoreAdmittance.TransformerEnd", end):
            frame.take(row)
            volts = frame.number(end, "PowerTransformerEnd.ratedU", 0.0)
            g = frame.number(row, "TransformerCoreAdmittance.g", 0.0)
            b = frame.number(row, "TransformerCoreAdmittance.b", 0.0)
            return g * volts**2, abs(complex(g, b)) * volts**2 / s
    return 0.0, 0.0


def _letter(frame: Frame, end: CimObject) -> str:
    """Letter of a winding in the vector group; `N` where its neutral is earthed."""
    kind = end.values.get("PowerTransformerEnd.connectionKind", "WindingConnection.Y").rpartition(".")[2]
    grounded = frame.flag(end, "TransformerEnd.grounded", False)
    letter = kind[0].upper() if kind[:1].upper() in ("D", "Y", "Z") else "Y"
    if kind[:1].upper() not in ("D", "Y", "Z"):
        frame.simplified(end, f"a winding connected '{kind}' is taken as star")
    return letter + ("N" if letter != "D" and grounded else "")


def _tap(frame: Frame, end: CimObject) -> float:
    """Turns of an end relative to the neutral step."""
    for row in frame.children("RatioTapChanger", "RatioTapChanger.TransformerEnd", end):
        frame.take(row)
        if "TapChanger.TapChangerControl" in row.values:
            frame.simplified(row, "its step is taken as it stands; what its control would do is not part of the model")
        step = frame.number(row, "TapChanger.step", frame.number(row, "TapChanger.normalStep", 0.0))
        per_cent = frame.number(row, "RatioTapChanger.stepVoltageIncrement", 0.0)
        turns = 1.0 + (step - frame.number(row, "TapChanger.neutralStep", 0.0)) * per_cent / 100.0
        if 0.5 <= turns <= 1.5:
            return turns
        frame.error(row, f"its step {step:g} makes a ratio of {turns:g}")
    return 1.0


# ---- banks of tanks -----------------------------------------------------------------------------------------------


def _bank(
    frame: Frame, item: CimObject, tanks: list[CimObject]
) -> tuple[Terminal, str, list[tuple[Terminal, TransformerData, str]]] | None:
    units: list[_Tank] = []
    for tank in tanks:
        unit = _tank(frame, tank)
        if unit is None:
            return None
        units.append(unit)
        frame.take(tank)
    nodes = {(unit.first.node, unit.second.node) for unit in units}
    if len(nodes) != 1:
        frame.error(item, "has tanks between different nodes")
        return None
    letters = "".join(letter for letter in "ABC" if any(letter in unit.letters[0] for unit in units))
    data = [unit.data for unit in units]
    kinds = {entry.connection for entry in data}
    if len(kinds) > 1 or len({(entry.u1, entry.u2, entry.s, entry.uk) for entry in data}) > 1:
        frame.simplified(item, "its tanks differ: the mean of them is taken")
    by_phase = {unit.letters[0][0]: unit.data.tap for unit in units}
    if any(len(unit.letters[0]) == 2 for unit in units) and len(units) == 2:
        frame.simplified(item, "an open delta is taken as a closed one")
    taps = tuple(by_phase.get(letter, 1.0) for letter in letters)
    count = len(data)
    whole = TransformerData(
        u1=sum(entry.u1 for entry in data) / count,
        u2=sum(entry.u2 for entry in data) / count,
        s=sum(entry.s for entry in data) / count,
        uk=sum(entry.uk for entry in data) / count,
        pk=sum(entry.pk for entry in data) / count,
        p0=sum(entry.p0 for entry in data) / count,
        i0=sum(entry.i0 for entry in data) / count,
        connection=data[0].connection,
        clock=data[0].clock,
        tap=sum(taps) / len(taps),
        phase_taps=taps if len(set(taps)) > 1 else (),
    )
    return units[0].first, letters, [(units[0].second, whole, letters)]


def _ordered(end: CimObject) -> str:
    return end.values.get("TransformerTankEnd.orderedPhases", "").rpartition(".")[2]


def _tank_ends(frame: Frame, tank: CimObject) -> list[CimObject]:
    ends = frame.children("TransformerTankEnd", "TransformerTankEnd.TransformerTank", tank)
    return sorted(ends, key=lambda end: frame.number(end, "TransformerEnd.endNumber", 0.0))


def _info(frame: Frame, tank: CimObject) -> dict[int, CimObject]:
    """Nameplate data of the ends of a tank by number."""
    sheet = frame.objects.objects.get(tank.values.get("TransformerTank.TransformerTankInfo", ""))
    if sheet is None:
        return {}
    frame.take(sheet)
    rows = frame.children("TransformerEndInfo", "TransformerEndInfo.TransformerTankInfo", sheet)
    for row in rows:
        frame.take(row)
    return {int(frame.number(row, "TransformerEndInfo.endNumber", 0.0)): row for row in rows}


def _tank(frame: Frame, tank: CimObject) -> _Tank | None:
    ends, info = _tank_ends(frame, tank), _info(frame, tank)
    terminals = [_terminal(frame, end) for end in ends[:2]]
    first, second = (*terminals, None, None)[:2]
    if first is None or second is None or not {1, 2} <= set(info):
        frame.error(tank, "has no two ends with terminals and nameplate data in the file")
        return None
    for end in ends:
        frame.take(end)
    split = any(mark in _ordered(ends[1]) for mark in _SPLIT)
    letters = tuple("".join(letter for letter in "ABC" if letter in _ordered(end)) for end in ends[:2])
    if not letters[0] or (not letters[1] and not split):
        frame.error(tank, "does not say the phases of its ends")
        return None
    rated = [frame.number(info[number], "TransformerEndInfo.ratedU", 0.0) for number in (1, 2)]
    s = frame.number(info[1], "TransformerEndInfo.ratedS", 0.0)
    z = _split_impedance(frame, info) if split and 3 in info else _test(frame, info[1], info[2])
    if min(*rated, s) <= 0 or z is None or not 1e-6 < abs(z) < 1:
        frame.error(tank, "has no short-circuit test, or no rated voltage or power")
        return None
    if split:
        frame.simplified(tank, "a centre-tapped secondary is taken as one winding of twice the voltage")
        rated[1] *= 2.0
        letters = (letters[0], letters[0])
    units = 1.0 if len(letters[0]) == 3 else 3.0
    volts = [u * _ROOT3 if len(own) == 1 else u for u, own in zip(rated, letters, strict=True)]
    p0, i0 = _no_load(frame, info)
    marks = [
        "D" if len(own) == 2 else "YN" if frame.flag(end, "TransformerEnd.grounded", split) else "Y"
        for own, end in zip(letters, ends, strict=False)
    ]
    clock = int(frame.number(info[2], "TransformerEndInfo.phaseAngleClock", 0.0)) % 12
    taps = [_tap(frame, end) for end in ends[:2]]
    data = TransformerData(
        u1=volts[0],
        u2=volts[1],
        s=s * units,
        uk=abs(z),
        pk=z.real * s * units,
        p0=p0 * units,
        i0=i0,
        connection=marks[0] + marks[1].lower(),
        clock=clock if not split else 0,
        tap=taps[0] / taps[1],
    )
    return _Tank(first, second, (letters[0], letters[1]), data)


def _test(frame: Frame, first: CimObject, second: CimObject) -> complex | None:
    """Short-circuit impedance between two ends by a test, per unit of the energised end; None without a test."""
    for energised, grounded in ((first, second), (second, first)):
        for row in frame.children("ShortCircuitTest", "ShortCircuitTest.EnergisedEnd", energised):
            if row.values.get("ShortCircuitTest.GroundedEnds") != grounded.id:
                continue
            frame.take(row)
            u = frame.number(energised, "TransformerEndInfo.ratedU", 0.0)
            base = frame.number(row, "TransformerTest.basePower", 0.0)
            rated = frame.number(energised, "TransformerEndInfo.ratedS", base)
            if u <= 0 or base <= 0:
                return None
            size = frame.number(row, "ShortCircuitTest.leakageImpedance", 0.0) * rated / u**2
            r = frame.number(row, "ShortCircuitTest.loss", 0.0) * 1000.0 / base * (rated / base)
            return complex(r, math.sqrt(max(0.0, size**2 - r**2)))
    return None


def _split_impedance(frame: Frame, info: dict[int, CimObject]) -> complex | None:
    """Of a centre-tapped transformer with a load between its outer conductors: each half carries half of the power."""
    z12, z13, z23 = (_test(frame, info[a], info[b]) for a, b in ((1, 2), (1, 3), (2, 3)))
    if z12 is None or z13 is None or z23 is None:
        return None
    own1, own2, own3 = (z12 + z13 - z23) / 2, (z12 + z23 - z13) / 2, (z13 + z23 - z12) / 2
    return own1 + (own2 + own3) / 4


def _no_load(frame: Frame, info: dict[int, CimObject]) -> tuple[float, float]:
    """No-load losses in W and no-load current per unit by a test; zero without one."""
    for row in info.values():
        for test in frame.children("NoLoadTest", "NoLoadTest.EnergisedEnd", row):
            frame.take(test)
            loss = frame.number(test, "NoLoadTest.loss", 0.0) * 1000.0
            return loss, frame.number(test, "NoLoadTest.excitingCurrent", 0.0) / 100.0
    return 0.0, 0.0
