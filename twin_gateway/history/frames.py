"""Frames between the gateway and its history process: a JSON head and numpy columns, nothing that runs code.

Layout: two little-endian uint32 (octets of the head, octets of the columns), the head in UTF-8, the columns one after
the other. The head's `columns` lists name, dtype and length of each.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SIZES = struct.Struct("<II")
MAX_HEAD = 256 << 20
MAX_COLUMNS = 1 << 30
Columns = Mapping[str, npt.NDArray[Any]]


class FrameError(ValueError):
    """The octets are no frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        kind: what it is (`samples`, `query`, ...).
        head: its JSON members.
        columns: numpy arrays by name; read only when received.
    """

    kind: str
    head: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=dict)

    def encode(self) -> list[bytes | memoryview]:
        """Parts to be sent one after the other; the columns are not copied."""
        layout = [[name, column.dtype.str, len(column)] for name, column in self.columns.items()]
        head = json.dumps({**self.head, "kind": self.kind, "columns": layout}, separators=(",", ":")).encode()
        bodies = [np.ascontiguousarray(column).data.cast("B") for column in self.columns.values() if len(column)]
        return [SIZES.pack(len(head), sum(len(body) for body in bodies)), head, *bodies]


def sizes(octets: bytes) -> tuple[int, int]:
    """Octets of head and columns.

    Raises:
        FrameError: they are larger than any frame.
    """
    head, columns = SIZES.unpack(octets)
    if head > MAX_HEAD or columns > MAX_COLUMNS:
        raise FrameError(f"a frame of {head} and {columns} octets")
    return head, columns


def decode(head: bytes, body: bytes) -> Frame:
    """The frame of a head and its columns.

    Raises:
        FrameError: they do not fit together.
    """
    try:
        members = json.loads(head)
        kind, layout = members.pop("kind"), members.pop("columns")
        columns, offset = {}, 0
        for name, dtype, count in layout:
            columns[name] = np.frombuffer(body, np.dtype(dtype), count, offset)
            offset += columns[name].nbytes
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameError(str(error)) from error
    return Frame(kind, members, columns)
