"""Alarms of protection and switching at work: P01 to P08, S01, S02, S04 (spec 9.2); S05 and S06 are the desk's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from address_space import clock
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality, StatusCode, time_names
from twin_gateway.durations import Seconds
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.following import Following
from twin_gateway.functions.limits import LimitWatch
from twin_gateway.functions.rule_watch import RuleWatch, Watched
from twin_gateway.functions.slices import in_slices
from twin_gateway.functions.topology_points import bay_of
from twin_gateway.functions.trips import CODE as TRIP_CODE
from twin_gateway.functions.trips import Trips
from twin_gateway.grid.model import SwitchRating
from twin_gateway.twin.rules import Check, Rule, RuleTable, Value
from twin_gateway.twin.supervision.limits import Band
from twin_gateway.twin.supervision.process import PROCESS_RULES, STARTS, TRIPS

TICK_S = 0.25
LIMITS_S = 1.0
Share = Annotated[float, Field(ge=0.0, le=2.0)]
AT_ONCE = 50
PAUSE_S = 0.02
_OPEN, _CLOSED = 1, 2
_MOVED, _RECLOSING = "moved", "reclosing"
_LOCAL = "S04"
_RULES = RuleTable(
    (
        *PROCESS_RULES.rules,
        *STARTS.rules,
        *TRIPS.rules,
        Rule("XCBR|XSWI", "Pos", Check.BECOMES, _MOVED, 1, "", (_OPEN, _CLOSED)),
        Rule("RREC", "AutoRecSt", Check.BECOMES, _RECLOSING, 1, "", (2, 3, 4, 5, 6, 7, 8, 9, 10)),
    )
)


class SentCommand(Protocol):
    """What the desk says of the last command to a data object."""

    @property
    def time(self) -> int:
        """FILETIME ticks when it was handed to the device."""
        ...

    @property
    def value(self) -> int | float | bool | None:
        """What it asked for."""
        ...


class ProcessSettings(BaseModel):
    """How movements are told apart. Durations are seconds, or texts as `15 min`.

    Attributes:
        command_window: a movement so long after a command is that command's.
        trip_window: an opening, or a reclosing, so near to a trip in the same bay is the protection's.
        patience: time that the reason of a movement, or the trip after a start, may take to arrive after it.
        v_min, v_max: band of measured voltages, of the nominal one; at or below `v_dead` there is none, which is no
            matter of the band.
        limit_delay: a measured current or voltage is told when it has been out of its limits for so long.
        trip_gather: a trip is told so long after its first sign, with what has been said of it by then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command_window: Seconds = 60.0
    trip_window: Seconds = 10.0
    patience: Seconds = 2.0
    trip_gather: Seconds = 0.3
    v_min: Share = 0.90
    v_max: Share = 1.10
    v_dead: Share = 0.20
    limit_delay: Seconds = 10.0


@dataclass(slots=True)
class _Movement:
    watched: Watched
    before: int
    position: int
    at: float
    ticks: int
    due: float
    time: int
    time_quality: str | None


@dataclass(slots=True)
class _Start:
    watched: Watched
    rule: Rule
    value: Value
    time: int
    at: float
    due: float


class ProcessAlarms:
    """Follows protection and positions; see `TwinFunction` for the contract.

    Args:
        context: see `TwinContext`.
        settings: see `ProcessSettings`.
        last_sent: the last command to a data object that left the gateway.
        mark: `suppressed` (maintenance), `test` or empty for an address.
        monotonic: clock, s.
    """

    name = "process"

    def __init__(
        self,
        context: TwinContext,
        settings: ProcessSettings,
        last_sent: Callable[[str], SentCommand | None],
        *,
        mark: Callable[[str], str] = lambda _address: "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.context, self.settings = context, settings
        self._last_sent, self._mark, self._now = last_sent, mark, monotonic
        self._tripping = Trips(
            context, gather=settings.trip_gather, patience=settings.patience, mark=mark, monotonic=monotonic
        )
        band = Band(settings.v_min, settings.v_max, settings.v_dead)
        self._limits = LimitWatch(context, band, delay=settings.limit_delay, mark=mark)
        self._limits_due = 0.0
        self._watch = RuleWatch(
            context.table,
            context.alarms,
            _RULES,
            mark=lambda watched: mark(watched.address) or ("test" if watched.quality & Quality.TEST else ""),
            on_event=self._happened,
            on_condition=self._holds,
            monotonic=monotonic,
        )
        self._commands = {
            rating.position: rating.command
            for _item, rating in context.grid.switches()
            if isinstance(rating, SwitchRating) and rating.position and rating.command
        }
        self._trips: dict[str, float] = {}
        self._reclosings: dict[str, float] = {}
        self._positions: dict[str, int] = {}
        self._movements: list[_Movement] = []
        self._starts: list[_Start] = []
        self._unexpected: dict[str, int] = {}
        self._local: dict[str, list[Watched]] = {}

    def prepare(self) -> None:
        """Take up the points."""
        self._scan()
        self._limits.refresh()

    @staticmethod
    def misses(_address: str) -> bool:
        """See `FollowsPoints`: none."""
        return False

    def specs(self) -> Sequence[MethodSpec]:
        """None."""
        return ()

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """There is nothing to call."""
        return MethodResult(StatusCode.BadMethodInvalid, (), f"{owner} has no method {name}")

    async def run(self) -> None:
        """Follow until cancelled."""
        with closing(Following(self.context.table, "process", monotonic=self._now)) as changes:
            await changes.run(
                self.take,
                self._watch.renew_all,
                lambda: in_slices(self._ticking()),
                every=TICK_S,
                rest=PAUSE_S,
                at_once=AT_ONCE,
            )

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes."""
        self._watch.take(chunk)

    def tick(self) -> None:
        """Take up new points, and judge the movements whose reasons have had time to arrive."""
        for _ in self._ticking():
            pass

    def _ticking(self) -> Iterator[None]:
        self._scan()
        self._watch.tick()
        yield from self._tripping.tick()
        now = self._now()
        if now >= self._limits_due:
            self._limits_due = now + LIMITS_S
            yield from self._limits.tick()
        ripe = [movement for movement in self._movements if movement.due <= now]
        self._movements = [movement for movement in self._movements if movement.due > now]
        for movement in ripe:
            self._judge(movement)
            yield
        begun = [start for start in self._starts if start.due <= now]
        self._starts = [start for start in self._starts if start.due > now]
        for start in begun:
            self._tell_start(start)
            yield

    def _scan(self) -> None:
        if self._watch.scan():
            self._local.clear()
            for watched in self._watch.points.values():
                if any(rule.code == _LOCAL for rule in watched.rules):
                    self._local.setdefault(bay_of(watched.address), []).append(watched)
            for watched in self._watch.points.values():
                if watched.address.endswith("/Pos") and watched.value in (_OPEN, _CLOSED):
                    self._positions.setdefault(watched.address, int(watched.value))

    # ---- what happens ---------------------------------------------------------------------------------------------

    def _holds(self, watched: Watched, rule: Rule, holds: bool, source_time: int) -> bool:
        if rule.code != TRIP_CODE:
            return False
        self._tripping.sign(watched, rule, holds, source_time)
        return True

    def _happened(self, watched: Watched, rule: Rule, source_time: int, value: Value) -> bool:
        bay = bay_of(watched.address)
        now = self._now()
        if rule.code == _MOVED:
            before = self._positions.get(watched.address, 0)
            self._positions[watched.address] = int(value)
            if before and before != int(value):
                due, told = now + self.settings.patience, time_names(watched.quality)
                self._movements.append(_Movement(watched, before, int(value), now, clock.now(), due, source_time, told))
            return True
        if rule.code == _RECLOSING:
            self._reclosings[bay] = now
            return True
        if rule in TRIPS.rules:
            self._trips[bay] = now
            return True
        if rule in STARTS.rules:
            self._starts.append(_Start(watched, rule, value, source_time, now, now + self.settings.patience))
            return True
        return False

    def _tell_start(self, start: _Start) -> None:
        """A start that ends in a trip is told by the trip, which may arrive after the start's end."""
        watched, rule = start.watched, start.rule
        if abs(start.at - self._trips.get(bay_of(watched.address), float("-inf"))) < self.settings.trip_window:
            return
        mark = self._mark(watched.address) or ("test" if watched.quality & Quality.TEST else "")
        self.context.alarms.event(
            rule.code,
            watched.address,
            rule.text,
            rule.severity,
            value=start.value,
            source_time=start.time,
            time_quality=time_names(watched.quality),
            details=(("marked", mark),) if mark else (),
        )

    def _judge(self, movement: _Movement) -> None:
        address = movement.watched.address
        alarms = self.context.alarms
        if self._unexpected.get(address) == movement.position or self._expected(movement):
            self._unexpected.pop(address, None)
            alarms.clear("S01", address, "Position as it was, or moved by a command")
            return
        self._unexpected[address] = movement.before
        word = "opened" if movement.position == _OPEN else "closed"
        mark = self._mark(address) or ("test" if movement.watched.quality & Quality.TEST else "")
        text = f"Switch has {word} without a command, a trip or local control"
        alarms.raise_(
            "S01",
            address,
            text,
            850,
            marked=mark,
            value=float(movement.position),
            source_time=movement.time,
            time_quality=movement.time_quality,
        )

    def _expected(self, movement: _Movement) -> bool:
        address, settings = movement.watched.address, self.settings
        bay, equipment = bay_of(address), address.rsplit("/", 2)[0]
        never = float("-inf")
        # The trip may have been told before or after the position.
        if abs(movement.at - self._trips.get(bay, never)) < settings.trip_window:
            return True
        if abs(movement.at - self._reclosings.get(bay, never)) < settings.trip_window:
            return True
        for target in {self._commands.get(address, ""), f"{equipment}/CSWI1/Pos", address}:
            sent = self._last_sent(target) if target else None
            if sent is None or _asked_for(sent.value) != movement.position:
                continue
            if movement.ticks - sent.time <= settings.command_window * clock.TICKS_PER_SECOND:
                return True
        near = self._local.get(bay, ())
        return any(_LOCAL in watched.holding and _rules(watched, equipment, bay) for watched in near)


def _rules(watched: Watched, equipment: str, bay: str) -> bool:
    """Whether a local switch is that of the equipment, of its bay, or of the bay's device."""
    return watched.address.startswith((f"{equipment}/", f"{bay}/_/")) or "/LLN0/" in watched.address


def _asked_for(value: int | float | bool | None) -> int:
    """Position that a command asks for: a boolean, or a double point."""
    if isinstance(value, bool):
        return _CLOSED if value else _OPEN
    return int(value or 0)


def make_process_alarms(
    context: TwinContext,
    settings: ProcessSettings,
    last_sent: Callable[[str], SentCommand | None],
    *,
    mark: Callable[[str], str] = lambda _address: "",
) -> ProcessAlarms:
    """The alarms of protection and switching; arguments as of `ProcessAlarms` (`last_sent` of the command desk)."""
    return ProcessAlarms(context, settings, last_sent, mark=mark)
