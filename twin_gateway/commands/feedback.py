"""Feedback: after the device confirmed, the position must follow."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from address_space.addcause import AddCause
from address_space.ports import Command, Outcome
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.commands.gates import has_position
from twin_gateway.commands.target import ControlTarget


class PositionWatch:
    """Watches one point from before the command leaves until it shows the wanted value with quality Good."""

    def __init__(self, table: PointTable, row: int, wanted: object) -> None:
        self._table = table
        self._row = row
        self._wanted = wanted
        self._changed = asyncio.Event()
        self._cursor = table.journal.cursor("feedback", self._changed.set)

    async def result(self, confirmed: Outcome, patience: float) -> Outcome:
        """`confirmed` when the position follows within `patience` seconds, else an unknown outcome that says so."""
        try:
            async with asyncio.timeout(patience):
                while not self._reached():
                    await self._changed.wait()
                    self._changed.clear()
                    self._cursor.skip()
        except TimeoutError:
            text = (
                f"The device confirmed, but {self._table.address(self._row)} did not become {self._wanted} "
                f"within {patience:g} s"
            )
            return replace(
                confirmed,
                status=StatusCode.BadTimeout,
                add_cause=AddCause.TIME_LIMIT_OVER,
                gate="feedback",
                text=text,
                sent=True,
            )
        return confirmed

    def _reached(self) -> bool:
        good = int(self._table.status[self._row]) == StatusCode.Good
        return good and self._table.value(self._row) == self._wanted

    def close(self) -> None:
        """Stop watching."""
        self._cursor.close()


def await_position(table: PointTable, target: ControlTarget, command: Command) -> PositionWatch | None:
    """A watch on the position of a switch; None for what has no position to follow (set-points, mere outputs)."""
    if not has_position(table, target) or target.control.get("feedback") is False:
        return None
    if target.point.cdc in ("DPC", "SPC"):
        return PositionWatch(table, target.position, command.value)
    return None
