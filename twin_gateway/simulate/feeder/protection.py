"""Protection at the head of a feeder: pick-up, trip, breaker failure, and the automatic recloser. Pure.

States of the recloser are those of AutoReclosingKind: 1 ready, 2 in progress, 3 successful, 5 trip from protection,
6 fault disappeared, 7 wait to complete, 8 breaker closed, 9 cycle unsuccessful, 10 unsuccessful, 11 aborted, 12 not
ready.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Reclosing(IntEnum):
    """AutoReclosingKind."""

    READY = 1
    IN_PROGRESS = 2
    SUCCESSFUL = 3
    TRIP_FROM_PROTECTION = 5
    FAULT_DISAPPEARED = 6
    WAIT_TO_COMPLETE = 7
    BREAKER_CLOSED = 8
    CYCLE_UNSUCCESSFUL = 9
    UNSUCCESSFUL = 10
    ABORTED = 11
    NOT_READY = 12


@dataclass(frozen=True, slots=True)
class ProtectionSettings:
    """Settings of one feeder's protection; times in seconds, currents in A.

    Attributes:
        pickup: of the phase current.
        earth_pickup: of the residual current.
        trip_time: from pick-up to trip.
        breaker_time: from trip to the open contacts.
        failure_time: from trip until the breaker counts as failed when current still flows.
        trip_hold: how long a trip stays up at least.
        dead_times: pause before each attempt to reclose; empty for none.
        reclaim: time after a reclosing until the sequence is over.
        manual_guard: time after a manual closing in which a trip is final.
    """

    pickup: float = 450.0
    earth_pickup: float = 60.0
    trip_time: float = 0.3
    breaker_time: float = 0.06
    failure_time: float = 0.25
    trip_hold: float = 2.0
    dead_times: tuple[float, ...] = (0.5, 10.0)
    reclaim: float = 15.0
    manual_guard: float = 5.0


class Bay(Protocol):
    """What the protection can do; the field does it."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        ...

    def is_closed(self) -> bool:
        """Whether the breaker lets current through."""
        ...

    def drive(self, close: bool) -> None:
        """Open or close the breaker; a stuck one does not obey."""
        ...

    def trip_upstream(self) -> None:
        """Open the breaker above, because this one has failed."""
        ...


class Protection:
    """One feeder's protection relay.

    Attributes:
        started: a current is above its pick-up (PTOC.Str).
        operated: PTOC.Op, PTRC.Op and PTRC.Tr.
        failed: RBRF.OpEx.
        reclosing: state of the recloser (RREC.AutoRecSt).
        closing: RREC.OpCls.
        blocked: somebody has blocked the recloser.
        standing_earth: an earth current below the trip level that stands (PSDE.Str).
        trips: number of trips since the start.
    """

    def __init__(self, settings: ProtectionSettings, bay: Bay) -> None:
        self.settings, self._bay = settings, bay
        self.started = self.operated = self.failed = self.closing = self.blocked = self.standing_earth = False
        self.reclosing = Reclosing.READY if settings.dead_times else Reclosing.NOT_READY
        self.trips = 0
        self._shot = 0
        self._token = 0
        self._trip_token = 0
        self._final = False
        self._above = False

    # -- currents ----------------------------------------------------------------------------------------------------

    def see(self, phase: float, residual: float) -> None:
        """Take the largest phase current and the residual current, A."""
        settings = self.settings
        self.standing_earth = 1.0 < residual < settings.earth_pickup
        above = phase > settings.pickup or residual > settings.earth_pickup
        if above == self._above:
            return
        self._above = self.started = above
        self._trip_token += 1
        if above:
            token = self._trip_token
            self._bay.after(settings.trip_time, lambda: self._trip(token))

    def _trip(self, token: int) -> None:
        if token != self._trip_token or not self._above:
            return
        self.operated = True
        self.trips += 1
        trips, settings = self.trips, self.settings
        self._to(Reclosing.TRIP_FROM_PROTECTION if self._may_reclose() else self.reclosing)
        self._bay.after(settings.breaker_time, lambda: self._bay.drive(close=False))
        self._bay.after(settings.failure_time, lambda: self._check_failure(trips))
        self._bay.after(settings.trip_hold, lambda: self._release(trips))

    def _check_failure(self, trips: int) -> None:
        if trips == self.trips and self._above and self._bay.is_closed():
            self.failed = True
            if self.reclosing is not Reclosing.NOT_READY:
                self._to(Reclosing.ABORTED)
            self._bay.trip_upstream()

    def _release(self, trips: int) -> None:
        if trips == self.trips:
            self.operated = False

    # -- reclosing ---------------------------------------------------------------------------------------------------

    def _may_reclose(self) -> bool:
        return bool(self.settings.dead_times) and not self.blocked and not self._final and not self._locked

    @property
    def _locked(self) -> bool:
        return self.reclosing in {Reclosing.UNSUCCESSFUL, Reclosing.ABORTED, Reclosing.NOT_READY}

    def _to(self, state: Reclosing) -> None:
        self.reclosing = state
        self._token += 1

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        token = self._token

        def check() -> None:
            if token == self._token:
                action()

        self._bay.after(seconds, check)

    def opened(self) -> None:
        """The breaker has opened, by a trip or by somebody's hand."""
        self.closing = False
        if not self.operated:
            # Opened by hand: a running sequence ends; the recloser is ready again once the breaker is closed.
            self._shot = 0
            if self.reclosing not in {Reclosing.NOT_READY, Reclosing.UNSUCCESSFUL, Reclosing.ABORTED}:
                self._to(Reclosing.NOT_READY)
            return
        dead_times = self.settings.dead_times
        if self.blocked or self._locked or not dead_times:
            if self.reclosing is not Reclosing.UNSUCCESSFUL:
                self._to(Reclosing.NOT_READY)
        elif self._final or self._shot >= len(dead_times):
            self._shot = 0
            self._to(Reclosing.UNSUCCESSFUL)
        else:
            self._to(Reclosing.CYCLE_UNSUCCESSFUL if self._shot else Reclosing.FAULT_DISAPPEARED)
            pause = dead_times[self._shot]
            self._shot += 1
            self._later(min(0.1, pause / 2.0), lambda: self._wait(pause - min(0.1, pause / 2.0)))

    def _wait(self, pause: float) -> None:
        self._to(Reclosing.IN_PROGRESS)
        self._later(pause, self._reclose)

    def _reclose(self) -> None:
        if self.blocked:
            self._to(Reclosing.ABORTED)
            return
        self.closing = True
        self._to(Reclosing.BREAKER_CLOSED)
        self._bay.drive(close=True)

    def closed(self) -> None:
        """The breaker has closed, by the recloser or by somebody's hand."""
        settings = self.settings
        if self.closing:
            self.closing = False
            self._to(Reclosing.WAIT_TO_COMPLETE)
            self._later(settings.reclaim, self._success)
            return
        # By hand: while the guard time runs a trip is final, then everything is as new.
        self.failed = False
        self._final, self._shot = True, 0
        if settings.dead_times and not self.blocked:
            self._to(Reclosing.WAIT_TO_COMPLETE)
        self._later(settings.manual_guard, self._as_new)

    def _success(self) -> None:
        self._to(Reclosing.SUCCESSFUL)
        self._later(1.0, self._as_new)

    def _as_new(self) -> None:
        self._final, self._shot = False, 0
        ready = self.settings.dead_times and not self.blocked
        self._to(Reclosing.READY if ready else Reclosing.NOT_READY)

    def block(self, blocked: bool) -> None:
        """Block or release the recloser."""
        if blocked == self.blocked:
            return
        self.blocked = blocked
        if blocked:
            if self.reclosing is Reclosing.READY:
                self._to(Reclosing.NOT_READY)
            elif self.reclosing in {Reclosing.FAULT_DISAPPEARED, Reclosing.IN_PROGRESS, Reclosing.CYCLE_UNSUCCESSFUL}:
                self._to(Reclosing.ABORTED)
        elif self.reclosing is Reclosing.NOT_READY and self._bay.is_closed():
            self._as_new()

    def reset(self) -> None:
        """As new."""
        self.started = self.operated = self.failed = self.closing = self.blocked = self._above = False
        self._trip_token += 1
        self._as_new()
