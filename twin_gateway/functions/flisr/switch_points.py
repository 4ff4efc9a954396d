"""What devices tell of a switch beside its position: local control, blockings, releases, health; by role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from address_space.table import PointTable
from twin_gateway.functions.flisr.columns import rows_below
from twin_gateway.functions.flisr.readings import reading_at

_ROLES: Mapping[str, tuple[str, ...]] = {
    "local": ("CSWI1/Loc", "XCBR1/Loc", "XSWI1/Loc", "CSWI1/LocKey", "XCBR1/LocKey", "XSWI1/LocKey"),
    "station_local": ("CSWI1/LocSta", "XCBR1/LocSta", "XSWI1/LocSta"),
    "blocked_open": ("XCBR1/BlkOpn", "XSWI1/BlkOpn"),
    "blocked_close": ("XCBR1/BlkCls", "XSWI1/BlkCls"),
    "command_blocked": ("CSWI1/CmdBlk",),
    "release_open": ("CILO1/EnaOpn",),
    "release_close": ("CILO1/EnaCls",),
    "drive_blocked": ("SOPM1/EnBlk", "SOPM1/HyBlk"),
    "gas_blocked": ("SIMG1/InsBlk",),
    "health": ("XCBR1/EEHealth", "XSWI1/EEHealth"),
    "capability": ("XCBR1/CBOpCap", "XSWI1/SwOpCap"),
    "behaviour": ("CSWI1/Beh", "XCBR1/Beh", "XSWI1/Beh"),
    "synchronous": ("RSYN1/Rel",),
}


class SwitchPoints:
    """Rows of these points; they are looked up in what is new in the table."""

    def __init__(self, table: PointTable, switches: Iterable[str]) -> None:
        self._table = table
        self._switches = tuple(switches)
        self._points: dict[str, dict[str, tuple[int, ...]]] = {
            switch: dict.fromkeys(_ROLES, ()) for switch in self._switches
        }

    def take(self, new: npt.NDArray[np.int32]) -> None:
        """Look among new rows of the table."""
        role_of = {name: role for role, names in _ROLES.items() for name in names}
        changed: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for name, rows in rows_below(self._table, new, self._switches, role_of).items():
            role = role_of[name]
            for number, row in rows:
                changed.setdefault((self._switches[number], role), []).append((_ROLES[role].index(name), row))
        for (switch, role), found in changed.items():
            # In the order of the names: what was there before is a part of it.
            known = self._points[switch][role]
            if known:
                names = [self._table.address(row)[len(switch) + 1 :] for row in known]
                found += [(_ROLES[role].index(name), row) for name, row in zip(names, known, strict=True)]
            self._points[switch][role] = tuple(row for _, row in sorted(found))

    def rows(self, switch: str) -> Mapping[str, tuple[int, ...]]:
        """Rows of a switch by role (`local`, `release_open`, …)."""
        return self._points[switch]

    def any_true(self, switch: str, role: str) -> bool:
        """One of them tells true, whatever its quality."""
        return any(reading_at(self._table, row).value is True for row in self._points[switch][role])

    def blocks(self, switch: str, role: str) -> bool | None:
        """A flag that forbids: what is not known to be off counts as on. None where nobody tells."""
        readings = [reading_at(self._table, row) for row in self._points[switch][role]]
        return not all(each.good and each.value is False for each in readings) if readings else None

    def releases(self, switch: str, role: str) -> bool | None:
        """A flag that allows: what is not known to be on counts as off. None where nobody tells."""
        readings = [reading_at(self._table, row) for row in self._points[switch][role]]
        return all(each.good and each.value is True for each in readings) if readings else None

    def number(self, switch: str, role: str, unknown: int) -> int | None:
        """A number; `unknown` where it is told without Good quality, None where nobody tells."""
        rows = self._points[switch][role]
        if not rows:
            return None
        reading = reading_at(self._table, rows[0])
        return int(reading.value) if reading.good and isinstance(reading.value, int | float) else unknown

    def behaviour_on(self, switch: str) -> bool:
        """All its logical nodes that tell are on."""
        readings = [reading_at(self._table, row) for row in self._points[switch]["behaviour"]]
        return all(each.good and each.value == 1 for each in readings)
