"""An event as JSON and back, for the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twin_gateway.functions.flisr.engine import Snapshot
from twin_gateway.functions.flisr.journal import StepEntry
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.records import (
    Action,
    FaultKind,
    LoadEstimate,
    LoadSource,
    Location,
    OnFail,
    Stage,
    Step,
)
from twin_gateway.twin.flisr.sequence import Sequence
from twin_gateway.twin.flisr.states import Cause, StepRecord, StepState, Trigger
from twin_gateway.twin.flisr.zones import Network


def event_body(sequence: Sequence, snapshot: Snapshot, network: Network, region: Iterable[str]) -> dict[str, Any]:
    """What is kept of an event. Of the snapshot: what is not normal, and the measured loads of the region."""
    trigger, location = sequence.trigger, sequence.location
    normal = network.normal
    zones = {zone for switch in region for zone in network.switches[network.switch_index[switch]].zones}
    consumers = {load for zone in zones for load in network.zones[zone].loads}
    return {
        "trigger": {
            "event": trigger.event,
            "feeder": trigger.feeder,
            "cause": trigger.cause.name,
            "time": trigger.time,
            "received": trigger.received,
            "clock_good": trigger.clock_good,
            "advise_only": trigger.advise_only,
            "fault": trigger.fault.name,
            "text": trigger.text,
        },
        "mode": int(sequence.mode),
        "reason": sequence.reason,
        "fault_zones": sorted(sequence.fault_zones),
        "stamps": [[int(state), time, why] for state, time, why in sequence.stamps],
        "location": None
        if location is None
        else {
            "posterior": {zone: float(chance) for zone, chance in location.posterior.items()},
            "candidates": list(location.candidates),
            "probability": float(location.probability),
            "auto_ok": location.auto_ok,
        },
        "snapshot": {
            "time": snapshot.time,
            "positions": {
                switch: int(position)
                for switch, position in snapshot.positions.items()
                if position is not normal.get(switch)
            },
            "loads": {
                address: [load.p, load.q, load.der]
                for address, load in snapshot.loads.items()
                if address in consumers and load.source is LoadSource.MEASURED
            },
        },
    }


def trigger_of(body: Mapping[str, Any]) -> Trigger:
    """The trigger of a kept event."""
    told = body["trigger"]
    return Trigger(
        told["event"],
        told["feeder"],
        Cause[told["cause"]],
        told["time"],
        told["received"],
        told["clock_good"],
        told["advise_only"],
        FaultKind[told["fault"]],
        told["text"],
    )


def location_of(body: Mapping[str, Any]) -> Location | None:
    """The location of a kept event."""
    told = body["location"]
    if told is None:
        return None
    return Location(told["posterior"], tuple(told["candidates"]), told["probability"], auto_ok=told["auto_ok"])


def snapshot_of(body: Mapping[str, Any], network: Network, loads: Mapping[str, LoadEstimate]) -> Snapshot:
    """The snapshot of a kept event; `loads` are the estimates of what had not been measured."""
    told = body["snapshot"]
    changed = {switch: Position(position) for switch, position in told["positions"].items()}
    measured = {address: LoadEstimate(*row) for address, row in told["loads"].items()}
    return Snapshot({**network.normal, **changed}, {**loads, **measured}, told["time"])


def step_record(entry: StepEntry) -> StepRecord:
    """A step that had been sent before a restart, as far as is known."""
    body = entry.body
    step = Step(
        body["n"],
        Stage(body["stage"]),
        body["address"],
        Action(body["action"]),
        (),
        (),
        0.0,
        OnFail.STOP,
        body["reason"],
    )
    status = body.get("status")
    if status is None:
        return StepRecord(step, StepState.SENT, body["attempt"], entry.time, None, "sent; its outcome is not known")
    good = status & 0xC000_0000 == 0
    state = StepState.DONE if good else StepState.FAILED
    return StepRecord(step, state, body["attempt"], entry.time, entry.time if good else None, body["outcome"])
