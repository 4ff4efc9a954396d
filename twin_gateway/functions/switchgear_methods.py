"""Methods of the condition of switchgear: a new baseline, and wear that begins anew after maintenance (spec 6.2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from address_space import clock
from address_space.ports import Argument, AuditRecord, Caller, MethodResult, MethodSpec, Right
from address_space.quality import StatusCode
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.switchgear_equipment import Switchgear
from twin_gateway.twin.switchgear import mechanism
from twin_gateway.twin.switchgear.wear import POLES

_DOUBLE, _STRING = 11, 12
_BASELINES = ("opening", "closing", "opening_timed", "closing_timed", "motor", "coil")


class SwitchgearMethods:
    """`SetBaseline` and `ResetWear`, at the area.

    Args:
        context: see `TwinContext`.
        equipment: by place.
        save: writes what is kept of equipment to disk.
    """

    def __init__(
        self,
        context: TwinContext,
        equipment: Mapping[str, Switchgear],
        save: Callable[[Sequence[Switchgear]], Awaitable[None]],
    ) -> None:
        self._context, self._equipment, self._save = context, equipment, save

    def specs(self) -> Sequence[MethodSpec]:
        """What is offered."""
        place = self._context.place
        equipment = Argument("equipment", _STRING, "address of the equipment")
        answer = (Argument("text", _STRING, "what came of it"),)
        start = Argument("start", _DOUBLE, "wear of every pole from now on, percent")
        return (
            MethodSpec(
                place, "SetBaseline", (equipment,), answer, Right.CONFIGURE, "What it does now counts as normal"
            ),
            MethodSpec(
                place, "ResetWear", (equipment, start), answer, Right.CONFIGURE, "After maintenance of contacts"
            ),
        )

    async def set_baseline(self, place: str, caller: Caller) -> MethodResult:
        """What the equipment did at its last operations counts as normal."""
        one, refusal = self._find(place, caller)
        if one is None:
            return refusal
        found = {}
        for kind in _BASELINES:
            recent = one.values(kind)[-mechanism.BASELINE_OPERATIONS :]
            if recent:
                found[f"baseline_{kind}"] = float(np.median(np.array(recent)))
        if not found:
            text = f"{place} has not operated yet"
            return MethodResult(StatusCode.BadInvalidState, (text,), text)
        details: dict[str, Any] = {name: round(value, 6) for name, value in found.items()}
        await self._audit("switchgear.baseline", place, caller, details)
        one.marks.update(found)
        return await self._kept(one, "Baseline: " + ", ".join(f"{k[9:]} {v:.4g}" for k, v in found.items()))

    async def reset_wear(self, place: str, start: float, caller: Caller) -> MethodResult:
        """The wear of all poles begins with some percent, and operations are counted since now."""
        one, refusal = self._find(place, caller)
        if one is None:
            return refusal
        if not 0.0 <= start <= 1000.0:
            text = "the wear to begin with is between 0 and 1000 percent"
            return MethodResult(StatusCode.BadOutOfRange, (text,), text)
        before = {f"before{pole}": round(value, 3) for pole, value in one.wear.percent.items()}
        await self._audit("switchgear.wear", place, caller, {"start": start, **before})
        one.wear.percent = dict.fromkeys(POLES, start)
        one.wear.a2s = dict.fromkeys(POLES, 0.0)
        one.wear.openings = 0
        row = one.row("XCBR/OpCnt", "XSWI/OpCnt")
        count = self._context.table.value(row) if row >= 0 else None
        if isinstance(count, int):
            one.marks["operations_at_maintenance"] = float(count)
        return await self._kept(one, f"Wear of {place} begins with {start:g} %")

    def _find(self, place: str, caller: Caller) -> tuple[Switchgear | None, MethodResult]:
        text = f"not allowed on {place}"
        if not self._context.policy.permits(caller, Right.CONFIGURE, place):
            return None, MethodResult(StatusCode.BadUserAccessDenied, (text,), text)
        text = f"{place} is no monitored switchgear"
        return self._equipment.get(place), MethodResult(StatusCode.BadNoMatch, (text,), text)

    async def _kept(self, one: Switchgear, text: str) -> MethodResult:
        one.dirty = one.changed = True
        try:
            await self._save([one])
        except sqlite3.Error as error:
            text = f"{text}, but it cannot be kept: {error}"
            return MethodResult(StatusCode.BadInternalError, (text,), text)
        return MethodResult(StatusCode.Good, (text,))

    async def _audit(self, kind: str, place: str, caller: Caller, details: dict[str, Any]) -> None:
        record = AuditRecord(clock.now(), kind, caller.user, caller.client, place, details=details)
        await self._context.audit.append(record)
