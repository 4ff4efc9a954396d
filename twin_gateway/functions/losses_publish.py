"""Results of line losses as points: the newest usable interval, corrections of older ones as late samples."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from address_space import clock, quality
from address_space.point import Batch
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.losses_inputs import DAY_S, Floats
from twin_gateway.functions.losses_job import INVALID, OK, PROVISIONAL, TOPOLOGY_CHANGED, LossResult, RegionSeries
from twin_gateway.functions.losses_methods import iso
from twin_gateway.functions.losses_results import LossResults
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.functions.results import Value
from twin_gateway.twin.losses.regions import RegionKind

POINTS = (
    "LosWh", "LosPct", "TecWh", "NtlWh", "UncWh", "UncPct", "InWh", "OutWh", "CnsWh", "DerWh", "UnmWh", "EstPct",
    "Cmpl", "Rev", "T0", "T1", "St", "Rank",
)  # fmt: skip
_HISTORY = ("LosWh", "LosPct", "NtlWh", "UncWh", "Cmpl", "Rev", "St")
"""What is told of older intervals, as late samples with their own time."""
_USABLE = (OK, PROVISIONAL, TOPOLOGY_CHANGED)


class LossPublisher:
    """Writes the points of the regions.

    Args:
        context: for the points.
        settings: of the loss function.
        results: what was published before, with its revisions.
        kinds: of the regions, by key.
        now: Unix seconds of the present.
    """

    def __init__(
        self,
        context: TwinContext,
        settings: LossSettings,
        results: LossResults,
        kinds: Mapping[str, RegionKind],
        *,
        now: Callable[[], float],
    ) -> None:
        self._context, self._settings, self._results, self._kinds, self._now = context, settings, results, kinds, now
        self._published: dict[str, tuple[float, bool]] = {}

    @property
    def anything(self) -> bool:
        """Whether something has been shown since the start."""
        return bool(self._published)

    def nothing(self, key: str) -> None:
        """Say of a region that there are no data: bad, with the state `invalid`."""
        values: dict[str, Value] = dict.fromkeys(f"{key}/{name}" for name in POINTS)
        self._context.results.write(values | {f"{key}/St": INVALID}, int(quality.Quality.INVALID))

    async def publish(
        self, result: LossResult, states: Mapping[str, list[int]], changed: Mapping[str, list[tuple[int, int]]]
    ) -> None:
        """Show the newest usable interval of each region, and tell what has changed of older ones.

        Args:
            result: of a window.
            states: of each interval, by region.
            changed: (row, revision) of what is new, by region.
        """
        ranks = await asyncio.to_thread(_ranks, result, self._kinds)
        for key, series in result.series.items():
            if key not in self._kinds:
                continue
            await asyncio.sleep(0)
            revisions = dict(changed.get(key, []))
            row = _newest(states[key], round(self._settings.show_within / result.length))
            end = float(result.ends[row])
            columns = _columns(series)
            good = states[key][row] in _USABLE
            if self._is_shown(key, end, good=good, again=row in revisions):
                self._published[key] = end, good
                revision = revisions.pop(row, 0) or await asyncio.to_thread(self._results.revision, key, end)
                values = _values(columns, row, (end - result.length, end), states[key][row], revision)
                values["Rank"] = ranks.get(key, 0)
                self._context.results.write(
                    {f"{key}/{name}": value for name, value in values.items()},
                    int(series.quality[row]),
                    clock.from_unix(end),
                )
            if revisions:
                self._correct(result, key, columns | {"St": np.asarray(states[key], np.float64)}, revisions)

    def _is_shown(self, key: str, end: float, *, good: bool, again: bool) -> bool:
        """Whether an interval is to be shown in place of the one that is; `again`: it has another result."""
        shown, shown_good = self._published.get(key, (0.0, False))
        if shown > self._now() + DAY_S / 24:  # the clock was ahead
            return True
        if good != shown_good and shown:
            # One that is complete enough stays, or comes in place of a newer one that is not.
            return good if abs(end - shown) <= self._settings.show_within else end > shown
        return end > shown or (end == shown and again)

    def _correct(self, result: LossResult, key: str, columns: dict[str, Floats], revisions: Mapping[int, int]) -> None:
        """Tell older intervals as late samples: history takes them, the live value stays."""
        table = self._context.table
        at = np.array(list(revisions), np.intp)
        columns = {name: column[at] for name, column in columns.items()}
        columns["Rev"] = np.array(list(revisions.values()), np.float64)
        ticks = clock.UNIX_EPOCH_TICKS + np.rint(result.ends[at]).astype(np.int64) * clock.TICKS_PER_SECOND
        words = result.series[key].quality[at]
        for name in _HISTORY:
            good = np.isfinite(columns[name])
            rows = np.full(np.count_nonzero(good), table.find(f"{key}/{name}"), np.int32)
            if len(rows):
                table.ingest(Batch(rows, columns[name][good], words[good], ticks[good], late=True))


def _newest(states: Sequence[int], rows: int) -> int:
    """Row to show: the newest of the last `rows` that may be used, else the newest."""
    for row in range(len(states) - 1, max(len(states) - 1 - rows, -1), -1):
        if states[row] in _USABLE:
            return row
    return len(states) - 1


def _columns(series: RegionSeries) -> dict[str, Floats]:
    """Numbers of the points of one region for all intervals; NaN where there is nothing to say."""
    entering = series.entering
    unknown = np.full(len(entering), np.nan)
    return {
        "LosWh": series.loss,
        "LosPct": series.rate,
        "TecWh": series.technical,
        "NtlWh": series.non_technical,
        "UncWh": series.uncertainty,
        "UncPct": np.asarray(np.divide(100.0 * series.uncertainty, entering, out=unknown, where=entering > 0)),
        "InWh": entering,
        "OutWh": series.exported,
        "CnsWh": series.consumed,
        "DerWh": series.fed_in,
        "UnmWh": series.unmetered,
        "EstPct": 100.0 * series.estimated,
        "Cmpl": 100.0 * series.complete,
    }


def _values(
    columns: Mapping[str, Floats], row: int, window: tuple[float, float], state: int, revision: int
) -> dict[str, Value]:
    """Values of the points of one region and interval; None where there is nothing to say."""
    numbers = {name: float(column[row]) for name, column in columns.items()}
    values: dict[str, Value] = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    values |= {"Rev": revision, "T0": iso(window[0]), "T1": iso(window[1]), "St": state}
    return values


def _ranks(result: LossResult, kinds: Mapping[str, RegionKind]) -> dict[str, int]:
    """Place of each region among those of its kind by loss rate, 1 the highest; of the newest usable interval."""
    rates: dict[RegionKind, list[tuple[float, str]]] = {}
    for key, series in result.series.items():
        row = _newest(series.state.tolist(), len(series.state))
        if key in kinds and series.state[row] != INVALID and np.isfinite(series.rate[row]):
            rates.setdefault(kinds[key], []).append((-float(series.rate[row]), key))
    return {key: place for found in rates.values() for place, (_, key) in enumerate(sorted(found), 1)}
