"""Quality that the gateway adds to what a device says, such as `test` while the device as a whole is in test."""

from __future__ import annotations

import numpy as np

from address_space.point import Rows, Words
from address_space.quality import Quality

IMPOSABLE = np.uint32(Quality.TEST | Quality.OUT_OF_SERVICE)
"""Flags that may be added."""


class Imposed:
    """What is added to the quality of which rows; nothing is kept, and nothing costs time, until something is."""

    def __init__(self) -> None:
        self._any = False
        self._added: Words = np.empty(0, np.uint32)
        self._own: Words = np.empty(0, np.uint32)

    def over(self, rows: Rows, words: Words) -> Words:
        """Quality words of samples of the device, with what is added to them."""
        if not self._any:
            return words
        self._grow(int(rows.max()) + 1)
        self._own[rows] = words & IMPOSABLE
        return words | self._added[rows]

    def change(self, rows: Rows, flags: int, words: Words) -> Words:
        """From now on add exactly these flags (0: none any more).

        Args:
            rows: of the points.
            flags: some of `IMPOSABLE`.
            words: present quality of the rows.

        Returns:
            Quality of the rows as it is now.
        """
        self._any = True
        self._grow(int(rows.max()) + 1)
        fresh = self._added[rows] == 0
        self._own[rows[fresh]] = words[fresh] & IMPOSABLE
        self._added[rows] = np.uint32(flags) & IMPOSABLE
        return words & ~IMPOSABLE | self._own[rows] | self._added[rows]

    def _grow(self, size: int) -> None:
        missing = size - len(self._added)
        if missing > 0:
            none = np.zeros(max(missing, len(self._added)), np.uint32)
            self._added, self._own = np.concatenate([self._added, none]), np.concatenate([self._own, none])
