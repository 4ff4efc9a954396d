"""What links send or offer and no point takes: how much it is, and a word about it when it begins."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from address_space import clock
from twin_gateway.drivers.contract import Stray, StrayKeepingDriver
from twin_gateway.drivers.link import LinkSupervisor

log = logging.getLogger(__name__)

AGAIN_S: Final = 3600.0
"""It is told again when everything was mapped and something new comes, but not sooner than after this."""
_SEVERITY: Final = 300


class UnmappedNotice:
    """Watches one link: an event and a log line when the first stray appears, not for every one.

    Args:
        link: the link; its driver keeps strays.
    """

    def __init__(self, link: LinkSupervisor) -> None:
        self._link = link
        self._told_at = float("-inf")
        self._told = False

    def count(self) -> int:
        """How much is unmapped now; called every second."""
        # A check against the protocol takes ten times as long, and there may be thousands of links.
        count: int = getattr(self._link.driver, "unmapped_count", 0)
        if not count:
            self._told = False
        elif not self._told and time.monotonic() - self._told_at >= AGAIN_S:
            self._told, self._told_at = True, time.monotonic()
            self._tell()
        return count

    def _tell(self) -> None:
        driver = self._link.driver
        strays = driver.unmapped() if isinstance(driver, StrayKeepingDriver) else ()
        if not strays:
            return
        first = strays[0]
        more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        name = self._link.name
        text = f"Link {name} brings what no point takes: {shown(first)} ({first.reason}){more}"
        log.warning("%s; 'twin-gateway unmapped %s' lists it", text, name)
        self._link.event("unmapped", text, severity=_SEVERITY)


def shown(stray: Stray) -> str:
    """Where a stray is, on one line that a log may hold: `common_address 1, ioa 6, type M_SP_NA_1`."""
    text = ", ".join(f"{name} {value}" for name, value in stray.fields.items())[:200]
    return "".join(each if each.isprintable() else "?" for each in text)


def as_document(stray: Stray) -> dict[str, Any]:
    """A stray as the control socket carries it."""
    return {
        "fields": dict(stray.fields),
        "reason": stray.reason,
        "count": stray.count,
        "first": clock.iso(stray.first) if stray.first else "",
        "last": clock.iso(stray.last) if stray.last else "",
        "value": stray.value,
        "cdc": stray.cdc,
        "unit": stray.unit,
        "about": stray.about,
    }
