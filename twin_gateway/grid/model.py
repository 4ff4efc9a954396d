"""The grid model: conducting equipment between connectivity nodes, keyed by technological address (CIM 61970-301)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class CimClass(StrEnum):
    """Classes of conducting equipment, by their CIM names."""

    BREAKER = "Breaker"
    RECLOSER = "Recloser"
    LOAD_BREAK_SWITCH = "LoadBreakSwitch"
    DISCONNECTOR = "Disconnector"
    GROUND_DISCONNECTOR = "GroundDisconnector"
    FUSE = "Fuse"
    JUMPER = "Jumper"
    LINE = "ACLineSegment"
    BUSBAR = "BusbarSection"
    TRANSFORMER = "PowerTransformer"
    SHUNT = "ShuntCompensator"
    LOAD = "EnergyConsumer"
    SOURCE = "EnergySource"
    GENERATOR = "PowerElectronicsConnection"


SWITCHES = frozenset(
    {
        CimClass.BREAKER,
        CimClass.RECLOSER,
        CimClass.LOAD_BREAK_SWITCH,
        CimClass.DISCONNECTOR,
        CimClass.GROUND_DISCONNECTOR,
        CimClass.FUSE,
        CimClass.JUMPER,
    }
)
"""Classes with a position. A ground disconnector has one terminal: closed, it earths its node."""
BREAKS_FAULTS = frozenset({CimClass.BREAKER, CimClass.RECLOSER})
"""Classes that may break a fault current."""


class Position(IntEnum):
    """Position of a switch; the numbers are those of Dbpos, intermediate and bad state are both unknown."""

    UNKNOWN = 0
    OPEN = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class SwitchRating:
    """What a switch can do.

    Attributes:
        normal_open: position in the normal switching state.
        remote: has a drive that obeys commands.
        load_break: may be opened under load.
        fault_make: may be closed onto a fault.
        i_max: A; None unlimited.
        position: address of the data point of its position; empty when nobody tells it.
        command: address of the controllable data object; empty when it cannot be commanded.
    """

    normal_open: bool = False
    remote: bool = True
    load_break: bool = True
    fault_make: bool = True
    i_max: float | None = None
    position: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class LineData:
    """An AC line segment. Totals, not per length.

    Attributes:
        r, x: positive sequence, ohm.
        r0, x0: zero sequence, ohm; None when not known.
        b: total charging susceptance, S.
        length: km; 0 when not known.
        i_max, i_emergency: A; None unlimited.
        phase_impedance: full matrix in ohm over the equipment's phases, row by row; empty when only r and x are known.
        phase_susceptance: the same for the charging in S; empty when only b is known.
    """

    r: float
    x: float
    r0: float | None = None
    x0: float | None = None
    b: float = 0.0
    length: float = 0.0
    i_max: float | None = None
    i_emergency: float | None = None
    phase_impedance: tuple[complex, ...] = ()
    phase_susceptance: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TransformerData:
    """A transformer with two windings; terminal 1 is the high-voltage side.

    A bank of fewer than three single-phase units has the numbers of the bank of three: line-to-line voltages (of
    windings
    to neutral the root of three times theirs), rated power and losses of three, so that u^2 / s is the base impedance.

    Attributes:
        u1, u2: rated line-to-line voltages, V.
        s: rated power, VA.
        uk: short-circuit voltage, per unit.
        pk: load losses at rated current, W.
        p0: no-load losses, W.
        i0: no-load current, per unit.
        connection: vector group as `Dyn`, `Yyn`, `Yy`; `N` and `n` stand for a neutral that is earthed.
        clock: hours, 0 to 11.
        tap: ratio correction of side 1 (1.0 at the middle).
        phase_taps: the same for each of the equipment's phases where they are set apart (regulators); empty when not.
        grounding: impedance between earth and the star point of side 2, ohm.
    """

    u1: float
    u2: float
    s: float
    uk: float
    pk: float
    p0: float = 0.0
    i0: float = 0.0
    connection: str = "Dyn"
    clock: int = 11
    tap: float = 1.0
    phase_taps: tuple[float, ...] = ()
    grounding: complex = 0j


@dataclass(frozen=True, slots=True)
class LoadData:
    """An energy consumer; positive power goes out of the grid.

    Attributes:
        p, q: nominal W and var, sum of the phases.
        customers: number of customers behind it.
        weight: importance for restoration (hospital 10, critical 5, normal 1).
        rating: VA of the connected transformer capacity; 0 when not known.
        delta: connected between phases.
        model: `power`, `current` or `impedance`: what stays constant.
        p_phases, q_phases: the share of each phase in the order of the equipment's phases; with `delta` of each pair,
            in the order AB, BC, CA (one value for equipment of two phases); empty when p and q are spread evenly.
    """

    p: float
    q: float
    customers: int = 0
    weight: float = 1.0
    rating: float = 0.0
    delta: bool = False
    model: str = "power"
    p_phases: tuple[float, ...] = ()
    q_phases: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceData:
    """The grid above.

    Attributes:
        voltage: per unit of the nominal voltage of its node.
        s_short: short-circuit power, VA; None for an ideal source.
        angle: degrees.
        r, x, r0, x0: source impedance of positive and zero sequence, ohm; None where only `s_short` is known.
    """

    voltage: float = 1.0
    s_short: float | None = None
    angle: float = 0.0
    r: float | None = None
    x: float | None = None
    r0: float | None = None
    x0: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratorData:
    """A distributed energy resource; positive power goes into the grid.

    Attributes:
        p, q: nominal W and var.
        rating: VA.
    """

    p: float
    q: float
    rating: float


@dataclass(frozen=True, slots=True)
class ShuntData:
    """A shunt capacitor or reactor.

    Attributes:
        q: var delivered at the nominal voltage of its node, sum of its phases, positive for a capacitor.
        delta: connected between phases.
    """

    q: float
    delta: bool = False


EquipmentData = SwitchRating | LineData | TransformerData | LoadData | SourceData | GeneratorData | ShuntData | None


@dataclass(frozen=True, slots=True)
class Equipment:
    """One piece of conducting equipment.

    Attributes:
        address: technological address (a place of level 6).
        cim_class: see `CimClass`.
        nodes: addresses of the connectivity nodes of its terminals T1, T2, in order; one for busbars, loads, sources.
        data: the record that belongs to the class; None for busbars.
        phases: letters among `ABC`, with `N` where the neutral is modelled.
        name, mrid: from CIM or YAML; may be empty.
    """

    address: str
    cim_class: CimClass
    nodes: tuple[str, ...]
    data: EquipmentData = None
    phases: str = "ABC"
    name: str = ""
    mrid: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether it has a position."""
        return self.cim_class in SWITCHES


@dataclass(frozen=True, slots=True)
class ConnectivityNode:
    """A point where terminals meet.

    Attributes:
        address: technological address (`…/CN1`).
        nominal: nominal line-to-line voltage, V.
    """

    address: str
    nominal: float
    name: str = ""
    mrid: str = ""


@dataclass(frozen=True, slots=True)
class FaultIndicator:
    """A fault passage indicator at a terminal.

    Attributes:
        address: address of the data object that tells the passage (`…/SFPI1/FltInd`).
        equipment: that it sits at.
        terminal: 1 or 2.
        directional: it tells forward and backward (forward: from the terminal into the equipment).
        poll: answers when asked; False: reports by exception only, so that silence says nothing.
    """

    address: str
    equipment: str
    terminal: int = 1
    directional: bool = False
    poll: bool = True


class Quantity(StrEnum):
    """What a measured point tells of its terminal."""

    P = "P"  # W, into the equipment
    Q = "Q"  # var, into the equipment
    I = "I"  # noqa: E741 - A, the symbol of the quantity
    V = "V"  # V, phase to neutral
    U = "U"  # V, line to line


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured point and where in the grid it measures.

    Attributes:
        point: address of the data point (`…/MMXU1/TotW`).
        equipment, terminal: where; terminal 1 or 2.
        phase: `A`, `B`, `C`, or empty for the sum or mean of all.
        direction: +1 when the published sign counts into the equipment, -1 when out of it.
        accuracy: relative standard deviation (0.01 for class 1).
    """

    point: str
    quantity: Quantity
    equipment: str
    terminal: int = 1
    phase: str = ""
    direction: int = 1
    accuracy: float = 0.01


class MeterRole(StrEnum):
    """Which side of an energy balance a meter counts on."""

    CUSTOMER = "customer"  # consumption (and feed-in) of a customer
    BOUNDARY = "boundary"  # what crosses the boundary of a region: transformer, feeder head, exchange
    GENERATION = "generation"  # a plant of its own


@dataclass(frozen=True, slots=True)
class Meter:
    """An energy meter, and the record of where it is connected (which may be wrong: spec 5).

    Attributes:
        address: place of the meter (`…/SP021701/LV1/_/M1`); its points are `MMTR1/DmdWh`, `MMXU1/PhV/phsA`, ….
        equipment: the load, transformer, switch or generator it measures.
        terminal: of that equipment; its energies count into the equipment when `direction` is +1.
        phases: letters among `ABC` on record.
        accuracy_class: of the meter in percent (1.0 for class 1).
        ct_class, vt_class: of its current and voltage transformers in percent, where it has some.
        ratio: primary value = register * ratio, when the register is secondary.
        digits: digits of its registers before they roll over (in `register_unit`), 0 when not known.
        rating: W, most that can flow; 0 when not known.
        transformer, lv_feeder: addresses of the transformer and the low-voltage feeder on record.
    """

    address: str
    equipment: str
    role: MeterRole = MeterRole.CUSTOMER
    terminal: int = 1
    direction: int = 1
    phases: str = "ABC"
    accuracy_class: float = 1.0
    ct_class: float = 0.0
    vt_class: float = 0.0
    ratio: float = 1.0
    digits: int = 0
    rating: float = 0.0
    transformer: str = ""
    lv_feeder: str = ""


@dataclass(frozen=True, slots=True)
class Feeder:
    """A medium-voltage feeder: the bay it starts from, and the points that tell of its protection.

    Attributes:
        address: of the bay (`dso1/north/PS01/MV1/F01`).
        head: address of the breaker at its head.
        trip: points that say that protection has tripped (`PTRC1/Tr`, `PTRC1/Op`).
        start: points that say that it has started (`PTOC1/Str`; `PSDE1/Str` for a standing earth fault).
        reclosing: point of the auto-recloser's state (`RREC1/AutoRecSt`); `none` where there is none by declaration;
            empty when not known.
        reclose_block: commanded data object that blocks reclosing (SPC or Mod); empty when there is none.
        breaker_failure: points `RBRF1/OpEx`.
        busbar_trip: points of busbar and transformer protection (`PDIF1/Op`): no restoration from this busbar.
        load_shedding: points of `PTUF`, `PTUV` operation: never a trigger.
        scheme: point of a distributed (peer) scheme: 0 off, 1 armed, 2 active, 3 done, 4 failed; empty for none.
        pickup: A, phase pick-up of the head's protection; None when not known.
        neutral: neutral treatment (`isolated`, `compensated`, `resistance`, `solid`); empty when not known.
    """

    address: str
    head: str
    trip: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    reclosing: str = ""
    reclose_block: str = ""
    breaker_failure: tuple[str, ...] = ()
    busbar_trip: tuple[str, ...] = ()
    load_shedding: tuple[str, ...] = ()
    scheme: str = ""
    pickup: float | None = None
    neutral: str = ""


class GridError(ValueError):
    """The grid model contradicts itself; the message names the equipment."""


@dataclass(slots=True)
class Grid:
    """A whole grid model. Made once, then read only.

    Attributes:
        nodes, equipment: by address.
        indicators: by address of their data object.
        measurements: by address of their point.
        meters: by address of the meter.
        feeders: by address of the bay.
    """

    nodes: dict[str, ConnectivityNode] = field(default_factory=dict)
    equipment: dict[str, Equipment] = field(default_factory=dict)
    indicators: dict[str, FaultIndicator] = field(default_factory=dict)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    feeders: dict[str, Feeder] = field(default_factory=dict)

    def add(self, items: Iterable[Equipment | ConnectivityNode]) -> None:
        """Add nodes and equipment.

        Raises:
            GridError: an address is taken, a node is unknown, or the number of terminals does not fit the class.
        """
        for item in items:
            if item.address in self.nodes or item.address in self.equipment:
                raise GridError(f"{item.address} occurs twice in the grid model")
            if isinstance(item, ConnectivityNode):
                self.nodes[item.address] = item
                continue
            missing = [node for node in item.nodes if node not in self.nodes]
            if missing:
                raise GridError(f"{item.address}: unknown connectivity node {missing[0]}")
            if len(item.nodes) not in terminals_of(item.cim_class):
                raise GridError(f"{item.address}: a {item.cim_class} cannot have {len(item.nodes)} terminals")
            self.equipment[item.address] = item

    def of(self, *classes: CimClass) -> Iterator[Equipment]:
        """Equipment of some classes, in the order of the model."""
        return (item for item in self.equipment.values() if item.cim_class in classes)

    def switches(self) -> Iterator[tuple[Equipment, SwitchRating]]:
        """All switches with their ratings."""
        for item in self.equipment.values():
            if item.is_switch:
                yield item, item.data if isinstance(item.data, SwitchRating) else SwitchRating()

    def normal_positions(self) -> dict[str, Position]:
        """Position of every switch in the normal switching state, by address of the equipment."""
        return {
            item.address: Position.OPEN if rating.normal_open else Position.CLOSED for item, rating in self.switches()
        }

    def aliases(self) -> Mapping[str, str]:
        """`mrid:` aliases -> address, of everything that has one."""
        items: Iterable[Equipment | ConnectivityNode] = (*self.nodes.values(), *self.equipment.values())
        return {f"mrid:{item.mrid.lower()}": item.address for item in items if item.mrid}


_ONE, _TWO = frozenset({1}), frozenset({2})
_TERMINALS: Mapping[CimClass, frozenset[int]] = {
    CimClass.BUSBAR: _ONE,
    CimClass.LOAD: _ONE,
    CimClass.SOURCE: _ONE,
    CimClass.SHUNT: _ONE,
    CimClass.GENERATOR: _ONE,
    CimClass.GROUND_DISCONNECTOR: frozenset({1, 2}),
    CimClass.TRANSFORMER: frozenset({2, 3}),
}


def terminals_of(cim_class: CimClass) -> frozenset[int]:
    """How many terminals a class may have (spec 2.9)."""
    return _TERMINALS.get(cim_class, _TWO)
