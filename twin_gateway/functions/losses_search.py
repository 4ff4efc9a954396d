"""Looking for abnormal loss over time: hourly and daily windows against their bands, the daily search, slow drifts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np

from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.losses_detect import Detections, Windows, find_suspicions, suspect_meters, window_losses
from twin_gateway.functions.losses_inputs import DAY_S, Floats
from twin_gateway.functions.losses_job import LossJob
from twin_gateway.functions.losses_results import DayLoss, LossResults
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.losses_suspicions import StandingSuspicions
from twin_gateway.functions.worker import ComputeError, Worker
from twin_gateway.twin.losses import detection
from twin_gateway.twin.losses.detection import Suspicion
from twin_gateway.twin.losses.regions import RegionKind

HOURS = 4
_LIMIT_S, _REGION_LIMIT_S = 900.0, 180.0
_LONGEST_PAUSE_S = 5.0
_CUSUM_DAYS, _CUSUM_FIRST, _CUSUM_LEAST, _CUSUM_LIMIT = 60, 14, 21, 5.0


class LossSearch:
    """Windows and suspicions of a grid's regions.

    Args:
        context: for alarms.
        settings: of the loss function.
        results: for daily results.
        kinds: of the regions, by key.
        suspected: where suspicions stand.
        job: makes a job for a window (Unix seconds).
        compute: for hourly windows.
        worker: for the search; None starts a process for each search, so that nobody else waits for it.
    """

    def __init__(
        self,
        context: TwinContext,
        settings: LossSettings,
        results: LossResults,
        *,
        kinds: Mapping[str, RegionKind],
        suspected: StandingSuspicions,
        job: Callable[[float, float], Awaitable[LossJob]],
        compute: Worker,
        worker: Worker | None = None,
    ) -> None:
        self._context = context
        self._settings = settings
        self._results = results
        self._kinds = kinds
        self._suspected = suspected
        self._job = job
        self._compute = compute
        self._worker = worker
        self._outside: dict[str, set[str]] = {}

    async def hours(self, stop: float) -> None:
        """Loss rates of the last four hours against their bands (L01)."""
        job = await self._job(stop - HOURS * 3600.0, stop)
        found = await self._compute.run_within(_LIMIT_S, window_losses, job, 3600.0)
        for key, windows in found.windows.items():
            if key in self._kinds and windows.usable.any():
                self._band(key, windows, "hours", least=3)

    def _band(self, key: str, windows: Windows, name: str, *, least: int) -> None:
        """Condition L01 when at least `least` of the last windows are out of band, or negative."""
        band = self._settings.bands.get(self._kinds[key]) or LossSettings().bands[self._kinds[key]]
        rate = np.where(windows.usable, windows.rate, np.nan)
        # A rate that its own uncertainty explains is not out of band.
        with np.errstate(invalid="ignore", divide="ignore"):
            margin = self._settings.coverage * windows.uncertainty * np.abs(windows.rate / windows.loss)
        over = np.nan_to_num(np.where(rate > band.high, rate - margin, rate), nan=band.high)
        under = np.nan_to_num(np.where(rate < band.low, rate + margin, rate), nan=max(band.low, 0.0))
        outside = detection.rate_band(over, -math.inf, band.high, of=HOURS, least=least)[-1]
        low = band.low > 0 and detection.rate_band(under, band.low, math.inf, of=HOURS, least=least)[-1]
        below = detection.negative_loss(windows.loss, windows.uncertainty, k=self._settings.coverage)
        negative = int(np.count_nonzero((below & windows.usable)[-HOURS:])) >= least
        holding = self._outside.setdefault(key, set())
        if not (outside or low or negative):
            holding.discard(name)
            if not holding:
                self._context.alarms.clear("L01", key)
            return
        holding.add(name)
        last = float(rate[np.isfinite(rate)][-1]) if np.isfinite(rate).any() else math.nan
        text = f"Loss rate {last:.1f} %" + (" is negative: data or records are wrong" if negative else "")
        limit = "High" if outside and not negative else "Low"
        self._context.alarms.raise_("L01", key, text, 400 if negative else 450, value=last, limit=limit)

    async def days(self, now: float) -> Detections:
        """Daily windows and suspicions of the last whole days, with their conditions.

        One region after the other, with pauses as long as the work: it may take minutes, and takes half a core.
        """
        stop = math.floor(now / DAY_S) * DAY_S
        job = await self._job(stop - self._settings.detection_days * DAY_S, stop)
        worker = self._worker or Worker()
        try:
            found: Detections = await worker.run_within(_LIMIT_S, find_suspicions, job)
            suspicions = list(found.suspicions)
            judged = set(found.residuals)
            for key, (members, residual) in found.residuals.items():
                began = time.monotonic()
                try:
                    suspicions += await worker.run_within(_REGION_LIMIT_S, suspect_meters, job, key, members, residual)
                except ComputeError as error:
                    judged.discard(key)
                    self._context.alarms.event("G02", key, f"Meters of the region were not looked at: {error}", 400)
                await asyncio.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_S))
        finally:
            if self._worker is None:
                worker.close()
        days = [
            (key, _day(windows, at))
            for key, windows in found.windows.items()
            for at in range(len(windows.starts))
            if windows.usable[at]
        ]
        await asyncio.to_thread(self._results.put_days, days)
        for key, windows in found.windows.items():
            kind = self._kinds.get(key)
            if kind is None or kind is RegionKind.PHASE:
                continue
            if len(windows.usable) and windows.usable[-1]:
                judged.add(key)
                self._band(key, _last(windows), "day", least=1)
            suspicions += self._whole(key, windows, stop)
            suspicions += await self._drift(key, stop)
        await self._suspected.replace(suspicions, judged, self._kinds.keys())
        return found

    def _whole(self, key: str, windows: Windows, stop: float) -> list[Suspicion]:
        """Non-technical loss of a region on three days in a row."""
        ntl = np.where(windows.usable, windows.ntl, np.nan)
        over = detection.ntl_test(ntl, windows.ntl_uncertainty, k=self._settings.coverage)
        if not len(over) or not over[-1]:
            return []
        score = float(min(1.0, ntl[-1] / (10 * windows.ntl_uncertainty[-1])))
        kwh = float(ntl[-3:].mean()) / 1000.0
        return [Suspicion(detection.Method.NTL, key, key, score, float(windows.starts[-3]), stop, kwh)]

    async def _drift(self, key: str, stop: float) -> list[Suspicion]:
        """CUSUM of the daily loss rate against the first two weeks of the last sixty days."""
        days = await asyncio.to_thread(self._results.days, key, stop - _CUSUM_DAYS * DAY_S)
        rates = np.array([math.nan if day.rate is None else day.rate for day in days])
        first = rates[:_CUSUM_FIRST][np.isfinite(rates[:_CUSUM_FIRST])]
        if len(rates) < _CUSUM_LEAST or len(first) < 10:
            return []
        sigma = max(float(first.std(ddof=1)), 0.05)
        upper, lower = detection.cusum(rates, target=float(first.mean()), sigma=sigma)
        if max(upper[-1], lower[-1]) <= _CUSUM_LIMIT:
            return []
        score = float(min(1.0, max(upper[-1], lower[-1]) / (2 * _CUSUM_LIMIT)))
        values = (("upper", float(upper[-1])), ("lower", float(lower[-1])))
        return [Suspicion(detection.Method.CUSUM, key, key, score, days[_CUSUM_FIRST].start, stop, 0.0, values)]


def _last(windows: Windows) -> Windows:
    """The last of the windows alone."""

    def one(values: Floats) -> Floats:
        return values[-1:]

    return Windows(
        windows.kind, one(windows.starts), one(windows.rate), one(windows.loss), one(windows.ntl),
        one(windows.uncertainty), one(windows.ntl_uncertainty), one(windows.complete), windows.usable[-1:],
    )  # fmt: skip


def _day(windows: Windows, at: int) -> DayLoss:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return DayLoss(
        float(windows.starts[at]),
        number(windows.rate[at]),
        number(windows.ntl[at]),
        number(windows.ntl_uncertainty[at]),
        float(windows.complete[at]),
    )
