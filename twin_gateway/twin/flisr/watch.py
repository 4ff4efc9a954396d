"""The trigger: what of a feeder's protection, breaker and measurements begins an event, and what never does (S0)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twin_gateway.grid.model import Feeder, Position
from twin_gateway.twin.flisr.records import FaultKind
from twin_gateway.twin.flisr.states import Cause, Trigger

LOCKED_OUT = frozenset({10, 11, 12})
"""AutoRecSt unsuccessful, aborted, not ready."""
_GAVE_UP = frozenset({10, 11})
"""Of these what only a trip leaves behind: a recloser is not ready after an opening by hand as well."""
_OVER = frozenset({1, 3})
"""AutoRecSt ready, successful: the fault before is over when the breaker is closed."""
_EARTH_CLASSES = ("PSDE", "PTEF", "PHIZ")
_PHASE_CLASSES = ("PTOC", "PIOC", "PDIS", "PDIR")


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as it stands.

    Attributes:
        good: its quality is Good.
        usable: its quality is not Bad.
        time: s, by the device's clock.
        received: s, when it came.
        clock_good: the device's clock may be trusted.
        comm_lost: communication with its device is lost.
    """

    value: bool | int | float | str | None
    good: bool
    usable: bool
    time: float
    received: float
    clock_good: bool = True
    comm_lost: bool = False


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Times of the trigger, s (defaults of spec 3.4 S0).

    Attributes:
        lockout: the breaker stays open so long with reclosing locked out.
        lockout_unknown: the same where the state of reclosing is not known.
        manual: a command, manual close or load shedding within this time explains what happens.
        trip_memory: how long before or after the opening a trip belongs to it.
        standing: an earth fault stands without trip for so long.
    """

    lockout: float = 2.0
    lockout_unknown: float = 180.0
    manual: float = 10.0
    trip_memory: float = 60.0
    standing: float = 10.0


@dataclass(frozen=True, slots=True)
class Known:
    """What was last known of a head before the start.

    Attributes:
        position: of the breaker.
        since: s, when it was learnt; for a head that nothing is known of, the start of the gateway.
    """

    position: Position
    since: float


Read = Callable[[str], Reading | None]


class FeederWatch:
    """Watches one feeder. Every change of its points goes through `change`; `tick` says when an event begins."""

    def __init__(self, feeder: Feeder, head_position: str, times: WatchTimes) -> None:
        self.feeder = feeder
        self._head = head_position
        self._times = times
        self._position = Position.UNKNOWN
        self._position_at = 0.0
        self._known: Known | None = None
        self.found = False
        """The opening was found at the start: only a trip that left its marks makes an event of it, with a person."""
        self._opened: Reading | None = None
        self._opened_at = 0.0
        self._closed_at: float | None = None
        self._raised: dict[str, float] = {}
        """Device time of each trip signal that is up: one that is only told again is no new trip."""
        self._explained = ""
        self._trip_at: float | None = None
        self._begun: Reading | None = None
        """The first trip of the reclosing sequence that goes on: fault passages are set with it, not with the last."""
        self._first_opened: Reading | None = None
        self._ready = False
        self._told_at: float | None = None
        """When protection was last heard of: a trip, a failed breaker, the busbar."""
        self._manual_close_at: float | None = None
        self._shed_at: float | None = None
        self._busbar: Reading | None = None
        self._failure: Reading | None = None
        self._fault = FaultKind.UNKNOWN
        self._locked_since: float | None = None
        self._lost_since: float | None = None
        self._standing_since: float | None = None
        self._fired = False
        self._earth_fired = False
        self.last_trip: float | None = None
        """When a trip (or an opening nobody asked for) was last learnt."""

    def known(self, now: float) -> Known | None:
        """The head as it is known now, for the next start; None while it is not.

        Nor while an opening may still begin an event: the next start must find it as one that nobody has dealt with.
        """
        if self._position is Position.UNKNOWN:
            return None
        pending = self._opened is not None and not self._fired and not self._explained
        if pending and now - self._opened_at < self._times.lockout_unknown + self._times.trip_memory:
            return None
        return Known(self._position, self._position_at)

    def remember(self, known: Known) -> None:
        """Take what was known before the start, before the first change is given."""
        self._known = known

    def points(self) -> tuple[str, ...]:
        """Points whose changes it wants."""
        feeder = self.feeder
        reclosing = () if feeder.reclosing in ("", "none") else (feeder.reclosing,)
        groups = (feeder.trip, feeder.start, feeder.breaker_failure, feeder.busbar_trip, feeder.load_shedding)
        return tuple(dict.fromkeys((self._head, *(point for group in groups for point in group), *reclosing)))

    def change(self, point: str, reading: Reading, now: float, *, commanded: bool = False, local: bool = False) -> None:
        """Take a change.

        Args:
            point: one of `points()`.
            reading: the new value.
            now: s.
            commanded: for the head's position: it was commanded within the time `manual`.
            local: for the head's position: local control is taken there.
        """
        feeder = self.feeder
        if point == self._head:
            self._moved(reading, now, "a command" if commanded else "local control" if local else "")
            return
        if point == feeder.reclosing:
            self._ready = reading.good and reading.value in _OVER
            return
        if not reading.usable:
            return
        if reading.value is not True:
            self._raised.pop(point, None)
            return
        again = point in self._raised and not (reading.clock_good and reading.time > self._raised[point])
        self._raised[point] = reading.time
        if point in feeder.trip:
            if again:
                return
            self._begun = self._begun or reading
            self._trip_at = self._told_at = self.last_trip = now
        elif point in feeder.start:
            self._fault = _kind(point, self._fault)
        elif point in feeder.breaker_failure:
            self._failure = reading
            self._told_at = self.last_trip = now
        elif point in feeder.busbar_trip:
            self._busbar = reading
            self._told_at = self.last_trip = now
        elif point in feeder.load_shedding:
            self._shed_at = now

    def _moved(self, reading: Reading, now: float, by: str) -> None:
        if not reading.good or reading.value not in (Position.OPEN, Position.CLOSED):
            return
        before, self._position = self._position, Position(int(reading.value))
        if self._position is before:
            return
        self._position_at = max(now, reading.time) if reading.clock_good else now
        if self._position is Position.OPEN:
            self.found = before is Position.UNKNOWN
            # One that is found open at the start has not opened, unless that was after it was last known.
            opened = self._opened_unseen(reading) and not by if self.found else True
            self._opened = reading if opened else None
            self._first_opened = self._first_opened or self._opened
            self._opened_at, self._explained = now, by
            self._locked_since = self._lost_since = None
            if self._opened is not None and not by and not self.found:
                self.last_trip = now
            return
        if by or self._fired:
            self._sequence_over()
        self._opened, self._closed_at, self._fired, self.found = None, now, False, False
        if by:
            self._manual_close_at = now

    def _opened_unseen(self, reading: Reading) -> bool:
        """Whether a head that is found open has opened since it was last known to be normal.

        One that was open already is history: that its device tells a later time may be a restart of the device.
        """
        known = self._known
        if known is None or known.position is Position.OPEN:
            return False
        return known.position is Position.CLOSED or (reading.clock_good and reading.time > known.since)

    def _find_trip(self, read: Read) -> None:
        """What a trip that nobody watched has left behind: its signal, or a recloser that gave up."""
        opened, known = self._opened, self._known
        if opened is None or known is None or self._trip_at is not None:
            return
        for point in self.feeder.trip:
            told = read(point)
            if told is None or not told.usable or not isinstance(told.value, bool):
                continue
            near = not (told.clock_good and opened.clock_good) or self._within(
                told.time, opened.time, self._times.trip_memory
            )
            # A signal that has fallen since still tells by its time that it was up.
            fresh = told.time > known.since if told.clock_good else told.value and known.position is Position.CLOSED
            if fresh and near:
                earlier = min(told, opened, key=lambda each: each.time) if told.clock_good else opened
                self._begun, self._trip_at = earlier, self._opened_at
                return
        state = read(self.feeder.reclosing) if self.feeder.reclosing not in ("", "none") else None
        if state is None or not state.good or state.value not in _GAVE_UP:
            return
        if state.time > known.since if state.clock_good else known.position is Position.CLOSED:
            self._begun, self._trip_at = opened, self._opened_at

    def _sequence_over(self) -> None:
        """What trips next is another fault."""
        self._begun = self._first_opened = self._trip_at = None
        self._busbar = self._failure = None
        self._fault = FaultKind.UNKNOWN

    def tick(self, now: float, read: Read, *, current_lost: bool | None, dead: bool | None) -> Trigger | None:
        """The trigger of a new event, once; None while there is none.

        Args:
            now: s.
            read: value of a point.
            current_lost: the load current of the head is zero; None when nobody measures it.
            dead: the line behind the head has no voltage; None when nobody measures it.
        """
        self._forget(now)
        if self._busbar is not None and not self._fired:
            return self._fire(Cause.BUSBAR, self._busbar, advise_only=True, text="Busbar or transformer protection")
        if self._failure is not None and not self._fired and dead is not False:
            text = "The breaker failed, the one upstream cleared"
            return self._fire(Cause.BREAKER_FAILURE, self._failure, advise_only=True, text=text)
        if self._position is Position.OPEN:
            return self._after_opening(now, read, current_lost is True and dead is True)
        return self._standing(now, read)

    def _forget(self, now: float) -> None:
        """A trip after which the breaker stays closed is over (the fault has disappeared, or it was another's)."""
        if self._position is not Position.CLOSED or self._closed_at is None:
            return
        if any(point in self._raised for point in (*self.feeder.busbar_trip, *self.feeder.breaker_failure)):
            return
        told = self._closed_at if self._told_at is None else self._told_at
        if now - max(self._closed_at, told) > (self._times.manual if self._ready else self._times.trip_memory):
            self._sequence_over()
            self._fired = False

    def _after_opening(self, now: float, read: Read, supply_lost: bool) -> Trigger | None:
        times, opened = self._times, self._opened
        if opened is None or self._fired:
            return None
        if self._within(self._shed_at, self._opened_at, times.manual):
            return None
        if self.found:
            self._find_trip(read)
        tripped = self._within(self._trip_at, self._opened_at, times.trip_memory)
        if tripped and self._switched_onto_fault():
            return None
        if not tripped and (self._explained or self.found):
            return None
        if not tripped:
            # Without a trip only the loss of current and of voltage together prove that it is no false position.
            self._lost_since = (self._lost_since or now) if supply_lost else None
            if self._lost_since is None:
                return None
        locked = self._locked_out(read)
        self._locked_since = (self._locked_since or now) if locked else None
        begun = max(self._opened_at, self._lost_since or self._opened_at)
        cause, reading = (Cause.TRIP, self._begun) if tripped else (Cause.LOSS, self._first_opened)
        if self._locked_since is not None and now - max(begun, self._locked_since) >= times.lockout:
            text = f"{self.feeder.head} is locked out" + (", found at the start" if self.found else "")
            return self._fire(cause, reading or opened, advise_only=self.found, text=text)
        if now - begun >= times.lockout_unknown:
            text = f"{self.feeder.head} is open and nothing tells whether it recloses"
            return self._fire(cause, reading or opened, advise_only=True, text=text)
        return None

    def _switched_onto_fault(self) -> bool:
        """A trip soon after a manual close: whoever closed knows, nothing was supplied before."""
        closed = self._manual_close_at
        return closed is not None and self._trip_at is not None and 0 <= self._trip_at - closed <= self._times.manual

    def _locked_out(self, read: Read) -> bool:
        feeder = self.feeder
        if feeder.reclosing == "none":
            return True
        if feeder.reclose_block:
            blocked = read(feeder.reclose_block)
            if blocked is not None and blocked.good and blocked.value is True:
                return True
        state = read(feeder.reclosing) if feeder.reclosing else None
        return state is not None and state.good and state.value in LOCKED_OUT

    def _standing(self, now: float, read: Read) -> Trigger | None:
        starts = [point for point in self.feeder.start if _is_earth(point)]
        readings = [reading for reading in map(read, starts) if reading is not None]
        active = [reading for reading in readings if reading.usable and reading.value is True]
        if not active:
            self._standing_since, self._earth_fired = None, False
            return None
        self._standing_since = now if self._standing_since is None else self._standing_since
        if self._earth_fired or now - self._standing_since < self._times.standing:
            return None
        self._earth_fired = True
        return self._trigger(Cause.EARTH_FAULT, active[0], advise_only=True, text="An earth fault stands without trip")

    def _fire(self, cause: Cause, reading: Reading, *, advise_only: bool, text: str) -> Trigger:
        self._fired = True
        return self._trigger(cause, reading, advise_only=advise_only, text=text)

    def _trigger(self, cause: Cause, reading: Reading, *, advise_only: bool, text: str) -> Trigger:
        fault = FaultKind.EARTH if cause is Cause.EARTH_FAULT else self._fault
        time = reading.time if reading.clock_good else reading.received
        event = event_id(self.feeder.address, cause, time)
        return Trigger(
            event, self.feeder.address, cause, time, reading.received, reading.clock_good, advise_only, fault, text
        )

    @staticmethod
    def _within(moment: float | None, other: float, seconds: float) -> bool:
        return moment is not None and abs(moment - other) <= seconds


def event_id(feeder: str, cause: Cause, time: float) -> str:
    """Id of an event: the same trip, told twice, is the same event."""
    return f"{feeder}#{cause.name.lower()}#{time:.3f}"


def _is_earth(point: str) -> bool:
    return any(f"/{name}" in point for name in _EARTH_CLASSES)


def _kind(point: str, before: FaultKind) -> FaultKind:
    if _is_earth(point):
        return FaultKind.EARTH if before is FaultKind.UNKNOWN else before
    return FaultKind.PHASE if any(f"/{name}" in point for name in _PHASE_CLASSES) else before
