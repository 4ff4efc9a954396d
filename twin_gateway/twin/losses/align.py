"""Time alignment: registers brought to the interval ends, and what clock errors do to an energy (spec 4.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WINDOW_S = 30.0
SHORT_WINDOW_CLOCK_S = 10.0
"""Alarms come from windows shorter than an hour only when every clock is at least as good as this."""
_ROWS = 16
"""Rows worked on at a time, so that they stay in the processor's cache."""
UNKNOWN_CLOCK_S = 30.0
"""Standard uncertainty of a clock that nobody has read."""


def interval_ends(start: float, stop: float, length: float) -> Floats:
    """Ends of the intervals [end - length, end) that lie wholly in [start, stop]; Unix seconds."""
    first, last = int(np.ceil(start / length - 1e-9)) + 1, int(np.floor(stop / length + 1e-9))
    return np.arange(first, last + 1, dtype=np.float64) * length


def align_registers(
    registers: Floats, offsets: npt.ArrayLike, length: float, *, window: float = WINDOW_S, consume: bool = False
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Registers read near the interval ends, interpolated linearly between neighbouring readings to the ends.

    A reading taken late is moved along the slope from the reading before, an early one along the slope to the reading
    after; at the edges, and where a neighbour is missing, along the slope of the other side.

    Args:
        registers: readings around n + 1 interval ends of m registers, shape (n + 1, m); NaN where there is none.
        offsets: when each was truly taken after its interval end, s (negative: before); shape (n + 1, m) or (m,).
            A clock that is e seconds ahead takes the reading that it stamps with the end e seconds before it.
        length: of an interval, s.
        window: readings further from the boundary than this are no readings of it.
        consume: the registers may be overwritten: a large matrix less to be laid out.

    Returns:
        The registers at the ends, and which of them were too far away or had no neighbour (they are NaN).
    """
    off = np.asarray(offsets, np.float64)
    if not off.any():
        return registers, np.zeros(registers.shape, bool)
    count, width = registers.shape
    fixed = off.ndim < 2
    off = np.broadcast_to(off, (width,) if fixed else registers.shape)
    moved = registers if consume else np.empty_like(registers)
    lost = np.zeros(registers.shape, bool)
    late, early = np.maximum(off, 0.0) / length, np.maximum(-off, 0.0) / length
    previous = registers[:1].copy()
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        part, low, high = slice(start, stop), max(start - 1, 0), min(stop + 1, count)
        # The row before may have been overwritten already.
        piece = np.concatenate([previous, registers[start:high]]) if start else registers[:high].copy()
        previous = registers[stop - 1 : stop].copy()
        if not fixed or start == 0 or stop == count:
            moved[part] = _move(piece, off if fixed else off[low:high], start - low, stop - low, length)
        else:
            steps = np.diff(piece, axis=0)
            out = np.multiply(steps[1:], early, out=moved[part])
            out += piece[1:-1]
            steps[:-1] *= late
            out -= steps[:-1]
            # A neighbour that is missing makes the whole column of this piece be looked at again.
            again = np.nonzero(np.isnan(out.sum(axis=0)))[0]
            if len(again):
                out[:, again] = _move(piece[:, again], off[again], 1, 1 + stop - start, length)
        far = np.abs(off if fixed else off[part]) > window
        if far.any():
            moved[part][np.broadcast_to(far, moved[part].shape)] = np.nan
        if np.isnan(moved[part].sum()):
            lost[part] = np.isnan(moved[part]) & ~np.isnan(piece[start - low : stop - low])
    return moved, lost


def _move(registers: Floats, offsets: Floats, start: int, stop: int, length: float) -> Floats:
    """Rows `start` to `stop` of the registers at their boundaries, with what neighbours there are."""
    low, high = max(start - 1, 0), min(stop + 1, len(registers))
    here = registers[start:stop]
    off = np.broadcast_to(offsets, registers.shape)
    slope = np.diff(registers[low:high], axis=0) / (length + np.diff(off[low:high], axis=0))
    before, after = np.full(here.shape, np.nan), np.full(here.shape, np.nan)
    first = start - low
    before[1 - first :] = slope[: len(here) - 1 + first]
    after[: high - 1 - start] = slope[first : first + high - 1 - start]
    off = off[start:stop]
    chosen = np.where(off > 0, before, after)
    np.copyto(chosen, np.where(off > 0, after, before), where=np.isnan(chosen))
    result = here - chosen * off
    np.copyto(result, here, where=off == 0)
    return np.asarray(result)


def clock_sigma(errors: npt.ArrayLike, *, unknown: float = UNKNOWN_CLOCK_S) -> Floats:
    """Standard uncertainty of the time of each meter, s, from its last known clock error (NaN: never read)."""
    seconds = np.abs(np.asarray(errors, np.float64))
    return np.where(np.isnan(seconds), unknown, seconds)


def sync_uncertainty(energy: npt.ArrayLike, length: float, sigma: npt.ArrayLike) -> Floats:
    """u_sync = |dE/dt| sigma_clock of each energy, in its unit; `length` is that of the window of the energy, s.

    The term does not grow with the window, so that it vanishes in a day and rules in a quarter of an hour.
    """
    return np.asarray(np.abs(np.asarray(energy, np.float64)) / length * np.asarray(sigma, np.float64))


def windows_for_alarms(sigma: npt.ArrayLike, length: float) -> float:
    """Shortest window, s, that alarms may be taken from: the interval itself with good clocks, else an hour."""
    good = bool((np.asarray(sigma) <= SHORT_WINDOW_CLOCK_S).all())
    return length if good else max(3600.0, length)
