"""A point table and a history of it, without a gateway."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.events import EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.ports import HistoryValues
from address_space.table import PointTable
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings

BAY = "dso1/north/PS1/MV1/F{bay}/QA1/{name}"
NAMES = ("MMXU1/TotW", "MMXU1/Hz", "XCBR1/Pos", "LPHD1/PhyNam/name")


def address(bay: int, name: str = NAMES[0]) -> str:
    """Of a point of a bay."""
    return BAY.format(bay=bay, name=name)


class HistoryGrid:
    """Some bays of four points each, the last a text.

    Args:
        folder: of the history.
        bays: how many.
        journal: samples that the journal keeps.
        settings: of the history.
    """

    def __init__(self, folder: Path, *, bays: int = 3, journal: int = 1 << 20, **settings: object) -> None:
        self.table = PointTable(journal_capacity=journal)
        self.events = EventJournal()
        self.folder = folder
        addresses = [address(bay, name) for bay in range(bays) for name in NAMES]
        self.table.add([Point(text, PointProfile.of(classify(parse(text)))) for text in addresses])
        self.settings = HistorySettings.model_validate({"reserve_mb": 0, "interval": 0.2, **settings})
        self.history = History(self.table, self.events, self.settings, folder)
        self.told: list[str] = []
        self._events = self.events.cursor("test")

    async def start(self) -> None:
        """Begin to keep."""
        await self.history.start()

    async def stop(self) -> None:
        """Commit and end."""
        await self.history.stop()

    def put(self, row: int, value: float, moment: int = 0, *, late: bool = False) -> int:
        """One sample; returns its source time."""
        moment = moment or clock.now()
        self.table.ingest(Batch.of([row], [value], 0, moment, late=late))
        return moment

    def set_all(self, rows: npt.NDArray[np.int32], value: float) -> None:
        """The same value for many points, now."""
        count = len(rows)
        times = np.full(count, clock.now(), np.int64)
        self.table.ingest(Batch(rows, np.full(count, float(value)), np.zeros(count, np.uint32), times))

    async def read(self, row: int = 0, start: int = 0, end: int = 1 << 61) -> HistoryValues:
        """All that is kept of a point."""
        return (await self.history.raw(self.table.address(row), start, end, 1 << 20)).values

    def said(self) -> list[str]:
        """Texts of the events so far, `code text`."""
        self.told += [f"{event.code} {event.text}" for event in self._events.take()]
        return self.told


def numbers(values: HistoryValues) -> npt.NDArray[np.float64]:
    """Values of a Double point that are there."""
    return values.raw.view(np.float64)[values.status != 0x809D_0000]
