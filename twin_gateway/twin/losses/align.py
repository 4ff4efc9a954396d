"""Time alignment: registers brought to the interval ends, and what clock errors do to an energy (spec 4.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WINDOW_S = 30.0
SHORT_WINDOW_CLOCK_S = 10.0
"""Alarms come from windows shorter than an hour only when every clock is at least as good as this."""
UNKNOWN_CLOCK_S = 30.0
"""Standard uncertainty of a clock that nobody has read."""


def interval_ends(start: float, stop: float, length: float) -> Floats:
    """Ends of the intervals [end - length, end) that lie wholly in [start, stop]; Unix seconds."""
    first, last = int(np.ceil(start / length - 1e-9)) + 1, int(np.floor(stop / length + 1e-9))
    return np.arange(first, last + 1, dtype=np.float64) * length


def align_registers(
    registers: Floats, offsets: npt.ArrayLike, length: float, *, window: float = WINDOW_S
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

    Returns:
        The registers at the ends, and which of them were too far away or had no neighbour (they are NaN).
    """
    off = np.broadcast_to(np.asarray(offsets, np.float64), registers.shape)
    if not off.any():
        return registers, np.zeros(registers.shape, bool)
    slope = np.diff(registers, axis=0) / (length + np.diff(off, axis=0))
    before = np.empty_like(registers)
    before[1:], before[0] = slope, np.nan
    after = np.empty_like(registers)
    after[:-1], after[-1] = slope, np.nan
    chosen = np.where(off > 0, before, after)
    other = np.where(off > 0, after, before)
    np.copyto(chosen, other, where=np.isnan(chosen))
    moved = registers - chosen * off
    np.copyto(moved, registers, where=off == 0)
    far = np.abs(off) > window
    moved[far] = np.nan
    return moved, np.isnan(moved) & ~np.isnan(registers)


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
