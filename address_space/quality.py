"""Quality of a sample: one 32-bit word, its OPC UA StatusCode and the 61850 and 104 forms, both directions.

Layout of the word (also the column `quality` of the point table):
bits 0-1 validity (0 good, 1 questionable, 2 invalid), bits 2-23 the flags of `Quality`, bits 24-31 those of `TimeFlag`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import lru_cache

import numpy as np
import numpy.typing as npt

VALIDITY_MASK = 0x3
FLAGS_MASK = 0x00FF_FFFC
TIME_MASK = 0xFF00_0000


class Validity(IntEnum):
    """Validity by rising severity (61850-7-3 order is different on the wire)."""

    GOOD = 0
    QUESTIONABLE = 1
    INVALID = 2


class Quality(IntFlag):
    """Flags of the quality word: the eleven of 61850 and the gateway's own."""

    QUESTIONABLE = 1
    INVALID = 2
    OVERFLOW = 1 << 2
    OUT_OF_RANGE = 1 << 3
    BAD_REFERENCE = 1 << 4
    OSCILLATORY = 1 << 5
    FAILURE = 1 << 6
    OLD_DATA = 1 << 7
    INCONSISTENT = 1 << 8
    INACCURATE = 1 << 9
    SUBSTITUTED = 1 << 10
    TEST = 1 << 11
    OPERATOR_BLOCKED = 1 << 12
    COMM_LOST = 1 << 13
    NOT_INITIALISED = 1 << 14
    NOT_CONFIGURED = 1 << 15
    OUT_OF_SERVICE = 1 << 16
    ESTIMATED = 1 << 17
    SIMULATED = 1 << 18
    CARRY = 1 << 19
    ADJUSTED = 1 << 20
    TRANSIENT = 1 << 21
    PARTIAL = 1 << 22
    CONFIGURATION_ERROR = 1 << 23


class TimeFlag(IntFlag):
    """What is known of the source time; kept beside the quality and published as `tq`."""

    RECEIVED = 1 << 24
    """The device gave no usable time; the SourceTimestamp is the time of reception."""
    INVALID = 1 << 25
    """The device marked its time invalid (IV, clockFailure, unspecified)."""
    NOT_SYNCHRONISED = 1 << 26
    """The device's clock is not synchronised; its time is kept."""
    FUTURE = 1 << 27
    """The device's time lay more than 2 s ahead and was replaced."""
    SUMMER = 1 << 28
    """The device marked summer time (SU, DST)."""
    SUBSTITUTED = 1 << 29
    """The time was substituted on the way (104 bit SB/GEN of the time tag)."""
    DOUBTFUL = 1 << 30
    """The device marked its clock doubtful (DLMS)."""
    LEAP_KNOWN = 1 << 31
    """61850 LeapSecondsKnown."""


class StatusCode(IntEnum):
    """The OPC UA StatusCodes that the service itself gives; names and numbers of the OPC Foundation."""

    Good = 0x0000_0000
    GoodLocalOverride = 0x0096_0000
    GoodSubNormal = 0x00EB_0000
    Uncertain = 0x4000_0000
    UncertainNoCommunicationLastUsableValue = 0x408F_0000
    UncertainLastUsableValue = 0x4090_0000
    UncertainSubstituteValue = 0x4091_0000
    UncertainInitialValue = 0x4092_0000
    UncertainSensorNotAccurate = 0x4093_0000
    UncertainEngineeringUnitsExceeded = 0x4094_0000
    UncertainSubNormal = 0x4095_0000
    UncertainSimulatedValue = 0x4209_0000
    UncertainSensorCalibration = 0x420A_0000
    Bad = 0x8000_0000
    BadInternalError = 0x8002_0000
    BadTimeout = 0x800A_0000
    BadUserAccessDenied = 0x801F_0000
    BadRequestCancelledByClient = 0x802C_0000
    BadNoCommunication = 0x8031_0000
    BadWaitingForInitialData = 0x8032_0000
    BadNodeIdUnknown = 0x8034_0000
    BadNotWritable = 0x803B_0000
    BadOutOfRange = 0x803C_0000
    BadNotSupported = 0x803D_0000
    BadNoMatch = 0x806F_0000
    BadConfigurationError = 0x8089_0000
    BadMethodInvalid = 0x8075_0000
    BadNotConnected = 0x808A_0000
    BadDeviceFailure = 0x808B_0000
    BadSensorFailure = 0x808C_0000
    BadOutOfService = 0x808D_0000
    BadInvalidArgument = 0x80AB_0000
    BadInvalidState = 0x80AF_0000
    BadResourceUnavailable = 0x8004_0000
    BadConditionAlreadyDisabled = 0x8098_0000
    BadConditionDisabled = 0x8099_0000
    BadEventIdUnknown = 0x809A_0000
    BadConditionAlreadyEnabled = 0x80CC_0000
    BadConditionBranchAlreadyAcked = 0x80CF_0000
    BadConditionBranchAlreadyConfirmed = 0x80D0_0000
    BadConditionAlreadyShelved = 0x80D1_0000
    BadConditionNotShelved = 0x80D2_0000
    BadShelvingTimeOutOfRange = 0x80D3_0000


def status_of(word: int, *, dead: bool = False) -> StatusCode:
    """StatusCode of a quality word, first match wins.

    Args:
        word: the quality word; time flags do not matter.
        dead: communication has been lost longer than the `dead` time (24 h unless configured).
    """
    if word & Quality.NOT_CONFIGURED:
        return StatusCode.BadNotConnected
    if word & Quality.OUT_OF_SERVICE:
        return StatusCode.BadOutOfService
    if word & Quality.CONFIGURATION_ERROR:
        return StatusCode.BadConfigurationError
    if word & Quality.NOT_INITIALISED:
        return StatusCode.BadWaitingForInitialData
    invalid = bool(word & Quality.INVALID)
    if word & Quality.COMM_LOST:
        if invalid or dead:
            return StatusCode.BadNoCommunication
        return StatusCode.UncertainNoCommunicationLastUsableValue
    if invalid:
        if word & (Quality.BAD_REFERENCE | Quality.OVERFLOW):
            return StatusCode.BadSensorFailure
        return StatusCode.BadDeviceFailure if word & Quality.FAILURE else StatusCode.Bad
    return _usable(word)


def _usable(word: int) -> StatusCode:
    for mask, status in _USABLE_RULES:
        if word & mask:
            return status
    questionable = bool(word & Quality.QUESTIONABLE)
    if word & Quality.SUBSTITUTED:
        return StatusCode.UncertainSubstituteValue if questionable else StatusCode.GoodLocalOverride
    return StatusCode.Uncertain if questionable else StatusCode.Good


_USABLE_RULES = (
    (Quality.TEST | Quality.SIMULATED, StatusCode.UncertainSimulatedValue),
    (Quality.OPERATOR_BLOCKED | Quality.OLD_DATA, StatusCode.UncertainLastUsableValue),
    (Quality.OVERFLOW | Quality.OUT_OF_RANGE, StatusCode.UncertainEngineeringUnitsExceeded),
    (Quality.BAD_REFERENCE, StatusCode.UncertainSensorCalibration),
    (Quality.INACCURATE, StatusCode.UncertainSensorNotAccurate),
    (Quality.PARTIAL, StatusCode.UncertainSubNormal),
    (Quality.ESTIMATED, StatusCode.UncertainSubstituteValue),
)


@lru_cache(maxsize=8192)
def _status_cached(word: int) -> int:
    return int(status_of(word))


def status_column(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """StatusCodes of a column of quality words; shape kept, dtype uint32."""
    bare = words & np.uint32(~TIME_MASK & 0xFFFF_FFFF)
    if not bare.any():
        return np.zeros(len(bare), np.uint32)
    first = int(bare[0])
    if (bare == first).all():
        return np.full(len(bare), _status_cached(first), np.uint32)
    unique, inverse = np.unique(bare, return_inverse=True)
    codes = np.array([_status_cached(int(word)) for word in unique], np.uint32)
    return codes[inverse]


def worst(words: npt.NDArray[np.uint32]) -> int:
    """Quality word of a value computed from inputs: the worst validity, flags joined."""
    if not len(words):
        return int(Quality.INVALID)
    validity = int((words & VALIDITY_MASK).max())
    return validity | int(np.bitwise_or.reduce(words) & np.uint32(FLAGS_MASK))


def names(word: int) -> str:
    """The raw quality as readable text (MQTT member `q`), for example `questionable,oldData`."""
    validity = ("good", "questionable", "invalid", "invalid")[word & VALIDITY_MASK]
    flags = [label for flag, label in _LABELS if word & flag]
    return ",".join([validity, *flags])


def time_names(word: int) -> str | None:
    """What is to be said of the source time, for MQTT member `tq`; None when it is simply the device's good time."""
    if word & TimeFlag.RECEIVED:
        return "rx"
    labels = [label for flag, label in _TIME_LABELS if word & flag]
    return ",".join(labels) or None


_LABELS = (
    (Quality.OVERFLOW, "overflow"),
    (Quality.OUT_OF_RANGE, "outOfRange"),
    (Quality.BAD_REFERENCE, "badReference"),
    (Quality.OSCILLATORY, "oscillatory"),
    (Quality.FAILURE, "failure"),
    (Quality.OLD_DATA, "oldData"),
    (Quality.INCONSISTENT, "inconsistent"),
    (Quality.INACCURATE, "inaccurate"),
    (Quality.SUBSTITUTED, "substituted"),
    (Quality.TEST, "test"),
    (Quality.OPERATOR_BLOCKED, "operatorBlocked"),
    (Quality.COMM_LOST, "commLost"),
    (Quality.NOT_INITIALISED, "notInitialised"),
    (Quality.NOT_CONFIGURED, "notConfigured"),
    (Quality.OUT_OF_SERVICE, "outOfService"),
    (Quality.ESTIMATED, "estimated"),
    (Quality.SIMULATED, "simulated"),
    (Quality.CARRY, "carry"),
    (Quality.ADJUSTED, "adjusted"),
    (Quality.TRANSIENT, "transient"),
    (Quality.PARTIAL, "partial"),
    (Quality.CONFIGURATION_ERROR, "configurationError"),
)
_TIME_LABELS = (
    (TimeFlag.INVALID, "invalid"),
    (TimeFlag.NOT_SYNCHRONISED, "notSynchronised"),
    (TimeFlag.DOUBTFUL, "doubtful"),
    (TimeFlag.SUBSTITUTED, "substituted"),
)

# ---------------------------------------------------------------------------------------------------------------
# IEC 61850-7-3 quality: 13 bits, bit 0 first; here as an integer whose most significant of 13 bits is bit 0.

_MMS_FLAGS = (
    Quality.OVERFLOW,
    Quality.OUT_OF_RANGE,
    Quality.BAD_REFERENCE,
    Quality.OSCILLATORY,
    Quality.FAILURE,
    Quality.OLD_DATA,
    Quality.INCONSISTENT,
    Quality.INACCURATE,
    Quality.SUBSTITUTED,
    Quality.TEST,
    Quality.OPERATOR_BLOCKED,
)
_MMS_VALIDITY = (Validity.GOOD, Validity.INVALID, Validity.INVALID, Validity.QUESTIONABLE)


def _from_mms(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    words: npt.NDArray[np.uint32] = np.array(_MMS_VALIDITY, np.uint32)[bits >> 11 & 3]
    for position, flag in enumerate(_MMS_FLAGS, 2):
        words |= (bits >> (12 - position) & 1) * np.uint32(flag)
    return words


FROM_61850: npt.NDArray[np.uint32] = _from_mms(np.arange(1 << 13, dtype=np.uint32))
"""Quality word of each of the 8192 61850 words (bit 0 of the standard is the most significant of 13)."""


def from_61850(bits: int) -> int:
    """Quality word of a 13-bit 61850 quality, bit 0 of the standard as the most significant; reserved is invalid."""
    return int(FROM_61850[bits & 0x1FFF])


def to_61850(word: int) -> int:
    """The 13-bit 61850 quality of a quality word (bit 0 of the standard is the most significant bit)."""
    if word & (Quality.NOT_INITIALISED | Quality.NOT_CONFIGURED | Quality.OUT_OF_SERVICE | Quality.CONFIGURATION_ERROR):
        validity = 1
    else:
        validity = (0, 3, 1, 1)[word & VALIDITY_MASK]
    flags = word
    if word & Quality.COMM_LOST:
        flags |= Quality.OLD_DATA
        validity = validity or 3
    if word & Quality.SIMULATED:
        flags |= Quality.TEST
    if word & Quality.ESTIMATED:
        flags |= Quality.SUBSTITUTED
        validity = validity or 3
    bits = validity << 11
    for position, flag in enumerate(_MMS_FLAGS, 2):
        if flags & flag:
            bits |= 1 << (12 - position)
    return bits


# ---------------------------------------------------------------------------------------------------------------
# IEC 60870-5-104 quality descriptor: OV 0x01 (QDS only), BL 0x10, SB 0x20, NT 0x40, IV 0x80.


def _from_qds(qds: int) -> int:
    word = 0
    if qds & 0x01:
        word |= Quality.OVERFLOW | Quality.QUESTIONABLE
    if qds & 0x10:
        word |= Quality.OPERATOR_BLOCKED | Quality.QUESTIONABLE
    if qds & 0x20:
        word |= Quality.SUBSTITUTED
    if qds & 0x40:
        word |= Quality.OLD_DATA | Quality.QUESTIONABLE
    if qds & 0x80:
        word = word & ~Quality.QUESTIONABLE | Quality.INVALID
    return int(word)


FROM_QDS: npt.NDArray[np.uint32] = np.array([_from_qds(octet) for octet in range(256)], np.uint32)
"""Quality word of each quality octet QDS (mask the value bits of SIQ and DIQ away first: `& 0xF0`)."""


def from_qds(qds: int, *, test: bool = False) -> int:
    """Quality word of a 104 quality descriptor; `test` is the test bit of the cause of transmission."""
    return int(FROM_QDS[qds & 0xFF]) | (Quality.TEST if test else 0)


def to_qds(word: int) -> int:
    """The 104 quality descriptor of a quality word; test travels in the cause of transmission."""
    qds = 0
    if word & (Quality.OVERFLOW | Quality.OUT_OF_RANGE):
        qds |= 0x01
    if word & Quality.OPERATOR_BLOCKED:
        qds |= 0x10
    if word & (Quality.SUBSTITUTED | Quality.ESTIMATED):
        qds |= 0x20
    if word & (Quality.OLD_DATA | Quality.COMM_LOST):
        qds |= 0x40
    not_usable = Quality.NOT_INITIALISED | Quality.NOT_CONFIGURED | Quality.OUT_OF_SERVICE | Quality.CONFIGURATION_ERROR
    if word & (Quality.INVALID | not_usable):
        qds |= 0x80
    return qds


# ---------------------------------------------------------------------------------------------------------------
# Outward: what a StatusCode of ours means to a 61850 or 104 peer.


def from_status(status: int) -> int:
    """Quality word that says the same as a StatusCode, for values sent outward and for set-points."""
    code = status & 0xFFFF_0000
    known = _OUTWARD.get(code)
    if known is not None:
        return int(known)
    if code & 0x8000_0000:
        return int(Quality.INVALID)
    return int(Quality.QUESTIONABLE | Quality.OLD_DATA) if code & 0x4000_0000 else 0


_OUTWARD: dict[int, int] = {
    StatusCode.Good: 0,
    StatusCode.GoodLocalOverride: Quality.SUBSTITUTED,
    StatusCode.UncertainLastUsableValue: Quality.QUESTIONABLE | Quality.OLD_DATA,
    StatusCode.UncertainNoCommunicationLastUsableValue: Quality.QUESTIONABLE | Quality.OLD_DATA,
    StatusCode.UncertainSubstituteValue: Quality.QUESTIONABLE | Quality.SUBSTITUTED,
    StatusCode.UncertainEngineeringUnitsExceeded: Quality.QUESTIONABLE | Quality.OUT_OF_RANGE,
    StatusCode.UncertainSensorNotAccurate: Quality.QUESTIONABLE | Quality.INACCURATE,
    StatusCode.UncertainSensorCalibration: Quality.QUESTIONABLE | Quality.BAD_REFERENCE,
    StatusCode.UncertainSimulatedValue: Quality.TEST,
    StatusCode.BadNoCommunication: Quality.INVALID | Quality.OLD_DATA,
    StatusCode.BadDeviceFailure: Quality.INVALID | Quality.FAILURE,
    StatusCode.BadSensorFailure: Quality.INVALID | Quality.BAD_REFERENCE,
}
