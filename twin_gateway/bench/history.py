"""Benchmark: the history: its store alone, and what it costs a subscribed OPC UA client beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from address_space import clock
from address_space.catalogue import ValueType
from twin_gateway.bench.opcua_ours import addresses
from twin_gateway.bench.opcua_subscriber import Subscriber
from twin_gateway.history.housekeeping import keep_house
from twin_gateway.history.reading import Reader
from twin_gateway.history.settings import HistorySettings
from twin_gateway.history.store import HistoryStore

_DAY = clock.from_unix(1_772_323_200)
"""2026-03-01, a day of the benchmark's own."""

_TICKS_A_DAY = 86_400 * clock.TICKS_PER_SECOND
_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        points, samples: in the store; `samples` of each point, spread over a day.
        rate: samples a second beside the client.
        seconds: of each flow.
        pairs: flows without and with history.
    """

    points: int = 10_000
    samples: int = 1_000
    rate: int = 100_000
    seconds: float = 2.5
    pairs: int = 3


QUICK = Size(500, 200, 10_000, 0.6, 1)


def run(quick: bool = False) -> dict[str, Any]:
    """Run the benchmark, under 50 s on 2 cores.

    Returns:
        `rows_per_processor_s` (ingest with commits), `octets_a_row` in DuckDB and `octets_a_row_closed` in Parquet,
        `close_s` (of the day), `read_day_open_ms` and `read_day_closed_ms` (all samples of one point of a day among
        all), `quarter_hours_ms` (96 means of it, reading included), `bracket_1000_ms`; `p99_ms` and `p50_ms` of a
        client that has subscribed to all points without history, the same `_with_history`, `loop_longest_ms` (the
        longest time the event loop was away; all these are medians of flows by turns), `history_cpu` (processors that
        its process took).
    """
    size = QUICK if quick else Size()
    with tempfile.TemporaryDirectory() as directory:
        store = _store(size, Path(directory) / "store")
        beside = _beside(size, directory)
    return {**store, **beside}


def _store(size: Size, folder: Path) -> dict[str, Any]:
    now = [_DAY]
    store = HistoryStore(folder, HistorySettings(reserve_mb=0), now=lambda: now[0])
    store.open()
    names = list(addresses(size.points))
    series = store.learn(names, [int(ValueType.DOUBLE)] * size.points)
    random = np.random.default_rng(1)
    level = random.normal(100.0, 20.0, size.points)
    step = _TICKS_A_DAY // size.samples
    cpu = 0.0
    status = np.zeros(size.points, np.uint32)
    for number in range(size.samples):
        level += random.normal(0.0, 0.5, size.points)
        moment = _DAY + number * step
        times = moment + random.integers(0, step, size.points)
        now[0] = moment + step - 1
        received = np.full(size.points, now[0])
        value = np.round(level, 2)
        before = time.process_time()
        store.add(series, times, received, value, status)
        if store.waiting >= 100_000:
            store.commit()
        cpu += time.process_time() - before
    store.commit()
    store.cursor().execute("CHECKPOINT")
    rows = size.points * size.samples
    opened = store.octets()
    figures = _readings(store, names[size.points // 2], "open")
    now[0] = _DAY + _TICKS_A_DAY
    store.add(series[:1], np.array([now[0]]), np.array([now[0]]), value[:1], status[:1])
    store.commit()
    before = time.perf_counter()
    keep_house(store)
    close = time.perf_counter() - before
    closed = sum(segment.octets for segment in store.segments)
    figures |= _readings(store, names[size.points // 2], "closed")
    store.close()
    return {
        "rows": rows,
        "rows_per_processor_s": round(rows / cpu),
        "octets_a_row": round(opened / rows, 2),
        "octets_a_row_closed": round(closed / rows, 2),
        "close_s": round(close, 2),
        **figures,
    }


def _readings(store: HistoryStore, address: str, state: str) -> dict[str, float]:
    reader = Reader(store)
    reader.raw(address, _DAY, _DAY + _TICKS_A_DAY, 1)  # what is read once for all
    before = time.perf_counter()
    page = reader.raw(address, _DAY, _DAY + _TICKS_A_DAY, 1 << 20)
    read = time.perf_counter() - before
    quarter = (page.samples.time - _DAY) // (900 * clock.TICKS_PER_SECOND)
    means = np.bincount(quarter, page.samples.value, 96) / np.maximum(1, np.bincount(quarter, minlength=96))
    quarters = time.perf_counter() - before
    if len(means) != 96:
        raise RuntimeError("a day has 96 quarter hours")
    before = time.perf_counter()
    reader.bracket(address, np.linspace(_DAY, _DAY + _TICKS_A_DAY, 1000).astype(np.int64))
    bracket = time.perf_counter() - before
    reader.close()
    return {
        f"read_day_{state}_ms": round(read * 1e3, 1),
        f"quarter_hours_{state}_ms": round(quarters * 1e3, 1),
        f"bracket_1000_{state}_ms": round(bracket * 1e3, 1),
    }


def _beside(size: Size, directory: str) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", "twin_gateway.bench.history_server", str(size.points), directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = threading.Timer(3 * _WAIT, process.kill)
    watch.start()
    try:
        place = _answer(process)
        # By turns: what else the machine does shall meet both.
        flows = [
            (kept, *_flow(process, place, size, history=kept)) for _ in range(size.pairs) for kept in (False, True)
        ]
    finally:
        watch.cancel()
        process.kill()
        process.communicate()
    figures: dict[str, Any] = {}
    for kept, name in ((False, ""), (True, "_with_history")):
        ages = [found for which, found, _ in flows if which is kept]
        done = [what for which, _, what in flows if which is kept]
        figures[f"p99_ms{name}"] = round(float(np.median([np.percentile(each, 99) for each in ages])), 1)
        figures[f"p50_ms{name}"] = round(float(np.median([np.percentile(each, 50) for each in ages])), 1)
        figures[f"loop_longest_ms{name}"] = round(float(np.median([each["longest_ms"] for each in done])), 1)
        figures[f"server_cpu{name}"] = round(float(np.median([each["cpu"] for each in done])), 2)
    figures["history_cpu"] = round(float(np.median([each["history_cpu"] for each in done])), 2)
    figures["written"] = sum(each["history"]["written"] for each in done)
    figures["lost"] = sum(each["history"]["lost"] for each in done)
    figures["samples_per_s"] = round(float(np.median([each["rate"] for each in done])))
    return figures


def _flow(process: subprocess.Popen[str], place: dict[str, Any], size: Size, *, history: bool) -> tuple[Any, Any]:
    nodes = list(addresses(size.points))
    client = Subscriber(place["port"], _WAIT)
    client.subscribe(20.0)
    client.monitor(nodes, place["namespace"], queue=100, deadbands=[0.0] * len(nodes))
    client.flow(5.0, ages=False, until=len(nodes))
    if process.stdin is None:
        raise RuntimeError("the server process has no standard input")
    job = {"seconds": size.seconds + 1.0, "rate": size.rate, "history": history}
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    client.flow(_WAIT, ages=False, until=size.points)  # it flows
    client.flow(0.2, ages=False, requests=0)
    received = client.flow(size.seconds - 0.5 if size.seconds > 1 else 0.2, ages=True, requests=0)
    client.close()
    return np.concatenate(received.ages), _answer(process)


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError("the server process ended or did not answer")
    answer: dict[str, Any] = json.loads(line)
    return answer


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
