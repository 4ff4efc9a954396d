"""Edits of points at work: what a consumer of the point table is told of them, and what becomes of present values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.ingest import Scaling, raw_of, values_of
from address_space.point import PointProfile, Raw, Rows, Words
from address_space.tree import AddressTree

_Numbers = npt.NDArray[np.uint32]


class EditKind(Enum):
    """What became of points."""

    RETIRED = "retired"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of many points.

    Attributes:
        rows: of the points, int32.
        gone: nodes of the tree that went with retired points, int32: the points, and containers they alone needed.
    """

    kind: EditKind
    rows: Rows
    gone: Rows

    def __len__(self) -> int:
        return len(self.rows)


class Trial:
    """Points that are taken out and put in beforehand, in a copy of the tree; in a thread of its own if need be.

    Args:
        tree: of the table; it is copied at once.
        rows: how many the table has.
    """

    def __init__(self, tree: AddressTree, rows: int) -> None:
        self.tree, self._rows, self._state = tree.copy(), rows, tree.state
        self._exchanged: tuple[tuple[int, ...], Rows] | None = None

    def exchange(self, rows: Rows, addresses: Iterable[str]) -> Rows:
        """Take out the points of some rows, and put in others; the nodes that go.

        Raises:
            AddressError: an address is malformed or taken.
        """
        rows = np.unique(rows).astype(np.int32)
        gone = self.tree.remove(self.tree.nodes_of_rows(rows)) if len(rows) else np.empty(0, np.int32)
        self.tree.add(addresses, self._rows)
        self._exchanged = tuple(rows.tolist()), gone
        return gone

    def gone(self, tree: AddressTree, size: int, rows: Rows) -> Rows | None:
        """The nodes that go with some rows; None where the table has changed since, or other rows were tried."""
        if self._exchanged is None or (size, tree.state) != (self._rows, self._state):
            return None
        tried, gone = self._exchanged
        return gone if tried == tuple(rows.tolist()) else None


def rescaled(
    scaling: Scaling, old: _Numbers, new: _Numbers, values: tuple[npt.NDArray[np.uint8], Raw, Words]
) -> tuple[Raw, Words]:
    """Value bits and quality of present numbers as the new scale gives them for what the device delivered.

    Where the old scale has no inverse (a gain of 0), the value stays until the device delivers again.

    Args:
        scaling: of all profiles.
        old: number of the former profile of each value.
        new: number of its profile from now on.
        values: (types, value bits, quality words).
    """
    types, raw, words = values
    same = (scaling.gain[old] == scaling.gain[new]) & (scaling.bias[old] == scaling.bias[new])
    same &= scaling.invert[old] == scaling.invert[new]
    where = np.nonzero(~same & (scaling.gain[old] != 0))[0]
    raw, words = raw.copy(), words.copy()
    for kind in np.unique(types[where]).tolist():
        part = where[types[where] == kind]
        numbers = np.array(values_of(raw[part], ValueType(kind)), np.float64)
        turned = scaling.invert[old[part]]
        if kind == ValueType.BOOLEAN:
            numbers[turned] = 1.0 - numbers[turned]
        elif kind == ValueType.INT32:
            turned &= (numbers == 1) | (numbers == 2)
            numbers[turned] = 3.0 - numbers[turned]
        delivered = scaling.undo(old[part], numbers)
        published = scaling.apply(new[part], types[part], delivered)
        raw[part], words[part], _ = raw_of(published, types[part], words[part])
    return raw, words


def another_meaning(profiles: Sequence[PointProfile], old: _Numbers, new: _Numbers) -> npt.NDArray[np.bool_]:
    """Whether clients have to read the properties of each point again: EngineeringUnits, EURange, states (Part 8)."""
    pairs, which = np.unique(np.stack((old, new)), axis=1, return_inverse=True)
    other = [_meaning(profiles[one]) != _meaning(profiles[two]) for one, two in pairs.T.tolist()]
    return np.array(other, bool)[which.reshape(-1)]


def _meaning(profile: PointProfile) -> tuple[object, ...]:
    return profile.unit, profile.low, profile.high, profile.enumeration, profile.kind
