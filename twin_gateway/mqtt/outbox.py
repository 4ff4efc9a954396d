"""Messages that must not be coalesced (events, late samples): in order, bounded, kept while there is no broker."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Message(NamedTuple):
    """One message that is not retained."""

    topic: str
    payload: bytes


class Outbox:
    """A bounded queue of messages; when it is full the oldest go and are counted.

    Args:
        limit: messages kept.
        limit_bytes: payload bytes kept.

    Attributes:
        dropped: messages that went without having been published.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self.limit = limit
        self.limit_bytes = limit_bytes
        self.dropped = 0
        self._messages: deque[Message] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Add a message as the newest."""
        self._messages.append(message)
        self._bytes += len(message.payload)
        while self._messages and (len(self._messages) > self.limit or self._bytes > self.limit_bytes):
            self.take()
            self.dropped += 1

    def take(self) -> Message:
        """The oldest message (IndexError when there is none)."""
        message = self._messages.popleft()
        self._bytes -= len(message.payload)
        return message

    def restore(self, messages: list[Message]) -> None:
        """Put messages that were taken but did not arrive back in front, in order; what finds no room is dropped."""
        for message in reversed(messages):
            if len(self._messages) >= self.limit or self._bytes + len(message.payload) > self.limit_bytes:
                self.dropped += 1
                continue
            self._messages.appendleft(message)
            self._bytes += len(message.payload)
