"""What a device of the soak has sent, and what a client has got, as records in files that outlive their writers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

EVENT, STATE = 0, 1
"""A change of the value, or the present value once more because somebody asked."""

SENT = np.dtype([("point", "<u2"), ("kind", "<u2"), ("number", "<u4"), ("tag", "<i8"), ("true", "<i8")])
"""Number of the change (which is the value), the device's own time and the true one, both in ms since 1970."""

GOT = np.dtype([("point", "<u4"), ("status", "<u4"), ("value", "<f8"), ("source", "<f8"), ("received", "<f8")])
"""StatusCode, value (NaN for none), source time and time of arrival, both in ms since 1970."""

_TAIL = 200_000


class Ledger:
    """The file of one device. A record is in it before the change can leave the device.

    Attributes:
        numbers: number of the last change of each point.
    """

    def __init__(self, path: Path, points: int) -> None:
        self.numbers = np.zeros(points, np.uint32)
        if path.exists():
            whole = path.stat().st_size // SENT.itemsize
            os.truncate(path, whole * SENT.itemsize)  # a killed writer may have left a part of a record
            last = np.fromfile(path, SENT, offset=max(0, whole - _TAIL) * SENT.itemsize)
            np.maximum.at(self.numbers, last["point"], last["number"])
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def change(self, points: npt.NDArray[np.int64], tag_ms: int, true_ms: int) -> npt.NDArray[np.uint32]:
        """Each of these points changes; the numbers of the changes. A point may occur once."""
        self.numbers[points] += 1
        numbers = self.numbers[points]
        self._write(points, EVENT, numbers, tag_ms, true_ms)
        return numbers

    def state(
        self, points: npt.NDArray[np.int64], true_ms: int, numbers: npt.NDArray[np.uint32] | None = None
    ) -> npt.NDArray[np.uint32]:
        """The present values of these points (or these numbers) go out once more; their numbers."""
        numbers = self.numbers[points] if numbers is None else numbers
        self._write(points, STATE, numbers, 0, true_ms)
        return numbers

    def _write(
        self, points: npt.NDArray[np.int64], kind: int, numbers: npt.NDArray[np.uint32], tag_ms: int, true_ms: int
    ) -> None:
        records = np.empty(len(points), SENT)
        records["point"], records["kind"], records["number"] = points, kind, numbers
        records["tag"], records["true"] = tag_ms, true_ms
        os.write(self._file, records.tobytes())


def read(path: Path, kind: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """All whole records of a file; none of a file that is not there."""
    if not path.exists():
        return np.empty(0, kind)
    return np.fromfile(path, kind, count=path.stat().st_size // kind.itemsize)
