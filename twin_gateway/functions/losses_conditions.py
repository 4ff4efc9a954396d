"""What meter data tells of meters: silent ones, swaps, ratios, reversed meters; and how wrong their clocks are."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

from address_space import clock
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.losses_inputs import DAY_S
from twin_gateway.functions.losses_job import LossResult
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.grid.model import Meter
from twin_gateway.twin.losses.meter_data import MeterEventKind, ratio_mismatch
from twin_gateway.twin.losses.regions import RegionKind


class MeterConditions:
    """Conditions L03 and L04.

    Args:
        context: for alarms and the points of the meters.
        settings: of the loss function.
        meters: of `meters_of`.
        now: Unix seconds of the present.
    """

    def __init__(
        self, context: TwinContext, settings: LossSettings, meters: Mapping[str, Meter], *, now: Callable[[], float]
    ) -> None:
        self._now = now
        self._context = context
        self._settings = settings
        self._meters = meters
        self._told: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._point_rows: dict[str, list[tuple[str, int]]] = {}
        self._held: set[tuple[str, MeterEventKind]] = set()
        self._heard: dict[str, float] = {}
        self._serials: dict[str, object] = {}
        self._swapped: dict[str, float] = {}

    async def tell(self, result: LossResult, kinds: Mapping[str, RegionKind]) -> None:
        """Conditions and events of a window: regions with silent meters (L03), what meter data tells (L04).

        Args:
            result: of the window.
            kinds: the regions in question, by key.
        """
        alarms, now = self._context.alarms, float(result.ends[-1])
        # A window of long ago says nothing of what holds at present.
        newest = now > self._now() - 3 * result.length - self._settings.delay
        for key, members in result.members.items() if newest else ():
            kind = kinds.get(key)
            if kind in (None, RegionKind.PHASE, RegionKind.VLEVEL, RegionKind.AREA):
                continue
            silent = [m for m in members if now - self._since(m, now, result) > self._settings.missing_after]
            text = f"{len(silent)} of {len(members)} meters silent for more than a day, first {min(silent, default='')}"
            alarms.set(bool(silent), "L03", key, text, 300)
            await asyncio.sleep(0)
        await self._nameplates(now)
        reversed_now = set()
        for count, (meter, moment, event) in enumerate(result.events):
            if count % 100 == 99:
                await asyncio.sleep(0)
            if event.kind is MeterEventKind.REVERSED:
                reversed_now.add(meter)
                text = f"ReversedCT: {meter} counts backwards and has no export register"
                self._hold(meter, event.kind, True, text)
            elif self.first((meter, event.kind, moment)):
                swap = now - self._swapped.get(meter, -math.inf) < DAY_S
                text = f"{event.kind} of {meter}, {event.value:.0f} Wh" + (", serial number is new" if swap else "")
                details = (("kind", str(event.kind)), ("swap", str(swap).lower()))
                alarms.event("L04", meter, text, 500, source_time=clock.from_unix(moment), details=details)
        for meter, held in list(self._held):
            # Over when newer readings show nothing of it.
            fresh = newest and result.last.get(meter, 0.0) >= now
            if held is MeterEventKind.REVERSED and meter not in reversed_now and fresh:
                self._hold(meter, held, False, "")

    def _since(self, meter: str, now: float, result: LossResult) -> float:
        """When a meter was heard last; of one never heard yet the time since which it is waited for."""
        seen = max(result.last.get(meter, 0.0), self._heard.get(meter, 0.0)) or now
        self._heard[meter] = min(seen, now)
        return self._heard[meter]

    def _hold(self, meter: str, kind: MeterEventKind, holds: bool, text: str) -> None:
        """One L04 condition a meter, as long as one of the kinds holds."""
        alarms, before = self._context.alarms, any(known == meter for known, _ in self._held)
        if holds:
            self._held.add((meter, kind))
            alarms.raise_("L04", meter, text, 500, details=(("kind", str(kind)),))
            return
        self._held.discard((meter, kind))
        if before and not any(known == meter for known, _ in self._held):
            alarms.clear("L04", meter)

    async def _nameplates(self, now: float) -> None:
        """Ratios and serial numbers that meters declare, against the records."""
        table = self._context.table
        for meter, row in await self._rows("LPHD1/PhyNam/serNum"):
            serial = table.value(row)
            if serial:
                if self._serials.get(meter, serial) != serial:
                    self._swapped[meter] = now
                self._serials[meter] = serial
        await asyncio.sleep(0)
        declared: dict[str, float] = {}
        for name in ("TCTR1/Rat", "TVTR1/Rat"):
            for meter, row in await self._rows(name):
                value = table.value(row)
                if isinstance(value, int | float):
                    declared[meter] = declared.get(meter, 1.0) * float(value)
        for meter, ratio in declared.items():
            mapped = self._meters[meter].ratio
            if mapped != 1.0:  # else the register is primary
                wrong = ratio_mismatch(mapped, ratio)
                text = f"RatioMismatch: {meter} declares {ratio:g}, the records say {mapped:g}"
                self._hold(meter, MeterEventKind.RATIO, wrong is not None, text)

    def first(self, mark: tuple[object, ...]) -> bool:
        """Whether something is told for the first time (of the last ten thousand)."""
        if mark in self._told:
            return False
        self._told[mark] = None
        if len(self._told) > 10_000:
            self._told.popitem(last=False)
        return True

    async def clocks(self) -> dict[str, float]:
        """Clock errors as the supervision or the drivers tell them, s."""
        table, found = self._context.table, {}
        for name in ("LTMS1/TmAcc", "twSUPV1/TmOfs"):
            for meter, row in await self._rows(name):
                value = table.value(row) if not table.status[row] & 0x8000_0000 else None
                if isinstance(value, int | float):
                    found[meter] = float(value)
        return found

    async def _rows(self, name: str) -> list[tuple[str, int]]:
        """(meter, row) of the meters that have a point; looked up once, and a piece at a time, for there are many."""
        rows = self._point_rows.get(name)
        if rows is None:
            rows, table = [], self._context.table
            for count, meter in enumerate(self._meters):
                if count % 500 == 499:
                    await asyncio.sleep(0)
                row = table.find(f"{meter}/{name}") if meter in self._context.grid.meters else -1
                if row >= 0:
                    rows.append((meter, row))
            self._point_rows[name] = rows
        return rows
