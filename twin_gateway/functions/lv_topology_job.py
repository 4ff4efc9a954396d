"""The job of an identification, in the compute process: from the interval store to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from address_space.quality import Quality
from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.grid.model import CimClass, Grid, Meter, MeterRole, Quantity
from twin_gateway.twin.lv_topology.data import AreaData
from twin_gateway.twin.lv_topology.energy import turned
from twin_gateway.twin.lv_topology.identify import METHODS, Evidence, Identification, identify
from twin_gateway.twin.lv_topology.records import Record

F64 = NDArray[np.float64]
_BAD = np.uint32(Quality.INVALID | Quality.COMM_LOST | Quality.NOT_INITIALISED | Quality.OLD_DATA)
_BATCH = 400
"""Points read at once, so that a month of a large area needs little memory."""


@dataclass(frozen=True)
class Supply:
    """A transformer with a monitor: its address, the low-voltage place it feeds, points by phase.

    Attributes:
        voltage: points of the phase-to-neutral voltages, three, empty where there is none.
        power: (point, factor) of the phase powers, three; factor +1 counts into the area.
    """

    address: str
    place: str
    voltage: tuple[str, str, str] = ("", "", "")
    power: tuple[tuple[str, float], ...] = (("", 1.0), ("", 1.0), ("", 1.0))


@dataclass(frozen=True)
class Job:
    """What the compute process needs; all of it can be pickled.

    Attributes:
        store: path of the interval store.
        meters: with their present records.
        start, end: window, Unix seconds.
        methods: names; threshold: confidence from which a finding is not unknown.
    """

    store: Path
    meters: tuple[Meter, ...]
    supplies: tuple[Supply, ...]
    start: float
    end: float
    methods: tuple[str, ...] = METHODS
    threshold: float = 0.95


@dataclass(frozen=True)
class Done:
    """What the job found.

    Attributes:
        turned: transformers whose monitor counts the other way round than the grid model says.
        silent: meters without any data in the window.
    """

    identification: Identification
    turned: tuple[str, ...] = field(default=())
    silent: int = 0


def supplies_of(grid: Grid) -> tuple[Supply, ...]:
    """Transformers of the grid whose low-voltage side somebody measures by phase."""
    out: dict[str, Supply] = {}
    for item in grid.of(CimClass.TRANSFORMER):
        low = item.nodes[1].rsplit("/", 2)[0]
        out[item.address] = Supply(item.address, low.removesuffix("/_"))
    for meter in grid.meters.values():
        if meter.role is MeterRole.BOUNDARY and meter.equipment in out and meter.terminal == 2:
            supply = out[meter.equipment]
            a, b, c = (f"{meter.address}/MMXU1/PhV/phs{phase}" for phase in "ABC")
            out[meter.equipment] = replace(
                supply,
                voltage=(a, b, c),
                power=tuple((f"{meter.address}/MMXU1/W/phs{phase}", -meter.direction * meter.ratio) for phase in "ABC"),
            )
    for measurement in grid.measurements.values():
        if measurement.equipment not in out or measurement.terminal != 2 or measurement.phase not in {"A", "B", "C"}:
            continue
        supply, at = out[measurement.equipment], "ABC".index(measurement.phase)
        if measurement.quantity is Quantity.V:
            voltage = list(supply.voltage)
            voltage[at] = measurement.point
            out[supply.address] = replace(supply, voltage=(voltage[0], voltage[1], voltage[2]))
        elif measurement.quantity is Quantity.P:
            power = list(supply.power)
            power[at] = (measurement.point, -float(measurement.direction))
            out[supply.address] = replace(supply, power=tuple(power))
    return tuple(supply for supply in out.values() if any(supply.voltage) or any(point for point, _ in supply.power))


def run_job(job: Job) -> Done:
    """Read the window and identify.

    Raises:
        IntervalStoreError: there is no store.
        ValueError: the window holds no interval, or a method is unknown.
    """
    reader = IntervalReader(job.store)
    try:
        data = area_data(reader, job)
    finally:
        reader.close()
    wrong = turned(data)
    if wrong.any():
        data = replace(data, pt=np.where(wrong[:, None, None], -data.pt, data.pt))
    records = tuple(Record(meter.transformer, meter.phases) for meter in job.meters)
    told = np.isfinite(data.v).any(1) | np.isfinite(data.p).any(1)
    spoke = np.zeros(len(data.meters), bool)
    spoke[data.channel_meter[told]] = True
    return Done(
        identify(data, Evidence(records), job.methods, job.threshold),
        tuple(data.transformers[at] for at in np.flatnonzero(wrong)),
        int((~spoke).sum()),
    )


def area_data(reader: IntervalReader, job: Job) -> AreaData:
    """The matrices of a window, from what the store has of the meters.

    Raises:
        ValueError: the window holds no interval.
    """
    length = reader.length
    first, last = round(job.start / length) + 1, round(job.end / length)
    if last - first < 1:
        raise ValueError("the window holds fewer than two intervals")
    known = set(reader.addresses())
    wanted = [text for meter in job.meters for text in _points(meter.address, known)]
    wanted += [text for supply in job.supplies for text in (*supply.voltage, *(point for point, _ in supply.power))]
    series = _Series(reader, [text for text in dict.fromkeys(wanted) if text in known], first, last)

    channel_meter: list[int] = []
    terminal: list[int] = []
    volts: list[F64] = []
    watts: list[F64] = []
    split: list[bool] = []
    for number, meter in enumerate(job.meters):
        own_volts, own_watts, by_phase = _channels(meter, known, series)
        channel_meter += [number] * len(own_volts)
        terminal += range(len(own_volts))
        volts += own_volts
        watts += own_watts
        split.append(by_phase)
    shape = (len(job.supplies), 3, series.count)
    vt = [series.mean(point) for supply in job.supplies for point in supply.voltage]
    pt = [series.mean(point) * factor for supply in job.supplies for point, factor in supply.power]
    return AreaData(
        start=(first - 1) * length,
        step=length,
        meters=tuple(meter.address for meter in job.meters),
        transformers=tuple(supply.address for supply in job.supplies),
        channel_meter=np.array(channel_meter, np.int64),
        channel_terminal=np.array(terminal, np.int64),
        v=np.array(volts).reshape(-1, series.count),
        p=np.array(watts).reshape(-1, series.count),
        vt=np.array(vt).reshape(shape),
        pt=np.array(pt).reshape(shape),
        power_split=np.array(split, bool),
    )


def _points(meter: str, known: set[str]) -> list[str]:
    names = (
        "MMTR1/DmdWh",
        "MMTR1/SupWh",
        "MMXN1/Vol",
        "MMXN1/Watt",
        "MMXU1/TotW",
        *(f"MMXU1/{kind}/phs{phase}" for kind in ("PhV", "W") for phase in "ABC"),
    )
    return [text for name in names if (text := f"{meter}/{name}") in known]


class _Series:
    """Values of points over the intervals of a window, NaN where there is none that may be used."""

    def __init__(self, reader: IntervalReader, addresses: Sequence[str], first: int, last: int) -> None:
        self.count = last - first + 1
        self._length = reader.length
        self._at: Mapping[str, int] = {text: at for at, text in enumerate(addresses)}
        # one end more at the front: energies are differences of registers
        self._values = np.full((len(addresses), self.count + 1), np.nan)
        for start in range(0, len(addresses), _BATCH):
            part = addresses[start : start + _BATCH]
            matrix = reader.read(part, (first - 1) * reader.length, last * reader.length)
            good = matrix.valid & (matrix.quality & _BAD == 0)
            self._values[start : start + len(part)] = np.where(good, matrix.values, np.nan).T

    def mean(self, address: str) -> F64:
        """Means over the intervals."""
        at = self._at.get(address)
        return np.full(self.count, np.nan) if at is None else self._values[at, 1:]

    def power(self, demand: str, supply: str) -> F64:
        """W drawn over the intervals, from registers in Wh; a register that goes back (reset) tells nothing."""
        out = np.full(self.count, np.nan)
        for address, sign in ((demand, 1.0), (supply, -1.0)):
            at = self._at.get(address)
            if at is None:
                continue
            energy = np.diff(self._values[at])
            part = sign * np.where(energy >= 0, energy, np.nan) * 3600 / self._length
            # a meter without feed-in register has no feed-in; one whose register is missing now has an unknown one
            out = part if sign > 0 else (out + part if np.isfinite(part).any() else out)
        return out


def _channels(meter: Meter, known: set[str], series: _Series) -> tuple[list[F64], list[F64], bool]:
    """(voltages, powers) of the terminals of a meter, and whether it tells its power by phase."""
    place = meter.address
    sign = float(meter.direction)
    total = sign * meter.ratio * series.power(f"{place}/MMTR1/DmdWh", f"{place}/MMTR1/SupWh")
    for name in ("MMXN1/Watt", "MMXU1/TotW"):
        means = sign * series.mean(f"{place}/{name}")
        if np.isfinite(means).sum() > 2 * np.isfinite(total).sum():
            total = means
    phases = [f"{place}/MMXU1/PhV/phs{phase}" for phase in "ABC"]
    if not any(point in known for point in phases[1:]):
        volts = series.mean(f"{place}/MMXN1/Vol")
        if not np.isfinite(volts).any():
            volts = series.mean(phases[0])
        if not np.isfinite(total).any():
            total = sign * series.mean(f"{place}/MMXU1/W/phsA")
        return [volts], [total], True
    watts = [sign * series.mean(f"{place}/MMXU1/W/phs{phase}") for phase in "ABC"]
    by_phase = all(np.isfinite(part).any() for part in watts)
    if not by_phase:
        watts = [total, np.full(series.count, np.nan), np.full(series.count, np.nan)]
    return [series.mean(point) for point in phases], watts, by_phase
