"""Simulated IED of an SCL file: MMS server with reports and controls, moving values, switches that follow commands.

    python -m twin_gateway.simulate.iec61850 F07Q1.cid [--ied NAME] [--host 127.0.0.1] [--port 0] [--still]

When it listens, one line goes to stdout: {"ready": true, "ports": {"F07Q1": 10102}}. Each line of stdin is an order:

    {"ref": "LD0/MMXU1.TotW", "value": 2400.5}           value in the device's own unit; q good and t now unless said
    {"ref": "LD0/MMXU1.TotW", "si": 2400500.0}            the same in the base unit; multiplier and pulses are applied
    {"ref": "LD0/XCBR1.Pos", "value": 2, "quality": "questionable", "time": 1767225600.25}
    {"ref": "LD0/LPHD1.PhyHealth", "restore": true}       the value that stands in the file, good
    {"ref": "LD0/CSWI1.Pos", "interlocked": true}         commands are refused with AddCause 10
    {"ref": "LD0/CSWI1.Pos", "travel": 0.5}               seconds from intermediate to the final position
    {"ref": "LD0/CSWI1.Pos", "stuck": true}               the switch leaves its position and never arrives
    {"ref": "LD0/CSWI1.Pos", "jammed": true}              commands are confirmed, and the switch does not move
    {"clock": -2.5, "synchronised": false}                the clock is wrong by so many seconds, and says so or not

`quality` is a validity or the 13 bits as a number whose most significant bit is the first. A value that has been
ordered is not moved any more by the simulation itself. A switch that was operated is told on stdout:
{"operated": "LD0/XCBR1.Pos", "value": 2}; so is a single-point control. The control node CSWI<n> drives the n-th switch
(breakers first), asks CILO<n> and shows the position that is ordered for the switch. The end of stdin ends nothing;
SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from open61850.data import BitStringData, BoolData, FloatData, IntData, TimestampData, UIntData
from open61850.server import IedModel, MmsServer
from open61850.server.control import IN_EXECUTION, Command

from address_space.addcause import AddCause
from twin_gateway.drivers.iec61850.errors import ModelError
from twin_gateway.drivers.iec61850.points import Reference, Source, resolve
from twin_gateway.drivers.iec61850.scl import read_scl

_VALIDITY = {"good": 0, "invalid": 1, "questionable": 3}
_TIME_QUALITY = 0x0A  # synchronised, accurate to a millisecond
_NOT_SYNCHRONISED = 0x20
_OFF, _ON = 1, 2
_STEP_S = 1.0
_BREAKER_TRAVEL_S, _SWITCH_TRAVEL_S = 0.12, 0.6
_NOMINAL = {"V": 11_547.0, "A": 120.0, "Hz": 50.0, "PF": 0.97}


class SimulationError(ValueError):
    """An order or a file that makes no sense; the message says why."""


class Switch:
    """One switch and the control node that drives it; all calls under the lock of the IED."""

    def __init__(self, ied: SimulatedIed, control: str, shown: str, interlock: str | None, travel: float) -> None:
        self.control, self.shown = control, shown
        self.travel = travel
        self.interlocked = False
        self.stuck = False
        self.jammed = False
        self._ied = ied
        self._interlock = interlock

    def check(self, command: Command) -> int | None:
        """AddCause of a command that may not run, None when it may."""
        target = _ON if getattr(command.ctl_val, "value", False) else _OFF
        if self.interlocked and command.interlock_check:
            return AddCause.BLOCKED_BY_INTERLOCKING
        if self._interlock is not None and command.interlock_check:
            released = self._ied.value(f"{self._interlock}.{'EnaCls' if target == _ON else 'EnaOpn'}")
            if not released:
                return AddCause.BLOCKED_BY_INTERLOCKING
        if self._ied.value(self.shown) == target:
            return AddCause.POSITION_REACHED
        return None

    def operate(self, command: Command) -> int | None:
        """Leave the position now, arrive later; the command ends then."""
        if self.jammed:
            return None
        target = _ON if getattr(command.ctl_val, "value", False) else _OFF
        self._ied.put(self.shown, 0)
        self._ied.put(self.control, 0)
        if not self.stuck:
            timer = threading.Timer(self.travel, self._arrive, (target,))
            timer.daemon = True
            timer.start()
        return int(IN_EXECUTION)

    def _arrive(self, target: int) -> None:
        self._ied.arrived(self, target)


class SimulatedIed:
    """An IED that serves its SCL model.

    Attributes:
        name: of the IED.
        port: where it listens, once started.
    """

    def __init__(self, path: Path, ied: str | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Read the file.

        Raises:
            SimulationError: it is no SCL or has no such IED.
        """
        try:
            self._model = read_scl(path, ied)
        except ModelError as error:
            raise SimulationError(str(error)) from error
        self._data = IedModel.from_scl(path, self._model.ied)
        self.name = self._model.ied
        self._server = MmsServer(self._data, host=host, port=port, vendor="twin-gateway", model_name="simulated IED")
        self._sources: dict[str, Source] = {}
        self._ordered: set[str] = set()
        self._initial: dict[str, float | int | bool | str] = {}
        self._switches: dict[str, Switch] = {}
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._clock, self._time_quality = 0.0, _TIME_QUALITY
        self.on_operated: Callable[[str, int], None] = lambda _reference, _value: None

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._server.port)

    @property
    def data(self) -> IedModel:
        """All data by their MMS names, as they are now."""
        return self._data

    def start(self, *, moving: bool = True) -> None:
        """Listen and begin to move (OSError when the port is taken)."""
        self._server.start()
        self._couple_switches()
        if moving:
            threading.Thread(target=self._move, name="movement", daemon=True).start()

    def stop(self) -> None:
        """Close all associations and stop listening."""
        self._stopped.set()
        self._server.stop()

    # -- values --------------------------------------------------------------------------------------------------

    def source(self, reference: str) -> Source:
        """What a reference means (SimulationError when there is no such thing)."""
        found = self._sources.get(reference)
        if found is None:
            try:
                found = self._sources[reference] = resolve(self._model, Reference.parse(reference))
            except ModelError as error:
                raise SimulationError(str(error)) from error
        return found

    def value(self, reference: str) -> float | int | bool | str:
        """Present value; double points 0 intermediate, 1 off, 2 on, 3 bad."""
        data = self._data.get(self.source(reference).value)
        if isinstance(data, BitStringData):
            return data.value[0] >> data.unused_bits if data.value else 0
        found: float | int | bool | str = getattr(data, "value", 0)
        return found

    def put(self, reference: str, value: Any, quality: int = 0, at: float | None = None) -> None:
        """Set value, quality (13 bits, the first one most significant) and time of a data object as one change."""
        source = self.source(reference)
        true = time.time() if at is None else at
        stamp = datetime.fromtimestamp(true + self._clock, UTC)
        with self._lock, self._data.batch():
            self._data.set(source.value, value)
            if source.quality is not None:
                self._data.set(source.quality, BitStringData((quality << 3 & 0xFFFF).to_bytes(2, "big"), 3))
            if source.time is not None:
                self._data.set(source.time, TimestampData(stamp, self._time_quality))

    def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order of stdin.

        Raises:
            SimulationError, KeyError, TypeError, ValueError: the order makes no sense.
        """
        if "clock" in order:
            self._clock = float(order["clock"])
            unsynchronised = not order.get("synchronised", True)
            self._time_quality = _NOT_SYNCHRONISED if unsynchronised else _TIME_QUALITY
            return
        reference = str(order["ref"])
        switch = self._switches.get(reference)
        for name in ("interlocked", "stuck", "jammed", "travel"):
            if name in order:
                if switch is None:
                    raise SimulationError(f"{reference} is not the position of a control node")
                setattr(switch, name, float(order[name]) if name == "travel" else bool(order[name]))
        self._initial.setdefault(reference, self.value(reference))
        if order.get("restore"):
            order = {**order, "value": self._initial[reference], "quality": 0}
        if "si" in order:
            order = {**order, "value": self._in_own_unit(reference, order["si"])}
        if "value" not in order and "quality" not in order:
            return
        self._ordered.add(reference)
        quality = order.get("quality", 0)
        bits = _VALIDITY[quality] << 11 if isinstance(quality, str) else int(quality) & 0x1FFF
        value = order.get("value", self.value(reference))
        self.put(reference, value, bits, order.get("time"))
        for coupled in self._switches.values():
            if coupled.shown == reference:
                self.put(coupled.control, value, bits, order.get("time"))

    # -- switches ------------------------------------------------------------------------------------------------

    def _couple_switches(self) -> None:
        controls = self._server.controls
        if controls is None:
            return
        for domain, nodes in self._model.nodes.items():
            device = domain.removeprefix(self.name) or domain
            of = {kind: sorted(n for n in nodes if n[-5:-1] == kind) for kind in ("CSWI", "XCBR", "XSWI", "CILO")}
            for number, (control, shown) in enumerate(zip(of["CSWI"], of["XCBR"] + of["XSWI"], strict=False)):
                interlock = f"{device}/{of['CILO'][number]}" if number < len(of["CILO"]) else None
                travel = _BREAKER_TRAVEL_S if "XCBR" in shown else _SWITCH_TRAVEL_S
                switch = Switch(self, f"{device}/{control}.Pos", f"{device}/{shown}.Pos", interlock, travel)
                self._switches[switch.control] = switch
                controls.set_check(f"{domain}/{control}.Pos", switch.check)
                controls.set_handler(f"{domain}/{control}.Pos", switch.operate)

        for domain, nodes in self._model.nodes.items():
            device = domain.removeprefix(self.name) or domain
            for node in nodes:
                for name in self._single_controls(domain, node):
                    controls.set_handler(
                        f"{domain}/{node}.{name}", partial(self._set_single, f"{device}/{node}.{name}")
                    )

    def _single_controls(self, domain: str, node: str) -> list[str]:
        """Names of the controllable single points of a logical node."""
        prefix = f"{node}$CO$"
        names = {name.removeprefix(prefix) for name in self._data.names(domain) if name.startswith(prefix)}
        names = {name for name in names if "$" not in name}
        return sorted(name for name in names if name != "Pos")

    def _set_single(self, reference: str, command: Command) -> int | None:
        value = bool(getattr(command.ctl_val, "value", False))
        self.put(reference, value)
        self.on_operated(reference, int(value))
        return None

    def arrived(self, switch: Switch, target: int) -> None:
        """A switch has reached its position: show it, count it, end the command."""
        with self._lock:
            self.put(switch.shown, target)
            self.put(switch.control, target)
            counter = switch.shown.replace(".Pos", ".OpCnt")
            with contextlib.suppress(SimulationError):  # the model has no counter
                self.put(counter, int(self.value(counter)) + 1)
        # not under the lock: the server holds its own while it calls us, and takes it to end a command
        device, _, item = switch.control.partition("/")
        controls = self._server.controls
        if controls is not None:
            controls.finish(f"{self._model.domain(device)}/{item}")
        self.on_operated(switch.shown, target)

    # -- movement ------------------------------------------------------------------------------------------------

    def _move(self) -> None:
        while not self._stopped.wait(_STEP_S):
            for domain, nodes in self._model.nodes.items():
                for name in nodes:
                    if name[:4] == "MMXU":
                        self._load(domain.removeprefix(self.name) or domain, name)

    def _load(self, device: str, node: str) -> None:
        """One step of a load that swings around its nominal value; nothing flows through an open breaker."""
        here = f"{device}/{node}"
        swing = 1.0 + 0.3 * math.sin(time.time() / 97.0) + random.uniform(-0.02, 0.02)
        closed = all(self.value(s.shown) == _ON for s in self._switches.values() if "XCBR" in s.shown)
        current = _NOMINAL["A"] * swing if closed else 0.0
        volts, factor = _NOMINAL["V"] * random.uniform(0.995, 1.005), _NOMINAL["PF"]
        power = 3.0 * volts * current
        values = {f"{here}.PhV.phs{phase}": volts * random.uniform(0.999, 1.001) for phase in "ABC"}
        values |= {f"{here}.A.phs{phase}": current * random.uniform(0.99, 1.01) for phase in "ABC"}
        values |= {
            f"{here}.TotW": power * factor,
            f"{here}.TotVAr": power * math.sqrt(1.0 - factor * factor),
            f"{here}.TotPF": factor if current else 1.0,
            f"{here}.Hz": _NOMINAL["Hz"] + random.uniform(-0.02, 0.02),
        }
        with self._data.batch():
            for reference, value in values.items():
                if reference not in self._ordered and self._has(reference):
                    self.put(reference, value / self._multiplier(reference))
            energy = f"{device}/MMTR1.SupWh"
            if energy not in self._ordered and self._has(energy):
                pulses = power * factor * _STEP_S / 3600.0 / self._constant(energy, "pulsQty", 1.0)
                self.put(energy, int(self.value(energy)) + int(pulses + random.random()))

    def _has(self, reference: str) -> bool:
        try:
            self.source(reference)
        except SimulationError:
            return False
        return True

    def _multiplier(self, reference: str) -> float:
        return float(10.0 ** int(self._constant(reference, "multiplier", 0)))

    def _in_own_unit(self, reference: str, told: Any) -> Any:
        """A value in base units as the data object holds it."""
        data = self._data.get(self.source(reference).value)
        if isinstance(data, BoolData):
            return bool(told)
        if isinstance(data, FloatData):
            return float(told) / self._multiplier(reference)
        if isinstance(data, IntData | UIntData):
            return round(float(told) / self._multiplier(reference) / self._constant(reference, "pulsQty", 1.0))
        return int(told) if isinstance(data, BitStringData) else told

    def _constant(self, reference: str, role: str, otherwise: float) -> float:
        for name, variable in self.source(reference).constants:
            if name == role:
                data = self._data.get(variable)
                if isinstance(data, FloatData | IntData | UIntData | BoolData):
                    return float(data.value) or otherwise
        return otherwise


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line, separators=(",", ":")), flush=True)


def serve(ied: SimulatedIed, *, moving: bool) -> None:
    """Serve until SIGTERM; orders come from stdin."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    ied.on_operated = lambda reference, value: _say({"operated": reference, "value": value})
    ied.start(moving=moving)
    _say({"ready": True, "ports": {ied.name: ied.port}})

    def listen() -> None:
        for line in sys.stdin:
            try:
                order = json.loads(line)
                if not isinstance(order, dict):
                    raise SimulationError("an order is a JSON object")
                ied.obey(order)
            except (ValueError, KeyError, TypeError) as error:
                _say({"error": f"{type(error).__name__}: {error}", "line": line.strip()[:200]})

    # A thread, because stdin may be a file or a terminal; it ends with the process.
    threading.Thread(target=listen, name="orders", daemon=True).start()
    while not stopped.wait(3600):
        continue
    ied.stop()


def main(arguments: list[str] | None = None) -> int:
    """Command line of one simulated IED."""
    parser = argparse.ArgumentParser(
        prog="python -m twin_gateway.simulate.iec61850", description=__doc__.split("\n")[0]
    )
    parser.add_argument("file", type=Path, help="SCL file (CID, ICD, SCD)")
    parser.add_argument("--ied", help="name of the IED where the file has several")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--still", action="store_true", help="values change only by orders and commands")
    given = parser.parse_args(arguments)
    try:
        ied = SimulatedIed(given.file, given.ied, host=given.host, port=given.port)
        serve(ied, moving=not given.still)
    except (SimulationError, OSError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
