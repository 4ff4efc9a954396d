"""How many requests one host gets at a time, and who is next: concentrators choke on a thousand meters asking at once.

Meters take turns. One that did not answer last time is suspect until it does: suspects share a quarter of the places
(with fewer than four places: a quarter of the time), so that dead meters, each of which holds its place until the
time-out, cannot hold up the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary, WeakValueDictionary

SUSPECT_SHARE = 4
"""Suspects get one place, or one part of the time, in so many."""


class Host:
    """The places at one host, over all links of the process.

    Args:
        parallel: requests at a time.
        gap: least time between the starts of two requests, seconds.
    """

    def __init__(self, parallel: int, gap: float = 0.0) -> None:
        self._free = parallel
        self._gap = gap
        self._places = parallel
        self._suspect_places = max(1, parallel // SUSPECT_SHARE)
        self._suspects_in = 0
        self._suspects_not_before = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waiting_suspects: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._started = float("-inf")

    async def enter(self, suspect: bool) -> None:
        """Waits for a place; whoever got one leaves it again."""
        queue = self._waiting_suspects if suspect else self._waiting
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        self._grant()
        try:
            await place
            if self._gap:
                await self._wait_for_turn()
        except BaseException:
            if place.done() and not place.cancelled():
                self.leave(suspect, 0.0)
            raise

    async def _wait_for_turn(self) -> None:
        # From the start that was, not from the one that was meant: one that came late must not be followed at once.
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(0.0, self._started + self._gap - loop.time()))
            self._started = loop.time()

    def leave(self, suspect: bool, held: float) -> None:
        """Gives the place back, which was held for so many seconds."""
        self._free += 1
        if suspect:
            self._suspects_in -= 1
            if self._places < SUSPECT_SHARE:
                rest = held * (SUSPECT_SHARE / self._places - 1)
                self._suspects_not_before = asyncio.get_running_loop().time() + rest
        self._grant()

    def _grant(self) -> None:
        # Suspects first, within their share: otherwise one that answers again would never be heard at a busy host.
        while self._free and self._suspects_in < self._suspect_places and _drop_given_up(self._waiting_suspects):
            loop = asyncio.get_running_loop()
            if loop.time() < self._suspects_not_before:
                if self._alarm is None:
                    self._alarm = loop.call_at(self._suspects_not_before, self._wake)
                break
            self._suspects_in += 1
            self._admit(self._waiting_suspects)
        while self._free and _drop_given_up(self._waiting):
            self._admit(self._waiting)

    def _wake(self) -> None:
        self._alarm = None
        self._grant()

    def _admit(self, queue: deque[asyncio.Future[None]]) -> None:
        queue.popleft().set_result(None)
        self._free -= 1


def _drop_given_up(queue: deque[asyncio.Future[None]]) -> bool:
    """Drops waiters that were cancelled from the head of a queue; whether one is left."""
    while queue and queue[0].cancelled():
        queue.popleft()
    return bool(queue)


class Pace:
    """One link's turns at a host. Use as `async with`.

    Attributes:
        suspect: the meter did not answer last time.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._entered: deque[tuple[bool, float]] = deque()
        self.suspect = False

    async def __aenter__(self) -> Self:
        suspect = self.suspect
        await self._host.enter(suspect)
        self._entered.append((suspect, asyncio.get_running_loop().time()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        suspect, since = self._entered.popleft()
        self._host.leave(suspect, asyncio.get_running_loop().time() - since)


_hosts: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, int, float], Host]] = (
    WeakKeyDictionary()
)


def pace_of(host: str, parallel: int, gap: float) -> Pace:
    """Turns at a host; all links of this event loop to a host with these figures share its places."""
    hosts = _hosts.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = hosts.get((host, parallel, gap))
    if found is None:
        found = hosts[host, parallel, gap] = Host(parallel, gap)
    return Pace(found)
