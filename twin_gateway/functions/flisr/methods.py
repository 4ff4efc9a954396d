"""The methods of FLISR: their arguments, results and the rights they need (spec 3.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from address_space.ports import Argument, MethodSpec, Right
from twin_gateway.twin.flisr.records import Location, Step, Unrestored
from twin_gateway.twin.flisr.sequence import Sequence as Event
from twin_gateway.twin.flisr.states import Offer, State, StepRecord

_INT, _COUNT, _DOUBLE, _STRING, _BOOLEAN = 6, 7, 11, 12, 1
FEEDER = Argument("feeder", _STRING, "Address of the feeder's bay")
PLAN = Argument("planId", _STRING, "Id of the plan as it was offered")
REASON = Argument("reason", _STRING, "Why, in words")
_ADDRESS = Argument("address", _STRING, "Address of equipment, a connectivity node or a place")
_KIND = Argument("kind", _STRING, "hot-line, lock-out, portable-earth or out-of-service")

EVENT_RESULT = (
    Argument("eventId", _STRING, "Id of the fault event; empty when there is none"),
    Argument("state", _STRING, "State of the sequence"),
    Argument("text", _STRING, "What happened, or why not"),
)
LOCATION_RESULT = (
    *EVENT_RESULT,
    Argument("zones", _STRING, "Zones by falling probability", is_list=True),
    Argument("posterior", _DOUBLE, "Probability of each of these zones", is_list=True),
    Argument("candidates", _STRING, "Zones that are isolated", is_list=True),
)
PLAN_RESULT = (
    *LOCATION_RESULT,
    Argument("planId", _STRING, "Id of the plan; empty when there is none yet"),
    Argument("hash", _STRING, "Hash of everything that the plan was made from"),
    Argument("method", _STRING, "optimal or budget"),
    Argument("n", _INT, "Number of each step", is_list=True),
    Argument("address", _STRING, "What each step is about", is_list=True),
    Argument("action", _STRING, "open, close, block-reclose or unblock-reclose", is_list=True),
    Argument("reason", _STRING, "Why", is_list=True),
    Argument("stepState", _STRING, "pending, waiting, sent, verifying, done or failed", is_list=True),
    Argument("unrestored", _STRING, "Healthy zones that stay without supply", is_list=True),
    Argument("unrestoredReason", _STRING, "Why", is_list=True),
    Argument("deadW", _DOUBLE, "Load without supply after isolation, W"),
    Argument("restoredW", _DOUBLE, "Of it restored by the plan, W"),
    Argument("vMin", _DOUBLE, "Lowest voltage of the new grid, per unit"),
    Argument("warnings", _STRING, "What the operator should know", is_list=True),
)
TAG_RESULT = (
    Argument("done", _BOOLEAN, "It is done; false with a good status: a second person must confirm"),
    Argument("text", _STRING, "What happened, or why not"),
)


def specs(owner: str) -> list[MethodSpec]:
    """All methods of the object `owner`."""
    operate, read = Right.OPERATE, Right.READ
    mode = Argument("mode", _STRING, "off, monitor, advise, confirm-step or auto")
    hash_ = Argument("hash", _STRING, "Hash of the plan's inputs, as it was offered")
    value = Argument("value", _BOOLEAN, "True to close, false to open")
    command = Argument("address", _STRING, "Address of the commanded data object (CSWI1/Pos)")
    step = Argument("step", _COUNT, "Number of the step that is released; 0 only where a plan runs as a whole")
    event = Argument("eventId", _STRING, "Id of the event that is ended")
    fault = Argument("fault", _STRING, "Address of the line, node or zone that is to be faulted")
    return [
        MethodSpec(owner, "StartFlisr", (FEEDER,), EVENT_RESULT, operate, "Begin an event by hand"),
        MethodSpec(owner, "Locate", (FEEDER,), LOCATION_RESULT, operate, "Where the fault is"),
        MethodSpec(owner, "Plan", (FEEDER,), PLAN_RESULT, operate, "The offered plan; makes one when there is none"),
        MethodSpec(owner, "Confirm", (PLAN, hash_), PLAN_RESULT, operate, "Confirm the offered plan: it runs"),
        MethodSpec(owner, "Execute", (PLAN, step), PLAN_RESULT, operate, "Release one step (mode confirm-step)"),
        MethodSpec(owner, "Stop", (FEEDER,), EVENT_RESULT, operate, "Stop at once; the event and its guard stay"),
        MethodSpec(owner, "EndEvent", (FEEDER, event, REASON), EVENT_RESULT, Right.SUPERVISE,
                   "A supervisor's word that an event is over: its fault is guarded no longer"),
        MethodSpec(owner, "ReturnToNormal", (FEEDER,), EVENT_RESULT, operate, "Plan the way back after the repair"),
        MethodSpec(owner, "SetMode", (FEEDER, mode), TAG_RESULT, operate, "Mode of a feeder; auto is a supervisor's"),
        MethodSpec(owner, "SetTag", (_ADDRESS, _KIND, REASON), TAG_RESULT, operate, "Set a safety tag"),
        MethodSpec(owner, "ClearTag", (_ADDRESS, _KIND, REASON), TAG_RESULT, operate, "Remove a safety tag"),
        MethodSpec(owner, "Inhibit", (Argument("on", _BOOLEAN, "No automatic sequence"), REASON), TAG_RESULT, operate,
                   "Storm or maintenance: nothing runs by itself"),
        MethodSpec(owner, "Presence", (), TAG_RESULT, operate, "An operator is there and watches"),
        MethodSpec(owner, "Simulate", (fault,), PLAN_RESULT, read, "What would be planned for a fault; no commands"),
        MethodSpec(owner, "ApproveOverride", (command, value, REASON), TAG_RESULT, Right.CONFIGURE,
                   "An engineer's word that an operator may override the twin interlock once"),
    ]  # fmt: skip


def event_outputs(event: Event | None, text: str) -> tuple[Any, ...]:
    """Outputs of `EVENT_RESULT`."""
    if event is None:
        return "", State.IDLE.name, text
    return event.trigger.event, event.state.name, text or event.reason


def location_outputs(event: Event | None, location: Location | None, text: str) -> tuple[Any, ...]:
    """Outputs of `LOCATION_RESULT`."""
    zones = {} if location is None else location.posterior
    candidates = () if location is None else location.candidates
    return (*event_outputs(event, text), list(zones), [float(each) for each in zones.values()], list(candidates))


def plan_outputs(
    event: Event | None, location: Location | None, offer: Offer | None, records: Sequence[StepRecord], text: str
) -> tuple[Any, ...]:
    """Outputs of `PLAN_RESULT`."""
    head = location_outputs(event, location, text)
    if offer is None:
        return (*head, "", "", "", [], [], [], [], [], [], [], 0.0, 0.0, float("nan"), [])
    plan, result = offer.plan, offer.result
    steps: Sequence[Step] = plan.steps
    states = {id(record.step): str(record.state) for record in records}
    left: Sequence[Unrestored] = () if result is None else result.unrestored
    warnings = [*plan.warnings, *(() if result is None else result.warnings)]
    return (
        *head,
        offer.id,
        plan.inputs,
        str(plan.method),
        [step.n for step in steps],
        [step.address for step in steps],
        [str(step.action) for step in steps],
        [step.reason for step in steps],
        [states.get(id(step), "pending") for step in steps],
        [each.zone for each in left],
        [each.reason for each in left],
        0.0 if result is None else result.dead,
        0.0 if result is None else result.restored,
        float("nan") if result is None else result.v_min,
        list(dict.fromkeys(warnings)),
    )


def empty_outputs(spec: MethodSpec) -> tuple[Any, ...]:
    """As many outputs as a method has, for a refusal that has nothing to say."""
    blanks: dict[int, Any] = {_INT: 0, _DOUBLE: float("nan"), _STRING: "", _BOOLEAN: False}
    return tuple([] if argument.is_list else blanks[argument.type_id] for argument in spec.outputs)
