"""Operations of switchgear: what is said of each while it happens, and what it takes of the contacts (spec 6.2)."""

from __future__ import annotations

import numpy as np

from address_space import clock
from address_space.table import PointTable
from twin_gateway.functions.rule_watch import UNUSABLE
from twin_gateway.functions.switchgear_equipment import Operation, Switchgear
from twin_gateway.twin.switchgear import mechanism
from twin_gateway.twin.switchgear.wear import POLES

COMMAND_WINDOW_S = 5.0
MEAN_OVER = 20
_OPEN, _CLOSED = 1, 2


class Operations:
    """Follows the operations of all equipment.

    Args:
        table: where the values are.
        settle: s after a movement until the values that belong to it have arrived.
    """

    def __init__(self, table: PointTable, settle: float) -> None:
        self._table, self._settle = table, settle

    def sample(self, one: Switchgear, role: str, value: float, at: float, *, timed: bool, now: float) -> None:
        """Take a value of an equipment's point.

        Args:
            one: the equipment.
            role: class and data object (`XCBR/Pos`).
            value: in the canonical unit.
            at: device time, s since 1970.
            timed: that time is by the device's own clock.
            now: monotonic time, s.
        """
        ln_class, _, data = role.partition("/")
        match data:
            case "Pos" if ln_class != "CSWI":
                before, one.position = one.position, int(value)
                if {before, one.position} == {_OPEN, _CLOSED}:
                    one.pending.append(Operation(one.position == _OPEN, at, timed, now + self._settle))
            case "OpTmOpn" | "OpTmCls":
                celsius = self._temperature(one)
                one.note("opening" if data == "OpTmOpn" else "closing", at, mechanism.compensated(value, celsius))
            case "MotTm":
                one.note("motor", at, value)
            case "MotStrNum":
                if one.starts is not None and value > one.starts:
                    one.note("motor_starts", at, value - one.starts)
                one.starts = value
            case "ColA":
                one.note("coil", at, value)
            case "OpOpn" | "OpCls" if value and timed:
                one.commands[data] = at
            case _ if data.startswith("A/phs"):
                one.currents[data[-1]].append((at, value))

    def count(self, one: Switchgear, now: float) -> None:
        """Count the operations of which everything has arrived at a monotonic time in s."""
        for operation in [operation for operation in one.pending if operation.due <= now]:
            one.pending.remove(operation)
            self._operated(one, operation)

    def _temperature(self, one: Switchgear) -> float | None:
        row = one.row("SCBR/Tmp", "SSWI/Tmp")
        sample = self._table.sample(row) if row >= 0 else None
        if sample is None or sample.quality & UNUSABLE or not isinstance(sample.value, float):
            return None
        return sample.value

    def _operated(self, one: Switchgear, operation: Operation) -> None:
        data = "OpOpn" if operation.opening else "OpCls"
        commanded = one.commands.get(data)
        if operation.timed and commanded is not None and 0 < operation.time - commanded < COMMAND_WINDOW_S:
            kind = "opening_timed" if operation.opening else "closing_timed"
            one.note(kind, operation.time, mechanism.compensated(operation.time - commanded, self._temperature(one)))
        self._same_time_again(one, operation)
        one.marks["last_operation"] = operation.time
        if operation.opening:
            currents = self._interrupted(one, operation)
            one.wear.interrupt(one.nameplate.wear, currents)
            if currents:
                one.note("interrupted", operation.time, max(currents.values()))
                recent = one.values("interrupted")[-MEAN_OVER:]
                one.marks["mean_interrupted"] = float(np.mean(recent))
        one.changed = one.dirty = True

    def _same_time_again(self, one: Switchgear, operation: Operation) -> None:
        """A time that is exactly the one before makes no change in the table, but it is a value of this operation."""
        for role, kind, opening in (("OpTmOpn", "opening", True), ("OpTmCls", "closing", False)):
            row, last = one.row(f"SCBR/{role}", f"SSWI/{role}"), one.last(kind)
            if row < 0 or last is None or operation.opening is not opening:
                continue
            at = clock.to_unix(int(self._table.source_time[row]))
            if at >= operation.time - 1.0 and last.time < operation.time - 1.0:
                one.note(kind, at, last.value)

    def _interrupted(self, one: Switchgear, operation: Operation) -> dict[str, float]:
        """Current by pole: what the device says of this opening, else what flowed before it; empty when not known."""
        table, row = self._table, one.row("SCBR/SwA")
        if row >= 0 and not int(table.quality[row]) & UNUSABLE:
            at = clock.to_unix(int(table.source_time[row]))
            value = table.value(row)
            if at >= operation.time - 1.0 and isinstance(value, float):
                return dict.fromkeys(POLES, value)
        return one.before(operation.time)
