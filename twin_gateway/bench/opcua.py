"""Benchmark: the OPC UA server beside others: one raw client for all of them, servers in their own processes."""

from __future__ import annotations

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twin_gateway.bench.opcua_ours import BAY, METHOD, PLACE, PROFILES, addresses
from twin_gateway.bench.opcua_round_trips import Places, measure
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


QUICK = Size(500, 1_000, 20_000, 0.5, 10_000, 0.1, 5)
_RATES = ("read_1", "read_1000", "browse", "method", "write", "read_1_many")
PUBLISHING = 50.0
PACED_PUBLISHING = 20.0
_WAIT = 150.0
"""For a server or an answer of it, on a machine however crowded."""


def run(quick: bool = False) -> dict[str, Any]:
    """Run the benchmark, some two minutes on 2 cores.

    The job is the one of the field: 10 000 points of mixed types change all the time, one client has subscribed to all
    of them, half of its items with a deadband, access is checked, a history keeps all points and alarm rules judge one
    in twenty. Stock asyncua gets Doubles without filters, written one by one with fresh DataValues, which is the least
    it can be asked; so does node-opcua's server, where `TWIN_NODE_OPCUA` names a folder in which npm has installed
    `node-opcua-server`. One client, our own raw one, asks them all in the same way; they have their turns one by one.

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
    stock = _stock(size)
    node = _node(size)
    ours = _ours(size)
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


def _sessions(server: _Process, port: int, count: int, question: str) -> float:
    """Octets of memory a session of the server."""
    server.tell(question)
    before = server.answer()["rss"]
    clients = [Subscriber(port, _WAIT) for _ in range(count)]
    server.tell(question)
    after = server.answer()["rss"]
    for each in clients:
        each.close()
    return float(after - before) / count


def _other(server: _Process, port: int, size: Size, *, secured: bool, directory: Path) -> dict[str, float]:
    """What a server that has Doubles `V…` in folders `F…` can do."""
    began = server.answer()
    namespace = int(began["namespace"])
    nodes = [f"V{number}" for number in range(size.points)]
    figures: dict[str, float] = {}
    for name in ("updates", "updates_secured")[: 1 + secured]:
        security = _security(directory, began["certificate"]) if name == "updates_secured" else None
        client = Subscriber(port, _WAIT, security)
        client.subscribe(PUBLISHING)
        made = _expect_all(client.monitor(nodes, namespace, queue=10, deadbands=[0.0] * size.points))
        figures.setdefault("create_items", size.points / made)
        client.flow(5.0, ages=False, until=size.points)
        server.tell(str(size.seconds + 1))
        received, seconds = _flow(client, size.seconds, ages=False)
        figures[name] = received.items / seconds
        client.close()
        server.answer()
    places = Places(namespace, nodes, "F0", "F0", "Double")
    figures |= measure(port, places, seconds=size.asking, clients=size.clients, timeout=_WAIT)
    figures["session"] = _sessions(server, port, size.clients, "0")
    return figures


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _security(directory: Path, certificate: str) -> Secured:
    return Secured(client_identity(directory), Path(certificate).read_bytes())


def _stock(size: Size) -> dict[str, float]:
    port = _free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        _Process("twin_gateway.bench.opcua_stock", str(port), str(size.points), directory) as server,
    ):
        return _other(server, port, size, secured=True, directory=Path(directory))


def _node(size: Size) -> dict[str, float]:
    """node-opcua's server; nothing where it is not installed."""
    folder, node = os.environ.get("TWIN_NODE_OPCUA"), shutil.which("node")
    if not folder or node is None:
        return {}
    port = _free_port()
    script = str(Path(__file__).parent / "opcua_node.js")
    paths = {"NODE_PATH": str(Path(folder) / "node_modules")}
    command = [node, "--expose-gc", script, str(port), str(size.points)]
    with tempfile.TemporaryDirectory() as directory, _Process(command=command, environment=paths) as server:
        return _other(server, port, size, secured=False, directory=Path(directory))


def _ours(size: Size) -> dict[str, Any]:
    nodes = list(addresses(size.items))
    # A deadband of 1 on half of the numbers; every change is by 2.
    banded = [PROFILES[BAY[number % len(BAY)][1]].value_type not in {1, 12} for number in range(len(nodes))]
    deadbands = [1.0 if banded[number] and number // len(BAY) % 2 else 0.0 for number in range(len(nodes))]
    figures: dict[str, Any] = {"cpus": {}, "drops": {}, "history": {}}
    with (
        tempfile.TemporaryDirectory() as directory,
        _Process("twin_gateway.bench.opcua_ours", "serve", str(len(nodes)), directory) as server,
    ):
        place = server.answer()
        client = Subscriber(place["port"], _WAIT)
        client.subscribe(1000.0)
        figures["create"] = _expect_all(client.monitor(nodes, place["namespace"], queue=10, deadbands=deadbands))
        figures["create_items"] = len(nodes) / figures["create"]
        client.close()
        flows = {
            "updates_bare": _Flow(PUBLISHING, 0, beside=False),
            "updates": _Flow(PUBLISHING, 0),
            "updates_secured": _Flow(PUBLISHING, 0, secured=True),
            "paced": _Flow(PACED_PUBLISHING, size.rate),
        }
        for name, flow in flows.items():
            security = _security(Path(directory), place["certificate"]) if flow.secured else None
            client = _subscribed(place, flow.publishing, nodes[: size.points], deadbands, security)
            job = {"points": size.points, "seconds": size.seconds + 1.5, "rate": flow.rate, "beside": flow.beside}
            server.tell(json.dumps(job))
            received, seconds = _flow(client, size.seconds, ages=bool(flow.rate))
            client.close()
            done = server.answer()
            figures[name] = received.items / seconds
            figures["cpus"][name], figures["drops"][name] = round(done["cpu"], 2), done["dropped"]
            figures["history"][name] = done["history"]
        ages = np.concatenate(received.ages)
        figures |= {"p50": float(np.percentile(ages, 50)), "p99": float(np.percentile(ages, 99))}
        places = Places(place["namespace"], nodes, f"{PLACE}/QA1", PLACE, f"{PLACE}#{METHOD}")
        figures |= measure(place["port"], places, seconds=size.asking, clients=size.clients, timeout=_WAIT)
        figures["session"] = _sessions(server, place["port"], size.clients, "{}")
    return figures


@dataclass(frozen=True, slots=True)
class _Flow:
    """How the server is written to and how the client has subscribed."""

    publishing: float
    rate: int
    beside: bool = True
    secured: bool = False


def _subscribed(
    place: dict[str, Any], publishing: float, nodes: list[str], deadbands: list[float], security: Secured | None
) -> Subscriber:
    client = Subscriber(place["port"], _WAIT, security)
    client.subscribe(publishing)
    _expect_all(client.monitor(nodes, place["namespace"], queue=100, deadbands=deadbands))
    client.flow(5.0, ages=False, until=len(nodes))
    return client


def _expect_all(made: tuple[int, float]) -> float:
    refused, seconds = made
    if refused:
        raise RuntimeError(f"{refused} monitored items were refused")
    return seconds


def _flow(client: Subscriber, seconds: float, *, ages: bool) -> tuple[Received, float]:
    """What comes in so many seconds, once it flows, and how many it were."""
    client.flow(0.7, ages=False, requests=0)
    began = time.perf_counter()
    received = client.flow(seconds, ages=ages, requests=0)
    return received, time.perf_counter() - began


def _table(size: Size) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as directory,
        _Process("twin_gateway.bench.opcua_ours", "table", str(size.many_points), directory) as server,
    ):
        return server.answer()


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
