"""What people may say to FLISR: rights, audit before effect, and the answers of its methods."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from address_space import clock
from address_space.ports import AuditRecord, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.commands.desk import CommandDesk
from twin_gateway.commands.tags import TagAnswer, TagKind, TagStore, one_line
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.flisr.case import Case
from twin_gateway.functions.flisr.cases import Cases
from twin_gateway.functions.flisr.methods import empty_outputs, event_outputs, location_outputs, plan_outputs, specs
from twin_gateway.functions.flisr.points import owner_of
from twin_gateway.functions.flisr.settings import FlisrSettings
from twin_gateway.functions.flisr.simulate import simulate
from twin_gateway.grid.model import Position
from twin_gateway.twin.flisr.states import Cause, Mode, State, Trigger
from twin_gateway.twin.flisr.watch import event_id
from twin_gateway.twin.flisr.words import Verdict

log = logging.getLogger(__name__)
FOUR_EYES_S = 600.0
MAX_TEXT = 500
_MODES = {"off": Mode.OFF, "monitor": Mode.MONITOR, "advise": Mode.ADVISE, "confirm-step": Mode.CONFIRM_STEP,
          "auto": Mode.AUTO}  # fmt: skip
_OF_EVENTS = frozenset({"StartFlisr", "Locate", "Plan", "Confirm", "Execute", "Stop", "EndEvent", "ReturnToNormal",
                        "SetMode", "Inhibit", "Presence"})  # fmt: skip
"""Methods that rest on what the journal says."""
_GOOD = int(StatusCode.Good)
_BAD = 0x8000_0000


class _RefusedError(Exception):
    """A call that is not taken."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class People:
    """The methods at the area's FLISR object."""

    def __init__(self, context: TwinContext, settings: FlisrSettings, cases: Cases, desk: CommandDesk) -> None:
        self._policy = context.policy
        self._audit = context.audit
        self._cases = cases
        self._settings = settings
        self._desk = desk
        self._owner = owner_of(context.place)
        self._place = context.place
        self._specs = {spec.name: spec for spec in specs(self._owner)}
        self._auto_asked: dict[str, tuple[Caller, float]] = {}
        self._calls: dict[str, Callable[[Sequence[Any], Caller], Awaitable[MethodResult]]] = {
            "StartFlisr": self._start,
            "Locate": self._locate,
            "Plan": self._plan,
            "Confirm": self._confirm,
            "Execute": self._execute,
            "Stop": self._stop,
            "EndEvent": self._end,
            "ReturnToNormal": self._return,
            "SetMode": self._set_mode,
            "SetTag": self._set_tag,
            "ClearTag": self._clear_tag,
            "Inhibit": self._inhibit,
            "Presence": self._presence,
            "Simulate": self._simulate,
            "ApproveOverride": self._approve,
        }

    def specs(self) -> list[MethodSpec]:
        """All methods."""
        return list(self._specs.values())

    async def call(self, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run a method; a refusal has as many outputs as an answer."""
        spec = self._specs[name]
        try:
            if len(arguments) != len(spec.inputs):
                wanted = ", ".join(argument.name for argument in spec.inputs)
                raise _RefusedError(StatusCode.BadInvalidArgument, f"{name} takes {len(spec.inputs)}: {wanted}")
            if any(isinstance(each, str) and not _readable(each) for each in arguments):
                text = f"texts have at most {MAX_TEXT} characters, on one line"
                raise _RefusedError(StatusCode.BadInvalidArgument, text)
            if name in _OF_EVENTS and not self._cases.ready:
                raise _RefusedError(StatusCode.BadOutOfService, "FLISR has not read its journal yet")
            result = await self._calls[name](["" if each is None else each for each in arguments], caller)
        except _RefusedError as error:
            result = MethodResult(error.status, self._said(spec, str(error)), str(error))
        except Exception as error:
            log.exception("%s failed", name)
            text = f"{name} failed: {error}"
            result = MethodResult(StatusCode.BadInternalError, self._said(spec, text), text)
        if result.status & _BAD and spec.right is not Right.READ:
            await self._refused(name, arguments, caller, result)
        return result

    async def _refused(self, name: str, arguments: Sequence[Any], caller: Caller, result: MethodResult) -> None:
        """That somebody tried is in the audit as well; nothing has been done, so the answer stands without."""
        record = AuditRecord(
            clock.now(), f"flisr.{name}.refused", caller.user, caller.client, self._owner, status=int(result.status),
            text=one_line(result.text), details={"arguments": [one_line(str(each)[:MAX_TEXT]) for each in arguments],
                                                 "roles": sorted(caller.roles)},
        )  # fmt: skip
        try:
            await self._audit.append(record)
        except Exception:
            log.exception("the audit journal cannot be written")

    @staticmethod
    def _said(spec: MethodSpec, text: str) -> tuple[Any, ...]:
        outputs = list(empty_outputs(spec))
        place = [argument.name for argument in spec.outputs].index("text")
        outputs[place] = text
        return tuple(outputs)

    # ---- rights and audit -----------------------------------------------------------------------------------------

    def _allowed(self, caller: Caller, right: Right, address: str) -> None:
        if not self._policy.permits(caller, right, address):
            raise _RefusedError(StatusCode.BadUserAccessDenied, f"This needs the right to {right} at {address}")

    def _feeder(self, caller: Caller, feeder: str, right: Right = Right.OPERATE) -> str:
        if feeder not in self._cases.feeders:
            raise _RefusedError(StatusCode.BadNoMatch, f"{feeder!r} is no feeder of the grid model")
        self._allowed(caller, right, feeder)
        return feeder

    def _event(self, caller: Caller, feeder: str) -> Case:
        case = self._cases.case(self._feeder(caller, feeder))
        if case is None:
            raise _RefusedError(StatusCode.BadInvalidState, f"There is no event of {feeder}")
        return case

    def _by_plan(self, caller: Caller, plan: str) -> Case:
        case = self._cases.by_plan(plan)
        if case is None:
            raise _RefusedError(StatusCode.BadInvalidState, f"Plan {plan!r} is not offered (any more)")
        self._allowed(caller, Right.OPERATE, case.sequence.trigger.feeder)
        return case

    def _may_switch(self, caller: Caller, case: Case) -> None:
        """Who lets a plan run may operate all its switches, those of neighbours too: no plan ends half-way for that."""
        offer = case.sequence.offer
        for step in offer.plan.steps if offer is not None else ():
            self._allowed(caller, Right.OPERATE, step.address)

    async def _record(self, kind: str, caller: Caller, address: str, text: str, **details: Any) -> None:
        """On disk before it has effect; without audit nothing happens."""
        record = AuditRecord(
            clock.now(), f"flisr.{kind}", caller.user, caller.client, address, text=text,
            details={**details, "roles": sorted(caller.roles)},
        )  # fmt: skip
        try:
            await self._audit.append(record)
        except Exception as error:
            log.exception("the audit journal cannot be written")
            text = f"The audit journal cannot be written ({error})"
            raise _RefusedError(StatusCode.BadResourceUnavailable, text) from error

    # ---- events ---------------------------------------------------------------------------------------------------

    async def _start(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        feeder = self._feeder(caller, arguments[0])
        case = self._cases.case(feeder)
        if case is not None:
            return MethodResult(_GOOD, event_outputs(case.sequence, "there is an event already"))
        if self._cases.mode(feeder) is Mode.OFF:
            raise _RefusedError(StatusCode.BadInvalidState, f"FLISR of {feeder} is off")
        head = self._cases.eye.network.grid.feeders[feeder].head
        if self._cases.eye.position(head) is not Position.OPEN:
            raise _RefusedError(StatusCode.BadInvalidState, f"{head} is not open: nothing has tripped")
        await self._record("start", caller, feeder, "begun by hand")
        if self._cases.case(feeder) is None:
            opened = self._cases.eye.last_move(head) or self._cases.now()
            event = event_id(feeder, Cause.OPERATOR, opened)
            text = f"begun by {caller.user}"
            trigger = Trigger(event, feeder, Cause.OPERATOR, opened, opened, clock_good=False, text=text)
            self._cases.begin(trigger, caller)
        case = self._cases.case(feeder)
        if case is None:
            raise _RefusedError(StatusCode.BadInvalidState, "this event has ended already")
        return MethodResult(_GOOD, event_outputs(case.sequence, ""))

    async def _locate(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        sequence = self._event(caller, arguments[0]).sequence
        return MethodResult(_GOOD, location_outputs(sequence, sequence.location, ""))

    async def _plan(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        case = self._event(caller, arguments[0])
        sequence = case.sequence
        text = ""
        if sequence.state in (State.LOCATED, State.ABORTED, State.BLOCKED, State.PARTIAL, State.RESTORED):
            await self._record("plan", caller, sequence.trigger.feeder, "a new plan", event=sequence.trigger.event)
            verdict, actions = sequence.plan_anew(self._cases.now())
            self._cases.apply(case, actions)
            text = verdict.text
        return self._answer_plan(case, Verdict(True, text))

    async def _confirm(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        plan, inputs = arguments
        case = self._by_plan(caller, plan)
        event = case.sequence.trigger.event
        self._may_switch(caller, case)
        await self._record("confirm", caller, case.sequence.trigger.feeder, plan, hash=inputs, event=event)
        verdict, actions = case.sequence.confirm(plan, inputs, self._cases.now(), case.view)
        if verdict.ok and actions:
            case.authority = caller
        self._cases.apply(case, actions)
        return self._answer_plan(case, verdict)

    async def _execute(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        plan, step = arguments[0], int(arguments[1] or 0)
        case = self._by_plan(caller, plan)
        event = case.sequence.trigger.event
        self._may_switch(caller, case)
        await self._record("execute", caller, case.sequence.trigger.feeder, plan, step=step, event=event)
        verdict, actions = case.sequence.release(plan, step, self._cases.now())
        if verdict.ok and actions:
            case.authority = caller
        self._cases.apply(case, actions)
        return self._answer_plan(case, verdict)

    async def _stop(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        case = self._event(caller, arguments[0])
        # Stopping does not wait for the audit: it is the safe side.
        verdict, actions = case.sequence.stop(caller.user, self._cases.now())
        self._cases.apply(case, actions)
        await self._record("stop", caller, arguments[0], verdict.text, event=case.sequence.trigger.event)
        return MethodResult(_GOOD, event_outputs(case.sequence, verdict.text))

    async def _end(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        feeder, event, reason = arguments
        self._feeder(caller, feeder, Right.SUPERVISE)
        case = self._event(caller, feeder)
        if not reason.strip():
            raise _RefusedError(StatusCode.BadInvalidArgument, "a reason is needed")
        await self._record("end", caller, feeder, reason, event=event)
        if case.sequence.trigger.event != event or self._cases.case(feeder) is not case:
            raise _RefusedError(StatusCode.BadInvalidState, f"{event!r} is not the event of {feeder}")
        verdict, actions = case.sequence.end(caller.user, reason.strip(), self._cases.now())
        self._cases.apply(case, actions)
        status = _GOOD if verdict.ok else int(StatusCode.BadInvalidState)
        return MethodResult(status, event_outputs(case.sequence, verdict.text), verdict.text)

    async def _return(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        feeder = self._feeder(caller, arguments[0])
        case = self._cases.case(feeder)
        await self._record("return", caller, feeder, "return to normal")
        if case is None:
            now = self._cases.now()
            event = event_id(feeder, Cause.RETURN, now)
            text = f"asked for by {caller.user}"
            case = self._cases.begin(Trigger(event, feeder, Cause.RETURN, now, now, text=text), caller)
            if case is None:
                raise _RefusedError(StatusCode.BadInvalidState, f"FLISR of {feeder} is off")
        verdict, actions = case.sequence.return_to_normal(self._cases.now())
        self._cases.apply(case, actions)
        status = _GOOD if verdict.ok else int(StatusCode.BadInvalidState)
        return MethodResult(status, event_outputs(case.sequence, verdict.text), verdict.text)

    def _answer_plan(self, case: Case, verdict: Verdict) -> MethodResult:
        sequence = case.sequence
        outputs = plan_outputs(sequence, sequence.location, sequence.offer, sequence.history, verdict.text)
        return MethodResult(_GOOD if verdict.ok else int(StatusCode.BadInvalidState), outputs, verdict.text)

    # ---- modes ----------------------------------------------------------------------------------------------------

    async def _set_mode(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        feeder, name = arguments
        if name not in _MODES:
            raise _RefusedError(StatusCode.BadInvalidArgument, f"{name!r} is no mode; {', '.join(_MODES)} are")
        mode = _MODES[name]
        asked = self._auto_asked.get(feeder)
        second = asked is not None and self._cases.now() - asked[1] <= FOUR_EYES_S and asked[0].user != caller.user
        if mode is Mode.AUTO and not second:
            self._feeder(caller, feeder, Right.SUPERVISE)
            if self._settings.four_eyes:
                await self._record("mode.asked", caller, feeder, name)
                self._auto_asked[feeder] = (caller, self._cases.now())
                return MethodResult(_GOOD, (False, "A second person must confirm the mode auto"))
        self._feeder(caller, feeder)
        await self._record("mode", caller, feeder, name)
        # Commands of an automatic feeder leave on the word of the supervisor who has made it so.
        who = asked[0] if mode is Mode.AUTO and second and asked is not None else caller
        self._auto_asked.pop(feeder, None)
        await self._cases.set_mode(feeder, mode, who)
        return MethodResult(_GOOD, (True, f"{feeder} is in mode {name}"))

    async def _inhibit(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        on, reason = arguments
        self._allowed(caller, Right.OPERATE, self._place)
        if on and not reason.strip():
            raise _RefusedError(StatusCode.BadInvalidArgument, "a reason is needed")
        await self._record("inhibit", caller, self._place, reason, on=bool(on))
        await self._cases.leave.inhibit(reason.strip() if on else "")
        return MethodResult(_GOOD, (True, "nothing runs by itself" if on else "automatic feeders may run"))

    async def _presence(self, _arguments: Sequence[Any], caller: Caller) -> MethodResult:
        self._allowed(caller, Right.OPERATE, self._place)
        await self._record("presence", caller, self._place, "an operator is there")
        await self._cases.leave.present()
        return MethodResult(_GOOD, (True, "noted"))

    # ---- tags and override ----------------------------------------------------------------------------------------

    async def _set_tag(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        address, kind, reason = arguments
        return _of_tag(await self._tags().set(address, _kind(kind), reason, caller))

    async def _clear_tag(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        address, kind, reason = arguments
        return _of_tag(await self._tags().clear(address, _kind(kind), reason, caller))

    def _tags(self) -> TagStore:
        return self._cases.eye.tags

    async def _approve(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        address, value, reason = arguments
        if self._desk.interlock is None:
            raise _RefusedError(StatusCode.BadNotSupported, "the gateway has no twin interlock")
        status, text = await self._desk.interlock.approve(address, value, reason, caller)
        return MethodResult(int(status), (status == StatusCode.Good, text), text)

    # ---- simulation -----------------------------------------------------------------------------------------------

    async def _simulate(self, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        self._allowed(caller, Right.READ, self._place)
        try:
            location, offer = await simulate(self._cases, arguments[0])
        except (KeyError, ValueError) as error:
            raise _RefusedError(StatusCode.BadInvalidArgument, str(error)) from error
        text = f"a simulation: {len(offer.plan.steps)} steps, nothing is switched"
        return MethodResult(_GOOD, plan_outputs(None, location, offer, (), text))


def _readable(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()


def _kind(text: str) -> TagKind:
    try:
        return TagKind(text)
    except ValueError as error:
        kinds = ", ".join(kind for kind in TagKind)
        raise _RefusedError(StatusCode.BadInvalidArgument, f"{text!r} is no kind of tag; {kinds} are") from error


def _of_tag(answer: TagAnswer) -> MethodResult:
    return MethodResult(int(answer.status), (answer.done, answer.text), answer.text)
