"""A history in memory with the port `HistoryReader`: numpy columns of a few points, and events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType
from address_space.events import Event
from address_space.ports import HistoryPage, HistoryValues


def raw_bits(values: Sequence[float], value_type: int) -> npt.NDArray[np.uint64]:
    """Value bits as in the point table."""
    if value_type == ValueType.DOUBLE:
        return np.array(values, np.float64).view(np.uint64)
    return np.array(values, np.int64).view(np.uint64)


class MemoryHistory:
    """Samples in order of time, as given; nothing is ever removed.

    Attributes:
        pages: raw pages read so far.
        most: samples of one page at most, whatever was asked.
    """

    def __init__(self) -> None:
        self._points: dict[str, HistoryValues] = {}
        self._modified: dict[str, HistoryValues] = {}
        self._events: list[Event] = []
        self.pages = 0
        self.most = 1 << 20

    def put(
        self,
        address: str,
        times: Sequence[int],
        values: Sequence[float] | Sequence[str],
        statuses: Sequence[int] | int = 0,
        value_type: int = ValueType.DOUBLE,
        *,
        modified: Sequence[tuple[int, int, str]] | None = None,
    ) -> None:
        """All samples of a point, times in ticks; with `modified` its replaced values instead."""
        source = np.array(times, np.int64)
        status = np.full(len(source), statuses, np.uint32) if isinstance(statuses, int) else np.array(statuses, "u4")
        texts = tuple(str(each) for each in values) if value_type == ValueType.STRING else None
        raw = np.zeros(len(source), np.uint64) if texts is not None else raw_bits(values, value_type)  # type: ignore[arg-type]  # numbers here
        made = HistoryValues(value_type, raw, status, source, source + 10_000, texts)
        if modified is None:
            self._points[address] = made
        else:
            self._modified[address] = HistoryValues(
                value_type, raw, status, source, source + 10_000, texts, tuple(modified)
            )

    def add_events(self, events: Iterable[Event]) -> None:
        """Further events."""
        self._events = sorted([*self._events, *events], key=lambda event: event.source_time)

    def keeps(self, address: str) -> bool:
        """Whether samples of the point are kept."""
        return address in self._points

    async def raw(
        self,
        address: str,
        start: int,
        end: int,
        limit: int,
        *,
        reverse: bool = False,
        resume: tuple[int, int] | None = None,
        modified: bool = False,
    ) -> HistoryPage:
        """As of the port; `resume` is (0, samples given)."""
        self.pages += 1
        values = self._points[address]
        if modified:
            values = self._modified.get(address, _pick(values, np.empty(0, np.int64)))
        where = np.nonzero((values.source >= start) & (values.source < end))[0]
        if reverse:
            where = where[::-1]
        done = resume[1] if resume is not None else 0
        limit = min(limit, self.most)
        part = where[done : done + limit]
        more = done + len(part) < len(where)
        return HistoryPage(_pick(values, part), (0, done + len(part)) if more else None)

    async def bracket(self, address: str, times: npt.NDArray[np.int64]) -> tuple[HistoryValues, HistoryValues]:
        """As of the port."""
        values = self._points[address]
        place = np.searchsorted(values.source, times, "right")
        return _or_none(values, place - 1), _or_none(values, place)

    async def events(
        self, prefix: str, start: int, end: int, limit: int, *, reverse: bool = False, resume: int | None = None
    ) -> tuple[Sequence[Event], int | None]:
        """As of the port; `resume` is the number of events given."""
        found = [
            event
            for event in self._events
            if start <= event.source_time < end
            and (not prefix or event.address == prefix or event.address.startswith(f"{prefix}/"))
        ]
        if reverse:
            found.reverse()
        done = resume or 0
        part = found[done : done + limit]
        return part, done + len(part) if done + len(part) < len(found) else None


def _pick(values: HistoryValues, which: npt.NDArray[np.int64]) -> HistoryValues:
    texts = None if values.texts is None else tuple(values.texts[place] for place in which.tolist())
    modified = None if values.modified is None else tuple(values.modified[place] for place in which.tolist())
    return HistoryValues(
        values.value_type,
        values.raw[which],
        values.status[which],
        values.source[which],
        values.server[which],
        texts,
        modified,
    )


def _or_none(values: HistoryValues, place: npt.NDArray[np.int64]) -> HistoryValues:
    there = (place >= 0) & (place < len(values))
    found = _pick(values, np.where(there, place, 0))
    none = np.zeros(len(place), np.int64)
    return HistoryValues(
        values.value_type,
        found.raw,
        found.status,
        np.where(there, found.source, none),
        np.where(there, found.server, none),
        found.texts,
    )
