"""How many requests one host gets at a time: concentrators and modems choke on a thousand meters asking at once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary, WeakValueDictionary


class Pace:
    """Bounds the requests under way to one host, over all links of the process. Use as `async with`.

    Args:
        parallel: requests at a time.
        gap: least time between the starts of two requests, seconds.
    """

    def __init__(self, parallel: int, gap: float = 0.0) -> None:
        self._free = asyncio.Semaphore(parallel)
        self._gap = gap
        self._turn = asyncio.Lock()
        self._started = float("-inf")

    async def __aenter__(self) -> Self:
        await self._free.acquire()
        if self._gap:
            try:
                await self._wait_for_turn()
            except BaseException:
                self._free.release()
                raise
        return self

    async def _wait_for_turn(self) -> None:
        # From the start that was, not from the one that was meant: one that came late must not be followed at once.
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(0.0, self._started + self._gap - loop.time()))
            self._started = loop.time()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free.release()


_paces: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, int, float], Pace]] = (
    WeakKeyDictionary()
)


def pace_of(host: str, parallel: int, gap: float) -> Pace:
    """The pace that all links of this event loop to a host with these figures share."""
    paces = _paces.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = paces.get((host, parallel, gap))
    if found is None:
        found = paces[host, parallel, gap] = Pace(parallel, gap)
    return found
