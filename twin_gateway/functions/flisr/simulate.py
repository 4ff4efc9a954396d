"""What would be done about a fault: the same computations on the grid as it is, without any command."""

from __future__ import annotations

import asyncio

from twin_gateway.functions.flisr.cases import Cases
from twin_gateway.functions.flisr.engine import Snapshot
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import Location, SwitchState
from twin_gateway.twin.flisr.states import Offer


async def simulate(cases: Cases, fault: str) -> tuple[Location, Offer]:
    """Location (certain) and plan for a fault at some equipment, node or zone.

    Raises:
        ValueError: the address is nowhere in the grid, or no feeder feeds it now.
    """
    network, eye = cases.eye.network, cases.eye
    number = network.zone_index.get(fault, network.zone_of_equipment(fault))
    if number is None:
        raise ValueError(f"{fault!r} is no line, node or zone of the grid model")
    positions = eye.positions()
    feeder = cases.regions.feeder_of(number, positions)
    if not feeder:
        raise ValueError(f"no feeder feeds {fault} now")
    now = cases.now()
    head = network.grid.feeders[feeder].head
    states = await asyncio.to_thread(eye.states, now)
    tripped = states[head]
    states[head] = SwitchState(
        Position.OPEN, tripped.can_open, tripped.can_close, tripped.auto_close, tripped.tagged, tripped.reasons
    )
    zone = network.zones[number].address
    snapshot = Snapshot(positions, cases.loads_now(), now)
    isolation, result, plan = await cases.engine.plan(
        snapshot, feeder, states, [zone], blocked=frozenset(), barred=cases.barred(None), now=now
    )
    return Location({zone: 1.0}, (zone,), 1.0), Offer("simulation", plan, "", isolation=isolation, result=result)
