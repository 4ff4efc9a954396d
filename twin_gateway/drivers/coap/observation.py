"""A resource under observation (RFC 7641): notifications in the device's order, each whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiocoap

from twin_gateway.drivers.contract import LinkLost

from .client import Client, Receive, Response, response_of, say
from .oscore import OscoreError
from .transport import Count

_ORDER_SECONDS = 128.0  # RFC 7641 3.4: older than this, the number says nothing any more
_HALF = 1 << 23


def newer(old: int, new: int) -> bool:
    """Whether a 24-bit Observe number comes after another one (RFC 7641 3.4)."""
    return (old < new and new - old < _HALF) or (old > new and old - new > _HALF)


class Observation:
    """A resource under observation: notifications in the device's order, each whole.

    Older notifications that arrive late are dropped and counted (`notifications_reordered`); over TCP order is given.

    Attributes:
        active: the device has us on its list.
        notified: notifications have come since the first response, which is handed over later than they are.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        accept: int | None,
        receive: Receive,
        count: Count,
        *,
        incomplete: Callable[[], None] = lambda: None,
    ) -> None:
        """An observation that is not registered yet; `incomplete` hears of notifications that lack blocks."""
        self._incomplete = incomplete
        self._client = client
        self._path = path
        self._accept = accept
        self._receive = receive
        self._count = count
        self._number = 0
        self._at = 0.0
        self._stop: Callable[[], None] | None = None
        self._token = b""
        self._blocks: asyncio.Task[None] | None = None
        self.active = self.notified = False

    async def register(self) -> Response:
        """Register, or register anew with a new token; the old registration lives on until the new one is confirmed.

        Returns:
            the first response; `observed` is False when the device does not let the resource be observed.

        Raises:
            TimeoutError, LinkLost, ValueError: as `Client.get`.
        """
        first: asyncio.Future[aiocoap.Message] = asyncio.get_running_loop().create_future()
        message = self._client.message(self._path, self._accept)
        message.opt.observe = 0

        stops: list[Callable[[], None]] = []

        def receive(happened: aiocoap.Message | Exception) -> bool:
            if first.done():
                return self._notified(happened, message.token)
            if isinstance(happened, Exception):
                first.set_exception(LinkLost(say(happened)))
                return False
            observed = happened.opt.observe is not None and happened.code.is_successful()
            # At once, not when the waiting task wakes: the next notification may be in the same loop pass.
            self._number = 0 if happened.opt.observe is None else happened.opt.observe
            self._at = time.monotonic()
            self.notified = False
            self._replace(stops.pop() if stops else None, message.token, active=observed)
            first.set_result(happened)
            return observed

        stops.append(self._client.send(message, receive))
        try:
            async with asyncio.timeout(self._client.target.timeout):
                return await self._client.complete(self._path, self._accept, await first)
        finally:
            while stops:
                stops.pop()()
            if first.done() and not first.cancelled():
                first.exception()  # taken, so that nobody complains about it later

    def close(self, *, tell: bool) -> None:
        """End the observation; `tell` the device when it may still be there."""
        if self._blocks is not None:
            self._blocks.cancel()
        token, active = self._token, self.active
        self._replace(None, b"", active=False)
        if tell and active:
            self._client.forget(self._path, self._accept, token)

    def _replace(self, stop: Callable[[], None] | None, token: bytes, *, active: bool) -> None:
        if self._stop is not None:
            self._stop()
            if self.active and token:
                self._client.forget(self._path, self._accept, self._token)
        self._stop, self._token, self.active = stop, token, active

    def _notified(self, happened: aiocoap.Message | Exception, token: bytes) -> bool:
        if token != self._token:
            return False
        if isinstance(happened, OscoreError):
            return True  # RFC 8613 8.4: whoever sent it, the observation is as it was
        if isinstance(happened, Exception):
            self.active = False
            return False
        now = time.monotonic()
        number = happened.opt.observe
        if number is not None and self._client.protection is not None:
            # RFC 8613 7.4.1: an older number is a replay, however long ago the last one came.
            if number <= self._number:
                self._count("notifications_replayed", 1)
                return True
            self._number = number
        elif number is not None and not self._client.ordered:
            if not newer(self._number, number) and now <= self._at + _ORDER_SECONDS:
                self._count("notifications_reordered", 1)
                return True
            self._number, self._at = number, now
        self.notified = True
        if number is None or not happened.code.is_successful():
            self.active = False  # RFC 7641 3.2: the device has taken us off its list
        block = happened.opt.block2
        if block is not None and block.more:
            self._fetch_rest(happened)
        else:
            try:
                self._receive(response_of(happened, bytes(happened.payload)))
            except ValueError:
                self._count("block_errors", 1)
        return self.active

    def _fetch_rest(self, first: aiocoap.Message) -> None:
        if self._blocks is not None and not self._blocks.done():
            self._blocks.cancel()  # a newer state makes the rest of the older one worthless
            self._count("notifications_superseded", 1)
        self._blocks = asyncio.get_running_loop().create_task(self._rest(first))

    async def _rest(self, first: aiocoap.Message) -> None:
        try:
            async with asyncio.timeout(self._client.target.timeout):
                self._receive(await self._client.complete(self._path, self._accept, first))
        except (TimeoutError, ValueError):
            self._count("block_errors", 1)
            self._incomplete()
        except LinkLost:
            pass  # the client itself has been told, and its owner ends the association
