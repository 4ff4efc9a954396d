"""`simulate feeder GRID.yaml --mappings DIR`: the physics and its simulators until SIGTERM, one ready line on stdout.

    {"ready": true, "control": 14999, "processes": {"ied-f01": 4711, ...}, "ports": {"12106": "rtus-1", ...}}

Further lines: {"commanded": "<address>", "value": 1} for a command that a 104 device has confirmed, {"moved":
"<address>", "value": 1} when something has moved, {"processes": {...}} when a simulator has
been started again, {"event": "...", ...} for trips, reclosing and fault passages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_gateway.children import ChildError
from twin_gateway.grid.model import BREAKS_FAULTS, Grid, GridError
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.check import check
from twin_gateway.mapping.model import Mapping as PointMapping
from twin_gateway.simulate.feeder.control import ControlPort
from twin_gateway.simulate.feeder.field import Field, switch_of_position
from twin_gateway.simulate.feeder.field_settings import FieldSettings
from twin_gateway.simulate.feeder.indicators import IndicatorSettings
from twin_gateway.simulate.feeder.injections import Injector
from twin_gateway.simulate.feeder.past import Past
from twin_gateway.simulate.feeder.processes import Processes
from twin_gateway.simulate.feeder.protection import ProtectionSettings
from twin_gateway.simulate.feeder.wiring import WiringError

STEP_S = 1.0
_LONGEST_STEP_S = 10.0
_SHORTEST_WAIT_S = 0.002


class _Running:
    """The field, its processes and its control port, in one loop."""

    def __init__(self, field: Field, processes: Processes) -> None:
        self.field, self.processes = field, processes
        self.control = ControlPort(Injector(field, processes), self._wake_now)
        self._wake = asyncio.Event()
        self._told: tuple[object, ...] = ()
        self._shown: dict[str, object] = {}
        processes.on_move = self._moved
        processes.on_command = self._commanded
        processes.on_process = self._say_processes

    def _wake_now(self) -> None:
        self._advance(time.time())
        self._wake.set()

    def _advance(self, now: float) -> None:
        """Let happen what is due and tell each by itself: a late turn must not swallow a state that stood shortly."""
        while (event := self.field.next_event) is not None and event <= now:
            self.field.advance(event)
            self._tell_events()
        self.field.advance(now)
        self._tell_events()

    def _moved(self, address: str, position: int) -> None:
        _say(moved=address, value=position)
        self._wake_now()

    @staticmethod
    def _commanded(address: str, value: float) -> None:
        _say(commanded=address, value=value)

    def _say_processes(self) -> None:
        _say(processes={name: child.pid for name, child in self.processes.children.items()})

    def _tell_events(self) -> None:
        protections = self.field.protections.values()
        state = (self.field.version, *((each.operated, each.reclosing, each.failed) for each in protections))
        if state == self._told:
            return
        self._told = state
        for address in self.field.take_changes():
            _say(switched=address, value=int(self.field.positions[address]))
        self._say_events()
        self.processes.tell_event()

    def _say_events(self) -> None:
        for name, protection in self.field.protections.items():
            for what, value in (
                ("trip", protection.operated),
                ("reclosing", int(protection.reclosing)),
                ("breaker-failure", protection.failed),
            ):
                key = f"{name} {what}"
                if self._shown.get(key, value) != value:
                    _say(event=what, address=name, value=value)
                self._shown[key] = value

    async def live(self) -> None:
        """Let the field live; never returns."""
        second, then = 0, time.time()
        self._say_events()
        while True:
            now = time.time()
            due = then + STEP_S
            event = self.field.next_event
            wait = min(due, event if event is not None else due) - now
            self._wake.clear()
            try:
                async with asyncio.timeout(max(wait, _SHORTEST_WAIT_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            now = time.time()
            self._advance(now)
            if now >= due:
                # After a pause of the whole machine the grid does not make it all up at once.
                self.field.live(min(now - then, _LONGEST_STEP_S))
                then, second = now, second + 1
                self.processes.tell(second)


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _run(running: _Running, control: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    tasks: set[asyncio.Task[Any]] = {stopped}
    try:
        await running.control.start(control)
        starting = asyncio.create_task(running.processes.start())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return
        starting.result()
        processes = running.processes
        _say(
            ready=True,
            control=running.control.port,
            processes={name: child.pid for name, child in processes.children.items()},
        )
        tasks |= {asyncio.create_task(processes.keep(name), name=name) for name in processes.children}
        tasks.add(asyncio.create_task(running.live(), name="field"))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        running.control.stop()
        await running.processes.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twin-gateway simulate feeder", description="A field that answers back: one grid behind real protocols."
    )
    add = parser.add_argument
    add("grid", type=Path, nargs="+", help="grid model, YAML files")
    add("--mappings", type=Path, action="append", required=True, help="mapping file or folder; repeatable")
    add("--control", type=int, default=0, help="port for injections; 0 takes a free one")
    add("--folder", type=Path, help="for the simulators' files and logs; a temporary one if not given")
    add("--still", action="store_true", help="loads stay at their nominal power, generators give nothing")
    add("--seed", type=int, default=1)
    add("--trip-time", type=float, default=0.3, help="s from pick-up to trip")
    add("--dead-times", default="0.5,10", help="s before each reclosing, with commas; empty for none")
    add("--reclaim", type=float, default=15.0, help="s after a reclosing until it counts as successful")
    add("--trip-hold", type=float, default=2.0, help="s that a trip stays up at least")
    add("--indicator-reset", type=float, default=30.0, help="s of voltage until indicators reset")
    add("--travel", type=float, default=1.2, help="s that a load-break switch needs; a breaker 0.2 s at most")
    return parser


def _settings(given: argparse.Namespace) -> FieldSettings:
    dead_times = tuple(float(text) for text in given.dead_times.split(",") if text.strip())
    protection = ProtectionSettings(
        trip_time=given.trip_time, dead_times=dead_times, reclaim=given.reclaim, trip_hold=given.trip_hold
    )
    indicators = IndicatorSettings(reset_time=given.indicator_reset)
    return FieldSettings(protection, indicators, still=given.still, seed=given.seed)


def _read(given: argparse.Namespace) -> tuple[Grid, PointMapping]:
    grid, problems = read_grid(given.grid)
    if grid is None:
        raise GridError("\n".join(str(problem) for problem in problems if problem.severity == "error"))
    mapping, found = check(given.mappings, environ=os.environ)
    if mapping is None:
        raise WiringError("\n".join(map(str, found)))
    return grid, mapping


def main(arguments: Sequence[str]) -> int:
    """Command line; the exit code."""
    given = _parser().parse_args(list(arguments))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    folder: Path = given.folder or Path(tempfile.mkdtemp(prefix="twin-gateway-field-"))
    try:
        settings = _settings(given)
        grid, mapping = _read(given)
        past = Past(grid, settings, time.time())
        breakers = {item.address for item in grid.of(*BREAKS_FAULTS)}
        switches = switch_of_position(grid)

        def travel(address: str) -> float:
            return min(0.2, given.travel) if switches.get(address) in breakers else float(given.travel)

        processes = Processes(past.field, mapping, folder, travel=travel, history=past.history)
        asyncio.run(_run(_Running(past.field, processes), given.control))
    except (GridError, WiringError, ChildError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0
