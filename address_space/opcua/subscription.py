"""One subscription of a client: publishing cycles, keep-alives, lifetime, and what is kept for Republish."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from asyncua.server.internal_subscription import InternalSubscription
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import extensionobject_to_binary
from asyncua.ua.uaprotocol_auto import (
    CreateSubscriptionResult,
    DataChangeNotification,
    EventNotificationList,
)

from address_space.opcua.encoding import data_change, notification_message, status_change
from address_space.opcua.monitored import MonitoredPoints
from address_space.opcua.publishing import Message, PublishQueue, send

if TYPE_CHECKING:
    from address_space.opcua.session import Session
    from address_space.opcua.subscriptions import PointSubscriptionService

_log = logging.getLogger(__name__)
_DRAIN_SECONDS = 0.25
"""A long publishing interval must not leave the journal unread for longer than this."""
_MESSAGE_OVERHEAD = 1024
"""Response header, available sequence numbers and results of acknowledgements."""
_LAST_SEQUENCE = 0xFFFF_FFFF


class PointSubscription(InternalSubscription):
    """A subscription whose items on points take the array path; other items and events stay asyncua's.

    The state machine is that of Part 4, 5.14.1: notifications leave at the end of a publishing cycle, or as soon as a
    publish request comes when none was there; a keep-alive goes out after so many idle cycles; so many cycles without
    a publish request end the subscription.

    Attributes:
        points: the items on points.
        session: the client's session that owns it.
        cycle: number of the publishing cycle.
        priority: kept, not used.
    """

    def __init__(
        self, service: PointSubscriptionService, session: Session, data: CreateSubscriptionResult, queue: PublishQueue
    ) -> None:
        limits = service.limits
        super().__init__(
            data,
            service.aspace,
            _unused,
            session.session_id,
            request_callback=_no_request,
            no_acks_limit=limits.retransmission_messages,
            max_queue_size=limits.max_queue_size,
        )
        self.session = session
        self.points = MonitoredPoints(service.table, f"subscription {data.SubscriptionId}", limits.max_queued)
        self.cycle = 0
        self.priority = 0
        self._service = service
        self._queue = queue
        self._limits = limits
        self._most = limits.max_notifications
        self._kept: dict[int, bytes] = {}
        self._kept_size = 0
        self._idle_cycles = int(data.RevisedMaxKeepAliveCount)
        self._unanswered_cycles = 0
        self._open = False
        self._alive_due = False

    # ---- what the client may set ----------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """SubscriptionId."""
        return int(self.data.SubscriptionId)

    @property
    def publishing_enabled(self) -> bool:
        """Whether notifications are sent."""
        return bool(self._publishing_enabled)

    @publishing_enabled.setter
    def publishing_enabled(self, enabled: bool) -> None:
        self._publishing_enabled = enabled

    def set_most(self, requested: int) -> None:
        """Set MaxNotificationsPerPublish; 0 leaves it to the server's own limit."""
        most = self._limits.max_notifications
        self._most = min(requested, most) if requested > 0 else most

    def touch(self) -> None:
        """The client is there: its lifetime begins anew."""
        self._unanswered_cycles = 0

    # ---- cycles ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin the publishing cycles."""
        self._closing = False
        self._task = asyncio.create_task(self._subscription_loop())

    async def stop(self) -> None:
        """End the subscription and give up all it holds.

        Nothing is waited for: whoever stops it may be cancelled, and a forgotten journal cursor would be for ever.
        """
        self._closing = True
        self._cancel()
        self.points.close()
        self.monitored_item_srv.delete_all_monitored_items()
        self._kept.clear()
        self._kept_size = 0

    async def restart(self) -> None:
        """Take up a changed publishing interval."""
        self._cancel()
        await self.start()

    def _cancel(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _subscription_loop(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            while not self._closing:
                period = float(self.data.RevisedPublishingInterval) / 1000
                # Cycles that were missed are not made up for.
                due = max(due + period, clock())
                while (rest := due - clock()) > _DRAIN_SECONDS:
                    await asyncio.sleep(min(rest, _DRAIN_SECONDS))
                    self.points.drain(cycle=self.cycle, ends=False)
                await asyncio.sleep(max(rest, 0))
                if not self._end_cycle():
                    await self._service.expire(self)
                    return
        except Exception:
            _log.exception("subscription %d ends: its publishing failed", self.id)
            await self._service.expire(self)

    def _end_cycle(self) -> bool:
        """One publishing cycle is over; False when the subscription has outlived its client."""
        self._unanswered_cycles += 1
        if self._unanswered_cycles > self.data.RevisedLifetimeCount:
            _log.info("subscription %d ends: no publish request in its lifetime", self.id)
            return False
        self.points.drain(cycle=self.cycle, ends=True)
        self.cycle += 1
        if self._has_notifications():
            self._open = True
        elif not self._open:
            self._idle_cycles += 1
            self._alive_due = self._idle_cycles >= self.data.RevisedMaxKeepAliveCount
        self.send()
        return True

    def _has_notifications(self) -> bool:
        if self._triggered_statuschanges:
            return True
        if not self._publishing_enabled:
            return False
        return bool(self._triggered_datachanges or self._triggered_events or self.points.pending)

    # ---- messages -------------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Send what is due, as far as there are publish requests and the client reads."""
        while True:
            if self._open and not self._has_notifications():
                self._open = False
            if not self._open and not self._alive_due:
                return
            waiting = self._queue.take(self.id)
            if waiting is None:
                return
            send(self._message(waiting.processor.response_limit), waiting)

    def _message(self, most_octets: int) -> Message:
        parts: list[bytes] = []
        objects = 0
        if self._open:
            room = self._most
            if most_octets:
                room = min(room, max((most_octets - _MESSAGE_OVERHEAD) // self.points.record_size, 1))
            if self._publishing_enabled:
                room -= self._take_objects(parts, room)
                objects = len(parts)
                if room > 0:
                    items, count = self.points.take(room)
                    if count:
                        parts += data_change(items, count)
                        objects += 1
            if self._triggered_statuschanges:
                status = self._triggered_statuschanges.pop(0)
                parts.append(status_change(int(status.value)))
                objects += 1
            self._open = self._has_notifications()
        self._alive_due = False
        self._idle_cycles = self._unanswered_cycles = 0
        sequence = self._notification_seq
        body = notification_message(sequence, objects, parts)
        if parts:
            self._notification_seq = sequence + 1 if sequence < _LAST_SEQUENCE else 1
            self._keep(sequence, body)
        return Message(self.id, body, tuple(self._kept), self._open)

    def _take_objects(self, parts: list[bytes], room: int) -> int:
        """Move notifications of asyncua's items and events to `parts`; returns how many."""
        values = _take_lists(self._triggered_datachanges, room)
        if values:
            notification = DataChangeNotification(MonitoredItems=values)
            parts.append(extensionobject_to_binary(notification))
        events = _take_lists(self._triggered_events, room - len(values))
        if events:
            parts.append(extensionobject_to_binary(EventNotificationList(Events=events)))
        return len(values) + len(events)

    def expire_message(self, status: int) -> None:
        """Tell the client why the subscription ends, if a publish request is there for it."""
        waiting = self._queue.take(self.id)
        self._queue.forget(self.id)
        if waiting is not None:
            body = notification_message(self._notification_seq, 1, [status_change(status)])
            send(Message(self.id, body, (), False), waiting)

    # ---- republish ------------------------------------------------------------------------------------------------

    def _keep(self, sequence: int, body: bytes) -> None:
        self._kept[sequence] = body
        self._kept_size += len(body)
        limits = self._limits
        while len(self._kept) > limits.retransmission_messages or (
            self._kept_size > limits.retransmission_bytes and len(self._kept) > 1
        ):
            self._kept_size -= len(self._kept.pop(next(iter(self._kept))))

    def acknowledge(self, sequence: int) -> int:
        """Forget a message; BadSequenceNumberUnknown when it is not kept."""
        body = self._kept.pop(sequence, None)
        if body is None:
            return int(StatusCodes.BadSequenceNumberUnknown)
        self._kept_size -= len(body)
        return 0

    def kept(self, sequence: int) -> bytes | None:
        """The encoded NotificationMessage of a sequence number; None when it is not kept any more."""
        return self._kept.get(sequence)

    @property
    def available(self) -> tuple[int, ...]:
        """Sequence numbers that Republish can give."""
        return tuple(self._kept)

    # ---- ownership ------------------------------------------------------------------------------------------------

    def move(self, session: Session, queue: PublishQueue) -> None:
        """Give the subscription to another session; the former one is told."""
        self.expire_message(StatusCodes.GoodSubscriptionTransferred)
        self.session, self.session_id, self._queue = session, session.session_id, queue
        self.touch()


def _take_lists(queues: dict[int, list[Any]], room: int) -> list[Any]:
    taken: list[Any] = []
    for key in list(queues):
        if len(taken) >= room:
            break
        queue = queues[key]
        part = queue[: room - len(taken)]
        taken += part
        if len(part) == len(queue):
            del queues[key]
        else:
            queues[key] = queue[len(part) :]
    return taken


async def _unused(*_: Any) -> None:
    raise RuntimeError("messages of a client's subscription go through its publish queue")


def _no_request(_: int) -> None:
    return None
