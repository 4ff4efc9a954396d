"""Commands to a 104 station: building the ASDU, matching the answers, and what an answer means for the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from address_space.addcause import AddCause, status_of
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from twin_gateway.drivers.contract import DeviceCommand
from twin_gateway.drivers.iec104.codec import Asdu, Information
from twin_gateway.drivers.iec104.config import common_address_of
from twin_gateway.drivers.iec104.times import NO_FLAGS, Stamp, TagFlag, Zone
from twin_gateway.drivers.iec104.types import BY_NAME, AsduType, Cause, Family, TimeTag

SELECT = 0x80
"""The S/E bit of the qualifier octet."""
_PARAMETERS, _ACTIVATION = 110, BY_NAME["P_AC_NA_1"].number
_THRESHOLD, _CYCLIC = 1, 3
"""QPM: threshold value; QPA: persistent cyclic or periodic transmission of the object."""
_NAMELESS = "the device refused without saying why (negative confirmation)"
_UNKNOWN: dict[int, tuple[str, AddCause, StatusCode]] = {
    Cause.UNKNOWN_TYPE: ("the device does not know the type", AddCause.NOT_SUPPORTED, StatusCode.BadNotSupported),
    Cause.UNKNOWN_CAUSE: ("the device does not know the cause", AddCause.NOT_SUPPORTED, StatusCode.BadNotSupported),
    Cause.UNKNOWN_COMMON_ADDRESS: (
        "the device does not know the common address",
        AddCause.INCONSISTENT_PARAMETERS,
        StatusCode.BadNodeIdUnknown,
    ),
    Cause.UNKNOWN_OBJECT_ADDRESS: (
        "the device does not know the object address",
        AddCause.INCONSISTENT_PARAMETERS,
        StatusCode.BadNodeIdUnknown,
    ),
}


class CommandRefusedError(ValueError):
    """The command cannot be put into an ASDU; nothing was sent.

    Attributes:
        outcome: what the caller is told.
    """

    def __init__(self, text: str, status: StatusCode, add_cause: AddCause = AddCause.NONE) -> None:
        super().__init__(text)
        self.outcome = Outcome(status, add_cause, "device", text)


def stamp_now(zone: Zone) -> Stamp:
    """The present as a time tag in the device's zone."""
    wall, summer = zone.from_utc(time.time_ns() // 1_000_000)
    return Stamp(wall, TagFlag.SUMMER if summer else NO_FLAGS, 7)


def _double(value: float, kind: str) -> int:
    """2 for on, 1 for off, from a boolean or a double point."""
    if isinstance(value, bool):
        return 2 if value else 1
    if kind in {"SPS", "SPC"} and value in (0, 1):
        return int(value) + 1
    if value in (1, 2):
        return int(value)
    raise CommandRefusedError(f"{value} is neither off nor on", StatusCode.BadOutOfRange)


def _element(known: AsduType, command: DeviceCommand, qualifier: int) -> tuple[int | float, int]:
    """Value and qualifier octet of the command's element."""
    value, cdc = command.value, command.point.cdc
    control = command.point.control or {}
    if value is None:
        raise CommandRefusedError("the command has no value", StatusCode.BadInvalidArgument)
    if qualifier & SELECT and (known.family is Family.WORD32 or known.number >= _PARAMETERS):
        # Neither bit strings nor parameters have an S/E bit: what was meant as a selection would be carried out.
        raise CommandRefusedError(f"{known.name} cannot be selected", StatusCode.BadNotSupported)
    pulse = int(control.get("qu") or 0) << 2
    if known.family not in {Family.COMMAND_OCTET, Family.WORD32}:
        qualifier |= _own_qualifier(known, control)
    match known.number:
        case 45 | 58:
            return _double(value, cdc) - 1, pulse | qualifier
        case 46 | 59:
            return _double(value, cdc), pulse | qualifier
        case 47 | 60:
            if isinstance(value, bool) or value not in (1, 2):
                text = f"{value} is neither 1 (lower) nor 2 (higher)"
                raise CommandRefusedError(text, StatusCode.BadOutOfRange)
            return int(value), pulse | qualifier
        case 48 | 61 | 110:
            nominal = control.get("nominal")
            scaled = float(value) / (1.0 if nominal is None else float(nominal))
            if not -1 <= scaled <= 1:
                raise CommandRefusedError(f"{value} is beyond the nominal value", StatusCode.BadOutOfRange)
            return scaled, qualifier
        case 49 | 62 | 111:
            if not -32768 <= value <= 32767 or value != int(value):
                raise CommandRefusedError(f"{value} is no 16-bit integer", StatusCode.BadOutOfRange)
            return int(value), qualifier
        case 51 | 64:
            if not 0 <= value <= 0xFFFF_FFFF or value != int(value):
                raise CommandRefusedError(f"{value} is no 32-bit string", StatusCode.BadOutOfRange)
            return int(value), 0
        case 113:
            return qualifier, 0
        case _:
            return float(value), qualifier


def _own_qualifier(known: AsduType, control: Mapping[str, Any]) -> int:
    """QL of a set-point (0 unless bound otherwise), QPM of a parameter (its kind), QPA of its activation."""
    own = control.get("qualifier")
    if known.number < _PARAMETERS:
        number, most = int(own or 0), 127
    elif known.number == _ACTIVATION:
        number, most = _CYCLIC if own is None else int(own), 3
    else:
        number, most = _THRESHOLD if own is None else int(own), 255
    if not 0 <= number <= most or (known.number >= _PARAMETERS and not number):
        raise CommandRefusedError(f"{known.name} has no qualifier {number}", StatusCode.BadConfigurationError)
    return number


def build(config: object, command: DeviceCommand, originator: int, zone: Zone) -> Asdu:
    """The ASDU of a select (S/E set) or an operate; raises CommandRefusedError when the value does not fit."""
    control = command.point.control
    known = BY_NAME.get(str(control.get("type"))) if control else None
    if control is None or known is None or not (45 <= known.number <= 64 or known.number >= _PARAMETERS):
        raise CommandRefusedError("the point has no command binding", StatusCode.BadNotSupported)
    value, extra = _element(known, command, SELECT if command.verb is Verb.SELECT else 0)
    place = {"common_address": control.get("common_address", command.point.fields.get("common_address"))}
    tag = stamp_now(zone) if known.time is TimeTag.CP56 else None
    element = Information(int(control["ioa"]), value, extra, 0, tag)
    return Asdu(
        known.number,
        Cause.DEACTIVATION if known.number == _ACTIVATION and not command.value else Cause.ACTIVATION,
        common_address_of(config, place),
        (element,),
        test=command.test,
        originator=originator,
    )


Key = tuple[int, int, int]


def key_of(asdu: Asdu) -> Key:
    """What ties an answer to its request: type, common address, object address."""
    return asdu.type, asdu.common_address, asdu.objects[0].address


def answers(request: Asdu, answer: Asdu) -> bool:
    """Whether a confirmation mirrors the request: an old answer must not confirm another command."""
    asked, told = request.objects[0], answer.objects[0]
    return _same_value(request, answer) and (asked.extra ^ told.extra) & SELECT == 0


def _same_value(request: Asdu, answer: Asdu) -> bool:
    """States are mirrored exactly; set-points may come back rounded."""
    states = BY_NAME[answer.name].family is Family.COMMAND_OCTET
    return answer.test == request.test and (not states or request.objects[0].value == answer.objects[0].value)


@dataclass(slots=True)
class Pending:
    """A request that waits for the device.

    Attributes:
        confirmed: result is the answer that confirms or refuses.
        terminated: result is the activation termination.
    """

    request: Asdu
    confirmed: asyncio.Future[Asdu] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    terminated: asyncio.Future[Asdu] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def take(self, answer: Asdu) -> bool:
        """Take an answer; False when it is none of ours."""
        if answer.cause == Cause.ACTIVATION_TERM:
            # The S/E bit does not matter here: devices end a command with the bit of its selection. An end without a
            # confirmation belongs to an earlier command.
            if not self.confirmed.done() or self.terminated.done() or not _same_value(self.request, answer):
                return False
            self.terminated.set_result(answer)
            return True
        mirrored = answers(self.request, answer)
        withdrawn = self.request.cause == Cause.DEACTIVATION and answer.cause == Cause.DEACTIVATION_CON
        # A device that knows no deactivation may answer one with another activation confirmation.
        if self.confirmed.done() or not (
            answer.cause in _UNKNOWN or (mirrored and (withdrawn or answer.cause == Cause.ACTIVATION_CON))
        ):
            return False
        self.confirmed.set_result(answer)
        return True

    def fail(self, problem: Exception) -> None:
        """The link is gone: nobody will answer."""
        for waiting in (self.confirmed, self.terminated):
            if not waiting.done():
                waiting.set_exception(problem)
                waiting.exception()  # whoever still waits sees it; nobody waiting is no fault

    def withdraw(self) -> None:
        """Nobody waits any more."""
        self.confirmed.cancel()
        self.terminated.cancel()


def refusal(answer: Asdu, command: DeviceCommand) -> Outcome | None:
    """The outcome of an answer that refuses; None when it confirms."""
    known = _UNKNOWN.get(answer.cause)
    if known is not None:
        text, add_cause, status = known
        return Outcome(status, add_cause, "device", f"{text} ({answer.name})", command.command_id, sent=True)
    if command.verb is Verb.CANCEL and answer.cause == Cause.ACTIVATION_CON:
        text = "the device does not cancel: it confirmed the selection again, which will run out by itself"
        return Outcome(
            StatusCode.BadNotSupported, AddCause.NOT_SUPPORTED, "device", text, command.command_id, sent=True
        )
    if answer.negative:
        add_cause = AddCause.SELECT_FAILED if command.verb is Verb.SELECT else AddCause.UNKNOWN
        return Outcome(status_of(add_cause), add_cause, "device", _NAMELESS, command.command_id, sent=True)
    return None


def unknown_outcome(text: str, command: DeviceCommand) -> Outcome:
    """The outcome of a command that left and was never answered."""
    return Outcome(
        StatusCode.BadTimeout,
        AddCause.TIME_LIMIT_OVER,
        "device",
        f"{text}; sent, outcome unknown, not repeated",
        command.command_id,
        sent=True,
    )
