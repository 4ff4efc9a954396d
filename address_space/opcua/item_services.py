"""The monitored-item service set: create, modify, set mode, delete; points by columns, other items by their groups."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from asyncua.common.utils import ServiceError
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import (
    DataChangeFilter,
    DataChangeTrigger,
    MonitoredItemCreateRequest,
    MonitoringParameters,
)

from address_space.catalogue import ValueType
from address_space.opcua.encoding import NULL_ARRAY, NULL_EXTENSION, Stamps, status_array
from address_space.opcua.item_groups import ItemGroup, Made
from address_space.opcua.item_requests import (
    NO_FILTER,
    PERCENT,
    Filter,
    Parameters,
    WantedItem,
    check_filter,
    read_create,
    read_object,
    read_parameters,
    revise_sampling,
)
from address_space.opcua.items import DISABLED, ITEM, REPORTING, SAMPLING, TRIGGER_VALUE
from address_space.opcua.lookup import rows_of
from address_space.opcua.subscription_services import place
from address_space.opcua.wire import Reader

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.session import Session
    from address_space.opcua.subscription import PointSubscription
    from address_space.opcua.subscriptions import PointSubscriptionService

_POINTS_AT_ONCE = 500
_SLICE_SECONDS = 0.004
"""Points, or time for other items, after which other work has its turn."""
_MODES = frozenset({DISABLED, SAMPLING, REPORTING})
_CREATED = np.dtype([("status", "<u4"), ("id", "<u4"), ("sampling", "<f8"), ("queue", "<u4"), ("filter", "V3")])
_MODIFIED = np.dtype([("status", "<u4"), ("sampling", "<f8"), ("queue", "<u4"), ("filter", "V3")])
"""MonitoredItemCreateResult and MonitoredItemModifyResult with a null FilterResult, as on the wire."""


class _Call(NamedTuple):
    """Whose CreateMonitoredItems it is."""

    service: PointSubscriptionService
    session: Session
    subscription: PointSubscription
    stamps: int


async def create_monitored_items(processor: Processor, request: Request) -> None:
    """CreateMonitoredItems."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    call = _Call(service, session, subscription, _stamps(reader.u32()))
    count = _operations(service, reader.array(40))
    wanted: list[WantedItem] = []
    others: list[tuple[int, MonitoredItemCreateRequest]] = []
    for start in range(0, count, _POINTS_AT_ONCE):
        await _turn_of_others(call, start)
        points, more = read_create(reader, range(start, min(count, start + _POINTS_AT_ONCE)), service.namespace)
        wanted += points
        others += more
    results = np.zeros(count, _CREATED)
    for start in range(0, len(wanted), _POINTS_AT_ONCE):
        await _turn_of_others(call, start)
        for item in _create_points(call, wanted[start : start + _POINTS_AT_ONCE], results):
            # An object, a property, nothing at all, or what the user may not read.
            reader.position = item.start
            others.append((item.place, read_object(reader)))
    made: dict[int, tuple[int, Made]] = {}
    room, until = service.room() if others else 0, time.monotonic() + _SLICE_SECONDS
    for number, (index, other) in enumerate(others):
        if time.monotonic() > until:
            await _turn_of_others(call, number)
            until = time.monotonic() + _SLICE_SECONDS
        full = number >= room
        made[index] = (0, Made(int(StatusCodes.BadTooManyMonitoredItems))) if full else _create_other(call, other)
    for index, (item_id, result) in made.items():
        results[index] = result.status, item_id, result.sampling, result.queue, NULL_EXTENSION
    filters = {index: result.filter for index, (_, result) in made.items() if result.filter != NULL_EXTENSION}
    processor.respond(request, 754, struct.pack("<i", count), *_with_filters(results, filters), NULL_ARRAY)


async def _turn_of_others(call: _Call, done: int) -> None:
    """Let other work go on, unless nothing has been done yet.

    Raises:
        ServiceError: BadSubscriptionIdInvalid when the subscription is gone after it.
    """
    if done:
        await asyncio.sleep(0)
        call.service.own(call.session, call.subscription.id)


def _with_filters(results: npt.NDArray[np.void], filters: dict[int, bytes]) -> list[bytes]:
    """Results on the wire, some with a FilterResult."""
    if not filters:
        return [results.tobytes()]
    size = results.dtype.itemsize - len(NULL_EXTENSION)
    return [each.tobytes()[:size] + filters.get(index, NULL_EXTENSION) for index, each in enumerate(results)]


def _create_points(call: _Call, wanted: list[WantedItem], results: Any) -> list[WantedItem]:
    """Make items on points and fill in their results; returns what is no point that the user may read."""
    service, subscription = call.service, call.subscription
    table, addresses = service.table, [item.address for item in wanted]
    rows = rows_of(table, addresses)
    allowed = None if service.may_monitor is None else service.may_monitor(call.session, addresses)
    room = min(service.limits.max_items - len(subscription.points), service.room())
    strangers: list[WantedItem] = []
    refused: list[tuple[int, int]] = []
    good: list[tuple[Any, ...]] = []
    checked: dict[tuple[Filter, int], tuple[int, int, float]] = {}
    kinds = table.value_type[rows].tolist()
    for number, (item, row) in enumerate(zip(wanted, rows.tolist(), strict=True)):
        if row < 0 or (allowed is not None and not allowed[number]):
            strangers.append(item)
            continue
        index, _, _, mode, handle, sampling, filter_, queue, oldest, status = item
        trigger, deadband = TRIGGER_VALUE, 0.0
        if mode not in _MODES:
            status = StatusCodes.BadMonitoringModeInvalid
        elif len(good) >= room:
            status = StatusCodes.BadTooManyMonitoredItems
        elif not status and filter_ is not NO_FILTER:
            # The range that a percent deadband needs is the point's own; all else depends on the type alone.
            key = (filter_, -row if filter_.kind == PERCENT else kinds[number])
            known = checked.get(key)
            if known is None:
                known = checked[key] = _filter_on(service, row, filter_)
            status, trigger, deadband = known
        if status:
            refused.append((index, status))
        else:
            good.append((index, row, mode, handle, sampling, queue, oldest, trigger, deadband))
    if refused:
        where, codes = zip(*refused, strict=True)
        results["status"][list(where)] = codes
    if good:
        _add(call, good, results)
    return strangers


def _add(call: _Call, good: list[tuple[Any, ...]], results: Any) -> None:
    subscription = call.subscription
    publishing = float(subscription.data.RevisedPublishingInterval)
    indexes, rows, modes, handles, samplings, queues, oldest, triggers, deadbands = zip(*good, strict=True)
    first = subscription.new_items(len(good))
    items = np.zeros(len(good), ITEM)
    items["id"] = np.arange(first, first + len(good))
    items["row"], items["mode"], items["handle"], items["stamps"] = rows, modes, handles, call.stamps
    items["queue"] = np.clip(np.array(queues, np.int64), 1, call.service.limits.max_queue_size)
    items["oldest"], items["trigger"], items["deadband"] = oldest, triggers, deadbands
    revised = {wish: revise_sampling(wish, publishing) for wish in set(samplings)}
    items["sampling"] = [revised[wish][1] for wish in samplings]
    where = np.array(indexes)
    results["id"][where] = items["id"]
    results["sampling"][where] = [revised[wish][0] for wish in samplings]
    results["queue"][where] = items["queue"]
    subscription.points.add(items, cycle=subscription.cycle)


def _filter_on(service: PointSubscriptionService, row: int, filter_: Filter) -> tuple[int, int, float]:
    table = service.table
    return check_filter(filter_, ValueType(int(table.value_type[row])), table.profile(row))


def _create_other(call: _Call, item: Any) -> tuple[int, Made]:
    """Make an item on another node or attribute, or on events; (its id, what became of it)."""
    subscription = call.subscription
    if int(item.MonitoringMode) not in _MODES:
        return 0, Made(int(StatusCodes.BadMonitoringModeInvalid))
    group: ItemGroup = subscription.nodes
    if int(item.ItemToMonitor.AttributeId) == AttributeIds.EventNotifier and call.service.event_items is not None:
        group = group if subscription.events is None else subscription.events
    item_id = subscription.new_items(1)
    made = group.create(item_id, item, call.stamps)
    return 0 if made.status else item_id, made


async def modify_monitored_items(processor: Processor, request: Request) -> None:
    """ModifyMonitoredItems."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    call = _Call(service, session, subscription, _stamps(reader.u32()))
    count = _operations(service, reader.array(24))
    wanted: list[tuple[int, Parameters, Any]] = []
    for index in range(count):
        if index % _POINTS_AT_ONCE == 0:
            await _turn_of_others(call, index)
        wanted.append((reader.u32(), *read_parameters(reader)))
    results = np.zeros(count, _MODIFIED)
    filters: dict[int, bytes] = {}
    for start in range(0, count, _POINTS_AT_ONCE):
        await _turn_of_others(call, start)
        end = start + _POINTS_AT_ONCE
        further = _modify(call, wanted[start:end], results[start:end])
        filters.update((start + index, result) for index, result in further.items())
    processor.respond(request, 766, struct.pack("<i", count), *_with_filters(results, filters), NULL_ARRAY)


def _modify(call: _Call, wanted: list[tuple[int, Parameters, Any]], results: Any) -> dict[int, bytes]:
    """Modify items and fill in their results; returns the FilterResults that are not null by their places."""
    service, subscription, stamps = call.service, call.subscription, call.stamps
    points = subscription.points
    slots = points.find([item_id for item_id, _, _ in wanted])
    present = points.get(np.maximum(slots, 0)) if len(points) else np.zeros(len(wanted), ITEM)
    publishing = float(subscription.data.RevisedPublishingInterval)
    filters: dict[int, bytes] = {}
    good: list[int] = []
    for index, (item_id, parameters, objects) in enumerate(wanted):
        if slots[index] < 0:
            made = _modify_other(subscription, item_id, parameters, objects, stamps)
            results[index] = made.status, made.sampling, made.queue, NULL_EXTENSION
            if made.filter != NULL_EXTENSION:
                filters[index] = made.filter
            continue
        status, trigger, deadband = _filter_on(service, int(present["row"][index]), parameters.filter)
        if status:
            results[index]["status"] = status
            continue
        revised, sampling = revise_sampling(parameters.sampling, publishing)
        queue = min(max(parameters.queue, 1), service.limits.max_queue_size)
        item = present[index]
        item["handle"], item["queue"], item["oldest"] = parameters.handle, queue, parameters.oldest
        item["sampling"], item["trigger"], item["deadband"] = sampling, trigger, deadband
        item["stamps"] = stamps
        results[index] = (0, revised, queue, NULL_EXTENSION)
        good.append(index)
    if good:
        points.modify(slots[good], present[good], cycle=subscription.cycle)
    return filters


def _modify_other(
    subscription: PointSubscription, item_id: int, parameters: Parameters, objects: Any, stamps: int
) -> Made:
    group = subscription.group_of(item_id)
    if group is None:
        return Made(int(StatusCodes.BadMonitoredItemIdInvalid))
    if objects is None:
        filter_ = parameters.filter
        objects = MonitoringParameters(
            ClientHandle=parameters.handle,
            SamplingInterval=parameters.sampling,
            QueueSize=parameters.queue,
            DiscardOldest=parameters.oldest,
        )
        objects.Filter = None
        if filter_ is not NO_FILTER:
            if filter_.trigger not in {0, 1, 2}:
                return Made(int(StatusCodes.BadMonitoredItemFilterInvalid))
            objects.Filter = DataChangeFilter(
                Trigger=DataChangeTrigger(filter_.trigger), DeadbandType=filter_.kind, DeadbandValue=filter_.value
            )
    return group.modify(item_id, objects, stamps)


def set_monitoring_mode(processor: Processor, request: Request) -> None:
    """SetMonitoringMode."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    mode = reader.i32()
    ids = _ids(service, reader)
    if mode not in _MODES:
        raise ServiceError(StatusCodes.BadMonitoringModeInvalid)
    slots, results = _split(subscription, ids)
    there = slots >= 0
    if there.any():
        subscription.points.set_mode(np.unique(slots[there]), mode, cycle=subscription.cycle)
    for index in np.nonzero(~there)[0].tolist():
        item_id = int(ids[index])
        group = subscription.group_of(item_id)
        if group is not None:
            group.set_mode(item_id, mode)
            results[index] = 0
    processor.respond(request, 772, status_array(results), NULL_ARRAY)


def delete_monitored_items(processor: Processor, request: Request) -> None:
    """DeleteMonitoredItems."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    ids = _ids(service, reader)
    slots, results = _split(subscription, ids)
    there = slots >= 0
    if there.any():
        # An id given twice exists only the first time.
        found, first = np.unique(slots, return_index=True)
        results[:] = StatusCodes.BadMonitoredItemIdInvalid
        results[first[found >= 0]] = 0
        subscription.points.remove(found[found >= 0], cycle=subscription.cycle)
    for index in np.nonzero(~there)[0].tolist():
        item_id = int(ids[index])
        group = subscription.group_of(item_id)
        if group is not None:
            group.remove(item_id)
            results[index] = 0
    if subscription.triggers:
        subscription.triggers.forget(ids[results == 0].tolist())
        subscription.settle_triggers()
    processor.respond(request, 784, status_array(results), NULL_ARRAY)


def _split(subscription: PointSubscription, ids: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
    """Slots of the items on points (-1 for others), and results that are Good for those only."""
    slots = subscription.points.find(ids)
    bad = np.uint32(StatusCodes.BadMonitoredItemIdInvalid)
    return slots, np.where(slots >= 0, np.uint32(0), bad)


def _ids(service: PointSubscriptionService, reader: Reader) -> npt.NDArray[Any]:
    count = _operations(service, reader.array(4))
    return np.frombuffer(reader.data, "<u4", count, reader.position)


def _stamps(value: int) -> int:
    if value not in {Stamps.SOURCE, Stamps.SERVER, Stamps.BOTH, Stamps.NEITHER}:
        raise ServiceError(StatusCodes.BadTimestampsToReturnInvalid)
    return value


def _operations(service: PointSubscriptionService, count: int) -> int:
    if not count:
        raise ServiceError(StatusCodes.BadNothingToDo)
    if count > service.limits.max_items_per_call:
        raise ServiceError(StatusCodes.BadTooManyOperations)
    return count


ITEM_HANDLERS: dict[int, Handler] = {
    751: create_monitored_items,
    763: modify_monitored_items,
    769: set_monitoring_mode,
    781: delete_monitored_items,
}
"""Request type id -> handler."""
