"""Gaps in registers: runs of missing readings, and the energies of columns that have no other trouble than gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

_CELLS = 1 << 20
"""Intervals that are filled in one go."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Runs of missing readings, equally long arrays.

    Attributes:
        column: of the register.
        begin: first row without a reading.
        end: first row with one again; the number of rows when there is none.
    """

    column: Index
    begin: Index
    end: Index

    def of(self, which: Booleans) -> Gaps:
        """Some of the runs."""
        return Gaps(self.column[which], self.begin[which], self.end[which])

    def pieces(self, first: Index, last: Index) -> Iterator[tuple[npt.NDArray[np.intp], Index, Index]]:
        """(run, row, column) of the cells from row `first` to `last` (exclusive) of every run, a piece at a time."""
        sizes = last - first
        stops = np.cumsum(sizes)
        at = 0
        while at < len(sizes):
            done = int(stops[at - 1]) if at else 0
            until = max(int(np.searchsorted(stops, done + _CELLS, side="right")), at + 1)
            run = np.repeat(np.arange(at, until), sizes[at:until])
            row = np.arange(len(run)) - (stops - sizes)[run] + done + first[run]
            yield run, row, self.column[run]
            at = until


class GapFinder:
    """Finds the runs of missing readings while rows go by.

    Args:
        columns: number of registers.
    """

    def __init__(self, columns: int) -> None:
        self._since = np.full(columns, -1, np.intp)
        self._found: list[tuple[Index, Index, int]] = []
        self._open = False

    def take(self, rows: Floats, number: int) -> None:
        """Further rows, the first of which has this number; NaN where there is no reading."""
        holes = np.isnan(rows)
        if not (self._open or holes.any()):
            return
        for at, missing in enumerate(holes, number):
            self._close(np.nonzero((self._since >= 0) & ~missing)[0], at)
            self._since[missing & (self._since < 0)] = at
        self._open = bool((self._since >= 0).any())

    def done(self, rows: int) -> Gaps:
        """All runs, of so many rows."""
        self._close(np.nonzero(self._since >= 0)[0], rows)
        empty = np.empty(0, np.intp)
        return Gaps(
            np.concatenate([column for column, _, _ in self._found] or [empty]),
            np.concatenate([begin for _, begin, _ in self._found] or [empty]),
            np.repeat([end for _, _, end in self._found], [len(column) for column, _, _ in self._found]).astype(np.intp)
            if self._found
            else empty,
        )

    def _close(self, columns: Index, number: int) -> None:
        if len(columns):
            self._found.append((columns, self._since[columns], number))
            self._since[columns] = -1


def register_differences(registers: Floats, gaps: Gaps) -> tuple[Floats, Index]:
    """(difference of the registers around each gap, NaN at an edge; number of intervals that it covers)."""
    count = len(registers) - 1
    inside = (gaps.begin > 0) & (gaps.end <= count)
    low, high = np.maximum(gaps.begin - 1, 0), np.minimum(gaps.end, count)
    difference = registers[high, gaps.column] - registers[low, gaps.column]
    return np.where(inside, difference, np.nan), gaps.end - gaps.begin + 1


def fill(
    energy: Floats, flags: npt.NDArray[np.uint8], gaps: Gaps, each: Floats, *, estimated: int, missing: int
) -> None:
    """Put the energy of each gap's intervals in its place; NaN marks them as missing.

    Args:
        energy: Wh, (n, m), changed.
        flags: (n, m), changed: joined with `estimated` or `missing`.
        gaps: of the n + 1 registers.
        each: Wh in every interval of a gap.
        estimated: flag of what is filled.
        missing: flag of what is not.
    """
    words = np.where(np.isnan(each), missing, estimated).astype(np.uint8)
    first, last = np.maximum(gaps.begin - 1, 0), np.minimum(gaps.end, len(energy))
    for run, row, column in gaps.pieces(first, last):
        energy[row, column] = each[run]
        flags[row, column] |= words[run]
