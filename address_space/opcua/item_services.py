"""The monitored-item service set: create, modify, set mode, delete; points by columns, other nodes by asyncua."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from asyncua.common.utils import ServiceError
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaprotocol_auto import (
    CreateMonitoredItemsParameters,
    DataChangeFilter,
    DataChangeTrigger,
    EventFilter,
    ModifyMonitoredItemsParameters,
    MonitoredItemCreateRequest,
    MonitoredItemModifyRequest,
    MonitoringMode,
    MonitoringParameters,
)

from address_space.catalogue import ValueType
from address_space.opcua.encoding import NULL_ARRAY, NULL_EXTENSION, Stamps, status_array
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
    wanted, others = read_create(reader, count, service.namespace)
    results = np.zeros(count, _CREATED)
    if wanted:
        for item in _create_points(call, wanted, results):
            # In the points' namespace but no point: an object, a property, or nothing at all.
            reader.position = item.start
            others.append((item.place, read_object(reader)))
    for index, other in others:
        results[index] = await _create_other(service, subscription, other)
    processor.respond(request, 754, struct.pack("<i", count), results.tobytes(), NULL_ARRAY)


def _create_points(call: _Call, wanted: list[WantedItem], results: Any) -> list[WantedItem]:
    """Make items on points and fill in their results; returns what is no point."""
    service, subscription = call.service, call.subscription
    table, addresses = service.table, [item.address for item in wanted]
    rows = rows_of(table, addresses)
    allowed = None if service.may_monitor is None else service.may_monitor(call.session, addresses)
    room = service.limits.max_items - len(subscription.points)
    strangers: list[WantedItem] = []
    refused: list[tuple[int, int]] = []
    good: list[tuple[Any, ...]] = []
    checked: dict[tuple[Filter, int], tuple[int, int, float]] = {}
    kinds = table.value_type[rows].tolist()
    for number, (item, row) in enumerate(zip(wanted, rows.tolist(), strict=True)):
        if row < 0:
            strangers.append(item)
            continue
        index, _, _, mode, handle, sampling, filter_, queue, oldest, status = item
        trigger, deadband = TRIGGER_VALUE, 0.0
        if allowed is not None and not allowed[number]:
            status = StatusCodes.BadUserAccessDenied
        elif mode not in _MODES:
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
    counter = subscription.monitored_item_srv
    first = counter._monitored_item_counter + 1
    counter._monitored_item_counter += len(good)
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


async def _create_other(
    service: PointSubscriptionService, subscription: PointSubscription, item: MonitoredItemCreateRequest
) -> tuple[int, int, float, int, bytes]:
    """Make an item on another node or attribute, or on events, as asyncua does."""
    items = subscription.monitored_item_srv
    status = _refusal(item.ItemToMonitor.AttributeId, item.RequestedParameters.Filter, int(item.MonitoringMode))
    if not status and len(items._monitored_items) >= service.limits.max_other_items:
        status = int(StatusCodes.BadTooManyMonitoredItems)
    if status:
        return status, 0, 0.0, 0, NULL_EXTENSION
    wanted = CreateMonitoredItemsParameters(SubscriptionId=subscription.data.SubscriptionId, ItemsToCreate=[item])
    made = (await items.create_monitored_items(wanted))[0]
    code = int(made.StatusCode.value)
    if code:
        return code, 0, 0.0, 0, NULL_EXTENSION
    return 0, made.MonitoredItemId, made.RevisedSamplingInterval, made.RevisedQueueSize, NULL_EXTENSION


def _refusal(attribute: int, filter_: Any, mode: int) -> int:
    """Bad status of an item that asyncua would not survive or would take by mistake."""
    if mode not in _MODES:
        return int(StatusCodes.BadMonitoringModeInvalid)
    if attribute == AttributeIds.EventNotifier:
        return 0 if isinstance(filter_, EventFilter) else int(StatusCodes.BadMonitoredItemFilterInvalid)
    if isinstance(filter_, EventFilter):
        return int(StatusCodes.BadFilterNotAllowed)
    if _is_null(filter_) or isinstance(filter_, DataChangeFilter):
        return 0
    return int(StatusCodes.BadMonitoredItemFilterUnsupported)


def _is_null(filter_: Any) -> bool:
    return filter_ is None or (hasattr(filter_, "TypeId") and filter_.TypeId.Identifier == 0)


def modify_monitored_items(processor: Processor, request: Request) -> None:
    """ModifyMonitoredItems."""
    service, session = place(processor)
    reader = request.reader()
    subscription = service.own(session, reader.u32())
    stamps = _stamps(reader.u32())
    count = _operations(service, reader.array(24))
    ids = np.zeros(count, np.uint32)
    wanted: list[tuple[Parameters, Any]] = []
    for index in range(count):
        ids[index] = reader.u32()
        wanted.append(read_parameters(reader))
    points = subscription.points
    slots = points.find(ids)
    present = points.get(np.maximum(slots, 0)) if len(points) else np.zeros(count, ITEM)
    publishing = float(subscription.data.RevisedPublishingInterval)
    results = np.zeros(count, _MODIFIED)
    good: list[int] = []
    for index, (parameters, objects) in enumerate(wanted):
        if slots[index] < 0:
            results[index] = _modify_other(subscription, int(ids[index]), parameters, objects)
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
    processor.respond(request, 766, struct.pack("<i", count), results.tobytes(), NULL_ARRAY)


def _modify_other(
    subscription: PointSubscription, item_id: int, parameters: Parameters, objects: Any
) -> tuple[int, float, int, bytes]:
    items = subscription.monitored_item_srv
    known = items._monitored_items.get(item_id)
    if known is None:
        return int(StatusCodes.BadMonitoredItemIdInvalid), 0.0, 0, NULL_EXTENSION
    filter_ = parameters.filter
    if objects is None:
        objects = MonitoringParameters(
            ClientHandle=parameters.handle,
            SamplingInterval=parameters.sampling,
            QueueSize=parameters.queue,
            DiscardOldest=parameters.oldest,
        )
        objects.Filter = None
        if filter_ is not NO_FILTER:
            objects.Filter = DataChangeFilter(
                Trigger=DataChangeTrigger(filter_.trigger),
                DeadbandType=filter_.kind,
                DeadbandValue=filter_.value,
            )
    attribute = known.read_value_id.AttributeId if known.read_value_id is not None else AttributeIds.Value
    if not (attribute == AttributeIds.EventNotifier and objects.Filter is None):
        status = _refusal(attribute, objects.Filter, REPORTING)
        if status:
            return status, 0.0, 0, NULL_EXTENSION
    objects.QueueSize = items._revise_queue_size(objects.QueueSize)
    made = items.modify_monitored_items(
        ModifyMonitoredItemsParameters(
            SubscriptionId=subscription.data.SubscriptionId,
            ItemsToModify=[MonitoredItemModifyRequest(MonitoredItemId=item_id, RequestedParameters=objects)],
        )
    )[0]
    known.client_handle = objects.ClientHandle
    return 0, float(subscription.data.RevisedPublishingInterval), made.RevisedQueueSize, NULL_EXTENSION


async def set_monitoring_mode(processor: Processor, request: Request) -> None:
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
    others = subscription.monitored_item_srv
    for index in np.nonzero(~there)[0].tolist():
        item_id = int(ids[index])
        if item_id in others._monitored_items:
            await others.set_monitoring_mode(MonitoringMode(mode), [item_id])
            if mode == DISABLED:
                _forget(subscription, item_id)
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
    others = subscription.monitored_item_srv
    for index in np.nonzero(~there)[0].tolist():
        item_id = int(ids[index])
        if item_id in others._monitored_items:
            others.delete_monitored_items([item_id])
            _forget(subscription, item_id)
            results[index] = 0
    processor.respond(request, 784, status_array(results), NULL_ARRAY)


def _split(subscription: PointSubscription, ids: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
    """Slots of the items on points (-1 for others), and results that are Good for those only."""
    slots = subscription.points.find(ids)
    bad = np.uint32(StatusCodes.BadMonitoredItemIdInvalid)
    return slots, np.where(slots >= 0, np.uint32(0), bad)


def _forget(subscription: PointSubscription, item_id: int) -> None:
    subscription._triggered_datachanges.pop(item_id, None)
    subscription._triggered_events.pop(item_id, None)


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
