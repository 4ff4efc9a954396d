"""Results of FLISR as points: of each feeder at its bay, of all feeders at the area."""

from __future__ import annotations

import json
from collections.abc import Iterable

from address_space import clock
from address_space.address import Address
from twin_gateway.functions.flisr.interruptions import Reliability
from twin_gateway.functions.results import ResultPoints, Value
from twin_gateway.twin.flisr.records import Stage
from twin_gateway.twin.flisr.sequence import Sequence as Event
from twin_gateway.twin.flisr.states import Mode, State, StepState

_INDEX = ("SAIFI", "SAIDI", "CAIDI", "ASAI", "MAIFI", "ENS", "SavMin")
_EVENT = (
    "PlanSt", "Mod", "EvtId", "FltSect", "FltPost", "Blk", "BlkRsn", "PlanId", "PlanHash", "PlanMth", "IsoSteps",
    "RstSteps", "UnrZones", "DeadW", "RestW", "CusOut", "CusRst", "VMin", "AMaxPct", "OpCnt", "StepNum", "TrTm", "StTm",
)  # fmt: skip
_AREA = ("PlanSt", "FltSt", "EvtId", "Blk", "BlkRsn", "CusOut", "CusRst")


def owner_of(place: str) -> str:
    """Address of the FLISR object of an area or a bay."""
    return Address(tuple(place.split("/")), "twFLSR1").text


class FlisrPoints:
    """Adds and writes the result points."""

    def __init__(self, results: ResultPoints, place: str, feeders: Iterable[str]) -> None:
        self._results = results
        self._area = owner_of(place)
        self._owners = {feeder: owner_of(feeder) for feeder in feeders}
        self._told: dict[str, tuple[dict[str, Value], int]] = {}
        names = [f"{self._area}/{name}" for name in (*_AREA, *_INDEX)]
        names += [f"{owner}/{name}" for owner in self._owners.values() for name in (*_EVENT, *_INDEX)]
        results.add(names)  # in one go: each one sorts the whole address space

    def write_feeder(self, feeder: str, mode: Mode, event: Event | None, out: tuple[int, int], quality: int) -> None:
        """Publish a feeder; `out` are its customers without supply and those restored in this event."""
        owner = self._owners[feeder]
        values = _idle(mode) if event is None or event.state is State.IDLE else _of_event(mode, event)
        values["CusOut"], values["CusRst"] = out
        self._write(owner, values, quality)

    def write_indices(self, feeder: str, found: Reliability) -> None:
        """Publish the reliability indices of a feeder, or of the area when it is empty."""
        owner = self._owners[feeder] if feeder else self._area
        indices = found.indices
        values: dict[str, Value] = {
            "SAIFI": indices.saifi,
            "SAIDI": indices.saidi,
            "CAIDI": indices.caidi,
            "ASAI": indices.asai,
            "MAIFI": indices.maifi,
            "ENS": indices.ens,
            "SavMin": found.saved,
        }
        self._write(owner, values, 0)

    def write_area(self, events: Iterable[Event], out: tuple[int, int], quality: int) -> None:
        """Publish the area: its newest event stands for all, `FltSt` says how many there are."""
        active = [event for event in events if event.state is not State.IDLE]
        newest = max(active, key=lambda event: event.trigger.received, default=None)
        blocked = [event for event in active if event.state is State.BLOCKED]
        values: dict[str, Value] = {
            "PlanSt": int(newest.state) if newest else 0,
            "FltSt": len(active),
            "EvtId": newest.trigger.event if newest else "",
            "Blk": bool(blocked),
            "BlkRsn": blocked[0].reason if blocked else "",
            "CusOut": out[0],
            "CusRst": out[1],
        }
        self._write(self._area, values, quality)

    def _write(self, owner: str, values: dict[str, Value], quality: int) -> None:
        """Write one group of points of an owner, unless it stands like that: hundreds of feeders are idle."""
        group = f"{owner}/{next(iter(values))}"
        if self._told.get(group) != (values, quality):
            self._told[group] = (values, quality)
            self._results.write({f"{owner}/{name}": value for name, value in values.items()}, quality)


def _idle(mode: Mode) -> dict[str, Value]:
    texts = ("EvtId", "FltSect", "BlkRsn", "PlanId", "PlanHash", "PlanMth", "IsoSteps", "RstSteps", "UnrZones")
    values: dict[str, Value] = {"PlanSt": 0, "Mod": int(mode), "Blk": False, "FltPost": 0.0, "DeadW": 0.0, "RestW": 0.0}
    values.update(dict.fromkeys(texts, ""))
    values.update({"OpCnt": 0, "StepNum": 0, "TrTm": "", "StTm": "", "VMin": None, "AMaxPct": None})
    return values


def _of_event(mode: Mode, event: Event) -> dict[str, Value]:
    location, offer = event.location, event.offer
    plan = offer.plan if offer is not None else None
    result = offer.result if offer is not None else None
    steps = plan.steps if plan is not None else ()
    done = [record for record in event.history if record.state is StepState.DONE and record.sent is not None]
    posterior = dict(list(location.posterior.items())[:20]) if location is not None else {}
    lost = result is not None and result.v_min == result.v_min  # NaN: nothing is live
    return {
        "PlanSt": int(event.state),
        "Mod": int(mode),
        "EvtId": event.trigger.event,
        "FltSect": json.dumps({zone: round(float(chance), 4) for zone, chance in posterior.items()}),
        "FltPost": float(location.probability) if location is not None else 0.0,
        "Blk": event.state is State.BLOCKED,
        "BlkRsn": event.reason if event.state in (State.BLOCKED, State.ABORTED) else event.degraded,
        "PlanId": offer.id if offer is not None else "",
        "PlanHash": plan.inputs if plan is not None else "",
        "PlanMth": str(plan.method) if plan is not None else "",
        "IsoSteps": _steps(event, (Stage.ISOLATE,)),
        "RstSteps": _steps(event, (Stage.UPSTREAM, Stage.RESTORE, Stage.RETURN)),
        "UnrZones": json.dumps([[each.zone, each.reason] for each in result.unrestored] if result is not None else []),
        "DeadW": result.dead if result is not None else None,
        "RestW": result.restored if result is not None else None,
        "VMin": result.v_min if result is not None and lost else None,
        "AMaxPct": 100.0 * result.i_max if result is not None and lost else None,
        "OpCnt": len(done),
        "StepNum": min(len(steps), sum(record.state is StepState.DONE for record in event.history) + 1),
        "TrTm": clock.iso(clock.from_unix(event.trigger.time)),
        "StTm": json.dumps([[state.name, clock.iso(clock.from_unix(time)), why] for state, time, why in event.stamps]),
    }


def _steps(event: Event, stages: tuple[Stage, ...]) -> str:
    """Planned against actual, as JSON: number, address, action, state, when sent and done."""
    plan = event.offer.plan.steps if event.offer is not None else ()
    known = {id(record.step): record for record in event.history}
    rows = []
    for step in plan:
        if step.stage in stages:
            record = known.get(id(step))
            times = (None, None) if record is None else (record.sent, record.done)
            stamps = [None if time is None else clock.iso(clock.from_unix(time)) for time in times]
            rows.append([step.n, step.address, str(step.action), str(record.state) if record else "pending", *stamps])
    return json.dumps(rows)
