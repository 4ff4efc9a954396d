"""Revisions: configuration, firmware and serial number as a device says them against what is approved (spec 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ITEMS = ("configRev", "swRev", "serNum")
"""Compared items: LLN0/NamPlt/configRev, LPHD/PhyNam/swRev, LPHD/PhyNam/serNum."""
NAMES = {"configRev": "Configuration revision", "swRev": "Firmware", "serNum": "Serial number"}


@dataclass(frozen=True, slots=True)
class Approved:
    """What is approved for a device.

    Attributes:
        configuration: configuration revision; None: the first one seen and accepted counts.
        firmware: approved versions; empty: the first one seen and accepted counts.
        serial: serial number; None: the first one seen and accepted counts.
    """

    configuration: str | None = None
    firmware: tuple[str, ...] = ()
    serial: str | None = None

    def allowed(self, item: str) -> tuple[str, ...]:
        """Approved values of an item; empty when nothing is said."""
        one = {"configRev": self.configuration, "serNum": self.serial}.get(item)
        return self.firmware if item == "swRev" else (one,) if one is not None else ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One item of the comparison; `matches` is None while the device has not said it."""

    item: str
    expected: str
    found: str
    matches: bool | None


def compare(found: Mapping[str, str], approved: Approved, accepted: Mapping[str, str]) -> list[Difference]:
    """Compare every item that the device says or that is expected of it.

    Args:
        found: item -> text as the device says it now.
        approved: of the settings; it counts before what was accepted.
        accepted: item -> text that was seen first, or accepted by a person since.
    """
    lines = []
    for item in ITEMS:
        allowed = approved.allowed(item) or ((accepted[item],) if item in accepted else ())
        said = found.get(item, "")
        if not said and not allowed:
            continue
        matches = None if not said else said in allowed if allowed else True
        lines.append(Difference(item, " | ".join(allowed), said, matches))
    return lines
