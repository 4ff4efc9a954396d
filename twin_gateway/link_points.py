"""The points of a link: its channel (`LCCH1`) and what it and its driver count (`twLINK1`), spec 7.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.table import PointTable
from twin_gateway.drivers.contract import RedundantDriver
from twin_gateway.drivers.link import LinkState, LinkSupervisor

COUNTERS: Mapping[str, Sequence[str]] = {
    "ConnCnt": ("connects",),
    "LosCnt": ("losses",),
    "FailCnt": ("attempts_failed",),
    "FltCnt": ("driver_faults",),
}
"""Data objects of `twLINK1` that every link has -> its counters that add up to them; the others its protocol names."""
_FAILURES = ("errors", "faults", "losses")


def new_points(table: PointTable, function: str, names: Sequence[str]) -> range:
    """Put data objects of a logical node into the table; their rows in the same order."""
    addresses = [f"{function}/{name}" for name in names]
    return table.add([Point(text, PointProfile.of(classify(parse(text)))) for text in addresses])


class LinkPoints:
    """The points of one link.

    Args:
        table: where they live.
        link: the link.
        counters: what its protocol counts: data object of `twLINK1` -> counters that add up to it.
    """

    def __init__(self, table: PointTable, link: LinkSupervisor, counters: Mapping[str, Sequence[str]]) -> None:
        self._table, self._link = table, link
        self._counted = tuple({**COUNTERS, **counters}.items())
        channel = ["ChLiv", "FerCh", "RxCnt"]
        self._redundant = isinstance(link.driver, RedundantDriver) and link.driver.redundant
        if self._redundant:
            channel += ["RedChLiv", "RedFerCh"]
        names = [*(name for name, _ in self._counted), "Flap"]
        rows = [*new_points(table, f"{link.address}/LCCH1", channel)]
        rows += new_points(table, f"{link.address}/twLINK1", names)
        self._rows = np.array(rows, np.int32)
        (self._last_error,) = new_points(table, f"{link.address}/twLINK1", ["LastErr"])
        self._told: tuple[list[float], str] | None = None

    def refresh(self) -> None:
        """Bring them up to date; what has not changed is not written."""
        link, counters = self._link, self._link.counters
        failed = sum(count for name, count in counters.items() if name.endswith(_FAILURES))
        values = [float(link.state is LinkState.UP), float(failed), float(counters["samples"])]
        if self._redundant and isinstance(link.driver, RedundantDriver):
            values += [float(link.driver.redundancy_alive), float(counters["standby_losses"])]
        values += [float(sum(counters[name] for name in names)) for _, names in self._counted]
        values.append(float(link.flapping))
        error = link.last_error
        if self._told == (values, error):
            return
        now = clock.now()
        texts = (
            () if self._told is not None and self._told[1] == error else (TextSample(self._last_error, error, 0, now),)
        )
        self._told = values, error
        # These are the gateway's own observations: its clock is the device's clock.
        self._table.ingest(Batch.of(self._rows.tolist(), values, 0, now, texts=texts))
