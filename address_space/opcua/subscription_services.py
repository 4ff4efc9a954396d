"""The subscription service set: create, modify, publishing mode, publish, republish, transfer, delete."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import StatusCodes

from address_space.opcua.encoding import NULL_ARRAY, status_array
from address_space.opcua.publishing import Waiting
from address_space.opcua.session_audit import not_owner
from address_space.opcua.wire import Reader

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.session import Session
    from address_space.opcua.subscriptions import PointSubscriptionService

_REVISED = struct.Struct("<dII")
_ACKNOWLEDGEMENT = struct.Struct("<II")
_UNSIGNED = 1
"""MessageSecurityMode None."""


class Wishes(NamedTuple):
    """What a client asks of a subscription: milliseconds, cycles, cycles, notifications in a message (0 any)."""

    interval: float
    lifetime: int
    keep_alive: int
    most: int


def _wishes(reader: Reader) -> Wishes:
    return Wishes(reader.f64(), reader.u32(), reader.u32(), reader.u32())


def place(processor: Processor) -> tuple[PointSubscriptionService, Session]:
    """The subscription service and the session of a connection.

    Raises:
        ServiceError: BadSessionIdInvalid without a session.
    """
    session = processor.session
    if session is None:
        raise ServiceError(StatusCodes.BadSessionIdInvalid)
    service: PointSubscriptionService = processor.iserver.subscription_service
    return service, session


async def create_subscription(processor: Processor, request: Request) -> None:
    """CreateSubscription."""
    service, session = place(processor)
    reader = request.reader()
    wishes = _wishes(reader)
    enabled, priority = reader.boolean(), reader.u8()
    subscription = await service.open(session, wishes, enabled=enabled)
    subscription.priority = priority
    data = subscription.data
    revised = _REVISED.pack(data.RevisedPublishingInterval, data.RevisedLifetimeCount, data.RevisedMaxKeepAliveCount)
    processor.respond(request, 790, struct.pack("<I", subscription.id), revised)


def modify_subscription(processor: Processor, request: Request) -> None:
    """ModifySubscription; a new publishing interval counts from now."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    wishes = _wishes(reader)
    subscription.priority = reader.u8()
    subscription.counts.modified += 1
    data, before = subscription.data, subscription.data.RevisedPublishingInterval
    service.revise(data, wishes)
    subscription.set_most(wishes.most)
    if data.RevisedPublishingInterval != before:
        subscription.restart()
    revised = _REVISED.pack(data.RevisedPublishingInterval, data.RevisedLifetimeCount, data.RevisedMaxKeepAliveCount)
    processor.respond(request, 796, revised)


def set_publishing_mode(processor: Processor, request: Request) -> None:
    """SetPublishingMode."""
    service, session = place(processor)
    reader = request.reader()
    enabled = reader.boolean()
    owned, results = service.owned(session), []
    for _ in range(_count(service, reader)):
        subscription = owned.get(number := reader.u32())
        if subscription is None:
            results.append(not_owner(session, number, int(StatusCodes.BadSubscriptionIdInvalid)))
        else:
            subscription.touch()
            subscription.publishing_enabled = enabled
            if enabled:
                subscription.counts.enabled += 1
            else:
                subscription.counts.disabled += 1
            results.append(0)
    processor.respond(request, 802, status_array(results), NULL_ARRAY)


def publish(processor: Processor, request: Request) -> None:
    """Publish: acknowledge, then wait for something to be sent."""
    service, session = place(processor)
    owned = service.owned(session)
    if not owned:
        raise ServiceError(StatusCodes.BadNoSubscription)
    reader = request.reader()
    count = reader.array(8)
    if count > service.limits.max_items_per_call:
        raise ServiceError(StatusCodes.BadTooManyOperations)
    results = []
    for subscription_id, sequence in _ACKNOWLEDGEMENT.iter_unpack(
        request.data[reader.position : reader.position + 8 * count]
    ):
        subscription = owned.get(subscription_id)
        if subscription is None:
            results.append(int(StatusCodes.BadSubscriptionIdInvalid))
        else:
            results.append(subscription.acknowledge(sequence))
    for subscription in owned.values():
        subscription.touch()
        subscription.counts.publish_requests += 1
    service.queue(session).offer(Waiting(processor, request, status_array(results), time.monotonic()))


def republish(processor: Processor, request: Request) -> None:
    """Republish."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    subscription.counts.republish_requests += 1
    body = subscription.kept(reader.u32())
    if body is None:
        raise ServiceError(StatusCodes.BadMessageNotAvailable)
    subscription.counts.republish_messages += 1
    processor.respond(request, 835, body)


def transfer_subscriptions(processor: Processor, request: Request) -> None:
    """TransferSubscriptions: only between sessions of one user, or of one application where users have no names."""
    service, session = place(processor)
    reader = request.reader()
    ids = [reader.u32() for _ in range(_count(service, reader))]
    first_values = reader.boolean()
    results = [_transfer(service, session, subscription_id, first_values) for subscription_id in ids]
    processor.respond(request, 844, struct.pack("<i", len(results)), b"".join(results), NULL_ARRAY)


def _transfer(service: PointSubscriptionService, session: Session, subscription_id: int, first_values: bool) -> bytes:
    subscription = service.subscription(subscription_id)
    if subscription is None:
        return struct.pack("<Ii", StatusCodes.BadSubscriptionIdInvalid, 0)
    if subscription.session is session:
        return struct.pack("<Ii", StatusCodes.BadNothingToDo, 0)
    if not _same_user(subscription.session, session):
        return struct.pack("<Ii", not_owner(session, subscription_id, StatusCodes.BadUserAccessDenied), 0)
    if len(service.owned(session)) >= service.limits.max_subscriptions_per_session:
        return struct.pack("<Ii", StatusCodes.BadTooManySubscriptions, 0)
    counts = subscription.counts
    counts.transfer_requests += 1
    if subscription.session.client_certificate == session.client_certificate:
        counts.to_same_client += 1
    else:
        counts.to_other_client += 1
    service.transfer(subscription, session)
    if first_values:
        subscription.repeat_values()
    available = subscription.available
    return struct.pack(f"<Ii{len(available)}I", 0, len(available), *available)


def _same_user(former: Session, session: Session) -> bool:
    """Part 4, 5.14.7.1: anonymous users are told apart by their application, where its certificate proves it."""
    before, now = former.caller, session.caller
    if before is None or now is None or before.user != now.user or before.roles != now.roles:
        return False
    if now.user:
        return True
    signed = former.security[1] > _UNSIGNED < session.security[1]
    return signed and former.client_description.ApplicationUri == session.client_description.ApplicationUri


def delete_subscriptions(processor: Processor, request: Request) -> None:
    """DeleteSubscriptions."""
    service, session = place(processor)
    reader = request.reader()
    owned, results = service.owned(session), []
    for _ in range(_count(service, reader)):
        subscription = owned.get(number := reader.u32())
        if subscription is None:
            results.append(not_owner(session, number, int(StatusCodes.BadSubscriptionIdInvalid)))
        else:
            service.remove(subscription)
            results.append(0)
    processor.respond(request, 850, status_array(results), NULL_ARRAY)


def _count(service: PointSubscriptionService, reader: Reader) -> int:
    """The length of a list of SubscriptionIds.

    Raises:
        ServiceError: BadNothingToDo when it is empty, BadTooManyOperations when so many there cannot be.
    """
    count = reader.array(4)
    if not count:
        raise ServiceError(StatusCodes.BadNothingToDo)
    if count > service.limits.max_subscriptions:
        raise ServiceError(StatusCodes.BadTooManyOperations)
    return count


SUBSCRIPTION_HANDLERS: dict[int, Handler] = {
    787: create_subscription,
    793: modify_subscription,
    799: set_publishing_mode,
    826: publish,
    832: republish,
    841: transfer_subscriptions,
    847: delete_subscriptions,
}
"""Request type id -> handler."""
