"""Benchmark: the OPC UA server beside others: one raw client for all of them, servers in their own processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twin_gateway.bench.opcua_ours import BAY, METHOD, PLACE, PROFILES, addresses
from twin_gateway.bench.opcua_round_trips import Places, Subject, measure
from twin_gateway.bench.opcua_secured import Secured, client_identity
from twin_gateway.bench.opcua_subscriber import Received, Subscriber


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        points: that change all the time.
        items: monitored items that are made.
        many_points: of the table that is only built.
        seconds: of each flow.
        settling: seconds that it flows before.
        rate: samples a second of the paced flow.
        asking: seconds of each kind of request.
        clients: at once, for single reads and for the memory of a session.
    """

    points: int = 10_000
    items: int = 50_000
    many_points: int = 1_000_000
    seconds: float = 3.0
    rate: int = 500_000
    asking: float = 1.5
    clients: int = 50
    settling: float = 0.7


QUICK = Size(500, 1_000, 20_000, 0.3, 10_000, 0.1, 5, 0.1)
_RATES = ("read_1", "read_1000", "browse", "method", "write", "read_1_many")
PUBLISHING = 50.0
PACED_PUBLISHING = 20.0
_SPARE = 0.3
"""Seconds that is written longer than is counted."""
_WAIT = 150.0
"""For a server or an answer of it, on a machine however crowded."""


def run(quick: bool = False) -> dict[str, Any]:
    """Run the benchmark, some two minutes on 2 cores.

    The job is the one of the field: 10 000 points of mixed types change all the time, one client has subscribed to all
    of them, half of its items with a deadband, access is checked, a history keeps all points and alarm rules judge one
    in twenty. Stock asyncua gets Doubles without filters, written one by one with fresh DataValues, which is the least
    it can be asked; so does node-opcua's server, where `TWIN_NODE_OPCUA` names a folder in which npm has installed
    `node-opcua-server`. One client, our own raw one, asks them all in the same way. They stand ready at the same
    time and have their turns one by one: for a whole flow, and for a round of requests.

    Returns:
        `updates_per_s` (notifications received a second), `updates_bare_per_s` without history and rules,
        `updates_secured_per_s` by SignAndEncrypt, with `secured_share` of the plain ones; `p99_ms_at_500k` and
        `p50_ms_at_500k` (source timestamp to client, 20 ms publishing), `received_at_500k` (a second);
        `create_50k_items_s`, `create_items_per_s`; requests a second of one client `read_1_per_s`, `read_1000_per_s`,
        `browse_per_s`, `method_per_s`, `write_per_s`, and of 50 at once `read_1_many_per_s`; `session_bytes`;
        `bytes_per_variable`, `build_1m_s`, `rss_1m_mb` (with the server running). The same of the others begin with
        `stock_` and `node_`; `ratio` and `ratios` are ours by stock's.
    """
    size = QUICK if quick else Size()
    with contextlib.ExitStack() as running:
        starting = [_ours(running, size), _stock(running, size), *_node(running, size)]
        servers = [each.started() for each in starting]
        ours, *others = [_ours_flows(servers[0], size), *(_other_flows(each, size) for each in servers[1:])]
        subjects = [Subject(each.port, each.places) for each in servers]
        trips = measure(subjects, seconds=size.asking, clients=size.clients, timeout=_WAIT)
        for server, figures_of, more in zip(servers, (ours, *others), trips, strict=True):
            figures_of |= more
            figures_of["session"] = _sessions(server, size.clients)
    stock, node = others[0], others[1] if len(others) > 1 else {}
    table = _table(size)
    rates = ("updates", *_RATES, "create_items", "updates_secured")
    figures: dict[str, Any] = {
        "ratio": round(ours["updates"] / stock["updates"], 1),
        "ratios": {name: round(ours[name] / stock[name], 1) for name in rates},
        "updates_bare_per_s": round(ours["updates_bare"]),
        "secured_share": round(ours["updates_secured"] / ours["updates"], 2),
    }
    for prefix, measured in (("", ours), ("stock_", stock), ("node_", node)):
        figures |= {f"{prefix}{name}_per_s": _rounded(measured[name]) for name in rates if name in measured}
        figures |= {f"{prefix}session_bytes": round(measured["session"]) for _ in range("session" in measured)}
    return figures | {
        "p99_ms_at_500k": round(ours["p99"], 1),
        "p50_ms_at_500k": round(ours["p50"], 1),
        "received_at_500k": round(ours["paced"]),
        "create_50k_items_s": round(ours["create"], 3),
        "bytes_per_variable": round(table["bytes_per_variable"], 1),
        "build_1m_s": round(table["build_s"], 2),
        "rss_1m_mb": round(table["rss_mb"]),
        "publishing_ms": PUBLISHING,
        "clients": size.clients,
        "server_cpu": ours["cpus"],
        "dropped": ours["drops"],
        "history": ours["history"],
    }


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 1)


class _Process:
    """A server process that reads jobs from its standard input and answers in JSON lines."""

    def __init__(
        self,
        module: str = "",
        *arguments: str,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*command] or [sys.executable, "-m", module, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, line: str) -> None:
        """Send a job."""
        if self._process.stdin is None:
            raise RuntimeError("the server process has no standard input")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next line; the process is ended when none comes in time."""
        if self._process.stdout is None:
            raise RuntimeError("the server process has no standard output")
        watch = threading.Timer(_WAIT, self._process.kill)
        watch.start()
        try:
            # Others write their warnings on the standard output as well.
            while (line := self._process.stdout.readline()) and not line.startswith("{"):
                pass
        finally:
            watch.cancel()
        if not line:
            raise RuntimeError("the server process ended or did not answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(slots=True)
class _Server:
    """A server in its process; `started` fills in what it tells when it listens.

    Attributes:
        process: the process.
        port: on 127.0.0.1.
        directory: of its certificate, and the client's.
        places: nodes to ask for; their namespace is told by the server.
        idle: the job by which it only tells its memory.
        secured: whether it offers SignAndEncrypt.
        certificate: file of its certificate.
    """

    process: _Process
    port: int
    directory: Path
    places: Places
    idle: str = "0"
    secured: bool = True
    certificate: str = ""

    def started(self) -> _Server:
        """The same, once it listens."""
        began = self.process.answer()
        self.port = int(began.get("port", self.port))
        self.places = replace(self.places, namespace=int(began["namespace"]))
        self.certificate = began.get("certificate", "")
        return self

    def subscriber(self, *, secured: bool = False) -> Subscriber:
        """A client of it."""
        if not secured:
            return Subscriber(self.port, _WAIT)
        server = Path(self.certificate).read_bytes()
        return Subscriber(self.port, _WAIT, Secured(client_identity(self.directory), server))


def _sessions(server: _Server, count: int) -> float:
    """Octets of memory a session of the server."""
    server.process.tell(server.idle)
    before = server.process.answer()["rss"]
    clients = [server.subscriber() for _ in range(count)]
    server.process.tell(server.idle)
    after = server.process.answer()["rss"]
    for each in clients:
        each.close()
    return float(after - before) / count


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ours(running: contextlib.ExitStack, size: Size) -> _Server:
    directory = running.enter_context(tempfile.TemporaryDirectory())
    process = running.enter_context(_Process("twin_gateway.bench.opcua_ours", "serve", str(size.items), directory))
    places = Places(0, list(addresses(size.items)), f"{PLACE}/QA1", PLACE, f"{PLACE}#{METHOD}")
    return _Server(process, 0, Path(directory), places, "{}")


def _doubles(size: Size) -> Places:
    """Of a server that has Doubles `V…` in folders `F…`."""
    return Places(0, [f"V{number}" for number in range(size.points)], "F0", "F0", "Double")


def _stock(running: contextlib.ExitStack, size: Size) -> _Server:
    directory, port = running.enter_context(tempfile.TemporaryDirectory()), _free_port()
    arguments = (str(port), str(size.points), directory)
    process = running.enter_context(_Process("twin_gateway.bench.opcua_stock", *arguments))
    return _Server(process, port, Path(directory), _doubles(size))


def _node(running: contextlib.ExitStack, size: Size) -> list[_Server]:
    """node-opcua's server; nothing where it is not installed."""
    folder, node = os.environ.get("TWIN_NODE_OPCUA"), shutil.which("node")
    if not folder or node is None:
        return []
    directory, port = running.enter_context(tempfile.TemporaryDirectory()), _free_port()
    script = str(Path(__file__).parent / "opcua_node.js")
    paths = {"NODE_PATH": str(Path(folder) / "node_modules")}
    command = [node, "--expose-gc", script, str(port), str(size.points)]
    process = running.enter_context(_Process(command=command, environment=paths))
    return [_Server(process, port, Path(directory), _doubles(size), secured=False)]


def _other_flows(server: _Server, size: Size) -> dict[str, Any]:
    """What a server does whose variables are written one by one."""
    nodes, namespace = server.places.values, server.places.namespace
    figures: dict[str, Any] = {}
    for name in ("updates", "updates_secured")[: 1 + server.secured]:
        client = server.subscriber(secured=name == "updates_secured")
        client.subscribe(PUBLISHING)
        made = _expect_all(client.monitor(nodes, namespace, queue=10, deadbands=[0.0] * size.points))
        figures.setdefault("create_items", size.points / made)
        client.flow(5.0, ages=False, until=size.points)
        server.process.tell(str(size.seconds + size.settling + _SPARE))
        received, seconds = _flow(client, size, ages=False)
        figures[name] = received.items / seconds
        client.close()
        server.process.answer()
    return figures


def _ours_flows(server: _Server, size: Size) -> dict[str, Any]:
    nodes, namespace = server.places.values, server.places.namespace
    # A deadband of 1 on half of the numbers; every change is by 2.
    banded = [PROFILES[BAY[number % len(BAY)][1]].value_type not in {1, 12} for number in range(len(nodes))]
    deadbands = [1.0 if banded[number] and number // len(BAY) % 2 else 0.0 for number in range(len(nodes))]
    figures: dict[str, Any] = {"cpus": {}, "drops": {}, "history": {}}
    client = server.subscriber()
    client.subscribe(1000.0)
    figures["create"] = _expect_all(client.monitor(nodes, namespace, queue=10, deadbands=deadbands))
    figures["create_items"] = len(nodes) / figures["create"]
    client.close()
    flows = {
        "updates_bare": _Flow(PUBLISHING, 0, beside=False),
        "updates": _Flow(PUBLISHING, 0),
        "updates_secured": _Flow(PUBLISHING, 0, secured=True),
        "paced": _Flow(PACED_PUBLISHING, size.rate),
    }
    for name, flow in flows.items():
        client = server.subscriber(secured=flow.secured)
        client.subscribe(flow.publishing)
        _expect_all(client.monitor(nodes[: size.points], namespace, queue=100, deadbands=deadbands))
        client.flow(5.0, ages=False, until=size.points)
        seconds = size.seconds + size.settling + _SPARE
        job = {"points": size.points, "seconds": seconds, "rate": flow.rate, "beside": flow.beside}
        server.process.tell(json.dumps(job))
        received, seconds = _flow(client, size, ages=bool(flow.rate))
        client.close()
        done = server.process.answer()
        figures[name] = received.items / seconds
        figures["cpus"][name], figures["drops"][name] = round(done["cpu"], 2), done["dropped"]
        figures["history"][name] = done["history"]
    ages = np.concatenate(received.ages)
    return figures | {"p50": float(np.percentile(ages, 50)), "p99": float(np.percentile(ages, 99))}


@dataclass(frozen=True, slots=True)
class _Flow:
    """How the server is written to and how the client has subscribed."""

    publishing: float
    rate: int
    beside: bool = True
    secured: bool = False


def _expect_all(made: tuple[int, float]) -> float:
    refused, seconds = made
    if refused:
        raise RuntimeError(f"{refused} monitored items were refused")
    return seconds


def _flow(client: Subscriber, size: Size, *, ages: bool) -> tuple[Received, float]:
    """What comes once it flows, and in how many seconds."""
    client.flow(size.settling, ages=False, requests=0)
    began = time.perf_counter()
    received = client.flow(size.seconds, ages=ages, requests=0)
    return received, time.perf_counter() - began


def _table(size: Size) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as directory,
        _Process("twin_gateway.bench.opcua_ours", "table", str(size.many_points), directory) as server,
    ):
        return server.answer()


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
