"""Which entries of buffered report blocks have been delivered, so that a replay delivers none of them again.

A device replays more than was asked for when it does not know the EntryID (or does not take one), and another instance
of a block has the same events under EntryIDs of its own. Both are recognised: the first by EntryID and time, the second
by the contents, each delivered entry once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from address_space.clock import TICKS_PER_SECOND

KEPT = 8192
"""Entries that are remembered for one block with all its instances."""
_SAME_EVENT = 2 * TICKS_PER_SECOND
"""Instances of a block buffer an event at about the same time, each with its own BufTm."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One entry (or one segment of it).

    Attributes:
        block: name of the instance that it came from.
        entry_id: its EntryID there.
        time: TimeOfEntry in FILETIME ticks, 0 when not known.
        digest: hash of members, values and reasons.
    """

    block: str
    entry_id: bytes
    time: int
    digest: int


class DeliveredEntries:
    """The last `KEPT` entries of one block with all its instances."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[Delivered, None] = OrderedDict()
        self._by_digest: dict[int, list[Delivered]] = {}  # nearly always one each

    def __len__(self) -> int:
        return len(self._known)

    def add(self, entry: Delivered) -> None:
        """It has been delivered."""
        if entry in self._known:
            self._known.move_to_end(entry)
            return
        self._known[entry] = None
        self._by_digest.setdefault(entry.digest, []).append(entry)
        if len(self._known) > self._kept:
            self._drop(next(iter(self._known)))

    def knows(self, entry: Delivered) -> bool:
        """Whether this very entry was delivered, or the same event from another instance of the block.

        An event of another instance counts once: should the same contents come again, that is another event.
        """
        if entry in self._known:
            return True
        for other in self._by_digest.get(entry.digest, ()):
            near = not entry.time or not other.time or abs(entry.time - other.time) <= _SAME_EVENT
            if other.block != entry.block and near:
                self._drop(other)
                self.add(entry)
                return True
        return False

    def _drop(self, entry: Delivered) -> None:
        del self._known[entry]
        same = self._by_digest[entry.digest]
        same.remove(entry)
        if not same:
            del self._by_digest[entry.digest]
