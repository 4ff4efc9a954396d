"""Long work on the event loop done in slices of a few milliseconds, so that others may run in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from address_space.journal import Chunk

T = TypeVar("T")
SLICE_S = 0.003
"""The event loop may be held up for 20 ms; the part in which a slice ends may take longer than the slice itself."""


class Slices:
    """Gives way to others when enough time has gone by since it last did.

    slices = Slices()
    for part in parts:
        work(part)
        await slices.pause()
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()

    async def pause(self) -> None:
        """To be called after every little piece of work."""
        if time.perf_counter() - self._start > SLICE_S:
            await asyncio.sleep(0)
            self._start = time.perf_counter()


async def in_slices(work: Iterator[object]) -> None:
    """Do something that comes in parts."""
    slices = Slices()
    for _ in work:
        await slices.pause()


async def each(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do the same with many things."""
    slices = Slices()
    for item in items:
        work(item)
        await slices.pause()


def pieces(chunk: Chunk, size: int) -> Iterator[Chunk]:
    """A chunk of changes in pieces of at most some samples, in order."""
    if len(chunk.rows) <= size:
        yield chunk
        return
    for start in range(0, len(chunk.rows), size):
        yield chunk.part(slice(start, start + size))
