"""What a subscription asks of its monitored items that are no points: nodes' attributes, and events.

Points have the array path of `MonitoredPoints`. All other items of a subscription are in groups: `NodeItems` for values
and attributes of any node, and what `PointSubscriptionService.event_items` makes for AttributeId EventNotifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from address_space.opcua.encoding import NULL_EXTENSION

if TYPE_CHECKING:
    from address_space.opcua.subscription import PointSubscription


class Made(NamedTuple):
    """What became of a wish for an item.

    Attributes:
        status: StatusCode; with a Bad one there is no item (or it stays as it was).
        sampling: revised sampling interval in milliseconds.
        queue: revised queue size.
        filter: FilterResult, an ExtensionObject on the wire; also with a Bad status.
    """

    status: int
    sampling: float = 0.0
    queue: int = 0
    filter: bytes = NULL_EXTENSION


class ItemGroup(Protocol):
    """The monitored items of one kind in one subscription, with their queues.

    Attributes:
        max_octets: what all its queues may hold.
    """

    max_octets: int

    @property
    def interval(self) -> float:
        """Seconds within which `sample` wants to be called again; infinite when publishing cycles are enough."""
        ...

    @property
    def pending(self) -> bool:
        """Whether something waits that may be reported now."""
        ...

    @property
    def queued(self) -> int:
        """Notifications in waiting."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, item_id: object) -> bool: ...

    def create(self, item_id: int, wanted: Any, stamps: int) -> Made:
        """Make an item of a MonitoredItemCreateRequest (asyncua's); its mode has been checked, its node has not."""
        ...

    def modify(self, item_id: int, parameters: Any, stamps: int) -> Made:
        """Give an item new MonitoringParameters (asyncua's)."""
        ...

    def set_mode(self, item_id: int, mode: int) -> None:
        """Disabled (0, its queue is lost), sampling (1) or reporting (2)."""
        ...

    def remove(self, item_id: int) -> None:
        """Delete an item and its queue."""
        ...

    async def sample(self, *, ends: bool) -> None:
        """Bring the queues up to date; `ends` at the end of a publishing cycle."""
        ...

    def fired(self) -> set[int]:
        """Items that queued something since this was asked last: they trigger those linked to them."""
        ...

    def release(self, item_ids: Iterable[int]) -> None:
        """What items in mode Sampling have queued may be reported once: they were triggered. Other ids: nothing."""
        ...

    def take(self, most: int) -> tuple[list[bytes], int]:
        """Up to `most` notifications as one NotificationData ExtensionObject in pieces, and how many; they leave."""
        ...

    def handles(self) -> list[tuple[int, int]]:
        """(MonitoredItemId, client handle) of each item."""
        ...

    @property
    def disabled(self) -> int:
        """Items in mode Disabled."""
        ...

    def repeat_values(self) -> None:
        """Queue the present values once more (TransferSubscriptions, ResendData); events have none."""
        ...

    def close(self) -> None:
        """Give up everything."""
        ...


GroupOf = Callable[["PointSubscription"], ItemGroup]
"""Makes the group of a new subscription."""
