"""The restoration problem: the part of the grid that matters for one fault, cut out and put in per unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.case import Case, Complexes, Flags, Floats
from twin_gateway.twin.flisr.records import Isolation, LoadEstimate, LoadSource, RestoreSettings, SwitchState
from twin_gateway.twin.flisr.zones import S_BASE, Load, Network, current_limit

_POWER_FACTOR = 0.95


@dataclass(slots=True)
class RestorationProblem:
    """One restoration to be searched; small and picklable.

    Attributes:
        case: the part of the grid after isolation, the trip device still open; unknown positions count as open.
        before: which of its edges were closed before the fault.
        load_before: its loads without cold-load pickup.
        trip_edge: edge of the trip device when it is to be closed again, else -1.
        unknown: edges whose position is not known.
        switches: address of each edge's switch; empty for lines and transformers.
        zones: address of the zone of each node.
        power: W of each node, without margins.
        isolated: (zone, W, customers) of zones given up with the fault.
        settings: constraints and effort.
        warnings: what could not be checked.
        auto_ok: nothing that was seen so far forbids automatic execution.
        blocked: why nothing may be restored at all; empty when it may.
        no_auto: switches whose closing needs a person.
    """

    case: Case
    before: Flags
    load_before: Complexes
    trip_edge: int
    unknown: tuple[int, ...]
    switches: tuple[str, ...]
    zones: tuple[str, ...]
    power: Floats
    isolated: tuple[tuple[str, float, int], ...]
    settings: RestoreSettings
    warnings: tuple[str, ...] = ()
    auto_ok: bool = True
    blocked: str = ""
    no_auto: frozenset[str] = field(default_factory=frozenset)


def restoration_problem(
    network: Network,
    states: Mapping[str, SwitchState],
    isolation: Isolation,
    loads: Mapping[str, LoadEstimate],
    *,
    before: Sequence[Position],
    outage: float = 0.0,
    settings: RestoreSettings | None = None,
    barred: Iterable[str] = (),
) -> RestorationProblem:
    """Cut out the feeders around a fault.

    Args:
        network: the grid.
        states: of the switches now; boundaries of the isolation count as open.
        isolation: what is given up, and whether the trip device may be closed.
        loads: pre-fault loads by address of the consumer; one that is missing is taken from its transformer's rating.
        before: positions by number of the switch before the trip.
        outage: s since the loss of supply, for cold-load pickup.
        settings: constraints and effort.
        barred: addresses of zones that must not become live (tagged, earthed, of another fault, on a tripped busbar).
    """
    settings = settings or RestoreSettings()
    isolated = {network.zone_index[zone] for zone in isolation.isolated_zones}
    positions = network.positions(states)
    for boundary in isolation.boundaries:
        positions[network.switch_index[boundary.switch]] = Position.OPEN
    near, all_zones = _surroundings(network, before, isolated, settings.hops)
    builder = _Builder(network, states, settings, near - isolated, all_zones - isolated)
    builder.positions(positions, before, isolation)
    builder.node_data(loads, outage, {network.zone_index[zone] for zone in barred})
    given_up = []
    for zone in sorted(isolated):
        power, customers = 0.0, 0
        for node in network.zones[zone].nodes:
            for number in network.loads_at[node]:
                load = network.loads[number]
                power += _estimate(load, loads.get(load.address), settings)[0].real
                customers += load.data.customers
        given_up.append((network.zones[zone].address, power, customers))
    return builder.problem(given_up, isolation)


def _surroundings(
    network: Network, before: Sequence[Position], isolated: set[int], hops: int
) -> tuple[set[int], set[int]]:
    """Zones whose switches may take part, and these with all that shares transformers with them."""
    trunk = network.trunk

    def walk(start: Iterable[int], seen: set[int], *, through_trunk: bool) -> set[int]:
        """The feeders of some zones: over closed switches, up to the trunk."""
        stack = [zone for zone in start if zone not in seen]
        found = set(stack)
        first = set(stack)
        while stack:
            zone = stack.pop()
            if trunk[zone] and not through_trunk and zone not in first:
                continue
            for number in network.switches_at[zone]:
                beyond = network.switches[number].other(zone)
                if before[number] is not Position.OPEN and beyond not in found and beyond not in seen:
                    found.add(beyond)
                    stack.append(beyond)
        return found

    near = walk(isolated, set(), through_trunk=False)
    for _ in range(hops):
        border = {
            network.switches[number].other(zone)
            for zone in near
            if not trunk[zone]
            for number in network.switches_at[zone]
        }
        near |= walk(sorted(border - near), near, through_trunk=False)
    upstream = {zone for zone in near if trunk[zone]}
    stack = list(upstream)
    while stack:
        zone = stack.pop()
        for number in network.switches_at[zone]:
            beyond = network.switches[number].other(zone)
            if trunk[beyond] and beyond not in upstream:
                upstream.add(beyond)
                stack.append(beyond)
    everything = near | upstream
    shared = {zone for zone in upstream if any(network.branches_at[node] for node in network.zones[zone].nodes)}
    if shared:
        # other feeders load the same transformers
        everything |= walk(sorted(upstream), set(), through_trunk=True)
    return near | upstream, everything


def _estimate(load: Load, estimate: LoadEstimate | None, settings: RestoreSettings) -> tuple[complex, float]:
    """Native load in VA and the margin factor."""
    data = load.data
    if estimate is not None and estimate.source is not LoadSource.MISSING:
        margin = settings.margin_measured if estimate.source is LoadSource.MEASURED else settings.margin_allocated
        return complex(max(estimate.p + estimate.der, 0.0), estimate.q), 1.0 + margin
    if data.rating > 0.0:
        size = settings.missing_factor * data.rating
        factor = data.p / abs(complex(data.p, data.q)) if data.p > 0.0 else _POWER_FACTOR
        return complex(size * factor, size * (1.0 - factor * factor) ** 0.5), 1.0 + settings.margin_allocated
    return complex(max(data.p, 0.0), data.q), 1.0 + settings.margin_allocated


class _Builder:
    """Fills the arrays of a case."""

    def __init__(
        self,
        network: Network,
        states: Mapping[str, SwitchState],
        settings: RestoreSettings,
        near: set[int],
        zones: set[int],
    ) -> None:
        self.network, self.states, self.settings = network, states, settings
        self.near, self.zones = near, zones
        self.nodes = [node for zone in sorted(zones) for node in network.zones[zone].nodes]
        self.number = {node: i for i, node in enumerate(self.nodes)}
        self.warnings: list[str] = []
        self.auto_ok = True
        self.branches = sorted({edge for node in self.nodes for edge in network.branches_at[node]})
        self.switches = sorted(
            {
                edge
                for zone in zones
                for edge in network.switches_at[zone]
                if zones.issuperset(network.switches[edge].zones)
            }
        )

    def positions(self, positions: Sequence[Position], before: Sequence[Position], isolation: Isolation) -> None:
        """Edges: branches first, then switches, with what may be done to them."""
        network, settings = self.network, self.settings
        count = len(self.branches)
        edges = count + len(self.switches)
        self.start = np.zeros(edges, np.int64)
        self.end = np.zeros(edges, np.int64)
        self.impedance = np.zeros(edges, complex)
        self.limit = np.full(edges, np.inf)
        self.closed = np.ones(edges, bool)
        self.before = np.ones(edges, bool)
        self.can_open = np.zeros(edges, bool)
        self.can_close = np.zeros(edges, bool)
        self.cost = np.ones(edges, np.int64)
        self.charging = np.zeros(len(self.nodes))
        self.unknown: list[int] = []
        self.no_auto: set[str] = set()
        self.names = [""] * edges
        for i, number in enumerate(self.branches):
            branch = network.branches[number]
            self.start[i], self.end[i] = (self.number[node] for node in branch.nodes)
            self.impedance[i] = branch.impedance
            factor = settings.k_transformer if branch.transformer else settings.k_line
            self.limit[i] = np.inf if branch.limit is None else branch.limit * factor
            for node in branch.nodes:
                self.charging[self.number[node]] += branch.susceptance / 2
        device = network.switch_index.get(isolation.trip_device, -1)
        self.trip_edge = -1
        live = self._live(positions)
        for i, number in enumerate(self.switches, count):
            switch = network.switches[number]
            state = self.states.get(switch.address)
            self.names[i] = switch.address
            self.start[i], self.end[i] = (self.number[node] for node in switch.nodes)
            if switch.rating.i_max is not None:
                limit = current_limit(switch.rating.i_max, network.nominal[switch.nodes[0]])
                self.limit[i] = limit * settings.k_line
            self.closed[i] = positions[number] is Position.CLOSED
            self.before[i] = before[number] is Position.CLOSED
            if positions[number] is Position.UNKNOWN:
                self.unknown.append(i)
                continue
            if state is None or state.tagged or not self.near.issuperset(switch.zones):
                continue
            dead = live.isdisjoint(switch.zones)
            self.can_open[i] = state.can_open and (switch.rating.load_break or dead)
            self.can_close[i] = state.can_close and switch.rating.fault_make
            if not state.auto_close:
                self.no_auto.add(switch.address)
            if number == device and not self.closed[i]:
                self.cost[i] = 0
                if isolation.reclose_upstream:
                    self.trip_edge = i
                else:
                    self.can_close[i] = False
        place = {number: count + i for i, number in enumerate(self.switches)}
        for boundary in isolation.boundaries:
            edge = place.get(network.switch_index[boundary.switch], -1)
            if edge >= 0:
                self.can_close[edge] = False

    def _live(self, positions: Sequence[Position]) -> set[int]:
        """Zones live now."""
        stack = [self.network.zone_of[source.node] for source in self.network.sources if source.node in self.number]
        seen = set(stack)
        while stack:
            zone = stack.pop()
            for number in self.network.switches_at[zone]:
                beyond = self.network.switches[number].other(zone)
                if positions[number] is Position.CLOSED and beyond not in seen and beyond in self.zones:
                    seen.add(beyond)
                    stack.append(beyond)
        self.live = seen
        return seen

    def node_data(self, loads: Mapping[str, LoadEstimate], outage: float, barred: set[int]) -> None:
        """Loads with their margins, what they are worth, and what must stay dead."""
        network, settings = self.network, self.settings
        count = len(self.nodes)
        self.load = np.zeros(count, np.complex128)
        self.load_before = np.zeros(count, np.complex128)
        self.value = np.zeros(count)
        self.power = np.zeros(count)
        self.customers = np.zeros(count, np.int64)
        self.barred = np.zeros(count, bool)
        cold = max((factor for since, factor in settings.cold_load if outage >= since), default=1.0)
        missing = 0
        for i, node in enumerate(self.nodes):
            zone = network.zone_of[node]
            self.barred[i] = zone in barred
            picked_up = 1.0 if zone in self.live else cold
            for number in network.loads_at[node]:
                load = network.loads[number]
                estimate = loads.get(load.address)
                missing += estimate is None or estimate.source is LoadSource.MISSING
                native, margin = _estimate(load, estimate, settings)
                self.power[i] += native.real
                self.value[i] += native.real * (load.data.weight if settings.weighted else 1.0)
                self.customers[i] += load.data.customers
                self.load_before[i] += native * margin
                self.load[i] += native * margin * picked_up
        if missing:
            self.warnings.append(f"{missing} loads without an estimate are taken from their ratings")
            self.auto_ok = False

    def problem(self, given_up: Iterable[tuple[str, float, int]], isolation: Isolation) -> RestorationProblem:
        """The finished problem."""
        network, settings = self.network, self.settings
        count = len(self.nodes)
        sources = [source for source in network.sources if source.node in self.number]
        reach = self._protection()
        ranks = np.arange(len(self.names))
        case = Case(
            load=self.load / S_BASE,
            shunt=self.charging,
            value=self.value / S_BASE,
            customers=self.customers,
            floor=np.full(count, settings.v_min),
            ceiling=np.full(count, settings.v_max),
            barred=self.barred,
            keep=np.zeros(count, bool),
            roots=np.array([self.number[source.node] for source in sources], np.int64),
            root_voltage=np.array([source.voltage for source in sources], float),
            root_impedance=np.array([source.impedance for source in sources], complex),
            start=self.start,
            end=self.end,
            impedance=self.impedance,
            limit=self.limit,
            closed=self.closed,
            can_open=self.can_open,
            can_close=self.can_close,
            cost=self.cost,
            rank=ranks,
            z_before=np.zeros(count),
            reach=reach,
            max_operations=settings.max_operations,
        )
        return RestorationProblem(
            case=case,
            before=self.before,
            load_before=self.load_before / S_BASE,
            trip_edge=self.trip_edge,
            unknown=tuple(self.unknown),
            switches=tuple(self.names),
            zones=tuple(network.zones[network.zone_of[node]].address for node in self.nodes),
            power=self.power,
            isolated=tuple(given_up),
            settings=settings,
            warnings=tuple(self.warnings),
            auto_ok=self.auto_ok and not self.warnings,
            blocked="" if isolation.complete else "; ".join(isolation.problems),
            no_auto=frozenset(self.no_auto),
        )

    def _protection(self) -> dict[int, float]:
        """Reach of the protection at the feeder heads, per unit impedance; their highest load becomes a limit."""
        network, settings = self.network, self.settings
        place = {number: len(self.branches) + i for i, number in enumerate(self.switches)}
        reach: dict[int, float] = {}
        for address, number in sorted(network.heads.items()):
            if number not in place or not self.near.issuperset(network.switches[number].zones):
                continue
            pickup = network.grid.feeders[address].pickup
            nominal = network.nominal[network.switches[number].nodes[0]]
            edge = place[number]
            if pickup is None:
                self.warnings.append(f"protection reach of {address} is not checked: no pick-up value")
                continue
            # two-phase fault: I = U / (2 Z) >= reach * pickup
            ohms = nominal / (2.0 * settings.reach * pickup)
            reach[edge] = ohms / (nominal * nominal / S_BASE)
            self.limit[edge] = min(self.limit[edge], current_limit(settings.pickup_load * pickup, nominal))
        return reach
