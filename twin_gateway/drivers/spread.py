"""Connection attempts of all links spread over time, so that a thousand devices are not called in one second."""

from __future__ import annotations

import asyncio


class Spread:
    """Gives out turns, first come, first served, at most so many a second.

    What has waited for nothing for a while may have a tenth of a second's turns at once.

    Args:
        per_second: turns a second.
    """

    def __init__(self, per_second: float) -> None:
        self._gap = 1.0 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for a turn; who is cancelled meanwhile has used it up."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        at = max(self._next, now - 0.1)
        self._next = at + self._gap
        if at > now:
            come = asyncio.Event()
            handle = loop.call_at(at, come.set)  # the time itself, not a delay: nobody overtakes
            try:
                await come.wait()
            finally:
                handle.cancel()
