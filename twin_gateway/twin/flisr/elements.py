"""What the zone model is made of: zones, switches, branches, loads, sources, with their per-unit values."""

from __future__ import annotations

from dataclasses import dataclass

from twin_gateway.grid.model import CimClass, LineData, LoadData, SourceData, SwitchRating, TransformerData

S_BASE = 1e6
"""VA, base of per-unit powers and impedances."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the grid that no switch divides.

    Attributes:
        address: of its first line, else its first busbar, else its first node.
        nodes: numbers of its nodes.
        length: km of lines; 0 when not known.
        lines: addresses of its lines.
        loads: addresses of its consumers, those behind its transformers included.
        generators: addresses of its generators, likewise.
        source: a source feeds it.
    """

    address: str
    nodes: tuple[int, ...]
    length: float
    lines: tuple[str, ...]
    loads: tuple[str, ...]
    generators: tuple[str, ...]
    source: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as the edge between two zones.

    Attributes:
        address: of the equipment.
        cim_class: its class.
        rating: what it can do.
        nodes, zones: numbers of the two it joins, terminal 1 first.
    """

    address: str
    cim_class: CimClass
    rating: SwitchRating
    nodes: tuple[int, int]
    zones: tuple[int, int]

    def other(self, zone: int) -> int:
        """The zone beyond it."""
        return self.zones[1] if self.zones[0] == zone else self.zones[0]


@dataclass(frozen=True, slots=True)
class Branch:
    """A line or transformer; impedance, susceptance and limit in per unit on `S_BASE` and the nominal voltages.

    Attributes:
        address: of the equipment.
        nodes: numbers of its ends.
        impedance: complex.
        susceptance: total.
        limit: highest current; None unlimited.
        transformer: it is one.
    """

    address: str
    nodes: tuple[int, int]
    impedance: complex
    susceptance: float
    limit: float | None
    transformer: bool


@dataclass(frozen=True, slots=True)
class Load:
    """A consumer and the node it is counted at."""

    address: str
    node: int
    data: LoadData


@dataclass(frozen=True, slots=True)
class Source:
    """The grid above at one node; impedance per unit."""

    address: str
    node: int
    voltage: float
    impedance: complex


def line_branch(address: str, nodes: tuple[int, int], data: LineData, nominal: float) -> Branch:
    """A line in per unit at its nominal line-to-line voltage, V."""
    base = nominal * nominal / S_BASE
    limit = None if data.i_max is None else current_limit(data.i_max, nominal)
    return Branch(address, nodes, complex(data.r, data.x) / base, data.b * base, limit, transformer=False)


def transformer_branch(address: str, nodes: tuple[int, int], data: TransformerData) -> Branch:
    """A transformer in per unit, from its short-circuit voltage and its losses under load."""
    resistance = data.pk / data.s
    reactance = max(data.uk * data.uk - resistance * resistance, 0.0) ** 0.5
    impedance = complex(resistance, reactance) * S_BASE / data.s
    return Branch(address, nodes, impedance, 0.0, data.s / S_BASE, transformer=True)


def source_of(address: str, node: int, data: SourceData, nominal: float) -> Source:
    """A source with its impedance in per unit, from its short-circuit power where only that is known."""
    if data.r is not None and data.x is not None:
        impedance = complex(data.r, data.x) / (nominal * nominal / S_BASE)
    elif data.s_short:
        impedance = complex(0.0, S_BASE / data.s_short)
    else:
        impedance = 0j
    return Source(address, node, data.voltage, impedance)


def current_limit(amperes: float, nominal: float) -> float:
    """Per unit of a current at a nominal line-to-line voltage."""
    return float(amperes * 3**0.5 * nominal / S_BASE)
