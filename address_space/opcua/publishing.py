"""The connection's side of publishing: raw responses, publish requests in waiting, and backpressure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from asyncua.server.uaprocessor import PublishRequestData, UaProcessor


@dataclass(frozen=True, slots=True)
class PublishMessage:
    """One notification message ready for the wire.

    Attributes:
        subscription_id: the subscription that sends it.
        body: encoded NotificationMessage (sequence number, publish time, notification data).
        available: sequence numbers kept for Republish.
        more: further notifications wait (MoreNotifications).
    """

    subscription_id: int
    body: bytes
    available: tuple[int, ...]
    more: bool


class PublishingProcessor(UaProcessor):  # type: ignore[misc]  # asyncua is untyped
    """A processor that sends encoded bodies and holds publish responses back while the client does not read.

    The server's own processor derives from this one and asks `RAW_HANDLERS` first.
    """

    soft_backlog = 4 << 20
    """Bytes in the write buffer above which no publish response is built."""
    hard_backlog = 64 << 20
    """Bytes in the write buffer above which the connection is dropped."""

    def send_raw(self, sequence_header: Any, body: bytes) -> None:
        """Send an encoded response (type id, header and parameters) as the answer to a request."""
        self._transport.write(self._connection.message_to_binary(body, request_id=sequence_header.RequestId))
        if self._transport.get_write_buffer_size() > self.hard_backlog:
            self._transport.abort()

    @property
    def backlog(self) -> int:
        """Bytes that the client has not taken yet."""
        return int(self._transport.get_write_buffer_size())


__all__ = ["PublishMessage", "PublishRequestData", "PublishingProcessor", "asyncio"]
