"""Protection trips: all that is said of one trip of a bay becomes one alarm, P01 (spec 9.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from address_space import clock
from address_space.quality import Quality, time_names
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.data_objects import data_below
from twin_gateway.functions.rule_watch import UNUSABLE, Watched
from twin_gateway.functions.topology_points import bay_of
from twin_gateway.twin.rules import Rule
from twin_gateway.twin.supervision.process import TRIP_SIGNS

CODE: Final = "P01"
_PHASES: Final = ("A", "B", "C", "neut")
_BEFORE = clock.TICKS_PER_SECOND
"""The current of a fault may have been measured so long before the trip, in FILETIME ticks."""
_CURRENT = re.compile(r"((P[A-Z]{3}|SFPI)/FltA/phs[ABC]|SCBR/SwA)\Z")
"""Points that tell the current of a fault: of protection, of the indicator, and what the breaker has interrupted."""


@dataclass(slots=True)
class Trip:
    """One trip of a bay.

    Attributes:
        began, due: when its first sign came, and when it is told (s).
        received: the same in FILETIME ticks.
        time, time_quality: of the earliest sign by its device; ticks, 0 when none says one.
        over: the same of the latest end of a sign.
        address, text: of the sign that says it most plainly; they stay once it is told.
        standing: points that say it now; `fallen`: those that no longer do.
        phases: that tripped, as far as they are mapped.
    """

    began: float
    due: float
    received: int
    time: int = 0
    time_quality: str | None = None
    over: tuple[int, str | None] = (0, None)
    address: str = ""
    text: str = ""
    plainness: int = len(TRIP_SIGNS.rules)
    told: bool = False
    standing: dict[str, Watched] = field(default_factory=dict)
    fallen: set[str] = field(default_factory=set)
    phases: set[str] = field(default_factory=set)
    test: bool = False


class Trips:
    """The trips of all bays. PTOC.Op, PTRC.Op, PTRC.Tr and their phases of one bay at one time are one trip.

    Args:
        context: see `TwinContext`.
        gather: s after the first sign until a trip is told, with what has been said of it by then.
        patience: s after the first sign in which the alarm is still completed (the current that was interrupted).
        mark: `suppressed` (maintenance), `test` or empty for an address.
        monotonic: clock, s.
    """

    def __init__(
        self,
        context: TwinContext,
        *,
        gather: float,
        patience: float,
        mark: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._context, self._gather, self._patience = context, gather, patience
        self._mark, self._now = mark, monotonic
        self._trips: dict[str, Trip] = {}
        self._currents: dict[str, list[int]] = {}
        self._size = -1

    def sign(self, watched: Watched, rule: Rule, holds: bool, source_time: int) -> None:
        """A point says that protection has tripped, or no longer does; may be said again and again."""
        bay, address = bay_of(watched.address), watched.address
        trip = self._trips.get(bay)
        if not holds:
            if trip is not None and trip.standing.pop(address, None) is not None:
                trip.fallen.add(address)
                trip.over = (source_time, time_names(watched.quality))
                if trip.told and not trip.standing:
                    self._end(bay, trip)
            return
        if trip is not None and address in trip.fallen:
            # A contact that closes once more is another trip; what still stands of the first one belongs to both.
            before = trip.standing
            self._tell(trip)
            self._end(bay, trip)
            trip = None
        else:
            before = {}
        if trip is None:
            now = self._now()
            trip = self._trips[bay] = Trip(now, now + self._gather, clock.now(), standing=dict(before))
        self._add(trip, watched, rule, source_time)
        if trip.told:
            self._tell(trip)

    def tick(self) -> Iterator[None]:
        """Tell the trips whose signs have had time to arrive, in parts."""
        now = self._now()
        for bay, trip in list(self._trips.items()):
            if now >= trip.due and (not trip.told or now < trip.began + self._patience):
                self._tell(trip)
                if not trip.standing:
                    self._end(bay, trip)
                yield

    def _add(self, trip: Trip, watched: Watched, rule: Rule, source_time: int) -> None:
        if watched.address in trip.standing:
            return
        trip.standing[watched.address] = watched
        trip.test |= bool(watched.quality & Quality.TEST)
        if source_time > clock.UNIX_EPOCH_TICKS and (not trip.time or source_time < trip.time):
            trip.time, trip.time_quality = source_time, time_names(watched.quality)
        phase = watched.address.rpartition("/phs")[2] if "/phs" in watched.address else ""
        if watched.address.endswith("/neut"):
            phase = "neut"
        if phase in _PHASES:
            trip.phases.add(phase)
        plainness = TRIP_SIGNS.rules.index(rule)
        if not trip.told and plainness < trip.plainness:
            trip.plainness, trip.address, trip.text = plainness, watched.address, rule.text

    def _tell(self, trip: Trip) -> None:
        phases = "".join("N" if phase == "neut" else phase for phase in _PHASES if phase in trip.phases)
        current = self._current(trip)
        text, details = trip.text, []
        if phases:
            text += f", phase{'s' if len(phases) > 1 else ''} {phases}"
            details.append(("phases", phases))
        if current is not None:
            text += f", {current:.0f} A"
            details.append(("current", f"{current:.1f}"))
        trip.told = True
        self._context.alarms.raise_(
            CODE,
            trip.address,
            text,
            900,
            marked=self._mark(trip.address) or ("test" if trip.test else ""),
            value=1.0,
            details=tuple(details),
            source_time=trip.time,
            time_quality=trip.time_quality,
        )

    def _end(self, bay: str, trip: Trip) -> None:
        del self._trips[bay]
        time, time_quality = trip.over
        self._context.alarms.clear(CODE, trip.address, value=0.0, source_time=time, time_quality=time_quality)

    def _current(self, trip: Trip) -> float | None:
        """The largest current, A, that a point of the bay tells of a fault at that time; None when none does."""
        table, bay = self._context.table, bay_of(trip.address)
        if self._size != len(table):
            self._size = len(table)
            self._currents.clear()
        rows = self._currents.get(bay)
        if rows is None:
            node = table.tree.find(bay)
            found = data_below(table.tree, node) if node >= 0 else ()
            rows = self._currents[bay] = [row for data, row in found if _CURRENT.match(data)]
        at = np.array(rows, np.intp)
        since = (trip.time or trip.received) - _BEFORE
        usable = (table.quality[at] & np.uint32(UNUSABLE) == 0) & (table.source_time[at] >= since)
        values = [table.value(row) for row in at[usable].tolist()]
        return max((abs(float(value)) for value in values if isinstance(value, int | float)), default=None)
