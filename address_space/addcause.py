"""AddCause of a refused command and the OPC UA StatusCode it becomes."""

from __future__ import annotations

from enum import IntEnum

from address_space.quality import StatusCode


class AddCause(IntEnum):
    """ControlServiceStatusKind of IEC 61850-7-3; -1 where the device gave none."""

    NONE = -1
    UNKNOWN = 0
    NOT_SUPPORTED = 1
    BLOCKED_BY_SWITCHING_HIERARCHY = 2
    SELECT_FAILED = 3
    INVALID_POSITION = 4
    POSITION_REACHED = 5
    PARAMETER_CHANGE_IN_EXECUTION = 6
    STEP_LIMIT = 7
    BLOCKED_BY_MODE = 8
    BLOCKED_BY_PROCESS = 9
    BLOCKED_BY_INTERLOCKING = 10
    BLOCKED_BY_SYNCHROCHECK = 11
    COMMAND_ALREADY_IN_EXECUTION = 12
    BLOCKED_BY_HEALTH = 13
    ONE_OF_N_CONTROL = 14
    ABORTION_BY_CANCEL = 15
    TIME_LIMIT_OVER = 16
    ABORTION_BY_TRIP = 17
    OBJECT_NOT_SELECTED = 18
    OBJECT_ALREADY_SELECTED = 19
    NO_ACCESS_AUTHORITY = 20
    ENDED_WITH_OVERSHOOT = 21
    ABORTION_DUE_TO_DEVIATION = 22
    ABORTION_BY_COMMUNICATION_LOSS = 23
    BLOCKED_BY_COMMAND = 24
    NO_ERROR = 25
    INCONSISTENT_PARAMETERS = 26
    LOCKED_BY_OTHER_CLIENT = 27


_STATUS: dict[int, StatusCode] = {
    1: StatusCode.BadNotSupported,
    2: StatusCode.BadUserAccessDenied,
    20: StatusCode.BadUserAccessDenied,
    3: StatusCode.BadInvalidState,
    18: StatusCode.BadInvalidState,
    4: StatusCode.BadInvalidState,
    5: StatusCode.Good,
    7: StatusCode.BadOutOfRange,
    8: StatusCode.BadOutOfService,
    9: StatusCode.BadOutOfService,
    13: StatusCode.BadOutOfService,
    24: StatusCode.BadOutOfService,
    10: StatusCode.BadInvalidState,
    11: StatusCode.BadInvalidState,
    12: StatusCode.BadResourceUnavailable,
    6: StatusCode.BadResourceUnavailable,
    14: StatusCode.BadResourceUnavailable,
    15: StatusCode.BadRequestCancelledByClient,
    16: StatusCode.BadTimeout,
    26: StatusCode.BadInvalidArgument,
    19: StatusCode.BadResourceUnavailable,
    27: StatusCode.BadResourceUnavailable,
    23: StatusCode.BadNoCommunication,
}


def status_of(add_cause: int) -> StatusCode:
    """StatusCode of the method for the AddCause of a refusal; plain Bad where no better one exists."""
    return _STATUS.get(add_cause, StatusCode.Bad)


def describe(add_cause: int) -> str:
    """Readable text of an AddCause, as `Blocked by interlocking (10)`."""
    try:
        name = AddCause(add_cause).name.replace("_", " ").lower()
    except ValueError:
        name = "unknown cause"
    return f"{name} ({add_cause})"
