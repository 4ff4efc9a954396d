"""The physical field: a live grid with protection, indicators and meters, and what happens. Pure: time is given."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from twin_gateway.grid.model import BREAKS_FAULTS, CimClass, GeneratorData, Grid, MeterRole, Position, SwitchRating
from twin_gateway.simulate.feeder.circuit import FaultKind
from twin_gateway.simulate.feeder.field_settings import Fault, FieldError, FieldSettings
from twin_gateway.simulate.feeder.indicators import Indicator
from twin_gateway.simulate.feeder.live_grid import LiveGrid
from twin_gateway.simulate.feeder.loads import Loads
from twin_gateway.simulate.feeder.meters import MeterState
from twin_gateway.simulate.feeder.protection import Protection
from twin_gateway.simulate.feeder.switchgear import BreakerCondition
from twin_gateway.simulate.feeder.weather import Weather


class _Bay:
    """The head of a feeder as its protection sees it."""

    def __init__(self, owner: Field, head: str) -> None:
        self._owner, self._head = owner, head

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._owner.after(seconds, action)

    def is_closed(self) -> bool:
        return self._owner.positions[self._head] is Position.CLOSED

    def drive(self, close: bool) -> None:
        if self._head not in self._owner.stuck:
            self._owner.switch(self._head, Position.CLOSED if close else Position.OPEN)

    def trip_upstream(self) -> None:
        self._owner.trip_upstream(self._head)


class Field(LiveGrid):
    """The state of the grid and how it goes on.

    Args:
        grid: the grid model.
        settings: see there.
        now: Unix seconds of the start.

    Raises:
        GridError: a low-voltage area has a ring or two transformers.

    Attributes:
        stuck: switches that do not move.
        lies: by indicator: what it shows whatever happens.
        protections: by address of the feeder.
        moved_at: Unix time of the last movement of a switch.
        version: grows with every solution that follows an event.
        changes: switches that have moved by themselves since they were taken out with `take_changes`.
    """

    def __init__(self, grid: Grid, settings: FieldSettings, now: float) -> None:
        self._noise = np.random.default_rng(settings.seed)
        super().__init__(grid, Loads(grid, self._noise, still=settings.still))
        self.settings, self.now = settings, now
        self.weather = Weather(grid, self._noise, still=settings.still)
        self.moved_at = dict.fromkeys(self.positions, now)
        self.stuck: set[str] = set()
        self.lies: dict[str, bool] = {}
        self.version = 0
        self._changes: list[str] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._dirty = True
        self._der_off: set[int] = set()
        self.indicators = {name: Indicator(model, settings.indicators) for name, model in grid.indicators.items()}
        self.protections = {name: self._protection(name) for name in grid.feeders}
        self._heads = {feeder.head: name for name, feeder in grid.feeders.items()}
        self.breakers = {
            item.address: BreakerCondition(self._noise, number) for number, item in enumerate(grid.of(*BREAKS_FAULTS))
        }
        self.meters = {name: self._meter(number, name) for number, name in enumerate(grid.meters)}
        self._settle(events=True)

    def _protection(self, name: str) -> Protection:
        feeder, settings = self.grid.feeders[name], self.settings.protection
        if feeder.pickup is not None:
            settings = replace(settings, pickup=feeder.pickup)
        if feeder.reclosing in {"", "none"}:
            settings = replace(settings, dead_times=())
        return Protection(settings, _Bay(self, feeder.head))

    def _meter(self, number: int, name: str) -> MeterState:
        model = self.grid.meters[name]
        item = self.grid.equipment[model.equipment]
        members: tuple[int, ...] = ()
        if model.role is not MeterRole.BOUNDARY:
            members = tuple(row for row, one in enumerate(self.loads.members) if one.node == item.nodes[0])
        state = MeterState(model, members)
        # Meters have been there for years.
        state.drawn, state.reactive_drawn = 4.1e6 + 137_911.0 * number, 0.9e6 + 31_007.0 * number
        return state

    # -- time --------------------------------------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when the field's time has come so far."""
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), action))

    @property
    def next_event(self) -> float | None:
        """Unix time of the next thing that happens by itself; None when nothing does."""
        return self._timers[0][0] if self._timers else None

    def advance(self, now: float) -> None:
        """Let everything happen that is due by a time; what has been changed from outside has its effect first."""
        if self._dirty:
            self._settle(events=True)
        while self._timers and self._timers[0][0] <= now:
            due, _, action = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            action()
            if self._dirty:
                self._settle(events=True)
        self.now = max(self.now, now)

    def live(self, seconds: float) -> None:
        """Let loads, weather and counters go on for some time; does not move the clock."""
        hour = self.now % 86_400.0 / 3600.0
        self.loads.step(seconds, hour)
        self.weather.step(seconds, hour, self.state, self.areas)
        for breaker in self.breakers.values():
            breaker.step(seconds, self.weather.air)
        for meter in self.meters.values():
            meter.count(seconds)
        self._settle(events=False)

    # -- what happens ------------------------------------------------------------------------------------------------

    def switch(self, address: str, position: Position) -> None:
        """A switch has moved.

        Raises:
            FieldError: there is no such switch.
        """
        before = self.positions.get(address)
        if before is None:
            raise FieldError(f"there is no switch {address}")
        if before is position:
            return
        interrupted = self.phase_currents(address, 1)
        self.positions[address] = position
        self.moved_at[address] = self.now
        self._changes.append(address)
        self._dirty = True
        if position is Position.UNKNOWN:
            return
        condition = self.breakers.get(address)
        if condition is not None:
            condition.operated(position is Position.CLOSED, float(interrupted.max()))
        feeder = self._heads.get(address)
        if feeder is not None:
            protection = self.protections[feeder]
            if position is Position.CLOSED:
                protection.closed()
            else:
                protection.opened()

    def take_changes(self) -> list[str]:
        """Switches that have moved since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def trip_upstream(self, head: str) -> None:
        """The breaker of a feeder has failed: the nearest breaker towards the source opens, or the source goes."""
        feeding = self.grid.equipment[head].nodes
        for item in self.grid.of(*BREAKS_FAULTS):
            if item.address not in {head, *self.stuck, *self._heads} and set(item.nodes) & set(feeding):
                self.switch(item.address, Position.OPEN)
                return
        self.dead_sources.update(item.address for item in self.grid.of(CimClass.SOURCE))
        self._dirty = True

    def inject(self, equipment: str, kind: FaultKind, *, temporary: bool) -> None:
        """Put a fault on a line or another piece of equipment of medium voltage.

        Raises:
            FieldError: there is no such equipment, or not of medium voltage.
        """
        item = self.grid.equipment.get(equipment)
        if item is None or item.nodes[0] not in self.circuit.nodes:
            raise FieldError(f"{equipment} is no medium-voltage equipment of the grid")
        self.faults[equipment] = Fault(equipment, kind, temporary)
        self._dirty = True

    def clear(self, equipment: str = "") -> int:
        """Take one fault away, or all; how many there were.

        Raises:
            FieldError: the equipment has no fault.
        """
        if equipment and equipment not in self.faults:
            raise FieldError(f"{equipment} has no fault")
        gone = [equipment] if equipment else list(self.faults)
        for name in gone:
            del self.faults[name]
        self._dirty = True
        return len(gone)

    def set_island(self, generator: str, on: bool) -> None:
        """Let a generator keep its part of the grid alive when the source is lost, or not.

        Raises:
            FieldError: there is no such generator.
        """
        item = self.grid.equipment.get(generator)
        if item is None or not isinstance(item.data, GeneratorData):
            raise FieldError(f"{generator} is no generator of the grid")
        (self.islanding.add if on else self.islanding.discard)(generator)
        self._dirty = True

    def set_connected(self, meter: str, connected: bool) -> None:
        """The disconnector of a meter has moved.

        Raises:
            FieldError: there is no such meter.
        """
        state = self.meter(meter)
        state.connected = connected
        for row in state.members:
            self.loads.factor[row] = float(connected)
        self._dirty = True

    def meter(self, address: str) -> MeterState:
        """A meter by address.

        Raises:
            FieldError: there is none.
        """
        state = self.meters.get(address)
        if state is None:
            raise FieldError(f"there is no meter {address}")
        return state

    def reset(self) -> None:
        """Everything as at the start: no faults, no lies, every switch in its normal position."""
        self._timers.clear()
        self.faults.clear()
        self.stuck.clear()
        self.islanding.clear()
        self.dead_sources.clear()
        self.lies.clear()
        for meter in self.meters.values():
            meter.bypass = 0.0
        for address, position in self.grid.normal_positions().items():
            if self.positions[address] is not position:
                self.positions[address] = position
                self.moved_at[address] = self.now
                self._changes.append(address)
        for name, meter in self.meters.items():
            if not meter.connected:
                self.set_connected(name, connected=True)
        for row in self._der_off:
            self.loads.factor[row] = 1.0
        self._der_off.clear()
        for protection in self.protections.values():
            protection.reset()
        for indicator in self.indicators.values():
            indicator.clear()
        self._dirty = True
        self._settle(events=True)

    # -- what can be seen --------------------------------------------------------------------------------------------

    def shows(self, indicator: str) -> bool:
        """What a fault passage indicator shows, true or not."""
        return self.lies.get(indicator, self.indicators[indicator].passed)

    # -- solving -----------------------------------------------------------------------------------------------------

    def _settle(self, *, events: bool) -> None:
        self._dirty = False
        for _ in range(2 if events else 1):
            self.solve()
        if events:
            self.version += 1
            self._watch()
        for meter in self.meters.values():
            self._measure(meter)

    def _watch(self) -> None:
        """Tell protection, indicators, generators and temporary faults what has become of currents and voltages."""
        for name, protection in self.protections.items():
            head = self.grid.feeders[name].head
            fault = self.state.fault.get(head)
            earth = fault is not None and fault.kind is FaultKind.PHASE_EARTH
            residual = max(fault.first, fault.second) if fault is not None and earth else 0.0
            protection.see(float(self.phase_currents(head, 1).max()), residual)
        for name, indicator in self.indicators.items():
            model = self.grid.indicators[name]
            fault = self.state.fault.get(model.equipment)
            amperes = fault.at(model.terminal) if fault is not None else 0.0
            earth = fault is not None and fault.kind is FaultKind.PHASE_EARTH
            node = self.grid.equipment[model.equipment].nodes[model.terminal - 1]
            indicator.see(self.now, amperes, earth, self.is_live(node) and not self.state.energised, self.after)
        for fault_ in self.faults.values():
            self._burn(fault_)
        for row, member in enumerate(self.loads.members):
            if isinstance(self.grid.equipment[member.address].data, GeneratorData):
                self._generator(row, member.address, member.node)

    def _burn(self, fault: Fault) -> None:
        fault.token += 1
        if not fault.temporary or fault.equipment in self.state.energised:
            return
        token = fault.token

        def extinguish() -> None:
            if self.faults.get(fault.equipment) is fault and fault.token == token:
                del self.faults[fault.equipment]
                self._dirty = True

        self.after(self.settings.extinction, extinguish)

    def _generator(self, row: int, address: str, node: str) -> None:
        if address in self.islanding:
            return
        if not self.is_live(node):
            self._der_off.add(row)
            self.loads.factor[row] = 0.0
        elif row in self._der_off:
            self._der_off.discard(row)

            def again() -> None:
                if row not in self._der_off:
                    self.loads.factor[row] = 1.0

            self.after(self.settings.der_return, again)

    def _measure(self, meter: MeterState) -> None:
        model = meter.model
        item = self.grid.equipment[model.equipment]
        node = item.nodes[model.terminal - 1]
        volts = self.phase_voltages(node)
        for area in self.areas:
            if area.transformer.address == model.equipment:
                low = model.terminal == 2
                power = area.bus_power if low else np.full(3, area.power / 3.0)
                # Into the low-voltage terminal of the transformer flows the negative of what it gives.
                meter.measure(volts, -power if low else power)
                return
        if meter.members:
            rows = list(meter.members)
            power = (self.loads.power[rows] * self.loads.factor[rows][:, None]).sum(axis=0)
            meter.measure(volts, np.where(volts > 1.0, power, 0.0))
        else:
            meter.measure(volts, np.full(3, self.power(model.equipment, model.terminal) / 3.0))


def switch_of_position(grid: Grid) -> dict[str, str]:
    """Address of the switch by the addresses of its position and its command."""
    found: dict[str, str] = {}
    for item, rating in grid.switches():
        data = rating if isinstance(rating, SwitchRating) else SwitchRating()
        found |= {address: item.address for address in (data.position, data.command) if address}
    return found
