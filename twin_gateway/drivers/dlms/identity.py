"""Which meter it is: a serial number that changed, and registers that count less than before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twin_gateway.drivers.dlms import obis
from twin_gateway.drivers.dlms.contact import Contact, Site
from twin_gateway.drivers.dlms.errors import DlmsError
from twin_gateway.drivers.dlms.obis import Attribute
from twin_gateway.drivers.dlms.positions import keep_json, read_json
from twin_gateway.drivers.dlms.reading import Drop, text_of

SERIAL = Attribute(obis.DATA, obis.parse("0-0:96.1.0"), 2)
DEVICE_NAME = Attribute(obis.DATA, obis.parse("0-0:42.0.0"), 2)
_COUNTER_RANGES = (2**31, 2**32)


class Identity:
    """What is known of the meter behind a device, kept on disk.

    Attributes:
        serial: serial number last seen; empty while unknown.
        device_name: logical device name last seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = read_json(path, "a meter that was replaced meanwhile is not noticed")
        self.serial = str(kept.get("serial", ""))
        self.device_name = str(kept.get("device_name", ""))

    async def check(self, contact: Contact) -> bool:
        """Reads serial number and logical device name; whether it is another meter than before.

        One that is another stands on disk only after keep(): what is known of the old one is to be forgotten first.

        Raises:
            OSError: the connection ended.
        """
        try:
            values = await contact.get_many([SERIAL, DEVICE_NAME])
        except DlmsError as error:
            contact.failed(error)
            return False
        serial, name = (text_of(value)[:64] if isinstance(value, bytes) else "" for value in values)
        replaced = bool(serial and self.serial and serial != self.serial)
        if replaced:
            text = f"The meter behind {contact.name} was replaced: serial number {serial} instead of {self.serial}"
            contact.link.event("D03", text, severity=600)
            contact.link.count("replacements")
        seen = serial or self.serial, name or self.device_name
        changed, (self.serial, self.device_name) = seen != (self.serial, self.device_name), seen
        if changed and not replaced:
            self.keep()
        return replaced

    def keep(self) -> None:
        """Puts on disk which meter it is."""
        keep_json(self._path, {"serial": self.serial, "device_name": self.device_name})


def rolled_over(before: float, after: float) -> bool:
    """Whether a drop of a raw register is its roll-over: from the last tenth of its digits (or bits) to the first."""
    if before <= 0 or after < 0:
        return False
    for size in (10.0 ** len(str(int(before))), *map(float, _COUNTER_RANGES)):
        if 0.9 * size < before < size and after < 0.1 * size:
            return True
    return False


def tell_drops(site: Site, drops: Sequence[Drop]) -> None:
    """Events for registers that count less than before: rolled over, or reset (or the meter was exchanged)."""
    for drop in drops:
        code, address = drop.point.fields["obis"], drop.point.address
        step = f"from {drop.before:.10g} to {drop.after:.10g}"
        if rolled_over(drop.before, drop.after):
            site.link.event("rollover", f"Register {code} of {site.name} rolled over, {step}", address=address)
            site.link.count("rollovers")
        else:
            text = f"Register {code} of {site.name} counts less than before, {step}: reset, or another meter"
            site.link.event("L04", text, severity=500, address=address)
            site.link.count("register_resets")
