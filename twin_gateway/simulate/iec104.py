"""An IEC 60870-5-104 outstation on c104 from a YAML file, alone in its process: values that move, positions that obey.

    stations:
      - common_address: 7
        port: 2404                    # of its own; stations without one share the port of the command line
        points:
          - {ioa: 1000, type: M_DP_TB_1, value: 2}
          - {ioa: 1010, type: M_ME_TF_1, value: 1200, walk: 15, low: 0, high: 4000, every: 1}
          - {ioa: 1030, type: M_IT_NA_1, value: 0, count: 3, every: 5}     # a counter that counts
        commands:
          - {ioa: 5000, type: C_DC_NA_1, model: sbo, moves: 1000, travel: 0.4}
          - {ioa: 5001, type: C_SC_NA_1, model: direct, refuse: true}      # always a negative confirmation
          - {ioa: 6000, type: C_SE_NC_1, moves: 1010}                      # a set-point that becomes the value

`walk` is the largest step of a random walk from `low` to `high`, taken every `every` seconds and sent spontaneously;
`quality` is the quality octet. A command of a double point lets it travel: intermediate (0) at once, the new position
after `travel` seconds; step commands move it by one; everything else takes the commanded value. Commands with `model`
`direct` or `sbo`.

One line goes to stdout when the station listens, {"ready": true, "port": 2404}, and one for each command carried out:
{"command": 5000, "common_address": 7, "value": 1}; when what it moves has arrived, {"moved": 1000, "common_address": 7,
"value": 1}. Each line of stdin is an order: {"ioa": 1010, "value": 12.5}, with
"common_address" where there are several, "quality" (octet), "time" (Unix seconds; now unless said), "cause"
("spontaneous" unless "periodic", "background" or "return") and "extra" where the type has a second part.
{"common_address": 7, "ioa": 1000, "stuck": true} lets commands that move the point be confirmed and change nothing,
"refuse" lets them be refused. {"common_address": 7, "clock": -2.5} sets the station's clock wrong by so many seconds,
and {"common_address": 7, "silent": true} takes it off the network, with all stations of its port. The end of stdin ends
nothing; SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import heapq
import itertools
import json
import os
import queue
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

try:
    import c104
except ImportError as missing:
    raise ImportError("the 104 outstation needs c104: pip install 'twin-gateway[demo]'") from missing

_CAUSES = {
    "spontaneous": c104.Cot.SPONTANEOUS,
    "periodic": c104.Cot.PERIODIC,
    "background": c104.Cot.BACKGROUND_SCAN,
    "return": c104.Cot.RETURN_INFO_REMOTE,
}
_SET_TIMER_SLACK = 29
"""Of prctl."""
_DOUBLE = (c104.Double.INTERMEDIATE, c104.Double.OFF, c104.Double.ON, c104.Double.INDETERMINATE)
_EVENT = (c104.EventState.INTERMEDIATE, c104.EventState.OFF, c104.EventState.ON, c104.EventState.INDETERMINATE)
_START = ("General", "PhaseL1", "PhaseL2", "PhaseL3", "InEarthCurrent", "ReverseDirection")
_QUALITY = {0x01: "Overflow", 0x08: "ElapsedTimeInvalid", 0x10: "Blocked", 0x20: "Substituted", 0x40: "NonTopical"}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PointModel(_Model):
    """One point of the file."""

    ioa: int = Field(ge=1, le=0xFF_FFFF)
    type: str
    value: float = 0
    quality: int = Field(default=0, ge=0, le=255)
    extra: int = Field(default=0, ge=0, le=0xFFFF)
    walk: float | None = None
    count: int | None = None
    low: float = -1e9
    high: float = 1e9
    every: float = Field(default=1.0, gt=0.001)


class CommandModel(_Model):
    """One command of the file."""

    ioa: int = Field(ge=1, le=0xFF_FFFF)
    type: str
    model: Literal["direct", "sbo"] = "direct"
    moves: int | None = None
    travel: float = Field(default=0.3, ge=0)
    refuse: bool = False


class StationModel(_Model):
    """One common address of the file."""

    common_address: int = Field(default=1, ge=1, le=65_534)
    port: int | None = Field(default=None, ge=1, le=65_535)
    points: list[PointModel] = []
    commands: list[CommandModel] = []


class OutstationModel(_Model):
    """The file.

    Attributes:
        slack_ms: how much later than due the threads of the servers may wake, for many ports in one process: each of
            them looks for connections a hundred times a second.
    """

    stations: list[StationModel] = Field(min_length=1)
    tick_ms: int = Field(default=50, ge=50, le=1000)
    slack_ms: int = Field(default=0, ge=0, le=1000)
    k: int = Field(default=12, ge=1, le=32_767)
    w: int = Field(default=8, ge=1, le=32_767)
    t1: int = Field(default=15, ge=1, le=255)
    t2: int = Field(default=10, ge=1, le=255)
    t3: int = Field(default=20, ge=1, le=1000)


def _flags(names: dict[int, str], owner: Any, octet: int) -> Any:
    value = owner()
    for bit, name in names.items():
        if octet & bit:
            value |= getattr(owner, name)
    return value


def _set_of(owner: Any, names: list[str], bits: int) -> Any:
    value = owner()
    for position, name in enumerate(names):
        if bits >> position & 1:
            value |= getattr(owner, name)
    return value


def information(kind: str, value: float, extra: int, octet: int, at: datetime | None) -> Any:
    """The c104 information of a monitor type; raises ValueError for a type the outstation does not have."""
    quality = _flags(_QUALITY | {0x80: "Invalid"}, c104.Quality, octet)
    match kind.split("_")[1:3]:
        case ["SP", _]:
            return c104.SingleInfo(bool(value), quality, at)
        case ["DP", _]:
            return c104.DoubleInfo(_DOUBLE[int(value) & 3], quality, at)
        case ["ST", _]:
            return c104.StepInfo(c104.Int7(int(value)), bool(extra), quality, at)
        case ["BO", _]:
            # from an integer, Byte32 loses everything below 2**24
            return c104.BinaryInfo(c104.Byte32(int(value).to_bytes(4, "little")), quality, at)
        case ["ME", "NA" | "ND" | "TD"]:
            return c104.NormalizedInfo(c104.NormalizedFloat(value), quality, at)
        case ["ME", "NB" | "TE"]:
            return c104.ScaledInfo(c104.Int16(round(value)), quality, at)
        case ["ME", "NC" | "TF"]:
            return c104.ShortInfo(float(value), quality, at)
        case ["IT", _]:
            counter = _flags({0x20: "Carry", 0x40: "Adjusted", 0x80: "Invalid"}, c104.BinaryCounterQuality, octet)
            return c104.BinaryCounterInfo(int(value), c104.UInt5(extra & 31), counter, at)
        case ["PS", _]:
            bits = [f"I{position}" for position in range(16)]
            status, changed = (_set_of(c104.PackedSingle, bits, number) for number in (int(value), extra))
            return c104.StatusAndChanged(status, changed, quality, at)
        case ["EP", "TD"]:
            return c104.ProtectionEventInfo(_EVENT[int(value) & 3], c104.UInt16(extra), quality, at)
        case ["EP", "TE"]:
            events = _set_of(c104.StartEvents, list(_START), int(value))
            return c104.ProtectionStartInfo(events, c104.UInt16(extra), quality, at)
        case ["EP", "TF"]:
            circuits = _set_of(c104.OutputCircuits, list(_START[:4]), int(value))
            return c104.ProtectionCircuitInfo(circuits, c104.UInt16(extra), quality, at)
    raise ValueError(f"the outstation has no type {kind}")


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class StationState:
    """What all points of a station share: the error of its clock in seconds, and the server of its port."""

    def __init__(self, server: Any) -> None:
        self.clock = 0.0
        self.server = server
        self.silent = False


class SimulatedPoint:
    """One monitored object: its state and how it moves. Only the main thread touches it."""

    def __init__(self, station: Any, model: PointModel, state: StationState) -> None:
        self.model = model
        self._station = state
        self.value, self.quality, self.extra = model.value, model.quality, model.extra
        self._tagged = model.type.split("_")[2] in {"TB", "TD", "TE", "TF"}
        self._point = station.add_point(model.ioa, getattr(c104.Type, model.type))
        self.steered = False
        self._set(None)

    def _set(self, at: float | None) -> None:
        true = time.time() if at is None else at
        moment = datetime.fromtimestamp(true + self._station.clock, UTC).replace(tzinfo=None)
        tag = moment if self._tagged else None
        self._point.info = information(self.model.type, self.value, self.extra, self.quality, tag)

    def send(self, value: float, cause: str = "spontaneous", at: float | None = None) -> None:
        """Take a value and transmit it."""
        self.value = value
        self._set(at)
        if not self._station.silent:
            self._point.transmit(_CAUSES[cause])

    def move(self) -> None:
        """One step of the walk or of the counter."""
        model = self.model
        if self.steered:
            return
        if model.count is not None:
            self.extra = (self.extra + 1) & 31
            self.send(self.value + model.count)
        elif model.walk is not None:
            self.send(min(model.high, max(model.low, self.value + random.uniform(-model.walk, model.walk))))


class Outstation:
    """The station: the server of c104 and one loop in the main thread that does everything that moves."""

    def __init__(self, model: OutstationModel, host: str, port: int) -> None:
        self._host, self._slack_ms = host, model.slack_ms
        self._servers: dict[int | None, Any] = {}
        self._numbers: dict[int | None, int] = {}
        self._stations: dict[int, StationState] = {}
        self._jammed: set[tuple[int, int]] = set()
        self._refused: set[tuple[int, int]] = set()
        self._points: dict[tuple[int, int], SimulatedPoint] = {}
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._timed: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._handlers: list[Any] = []
        for station_model in model.stations:
            common_address = station_model.common_address
            if common_address in self._stations:
                raise ValueError(f"common address {common_address} occurs twice")
            server = self._server(model, station_model.port, port)
            state = self._stations[common_address] = StationState(server)
            station = server.add_station(common_address)
            for point_model in station_model.points:
                key = (common_address, point_model.ioa)
                self._points[key] = SimulatedPoint(station, point_model, state)
                if point_model.walk is not None or point_model.count is not None:
                    self._repeat(self._points[key])
            for command_model in station_model.commands:
                self._command(station, common_address, command_model)

    def _server(self, model: OutstationModel, own: int | None, shared: int) -> Any:
        """The server of a station's port, or of the port of those that have none of their own."""
        known = self._servers.get(own)
        if known is not None:
            return known
        number = own or shared or _free_port(self._host)
        server = c104.Server(ip=self._host, port=number, tick_rate_ms=model.tick_ms, max_connections=8)
        parameters = server.protocol_parameters
        parameters.send_window_size, parameters.receive_window_size = model.k, model.w
        parameters.message_timeout, parameters.confirm_interval = model.t1 * 1000, model.t2 * 1000
        parameters.keep_alive_interval = model.t3 * 1000
        self._servers[own], self._numbers[own] = server, number
        return server

    @property
    def port(self) -> int:
        """Port of the first station."""
        return next(iter(self._numbers.values()))

    def _at(self, when: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._timed, (when, next(self._order), job))

    def _repeat(self, point: SimulatedPoint) -> None:
        def step() -> None:
            point.move()
            self._at(time.monotonic() + point.model.every, step)

        self._at(time.monotonic() + point.model.every, step)

    def _command(self, station: Any, common_address: int, model: CommandModel) -> None:
        mode = c104.CommandMode.SELECT_AND_EXECUTE if model.model == "sbo" else c104.CommandMode.DIRECT
        point = station.add_point(model.ioa, getattr(c104.Type, model.type), command_mode=mode)

        # c104 reads the annotations of a handler as text, and drops a handler that raises.
        def handle(point, previous_info, message):  # type: ignore[no-untyped-def]  # annotations are set below
            if model.refuse or (common_address, model.moves) in self._refused:
                return c104.ResponseState.FAILURE
            try:
                number = _number(message.info.value)
            except (TypeError, ValueError):
                return c104.ResponseState.FAILURE
            self._jobs.put(lambda: self._obey(common_address, model, number))
            return c104.ResponseState.SUCCESS

        handle.__annotations__ = {
            "point": c104.Point,
            "previous_info": c104.Information,
            "message": c104.IncomingMessage,
            "return": c104.ResponseState,
        }
        point.on_receive(callable=handle)
        self._handlers.append(handle)

    def _obey(self, common_address: int, model: CommandModel, value: float) -> None:
        """Carry a confirmed command out on the position it moves."""
        _say(command=model.ioa, common_address=common_address, value=value)
        if model.moves is None or (common_address, model.moves) in self._jammed:
            return
        point = self._points[common_address, model.moves]
        target = value
        if point.model.type.startswith("M_DP"):
            target = value if model.type.startswith("C_DC") else value + 1
            point.send(0, "return")
            self._at(time.monotonic() + model.travel, lambda: self._arrive(common_address, point, target))
            return
        if point.model.type.startswith("M_ST"):
            target = max(-64, min(63, point.value + (1 if value == 2 else -1)))
        point.steered = True
        self._arrive(common_address, point, target)

    @staticmethod
    def _arrive(common_address: int, point: SimulatedPoint, value: float) -> None:
        point.send(value, "return")
        _say(moved=point.model.ioa, common_address=common_address, value=value)

    def steer(self, line: str) -> None:
        """Carry out one order of stdin; what is wrong with it is said on stderr."""
        try:
            order = json.loads(line)
            station = order.get("common_address")
            if self._trouble(order, station):
                return
            keys = [key for key in self._points if key[1] == order["ioa"] and station in {None, key[0]}]
            if not keys:
                raise ValueError(f"there is no point {order['ioa']}")
            for key in keys:
                point = self._points[key]
                point.steered = True
                point.quality = int(order.get("quality", point.quality))
                point.extra = int(order.get("extra", point.extra))
                value = float(order.get("value", point.value))
                point.send(value, order.get("cause", "spontaneous"), order.get("time"))
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            print(f"order not understood: {problem}", file=sys.stderr)

    def _trouble(self, order: dict[str, Any], station: int | None) -> bool:
        """Whether an order is about what goes wrong with a station, and not about a value; then it is carried out."""
        for name, troubled in (("stuck", self._jammed), ("refuse", self._refused)):
            if name in order:
                keys = {key for key in self._points if key[1] == order["ioa"] and station in {None, key[0]}}
                (troubled.update if order[name] else troubled.difference_update)(keys)
        chosen = [self._stations[station]] if station is not None else list(self._stations.values())
        if "clock" in order:
            for state in chosen:
                state.clock = float(order["clock"])
        if "silent" in order:
            servers = {id(state.server): state.server for state in chosen}
            for server in servers.values():
                self._silence(server, bool(order["silent"]))
        return bool(order.keys() & {"stuck", "refuse", "clock", "silent"})

    def _silence(self, server: Any, silent: bool) -> None:
        for state in self._stations.values():
            if state.server is server and state.silent != silent:
                state.silent = silent
        if silent:
            server.stop()
        elif not server.is_running:
            self._start(server)

    def _start(self, server: Any) -> None:
        """Start a server; its threads inherit the timer slack of the one that starts it."""
        with _timer_slack(self._slack_ms * 1_000_000):
            server.start()

    def _read_orders(self) -> None:
        for line in sys.stdin:
            if line.strip():
                self._jobs.put(lambda line=line: self.steer(line))  # type: ignore[misc]  # bound per line

    def stop(self) -> None:
        """End `run`; safe in a signal handler."""
        self._jobs.put(None)

    def run(self) -> None:
        """Serve until stopped."""
        for server in self._servers.values():
            self._start(server)
        threading.Thread(target=self._read_orders, daemon=True).start()
        _say(ready=True, port=self.port, ports=list(self._numbers.values()))
        while True:
            now = time.monotonic()
            while self._timed and self._timed[0][0] <= now:
                heapq.heappop(self._timed)[2]()
            wait = self._timed[0][0] - now if self._timed else None
            try:
                job = self._jobs.get(timeout=None if wait is None else max(0.0, wait))
            except queue.Empty:
                continue
            if job is None:
                return
            job()


@contextlib.contextmanager
def _timer_slack(nanoseconds: int) -> Iterator[None]:
    """Timer slack of this thread and of those that it starts meanwhile; nothing for 0, and nothing but on Linux."""
    if not nanoseconds or not sys.platform.startswith("linux"):
        yield
        return
    control = ctypes.CDLL(None).prctl
    control(_SET_TIMER_SLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0)
    try:
        yield
    finally:
        control(_SET_TIMER_SLACK, ctypes.c_ulong(0), 0, 0, 0)  # what the process had at its start


def _number(value: Any) -> float:
    """The commanded value as a number, whatever type c104 wraps it in."""
    if isinstance(value, c104.Double):
        return float(_DOUBLE.index(value))
    if isinstance(value, c104.Step):
        return {c104.Step.LOWER: 1.0, c104.Step.HIGHER: 2.0}.get(value, 0.0)
    if isinstance(value, c104.Byte32):
        return float(int.from_bytes(bytes(value), "little"))
    return float(value)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def main(file: Path, host: str = "127.0.0.1", port: int = 2404) -> None:
    """Run the outstation of a file until SIGTERM or SIGINT; port 0 takes a free one. ValueError: bad file."""
    os.environ["TZ"] = "UTC"  # c104 takes naive local times; in UTC they are what the wire says
    time.tzset()
    model = OutstationModel.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    outstation = Outstation(model, host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: outstation.stop())
    outstation.run()
    sys.stdout.flush()
    os._exit(0)  # c104's threads do not survive the interpreter's own farewell


def command(arguments: list[str]) -> None:
    """Command line: FILE [--host HOST] [--port PORT]."""
    parser = argparse.ArgumentParser(description="IEC 60870-5-104 outstation from a YAML file")
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2404, help="0: any free port")
    given = parser.parse_args(arguments)
    main(given.file, given.host, given.port)


if __name__ == "__main__":
    command(sys.argv[1:])
