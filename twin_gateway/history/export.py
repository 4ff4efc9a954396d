"""What a history has, for people and machines: an overview, and the samples of one address as CSV."""

from __future__ import annotations

import csv
from typing import Any, TextIO

import numpy as np

from address_space import clock
from address_space.catalogue import ValueType
from twin_gateway.history.offline import OfflineStore
from twin_gateway.history.reading import Reader

_PAGE = 50_000


def overview(store: OfflineStore) -> dict[str, Any]:
    """Folder, octets, number of addresses; of each day samples, events and octets of closed files; gaps."""
    days: dict[str, dict[str, int]] = {}
    for segment in store.segments:
        if segment.rows:
            day = days.setdefault(segment.day, {"samples": 0, "events": 0, "octets": 0})
            day[f"{segment.kind}s"] += segment.rows
            day["octets"] += segment.octets
    gaps = [{"begin": clock.iso(gap.begin), "end": clock.iso(gap.end), "reason": gap.reason} for gap in store.gaps]
    return {
        "folder": str(store.folder),
        "octets": store.octets(),
        "addresses": len(store.addresses()),
        "days": days,
        "gaps": gaps,
    }


def write_csv(store: OfflineStore, address: str, start: int, end: int, file: TextIO) -> int:
    """Source time, time of reception, value and StatusCode of every sample with `start <= source time < end`.

    Returns:
        How many.

    Raises:
        KeyError: nothing of the address is kept.
    """
    kind = store.series(address)[1]
    writer = csv.writer(file)
    writer.writerow(("source_time", "received", "value", "status"))
    reader, resume, count = Reader(store), None, 0
    while True:
        page = reader.raw(address, start, end, _PAGE, resume=resume)
        samples = page.samples
        values = [None if np.isnan(value) else value for value in samples.value.tolist()]
        if kind != ValueType.DOUBLE:
            # A value of a time when the point had another type may be no whole number.
            values = [int(value) if value is not None and value.is_integer() else value for value in values]
        rows = zip(samples.time.tolist(), samples.received.tolist(), values, samples.text, samples.status, strict=True)
        for moment, received, value, text, status in rows:
            shown = text if text is not None else value
            writer.writerow((clock.iso(moment), clock.iso(received), shown, f"0x{int(status):08X}"))
        count += len(samples)
        if (resume := page.resume) is None:
            break
    reader.close()
    return count
