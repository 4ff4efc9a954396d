"""The subscription service of the point table: which subscriptions there are, whose they are, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from asyncua.common.utils import ServiceError
from asyncua.server.subscription_service import SubscriptionService
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import CreateSubscriptionResult

from address_space.opcua.event_items import EVENT_OCTETS
from address_space.opcua.item_groups import GroupOf
from address_space.opcua.item_services import ITEM_HANDLERS
from address_space.opcua.publishing import PublishQueue
from address_space.opcua.queues import SAMPLE_OCTETS
from address_space.opcua.session_audit import not_owner
from address_space.opcua.subscription import PointSubscription
from address_space.opcua.subscription_services import SUBSCRIPTION_HANDLERS, Wishes
from address_space.opcua.triggering import TRIGGERING_HANDLERS
from address_space.opcua.untyped import ua
from address_space.table import PointTable

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

MayMonitor = Callable[[Any, Sequence[str]], Sequence[bool] | None]
"""(Session, addresses) -> which of them the session's user may read; None for all."""


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """Bounds of what clients may ask; times in milliseconds.

    Attributes:
        max_lifetime: longest time without a publish request, as far as a long publishing interval lets it.
        max_items: monitored items of one subscription.
        max_other_items: monitored items of one subscription on other nodes than points, and on events.
        max_items_of_all: items of all subscriptions together.
        max_abandoned: subscriptions whose session has ended; beyond it the oldest of them ends.
        max_links: triggering links of one subscription.
        max_queue_size: per item; the revised queue size.
        max_queued: notifications waiting per subscription, over all its items.
        max_notifications: per publish response, also where the client asks for no limit.
        retransmission_messages, retransmission_bytes: what is kept for Republish per subscription.
        max_publish_requests: waiting per session, on top of one a subscription.
        session_octets: what the subscriptions of one session may hold, shared evenly among them: half of it in
            notifications of points that wait, a quarter in those of other nodes, a quarter in messages kept for
            Republish. What is over is dropped and counted. Those whose session has ended share it among them all.
    """

    max_subscriptions: int = 1_000
    max_subscriptions_per_session: int = 200
    min_publishing_interval: float = 10.0
    max_publishing_interval: float = 3_600_000.0
    max_keep_alive_count: int = 5_000
    max_lifetime_count: int = 15_000
    max_lifetime: float = 3_600_000.0
    max_items: int = 1_000_000
    max_other_items: int = 10_000
    max_items_of_all: int = 2_000_000
    max_abandoned: int = 200
    max_items_per_call: int = 100_000
    max_links: int = 10_000
    max_queue_size: int = 1_000
    max_queued: int = 2_000_000
    max_notifications: int = 25_000
    retransmission_messages: int = 20
    retransmission_bytes: int = 16 << 20
    max_publish_requests: int = 50
    session_octets: int = 48 << 20


@dataclass(slots=True)
class SubscriptionTotals:
    """What all subscriptions did since the start, those that have ended included.

    Attributes:
        subscriptions, items: how many there are now.
        queued: notifications that wait now.
        dropped: samples for which queues had no room (marked by the overflow bit).
        lost: samples that were gone from the journal before a subscription came to read them.
        expired: subscriptions that ended because their client asked for nothing any more.
        requests_refused: publish requests answered with BadTooManyPublishRequests.
    """

    subscriptions: int = 0
    items: int = 0
    queued: int = 0
    dropped: int = 0
    lost: int = 0
    expired: int = 0
    requests_refused: int = 0


class PointSubscriptionService(SubscriptionService):
    """Subscriptions over the point table.

    Args:
        aspace: asyncua's address space.
        table: the points.
        iserver: the internal server.
        namespace: namespace index of the points' NodeIds; may be set later, before the first client comes.
        limits: see `SubscriptionLimits`.
        may_monitor: access check at the creation of items; None permits all.

    Attributes:
        event_items: makes the event items of a new subscription; None while there are none.
        made: subscriptions since the start.
    """

    def __init__(
        self,
        aspace: Any,
        *,
        table: PointTable,
        iserver: Any,
        namespace: int = 0,
        limits: SubscriptionLimits | None = None,
        may_monitor: MayMonitor | None = None,
    ) -> None:
        super().__init__(aspace, iserver)
        self.server: InternalServer = iserver
        self.table = table
        self.namespace = namespace
        self.limits = limits or SubscriptionLimits()
        self.may_monitor = may_monitor
        self.event_items: GroupOf | None = None
        self.made = 0
        self.subscriptions: dict[int, PointSubscription] = {}  # type: ignore[assignment]  # asyncua makes none of its own
        self._ended = SubscriptionTotals()
        self._abandoned: dict[int, PointSubscription] = {}
        self._queues: WeakKeyDictionary[Session, PublishQueue] = WeakKeyDictionary()
        self._owned: WeakKeyDictionary[Session, dict[int, PointSubscription]] = WeakKeyDictionary()

    # ---- whose ----------------------------------------------------------------------------------------------------

    def owned(self, session: Session) -> dict[int, PointSubscription]:
        """The subscriptions of a session by id."""
        owned = self._owned.get(session)
        if owned is None:
            owned = self._owned[session] = {}
        return owned

    def own(self, session: Session, subscription_id: int) -> PointSubscription:
        """A subscription of the session; its lifetime begins anew.

        Raises:
            ServiceError: BadSubscriptionIdInvalid when the session has no such subscription.
        """
        subscription = self.owned(session).get(subscription_id)
        if subscription is None:
            raise ServiceError(not_owner(session, subscription_id, StatusCodes.BadSubscriptionIdInvalid))
        subscription.touch()
        return subscription

    def subscription(self, subscription_id: int) -> PointSubscription | None:
        """A client's subscription, whoever owns it."""
        return self.subscriptions.get(subscription_id)

    def queue(self, session: Session) -> PublishQueue:
        """The publish requests of a session."""
        queue = self._queues.get(session)
        if queue is None:
            owned = self.owned(session)

            def serve(subscription_id: int) -> None:
                subscription = owned.get(subscription_id)
                if subscription is not None:
                    subscription.send()

            queue = self._queues[session] = PublishQueue(serve, self.limits.max_publish_requests)
            closed = queue

            def close(delete: bool) -> None:
                self._ended.requests_refused += closed.refused
                closed.refused = 0
                closed.close()
                if not delete:
                    self._abandon(owned)

            session.on_close.append(close)
            session.on_connection.append(lambda _: closed.moved(session.processor))
        return queue

    def totals(self) -> SubscriptionTotals:
        """Figures for metrics."""
        totals = replace(self._ended)
        for each in self.subscriptions.values():
            points, nodes = each.points, each.nodes
            totals.subscriptions += 1
            totals.items += len(points) + sum(len(group) for group in each.groups)
            totals.queued += points.queued + sum(group.queued for group in each.groups)
            totals.dropped += points.dropped + nodes.dropped
            totals.lost += points.lost
        totals.requests_refused += sum(queue.refused for queue in self._queues.values())
        return totals

    # ---- life -----------------------------------------------------------------------------------------------------

    async def open(self, session: Session, wishes: Wishes, *, enabled: bool) -> PointSubscription:
        """Make a subscription for a client; what it wishes is revised within the limits.

        Raises:
            ServiceError: BadTooManySubscriptions.
        """
        limits, owned = self.limits, self.owned(session)
        if len(self.subscriptions) >= limits.max_subscriptions or len(owned) >= limits.max_subscriptions_per_session:
            raise ServiceError(StatusCodes.BadTooManySubscriptions)
        data = CreateSubscriptionResult()
        self.made += 1
        self._sub_id_counter += 1
        data.SubscriptionId = self._sub_id_counter
        self.revise(data, wishes)
        queue = self.queue(session)
        subscription = PointSubscription(self, session, data, queue)
        subscription.set_most(wishes.most)
        subscription.publishing_enabled = enabled
        self.subscriptions[subscription.id] = owned[subscription.id] = subscription
        queue.limit = self.limits.max_publish_requests + len(owned)
        self._share(owned)
        subscription.start()
        return subscription

    def _share(self, together: dict[int, PointSubscription]) -> None:
        """Divide what a session may hold among its subscriptions."""
        limits = self.limits
        part = limits.session_octets // max(1, 4 * len(together))
        for each in together.values():
            each.points.max_queued = min(limits.max_queued, 2 * part // SAMPLE_OCTETS)
            each.nodes.max_octets = part
            if each.events is not None:
                each.events.max_octets = EVENT_OCTETS // max(1, len(together))
            each.max_kept = min(limits.retransmission_bytes, part)

    def _abandon(self, owned: dict[int, PointSubscription]) -> None:
        """The session of some subscriptions has ended: they wait for another one, but not in any number."""
        self._abandoned.update(owned)
        while len(self._abandoned) > self.limits.max_abandoned:
            self.expire(next(iter(self._abandoned.values())))
        self._share(self._abandoned)

    def room(self) -> int:
        """Items that all subscriptions together may still take."""
        return self.limits.max_items_of_all - sum(each.item_count for each in self.subscriptions.values())

    def revise(self, data: Any, wishes: Wishes) -> None:
        """Write the revised interval, lifetime and keep-alive count into a result."""
        limits = self.limits
        interval, lifetime, keep_alive, _ = wishes
        wanted = interval if math.isfinite(interval) else limits.min_publishing_interval
        data.RevisedPublishingInterval = min(
            max(wanted, limits.min_publishing_interval), limits.max_publishing_interval
        )
        # Part 4, 5.14.2: the lifetime is at least three times the keep-alive count.
        cycles = min(limits.max_lifetime_count, int(limits.max_lifetime / data.RevisedPublishingInterval))
        most = max(min(limits.max_keep_alive_count, cycles // 3), 1)
        # 0 is revised to the smallest count.
        data.RevisedMaxKeepAliveCount = min(max(keep_alive, 1), most)
        data.RevisedLifetimeCount = max(min(lifetime, cycles), 3 * data.RevisedMaxKeepAliveCount)

    async def delete_subscriptions(self, ids: list[int]) -> list[Any]:
        """Delete subscriptions, whoever owns them; for sessions that end."""
        results: list[Any] = []
        for subscription_id in ids:
            subscription = self.subscriptions.get(subscription_id)
            if subscription is None:
                results.append(ua.StatusCode(StatusCodes.BadSubscriptionIdInvalid))
            else:
                self.remove(subscription)
                results.append(ua.StatusCode())
        return results

    def remove(self, subscription: PointSubscription) -> None:
        """End a subscription; publish requests that nothing can answer any more get BadNoSubscription."""
        self.subscriptions.pop(subscription.id, None)
        self._ended.dropped += subscription.points.dropped + subscription.nodes.dropped
        self._ended.lost += subscription.points.lost
        session = subscription.session
        owned, queue = self.owned(session), self.queue(session)
        owned.pop(subscription.id, None)
        queue.forget(subscription.id)
        queue.limit = self.limits.max_publish_requests + len(owned)
        self._share(owned if self._abandoned.pop(subscription.id, None) is None else self._abandoned)
        if not owned:
            queue.refuse_all(StatusCodes.BadNoSubscription)
        subscription.stop()

    def close(self) -> None:
        """End all that are left, those without a session too."""
        for subscription in list(self.subscriptions.values()):
            self.remove(subscription)

    def expire(self, subscription: PointSubscription) -> None:
        """End a subscription whose client does not ask for its messages any more."""
        self._ended.expired += 1
        subscription.expire_message(StatusCodes.BadTimeout)
        self.remove(subscription)

    async def change_user(self, session: Session) -> None:
        """The session goes on with another user."""
        for subscription in list(self.owned(session).values()):
            await subscription.change_user()

    def transfer(self, subscription: PointSubscription, session: Session) -> None:
        """Give a subscription to another session."""
        former, owned = self.owned(subscription.session), self.owned(session)
        former_queue, queue = self.queue(subscription.session), self.queue(session)
        subscription.move(session, queue)
        former.pop(subscription.id, None)
        if not former:
            former_queue.refuse_all(StatusCodes.BadNoSubscription)
        owned[subscription.id] = subscription
        for each, of in ((former_queue, former), (queue, owned)):
            each.limit = self.limits.max_publish_requests + len(of)
        self._share(former if self._abandoned.pop(subscription.id, None) is None else self._abandoned)
        self._share(owned)


RAW_HANDLERS: dict[int, Handler] = {**SUBSCRIPTION_HANDLERS, **ITEM_HANDLERS, **TRIGGERING_HANDLERS}
"""Request type id -> handler: the whole subscription and monitored-item service sets."""
