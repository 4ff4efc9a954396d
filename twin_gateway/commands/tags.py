"""Operators' safety tags: who forbade what on which equipment or zone, durable, and who may lift it (spec 10.2, 11)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from address_space import clock
from address_space.address import AddressError, parse
from address_space.events import Event, EventJournal
from address_space.ports import AccessPolicy, AuditLog, AuditRecord, Caller, Right
from address_space.quality import StatusCode
from twin_gateway.sqlite import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tag (
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    user TEXT NOT NULL,
    time INTEGER NOT NULL,
    reason TEXT NOT NULL,
    correlation TEXT NOT NULL,
    clearing TEXT NOT NULL,
    clearing_at INTEGER NOT NULL,
    PRIMARY KEY (address, kind, user)
);
"""
CONFIRM_WITHIN_S = 600.0
"""How long the first word for the removal of a lock-out tag stands until the second person's."""
MAX_REASON = 500
FLISR_USER = "flisr"


class TagKind(StrEnum):
    """Kinds of safety tags."""

    HOT_LINE = "hot-line"  # people work on the live line: never closed again once it is off
    LOCK_OUT = "lock-out"  # locked as it is: neither opened nor closed
    EARTH = "portable-earth"  # an earth that no switch tells of
    OUT_OF_SERVICE = "out-of-service"  # not to be used: neither opened nor closed
    FLISR = "flisr"  # isolates a fault section; set by FLISR, cleared by operators


_KEEPS_POSITION = frozenset({TagKind.LOCK_OUT, TagKind.OUT_OF_SERVICE})


@dataclass(frozen=True, slots=True)
class SafetyTag:
    """One tag.

    Attributes:
        address: of the equipment, connectivity node or place; a place carries it for everything below.
        user, time, reason: who set it, when (FILETIME ticks) and why.
        correlation: the fault that it belongs to; empty for none.
        clearing, clearing_at: who has given the first word for the removal of a lock-out tag, and when.
    """

    address: str
    kind: TagKind
    user: str
    time: int
    reason: str
    correlation: str = ""
    clearing: str = ""
    clearing_at: int = 0

    def __str__(self) -> str:
        return f"{self.kind} tag of {self.user or 'an unknown user'} at {self.address}: {self.reason}"

    def forbids(self, *, opening: bool) -> bool:
        """Whether a switch that carries it may not be moved so. Closing is always forbidden."""
        return not opening or self.kind in _KEEPS_POSITION


def tag_place(address: str) -> str:
    """Where a tag named by an address stands: at the equipment or place that a point belongs to, without fillers.

    So a tag that is set at `…/QA1/CSWI1/Pos` or at `…/C05/_` is found where commands look for it.
    """
    place = address.split("/")
    while len(place) > 1 and place[-1] == "_":
        del place[-1]
    with contextlib.suppress(AddressError):  # what stands in the grid model under a name of its own
        place = list(parse("/".join(place)).place)
    while len(place) > 1 and place[-1] == "_":
        del place[-1]
    return "/".join(place)


def one_line(text: str) -> str:
    """Text of people without what could forge or break a line of a log: controls and line separators are spaces."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


@dataclass(frozen=True, slots=True)
class TagAnswer:
    """What became of a request.

    Attributes:
        status: OPC UA StatusCode.
        done: the tag stands, or is gone; False with a Good status means that a second person must confirm.
    """

    status: int
    text: str
    done: bool = False


class TagStore:
    """All tags that stand. A tag is on disk and in the audit before it has effect.

    Args:
        path: of the database.
        exists: whether an address can carry a tag (some equipment, node or place).
    """

    def __init__(
        self,
        path: Path,
        *,
        policy: AccessPolicy,
        audit: AuditLog,
        events: EventJournal,
        exists: Callable[[str], bool] = lambda _address: True,
    ) -> None:
        self._database = Database(path, _SCHEMA)
        self._policy = policy
        self._audit = audit
        self._events = events
        self._exists = exists
        self._lock = asyncio.Lock()
        self._tags: dict[str, list[SafetyTag]] = {}
        self._known = False
        self.under_way: Callable[[SafetyTag], str] = lambda _tag: ""
        """Commands on their way that a new tag forbids but can no longer stop, in words; empty for none."""
        self.version = 0
        """Grows with every change."""

    @property
    def is_open(self) -> bool:
        """Whether the tags are known; before that no switch may be commanded."""
        return self._known and self._database.is_open

    async def open(self) -> None:
        """Read the tags that stand.

        Raises:
            OSError, sqlite3.Error, ValueError: they cannot be read; commands are then refused.
        """
        await self._database.open()
        read: dict[str, list[SafetyTag]] = {}
        for tag in await self._database.transaction(_read):
            read.setdefault(tag.address, []).append(tag)
        self._tags = read
        self._known = True

    async def close(self) -> None:
        """Close the file, after what is being written."""
        async with self._lock:
            self._known = False
            await self._database.close()

    def __iter__(self) -> Iterator[SafetyTag]:
        for tags in self._tags.values():
            yield from tags

    def at(self, address: str) -> tuple[SafetyTag, ...]:
        """Tags at an address and at the places above it."""
        if not self._tags:
            return ()
        segments = address.split("/")
        # A place has no trailing fillers: above `PS01/MV1/_/CN1` stands `PS01/MV1`.
        above = ("/".join(segments[:count]) for count in range(len(segments) - 1, 0, -1) if segments[count - 1] != "_")
        return tuple(tag for place in (address, *above) for tag in self._tags.get(place, ()))

    async def set(self, address: str, kind: TagKind, reason: str, caller: Caller) -> TagAnswer:
        """Set a tag; needs the right to operate there. Each person has their own, also where one stands already.

        A tag named by a point stands at the equipment of the point (`tag_place`).
        """
        given, address = address, tag_place(address)
        if not self._policy.permits(caller, Right.OPERATE, address):
            return _denied(f"{_name(caller)} may not set tags at {address}")
        if kind is TagKind.FLISR:
            return TagAnswer(StatusCode.BadInvalidArgument, "FLISR sets its own tags")
        refusal = self._check(given, address, reason)
        if refusal is not None:
            return refusal
        return await _whole(self._add(SafetyTag(address, kind, caller.user, clock.now(), reason.strip()), caller))

    async def set_by_flisr(self, address: str, reason: str, correlation: str) -> TagAnswer:
        """The persistent tag that FLISR leaves at a switch that isolates a fault."""
        tag = SafetyTag(tag_place(address), TagKind.FLISR, FLISR_USER, clock.now(), reason, correlation)
        return await _whole(self._add(tag, Caller(FLISR_USER, frozenset(), "flisr")))

    async def clear(self, address: str, kind: TagKind, reason: str, caller: Caller) -> TagAnswer:
        """Remove one's own tag, or as supervisor those of others; a lock-out tag takes two persons.

        Of the two persons at least one has set the tag or is a supervisor.
        """
        given, address = address, tag_place(address)
        if not self._policy.permits(caller, Right.OPERATE, address):
            return _denied(f"{_name(caller)} may not clear tags at {address}")
        refusal = self._check(given, address, reason)
        if refusal is not None:
            return refusal
        return await _whole(self._clear(address, kind, reason, caller))

    # ---- at work --------------------------------------------------------------------------------------------------

    async def _clear(self, address: str, kind: TagKind, reason: str, caller: Caller) -> TagAnswer:
        async with self._lock:
            standing = [tag for tag in self._tags.get(address, ()) if tag.kind is kind]
            own = [tag for tag in standing if tag.user == caller.user]
            if not standing:
                return TagAnswer(StatusCode.BadNoMatch, f"There is no {kind} tag at {address}")
            if kind is TagKind.LOCK_OUT:
                return await self._clear_lock_out(own or standing, reason, caller)
            if not own and kind is not TagKind.FLISR and not self._supervises(caller, address):
                return _denied(f"Only a supervisor removes the tag of {standing[0].user} at {address}")
            return await self._remove(own or standing, reason, caller)

    def _check(self, given: str, address: str, reason: str) -> TagAnswer | None:
        if not reason.strip() or len(reason) > MAX_REASON or not reason.strip().isprintable():
            text = f"A reason of 1 to {MAX_REASON} characters on one line is needed"
            return TagAnswer(StatusCode.BadInvalidArgument, text)
        if not self._exists(given) or not self._exists(address):
            return TagAnswer(StatusCode.BadNoMatch, f"{one_line(given)} is no equipment, node or place of the grid")
        return None

    def _supervises(self, caller: Caller, address: str) -> bool:
        return self._policy.permits(caller, Right.SUPERVISE, address)

    async def _clear_lock_out(self, tags: list[SafetyTag], reason: str, caller: Caller) -> TagAnswer:
        now, limit = clock.now(), int(CONFIRM_WITHIN_S * clock.TICKS_PER_SECOND)
        entitled = self._supervises(caller, tags[0].address) or all(tag.user == caller.user for tag in tags)
        # A clock that was set back makes no old word young again.
        waiting = [tag for tag in tags if tag.clearing and 0 <= now - tag.clearing_at <= limit]
        if waiting and all(tag.clearing != caller.user for tag in waiting):
            return await self._remove(waiting, reason, caller)
        if not entitled:
            # The first word is that of the person whose tag it is, or of a supervisor; the second may be anybody's.
            return _denied(
                f"The lock-out tag of {tags[0].user} is removed by them or a supervisor, and a second person"
            )
        asked = [replace(tag, clearing=caller.user, clearing_at=now) for tag in tags]
        await self._audit_tag("tag.clear.asked", tags[0], reason, caller)
        await self._database.transaction(lambda database: _write(database, asked))
        for old, new in zip(tags, asked, strict=True):
            self._swap(old, new)
        return TagAnswer(StatusCode.Good, "A second person must confirm the removal of this lock-out tag")

    async def _add(self, tag: SafetyTag, caller: Caller) -> TagAnswer:
        async with self._lock:
            standing = [
                each for each in self._tags.get(tag.address, ()) if (each.kind, each.user) == (tag.kind, tag.user)
            ]
            if standing and not standing[0].clearing:
                return TagAnswer(StatusCode.Good, f"The {tag.kind} tag stands already", done=True)
            await self._audit_tag("tag.set", tag, tag.reason, caller)
            await self._database.transaction(lambda database: _write(database, [tag]))
            # Whose removal had been asked for and who sets it again: the word for its removal is withdrawn.
            kept = [each for each in self._tags.get(tag.address, ()) if each not in standing]
            self._tags[tag.address] = [*kept, tag]
            self._tell(f"Set: {tag}", tag, caller)
            late = self.under_way(tag)
            more = f"; it could not stop what is under way: {late}" if late else ""
            return TagAnswer(StatusCode.Good, f"Set: {tag}{more}", done=True)

    async def _remove(self, tags: list[SafetyTag], reason: str, caller: Caller) -> TagAnswer:
        for tag in tags:
            await self._audit_tag("tag.clear", tag, reason, caller)
        await self._database.transaction(lambda database: _delete(database, tags))
        for tag in tags:
            self._swap(tag, None)
            self._tell(f"Removed ({reason.strip()}): {tag}", tag, caller)
        return TagAnswer(StatusCode.Good, f"Removed: {tags[0].kind} tag at {tags[0].address}", done=True)

    def _swap(self, old: SafetyTag, new: SafetyTag | None) -> None:
        kept = [each for each in self._tags[old.address] if each != old]
        self._tags[old.address] = kept if new is None else [*kept, new]
        if not self._tags[old.address]:
            del self._tags[old.address]
        self.version += 1

    def _tell(self, text: str, tag: SafetyTag, caller: Caller) -> None:
        self.version += 1
        self._events.append(Event("S09", text, 300, tag.address, actor=caller.user, correlation=tag.correlation))

    async def _audit_tag(self, kind: str, tag: SafetyTag, reason: str, caller: Caller) -> None:
        details = {"kind": str(tag.kind), "owner": tag.user, "roles": sorted(caller.roles)}
        record = AuditRecord(
            clock.now(), kind, caller.user, caller.client, tag.address, text=reason.strip(), details=details
        )
        await self._audit.append(record)


async def _whole(work: Coroutine[Any, Any, TagAnswer]) -> TagAnswer:
    """Work to its end, also when who asked goes away: what is on disk and what has effect must be the same."""
    return await asyncio.shield(asyncio.ensure_future(work))


def _denied(text: str) -> TagAnswer:
    return TagAnswer(StatusCode.BadUserAccessDenied, text)


def _name(caller: Caller) -> str:
    return f"User {caller.user!r}" if caller.user else "An anonymous user"


def _read(database: sqlite3.Connection) -> list[SafetyTag]:
    rows = database.execute("SELECT address, kind, user, time, reason, correlation, clearing, clearing_at FROM tag")
    return [SafetyTag(row[0], TagKind(row[1]), *row[2:]) for row in rows.fetchall()]


def _write(database: sqlite3.Connection, tags: list[SafetyTag]) -> None:
    rows = [
        (tag.address, str(tag.kind), tag.user, tag.time, tag.reason, tag.correlation, tag.clearing, tag.clearing_at)
        for tag in tags
    ]
    database.executemany("INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _delete(database: sqlite3.Connection, tags: list[SafetyTag]) -> None:
    keys = [(tag.address, str(tag.kind), tag.user) for tag in tags]
    database.executemany("DELETE FROM tag WHERE address = ? AND kind = ? AND user = ?", keys)
