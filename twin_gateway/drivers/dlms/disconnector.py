"""Remote disconnect and reconnect (class 70): what a command becomes, and what the meter's answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from address_space.addcause import AddCause
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand
from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.errors import ActionError, DlmsError, NotNegotiatedError, SecurityError, ServiceError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.session import Progress, Session

DISCONNECTED, CONNECTED, READY = 0, 1, 2
"""Control states."""
_DISCONNECT, _RECONNECT = 1, 2
_READ_BACK_EVERY = 0.5

_OF_ACTION_RESULT = {
    1: (StatusCode.BadDeviceFailure, AddCause.BLOCKED_BY_HEALTH),
    2: (StatusCode.BadResourceUnavailable, AddCause.BLOCKED_BY_PROCESS),
    3: (StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY),
    4: (StatusCode.BadConfigurationError, AddCause.NOT_SUPPORTED),
    9: (StatusCode.BadConfigurationError, AddCause.NOT_SUPPORTED),
    11: (StatusCode.BadResourceUnavailable, AddCause.BLOCKED_BY_PROCESS),
    12: (StatusCode.BadInvalidArgument, AddCause.INCONSISTENT_PARAMETERS),
    13: (StatusCode.BadUserAccessDenied, AddCause.NO_ACCESS_AUTHORITY),
}


def wanted_state(command: DeviceCommand) -> int | Outcome:
    """DISCONNECTED or CONNECTED, or the refusal of a command that a disconnector does not know."""
    if command.verb is not Verb.OPERATE:
        return _refusal(command, StatusCode.BadNotSupported, "a meter's disconnector is operated directly")
    if command.test:
        return _refusal(command, StatusCode.BadNotSupported, "a meter's disconnector knows no test commands")
    value = command.value
    if command.point.cdc in {"DPC", "DPS"} and not isinstance(value, bool):
        value = {1: False, 2: True}.get(int(value)) if value is not None and float(value).is_integer() else None
    if value in (0, 1):
        return CONNECTED if value else DISCONNECTED
    return _refusal(command, StatusCode.BadInvalidArgument, f"{command.value!r} is neither off nor on")


def _refusal(command: DeviceCommand, status: StatusCode, text: str) -> Outcome:
    cause = AddCause.NOT_SUPPORTED if status == StatusCode.BadNotSupported else AddCause.INCONSISTENT_PARAMETERS
    return Outcome(status, cause, "device", text, command.command_id)


def method(logical_name: bytes, state: int) -> Attribute:
    """The method that brings about a state."""
    return Attribute(obis.DISCONNECT, logical_name, _RECONNECT if state == CONNECTED else _DISCONNECT)


def control_state(logical_name: bytes) -> Attribute:
    """The attribute that is read back."""
    return Attribute(obis.DISCONNECT, logical_name, 3)


def of_error(command: DeviceCommand, error: DlmsError, *, sent: bool) -> Outcome:
    """Outcome of an ACTION that the meter refused or answered with nonsense."""
    if isinstance(error, ActionError):
        status, cause = _OF_ACTION_RESULT.get(error.code, (StatusCode.Bad, AddCause.UNKNOWN))
        return Outcome(status, cause, "device", f"the meter refused: {error}", command.command_id, sent)
    if isinstance(error, NotNegotiatedError):
        return Outcome(
            StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", str(error), command.command_id, sent
        )
    if isinstance(error, ServiceError):
        return Outcome(
            StatusCode.Bad, AddCause.UNKNOWN, "device", f"the meter refused: {error}", command.command_id, sent
        )
    if sent:
        # A reply that is not authentic or not readable says nothing about what the meter did.
        return unknown(command, f"the answer could not be used ({error})")
    status = StatusCode.Bad if not isinstance(error, SecurityError) else StatusCode.BadNoCommunication
    return Outcome(status, AddCause.UNKNOWN, "device", str(error), command.command_id)


def unknown(command: DeviceCommand, why: str) -> Outcome:
    """Sent, outcome unknown; never repeated."""
    text = f"sent, outcome unknown: {why}; not repeated"
    return Outcome(StatusCode.BadTimeout, AddCause.TIME_LIMIT_OVER, "device", text, command.command_id, sent=True)


def after_read_back(command: DeviceCommand, wanted: int, state: int | None) -> Outcome:
    """Outcome once the meter accepted the ACTION and its control state was read (None: it could not be)."""
    if state == wanted or (wanted == DISCONNECTED and state == READY):  # ready for reconnection is off
        return Outcome(StatusCode.Good, command_id=command.command_id, sent=True)
    if state is None:
        return unknown(command, "the meter accepted, its position could not be read back")
    if state == READY:
        text = "the meter accepted, but waits for reconnection by hand (control state: ready for reconnection)"
    else:
        text = f"the meter accepted, but stays {'connected' if state == CONNECTED else 'disconnected'}"
    return Outcome(
        StatusCode.BadInvalidState, AddCause.BLOCKED_BY_PROCESS, "device", text, command.command_id, sent=True
    )


async def operate(
    session: Session, command: DeviceCommand, name: bytes, wanted: int, seen: Callable[[bytes, int], None]
) -> Outcome:
    """Has the disconnector `name` brought into a state; answers when its control state has followed.

    `seen` learns of the control state that was read back.
    """
    progress = Progress()
    try:
        async with asyncio.timeout(command.timeout):
            # A command that has left takes its answer's time-out from the command, not from the polling.
            step = session.association.action(method(name, wanted), encode(Tag.INT8, 0))
            await session.do(step, within=command.timeout, command=progress, turn=command.send_within)
            state = await _read_back(session, command, name, wanted)
    except DlmsError as error:
        return of_error(command, error, sent=progress.sent)
    except (OSError, TimeoutError) as error:
        if progress.sent:
            return unknown(command, str(error) or "no answer in time")
        text = f"not sent: {error or 'the association was busy too long'}"
        cause = AddCause.ABORTION_BY_COMMUNICATION_LOSS
        return Outcome(StatusCode.BadNoCommunication, cause, "link", text, command.command_id)
    if state is not None:
        seen(name, state)
    return after_read_back(command, wanted, state)


async def _read_back(session: Session, command: DeviceCommand, name: bytes, wanted: int) -> int | None:
    """Reads the control state until it has followed or the time of the command is nearly over; None: unreadable."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(command.timeout / 2, 10.0)
    while True:
        state: int | None = None
        try:
            value = await session.do(session.association.get(control_state(name)), command=Progress())
            state = value if isinstance(value, int) and not isinstance(value, bool) else None
        except DlmsError:
            # An unreadable state is asked for again, and told as unknown in the end.
            pass
        if state in {wanted, READY} or loop.time() + _READ_BACK_EVERY > deadline:
            return state
        await asyncio.sleep(_READ_BACK_EVERY)
