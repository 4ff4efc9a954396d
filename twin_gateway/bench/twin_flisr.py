"""Benchmark of FLISR: isolation and restoration of single faults on the 33-bus feeder and on 10 000 buses."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from twin_gateway.bench.flisr_grids import Cable, Consumer, add_feeders, head, line, random_feeders, tiled
from twin_gateway.grid.model import Grid, Position
from twin_gateway.twin.flisr.isolate import plan_isolation
from twin_gateway.twin.flisr.kernels import cool, warm
from twin_gateway.twin.flisr.locate import tripped_area
from twin_gateway.twin.flisr.problem import restoration_problems
from twin_gateway.twin.flisr.records import LoadEstimate, RestoreSettings, SwitchState
from twin_gateway.twin.flisr.restore import restore
from twin_gateway.twin.flisr.zones import Network, compile_network

COPIES, QUICK_COPIES = 303, 6
"""Of 33 buses each: 9 999 buses, or 198."""
FAULTS, QUICK_FAULTS = 120, 4
SETTINGS = RestoreSettings(margin_measured=0.0)


def measure(quick: bool = False) -> dict[str, float]:
    """Milliseconds from the faulted zone to the plan, positions being up to date.

    Returns:
        `bus33_*`: all 32 faults of the 33-bus feeder, with the sum of unserved kW; `bus10k_*`: random faults of towns
        of 33 buses tied to each other, loaded so that most faults can be restored; `bus10k_heavy_*`: the 33-bus feeder
        tiled with its full load, where many cannot. Each p50, p95 and max; `*_fast_*` with numba, where it is
        installed. The 33-bus feeder is read from TWIN_REFERENCE_DATA; without it its figures are left out.
    """
    copies, faults = (QUICK_COPIES, QUICK_FAULTS) if quick else (COPIES, FAULTS)
    cables, consumers = random_feeders(7)
    figures: dict[str, float] = {}
    networks = {"bus10k": compile_network(tiled(cables, consumers, copies, scale=1.5))}
    root = os.environ.get("TWIN_REFERENCE_DATA")
    if root:
        read = _bus33(Path(root) / "grids")
        grid = Grid()
        add_feeders(grid, *read[:2], nominal=read[2])
        networks = {"bus33": compile_network(grid), **networks}
        networks["bus10k_heavy"] = compile_network(tiled(*read[:2], copies, scale=1.0))
    cool()
    for name, network in networks.items():
        figures |= _faults(network, name, faults)
    if not quick and warm():
        for name, network in networks.items():
            figures |= _faults(network, f"{name}_fast", faults)
        cool()
    return figures


def _bus33(folder: Path) -> tuple[list[Cable], dict[int, Consumer], float]:
    data: dict[str, Any] = json.loads((folder / "case33bw.json").read_text("utf-8"))
    ampacity = json.loads((folder / "flisr_33bus_truth.json").read_text("utf-8"))["ampacity_A"]
    cables = [
        Cable(int(n), int(a), int(b), r, x, ampacity[int(n) - 1], open=not closed)
        for n, a, b, r, x, closed in data["branch"]
    ]
    return cables, {int(k): Consumer(p * 1e3, q * 1e3, 10) for k, p, q in data["bus"] if p}, data["kv"] * 1e3


def _faults(network: Network, name: str, faults: int) -> dict[str, float]:
    """Run faults of lines and time them."""
    states = {
        item.address: SwitchState(Position.OPEN if item.rating.normal_open else Position.CLOSED)
        for item in network.switches
    }
    before = network.positions(states)
    loads = {item.address: LoadEstimate(item.data.p, item.data.q) for item in network.loads}
    places = sorted({address.split("/PS01/")[0] for address in network.heads})
    dice = random.Random(11)
    if len(places) == 1:
        chosen = [(line(n, places[0]), head(1, places[0])) for n in range(1, 33)]
    else:
        chosen = [_random_fault(network, before, dice.choice(places), dice) for _ in range(faults)]
    # what a service has made long before a fault
    _ = network.trunk, network.switches_at, network.branches_at, network.loads_at, network.arrays
    times, unserved = [], 0.0
    for zone, device in chosen:
        tripped = states[device]
        states[device] = SwitchState(Position.OPEN)
        now = before.copy()
        now[network.switch_index[device]] = Position.OPEN
        began = time.perf_counter()
        isolation = plan_isolation(network, states, [zone], device=device, before=before, now=now)
        result = restore(
            restoration_problems(network, states, isolation, loads, before=before, now=now, settings=SETTINGS)
        )
        times.append((time.perf_counter() - began) * 1e3)
        unserved += result.dead - result.restored
        states[device] = tripped
    return {
        f"{name}_buses": float(sum(1 for node in network.nodes if "/RMU" in node)),
        f"{name}_faults": float(len(times)),
        f"{name}_p50_ms": round(float(np.percentile(times, 50)), 1),
        f"{name}_p95_ms": round(float(np.percentile(times, 95)), 1),
        f"{name}_max_ms": round(max(times), 1),
        f"{name}_unserved_kw": round(unserved / 1e3, 1),
    }


def _random_fault(network: Network, before: Any, place: str, dice: random.Random) -> tuple[str, str]:
    """A line of one town and the head that feeds it."""
    feeders = sorted(address for address in network.heads if address.startswith(f"{place}/"))
    device = network.switches[network.heads[dice.choice(feeders)]].address
    zones = [network.zones[zone] for zone in tripped_area(network, before, device).zones]
    return dice.choice([zone.address for zone in zones if zone.lines]), device
