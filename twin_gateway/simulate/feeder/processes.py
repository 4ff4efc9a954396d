"""The simulator processes: started, told what the field shows, listened to for moves, silenced and brought back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twin_gateway.children import Child, ChildError
from twin_gateway.grid.model import Position
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.simulate.feeder.defaults import default_of
from twin_gateway.simulate.feeder.devices import History, Plan, make_plans
from twin_gateway.simulate.feeder.field import Field, switch_of_position
from twin_gateway.simulate.feeder.field_settings import FieldError
from twin_gateway.simulate.feeder.points import Reader, Value, readers
from twin_gateway.simulate.feeder.wiring import Wire, Wiring, WiringError, wire_up

log = logging.getLogger(__name__)
START_S = 40.0
PAUSE_S = 10.0
"""How long a simulator that has ended stays away."""
_EVERY = {"iec104": 5, "iec61850": 1, "dlms": 3, "coap": 3}
"""Seconds between two tellings of measured values."""
_RELATIVE = 0.001


class Processes:
    """All simulators of a field.

    Args:
        field: the physics.
        mapping: the checked mapping.
        folder: for the simulators' files and logs.
        travel: seconds that a switch needs, by the address of its position.
        history: values of the past, for load profiles.
        environment: of the processes.

    Raises:
        WiringError: a device or point cannot be played.

    Attributes:
        plans: by name of the process.
        children: by name of the process.
        on_move: called with address and position when a device has moved something.
        on_process: called when a process has been started or has ended.
    """

    def __init__(
        self,
        field: Field,
        mapping: PointMapping,
        folder: Path,
        *,
        travel: Callable[[str], float],
        history: History = lambda _address: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.field = field
        self.wiring: Wiring = wire_up(mapping)
        self.plans: dict[str, Plan] = {
            plan.name: plan for plan in make_plans(mapping, folder / "simulators", travel=travel, history=history)
        }
        self.on_move: Callable[[str, int], None] = lambda _address, _position: None
        self.on_command: Callable[[str, float], None] = lambda _address, _value: None
        self.on_process: Callable[[], None] = lambda: None
        self._readers: dict[str, Reader] = readers(field, self.wiring.wires)
        self._positions = switch_of_position(field.grid)
        self._blocks = {feeder.reclose_block: name for name, feeder in field.grid.feeders.items()}
        self._disconnectors = {
            f"{meter}/{node}/Pos": meter for meter in field.grid.meters for node in ("XSWI1", "CSWI1")
        }
        self._held: dict[str, float] = {}
        self.forced: dict[str, tuple[Value | str, str]] = {}
        self._trouble: dict[str, dict[str, str]] = {}
        self.silent: set[str] = set()
        self._last: dict[str, Value | str] = {}
        self._wires = self._by_device()
        self._wanted = {name: asyncio.Event() for name in self.plans}
        for wanted in self._wanted.values():
            wanted.set()
        self._owner = {device: plan.name for plan in self.plans.values() for device in plan.devices}
        self.children: dict[str, Child] = {}
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for plan in self.plans.values():
            self.children[plan.name] = Child(
                plan.name,
                plan.command,
                logs / f"{plan.name}.log",
                on_line=partial(self._heard, plan.devices[0]),
                environment=environment,
            )

    def _by_device(self) -> dict[str, tuple[list[Wire], list[Wire]]]:
        """Discrete and analog wires by device."""
        found: dict[str, tuple[list[Wire], list[Wire]]] = {}
        for wire in self.wiring.wires.values():
            found.setdefault(wire.device, ([], []))[0 if wire.discrete else 1].append(wire)
        return found

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all simulators and tell them the state of the field.

        Raises:
            ChildError: one does not come up.
        """
        for child in self.children.values():
            await child.start()
        await asyncio.gather(*(self._ready(name) for name in self.children))

    async def _ready(self, name: str) -> None:
        await self.children[name].wait_ready(START_S)
        self.tell_everything(name)

    async def keep(self, name: str) -> None:
        """Start a simulator again that has ended, for ever; one that is meant to be silent stays away."""
        child = self.children[name]
        while True:
            await child.wait()
            self.on_process()
            if self._wanted[name].is_set():
                await asyncio.sleep(PAUSE_S)
            await self._wanted[name].wait()
            try:
                await child.start()
                await self._ready(name)
            except ChildError as error:
                log.warning("%s", error)
                await child.end()
            self.on_process()

    async def end(self) -> None:
        """End all simulators."""
        await asyncio.gather(*(child.end() for child in self.children.values()))

    # -- telling -----------------------------------------------------------------------------------------------------

    def tell_everything(self, name: str) -> None:
        """Tell a simulator that has just started every value, and what is wrong with its devices."""
        for device in self.plans[name].devices:
            for wire in (*self._wires.get(device, ((), ()))[0], *self._wires.get(device, ((), ()))[1]):
                self._last.pop(wire.address, None)
            self._tell(device, analog=True)
            for wire in self._wires.get(device, ([], []))[0] + self._wires.get(device, ([], []))[1]:
                if wire.address in self.forced:
                    self.force(wire.address, *self.forced[wire.address])
            self.children[name].tell(list(self._trouble.get(device, {}).values()))

    def tell(self, second: int) -> None:
        """Tell what has changed: states of all devices, measured values of those whose turn it is."""
        for number, (device, owner) in enumerate(self._owner.items()):
            due = (second + number) % _EVERY[self.plans[owner].protocol] == 0
            self._tell(device, analog=due)

    def tell_event(self) -> None:
        """Tell everything that an event has changed, at once."""
        for device in self._owner:
            self._tell(device, analog=True)

    def _tell(self, device: str, *, analog: bool) -> None:
        child = self.children[self._owner[device]]
        if not child.ready.is_set() or not child.running:
            return
        states, values = self._wires.get(device, ([], []))
        lines = []
        for wire in states:
            shown = self._shown(wire)
            if shown is not None and self._last.get(wire.address) != shown:
                self._last[wire.address] = shown
                lines.append(wire.line(shown, self._since(wire.address)))
        for wire in values if analog else ():
            shown = self._shown(wire)
            if shown is not None and self._moved(wire, float(shown)):
                self._last[wire.address] = shown
                lines.append(wire.line(shown))
        child.tell(lines)

    def _moved(self, wire: Wire, shown: float) -> bool:
        last = self._last.get(wire.address)
        if last is None or isinstance(last, str):
            return True
        least = max(0.5 * wire.deadband, _RELATIVE * abs(float(last)), 1e-6) if wire.cdc != "BCR" else 0.5
        return abs(shown - float(last)) >= least or (shown == 0.0) != (last == 0.0)

    def _shown(self, wire: Wire) -> Value | None:
        if wire.address in self.forced:
            return None
        reader = self._readers.get(wire.address)
        if reader is not None:
            return reader()
        held = self._held.get(wire.address)
        if held is not None:
            return held
        # What an IED shows besides stands in its own file.
        return None if wire.protocol == "iec61850" else default_of(wire.address, wire.cdc)

    def _since(self, address: str) -> float:
        """Unix time of the last change of a state."""
        switch = self._positions.get(address)
        if switch is not None:
            return self.field.moved_at[switch]
        indicator = self.field.indicators.get(address)
        if indicator is not None and indicator.passed and address not in self.field.lies:
            return indicator.since
        return self.field.now

    # -- what is injected --------------------------------------------------------------------------------------------

    def force(self, address: str, value: Value | str, quality: str = "") -> None:
        """Let a device tell a value whatever the field says.

        Raises:
            WiringError: no device has the point, or cannot tell this value or quality.
        """
        wire = self.wiring.wires.get(address)
        if wire is None:
            raise WiringError(f"no device tells {address}")
        try:
            line = wire.line(value, time.time(), quality or "good")
        except (TypeError, ValueError) as error:
            raise WiringError(f"{address} cannot be {value!r}: {error}") from error
        self.forced[address] = (value, quality)
        self.children[self._owner[wire.device]].tell([line])

    def release(self, address: str) -> None:
        """Let a forced point tell the truth again.

        Raises:
            WiringError: it is not forced.
        """
        if address not in self.forced:
            raise WiringError(f"{address} is not forced")
        del self.forced[address]
        wire = self.wiring.wires[address]
        shown = self._shown(wire)
        if shown is None:
            # It stands in the file of the IED.
            line = json.dumps({**wire.order, "restore": True}) + "\n"
        else:
            self._last[address] = shown
            line = wire.line(shown, time.time(), "good")
        self.children[self._owner[wire.device]].tell([line])

    def trouble(self, device: str, kind: str, order: dict[str, Any] | None) -> None:
        """Order what is wrong with a device, now and whenever its simulator starts again; None forgets it."""
        known = self._trouble.setdefault(device, {})
        if order is None:
            known.pop(kind, None)
            return
        known[kind] = json.dumps(order) + "\n"
        self.children[self._owner[device]].tell([known[kind]])

    def shown(self, address: str) -> Value | None:
        """What the field says of a point; None when it says nothing."""
        return self._shown(self.wiring.wires[address])

    def forget_troubles(self) -> None:
        """Right every clock and forget every trouble."""
        for device, known in self._trouble.items():
            for kind, line in list(known.items()):
                order = json.loads(line)
                if "clock" in order:
                    self.trouble(device, kind, {**order, "clock": 0.0})
                del known[kind]

    async def silence(self, device: str, silent: bool) -> None:
        """Take a device off the network, or bring it back.

        Raises:
            WiringError: there is no such device.
        """
        if device not in self._owner:
            raise WiringError(f"there is no device {device}")
        (self.silent.add if silent else self.silent.discard)(device)
        plan = self.plans[self._owner[device]]
        match plan.protocol:
            case "iec61850":
                if silent:
                    self._wanted[plan.name].clear()
                    await self.children[plan.name].end()
                else:
                    self._wanted[plan.name].set()
            case "iec104":
                for common in self.stations_of(device):
                    self.trouble(device, f"silent {common}", {"common_address": common, "silent": silent})
            case "dlms":
                self.trouble(device, "silent", {"meter": device, "silent": silent})
            case _:
                self.trouble(device, "silent", {"device": device, "silent": silent})

    def stations_of(self, device: str) -> list[int]:
        """Common addresses of a 104 device."""
        return [common for common, name in self.wiring.stations.items() if name == device]

    def protocol_of(self, device: str) -> str:
        """Protocol of a device.

        Raises:
            WiringError: there is no such device.
        """
        owner = self._owner.get(device)
        if owner is None:
            raise WiringError(f"there is no device {device}")
        return self.plans[owner].protocol

    # -- hearing -----------------------------------------------------------------------------------------------------

    def _heard(self, device: str, line: dict[str, Any]) -> None:
        commanded = self.wiring.commanded(device, line)
        if commanded is not None:
            self.on_command(*commanded)
        found = self.wiring.addresses_of(device, line)
        if found is None:
            return
        addresses, position = found
        self.field.advance(time.time())
        for address in addresses:
            self._last[address] = position
            self._take(address, position)
        # The controller and the switch itself are two addresses of one thing.
        for address in dict.fromkeys(addresses[:1]):
            self.on_move(address, position)

    def _take(self, address: str, position: int) -> None:
        switch = self._positions.get(address)
        try:
            if switch is not None:
                self.field.switch(switch, Position(position) if position in {1, 2} else Position.UNKNOWN)
            elif address in self._blocks:
                self.field.protections[self._blocks[address]].block(bool(position))
            elif address in self._disconnectors:
                self.field.set_connected(self._disconnectors[address], connected=position == Position.CLOSED)
            else:
                self._held[address] = position
        except FieldError as error:
            log.warning("%s", error)
