"""Fingerprints of columns: 64 bits of a whole table that do not depend on the order of its rows. Not for secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_STEP: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_FIRST: Final = np.uint64(0xBF58_476D_1CE4_E5B9)
_SECOND: Final = np.uint64(0x94D0_49BB_1331_11EB)


def mixed(*columns: Hashes) -> Hashes:
    """One hash of each row of some columns (splitmix64, Steele, Lea and Flood 2014)."""
    out = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        out = out + _STEP + column
        out = (out ^ (out >> np.uint64(30))) * _FIRST
        out = (out ^ (out >> np.uint64(27))) * _SECOND
        out ^= out >> np.uint64(31)
    return out


def of_texts(texts: Iterable[str]) -> Hashes:
    """One hash of each text."""
    return mixed(np.fromiter(map(crc32, map(str.encode, texts)), np.uint64))


def of_rows(texts: Mapping[int, str], count: int) -> Hashes:
    """A column with the hashes of the texts that some rows have; 0 for those without."""
    out = np.zeros(count, np.uint64)
    out[np.fromiter(texts, np.int64, len(texts))] = of_texts(texts.values())
    return out


def of_nodes(parent: npt.NDArray[np.int32], level: npt.NDArray[np.uint8], names: Hashes) -> Hashes:
    """One hash of each node of a tree by its way from the top; parents have lower levels."""
    out = np.zeros(len(parent), np.uint64)
    for each in np.unique(level):
        nodes = np.nonzero(level == each)[0]
        above = parent[nodes]
        heads = np.where(above >= 0, out[above], np.uint64(0))
        out[nodes] = mixed(heads, names[nodes], np.full(len(nodes), each, np.uint64))
    return out


def together(*columns: Hashes) -> str:
    """16 hexadecimal digits of what some columns hold, in whatever order."""
    sums = np.array([column.sum(dtype=np.uint64) for column in columns], np.uint64)
    counts = np.array([len(column) for column in columns], np.uint64)
    return f"{int(mixed(*np.split(np.concatenate([sums, counts]), 2 * len(columns)))[0]):016x}"
