"""Grids, states and an independent power flow for the tests of FLISR."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from twin_gateway.bench.flisr_grids import Cable, Consumer, add_feeders, head, line, switch
from twin_gateway.grid.model import CimClass, Grid, LineData, LoadData, Position, SourceData, SwitchRating
from twin_gateway.twin.flisr.isolate import plan_isolation
from twin_gateway.twin.flisr.problem import RestorationProblem, restoration_problem
from twin_gateway.twin.flisr.records import Isolation, LoadEstimate, RestorationResult, RestoreSettings, SwitchState
from twin_gateway.twin.flisr.zones import Network, compile_network

EXACT = RestoreSettings(margin_measured=0.0)
"""Loads are taken as they are said."""


def six_bus(**options: Any) -> Grid:
    """Two feeders of busbar 1 that meet at an open tie: 1-2-3-4 and 1-5-6, tie 4-6; 300, 300, 200 / 200, 200 kW."""
    cables = [
        Cable(1, 1, 2, 0.3, 0.2, 200.0),
        Cable(2, 2, 3, 0.4, 0.3, 150.0),
        Cable(3, 3, 4, 0.4, 0.3, 150.0),
        Cable(4, 1, 5, 0.3, 0.2, 200.0),
        Cable(5, 5, 6, 0.4, 0.3, 150.0),
        Cable(6, 4, 6, 0.5, 0.4, 150.0, open=True),
    ]
    consumers = {
        2: Consumer(300e3, 100e3, 30),
        3: Consumer(300e3, 100e3, 40),
        4: Consumer(200e3, 60e3, 20),
        5: Consumer(200e3, 60e3, 10),
        6: Consumer(200e3, 60e3, 15),
    }
    grid = Grid()
    add_feeders(grid, cables, consumers, **{"pickup": 300.0, **options})
    return grid


def reference(name: str) -> dict[str, Any]:
    """A reference file, or a skip with the reason."""
    root = os.environ.get("TWIN_REFERENCE_DATA")
    if not root:
        pytest.skip("TWIN_REFERENCE_DATA does not name the reference data")
    return json.loads((Path(root) / "grids" / name).read_text("utf-8"))


def baran_wu(ampacity: list[float] | None = None) -> tuple[list[Cable], dict[int, Consumer], float]:
    """The 33-bus feeder of the reference data: cables, consumers, nominal voltage."""
    data = reference("case33bw.json")
    cables = [
        Cable(int(n), int(a), int(b), r, x, None if ampacity is None else ampacity[int(n) - 1], open=not closed)
        for n, a, b, r, x, closed in data["branch"]
    ]
    return cables, {int(k): Consumer(p * 1e3, q * 1e3, 10) for k, p, q in data["bus"] if p}, data["kv"] * 1e3


def feeder(cables: list[Cable], consumers: Mapping[int, Consumer], nominal: float = 12660.0, **options: Any) -> Grid:
    grid = Grid()
    add_feeders(grid, cables, consumers, nominal=nominal, **options)
    return grid


def normal_states(network: Network) -> dict[str, SwitchState]:
    """Every switch in its normal position and available."""
    return {
        item.address: SwitchState(Position.OPEN if item.rating.normal_open else Position.CLOSED)
        for item in network.switches
    }


def nominal_loads(network: Network) -> dict[str, LoadEstimate]:
    """Measured loads as nominal."""
    return {item.address: LoadEstimate(item.data.p, item.data.q) for item in network.loads}


@dataclass
class Fault:
    """A fault on a network in its normal state, cleared by the head of its feeder."""

    network: Network
    states: dict[str, SwitchState]
    isolation: Isolation
    problem: RestorationProblem


def fault(
    grid: Grid,
    zones: Iterable[str],
    device: str | None = None,
    *,
    changed: Mapping[str, SwitchState] | None = None,
    settings: RestoreSettings = EXACT,
    loads: Mapping[str, LoadEstimate] | None = None,
    **options: Any,
) -> Fault:
    """Isolation and restoration problem of a fault; `changed`: switches that are not as normal."""
    network = compile_network(grid)
    states = {**normal_states(network), **(changed or {})}
    before = network.positions(states)
    device = device or next(network.switches[number].address for number in network.heads.values())
    states[device] = SwitchState(Position.OPEN)
    isolation = plan_isolation(network, states, zones, device=device, before=before)
    problem = restoration_problem(
        network,
        states,
        isolation,
        nominal_loads(network) if loads is None else loads,
        before=before,
        settings=settings,
        **options,
    )
    return Fault(network, states, isolation, problem)


def moves(result: RestorationResult) -> list[str]:
    """`+RMU08/C33` and so on, by address."""
    short = ((op.close, op.switch.removeprefix("dso1/north/").replace("/MV1/", "/")) for op in result.operations)
    return sorted(("+" if close else "-") + text.rsplit("/", 1)[0] for close, text in short)


def positions_after(found: Fault, result: RestorationResult) -> dict[str, bool]:
    """Which switches are closed when the plan has been carried out."""
    closed = {address: state.position is Position.CLOSED for address, state in found.states.items()}
    for address in found.isolation.opens:
        closed[address] = False
    if result.upstream:
        closed[found.isolation.trip_device] = True
    for operation in result.operations:
        closed[operation.switch] = operation.close
    return closed


@dataclass
class Flow:
    """What the independent power flow says: volts per unit by node, share of the ampacity by line, W of dead loads."""

    radial: bool
    voltage: dict[str, float]
    loading: dict[str, float]
    unserved: float
    live_loads: set[str]


def flow(grid: Grid, closed: Mapping[str, bool]) -> Flow:
    """A plain recursive backward-forward sweep in volts and amperes that shares no code with the product."""
    neighbours: dict[str, list[tuple[str, str]]] = {node: [] for node in grid.nodes}
    for item in grid.equipment.values():
        joins = isinstance(item.data, LineData) or (isinstance(item.data, SwitchRating) and closed[item.address])
        if joins:
            a, b = item.nodes
            neighbours[a].append((b, item.address))
            neighbours[b].append((a, item.address))
    draw = dict.fromkeys(grid.nodes, 0j)
    for item in grid.of(CimClass.LOAD):
        assert isinstance(item.data, LoadData)
        draw[item.nodes[0]] += complex(item.data.p, item.data.q)
    order: list[tuple[str, str, str]] = []
    volts: dict[str, complex] = {}
    radial = True
    for item in grid.of(CimClass.SOURCE):
        assert isinstance(item.data, SourceData)
        radial &= item.nodes[0] not in volts
        volts[item.nodes[0]] = item.data.voltage * grid.nodes[item.nodes[0]].nominal / 3**0.5 + 0j
        queue = [(item.nodes[0], "")]
        for node, via in queue:
            for other, edge in neighbours[node]:
                if edge == via:
                    continue
                if other in volts:
                    radial = False
                    continue
                volts[other] = volts[node]
                order.append((node, other, edge))
                queue.append((other, edge))
    amperes: dict[str, complex] = {}
    for _ in range(100):
        amperes = {node: (draw[node] / 3 / volts[node]).conjugate() for node in volts}
        for above, node, _edge in reversed(order):
            amperes[above] += amperes[node]
        moved = 0.0
        for above, node, edge in order:
            data = grid.equipment[edge].data
            drop = complex(data.r, data.x) * amperes[node] if isinstance(data, LineData) else 0j
            moved = max(moved, abs(volts[above] - drop - volts[node]))
            volts[node] = volts[above] - drop
        if moved < 1e-6:
            break
    else:
        raise AssertionError("the power flow of the test does not converge")
    loading = {}
    for _above, node, edge in order:
        data = grid.equipment[edge].data
        if isinstance(data, LineData) and data.i_max is not None:
            loading[edge] = abs(amperes[node]) / data.i_max
    loads = list(grid.of(CimClass.LOAD))
    return Flow(
        radial,
        {node: abs(value) * 3**0.5 / grid.nodes[node].nominal for node, value in volts.items()},
        loading,
        sum(item.data.p for item in loads if isinstance(item.data, LoadData) and item.nodes[0] not in volts),
        {item.address for item in loads if item.nodes[0] in volts},
    )


__all__ = [
    "EXACT",
    "Cable",
    "Consumer",
    "Fault",
    "baran_wu",
    "fault",
    "feeder",
    "flow",
    "head",
    "line",
    "moves",
    "nominal_loads",
    "normal_states",
    "positions_after",
    "reference",
    "six_bus",
    "switch",
]
