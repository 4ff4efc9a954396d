"""Notifications in waiting: queue size, discard policy and the overflow bit of Part 4, 5.13.1.5, on columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from address_space.opcua.encoding import OVERFLOW_BIT, Values
from address_space.point import Rows

Slots = npt.NDArray[np.int32]


class Queued(NamedTuple):
    """Samples of items, those of one item in the order of time.

    Attributes:
        slots: number of the item of each sample, int32.
        values: the samples.
    """

    slots: Slots
    values: Values

    def __len__(self) -> int:
        return len(self.slots)

    def pick(self, which: Any) -> Queued:
        """The samples at some positions, or where a mask is true."""
        return Queued(self.slots[which], self.values.pick(which))


SAMPLE_OCTETS = 32
"""Memory of a sample in waiting: slot, value, status and two times."""

EMPTY = Queued(
    np.empty(0, np.int32),
    Values(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64)),
)


def join(parts: list[Queued]) -> Queued:
    """Samples one after the other."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return EMPTY
    if len(parts) == 1:
        return parts[0]
    return Queued(
        np.concatenate([part.slots for part in parts]),
        Values(*(np.concatenate(columns) for columns in zip(*(tuple(part.values) for part in parts), strict=True))),
    )


def order_by_slot(slots: Slots) -> npt.NDArray[np.intp]:
    """A stable order by item; numpy sorts 16 bits at a time several times faster than 32."""
    low = np.argsort((slots & 0xFFFF).astype(np.uint16), kind="stable")
    if not len(slots) or int(slots.max()) <= 0xFFFF:
        return low
    return low[np.argsort((slots[low] >> 16).astype(np.uint16), kind="stable")]


def limit(queued: Queued, sizes: Rows, oldest: npt.NDArray[np.bool_], cap: int | None = None) -> tuple[Queued, int]:
    """Cut every item's samples down to its queue size; returns what stays and how many samples went.

    With discard-oldest the newest stay and the oldest of them carries the overflow bit; without it the first stay, the
    last of them is replaced by the newest sample and carries the bit. A queue of one holds the newest, without a bit.

    Args:
        queued: samples of all items.
        sizes: queue size of each item.
        oldest: DiscardOldest of each item.
        cap: largest size for any item, below what was promised; used when the whole is too much.
    """
    slots = queued.slots
    if len(slots) * 4 < len(sizes):
        unique, inverse, counts = np.unique(slots, return_inverse=True, return_counts=True)
        allowed = sizes[unique] if cap is None else np.minimum(sizes[unique], cap)
        over_each = (counts > allowed)[inverse]
    else:
        counts = np.bincount(slots, minlength=len(sizes))
        over_each = (counts > (sizes if cap is None else np.minimum(sizes, cap)))[slots]
    where = np.nonzero(over_each)[0]
    if not len(where):
        return queued, 0
    return _cut(queued, where, sizes, oldest, cap)


def _cut(
    queued: Queued,
    where: npt.NDArray[np.intp],
    sizes: Rows,
    oldest: npt.NDArray[np.bool_],
    cap: int | None,
) -> tuple[Queued, int]:
    order = where[order_by_slot(queued.slots[where])]
    slots = queued.slots[order]
    starts = np.nonzero(np.concatenate([[True], slots[1:] != slots[:-1]]))[0]
    counts = np.diff(np.append(starts, len(slots)))
    rank = np.arange(len(slots)) - np.repeat(starts, counts)
    count = np.repeat(counts, counts)
    promised = sizes[slots]
    size = promised if cap is None else np.minimum(promised, cap)
    from_oldest = oldest[slots] | (size == 1)
    keep = np.where(from_oldest, rank >= count - size, (rank < size - 1) | (rank == count - 1))
    marked = keep & (promised > 1) & np.where(from_oldest, rank == count - size, rank == count - 1)
    status = queued.values.status.copy()
    status[order[marked]] |= np.uint32(OVERFLOW_BIT)
    stays = np.ones(len(queued), bool)
    stays[order[~keep]] = False
    kept = Queued(queued.slots, queued.values.with_status(status)).pick(stays)
    return kept, len(queued) - len(kept)
