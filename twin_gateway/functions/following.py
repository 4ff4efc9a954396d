"""Following the point table: its changes in small pieces, a regular tick, everything anew after changes were lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator

from address_space.journal import Chunk
from address_space.table import PointTable
from twin_gateway.functions.slices import each, in_slices, pieces

BATCH = 5_000
"""Samples that are taken at once; who is further behind does not rest before it has caught up."""


class Following:
    """A function's place in the journal of the point table; what changes from now on is kept until it is followed.

    Args:
        table: where the changes are.
        name: of the cursor, for metrics.
        monotonic: clock of the tick, s.
    """

    def __init__(self, table: PointTable, name: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wake, self._now = asyncio.Event(), monotonic
        self._cursor = table.journal.cursor(name, self._wake.set)
        self._due = 0.0

    def close(self) -> None:
        """Stop following."""
        self._cursor.close()

    async def run(
        self,
        take: Callable[[Chunk], None],
        renew: Callable[[], Iterator[object]],
        tick: Callable[[], Awaitable[None]],
        *,
        every: float,
        rest: float,
        at_once: int,
        urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        """Follow until cancelled.

        Args:
            take: told of each piece of the changes.
            renew: judges everything by the table, in parts, after changes were lost.
            tick: awaited at the start and then after every so many seconds.
            every: s between ticks.
            rest: s for which changes gather before they are taken.
            at_once: most samples in a piece; a piece takes some milliseconds.
            urgent: asked after changes, whether the tick cannot wait.
        """
        cursor, lost = self._cursor, 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due - self._now())):
                    await self._wake.wait()
            self._wake.clear()
            chunks = cursor.take(BATCH)
            await each(take, (piece for chunk in chunks for piece in pieces(chunk, at_once)))
            if cursor.lost > lost:
                lost = cursor.lost
                await in_slices(renew())
            if self._now() >= self._due or urgent():
                self._due = self._now() + every
                await tick()
            await asyncio.sleep(0 if cursor.pending > BATCH else rest)
            if cursor.pending:
                self._wake.set()
