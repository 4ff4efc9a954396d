"""Benchmark: the OPC UA server against stock asyncua: one raw subscriber for both, servers in their own processes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from twin_gateway.bench.opcua_ours import BAY, PROFILES, addresses
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
    """

    points: int = 10_000
    items: int = 50_000
    many_points: int = 1_000_000
    seconds: float = 3.0
    rate: int = 500_000


QUICK = Size(500, 1_000, 20_000, 0.5, 10_000)
PUBLISHING = 50.0
PACED_PUBLISHING = 20.0
_WAIT = 150.0
"""For a server or an answer of it, on a machine however crowded."""


def run(quick: bool = False) -> dict[str, Any]:
    """Run the benchmark, under 50 s on 2 cores.

    The job is the one of the field: 10 000 points of mixed types change all the time, one client has subscribed to all
    of them, half of its items with a deadband, access is checked. Stock asyncua gets Doubles without filters, written
    one by one with fresh DataValues, which is the least it can be asked.

    Returns:
        `updates_per_s`, `stock_updates_per_s` (notifications received a second), their `ratio`, `p99_ms_at_500k` and
        `p50_ms_at_500k` (source timestamp to client, 20 ms publishing), `received_at_500k` (a second),
        `create_50k_items_s`, `bytes_per_variable`, `build_1m_s`, `rss_1m_mb` (with the server running).
    """
    size = QUICK if quick else Size()
    stock = _stock(size)
    ours = _ours(size)
    table = _table(size)
    return {
        "updates_per_s": round(ours["rate"]),
        "stock_updates_per_s": round(stock["rate"]),
        "ratio": round(ours["rate"] / stock["rate"], 1),
        "p99_ms_at_500k": round(ours["p99"], 1),
        "p50_ms_at_500k": round(ours["p50"], 1),
        "received_at_500k": round(ours["paced"]),
        "create_50k_items_s": round(ours["create"], 3),
        "bytes_per_variable": round(table["bytes_per_variable"], 1),
        "build_1m_s": round(table["build_s"], 2),
        "rss_1m_mb": round(table["rss_mb"]),
        "publishing_ms": PUBLISHING,
        "server_cpu": {"flood": round(ours["cpu"], 2), "at_500k": round(ours["paced_cpu"], 2)},
        "dropped": {"flood": ours["dropped"], "at_500k": ours["paced_dropped"]},
    }


class _Process:
    """A server process that reads jobs from its standard input and answers in JSON lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
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
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            raise RuntimeError("the server process ended or did not answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _stock(size: Size) -> dict[str, float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with _Process("twin_gateway.bench.opcua_stock", str(port), str(size.points)) as server:
        namespace = server.answer()["namespace"]
        nodes = [f"V{number}" for number in range(size.points)]
        client = Subscriber(port, _WAIT)
        client.subscribe(PUBLISHING)
        _expect_all(client.monitor(nodes, namespace, queue=10, deadbands=[0.0] * size.points))
        client.flow(5.0, ages=False, until=size.points)
        server.tell(str(size.seconds + 1))
        received, seconds = _flow(client, size.seconds, ages=False)
        client.close()
    return {"rate": received.items / seconds}


def _ours(size: Size) -> dict[str, float]:
    nodes = list(addresses(size.items))
    # A deadband of 1 on half of the numbers; every change is by 2.
    banded = [PROFILES[BAY[number % len(BAY)][1]].value_type not in {1, 12} for number in range(len(nodes))]
    deadbands = [1.0 if banded[number] and number // len(BAY) % 2 else 0.0 for number in range(len(nodes))]
    with (
        tempfile.TemporaryDirectory() as directory,
        _Process("twin_gateway.bench.opcua_ours", "serve", str(len(nodes)), directory) as server,
    ):
        place = server.answer()
        client = Subscriber(place["port"], _WAIT)
        client.subscribe(1000.0)
        create = _expect_all(client.monitor(nodes, place["namespace"], queue=10, deadbands=deadbands))
        client.close()
        client = _subscribed(place, PUBLISHING, nodes[: size.points], deadbands)
        server.tell(json.dumps({"points": size.points, "seconds": size.seconds + 1, "rate": 0}))
        flood, seconds = _flow(client, size.seconds, ages=False)
        client.close()
        done = server.answer()
        client = _subscribed(place, PACED_PUBLISHING, nodes[: size.points], deadbands)
        server.tell(json.dumps({"points": size.points, "seconds": size.seconds + 1, "rate": size.rate}))
        paced, paced_seconds = _flow(client, size.seconds, ages=True)
        client.close()
        paced_done = server.answer()
    ages = np.concatenate(paced.ages)
    return {
        "create": create,
        "rate": flood.items / seconds,
        "cpu": done["cpu"],
        "dropped": done["dropped"],
        "paced": paced.items / paced_seconds,
        "paced_cpu": paced_done["cpu"],
        "paced_dropped": paced_done["dropped"],
        "p50": float(np.percentile(ages, 50)),
        "p99": float(np.percentile(ages, 99)),
    }


def _subscribed(place: dict[str, Any], publishing: float, nodes: list[str], deadbands: list[float]) -> Subscriber:
    client = Subscriber(place["port"], _WAIT)
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
    client.flow(0.5, ages=False, requests=0)
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
