"""Energies of all meters of a grid over a window, from the interval store by the meter data rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twin_gateway.functions.interval_store import IntervalReader
from twin_gateway.functions.losses_settings import LossSettings
from twin_gateway.grid.model import Meter, MeterRole
from twin_gateway.twin.losses.balance import Key
from twin_gateway.twin.losses.meter_data import (
    SHORT_GAP_S,
    WEEK_S,
    WEEKS,
    Flag,
    IntervalEnergies,
    MeterEvent,
    RegisterRules,
    energies_of_power,
    interval_energies,
    weekday_mean,
)
from twin_gateway.twin.losses.regions import PHASES

Floats = npt.NDArray[np.float64]
DAY_S = 86_400.0
_OLD_DAYS, _NEW_DAYS = (30, 14, 7, 3, 1), (1, 2, 4, 8, 15)
"""Days before the window that are looked at for the energy that a meter usually measures, in this order."""
_COLUMNS = 1000
"""Registers whose history is looked at in one go: five weeks of them are a few dozen megabytes."""


@dataclass(slots=True)
class LossInputs:
    """Energies of n intervals.

    Attributes:
        ends: Unix seconds of the interval ends, (n,).
        length: of an interval, s.
        columns: what each column has.
        energy: Wh, (n, columns); NaN where missing.
        flags: `Flag` words; quality: joined quality words of the readings at both ends.
        usual: mean Wh of an interval over the last 30 days, (columns,); NaN where not known.
        last: Unix seconds of the last reading of each meter within the window and a day before; 0 for none.
        events: (meter, Unix seconds of the interval's end, event).
    """

    ends: Floats
    length: float
    columns: dict[Key, int]
    energy: Floats
    flags: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.uint32]
    usual: Floats
    last: dict[str, float]
    events: list[tuple[str, float, MeterEvent]]


@dataclass(frozen=True, slots=True)
class _Sources:
    """Addresses in the store: registers and powers by key."""

    registers: dict[Key, str]
    powers: dict[tuple[str, str], str]


def _sources(meters: Mapping[str, Meter], known: set[str]) -> _Sources:
    registers: dict[Key, str] = {}
    powers: dict[tuple[str, str], str] = {}
    for address in meters:
        pairs = ((False, f"{address}/MMTR1/DmdWh"), (True, f"{address}/MMTR1/SupWh"))
        found = {(address, "", supplied): text for supplied, text in pairs if text in known}
        registers.update(found)
        if not found:
            power = next(
                (text for text in (f"{address}/MMXU1/TotW", f"{address}/MMXN1/Watt", address) if text in known), None
            )
            if power is not None:
                powers[address, ""] = power
        for phase in PHASES:
            if (text := f"{address}/MMXU1/W/phs{phase}") in known:
                powers[address, phase] = text
    return _Sources(registers, powers)


def register_rules(
    keys: Sequence[Key], meters: Mapping[str, Meter], settings: LossSettings, exports: set[str]
) -> RegisterRules:
    """Rules of registers by what the grid model says of their meters."""
    chosen = [meters[meter] for meter, _, _ in keys]
    return RegisterRules(
        np.array([10.0**meter.digits * settings.register_unit if meter.digits else 0.0 for meter in chosen]),
        np.array([meter.rating for meter in chosen]),
        np.array([meter.ratio for meter in chosen]),
        np.array([meter.address in exports for meter in chosen], bool),
    )


def read_inputs(
    reader: IntervalReader, meters: Mapping[str, Meter], start: float, stop: float, settings: LossSettings
) -> LossInputs:
    """Energies of the intervals in [start, stop).

    A day before and after is read as well, so that gaps over the edges are filled from their registers.
    """
    length = reader.length
    sources = _sources(meters, set(reader.addresses()))
    first, last = round(start / length), round(stop / length)
    margin = round(DAY_S / length)
    crop = slice(margin, margin + last - first)
    exports = {meter for meter, _, supplied in sources.registers if supplied}
    keys = list(sources.registers)
    matrix = reader.read(list(sources.registers.values()), (first - margin) * length, (last + margin) * length)
    registers = np.where(matrix.valid, matrix.values, np.nan)
    rules = register_rules(keys, meters, settings, exports)
    part = interval_energies(registers, rules, length)
    part = _with_weekdays(reader, sources, part, registers, rules, window=(first, last, margin))
    lasts: dict[str, float] = {}
    seen = np.where(matrix.valid, matrix.ends[:, None], 0.0).max(axis=0, initial=0.0)
    for (meter, _, _), moment in zip(keys, seen.tolist(), strict=True):
        lasts[meter] = max(lasts.get(meter, 0.0), moment)
    columns: dict[Key, int] = {key: at for at, key in enumerate(keys)}
    energies, flags = [part.energy[crop]], [part.flags[crop]]
    quality = [(matrix.quality[1:] | matrix.quality[:-1])[crop]]
    events = [
        (keys[event.column][0], float((first - margin + event.interval + 1) * length), event)
        for event in part.events
        if margin <= event.interval < margin + last - first
    ]
    usual = [_usual(reader, list(sources.registers.values()), rules, first, length)]
    if sources.powers:
        names = list(sources.powers)
        powers = reader.read(list(sources.powers.values()), (first + 1) * length, last * length)
        export = np.array([meters[meter].role is not MeterRole.CUSTOMER for meter, _ in names], bool)
        watts = np.where(powers.valid, powers.values, np.nan)
        drawn, supplied = energies_of_power(watts, length, export=export)
        for side, some in ((False, drawn), (True, supplied)):
            base = len(columns)
            columns.update({(meter, phase, side): base + at for at, (meter, phase) in enumerate(names)})
            energies.append(some.energy)
            flags.append(some.flags)
            quality.append(powers.quality)
            usual.append(np.full(len(names), np.nan))
        events += [(names[e.column][0], float((first + e.interval + 1) * length), e) for e in drawn.events]
        seen = np.where(powers.valid, powers.ends[:, None], 0.0).max(axis=0, initial=0.0)
        for (meter, _), moment in zip(names, seen.tolist(), strict=True):
            lasts[meter] = max(lasts.get(meter, 0.0), moment)
    energy = np.concatenate(energies, axis=1)
    mean = np.concatenate(usual)
    with np.errstate(invalid="ignore", divide="ignore"):
        there = (~np.isnan(energy)).sum(axis=0)
        present = np.where(there > 0, np.where(np.isnan(energy), 0.0, energy).sum(axis=0) / there, np.nan)
    return LossInputs(
        np.arange(first + 1, last + 1, dtype=np.float64) * length,
        length,
        columns,
        energy,
        np.concatenate(flags, axis=1),
        np.concatenate(quality, axis=1),
        np.where(np.isnan(mean), present, mean),
        lasts,
        events,
    )


def _with_weekdays(
    reader: IntervalReader,
    sources: _Sources,
    part: IntervalEnergies,
    registers: Floats,
    rules: RegisterRules,
    *,
    window: tuple[int, int, int],
) -> IntervalEnergies:
    """Fill long gaps again with the weekday profile: only of the columns that have some, for history costs reading."""
    first, last, margin = window
    length = reader.length
    rows = max(1, round(SHORT_GAP_S / length))
    doubtful = part_estimated(part.flags, rows) | (part.flags & np.uint8(Flag.MISSING) != 0)
    count = len(part.energy)
    start = first - margin - round(WEEKS * WEEK_S / length)
    names = list(sources.registers.values())
    troubled = np.nonzero(doubtful[margin : margin + last - first].any(axis=0))[0]
    for at in range(0, len(troubled), _COLUMNS):
        columns = troubled[at : at + _COLUMNS]
        history = reader.read([names[column] for column in columns], start * length, (first - margin + count) * length)
        some = rules.of(columns)
        past = interval_energies(np.where(history.valid, history.values, np.nan), some, length)
        # What is itself estimated over a long gap is no example.
        known = np.where(part_estimated(past.flags, rows), np.nan, past.energy)
        weekday = weekday_mean(known, length, count)
        again = interval_energies(registers[:, columns], some, length, weekday=weekday)
        part.energy[:, columns], part.flags[:, columns] = again.energy, again.flags
    return part


def part_estimated(flags: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.bool_]:
    """Estimated intervals that stand in runs of more than `rows`, shape as `flags`."""
    which: npt.NDArray[np.bool_] = flags & np.uint8(Flag.ESTIMATED) != 0
    if len(which) <= rows:
        return np.zeros_like(which)
    running = np.zeros((len(which) + 1, which.shape[1]), np.int64)
    np.cumsum(which, axis=0, out=running[1:])
    full = running[rows + 1 :] - running[: -rows - 1] == rows + 1
    result = np.zeros_like(which)
    for shift in range(rows + 1):
        result[shift : shift + len(full)] |= full
    return result


def _usual(reader: IntervalReader, names: Sequence[str], rules: RegisterRules, first: int, length: float) -> Floats:
    """Mean Wh of an interval over the last 30 days from two readings of each register; NaN where there are none.

    Of a meter that is younger, or silent for longer than a day, the readings nearest to that count: what it usually
    measures must not be forgotten while it is missing.
    """
    found = np.full(len(names), np.nan)
    old, old_end = _reading(reader, names, [first - round(back * DAY_S / length) for back in _OLD_DAYS], newest=False)
    new, new_end = _reading(reader, names, [first - round(back * DAY_S / length) for back in _NEW_DAYS], newest=True)
    difference = (new - old) * rules.factor
    with np.errstate(invalid="ignore"):
        good = (difference >= 0) & (new_end > old_end)
    return np.asarray(np.divide(difference, (new_end - old_end) / length, out=found, where=good))


def _reading(
    reader: IntervalReader, names: Sequence[str], starts: Sequence[int], *, newest: bool
) -> tuple[Floats, Floats]:
    """(register, end) of the oldest or newest reading in the first of the days from `starts` that has one."""
    day = round(DAY_S / reader.length)
    values, ends = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for start in starts:
        left = np.nonzero(np.isnan(values))[0]
        if not len(left):
            break
        part = reader.read([names[at] for at in left.tolist()], start * reader.length, (start + day) * reader.length)
        at = len(part.ends) - 1 - part.valid[::-1].argmax(axis=0) if newest else part.valid.argmax(axis=0)
        some = part.valid.any(axis=0)
        values[left[some]] = part.values[at[some], np.nonzero(some)[0]]
        ends[left[some]] = part.ends[at[some]]
    return values, ends
