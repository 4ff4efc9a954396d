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
        self._next_start = 0.0

    async def __aenter__(self) -> Self:
        await self._free.acquire()
        if self._gap:
            loop = asyncio.get_running_loop()
            start = max(loop.time(), self._next_start)
            self._next_start = start + self._gap
            try:
                await asyncio.sleep(start - loop.time())
            except BaseException:
                self._free.release()
                raise
        return self

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
