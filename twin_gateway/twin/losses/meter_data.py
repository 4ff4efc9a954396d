"""Meter data rules: from registers at interval ends to energies that can be trusted, each with what was done to it.

Every case of the specification's table 4.4 is here; time zones, scalers and duplicates are settled before, by the
driver and the interval store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag, StrEnum

import numpy as np
import numpy.typing as npt

from twin_gateway.twin.losses.gaps import GapFinder, fill, register_differences

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.uint8]
Booleans = npt.NDArray[np.bool_]

SHORT_GAP_S = 2 * 3600.0
RATING_MARGIN = 1.2
JITTER = 10.0
"""Wh of the register that a drop may be without being a reset: nothing was counted."""
WEEK_S = 7 * 86_400.0
WEEKS = 4
_SETTLED = 64
"""Columns that the slow path works on at a time."""
_ROWS = 16
"""Rows that the fast path works on at a time, so that they stay in the processor's cache."""


class Flag(IntFlag):
    """What is to be said of one interval energy."""

    ESTIMATED = 1
    MISSING = 2
    ROLLOVER = 4
    RESET = 8
    JUMP = 16
    NEGATIVE = 32


class MeterEventKind(StrEnum):
    """What meter data tells of a meter (spec 4.4)."""

    RESET = "MeterReset"
    RATIO = "RatioMismatch"
    REVERSED = "ReversedCT"
    JUMP = "ImplausibleJump"


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One thing found.

    Attributes:
        column: of the register.
        interval: index of the interval; -1 when it concerns the meter as such.
        value: the energy or ratio found.
    """

    kind: MeterEventKind
    column: int
    interval: int
    value: float


@dataclass(frozen=True, slots=True)
class RegisterRules:
    """What is known of each register; arrays of shape (m,).

    Attributes:
        modulus: Wh at which it begins again from nothing; 0 not known.
        rating: W, most that can flow; 0 not known.
        factor: primary energy = register difference * factor (current and voltage transformer ratio).
        export: an export register exists, so that its difference may be negative.
    """

    modulus: Floats
    rating: Floats
    factor: Floats
    export: Booleans

    @staticmethod
    def plain(count: int) -> RegisterRules:
        """Nothing known: no rollover, any energy plausible, primary registers."""
        return RegisterRules(np.zeros(count), np.zeros(count), np.ones(count), np.zeros(count, bool))

    def limit(self, length: float) -> Floats:
        """Most that an interval can count, in units of the register; infinite where no rating is known."""
        rated = self.rating / self.factor * length / 3600.0 * RATING_MARGIN
        return np.where(self.rating > 0, rated, np.inf)

    def of(self, columns: npt.NDArray[np.intp]) -> RegisterRules:
        """Rules of some columns."""
        return RegisterRules(self.modulus[columns], self.rating[columns], self.factor[columns], self.export[columns])


@dataclass(frozen=True, slots=True)
class IntervalEnergies:
    """Energies of n intervals of m registers.

    Attributes:
        energy: Wh, primary; NaN where missing.
        flags: `Flag` words.
        events: in order of columns, then intervals.
    """

    energy: Floats
    flags: Flags
    events: tuple[MeterEvent, ...] = ()


def interval_energies(
    registers: Floats, rules: RegisterRules, length: float, *, weekday: Floats | None = None, consume: bool = False
) -> IntervalEnergies:
    """Energies from registers at the ends of the intervals.

    * A drop is a rollover when the register was above 0.9 and is below 0.1 of its modulus; any other one is a reset
      (`MeterReset`, the interval is missing, the register is the new base), unless an export register exists and the
      drop is no larger than the rating allows, or it is of a few counts (`JITTER`): then nothing was counted. Three
      drops in a row are no resets but a meter that counts backwards (`ReversedCT`).
    * More than 1.2 x the rating is implausible: the energy is missing. A single wrong reading between two that fit
      each other is left out, and its two intervals are estimated.
    * Gaps up to 2 h are filled evenly from the registers around them; longer ones by the weekday profile, scaled to the
      register difference; without registers by the weekday profile as it is. All are marked estimated.

    Args:
        registers: Wh before the ratio, shape (n + 1, m): at the start of the first interval, then at each end. NaN
            where there is no reading.
        rules: of each register.
        length: of an interval, s.
        weekday: Wh of the same interval on the same weekday (of `weekday_mean`), shape (n, m); NaN where not known.
        consume: the registers may be overwritten by the energies: a large matrix less to be laid out.
    """
    count, columns = registers.shape[0] - 1, registers.shape[1]
    limit = rules.limit(length)
    odd = np.zeros(columns, bool)
    pieces = [slice(start, min(start + _ROWS, count)) for start in range(0, count, _ROWS)]
    work = np.empty((_ROWS, columns))
    finder = GapFinder(columns)
    finder.take(registers[:1], 0)
    for piece in pieces:
        step = work[: piece.stop - piece.start]
        np.subtract(registers[piece.start + 1 : piece.stop + 1], registers[piece], out=step)
        # Missing ones are passed over: a comparison with NaN is false.
        odd |= (np.fmin.reduce(step, axis=0) < 0) | (np.fmax.reduce(step, axis=0) > limit)
        finder.take(registers[piece.start + 1 : piece.stop + 1], piece.start + 1)
    # A gap alone needs none of the rules but that of gaps.
    gaps = finder.done(count + 1)
    difference, spans = register_differences(registers, gaps)
    with np.errstate(invalid="ignore"):
        strange = (difference < 0) | (difference > limit[gaps.column] * spans)
    if weekday is not None:
        strange |= np.isnan(difference) | (spans * length > SHORT_GAP_S)
    odd[gaps.column[strange]] = True
    troubled = np.nonzero(odd)[0]
    kept = registers[:, troubled] if consume else registers
    energy = registers[:-1] if consume else np.empty((count, columns))
    scaled = not (rules.factor == 1.0).all()
    for piece in pieces:
        step = work[: piece.stop - piece.start]
        np.subtract(registers[piece.start + 1 : piece.stop + 1], registers[piece], out=step)
        energy[piece] = step * rules.factor if scaled else step
    flags = np.zeros((count, columns), np.uint8)
    alone = ~odd[gaps.column]
    each = difference[alone] * rules.factor[gaps.column[alone]] / spans[alone]
    fill(energy, flags, gaps.of(alone), each, estimated=Flag.ESTIMATED, missing=Flag.MISSING)
    events: list[MeterEvent] = []
    for at in range(0, len(troubled), _SETTLED):
        some = troubled[at : at + _SETTLED]
        profile = None if weekday is None else weekday[:, some]
        source = kept[:, at : at + _SETTLED] if consume else kept[:, some]
        part = _settle(source, rules.of(some), length, profile)
        energy[:, some], flags[:, some] = part.energy, part.flags
        events += [
            MeterEvent(event.kind, int(some[event.column]), event.interval, event.value) for event in part.events
        ]
    return IntervalEnergies(energy, flags, tuple(events))


def _settle(registers: Floats, rules: RegisterRules, length: float, weekday: Floats | None) -> IntervalEnergies:
    """All rules, on few columns."""
    limit = rules.limit(length)
    registers = _without_spikes(registers, rules, limit)
    count = registers.shape[0] - 1
    index = np.arange(count + 1)[:, None]
    there = ~np.isnan(registers)
    before = np.maximum.accumulate(np.where(there, index, -1), axis=0)[:-1]
    after = np.minimum.accumulate(np.where(there, index, count + 1)[::-1], axis=0)[::-1][1:]
    known = (before >= 0) & (after <= count)
    low, high = np.maximum(before, 0), np.minimum(after, count)
    old, new = np.take_along_axis(registers, low, 0), np.take_along_axis(registers, high, 0)
    difference, gap = np.where(known, new - old, np.nan), np.maximum(high - low, 1)
    # An interval whose end has been read is the last of its gap: it carries the flag of what happened in it.
    last = there[1:] & known
    flags = np.zeros(difference.shape, np.uint8)
    wrong = known & (difference > limit * gap)
    drop = known & (difference < 0)
    # Columns that come here for a long gap have no drops or jumps.
    if drop.any():
        rollover = drop & (rules.modulus > 0) & (old > 0.9 * rules.modulus) & (new < 0.1 * rules.modulus)
        difference = np.where(rollover, difference + rules.modulus, difference)
        allowed = drop & ~rollover & rules.export & np.isfinite(limit) & (-difference <= limit * gap)
        fall = drop & ~rollover & ~allowed
        backwards = _in_a_row(fall & last, 3)
        # A register that is read by two ways (live and by its profile) may seem to fall by what one of them rounds.
        jitter = fall & ~backwards & (-difference <= JITTER) & (old > 2 * JITTER)
        difference, fall = np.where(jitter, 0.0, difference), fall & ~jitter
        flags[rollover & last] |= np.uint8(Flag.ROLLOVER)
        flags[fall & ~backwards & last] |= np.uint8(Flag.RESET)
        flags[backwards & last] |= np.uint8(Flag.NEGATIVE)
        wrong = fall | known & (difference > limit * gap)
        jump = wrong & ~fall
    else:
        jump = wrong
    flags[jump & last] |= np.uint8(Flag.JUMP)
    primary = difference * rules.factor
    energy = np.where(wrong, np.nan, primary / gap)
    estimated = known & ~wrong & (gap > 1)
    if weekday is not None:
        energy, estimated = _by_weekday(energy, estimated, primary, (low, high), wrong, weekday=weekday, length=length)
    flags[estimated] |= np.uint8(Flag.ESTIMATED)
    flags[np.isnan(energy)] |= np.uint8(Flag.MISSING)
    return IntervalEnergies(energy, flags, _events(flags, primary))


def _by_weekday(
    energy: Floats,
    estimated: Booleans,
    primary: Floats,
    bounds: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    wrong: Booleans,
    *,
    weekday: Floats,
    length: float,
) -> tuple[Floats, Booleans]:
    """Long gaps by the weekday profile scaled to the register difference; no registers: the profile as it is."""
    low, high = bounds
    gap = high - low
    running = np.zeros((len(weekday) + 1, weekday.shape[1]))
    holes = np.zeros_like(running)
    np.cumsum(np.isnan(weekday), axis=0, out=holes[1:])
    np.cumsum(np.nan_to_num(weekday), axis=0, out=running[1:])
    # Where the profile has a hole the gap stays linear.
    whole = np.take_along_axis(holes, high, 0) == np.take_along_axis(holes, low, 0)
    total = np.take_along_axis(running, high, 0) - np.take_along_axis(running, low, 0)
    shaped = estimated & (gap * length > SHORT_GAP_S) & whole & (total > 0)
    scale = np.divide(primary, total, out=np.zeros_like(primary), where=shaped)
    energy = np.where(shaped, weekday * scale, energy)
    # The interval of a reset or a jump stays missing; the others of the gap before it have no register difference.
    lone = wrong & (gap == 1)
    open_ = np.isnan(energy) & ~lone & ~np.isnan(weekday)
    return np.where(open_, weekday, energy), estimated | open_


def _without_spikes(registers: Floats, rules: RegisterRules, limit: Floats) -> Floats:
    """Leave out single readings that fit neither neighbour while the neighbours fit each other."""
    before, here, after = registers[:-2], registers[1:-1], registers[2:]
    # Where a register may also fall, only what the rating forbids on both sides is wrong.
    falls = rules.export & np.isfinite(limit)
    forbidden = (np.abs(here - before) > limit) & (np.abs(after - here) > limit)
    outside = (here < before) | (here > after)
    spike = (after >= before) & (after - before <= 2 * limit) & outside & (~falls | forbidden)
    if not spike.any():
        return registers
    registers = registers.copy()
    registers[1:-1][spike] = np.nan
    return registers


def _in_a_row(which: Booleans, least: int) -> Booleans:
    """Members of runs of at least `least` along the first axis."""
    count = len(which)
    if count < least:
        return np.zeros_like(which)
    running = np.zeros((count + 1, which.shape[1]), np.int64)
    np.cumsum(which, axis=0, out=running[1:])
    full = running[least:] - running[:-least] == least
    result = np.zeros_like(which)
    for shift in range(least):
        result[shift : shift + len(full)] |= full
    return result


def _events(flags: Flags, energy: Floats) -> tuple[MeterEvent, ...]:
    found = []
    kinds = (
        (Flag.RESET, MeterEventKind.RESET),
        (Flag.JUMP, MeterEventKind.JUMP),
        (Flag.NEGATIVE, MeterEventKind.REVERSED),
    )
    for flag, kind in kinds:
        which = flags & np.uint8(flag)
        if not which.any():
            continue
        intervals, columns = np.nonzero(which)
        if kind is MeterEventKind.REVERSED:  # a lasting state, told once: with its latest interval
            latest = dict(zip(columns.tolist(), intervals.tolist(), strict=True))
            columns, intervals = np.array(list(latest), np.intp), np.array(list(latest.values()), np.intp)
        found += [
            MeterEvent(kind, column, interval, float(energy[interval, column]))
            for interval, column in zip(intervals.tolist(), columns.tolist(), strict=True)
        ]
    return tuple(sorted(found, key=lambda event: (event.column, event.interval)))


def weekday_mean(energy: Floats, length: float, count: int) -> Floats:
    """Mean of the same interval on the same weekday of the four weeks before, for the last `count` intervals.

    Args:
        energy: Wh over time, shape (k, m), whose last `count` rows are the intervals in question; NaN where missing.
        length: of an interval, s.
        count: how many.

    Returns:
        Shape (count, m); NaN where no week is known.
    """
    week = round(WEEK_S / length)
    total, known = np.zeros((count, energy.shape[1])), np.zeros((count, energy.shape[1]))
    rows = np.arange(len(energy) - count, len(energy))
    for back in range(1, WEEKS + 1):
        at = rows - back * week
        inside = at >= 0
        part = energy[at[inside]]
        good = ~np.isnan(part)
        total[inside] += np.where(good, part, 0.0)
        known[inside] += good
    return np.asarray(np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0))


def energies_of_power(power: Floats, length: float, *, export: Booleans) -> tuple[IntervalEnergies, IntervalEnergies]:
    """(drawn, supplied) energies from mean powers, for what has no register.

    Negative consumption is feed-in where the meter may feed in; else it is missing and `ReversedCT` is suspected.

    Args:
        power: W, positive when drawn, shape (n, m); NaN where missing.
        length: of an interval, s.
        export: whether feed-in is possible, shape (m,).
    """
    wh = power * (length / 3600.0)
    reverse = (wh < 0) & ~export
    missing = np.isnan(wh) | reverse
    flags = np.where(missing, np.uint8(Flag.MISSING), np.uint8(0))
    flags[reverse] |= np.uint8(Flag.NEGATIVE)
    drawn = np.where(missing, np.nan, np.maximum(wh, 0.0))
    supplied = np.where(missing, np.nan, np.maximum(-wh, 0.0))
    events = _events(flags & np.uint8(Flag.NEGATIVE), wh)
    return IntervalEnergies(drawn, flags, events), IntervalEnergies(supplied, flags)


def declared_ratio(
    ct_numerator: float = 1.0, ct_denominator: float = 1.0, vt_numerator: float = 1.0, vt_denominator: float = 1.0
) -> float:
    """Ratio that the meter declares (OBIS 1-0:0.4.2, 0.4.5, 0.4.3, 0.4.6): (CT num / den) x (VT num / den).

    Raises:
        ValueError: a denominator or numerator is not positive.
    """
    if min(ct_numerator, ct_denominator, vt_numerator, vt_denominator) <= 0:
        raise ValueError("the numerators and denominators of a ratio are positive")
    return ct_numerator / ct_denominator * vt_numerator / vt_denominator


def ratio_mismatch(
    mapped: float, declared: float | None, column: int = 0, *, tolerance: float = 1e-3
) -> MeterEvent | None:
    """`RatioMismatch` when the meter declares another ratio than the records; None when it agrees or declares none."""
    if declared is None or abs(declared - mapped) <= tolerance * abs(mapped):
        return None
    return MeterEvent(MeterEventKind.RATIO, column, -1, declared)
