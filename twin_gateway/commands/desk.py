"""The command desk: one command through gates, selection, device and feedback, audited before and after."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace

from address_space import clock
from address_space.addcause import AddCause
from address_space.events import Event, EventJournal
from address_space.ports import AccessPolicy, AuditRecord, Caller, Command, Outcome, Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.audit.journal import AuditJournal, RequestMisusedError
from twin_gateway.commands import gates
from twin_gateway.commands.feedback import await_position
from twin_gateway.commands.interlock import TwinInterlock
from twin_gateway.commands.selection import Selections
from twin_gateway.commands.tags import SafetyTag, TagStore, one_line
from twin_gateway.commands.target import ControlTarget, build_target
from twin_gateway.commands.under_way import UnderWay
from twin_gateway.commands.value import AUTOMATIC, command_value, device_value
from twin_gateway.drivers.contract import DeviceCommand
from twin_gateway.twin.interlock import Violation

log = logging.getLogger(__name__)
MAX_REASON = 500
MAX_REQUEST_ID = 500
_EARLY_S = 1.0
"""A command may be issued so far ahead of our clock (it has been set back meanwhile)."""
_CONTROL_MODELS = {"direct-normal": 1, "sbo-normal": 2, "direct-enhanced": 3, "sbo-enhanced": 4}
"""ctlModel of IEC 61850-7-3 by the words of the mappings."""


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """Times of the command desk, seconds.

    Attributes:
        max_age: commands issued longer ago are dropped.
        device_timeout: wait for the device's confirmation.
        feedback_timeout: wait for the position to follow.
        selection_time: how long a selection stands.
        min_interval: least time between two commands to one data object.
    """

    max_age: float = 2.0
    device_timeout: float = 10.0
    feedback_timeout: float = 10.0
    selection_time: float = 30.0
    min_interval: float = 0.5


@dataclass(frozen=True, slots=True)
class SentCommand:
    """The last command to a data object that left the gateway.

    Attributes:
        time: FILETIME ticks when it was handed to the device.
        value: what it asked for, in the form of `command_value`.
        origin_category: 3 a person, 6 an automatic function.
    """

    time: int
    value: int | float | bool | None
    origin_category: int
    user: str


class CommandDesk:
    """The `CommandDesk` port. Every attempt is on disk before it leaves, and its outcome after it came.

    Args:
        tags: operators' safety tags (gate `tag`); None for a gateway without.
        interlock: the grid model's word (gate `twin-interlock`); None for a gateway without a grid model.
    """

    def __init__(
        self,
        table: PointTable,
        targets: Iterable[ControlTarget],
        *,
        policy: AccessPolicy | None,
        audit: AuditJournal | None,
        events: EventJournal,
        settings: DeskSettings | None = None,
        tags: TagStore | None = None,
        interlock: TwinInterlock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self.tags = tags
        self.interlock = interlock
        self._targets = {target.address.text: target for target in targets}
        self._policy = policy
        self._audit = audit
        self._events = events
        self._settings = settings or DeskSettings()
        self._now = monotonic
        self._selections = Selections(self._settings.selection_time, monotonic)
        self._busy: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._sent: dict[str, SentCommand] = {}
        self._running: dict[str, tuple[str, asyncio.Future[Outcome]]] = {}
        self._works: set[asyncio.Future[Outcome]] = set()
        self._leaving: dict[str, tuple[ControlTarget, Command]] = {}
        self.under_way = UnderWay()
        if tags is not None:
            tags.under_way = self._cannot_stop
        self._closing = False
        self.counters = {"commands": 0, "refused": 0, "confirmed": 0, "unknown": 0}

    def add(self, targets: Iterable[ControlTarget]) -> None:
        """Take commands for further data objects."""
        self._targets.update({target.address.text: target for target in targets})

    def remove(self, addresses: Iterable[str]) -> None:
        """Take no more commands for data objects; those under way end as they do."""
        for address in addresses:
            if self._targets.pop(address, None) is not None:
                self._selections.spend(address)

    def renew(self, bays: Container[str] | None = None) -> None:
        """Look again for the points of the gates, after points have been added or removed; in some bays or in all."""
        self._targets = {
            address: build_target(self._table, target.point, target.link, target.profile)
            if bays is None or target.bay in bays
            else target
            for address, target in self._targets.items()
        }

    async def drain(self) -> None:
        """Refuse whatever still comes, and wait until every command under way has its outcome in the audit."""
        self._closing = True
        while self._works:
            await asyncio.wait(set(self._works))

    def controllable(self, address: str) -> bool:
        """Whether the data object has a command binding."""
        return address in self._targets

    def target(self, address: str) -> ControlTarget | None:
        """What commands of a data object go to; None without a command binding."""
        return self._targets.get(address)

    def needs_selection(self, address: str) -> bool:
        """Whether the data object is selected before it is operated."""
        target = self._targets.get(address)
        return target is not None and target.needs_selection

    def control_model(self, address: str) -> int | None:
        """The ctlModel (1 to 4) of a data object as the mapping says it; None where it leaves that to the device."""
        target = self._targets.get(address)
        model = target.point.control.get("model") if target is not None and target.point.control is not None else None
        return _CONTROL_MODELS.get(str(model))

    def last_sent(self, address: str) -> SentCommand | None:
        """The last operate command to a data object that left the gateway since it started; None for none."""
        return self._sent.get(address)

    async def select(self, command: Command, caller: Caller) -> Outcome:
        """Select before operate; the selection stands for the same session and value only."""
        return await self._take(replace(command, verb=Verb.SELECT), caller)

    async def operate(self, command: Command, caller: Caller) -> Outcome:
        """Operate; Good only when the device confirmed and the position followed."""
        return await self._take(replace(command, verb=Verb.OPERATE), caller)

    async def cancel(self, command: Command, caller: Caller) -> Outcome:
        """Give a selection back; a test command where the selection was one."""
        test = command.test or self._selections.tests(command.address, caller)
        return await self._take(replace(command, verb=Verb.CANCEL, test=test), caller)

    # ---- one command ----------------------------------------------------------------------------------------------

    async def _take(self, command: Command, caller: Caller) -> Outcome:
        self.counters["commands"] += 1
        command = replace(command, reason=one_line(command.reason[:MAX_REASON]))
        request = f"{caller.user}\x00{command.request_id}" if command.request_id else ""
        if request in self._running:
            # The same request again while the first is under way: one command, one answer.
            asked, running = self._running[request]
            if asked != _text_of(command):
                return await self._misused(command, caller, "The request id is in use for another command")
            return await asyncio.shield(running)
        if len(request) > MAX_REQUEST_ID:
            text = f"A request id has at most {MAX_REQUEST_ID} characters"
            return await self._misused(replace(command, request_id=command.request_id[:40] + "…"), caller, text)
        work = asyncio.ensure_future(self._audited(command, caller, request))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        if request:
            self._running[request] = (_text_of(command), work)
            work.add_done_callback(lambda _done: self._running.pop(request, None))
        # A client that goes away does not stop a command that may have left: its outcome is still audited.
        return await asyncio.shield(work)

    async def _misused(self, command: Command, caller: Caller, text: str) -> Outcome:
        refusal = Outcome.refused("request", text, StatusCode.BadInvalidArgument)
        if self._audit is None:
            return self._refused(command, refusal)
        issued = self._record(f"command.{command.verb}", command, caller, "")
        return self._refused(command, await self._answered(issued, "outcome", refusal))

    async def _audited(self, command: Command, caller: Caller, request: str) -> Outcome:
        command_id = uuid.uuid4().hex
        if self._audit is None:
            return self._refused(command, Outcome.refused("audit", "Commands are refused: there is no audit journal"))
        issued = self._record(f"command.{command.verb}", command, caller, command_id)
        try:
            first = await self._audit.begin_request(request, _text_of(command), issued)
        except RequestMisusedError as error:
            refusal = Outcome.refused("request", f"{error}", StatusCode.BadInvalidArgument)
            return self._refused(command, await self._answered(issued, "outcome", refusal))
        except Exception as error:
            log.exception("the audit journal cannot be written; the command is refused")
            text = f"Commands are refused: the audit journal cannot be written ({error})"
            return self._refused(command, Outcome.refused("audit", text, StatusCode.BadResourceUnavailable))
        if first is not None:
            return await self._answered(issued, "repeated", first)
        try:
            outcome, notes = await self._carry_out(command, caller, command_id)
        except Exception as error:  # of a gate: what happens from the device on is an outcome
            log.exception("command %s: a gate failed; the command is refused", command_id)
            text = f"A gate failed ({type(error).__name__}: {one_line(str(error))}); nothing was sent"
            outcome, notes = Outcome.refused("internal", text, StatusCode.BadInternalError), []
        outcome = replace(outcome, command_id=command_id)
        self._count(command, outcome)
        record = replace(
            issued,
            time=clock.now(),
            kind=f"command.{command.verb}.outcome",
            status=outcome.status,
            text=outcome.text,
            details={"gate": outcome.gate, "addCause": int(outcome.add_cause), "sent": outcome.sent, "notes": notes},
        )
        try:
            await self._audit.end_request(request, outcome, record)
        except Exception:
            # The deed is done and its attempt is on disk; that its outcome is missing must be seen.
            log.exception("the outcome of command %s could not be written to the audit journal", command_id)
            self._events.append(
                Event("G02", f"Audit journal: outcome of command {command_id} lost", 800, command.address)
            )
        return outcome

    async def _answered(self, issued: AuditRecord, how: str, outcome: Outcome) -> Outcome:
        """The outcome, once an attempt that was answered without the device is in the audit too."""
        assert self._audit is not None  # noqa: S101 - its only caller has looked
        details = {**issued.details, "gate": outcome.gate, "first": outcome.command_id}
        kind = f"{issued.kind}.{how}"
        try:
            await self._audit.append(
                replace(issued, kind=kind, status=outcome.status, text=outcome.text, details=details)
            )
        except Exception:  # nothing left the gateway; the answer stands
            log.exception("the audit journal cannot be written")
            self._events.append(Event("G02", f"Audit journal: {kind} lost", 800, issued.address))
        return outcome

    async def _carry_out(self, command: Command, caller: Caller, command_id: str) -> tuple[Outcome, list[str]]:
        target = self._targets.get(command.address)
        link = target.link.name if target is not None else ""
        await self.under_way.free(command.address, link, self._settings.max_age)
        target = self._targets.get(command.address)
        if target is None:
            text = f"{command.address} has no command binding"
            return Outcome.refused("binding", text, StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED), []
        if self._closing:
            return Outcome.refused("stop", "The gateway is stopping", StatusCode.BadResourceUnavailable), []
        stale = self._stale(command)
        if stale is not None:
            return stale, []
        switch = self.interlock.switch_of(command.address) if self.interlock is not None else ""
        try:
            if command.value is None and command.verb is not Verb.CANCEL:
                raise ValueError(f"{command.verb} needs a value")
            command = replace(command, value=command_value(target.point.cdc, command.value))
            value = device_value(target.point.cdc, target.profile, command.value)
        except ValueError as error:
            text = f"{command.address}: {error}"
            refusal = Outcome.refused("value", text, StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS)
            return refusal, []
        report = gates.check(self._table, self._policy, target, command, caller, tags=self.tags, switch=switch)
        if report.refusal is not None:
            return report.refusal, report.notes
        emergency = gates.is_emergency(target, command)
        keys = {f"link {target.link.name}", f"bay {target.bay}"}
        if not emergency:
            busy = self._one_at_a_time(keys) or self._too_soon(target, command)
            stopped = busy or await self._twin_interlock(target, command, caller, command_id, report)
            # The audit of an override is awaited: the place may have been taken meanwhile, the command grown old.
            stopped = stopped or self._stale(command) or self._one_at_a_time(keys)
            if stopped is not None:
                return stopped, report.notes
        else:
            report.notes.append("1-of-n, rate, twin-interlock: skipped, an operator opens a breaker")
        taken = gates.release(self._table, target, command, report, switch)
        taken = taken or self._selections.refusal(target, command, caller)
        same = self._targets.get(command.address) == target
        taken = taken or self.under_way.refusal(command.address, target.link.name, same)
        if taken is not None:
            return taken, report.notes
        self._last[command.address] = self._now()
        device_command = DeviceCommand(
            command.verb,
            target.point,
            value,
            command_id,
            command.test,
            command.interlock_check,
            command.synchro_check,
            origin_category=command.origin_category,
            origin=f"{caller.user.encode()[:31].decode(errors='ignore')}:{command_id}".encode(),
            timeout=float(target.control.get("timeout") or self._settings.device_timeout),
            send_within=max(0.0, self._settings.max_age - max(0.0, _age(command))),
        )
        self._busy.update(keys)
        if gates.moves(target, switch) and command.verb is Verb.OPERATE and not command.test:
            self._leaving[command_id] = target, command
        try:
            with self.under_way.sending(command_id, command.address, target.link.name):
                return await self._send(target, command, caller, device_command), report.notes
        finally:
            self._leaving.pop(command_id, None)
            self._busy.subtract(keys)
            self._busy = +self._busy

    async def _twin_interlock(
        self, target: ControlTarget, command: Command, caller: Caller, command_id: str, report: gates.GateReport
    ) -> Outcome | None:
        """The gate of the grid model; where two persons have decided otherwise, that is in the audit before."""
        if self.interlock is None or command.verb is Verb.CANCEL or command.test:
            return None
        switch = self.interlock.switch_of(command.address)
        if not switch:
            return None
        opening = gates.opens(target, command)
        violation = self.interlock.violation(command, opening=opening)
        if violation is None:
            return None
        refusal = self._against(violation, command, caller)
        approval = None
        if violation.overridable and command.origin_category != AUTOMATIC:
            operates = command.verb is Verb.OPERATE
            approval = self.interlock.approval(command, caller, violation, opening=opening, spend=operates)
        if approval is None or self._audit is None:
            return refusal
        note = f"twin-interlock: overridden with the approval of {approval.user} ({approval.reason}): {violation.text}"
        report.notes.append(note)
        try:
            issued = self._record("override.used", command, caller, command_id)
            await self._audit.append(replace(issued, text=note))
        except Exception:
            log.exception("the audit journal cannot be written; the interlock is not overridden")
            return refusal
        # The audit was awaited: tags, positions and faults may be others than those that were overridden.
        late = gates.check(self._table, self._policy, target, command, caller, tags=self.tags, switch=switch)
        if late.refusal is not None:
            return late.refusal
        now = self.interlock.violation(command, opening=opening)
        return None if now is None or now.same(violation) else self._against(now, command, caller)

    def _against(self, violation: Violation, command: Command, caller: Caller) -> Outcome:
        if violation.tagged:
            text = f"{command.verb} against a tag: {violation.text}"
            self._events.append(Event("S09", text, 900, command.address, actor=caller.user))
        cause = AddCause.BLOCKED_BY_INTERLOCKING
        return Outcome.refused("twin-interlock", violation.text, StatusCode.BadInvalidState, cause)

    def _cannot_stop(self, tag: SafetyTag) -> str:
        found = []
        for target, command in self._leaving.values():
            switch = self.interlock.switch_of(command.address) if self.interlock is not None else ""
            opening = gates.opens(target, command)
            places = ["/".join(target.address.place), *([switch] if switch else [])]
            here = any(place == tag.address or place.startswith(f"{tag.address}/") for place in places)
            danger = self.interlock.violation(command, opening=opening) if self.interlock is not None else None
            if (here and tag.forbids(opening=opening)) or (danger is not None and danger.tagged):
                found.append(f"{'opening' if opening else 'closing'} {command.address}")
        return ", ".join(found)

    def _stale(self, command: Command) -> Outcome | None:
        age, most = _age(command), self._settings.max_age
        if -_EARLY_S <= age <= most:
            return None
        text = (
            f"The command is {age:.1f} s old; commands older than {most:g} s are dropped"
            if age > 0
            else f"The command was issued {-age:.1f} s ahead of the gateway's clock: its age is not known"
        )
        return Outcome.refused("age", text, StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER)

    def _one_at_a_time(self, keys: set[str]) -> Outcome | None:
        taken = keys & self._busy.keys()
        if not taken:
            return None
        text = f"Another command is under way in {', '.join(sorted(taken))}"
        return Outcome.refused("1-of-n", text, StatusCode.BadResourceUnavailable, AddCause.ONE_OF_N_CONTROL)

    def _too_soon(self, target: ControlTarget, command: Command) -> Outcome | None:
        # Operate after its own select, and cancel, are part of one command.
        part = command.verb is Verb.CANCEL or (
            command.verb is Verb.OPERATE and (target.needs_selection or command.address in self._selections)
        )
        last = self._last.get(command.address)
        if part or last is None:
            return None
        if self._now() - last >= self._settings.min_interval:
            return None
        text = f"Less than {self._settings.min_interval:g} s since the last command to {command.address}"
        return Outcome.refused("rate", text, StatusCode.BadResourceUnavailable, AddCause.COMMAND_ALREADY_IN_EXECUTION)

    async def _send(
        self, target: ControlTarget, command: Command, caller: Caller, device_command: DeviceCommand
    ) -> Outcome:
        command_id = device_command.command_id
        if command.verb is Verb.OPERATE and not command.test:
            self._sent[command.address] = SentCommand(clock.now(), command.value, command.origin_category, caller.user)
        watch = await_position(self._table, target, command) if command.verb is Verb.OPERATE else None
        try:
            outcome = await target.link.execute(device_command)
            if command.verb is Verb.SELECT and outcome.good:
                self._selections.note(target, command, caller)
            if watch is not None and outcome.good and not command.test:
                outcome = await watch.result(outcome, self._settings.feedback_timeout)
            return outcome
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # it is this task that is to end, with its loop
            # The driver broke its contract; the frame may be out, so the outcome is unknown.
            log.exception("command %s: the driver failed", command_id)
            text = f"The driver failed ({type(error).__name__}); the outcome is unknown and the command is not repeated"
            return Outcome(StatusCode.BadTimeout, AddCause.UNKNOWN, "device", text, command_id, sent=True)
        finally:
            if command.verb is not Verb.SELECT:
                # Operated, cancelled, failed or unknown: the selection is spent either way.
                self._selections.spend(command.address)
            if watch is not None:
                watch.close()

    # ---- book-keeping ---------------------------------------------------------------------------------------------

    def _refused(self, command: Command, outcome: Outcome) -> Outcome:
        self._count(command, outcome)
        return outcome

    def _count(self, command: Command, outcome: Outcome) -> None:
        if outcome.good:
            self.counters["confirmed"] += 1
            return
        unknown = outcome.sent and outcome.status == StatusCode.BadTimeout
        self.counters["unknown" if unknown else "refused"] += 1
        code, severity = ("S05", 500) if outcome.add_cause == AddCause.BLOCKED_BY_INTERLOCKING else ("S06", 600)
        if outcome.gate == "tag":
            code, severity = "S09", 900
        text = f"{command.verb} {command.address}: {outcome.text or 'refused'}"
        details = (("gate", outcome.gate), ("addCause", str(int(outcome.add_cause))))
        event = Event(code, text, severity, command.address, correlation=outcome.command_id, details=details)
        self._events.append(event)

    def _record(self, kind: str, command: Command, caller: Caller, command_id: str) -> AuditRecord:
        details = {
            "value": command.value,
            "test": command.test,
            "interlockCheck": command.interlock_check,
            "synchroCheck": command.synchro_check,
            "reason": command.reason,
            "requestId": command.request_id,
            "roles": sorted(caller.roles),
        }
        return AuditRecord(clock.now(), kind, caller.user, caller.client, command.address, command_id, 0, "", details)


def _age(command: Command) -> float:
    return (clock.now() - command.issued_at) / clock.TICKS_PER_SECOND


def _text_of(command: Command) -> str:
    return f"{command.verb} {command.address} {command.value!r} test={command.test}"
