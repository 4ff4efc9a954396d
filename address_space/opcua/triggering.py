"""Triggering links of a subscription (Part 4, 5.12.1.6): items that only sample are reported when another one fires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import StatusCodes

from address_space.opcua.encoding import NULL_ARRAY, status_array
from address_space.opcua.subscription_services import place

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.subscription import PointSubscription


class Triggers:
    """Which item triggers which; ids of one subscription."""

    def __init__(self) -> None:
        self._links: dict[int, set[int]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._links)

    def __len__(self) -> int:
        return self._count

    @property
    def sources(self) -> frozenset[int]:
        """The items that trigger others."""
        return frozenset(self._links)

    def add(self, source: int, target: int) -> None:
        """Link an item to the one that triggers it; a link that is there stays."""
        links = self._links.setdefault(source, set())
        self._count += target not in links
        links.add(target)

    def remove(self, source: int, target: int) -> bool:
        """Take a link away; False when there is none."""
        links = self._links.get(source, set())
        if target not in links:
            return False
        links.discard(target)
        self._count -= 1
        if not links:
            del self._links[source]
        return True

    def forget(self, item_ids: Iterable[int]) -> None:
        """Items are gone."""
        gone = set(item_ids)
        for source in list(self._links):
            self._links[source] -= gone
            if source in gone or not self._links[source]:
                del self._links[source]
        self._count = sum(len(links) for links in self._links.values())

    def targets(self, fired: Iterable[int]) -> set[int]:
        """What is triggered by items that have fired."""
        found: set[int] = set()
        for source in fired:
            found |= self._links.get(source, set())
        return found


def set_triggering(processor: Processor, request: Request) -> None:
    """SetTriggering: links to remove first, then those to add."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    source = reader.u32()
    add = [reader.u32() for _ in range(reader.array(4))]
    remove = [reader.u32() for _ in range(reader.array(4))]
    if not add and not remove:
        raise ServiceError(StatusCodes.BadNothingToDo)
    if len(add) + len(remove) > service.limits.max_links:
        raise ServiceError(StatusCodes.BadTooManyOperations)
    if not subscription.has_items([source])[0]:
        raise ServiceError(StatusCodes.BadMonitoredItemIdInvalid)
    removed = [_good(subscription.triggers.remove(source, target)) for target in remove]
    added = []
    for target, there in zip(add, subscription.has_items(add), strict=True):
        status = _good(there)
        if not status and len(subscription.triggers) >= service.limits.max_links:
            status = int(StatusCodes.BadTooManyMonitoredItems)
        if not status:
            subscription.triggers.add(source, target)
        added.append(status)
    subscription.settle_triggers()
    processor.respond(request, 778, status_array(added), NULL_ARRAY, status_array(removed), NULL_ARRAY)


def _good(there: bool) -> int:
    return 0 if there else int(StatusCodes.BadMonitoredItemIdInvalid)


def release(subscription: PointSubscription) -> None:
    """Report what is linked to items that have fired since the last publishing cycle."""
    fired = subscription.points.fired()
    for group in subscription.groups:
        fired |= group.fired()
    targets = subscription.triggers.targets(fired)
    if targets:
        subscription.points.release(targets)
        for group in subscription.groups:
            group.release(targets)


TRIGGERING_HANDLERS: dict[int, Handler] = {775: set_triggering}
"""Request type id -> handler."""
