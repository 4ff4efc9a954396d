"""Power at meters as the point table has it: live power, else the mean between two readings of their registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.quality import VALIDITY_MASK, Quality, Validity, worst
from address_space.table import PointTable
from twin_gateway.grid.model import Meter

Indexes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LIVE = ("MMXU1/TotW", "MMXN1/Watt")
_REACTIVE = "MMXU1/TotVAr"
_DRAWN, _DELIVERED = "MMTR1/DmdWh", "MMTR1/SupWh"
_LEAST_SPAN_S = 60.0
"""Two readings of a register must be so far apart: its steps are coarse."""
NOT_USED = np.uint32(
    Quality.COMM_LOST
    | Quality.OLD_DATA
    | Quality.NOT_INITIALISED
    | Quality.NOT_CONFIGURED
    | Quality.OUT_OF_SERVICE
    | Quality.CONFIGURATION_ERROR
    | Quality.OPERATOR_BLOCKED
)
"""Values with one of these are not those of now."""


def usable(table: PointTable, rows: Indexes) -> npt.NDArray[np.bool_]:
    """Whether each row (-1: no point) has a number that is one of now."""
    there = rows >= 0
    picked = rows[there]
    words = table.quality[picked]
    good = (words & np.uint32(VALIDITY_MASK) != Validity.INVALID) & (words & NOT_USED == 0)
    good &= table.value_type[picked] == ValueType.DOUBLE
    good &= np.isfinite(table.raw[picked].view(np.float64))
    found = np.zeros(len(rows), bool)
    found[there] = good
    return found


@dataclass(frozen=True, slots=True)
class MeterPowers:
    """Powers at one moment.

    Attributes:
        powers: W + j var into the equipment that each meter measures, by address of the meter; imaginary part NaN
            where no reactive power is known.
        quality: worst of their quality words.
        newest: of their source times, FILETIME ticks; 0 without any.
        age: s of the oldest.
    """

    powers: Mapping[str, complex] = field(default_factory=dict)
    quality: int = 0
    newest: int = 0
    age: float = 0.0


class MeterReader:
    """Reads the power of meters; keeps the last readings of those that have registers only.

    Args:
        table: with the points, now or later.
        meters: to be read.
        age: s; older values are not used.
    """

    def __init__(self, table: PointTable, meters: Iterable[Meter], age: float) -> None:
        self._table = table
        self._meters = tuple(meters)
        self._age = age
        self._direction = np.array([meter.direction for meter in self._meters], float)
        self._ratio = np.array([meter.ratio for meter in self._meters], float)
        count = len(self._meters)
        self._then, self._counted = np.full(count, np.nan), np.zeros(count)
        self._mean, self._mean_end = np.full(count, np.nan), np.full(count, np.nan)
        self._live = self._reactive = self._drawn = self._delivered = np.full(count, -1, np.int64)

    def refresh(self) -> None:
        """Look up the rows anew, after points were added."""
        first, second = (self._rows(name) for name in LIVE)
        self._live = np.where(first >= 0, first, second)
        self._reactive, self._drawn, self._delivered = map(self._rows, (_REACTIVE, _DRAWN, _DELIVERED))

    def _rows(self, name: str) -> Indexes:
        tree = self._table.tree
        nodes = tree.find_many([f"{meter.address}/{name}" for meter in self._meters])
        if not len(self._table):
            return np.full(len(nodes), -1, np.int64)
        return np.where(nodes >= 0, tree.row[nodes], -1).astype(np.int64)

    def read(self) -> MeterPowers:
        """What the meters draw now."""
        if not self._meters:
            return MeterPowers()
        table, now = self._table, clock.to_unix(clock.now())
        self._read_registers()
        power, words = self._mean * self._ratio, np.zeros(len(self._meters), np.uint32)
        times = self._mean_end.copy()
        counted = np.isfinite(power)
        words[counted] = table.quality[self._drawn[counted]]
        live = usable(table, self._live)
        rows = self._live[live]
        power[live], words[live] = table.raw[rows].view(np.float64), table.quality[rows]
        times[live] = _seconds(table.source_time[rows])
        with np.errstate(invalid="ignore"):
            good = np.isfinite(power) & (now - times <= self._age)
        reactive = np.full(len(power), np.nan)
        known = usable(table, self._reactive) & good
        rows = self._reactive[known]
        fresh = now - _seconds(table.source_time[rows]) <= self._age
        reactive[np.flatnonzero(known)[fresh]] = table.raw[rows[fresh]].view(np.float64)
        words[known] |= table.quality[rows]
        at = np.flatnonzero(good)
        if not len(at):
            return MeterPowers()
        into = np.empty(len(at), complex)
        into.real, into.imag = self._direction[at] * power[at], self._direction[at] * reactive[at]
        return MeterPowers(
            dict(zip((self._meters[index].address for index in at.tolist()), into.tolist(), strict=True)),
            worst(words[at]),
            clock.from_unix(float(times[at].max())),
            float(max(0.0, now - times[at].min())),
        )

    def _read_registers(self) -> None:
        """Mean power since the last reading, of meters whose register was read again."""
        table = self._table
        good = np.flatnonzero(usable(table, self._drawn))
        rows = self._drawn[good]
        counted = table.raw[rows].view(np.float64).copy()
        back = usable(table, self._delivered[good])
        counted[back] -= table.raw[self._delivered[good][back]].view(np.float64)
        # A register that is mapped but not known now would look like a step.
        partly = (self._delivered[good] >= 0) & ~back
        times = _seconds(table.source_time[rows])
        span = times - self._then[good]
        fresh = ~partly & (np.isnan(span) | (span >= _LEAST_SPAN_S) | (span < 0))
        at, span = good[fresh], span[fresh]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (counted[fresh] - self._counted[at]) * 3600.0 / span
        self._mean[at] = np.where(span > 0, mean, np.nan)
        self._mean_end[at] = times[fresh]
        self._then[at], self._counted[at] = times[fresh], counted[fresh]


def _seconds(ticks: Indexes) -> Floats:
    return np.asarray((ticks - clock.UNIX_EPOCH_TICKS) / clock.TICKS_PER_SECOND)
