"""One subscription of a client: publishing cycles, keep-alives, lifetime, and what is kept for Republish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import CreateSubscriptionResult

from address_space.opcua.encoding import data_change, notification_message, status_change
from address_space.opcua.item_groups import ItemGroup
from address_space.opcua.monitored import MonitoredPoints
from address_space.opcua.node_items import NodeItems
from address_space.opcua.publishing import Message, PublishQueue, send
from address_space.opcua.subscription_counts import SubscriptionCounts
from address_space.opcua.triggering import Triggers, release

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session
    from address_space.opcua.subscriptions import PointSubscriptionService

_log = logging.getLogger(__name__)
_CHECKED_AT_ONCE = 500
_DRAIN_SECONDS = 0.25
"""A long publishing interval must not leave the journal unread for longer than this."""
_MESSAGE_OVERHEAD = 1024
"""Response header, available sequence numbers and results of acknowledgements."""
_LAST_SEQUENCE = 0xFFFF_FFFF


class PointSubscription:
    """A subscription whose items on points take the array path; other items are in groups.

    The state machine is that of Part 4, 5.13.1: notifications leave at the end of a publishing cycle, or as soon as a
    publish request comes when none was there; a keep-alive goes out after so many idle cycles; so many cycles without
    a publish request end the subscription.

    Attributes:
        data: revised interval, lifetime and keep-alive count.
        points: the items on points.
        nodes: the items on other nodes and attributes.
        events: the items on events; None while nobody makes them.
        groups: `nodes` and `events`.
        triggers: which item triggers which.
        session: the client's session that owns it; `session_id` is its id.
        cycle: number of the publishing cycle.
        priority: kept, not used.
        publishing_enabled: whether notifications are sent.
        counts: what it did, for the diagnostics.
    """

    def __init__(
        self, service: PointSubscriptionService, session: Session, data: CreateSubscriptionResult, queue: PublishQueue
    ) -> None:
        limits = service.limits
        self.data = data
        self.session = session
        self.session_id = session.session_id
        self.points = MonitoredPoints(service.table, f"subscription {data.SubscriptionId}", limits.max_queued)
        self.nodes = NodeItems(self, limits.max_other_items, limits.max_queue_size)
        self.events: ItemGroup | None = None if service.event_items is None else service.event_items(self)
        self.groups: tuple[ItemGroup, ...] = (self.nodes,) if self.events is None else (self.nodes, self.events)
        self.triggers = Triggers()
        self.cycle = 0
        self.priority = 0
        self.publishing_enabled = True
        self.counts = SubscriptionCounts()
        self._service = service
        self._queue = queue
        self._limits = limits
        self._most = limits.max_notifications
        self._kept: dict[int, bytes] = {}
        self._kept_size = 0
        self.max_kept = limits.retransmission_bytes
        self._next_sequence = 1
        self._last_item = 0
        self._idle_cycles = int(data.RevisedMaxKeepAliveCount)
        self._unanswered_cycles = 0
        self._open = False
        self._alive_due = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    # ---- items ----------------------------------------------------------------------------------------------------

    @property
    def server(self) -> InternalServer:
        """The server it belongs to."""
        return self._service.server

    def new_items(self, count: int) -> int:
        """The first of `count` new MonitoredItemIds that follow each other."""
        first = self._last_item + 1
        self._last_item += count
        return first

    def group_of(self, item_id: int) -> ItemGroup | None:
        """The group of an item that is no point's; None for points and ids that are not there."""
        return next((group for group in self.groups if item_id in group), None)

    def has_items(self, item_ids: Sequence[int]) -> list[bool]:
        """Whether there are such items."""
        slots = self.points.find(item_ids).tolist()
        return [slot >= 0 or self.group_of(item) is not None for item, slot in zip(item_ids, slots, strict=True)]

    @property
    def item_count(self) -> int:
        """Monitored items of all kinds."""
        return len(self.points) + sum(len(group) for group in self.groups)

    @property
    def disabled_items(self) -> int:
        """Those in mode Disabled."""
        return self.points.disabled + sum(group.disabled for group in self.groups)

    def handles(self) -> list[tuple[int, int]]:
        """(MonitoredItemId, client handle) of all items, by id."""
        pairs = self.points.handles()
        for group in self.groups:
            pairs += group.handles()
        return sorted(pairs)

    def settle_triggers(self) -> None:
        """Triggering links or items have changed."""
        self.points.set_triggers(self.triggers.sources)
        if not self.triggers:
            for group in self.groups:
                group.fired()

    def repeat_values(self) -> None:
        """Report the present value of every item once more."""
        self.points.repeat_values()
        for group in self.groups:
            group.repeat_values()

    # ---- what the client may set ----------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """SubscriptionId."""
        return int(self.data.SubscriptionId)

    @property
    def most(self) -> int:
        """MaxNotificationsPerPublish."""
        return self._most

    @property
    def next_sequence(self) -> int:
        """Sequence number of the next message."""
        return self._next_sequence

    @property
    def idle_cycles(self) -> int:
        """Cycles since the last message."""
        return self._idle_cycles

    @property
    def unanswered_cycles(self) -> int:
        """Cycles since a publish request was there."""
        return self._unanswered_cycles

    def set_most(self, requested: int) -> None:
        """Set MaxNotificationsPerPublish; 0 leaves it to the server's own limit."""
        most = self._limits.max_notifications
        self._most = min(requested, most) if requested > 0 else most

    def touch(self) -> None:
        """The client is there: its lifetime begins anew."""
        self._unanswered_cycles = 0

    # ---- cycles ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the publishing cycles."""
        self._closing = False
        self._task = asyncio.create_task(self._subscription_loop())

    def stop(self) -> None:
        """End the subscription and give up all it holds."""
        self._closing = True
        self._cancel()
        self.points.close()
        for group in self.groups:
            group.close()
        self._kept.clear()
        self._kept_size = 0

    def restart(self) -> None:
        """Take up a changed publishing interval."""
        self._cancel()
        self.start()

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
                while (rest := due - clock()) > (pause := self._pause()):
                    await asyncio.sleep(min(rest, pause))
                    self.points.drain(cycle=self.cycle, ends=False)
                    await self._sample(ends=False)
                await asyncio.sleep(max(rest, 0))
                await self._sample(ends=True)
                if not self._end_cycle():
                    self._service.expire(self)
                    return
        except Exception:
            _log.exception("subscription %d ends: its publishing failed", self.id)
            self._service.expire(self)

    def _pause(self) -> float:
        """Seconds for which nothing has to be looked at."""
        return min(_DRAIN_SECONDS, *(group.interval for group in self.groups))

    async def _sample(self, *, ends: bool) -> None:
        for group in self.groups:
            if len(group):
                await group.sample(ends=ends)

    def _end_cycle(self) -> bool:
        """One publishing cycle is over; False when the subscription has outlived its client."""
        self._unanswered_cycles += 1
        if self._unanswered_cycles > self.data.RevisedLifetimeCount:
            _log.info("subscription %d ends: no publish request in its lifetime", self.id)
            return False
        self.points.drain(cycle=self.cycle, ends=True)
        if self.triggers:
            release(self)
        self.cycle += 1
        if self._has_notifications():
            self._open = True
        elif not self._open:
            self._idle_cycles += 1
            self._alive_due = self._idle_cycles >= self.data.RevisedMaxKeepAliveCount
        self.send()
        return True

    def _has_notifications(self) -> bool:
        if not self.publishing_enabled:
            return False
        return self.points.pending or any(len(group) and group.pending for group in self.groups)

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
                self.counts.late_publish_requests += 1
                return
            send(self._message(waiting.processor.response_limit), waiting)

    def _message(self, most_octets: int) -> Message:
        parts: list[bytes] = []
        objects = 0
        if self._open:
            room = self._most
            if most_octets:
                room = min(room, max((most_octets - _MESSAGE_OVERHEAD) // self.points.record_size, 1))
            if self.publishing_enabled:
                objects, room = self._take_groups(parts, room)
                if room > 0:
                    items, count = self.points.take(room)
                    if count:
                        parts += data_change(items, count)
                        objects += 1
                        self.counts.data_changes += count
            self._open = self._has_notifications()
        self._alive_due = False
        self._idle_cycles = self._unanswered_cycles = 0
        sequence = self._next_sequence
        body = notification_message(sequence, objects, parts)
        if parts:
            self._next_sequence = sequence + 1 if sequence < _LAST_SEQUENCE else 1
            self._keep(sequence, body)
        return Message(self.id, body, tuple(self._kept), self._open)

    def _take_groups(self, parts: list[bytes], room: int) -> tuple[int, int]:
        """Move notifications of the groups to `parts`; returns the objects and the room that is left."""
        objects = 0
        for group in self.groups:
            if room <= 0 or not len(group):
                continue
            pieces, count = group.take(room)
            if count:
                parts += pieces
                objects += 1
                room -= count
                if group is self.events:
                    self.counts.events += count
                else:
                    self.counts.data_changes += count
        return objects, room

    def expire_message(self, status: int) -> None:
        """Tell the client why the subscription ends, if a publish request is there for it."""
        waiting = self._queue.take(self.id)
        self._queue.forget(self.id)
        if waiting is not None:
            body = notification_message(self._next_sequence, 1, [status_change(status)])
            send(Message(self.id, body, (), False), waiting)

    # ---- republish ------------------------------------------------------------------------------------------------

    def _keep(self, sequence: int, body: bytes) -> None:
        self._kept[sequence] = body
        self._kept_size += len(body)
        limits = self._limits
        while len(self._kept) > limits.retransmission_messages or (
            self._kept_size > self.max_kept and len(self._kept) > 1
        ):
            self._kept_size -= len(self._kept.pop(next(iter(self._kept))))
            self.counts.discarded_messages += 1

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

    async def change_user(self) -> None:
        """The session has another user, to whom nothing is told that it may not read.

        Nothing is published meanwhile. Items on points that the user may not read go on as items that say so.
        """
        self.points.drain(cycle=self.cycle, ends=False)
        self._kept.clear()
        self._kept_size = 0
        self.nodes.forget_readings()
        enabled, self.publishing_enabled = self.publishing_enabled, False
        try:
            ids = self.points.get(self.points.active())["id"]
            for start in range(0, len(ids), _CHECKED_AT_ONCE):
                self._check_rights(ids[start : start + _CHECKED_AT_ONCE])
                await asyncio.sleep(0)
        finally:
            self.publishing_enabled = enabled

    def _check_rights(self, ids: npt.NDArray[np.uint32]) -> None:
        points, service = self.points, self._service
        slots = points.find(ids)
        slots = slots[slots >= 0]
        addresses = [service.table.address(row) for row in points.get(slots)["row"].tolist()]
        allowed = None if service.may_monitor is None else service.may_monitor(self.session, addresses)
        if allowed is None:
            return
        refused = np.nonzero(~np.array(allowed, bool))[0]
        left = [self.nodes.adopt(points.get(slots[each]), addresses[each]) for each in refused.tolist()]
        points.remove(slots[refused], cycle=self.cycle)
        if not all(left):
            _log.warning("subscription %d: %d items end with the rights of their user", self.id, left.count(False))

    def move(self, session: Session, queue: PublishQueue) -> None:
        """Give the subscription to another session; the former one is told."""
        self.expire_message(StatusCodes.GoodSubscriptionTransferred)
        self.session, self.session_id, self._queue = session, session.session_id, queue
        self.touch()
