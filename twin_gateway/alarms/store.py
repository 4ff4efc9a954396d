"""The book of all conditions: `ConditionBook`, the `ConditionStore` port of the service.

Made without a gateway for tests: `ConditionBook(EventJournal(), policy=..., audit=...)` keeps all in memory; with a
`path` it is durable (`await book.open()`, a task with `book.run()`, `await book.close()`). Sources call `raise_` and
`clear`; people's acts come by `act` and need an `AccessPolicy` and an `AuditLog`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from address_space import clock
from address_space.conditions import Condition
from address_space.events import Event, EventJournal
from address_space.ports import AccessPolicy, AuditLog, AuditRecord, Caller, ConditionVerb
from address_space.quality import StatusCode
from twin_gateway.alarms import chatter, machine
from twin_gateway.alarms.acts import RIGHTS, Act
from twin_gateway.alarms.catalogue import AlarmCode, alarm_code
from twin_gateway.alarms.chatter import Chatter
from twin_gateway.alarms.entry import Counts, Details, Entry, Kind
from twin_gateway.alarms.keeping import Kept
from twin_gateway.alarms.machine import Change, Demands, Finding
from twin_gateway.alarms.places import PlaceIndex
from twin_gateway.alarms.telling import told
from twin_gateway.alarms.writing import WriteBehind

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
"""Automatic changes are on disk after about this long."""
TICKED_AT_ONCE = 20
LOOKED_AT_ONCE = 100
SILENT_AGAIN_S = 5.0
"""How often it is looked which sources are silent since the restart."""
MAX_CONDITIONS = 100_000
_RESTARTED = "not found again after the restart of the gateway"


class ConditionBook:
    """Keeps every condition that ever was, as far as there is room; every change is one event.

    People's acts are audited and on disk before they answer; what sources say is on disk half a second later. After
    a restart active conditions stay so until their source has spoken; when it has not after the time of the alarm
    list and `judged` says that it could have, the condition is over.

    Args:
        events: where the events go.
        path: of the database; in memory only without.
        policy, audit: without them every act is refused.
        judged: whether the source at an address can be judged at present (its point has a value).
        now: clock of the records, FILETIME ticks.
        monotonic: clock of the waiting, s.
        most: conditions that are kept.

    Attributes:
        path: of the database; empty without.
    """

    def __init__(
        self,
        events: EventJournal,
        path: Path | None = None,
        *,
        policy: AccessPolicy | None = None,
        audit: AuditLog | None = None,
        judged: Callable[[str], bool] = lambda _address: True,
        now: Callable[[], int] = clock.now,
        monotonic: Callable[[], float] = time.monotonic,
        most: int = MAX_CONDITIONS,
    ) -> None:
        self.path = path or Path()
        self._events = events
        self._writing = WriteBehind(path, self._kept, self._not_written)
        self._policy, self._audit = policy, audit
        self._judged = judged
        self._now, self._monotonic = now, monotonic
        self._most = most
        self._entries: dict[str, Entry] = {}
        self._places = PlaceIndex()
        self._idle: tuple[dict[str, None], dict[str, None]] = {}, {}
        self._active = self._unacknowledged = 0
        self._shelved: set[str] = set()
        self._restored: dict[str, float] = {}
        self._silent_since = float("-inf")
        self._held_back: set[str] = set()
        self._full = False
        self._dropped = self._refused = 0

    # ---- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read what is kept; active conditions wait for their sources.

        Raises:
            OSError, sqlite3.Error: the file cannot be read or written.
        """
        kept, broken = await self._writing.open()
        if broken:
            text = f"{len(broken)} records of conditions are broken and left out, the first is {broken[0]}"
            log.error(text)
            self._events.append(Event("G02", text, 600))
        start = self._monotonic()
        for one in kept:
            condition = one.condition
            self._entries[condition.id] = Entry(condition, one.demands, muted=one.muted)
            self._count(condition, 1)
            if condition.active:
                self._restored[condition.id] = start + alarm_code(condition.code).judged_within
        self._silent_since = min(self._restored.values(), default=start)
        self._places.add_all((one.condition.address, one.condition.id) for one in kept)

    async def run(self) -> None:
        """Write what has changed, end what has run out; never returns."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            for number, _ in enumerate(self.ticking(), 1):
                if number % TICKED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await self.flush()

    async def close(self) -> None:
        """Write the rest and close the file.

        Raises:
            sqlite3.Error: the rest could not be written.
        """
        await self._writing.close()

    async def flush(self) -> None:
        """Write what has changed now."""
        await self._writing.flush()

    # ---- sources --------------------------------------------------------------------------------------------------

    def raise_(
        self,
        address: str,
        code: str,
        finding: Finding,
        *,
        kind: Kind | None = None,
        suppressed: bool = False,
        anew: bool = False,
        details: Details = (),
        time_quality: str | None = None,
    ) -> None:
        """The condition holds; an event when that is news (became active, severity or limit have changed), or `anew`.

        `suppressed` is what the source says of itself (maintenance); people's word on that stands beside it.
        """
        identifier = f"{address}${code}"
        entry = self._entries.get(identifier)
        if entry is None:
            entry = self._new(identifier, address, code, finding, kind)
            if entry is None:
                self._tell_without_room(address, code, finding, details)
                return
        self._restored.pop(identifier, None)
        if kind is not None:
            entry.demands = kind.demands or entry.demands
            described = kind.described(entry.condition)
            if described is not entry.condition:
                entry.condition = described
                self._writing.changed(identifier)
        condition = entry.condition
        mute = suppressed if suppressed != entry.muted else None
        after = machine.raised(condition, finding, entry.demands, self._now(), suppressed=mute, anew=anew)
        entry.muted = suppressed
        entry.details, entry.time_quality = details, time_quality
        if after is None:
            return
        self._change(entry, after, _as_it_is(after))
        if not condition.active and condition.enabled:
            self._chattering(entry)

    def clear(
        self,
        address: str,
        code: str,
        text: str = "",
        *,
        value: bool | int | float | str | None = None,
        status: int = 0,
        source_time: int = 0,
        time_quality: str | None = None,
    ) -> None:
        """The condition is over; nothing happens when it was not active."""
        entry = self._entries.get(f"{address}${code}")
        if entry is None or not entry.condition.active:
            return
        condition = entry.condition
        self._restored.pop(condition.id, None)
        finding = Finding(
            text or f"{condition.text} (over)",
            condition.severity,
            value=value,
            status=status,
            source_time=source_time,
        )
        now = self._now()
        after = machine.cleared(condition, finding, now)
        if after is None:
            return
        entry.time_quality = time_quality
        self._change(entry, after, Change.INACTIVE)
        if after.shelving == machine.ONE_SHOT:
            self._step(entry, machine.unshelved(entry.condition, now), Change.UNSHELVED)

    def waits(self, address: str, code: str) -> bool:
        """Whether it was active before the restart and its source has not spoken since."""
        return f"{address}${code}" in self._restored

    # ---- the port -------------------------------------------------------------------------------------------------

    def snapshot(self, prefix: str = "") -> Iterable[Condition]:
        """All conditions that are kept, at and below an address."""
        entries = self._entries
        if not prefix:
            return [entry.condition for entry in entries.values()]
        return [entries[identifier].condition for identifier in self._places.below(prefix)]

    def at(self, address: str) -> Iterable[Condition]:
        """The conditions of one address."""
        return [self._entries[identifier].condition for identifier in self._places.at(address)]

    def get(self, identifier: str) -> Condition | None:
        """A condition by its id."""
        entry = self._entries.get(identifier)
        return entry.condition if entry is not None else None

    def refusal(self, identifier: str, verb: ConditionVerb, event_id: bytes | None, duration: float) -> int:
        """0 when the verb can be done now, else the StatusCode of Part 9."""
        entry = self._entries.get(identifier)
        if entry is None:
            return StatusCode.BadNodeIdUnknown
        return machine.refusal(entry.condition, verb, event_id, duration)

    def allows(self, caller: Caller, verb: ConditionVerb, address: str) -> bool:
        """Whether the caller's rights on the source are enough."""
        policy = self._policy
        return policy is not None and any(policy.permits(caller, right, address) for right in RIGHTS[verb])

    async def act(
        self,
        identifier: str,
        verb: ConditionVerb,
        caller: Caller,
        *,
        event_id: bytes | None = None,
        comment: str | None = None,
        locale: str = "",
        duration: float = 0.0,
    ) -> int:
        """Do it: durable and audited when this returns 0. A refusal for want of rights is audited too."""
        entry = self._entries.get(identifier)
        if entry is None:
            return StatusCode.BadNodeIdUnknown
        act = Act(verb, caller, event_id, None if comment is None else " ".join(comment.split()), locale, duration)
        if not act.legible:
            return StatusCode.BadInvalidArgument
        # To its end, also when who asked goes away: what is on disk and what has effect must be the same.
        return await asyncio.shield(asyncio.ensure_future(self._act(entry, act)))

    async def _act(self, entry: Entry, act: Act) -> int:
        condition, audit = entry.condition, self._audit
        record = act.record(condition, self._now())
        if audit is None:
            return StatusCode.BadUserAccessDenied
        if not self.allows(act.caller, act.verb, condition.address):
            denied = replace(record, status=int(StatusCode.BadUserAccessDenied), text="not permitted")
            return await self._audited(audit, denied, StatusCode.BadUserAccessDenied)
        async with self._writing.turn:
            refused = act.refusal(entry.condition)
            if refused:
                return refused
            if await self._audited(audit, record, 0):
                return StatusCode.BadResourceUnavailable
            try:
                status, why = await self._done(entry, act), "overtaken by its source"
            except (OSError, sqlite3.Error) as error:
                log.error("condition %s: %s could not be written: %s", condition.id, act.verb, error)
                self._writing.changed(condition.id)
                status, why = StatusCode.BadResourceUnavailable, f"not kept: {error}"
            if status:
                await self._audited(audit, replace(record, time=self._now(), status=int(status), text=why), status)
            return status

    @staticmethod
    async def _audited(audit: AuditLog, record: AuditRecord, status: int) -> int:
        """The status when the audit has taken the record, else that of an act that cannot be done for that."""
        try:
            await audit.append(record)
        except (OSError, sqlite3.Error) as error:
            log.error("%s by %r could not be audited: %s", record.kind, record.user, error)
            return StatusCode.BadResourceUnavailable
        return status

    async def _done(self, entry: Entry, act: Act) -> int:
        """On disk first, then in effect. What a source says meanwhile goes before: the act is done upon that."""
        while True:
            before = entry.condition
            refused = act.refusal(before) or self._gone(entry)
            if refused:
                self._writing.changed(before.id)  # on disk may stand what did not come into effect
                return refused
            done = act.done(before, entry.demands, self._now())
            if done is None:
                return 0
            after, change = done
            await self._writing.at_once(Kept(after, entry.demands, entry.muted))
            if entry.condition is before and not self._gone(entry):
                break
        entry.chatter = None
        self._change(entry, after, change, durable=True)
        return 0

    def _gone(self, entry: Entry) -> int:
        known = self._entries.get(entry.condition.id) is entry
        return 0 if known else StatusCode.BadNodeIdUnknown

    # ---- at work --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Shelvings that have run out, conditions whose source is silent since the restart, changes held back."""
        for _ in self.ticking():
            pass

    def ticking(self) -> Iterator[None]:
        """The same in parts: many conditions may be over together some time after a restart."""
        now, monotonic = self._now(), self._monotonic()
        for identifier in [*self._shelved]:
            entry = self._entries.get(identifier)
            if entry is not None and entry.condition.shelved_until <= now:
                entry.chatter = None
                self._step(entry, machine.unshelved(entry.condition, now), Change.UNSHELVED)
                yield
        for identifier in [*self._held_back]:
            entry = self._entries.get(identifier)
            if entry is not None and (entry.chatter is None or entry.chatter.may_speak(monotonic)):
                self._tell(entry, _as_it_is(entry.condition))
                yield
        if self._restored and monotonic >= self._silent_since:
            self._silent_since = monotonic + SILENT_AGAIN_S
            for number, (identifier, deadline) in enumerate([*self._restored.items()]):
                if number % LOOKED_AT_ONCE == 0:
                    yield
                entry = self._entries.get(identifier)
                if entry is None or identifier not in self._restored or deadline > monotonic:
                    continue
                condition = entry.condition
                if self._judged(condition.address):
                    self.clear(condition.address, condition.code, f"{condition.text} ({_RESTARTED})")
                    yield

    def counts(self) -> Counts:
        """How many there are, for metrics."""
        return Counts(
            len(self._entries),
            self._active,
            self._unacknowledged,
            len(self._shelved),
            self._dropped,
            self._refused,
        )

    def _new(self, identifier: str, address: str, code: str, finding: Finding, kind: Kind | None) -> Entry | None:
        if len(self._entries) >= self._most and not self._make_room():
            return None
        listed, kind = alarm_code(code), kind or Kind()
        condition = Condition(
            address,
            code,
            kind.type_name or _type_of(listed, finding),
            kind.condition_class or listed.condition_class,
            finding.text,
            finding.severity,
            active=False,
            event_id=b"",
            last_severity=finding.severity,
        )
        demands = kind.demands or Demands(listed.acknowledge, listed.confirm)
        entry = self._entries[identifier] = Entry(condition, demands)
        self._places.add(address, identifier)
        return entry

    def _make_room(self) -> bool:
        """Forget the oldest that nobody waits for, those without a comment before the others."""
        for identifier in (next(iter(idle), None) for idle in self._idle):
            if identifier is not None:
                self._drop(identifier)
                return True
        return False

    def _drop(self, identifier: str) -> None:
        entry = self._entries.pop(identifier)
        self._count(entry.condition, -1)
        self._places.remove(entry.condition.address, identifier)
        self._held_back.discard(identifier)
        self._writing.changed(identifier)
        self._dropped += 1

    def _tell_without_room(self, address: str, code: str, finding: Finding, details: Details) -> None:
        self._refused += 1
        self._events.append(Event(code, finding.text, finding.severity, address, details=details, value=finding.value))
        if not self._full:
            self._full = True
            text = f"{self._most} conditions wait for people: further ones are told but cannot be acknowledged"
            log.error(text)
            self._events.append(Event("G02", text, 800))

    def _step(self, entry: Entry, after: Condition | None, change: Change) -> None:
        if after is not None:
            self._change(entry, after, change)

    def _change(self, entry: Entry, after: Condition, change: Change, *, durable: bool = False) -> None:
        before = entry.condition
        self._count(before, -1)
        entry.condition = after
        self._count(after, 1)
        if not durable:
            self._writing.changed(after.id)
        if not after.enabled and change is not Change.DISABLED:
            return  # nobody is told of what is disabled
        if entry.chatter is not None and entry.chatter.holds_back(change, self._monotonic()):
            self._held_back.add(after.id)
            return
        self._tell(entry, change)

    def _tell(self, entry: Entry, change: Change) -> None:
        self._held_back.discard(entry.condition.id)
        self._events.append(told(entry, change))

    def _chattering(self, entry: Entry) -> None:
        """It became active: more than ten times within a minute are too many."""
        before, now = entry.began, self._monotonic()
        entry.began = now
        if now - before > chatter.MINUTE_S:
            entry.chatter = None  # most alarms never come a second time within a minute
            return
        entry.chatter = entry.chatter or Chatter(before)
        condition = entry.condition
        if entry.chatter.began(now) and _may_be_shelved(condition):
            entry.chatter.quiet(now)
            after = machine.shelved(condition, chatter.SHELVED_S, self._now())
            self._change(entry, replace(after, text=f"{condition.text} (chattering)"), Change.SHELVED)

    def _count(self, condition: Condition, step: int) -> None:
        identifier = condition.id
        self._active += step * condition.active
        self._unacknowledged += step * (not condition.acked)
        shelved = condition.shelving != machine.UNSHELVED
        idle = not shelved and condition.enabled and not condition.retain
        if step > 0:
            if shelved:
                self._shelved.add(identifier)
            if idle:
                self._idle[bool(condition.comment)][identifier] = None
        else:
            self._shelved.discard(identifier)
            self._idle[bool(condition.comment)].pop(identifier, None)

    def _kept(self, identifier: str) -> Kept | None:
        entry = self._entries.get(identifier)
        return Kept(entry.condition, entry.demands, entry.muted) if entry is not None else None

    def _not_written(self, text: str) -> None:
        self._events.append(Event("G02", text, 700))


def _as_it_is(condition: Condition) -> Change:
    if not condition.active:
        return Change.INACTIVE
    return Change.SUPPRESSED if condition.suppressed else Change.ACTIVE


def _type_of(listed: AlarmCode, finding: Finding) -> str:
    """A device's own verdict (gas is low, it says) has no limit that anybody else could know."""
    return "OffNormalAlarmType" if "LimitAlarm" in listed.type_name and not finding.limit else listed.type_name


def _may_be_shelved(condition: Condition) -> bool:
    """Whether the gateway itself may shelve it: never what is about safety or very severe (spec 9.1)."""
    return (
        condition.condition_class != "Safety" and condition.severity < 900 and condition.shelving == machine.UNSHELVED
    )
