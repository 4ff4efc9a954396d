"""The restoration problem: the part of the grid that matters for one fault, cut out and put in per unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.case import Case, Complexes, Flags, Floats
from twin_gateway.twin.flisr.elements import S_BASE, Load, current_limit
from twin_gateway.twin.flisr.records import Isolation, LoadEstimate, LoadSource, RestoreSettings, SwitchState
from twin_gateway.twin.flisr.zones import OPEN, Network, Positions

NEAR_SHARE = 0.4
"""Share of the remaining time for a problem that a larger one may follow."""
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
        isolated: zones given up with the fault.
        settings: constraints and effort.
        warnings: what could not be checked.
        auto_ok: nothing that was seen so far forbids automatic execution.
        blocked: why nothing may be restored at all; empty when it may.
        no_auto: switches whose closing needs a person.
        more: feeders lie beyond those in view.
        neutral: edge of a feeder's head -> neutral treatment of the feeder, where it is known.
    """

    case: Case
    before: Flags
    load_before: Complexes
    trip_edge: int
    unknown: tuple[int, ...]
    switches: tuple[str, ...]
    zones: tuple[str, ...]
    power: Floats
    isolated: frozenset[str]
    settings: RestoreSettings
    warnings: tuple[str, ...] = ()
    auto_ok: bool = True
    blocked: str = ""
    no_auto: frozenset[str] = field(default_factory=frozenset)
    more: bool = False
    neutral: Mapping[int, str] = field(default_factory=dict)


def restoration_problems(
    network: Network,
    states: Mapping[str, SwitchState],
    isolation: Isolation,
    loads: Mapping[str, LoadEstimate],
    *,
    before: Positions,
    now: Positions | None = None,
    outage: float = 0.0,
    settings: RestoreSettings | None = None,
    barred: Iterable[str] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[RestorationProblem]:
    """Problems of growing size: with the neighbour feeders, with theirs, ... up to `settings.hops`.

    Take the next only when the answer to the one before is not complete (`RestorationResult.complete`). Together they
    keep the deadline: each but the last gets a share of the time that is left.
    """
    settings = settings or RestoreSettings()
    until = clock() + settings.deadline
    now = network.positions(states) if now is None else now
    for hops in range(1, settings.hops + 1):
        problem = restoration_problem(
            network,
            states,
            isolation,
            loads,
            before=before,
            now=now,
            outage=outage,
            settings=replace(settings, hops=hops),
            barred=barred,
        )
        share = 1.0 if hops == settings.hops or not problem.more else NEAR_SHARE
        problem.settings = replace(problem.settings, deadline=max(until - clock(), 0.0) * share)
        yield problem
        if not problem.more:
            return


def restoration_problem(
    network: Network,
    states: Mapping[str, SwitchState],
    isolation: Isolation,
    loads: Mapping[str, LoadEstimate],
    *,
    before: Positions,
    now: Positions | None = None,
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
        now: `network.positions(states)` for a caller that has it already.
        outage: s since the loss of supply, for cold-load pickup.
        settings: constraints and effort.
        barred: addresses of zones that must not become live (tagged, earthed, of another fault, on a tripped busbar).
    """
    settings = settings or RestoreSettings()
    isolated = {network.zone_index[zone] for zone in isolation.isolated_zones}
    positions = (network.positions(states) if now is None else now).copy()
    for boundary in isolation.boundaries:
        positions[network.switch_index[boundary.switch]] = Position.OPEN
    near, everything, more = _surroundings(network, before, isolated, settings.hops)
    forbidden = {network.zone_index[zone] for zone in barred}
    forbidden = {network.zone_index[zone] for zone in barred}
    # the isolated zones stay in the case: before the fault they carried what others drew
    builder = _Builder(
        network, states, settings, near=near - isolated, zones=everything | isolated, barred=forbidden | isolated
    )
    builder.edges(positions, before, isolation)
    builder.node_data(loads, outage)
    problem = builder.problem(isolation)
    problem.more = more
    return problem


def surroundings_problem(
    network: Network,
    states: Mapping[str, SwitchState],
    loads: Mapping[str, LoadEstimate],
    zones: set[int],
    *,
    now: Positions,
    settings: RestoreSettings,
    barred: set[int],
) -> RestorationProblem:
    """The feeders around some zones as they are, without a fault."""
    nothing = Isolation((), (), ())
    near, everything, _ = _surroundings(network, now, zones, 1)
    builder = _Builder(network, states, settings, near=near, zones=everything, barred=barred)
    builder.edges(now, now, nothing)
    builder.node_data(loads, 0.0)
    return builder.problem(nothing)


def _surroundings(
    network: Network, before: Positions, isolated: set[int], hops: int
) -> tuple[set[int], set[int], bool]:
    """Zones whose switches may take part, these with what shares transformers with them, whether more follow."""
    trunk = network.trunk
    positions: list[int] = before.tolist()

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
                if positions[number] != OPEN and beyond not in found and beyond not in seen:
                    found.add(beyond)
                    stack.append(beyond)
        return found

    near = walk(isolated, set(), through_trunk=False)

    def border() -> list[int]:
        return sorted(
            {
                beyond
                for zone in near
                if not trunk[zone]
                for number in network.switches_at[zone]
                if (beyond := network.switches[number].other(zone)) not in near
            }
        )

    for _ in range(hops):
        near |= walk(border(), near, through_trunk=False)
    more = bool(border())
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
    return near | upstream, everything, more


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
    """Fills the arrays of a case: its edges are the branches, then the switches, by number."""

    def __init__(
        self,
        network: Network,
        states: Mapping[str, SwitchState],
        settings: RestoreSettings,
        *,
        near: set[int],
        zones: set[int],
        barred: set[int],
    ) -> None:
        self.network, self.states, self.settings = network, states, settings
        self.warnings: list[str] = []
        self.auto_ok = True
        self.barred_zones = barred
        arrays = network.arrays
        inside = np.zeros(len(network.zones), bool)
        inside[list(zones)] = True
        self.near = np.zeros(len(network.zones), bool)
        self.near[list(near)] = True
        self.nodes = np.flatnonzero(inside[arrays.zone_of])
        self.number = np.full(len(network.nodes), -1, np.int64)
        self.number[self.nodes] = np.arange(len(self.nodes))
        self.branches = np.flatnonzero(inside[arrays.zone_of[arrays.branch_ends[:, 0]]])
        self.switches = np.flatnonzero(inside[arrays.switch_zones].all(1))
        # a barred busbar feeds nothing
        self.sources = [
            source
            for source in network.sources
            if self.number[source.node] >= 0 and network.zone_of[source.node] not in barred
        ]

    def edges(self, positions: Positions, before: Positions, isolation: Isolation) -> None:
        """What the edges are and what may be done to them."""
        network, settings, arrays = self.network, self.settings, self.network.arrays
        branches, switches = self.branches, self.switches
        count = len(branches)
        ends = self.number[np.concatenate([arrays.branch_ends[branches], arrays.switch_ends[switches]])]
        self.start, self.end = ends[:, 0].copy(), ends[:, 1].copy()
        self.impedance = np.concatenate([arrays.impedance[branches], np.zeros(len(switches))])
        factor = np.where(arrays.transformer[branches], settings.k_transformer, settings.k_line)
        self.limit = np.concatenate(
            [arrays.branch_limit[branches] * factor, arrays.switch_limit[switches] * settings.k_line]
        )
        half = np.repeat(arrays.susceptance[branches] / 2, 2)
        charging = np.bincount(ends[:count].ravel(), weights=half, minlength=len(self.nodes))
        self.charging = charging.astype(np.float64)
        always = np.ones(count, bool)
        self.closed = np.concatenate([always, positions[switches] == Position.CLOSED])
        self.before = np.concatenate([always, before[switches] == Position.CLOSED])
        unknown = positions[switches] == Position.UNKNOWN
        self.unknown = (count + np.flatnonzero(unknown)).tolist()
        live = self._live()
        live_end = live[self.start[count:]] | live[self.end[count:]]
        movable = ~unknown & self.near[arrays.switch_zones[switches]].all(1)
        self.can_open = np.zeros(len(ends), bool)
        self.can_close = np.zeros(len(ends), bool)
        self.cost = np.ones(len(ends), np.int64)
        self.no_auto: set[str] = set()
        self.names = [""] * count
        bounds = {boundary.switch for boundary in isolation.boundaries}
        self.trip_edge = -1
        for i, number in enumerate(switches.tolist()):
            switch = network.switches[number]
            self.names.append(switch.address)
            state = self.states.get(switch.address)
            if state is None or state.tagged or not movable[i]:
                continue
            self.can_open[count + i] = state.can_open and (switch.rating.load_break or not live_end[i])
            self.can_close[count + i] = state.can_close and switch.rating.fault_make and switch.address not in bounds
            if not state.auto_close:
                self.no_auto.add(switch.address)
            if switch.address == isolation.trip_device and not self.closed[count + i]:
                self.cost[count + i] = 0
                if isolation.reclose_upstream:
                    self.trip_edge = count + i
                else:
                    self.can_close[count + i] = False

    def _live(self) -> Flags:
        """Nodes live now."""
        neighbours: dict[int, list[int]] = {}
        shut = np.flatnonzero(self.closed)
        for a, b in zip(self.start[shut].tolist(), self.end[shut].tolist(), strict=True):
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
        self.live = np.zeros(len(self.nodes), bool)
        stack = [int(self.number[source.node]) for source in self.sources]
        seen = set(stack)
        while stack:
            for beyond in neighbours.get(stack.pop(), ()):
                if beyond not in seen:
                    seen.add(beyond)
                    stack.append(beyond)
        self.live[list(seen)] = True
        return self.live

    def node_data(self, loads: Mapping[str, LoadEstimate], outage: float) -> None:
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
        if self.barred_zones:
            self.barred = np.isin(network.arrays.zone_of[self.nodes], list(self.barred_zones))
        for i, node in enumerate(self.nodes.tolist()):
            picked_up = 1.0 if self.live[i] else cold
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

    def problem(self, isolation: Isolation) -> RestorationProblem:
        """The finished problem."""
        network, settings = self.network, self.settings
        count = len(self.nodes)
        sources = self.sources
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
            zones=tuple(network.zones[network.zone_of[node]].address for node in self.nodes.tolist()),
            power=self.power,
            isolated=frozenset(isolation.isolated_zones),
            settings=settings,
            warnings=tuple(self.warnings),
            auto_ok=self.auto_ok and not self.warnings,
            blocked="" if isolation.complete else "; ".join(isolation.problems),
            no_auto=frozenset(self.no_auto),
            neutral=self._neutral(),
        )

    def _neutral(self) -> dict[int, str]:
        place = {number: len(self.branches) + i for i, number in enumerate(self.switches.tolist())}
        feeders = self.network.grid.feeders
        return {
            place[number]: feeders[address].neutral
            for address, number in sorted(self.network.heads.items())
            if number in place and feeders[address].neutral
        }

    def _protection(self) -> dict[int, float]:
        """Reach of the protection at the feeder heads, per unit impedance; their highest load becomes a limit."""
        network, settings = self.network, self.settings
        place = {number: len(self.branches) + i for i, number in enumerate(self.switches.tolist())}
        reach: dict[int, float] = {}
        for address, number in sorted(network.heads.items()):
            if number not in place or not self.near[list(network.switches[number].zones)].all():
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
