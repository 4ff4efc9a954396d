"""Publish requests of a session in waiting, who is late for one, and backpressure from the client."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncua.ua.status_codes import StatusCodes

from address_space.opcua.encoding import NULL_ARRAY

if TYPE_CHECKING:
    from address_space.opcua.processor import Processor, Request

PUBLISH_RESPONSE = 829

Serve = Callable[[int], None]
"""Lets a subscription, given by its id, send what it has."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A publish request that waits for something to be sent.

    Attributes:
        processor: the connection it came by.
        request: the request.
        results: the encoded results of its acknowledgements.
        since: monotonic time of arrival.
    """

    processor: Processor
    request: Request
    results: bytes
    since: float

    @property
    def timed_out(self) -> bool:
        """Whether the client has given the request up by now."""
        hint = self.request.timeout_hint
        return hint != 0 and time.monotonic() - self.since > hint / 1000

    @property
    def dead(self) -> bool:
        """Whether its connection is closed."""
        return bool(self.processor.transport.is_closing())


@dataclass(frozen=True, slots=True)
class Message:
    """One notification message ready to be sent.

    Attributes:
        subscription_id: the subscription that sends it.
        body: encoded NotificationMessage.
        available: sequence numbers kept for Republish.
        more: further notifications wait (MoreNotifications).
    """

    subscription_id: int
    body: bytes
    available: tuple[int, ...]
    more: bool


class PublishQueue:
    """The publish requests of one session, oldest first, and the subscriptions that are late for one.

    While the client does not read what was sent (the connection is not writable), no request is handed out: what the
    subscriptions have stays in their bounded queues.

    Args:
        serve: called with the id of a late subscription when it may send.
        limit: most requests that wait.
    """

    def __init__(self, serve: Serve, limit: int) -> None:
        self._serve = serve
        self._requests: deque[Waiting] = deque()
        self._late: dict[int, None] = {}
        self._watched: Processor | None = None
        self._serving = False
        self.limit = limit
        self.refused = 0

    def __len__(self) -> int:
        return len(self._requests)

    def offer(self, waiting: Waiting) -> None:
        """Take a request; beyond the limit the oldest is answered BadTooManyPublishRequests."""
        if waiting.processor is not self._watched:
            self._watch(waiting.processor)
        if len(self._requests) >= self.limit:
            self._drop_dead()
        while len(self._requests) >= self.limit:
            self.refused += 1
            self._fault(self._requests.popleft(), StatusCodes.BadTooManyPublishRequests)
        self._requests.append(waiting)
        if self._late:
            self._wake()

    def take(self, subscription_id: int) -> Waiting | None:
        """The oldest request that can be answered; None makes the subscription late: it will be served in its turn."""
        while self._requests:
            waiting = self._requests[0]
            if waiting.dead:
                self._requests.popleft()
            elif waiting.timed_out:
                self._fault(self._requests.popleft(), StatusCodes.BadTimeout)
            elif not waiting.processor.writable:
                break
            else:
                return self._requests.popleft()
        self._late[subscription_id] = None
        return None

    def forget(self, subscription_id: int) -> None:
        """A subscription is gone."""
        self._late.pop(subscription_id, None)

    def refuse_all(self, status: int) -> None:
        """Answer all requests with a fault, for instance BadNoSubscription after the last subscription went."""
        while self._requests:
            self._fault(self._requests.popleft(), status)

    def moved(self, processor: Processor | None) -> None:
        """The session is served by another connection: what came by the former one cannot be answered there."""
        former = [waiting for waiting in self._requests if waiting.processor is not processor]
        self._requests = deque(waiting for waiting in self._requests if waiting.processor is processor)
        for waiting in former:
            self._fault(waiting, StatusCodes.BadSecureChannelIdInvalid)
        self._watch(processor)

    def close(self) -> None:
        """The session has ended: its requests are answered so (Part 4, 5.7.2.1), and forgotten."""
        self.refuse_all(StatusCodes.BadSessionClosed)
        self._late.clear()
        self._watch(None)

    def _watch(self, processor: Processor | None) -> None:
        if self._watched is not None and self._wake in self._watched.on_writable:
            self._watched.on_writable.remove(self._wake)
        self._watched = processor
        if processor is not None:
            processor.on_writable.append(self._wake)

    def _wake(self) -> None:
        # Serving answers requests, which may come back here through the connection.
        if self._serving:
            return
        self._serving = True
        try:
            while self._late and self._ready():
                subscription_id = next(iter(self._late))
                del self._late[subscription_id]
                self._serve(subscription_id)
        finally:
            self._serving = False

    def _ready(self) -> bool:
        self._drop_dead()
        return bool(self._requests) and self._requests[0].processor.writable

    def _drop_dead(self) -> None:
        living: deque[Waiting] = deque()
        for waiting in self._requests:
            if waiting.dead:
                continue
            if waiting.timed_out:
                self._fault(waiting, StatusCodes.BadTimeout)
            else:
                living.append(waiting)
        self._requests = living

    @staticmethod
    def _fault(waiting: Waiting, status: int) -> None:
        if not waiting.dead:
            waiting.processor.fault(waiting.request, status)


def send(message: Message, waiting: Waiting) -> None:
    """Answer a publish request with a notification message."""
    available = message.available
    waiting.processor.respond(
        waiting.request,
        PUBLISH_RESPONSE,
        struct.pack("<Ii", message.subscription_id, len(available)) + struct.pack(f"<{len(available)}I", *available),
        b"\x01" if message.more else b"\x00",
        message.body,
        waiting.results,
        NULL_ARRAY,
    )
