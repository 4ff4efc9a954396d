"""The simulated devices of the demo: one process each, told every second what the model says, listened to for moves."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from twin_gateway.children import Child
from twin_gateway.demo.files import SimulatorFile, registers_of
from twin_gateway.demo.model import CLOSED, DISCONNECTORS, OPEN, TAP, Feeder
from twin_gateway.demo.orders import Wiring, wire_up
from twin_gateway.mapping.model import Mapping as PointMapping

STEP_S = 1.0
START_S = 25.0
_EVERY = {"iec104": 1, "iec61850": 1, "dlms": 2, "coap": 3}
"""Steps between two tellings."""
_WARM_UP = 120
_LONGEST_STEP_S = 10.0


class Simulation:
    """All simulators and the model that they obey.

    Args:
        mapping: the checked mapping: which device gives which address, and where.
        files: of the simulators.
        logs: folder for their logs.
        environment: of their processes.

    Attributes:
        children: the processes.
        ports: names of the simulators by the ports that they need.
        on_move: called with address and new position when something has moved by command.
    """

    def __init__(
        self, mapping: PointMapping, files: list[SimulatorFile], logs: Path, environment: Mapping[str, str]
    ) -> None:
        self.feeder = Feeder()
        self.on_move: Callable[[str, int], None] = lambda _address, _position: None
        positions = [*self.feeder.positions, *DISCONNECTORS, TAP]
        self._wiring: Wiring = wire_up(mapping, registers_of(files), positions)
        self._moved_at = dict.fromkeys(positions, time.time())
        self._last: dict[str, Any] = {}
        self.children: list[Child] = []
        self.ports: dict[int, str] = {}
        self._addresses: dict[str, list[str]] = {}
        self._every: dict[str, int] = {}
        addresses = self._by_device()
        for plan in _plans(mapping, files):
            heard = partial(self._heard, plan.devices[0])
            child = Child(plan.name, plan.command, logs / f"{plan.name}.log", on_line=heard, environment=environment)
            self.children.append(child)
            self.ports |= dict.fromkeys(plan.ports, plan.name)
            self._addresses[plan.name] = [address for device in plan.devices for address in addresses.get(device, ())]
            self._every[plan.name] = _EVERY[plan.protocol]

    def _by_device(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for address, wire in self._wiring.wires.items():
            found.setdefault(wire.device, []).append(address)
        return found

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all simulators and tell them the state of the grid.

        Raises:
            ChildError: one does not come up.
        """
        for _ in range(_WARM_UP):
            self.feeder.step(STEP_S, _hour())
        for child in self.children:
            await child.start()
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(self._ready(child))

    async def _ready(self, child: Child) -> None:
        await child.wait_ready(START_S)
        self.tell_everything(child)

    async def restart(self, child: Child) -> None:
        """Start a simulator that has ended; it finds the grid as it is.

        Raises:
            ChildError: it does not come up.
        """
        await child.start()
        await self._ready(child)

    async def run(self) -> None:
        """Let the grid live; never returns."""
        step, then = 0, time.monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            now = time.monotonic()
            # After a pause of the whole machine the grid does not make it all up at once.
            self.feeder.step(min(now - then, _LONGEST_STEP_S), _hour())
            then, step = now, step + 1
            readings = self.feeder.readings()
            for child in self.children:
                if step % self._every[child.name] == 0 and child.ready.is_set():
                    child.tell(self._changes(child.name, readings))

    async def end(self) -> None:
        """End all simulators."""
        await asyncio.gather(*(child.end() for child in self.children))

    # -- telling and hearing -----------------------------------------------------------------------------------------

    def tell_everything(self, child: Child) -> None:
        """Tell a simulator that has just started every position and every value."""
        addresses = self._addresses[child.name]
        for address in addresses:
            self._last.pop(address, None)
        lines = []
        for address in addresses:
            position = self._position(address)
            if position is not None:
                lines.append(self._wiring.wires[address].line(position, self._moved_at[address]))
        child.tell(lines)
        child.tell(self._changes(child.name, self.feeder.readings()))

    def _position(self, address: str) -> int | None:
        if address == TAP:
            return self.feeder.tap
        if address in DISCONNECTORS:
            area, number = DISCONNECTORS[address]
            return CLOSED if self.feeder.customers[area][number].connected else OPEN
        return self.feeder.positions.get(address)

    def _changes(self, name: str, readings: Mapping[str, float]) -> list[str]:
        lines = []
        for address in self._addresses[name]:
            published = readings.get(address)
            if published is None:
                continue
            wire = self._wiring.wires[address]
            told = wire.value(published)
            if self._last.get(address) != told:
                self._last[address] = told
                lines.append(wire.line(published))
        return lines

    def _heard(self, device: str, line: dict[str, Any]) -> None:
        found = self._wiring.address_of(device, line)
        if found is None:
            return
        address, position = found
        if self._position(address) != position:
            self._moved_at[address] = time.time()
            self.feeder.move(address, position)
            self.on_move(address, position)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One simulator to start."""

    name: str
    protocol: str
    command: tuple[str, ...]
    devices: tuple[str, ...]
    ports: frozenset[int]


def _plans(mapping: PointMapping, files: list[SimulatorFile]) -> Iterator[_Plan]:
    """The simulators: one for each IED, which runs from its SCL file, and one for each file."""
    python: tuple[str, ...] = (sys.executable, "-m")
    command: tuple[str, ...]
    configs = {device.name: device.config for device in mapping.devices}
    for device in mapping.devices:
        if device.protocol == "iec61850":
            scl, ied, port = (str(getattr(device.config, name)) for name in ("scl", "ied", "port"))
            command = (*python, "twin_gateway.simulate.iec61850", scl, "--ied", ied, "--port", port, "--still")
            yield _Plan(device.name, device.protocol, command, (device.name,), frozenset({int(port)}))
    for file in files:
        ports = frozenset(_port_of(configs[device]) for device in file.devices)
        more = [text for port in ports for text in ("--port", str(port))] if file.protocol == "iec104" else []
        command = (*python, f"twin_gateway.simulate.{file.protocol}", str(file.path), *more)
        yield _Plan(file.path.stem, file.protocol, command, file.devices, ports)


def _port_of(config: Any) -> int:
    port = getattr(config, "port", None)
    if port is None:
        port = int(str(config.uri).rsplit(":", 1)[1].partition("/")[0])
    return int(port)


def _hour() -> float:
    now = datetime.now(UTC)
    return now.hour + now.minute / 60.0 + now.second / 3600.0
