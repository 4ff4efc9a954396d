"""The subscription service of the point table: what the server sets up and what its processor asks first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua.server.subscription_service import SubscriptionService

from address_space.table import PointTable

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler

MayMonitor = Callable[[Any, Sequence[str]], Sequence[bool] | None]
"""(InternalSession, addresses) -> which of them the session's user may read; None for all."""


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """Bounds of what clients may ask; times in milliseconds.

    Attributes:
        max_queue_size: per item; the revised queue size.
        max_queued: notifications waiting per subscription, over all its items.
        max_notifications: per publish response, also where the client asks for no limit.
        retransmission_messages, retransmission_bytes: what is kept for Republish per subscription.
        max_publish_requests: waiting per session, on top of one a subscription.
    """

    max_subscriptions: int = 1_000
    max_subscriptions_per_session: int = 200
    min_publishing_interval: float = 10.0
    max_publishing_interval: float = 3_600_000.0
    max_keep_alive_count: int = 5_000
    max_lifetime_count: int = 15_000
    max_items: int = 1_000_000
    max_items_per_call: int = 100_000
    max_queue_size: int = 1_000
    max_queued: int = 2_000_000
    max_notifications: int = 25_000
    retransmission_messages: int = 20
    retransmission_bytes: int = 16 << 20
    max_publish_requests: int = 50


class PointSubscriptionService(SubscriptionService):
    """Subscriptions over the point table; items on other nodes and events take asyncua's path in the same subscription.

    Args:
        aspace: asyncua's address space.
        table: the points.
        iserver: the internal server.
        namespace: namespace index of the points' NodeIds; may be set later, before the first client comes.
        limits: see `SubscriptionLimits`.
        may_monitor: access check at the creation of items; None permits all.
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
        self.table = table
        self.namespace = namespace
        self.limits = limits or SubscriptionLimits()
        self.may_monitor = may_monitor


RAW_HANDLERS: dict[int, Handler] = {}
"""Request type id -> handler `(processor, request)`, for `InternalServer.handlers`: the whole subscription and
monitored-item service sets (787, 793, 799, 826, 832, 841, 847, 751, 763, 769, 775, 781). No other path is needed: what
asyncua's own items need they call themselves. Used of the processor: `session`, `iserver.subscription_service`,
`transport`, `writable`, `on_writable`, `respond`, `fault`."""
