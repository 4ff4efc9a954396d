"""The meter's clock: read and compared, and set in limited steps where the device section allows it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.axdr import Tag, encode
from twin_gateway.drivers.dlms.clock import STATUS_UNSPECIFIED, UNSPECIFIED, ClockStatus, encode_date_time, zone_time
from twin_gateway.drivers.dlms.contact import Contact
from twin_gateway.drivers.dlms.errors import AccessError, DlmsError
from twin_gateway.drivers.dlms.obis import Attribute

CLOCK = Attribute(obis.CLOCK, obis.CLOCK_LN, 2)


class ClockWatch:
    """Watches one meter's clock.

    Attributes:
        error: seconds that the meter's clock is ahead (negative: behind); None while unknown.
    """

    def __init__(self) -> None:
        self.error: float | None = None
        self._told = False
        self._shown = b""

    async def check(self, contact: Contact) -> None:
        """Reads the clock, tells when it is wrong, and sets it as far as `clock_set` allows.

        Raises:
            OSError: the connection ended.
        """
        if not await self._read(contact) or self.error is None:
            return
        config, link = contact.config, contact.link
        wrong = abs(self.error) > config.clock_tolerance
        if wrong:
            link.count("clock_skewed")
        if wrong != self._told:
            self._told = wrong
            state = f"is {self.error:+.0f} s off" if wrong else "is right again"
            link.event("D02", f"The clock of meter {contact.name} {state}", severity=500 if wrong else 300)
        if wrong and config.clock_set != "never":
            await self._step(contact, config.clock_set)

    async def _read(self, contact: Contact) -> bool:
        """Reads the clock; the middle of question and answer is what it is compared with. Whether it could be read."""
        asked = datetime.now(UTC)
        try:
            value = await contact.get(CLOCK)
        except DlmsError as error:
            if not isinstance(error, AccessError):
                contact.failed(error)
            # It answered: that is all a keep-alive wants.
            contact.session.last_exchange = asyncio.get_running_loop().time()
            return False
        answered = datetime.now(UTC)
        time = zone_time(value, contact.zone, contact.config.deviation_sign)
        if time is None or time.utc is None:
            contact.link.count("clock_unreadable")
            return False
        self._shown = value
        self.error = contact.clock_error = (time.utc - (asked + (answered - asked) / 2)).total_seconds()
        contact.link.count("clock_reads")
        return True

    async def set(self, contact: Contact) -> str:
        """Sets the clock, by at most `clock_set` seconds; why not, or nothing when it was set.

        Raises:
            OSError: the connection ended.
        """
        limit = contact.config.clock_set
        if limit == "never":
            return f"the clock of meter {contact.name} is never set: clock_set of the device section says so"
        # Never by an error of some time ago: somebody else may have set it meanwhile.
        if not await self._read(contact):
            return "the clock cannot be read"
        return await self._step(contact, limit)

    async def _step(self, contact: Contact, limit: float) -> str:
        """Sets the clock, which was read just now; why not, or nothing when it was set."""
        if self.error is None:
            return "the clock cannot be read"
        step = -max(-limit, min(limit, self.error))
        before = self.error
        target = datetime.now(UTC) + timedelta(seconds=before + step)
        octets = in_the_form_of(self._shown, target, contact.zone, contact.config.deviation_sign)
        try:
            data = encode(Tag.OCTET_STRING, octets)
            await contact.session.do(contact.session.association.set(CLOCK, data))
        except DlmsError as error:
            contact.failed(error)
            contact.link.count("clock_set_errors")
            contact.link.error(f"the clock cannot be set: {error}")
            return f"the meter refused: {error}"
        contact.link.count("clock_sets")
        rest = "" if abs(before + step) < 1 else f"; {before + step:+.0f} s are left, at most {limit:g} s at a time"
        text = f"The clock of meter {contact.name} was {before:+.1f} s off and was set by {step:+.1f} s{rest}"
        contact.link.event("clock", text, severity=400)
        await self._read(contact)
        return ""


def in_the_form_of(shown: bytes, moment: datetime, zone: tzinfo, sign: int) -> bytes:
    """A date-time in the form in which a meter shows its own: same deviation, or none; same kind of status.

    Args:
        shown: the meter's own, 12 octets.
        moment: what is to be shown.
        zone: of meter times without deviation.
        sign: of the deviation.
    """
    deviation = int.from_bytes(shown[9:11], "big", signed=True)
    known = shown[11] != STATUS_UNSPECIFIED
    if deviation == UNSPECIFIED:
        local = moment.astimezone(zone)
        summer = bool(local.dst())
    else:
        local = moment.astimezone(timezone(timedelta(minutes=-deviation * sign)))
        summer = known and bool(shown[11] & ClockStatus.DAYLIGHT_SAVING)
    status = (int(ClockStatus.DAYLIGHT_SAVING) if summer else 0) if known else STATUS_UNSPECIFIED
    octets = encode_date_time(local, status, weekday=True, deviation_sign=sign)
    return octets[:9] + shown[9:11] + octets[11:]
