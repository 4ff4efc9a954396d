"""Commands by the four control models of IEC 61850-7-2: select, operate, cancel; the outcome is the device's own.

Normal security ends with the device's answer and, unless told otherwise, with the status showing the new state;
enhanced security ends with its CommandTermination. Nothing in time is "sent, outcome unknown" and is never repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from open61850.data import (
    BitStringData,
    BoolData,
    IECData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
    VisibleStringData,
)
from open61850.mms import pdu
from open61850.mms.types import PrimitiveType, StructureType

from address_space import units
from address_space.addcause import AddCause, describe, status_of
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand

from . import services
from .association import Association
from .control_values import number_data, switch_state
from .discovery import object_name
from .errors import (
    DATA_ACCESS_ERRORS,
    DataAccessError,
    MmsBusy,
    MmsConnectionError,
    MmsError,
    MmsNotSent,
    MmsProtocolError,
    MmsTimeout,
    MmsTooLarge,
    ModelError,
)
from .model import Model

STATUS_ONLY, DIRECT_NORMAL, SBO_NORMAL, DIRECT_ENHANCED, SBO_ENHANCED = range(5)
_SELECTING = (SBO_NORMAL, SBO_ENHANCED)
_ENHANCED = (DIRECT_ENHANCED, SBO_ENHANCED)
_REFUSAL_GRACE = 0.1  # LastApplError comes before the refusal; normal security has none, so do not wait long
_FIRST_LOOK, _SLOWEST_LOOK = 0.02, 0.25
_GIVE_BACK = 1.0  # seconds; a selection that cannot be given back ends by the device's own time-out
_SELECTION_TIME = 30.0  # seconds after which a selection of ours no longer speaks for the next command
_TIME_QUALITY = 0x3F  # clock not synchronised, accuracy unspecified: nothing is promised to the device
_MAX_ORIGIN = 64


@dataclass(slots=True)
class Controllable:
    """A data object that can be operated.

    Attributes:
        name: `domain/LN$CO$Pos`.
        model: ctlModel 0 to 4, as the device says.
        oper: type of Oper.
        cancel: type of Cancel, None when it has none.
        status: variable that shows the result (`…$ST$Pos$stVal`), None when there is none.
        double_point: the status is a double point.
        gain, bias: of an analog set-point: delivered = device value x gain + bias.
    """

    name: str
    model: int
    oper: StructureType
    cancel: StructureType | None = None
    status: str | None = None
    double_point: bool = False
    gain: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class _Issue:
    """What select, operate and cancel of one command have in common."""

    value: bool | float
    origin: StructureData
    number: int
    time: TimestampData
    test: bool
    checks: BitStringData

    def same(self, other: _Issue) -> bool:
        return (self.value, self.test, self.checks) == (other.value, other.test, other.checks)


@dataclass(slots=True)
class _Watch:
    """Notices about one object while a command runs."""

    name: str
    number: int | None
    error: StructureData | None
    refused: asyncio.Event
    ended: asyncio.Future[int]

    def __call__(self, notice: pdu.InformationReport) -> None:
        cause: int | None = None
        for name, result in zip(notice.variables, notice.results, strict=False):
            if name.item == "LastApplError" and isinstance(result, StructureData):
                cause = self._cause(result)
                if cause is None:
                    return  # of another command
                self.error = result
        if any(str(name) == f"{self.name}$Oper" for name in notice.variables):
            if not self.ended.done():
                self.ended.set_result(AddCause.NONE if cause is None else cause)
        elif cause is not None:
            self.refused.set()

    def _cause(self, error: StructureData) -> int | None:
        """AddCause of a LastApplError of this command; None when it is another's."""
        if len(error.members) < 5:
            return None
        about = str(getattr(error.members[0], "value", ""))
        if about != self.name and not about.startswith(f"{self.name}$"):
            return None
        if self.number is not None and getattr(error.members[3], "value", self.number) != self.number:
            return None
        return int(getattr(error.members[4], "value", AddCause.UNKNOWN))

    @property
    def cause(self) -> int:
        return AddCause.NONE if self.error is None else int(getattr(self.error.members[4], "value", AddCause.UNKNOWN))


def controllable(model: Model, name: str, constants: dict[str, bool | int | float | str]) -> Controllable:
    """What the model and the device's ctlModel say of `domain/LN$CO$DO` (ModelError when it has no Oper)."""
    oper = model.type_of(f"{name}$Oper")
    if not isinstance(oper, StructureType) or oper.component("ctlVal") is None:
        raise ModelError(f"{name} has no Oper with a ctlVal")
    cancel = model.type_of(f"{name}$Cancel")
    number = constants.get(control_model_name(name), STATUS_ONLY)
    found = Controllable(
        name,
        int(number) if isinstance(number, int) and 0 <= number <= SBO_ENHANCED else STATUS_ONLY,
        oper,
        cancel if isinstance(cancel, StructureType) else None,
    )
    for constraint, tail in (("ST", "stVal"), ("MX", "mxVal$f"), ("MX", "mxVal$i"), ("ST", "valWTr$posVal")):
        status = f"{name.replace('$CO$', f'${constraint}$')}${tail}"
        kind = model.type_of(status)
        if isinstance(kind, PrimitiveType):
            found.status = status
            found.double_point = kind.kind == "bit-string" and kind.size == 2
            break
    return found


def control_model_name(name: str) -> str:
    """The variable that holds the control model of `domain/LN$CO$DO`."""
    return f"{name.replace('$CO$', '$CF$')}$ctlModel"


class Controls:
    """Commands on one association. One at a time for each object; selections end with the association."""

    def __init__(self, link: Association, counter: itertools.count[int]) -> None:
        self._link = link
        self._counter = counter
        self._selections: dict[str, tuple[_Issue, float]] = {}  # with the loop time until which it counts
        self._busy: set[str] = set()

    async def execute(
        self,
        command: DeviceCommand,
        target: Controllable,
        *,
        limit: float,
        feedback: bool,
    ) -> Outcome:
        """Carry out a command and return the device's outcome; never raises for a refusal.

        Args:
            command: passed by the gates.
            target: the data object.
            limit: seconds until the end of the command must be known.
            feedback: with normal security, wait for the status to show the new state.
        """
        if target.model == STATUS_ONLY:
            return _outcome(command, AddCause.NOT_SUPPORTED, "the device's control model is status-only")
        if command.verb is not Verb.OPERATE and target.model not in _SELECTING:
            return _outcome(command, AddCause.NOT_SUPPORTED, "the device's control model knows no selection")
        if target.name in self._busy:
            return _outcome(command, AddCause.COMMAND_ALREADY_IN_EXECUTION, "another command on it is running")
        self._busy.add(target.name)
        now = asyncio.get_running_loop().time()
        deadline, leave_by = now + limit, now + command.send_within
        try:
            if command.verb is Verb.SELECT:
                return await self._select(command, target, self._issue(command, target), deadline, leave_by)
            if command.verb is Verb.CANCEL:
                return await self._cancel(command, target, deadline)
            return await self._operate(command, target, deadline, leave_by, feedback)
        except ModelError as error:
            return _outcome(command, AddCause.INCONSISTENT_PARAMETERS, str(error))
        finally:
            self._busy.discard(target.name)

    # -- verbs ---------------------------------------------------------------------------------------------------

    async def _select(
        self, command: DeviceCommand, target: Controllable, issue: _Issue, deadline: float, leave_by: float
    ) -> Outcome:
        # the selection of normal security is a mere read, which carries no number
        with _Watching(self._link, target.name, issue.number if target.model == SBO_ENHANCED else None) as watch:
            try:
                if target.model == SBO_ENHANCED:
                    await self._write(f"{target.name}$SBOw", _value(target.oper, issue), deadline, leave_by)
                else:
                    name = object_name(f"{target.name}$SBO")
                    turn = self._turn(leave_by)
                    (answer,) = await services.read(self._link, name, limit=self._left(deadline), turn=turn)
                    if isinstance(answer, DataAccessError):
                        raise answer
                    if not (isinstance(answer, VisibleStringData) and answer.value):
                        return await self._refusal(command, watch, AddCause.SELECT_FAILED, "the device did not select")
            except MmsError as error:
                outcome = await self._failed(command, watch, error, AddCause.SELECT_FAILED)
                # "position reached" is a good end of a command but no selection
                return replace(outcome, status=StatusCode.BadInvalidState, gate="device") if outcome.good else outcome
        self._selections[target.name] = issue, asyncio.get_running_loop().time() + _SELECTION_TIME
        return Outcome(StatusCode.Good, text="selected", command_id=command.command_id, sent=True)

    async def _cancel(self, command: DeviceCommand, target: Controllable, deadline: float) -> Outcome:
        held = self._selections.pop(target.name, None)
        if held is None or target.cancel is None:
            return _outcome(command, AddCause.OBJECT_NOT_SELECTED, "it is not selected by us")
        issue = held[0]
        with _Watching(self._link, target.name, issue.number) as watch:
            try:
                await self._write(f"{target.name}$Cancel", _value(target.cancel, issue), deadline, deadline)
            except MmsError as error:
                return await self._failed(command, watch, error, AddCause.UNKNOWN)
        return Outcome(StatusCode.Good, text="selection given back", command_id=command.command_id, sent=True)

    async def _operate(
        self, command: DeviceCommand, target: Controllable, deadline: float, leave_by: float, feedback: bool
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        issue = self._issue(command, target)
        selecting = target.model in _SELECTING
        if selecting:
            held, until = self._selections.get(target.name, (None, 0.0))
            if held is not None and loop.time() >= until:
                held = None
            if held is None and str((command.point.control or {}).get("model", "")).startswith("sbo"):
                # Whoever selects by himself is not selected for: his selection ended, as with the association.
                return _outcome(command, AddCause.OBJECT_NOT_SELECTED, "its selection has ended")
            if held is not None and not held.same(issue):
                what = "value, test flag or checks are not those that were selected"
                return _outcome(command, AddCause.INCONSISTENT_PARAMETERS, what)
            if held is None:
                outcome = await self._select(command, target, issue, deadline, leave_by)
                if outcome.add_cause == AddCause.POSITION_REACHED:
                    return _outcome(command, AddCause.POSITION_REACHED, "nothing to do", sent=True)
                if not outcome.good:
                    return outcome
                if loop.time() >= leave_by:
                    del self._selections[target.name]
                    await self._give_back(target, issue)
                    what = f"the device took longer than {command.send_within:g} s to select; not operated"
                    return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", what, command.command_id)
            issue, _ = self._selections.pop(target.name)
        with _Watching(self._link, target.name, issue.number) as watch:
            try:
                await self._write(f"{target.name}$Oper", _value(target.oper, issue), deadline, leave_by)
            except MmsError as error:
                outcome = await self._failed(command, watch, error, AddCause.UNKNOWN)
                if selecting and isinstance(error, DataAccessError | MmsBusy):
                    # A refused object may stay selected until its own time-out. Where the outcome is unknown nothing
                    # more is sent: a cancel could stop a switch on its way.
                    await self._give_back(target, issue)
                return outcome
            if target.model in _ENHANCED:
                return await self._termination(command, watch, deadline)
        if command.test or not feedback or target.status is None:
            return Outcome(StatusCode.Good, text="accepted by the device", command_id=command.command_id, sent=True)
        return await self._follow(command, target, issue, deadline)

    # -- endings -------------------------------------------------------------------------------------------------

    async def _termination(self, command: DeviceCommand, watch: _Watch, deadline: float) -> Outcome:
        loop = asyncio.get_running_loop()
        closed = self._link.closed
        await asyncio.wait(
            (watch.ended, closed), timeout=max(0.0, deadline - loop.time()), return_when=asyncio.FIRST_COMPLETED
        )
        if watch.ended.done():
            cause = watch.ended.result()
            if cause == AddCause.NONE:
                return Outcome(StatusCode.Good, text="done", command_id=command.command_id, sent=True)
            return _outcome(command, cause, "ended by the device", sent=True)
        if closed.done():
            return _unknown(command, AddCause.ABORTION_BY_COMMUNICATION_LOSS, f"the link was lost: {closed.result()}")
        return _unknown(command, AddCause.TIME_LIMIT_OVER, "no CommandTermination in time")

    async def _follow(self, command: DeviceCommand, target: Controllable, issue: _Issue, deadline: float) -> Outcome:
        """Normal security: the answer only says that the command was taken; the status says that it was done."""
        loop = asyncio.get_running_loop()
        assert target.status is not None  # noqa: S101 - the caller has looked
        variable, reached, wait = object_name(target.status), _test_of(target, issue), _FIRST_LOOK
        while True:
            try:
                (state,) = await services.read(self._link, variable, limit=self._left(deadline))
            except MmsConnectionError as error:
                return _unknown(command, AddCause.ABORTION_BY_COMMUNICATION_LOSS, f"the link was lost: {error}")
            except MmsError:
                state = DataAccessError(0)
            if reached(state):
                return Outcome(StatusCode.Good, text="done", command_id=command.command_id, sent=True)
            if loop.time() + wait > deadline:
                return _unknown(command, AddCause.TIME_LIMIT_OVER, "the status did not follow in time")
            await asyncio.sleep(wait)
            wait = min(2 * wait, _SLOWEST_LOOK)

    async def _failed(self, command: DeviceCommand, watch: _Watch, error: MmsError, otherwise: int) -> Outcome:
        if isinstance(error, MmsBusy):
            text = f"not sent: the association is busy ({error})"
            return Outcome(StatusCode.BadResourceUnavailable, AddCause.NONE, "link", text, command.command_id)
        if isinstance(error, MmsNotSent):
            text = f"not sent: the link was lost ({error})"
            cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
            return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
        if isinstance(error, ModelError | MmsTooLarge):
            return _outcome(command, AddCause.INCONSISTENT_PARAMETERS, str(error))
        if isinstance(error, MmsProtocolError):
            return _unknown(command, AddCause.UNKNOWN, f"the answer cannot be read: {error}")
        if isinstance(error, MmsTimeout):
            return _unknown(command, AddCause.TIME_LIMIT_OVER, str(error))
        if isinstance(error, MmsConnectionError):
            return _unknown(command, AddCause.ABORTION_BY_COMMUNICATION_LOSS, f"the link was lost: {error}")
        text = DATA_ACCESS_ERRORS.get(error.code, str(error)) if isinstance(error, DataAccessError) else str(error)
        return await self._refusal(command, watch, otherwise, text)

    async def _refusal(self, command: DeviceCommand, watch: _Watch, otherwise: int, text: str) -> Outcome:
        if watch.error is None:
            try:
                await asyncio.wait_for(watch.refused.wait(), _REFUSAL_GRACE)
            except TimeoutError:
                return _outcome(command, otherwise, text, sent=True)
        return _outcome(command, watch.cause, text, sent=True)

    async def _write(self, name: str, value: StructureData, deadline: float, leave_by: float) -> None:
        turn = self._turn(leave_by)
        await services.write(self._link, object_name(name), value, self._left(deadline), turn=turn)

    @staticmethod
    def _turn(leave_by: float) -> float:
        return max(0.0, leave_by - asyncio.get_running_loop().time())

    @staticmethod
    def _left(deadline: float) -> float:
        return max(0.05, deadline - asyncio.get_running_loop().time())

    async def _give_back(self, target: Controllable, issue: _Issue) -> None:
        if target.cancel is None:
            return
        name, value = object_name(f"{target.name}$Cancel"), _value(target.cancel, issue)
        try:
            await services.write(self._link, name, value, _GIVE_BACK, turn=_GIVE_BACK)
        except MmsError:
            return  # the selection then ends by the device's own time-out

    def _issue(self, command: DeviceCommand, target: Controllable) -> _Issue:
        value = command.value
        if value is None:
            raise ModelError("a command needs a value")
        kind = target.oper.component("ctlVal")
        if isinstance(kind, PrimitiveType) and kind.kind == "boolean":
            number: bool | float = switch_state(value, target.double_point)
        elif isinstance(value, bool):
            raise ModelError("a number is needed")
        else:
            numerator, denominator = units.as_fraction(target.gain)
            number = (float(value) - target.bias) * denominator / numerator
            if not math.isfinite(number):
                raise ModelError(f"{value:g} is no number to command")
        origin = target.oper.component("origin")
        category: IECData = IntData(command.origin_category)
        if isinstance(origin, StructureType) and getattr(origin.component("orCat"), "kind", "") == "unsigned":
            category = UIntData(command.origin_category)
        # bit 0 is the synchrocheck, bit 1 the interlock check
        checks = (0x80 if command.synchro_check else 0) | (0x40 if command.interlock_check else 0)
        return _Issue(
            number,
            StructureData([category, OctetStringData(command.origin[:_MAX_ORIGIN])]),
            next(self._counter) & 0xFF,
            TimestampData(datetime.now(UTC), _TIME_QUALITY),
            command.test,
            BitStringData(bytes((checks,)), 6),
        )


class _Watching:
    """Has a `_Watch` called with the notices of an association while it is entered."""

    def __init__(self, link: Association, name: str, number: int | None) -> None:
        self._link = link
        self._watch = _Watch(name, number, None, asyncio.Event(), asyncio.get_running_loop().create_future())

    def __enter__(self) -> _Watch:
        self._link.add_notice_sink(self._watch)
        return self._watch

    def __exit__(self, *_: object) -> None:
        self._link.remove_notice_sink(self._watch)


def _value(of: StructureType, issue: _Issue) -> StructureData:
    """Oper, SBOw or Cancel with the members that the type has, in its order."""
    members: list[IECData] = []
    for name, kind in of.components:
        if name == "ctlVal":
            members.append(number_data(kind, issue.value))
        elif name == "origin":
            members.append(issue.origin)
        elif name == "ctlNum":
            members.append(UIntData(issue.number))
        elif name == "T":
            members.append(issue.time)
        elif name == "Test":
            members.append(BoolData(issue.test))
        elif name == "Check":
            members.append(issue.checks)
        elif name == "operTm":
            members.append(TimestampData(datetime.fromtimestamp(0, UTC)))
        else:
            raise ModelError(f"Oper has a member {name!r} that is not known")
    return StructureData(members)


def _test_of(target: Controllable, issue: _Issue) -> Callable[[object], bool]:
    """Whether a status shows what was commanded."""
    want = issue.value
    if target.double_point:
        bits = b"\x80" if want else b"\x40"
        return lambda state: isinstance(state, BitStringData) and state.value == bits
    if isinstance(want, bool):
        return lambda state: isinstance(state, BoolData) and state.value == want

    def close(state: object) -> bool:
        value = getattr(state, "value", None)
        return isinstance(value, int | float) and abs(value - want) <= 1e-5 * max(1.0, abs(want))

    return close


def _outcome(command: DeviceCommand, cause: int, text: str, *, sent: bool = False) -> Outcome:
    status = status_of(cause)
    words = text if cause == AddCause.NONE else f"{describe(cause)}: {text}"
    gate = "" if status == StatusCode.Good else "device"
    return Outcome(status, cause, gate, words, command.command_id, sent)


def _unknown(command: DeviceCommand, cause: int, text: str) -> Outcome:
    words = f"sent, outcome unknown: {text}"
    return Outcome(StatusCode.BadTimeout, cause, "device", words, command.command_id, sent=True)
