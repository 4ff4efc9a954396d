"""The columns of monitored items, and which items a row of the point table belongs to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from address_space.opcua.queues import Slots
from address_space.point import Rows

DISABLED: Final = 0
SAMPLING: Final = 1
REPORTING: Final = 2
DELETED: Final = 255
"""Monitoring modes of Part 4, 7.23, and a slot that is free."""

TRIGGER_STATUS: Final = 0
TRIGGER_VALUE: Final = 1
TRIGGER_TIMESTAMP: Final = 2
"""DataChangeTriggers of Part 4, 7.22.2."""

EACH_CYCLE: Final = -1
"""Sampling of an item that takes the newest sample of each publishing cycle."""

ITEM = np.dtype(
    [
        ("id", "<u4"),
        ("row", "<i4"),
        ("handle", "<u4"),
        ("queue", "<i4"),
        ("sampling", "<i8"),
        ("phase", "<i8"),
        ("bucket", "<i8"),
        ("deadband", "<f8"),
        ("last_raw", "<u8"),
        ("last_source", "<i8"),
        ("last_status", "<u4"),
        ("mode", "u1"),
        ("stamps", "u1"),
        ("type", "u1"),
        ("trigger", "u1"),
        ("oldest", "?"),
        ("filtered", "?"),
        ("reported", "?"),
    ]
)
"""One monitored item.

`sampling` is in ticks: 0 takes every change, `EACH_CYCLE` the newest of a publishing cycle. `phase` and `bucket` are
the time from which the item's sampling intervals count and the last interval that gave a sample. `deadband` is in
units of the value, 0 for none. The `last_` fields are what was reported last, once `reported` is set; only items that
are `filtered` (sampling, deadband or another trigger than a change of value or status) keep them.
"""

Items = npt.NDArray[np.void]


class RowIndex:
    """Which items a row belongs to; its size goes with the number of items, not with the table.

    Args:
        rows: row of each item, in any order; several items may share a row.
        slots: slot of each item.
        table_size: rows of the table.
    """

    def __init__(self, rows: Rows, slots: Slots, table_size: int) -> None:
        order = np.argsort(rows, kind="stable")
        self._slots = slots[order]
        self._rows, self._first, counts = np.unique(rows[order], return_index=True, return_counts=True)
        self._counts = None if len(self._rows) == len(rows) else counts
        self._dense: Slots | None = None
        if len(self._rows) * 8 >= table_size:
            self._dense = np.full(table_size, -1, np.int32)
            self._dense[self._rows] = np.arange(len(self._rows), dtype=np.int32)
        else:
            size = 64
            while size < 8 * len(self._rows):
                size *= 2
            self._mask = np.int32(size - 1)
            self._maybe = np.zeros(size, bool)
            self._maybe[self._rows & self._mask] = True

    def match(self, rows: Rows) -> tuple[npt.NDArray[np.intp] | None, Slots]:
        """(positions in `rows` that concern items, slot for each); positions None when every row has just one item.

        A position is repeated for every item on its row; the order of the rows is kept.
        """
        if self._dense is not None:
            where, at = self._match_dense(rows)
        else:
            where, at = self._match_sparse(rows)
        if self._counts is None:
            return where, self._slots[at]
        counts = self._counts[at]
        positions = np.repeat(np.arange(len(rows)) if where is None else where, counts)
        before = np.cumsum(counts) - counts
        within = np.arange(len(positions)) - np.repeat(before, counts)
        return positions, self._slots[np.repeat(self._first[at], counts) + within]

    def _match_dense(self, rows: Rows) -> tuple[npt.NDArray[np.intp] | None, npt.NDArray[Any]]:
        dense = self._dense
        assert dense is not None  # noqa: S101 - for the type checker
        if len(rows) and int(rows.max()) >= len(dense):
            # Points that came after the index was made have no items.
            inside = np.nonzero(rows < len(dense))[0]
            found = dense[rows[inside]]
            there = found >= 0
            return inside[there], found[there]
        at = dense[rows]
        hit = at >= 0
        return (None, at) if hit.all() else (np.nonzero(hit)[0], at[hit])

    def _match_sparse(self, rows: Rows) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        where = np.nonzero(self._maybe[rows & self._mask])[0]
        candidates = rows[where]
        at = np.minimum(np.searchsorted(self._rows, candidates), len(self._rows) - 1)
        hit = self._rows[at] == candidates
        return where[hit], at[hit]


def find(items: Items, ids: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Slot of each item id, -1 for ids that are not there; ids rise with the slots."""
    if not len(items):
        return np.full(len(ids), -1, np.intp)
    at = np.minimum(np.searchsorted(items["id"], ids), len(items) - 1)
    there = (items["id"][at] == ids) & (items["mode"][at] != DELETED)
    return np.where(there, at, -1)
