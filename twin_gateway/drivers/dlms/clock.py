"""COSEM date-time (12 octets): local time, deviation, clock status, to and from UTC.

Deviation is in minutes with UTC = local + deviation (CET is -60); some meters send it inverted, which a device says
with `deviation: inverted` and which is sign -1 here. 0x8000 is unspecified: the time zone of the mapping decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntFlag
from struct import Struct

from twin_gateway.drivers.dlms.axdr import Value
from twin_gateway.drivers.dlms.errors import MalformedApduError

_DATE_TIME = Struct(">HBBBBBBBhB")
UNSPECIFIED = -0x8000
STATUS_UNSPECIFIED = 0xFF


class ClockStatus(IntFlag):
    """The clock status octet."""

    INVALID_VALUE = 0x01
    DOUBTFUL = 0x02
    OTHER_BASE = 0x04
    INVALID_STATUS = 0x08
    DAYLIGHT_SAVING = 0x80


@dataclass(frozen=True, slots=True)
class MeterTime:
    """A decoded date-time.

    Attributes:
        utc: the moment, or None when the date is not fully specified.
        status: clock status octet, 0 when unspecified.
        assumed_zone: the deviation was unspecified and the device's time zone was used.
    """

    utc: datetime | None
    status: int = 0
    assumed_zone: bool = False

    @property
    def invalid(self) -> bool:
        """The value itself is invalid: questionable and time bad (spec 8.3)."""
        return bool(self.status & ClockStatus.INVALID_VALUE)

    @property
    def doubtful(self) -> bool:
        """The time may be wrong: time bad (spec 8.3)."""
        return bool(self.status & (ClockStatus.DOUBTFUL | ClockStatus.OTHER_BASE | ClockStatus.INVALID_STATUS))


def decode_date_time(
    octets: bytes, zone: tzinfo = UTC, deviation_sign: int = 1, after: datetime | None = None
) -> MeterTime:
    """The moment in 12 octets. Unspecified hour, minute, second and hundredths count as 0.

    Args:
        octets: a date-time, from type date-time or an octet-string.
        zone: used when the deviation is unspecified; the status octet's daylight saving bit picks the
            first or second of two equal local times.
        deviation_sign: -1 for a meter that inverts the deviation.
        after: time of the row before; decides between two equal local times when the status octet does not.

    Raises:
        MalformedApduError: not 12 octets, or numbers that are no date.
    """
    if len(octets) != 12:
        raise MalformedApduError(f"a date-time has 12 octets, not {len(octets)}")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _DATE_TIME.unpack(octets)
    known_status = status != STATUS_UNSPECIFIED
    status = status if known_status else 0
    if year == 0xFFFF or month > 12 or day > 31 or year == 0:
        return MeterTime(None, status)
    unspecified = deviation == UNSPECIFIED
    try:
        local = datetime(
            year,
            month,
            day,
            0 if hour == 0xFF else hour,
            0 if minute == 0xFF else minute,
            0 if second == 0xFF else second,
            0 if hundredths == 0xFF else hundredths * 10_000,
            tzinfo=zone if unspecified else UTC,
            fold=0 if status & ClockStatus.DAYLIGHT_SAVING else 1,
        )
        moment = local.astimezone(UTC) if unspecified else local + timedelta(minutes=deviation * deviation_sign)
        if unspecified and not known_status and after is not None:
            first = local.replace(fold=0).astimezone(UTC)
            moment = first if first > after else moment
    except (ValueError, OverflowError) as error:
        raise MalformedApduError(f"not a date-time: {octets.hex()}") from error
    return MeterTime(moment.replace(fold=0), status, unspecified)


def zone_time(value: Value, zone: tzinfo, sign: int, after: datetime | None = None) -> MeterTime | None:
    """The time in a clock value or profile column; None when it is no date-time. See decode_date_time."""
    if not isinstance(value, bytes):
        return None
    try:
        return decode_date_time(value, zone, sign, after)
    except MalformedApduError:
        return None


def encode_date_time(moment: datetime, status: int = 0, weekday: bool = False, deviation_sign: int = 1) -> bytes:
    """12 octets for an aware datetime, in its own zone; the day of the week is 0xFF unless asked for.

    Raises:
        ValueError: a naive datetime.
    """
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("a meter time needs a time zone")
    return _DATE_TIME.pack(
        moment.year,
        moment.month,
        moment.day,
        moment.isoweekday() if weekday else 0xFF,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond // 10_000,
        -int(offset.total_seconds() // 60) * deviation_sign,
        status,
    )
