"""Sampling intervals, triggers and deadbands of monitored items, on columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.opcua.encoding import Octets
from address_space.opcua.items import TRIGGER_STATUS, TRIGGER_TIMESTAMP, Items
from address_space.opcua.queues import Queued, order_by_slot
from address_space.point import Floats, Raw


def sample(queued: Queued, items: Items, *, now: int, cycle: int, ends: bool) -> tuple[Queued, Queued]:
    """(samples that are due, samples held back): at most one of each item and sampling interval, the newest.

    An interval that has not given a sample yet gives it at once; what follows within the interval waits for the next
    one, and there again the newest counts.

    Args:
        queued: what was held back before and what is new, in order of time.
        items: the item columns; `bucket` is moved on.
        now: the present in ticks.
        cycle: number of the publishing cycle.
        ends: the publishing cycle ends now; before that its samples are held back.
    """
    slots = queued.slots
    sampling, phase = items["sampling"][slots], items["phase"][slots]
    timed = sampling > 0
    interval = np.where(timed, sampling, 1)
    taken = items["bucket"][slots] + 1
    latest = np.where(timed, (now - phase) // interval, cycle)
    # No later than the present, should the clock have been set back meanwhile.
    bucket = np.minimum(np.where(timed, (queued.values.server - phase) // interval, cycle), latest)
    bucket = np.maximum(bucket, taken)
    present = latest if ends else np.where(timed, latest, cycle - 1)
    order = order_by_slot(slots)
    ordered, buckets = slots[order], bucket[order]
    newest = np.ones(len(order), bool)
    newest[:-1] = (ordered[1:] != ordered[:-1]) | (buckets[1:] != buckets[:-1])
    keep = np.sort(order[newest])
    due = bucket[keep] <= present[keep]
    out = keep[due]
    # The last one of an item is its newest: with repeated indices the last assignment stays.
    items["bucket"][slots[out]] = bucket[out]
    return queued.pick(out), queued.pick(keep[~due])


def worth_reporting(queued: Queued, items: Items) -> Queued:
    """Samples that differ from what their item reported last by more than its deadband, as its trigger asks."""
    slots = queued.slots
    if _distinct(slots, len(items)):
        passed = _compare(queued, items)
    else:
        passed = np.zeros(len(slots), bool)
        for part in _rounds(slots):
            passed[part] = _compare(queued.pick(part), items)
    return queued if passed.all() else queued.pick(passed)


def _distinct(slots: npt.NDArray[np.int32], count: int) -> bool:
    """Whether no item occurs twice; cheap where it is worth knowing."""
    if len(slots) > count:
        return False
    if len(slots) * 8 < count:
        return len(np.unique(slots)) == len(slots)
    mark = np.empty(count, np.int32)
    index = np.arange(len(slots), dtype=np.int32)
    mark[slots] = index
    return bool((mark[slots] == index).all())


def remember(queued: Queued, items: Items) -> None:
    """Note samples as reported without comparing them."""
    slots, values = queued.slots, queued.values
    items["last_raw"][slots] = values.raw
    items["last_status"][slots] = values.status
    items["last_source"][slots] = values.source
    items["reported"][slots] = True


def _rounds(slots: npt.NDArray[np.int32]) -> list[npt.NDArray[np.intp]]:
    """Positions of the first sample of each item, then of the second ones, and so on."""
    order = order_by_slot(slots)
    ordered = slots[order]
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    if first.all():
        return [np.arange(len(slots))]
    index = np.arange(len(order))
    rank = index - np.maximum.accumulate(np.where(first, index, 0))
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    return [order[part] for part in np.split(by_rank, ends[:-1])]


def _compare(queued: Queued, items: Items) -> npt.NDArray[np.bool_]:
    """Whether to report; every item occurs once. What is reported is remembered."""
    slots, values = queued.slots, queued.values
    band, trigger, last_raw = items["deadband"][slots], items["trigger"][slots], items["last_raw"][slots]
    other_value = values.raw != last_raw
    banded = np.nonzero(other_value & (band > 0))[0]
    if len(banded):
        kinds = items["type"][slots[banded]]
        with np.errstate(invalid="ignore", over="ignore"):
            step = np.abs(numbers(values.raw[banded], kinds) - numbers(last_raw[banded], kinds))
            # Written so that NaN counts as a change.
            other_value[banded] = ~(step <= band[banded])
    report: npt.NDArray[np.bool_] = values.status != items["last_status"][slots]
    report |= other_value & (trigger != TRIGGER_STATUS)
    stamped = trigger == TRIGGER_TIMESTAMP
    if stamped.any():
        report |= (values.source != items["last_source"][slots]) & stamped & (band == 0)
    report |= ~items["reported"][slots]
    remember(queued if report.all() else queued.pick(report), items)
    return report


def numbers(raw: Raw, types: Octets) -> Floats:
    """Values of value bits as float64."""
    if (types == ValueType.DOUBLE).all():
        return np.ascontiguousarray(raw).view(np.float64)
    result = raw.astype(np.float64)
    for kind, dtype in ((ValueType.DOUBLE, np.float64), (ValueType.INT64, np.int64)):
        where = types == kind
        if where.any():
            result[where] = raw[where].view(dtype)
    where = types == ValueType.INT32
    if where.any():
        result[where] = raw[where].astype(np.uint32).view(np.int32)
    return result
