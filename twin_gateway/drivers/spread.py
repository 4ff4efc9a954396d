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
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - 0.1) + self._gap
        if self._next > now + self._gap:
            await asyncio.sleep(self._next - self._gap - now)
