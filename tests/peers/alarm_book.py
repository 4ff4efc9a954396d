"""A book of conditions with people who may do what the test says, in this process or in one to be killed.

As a program: `python -m peers.alarm_book FILE` raises, acknowledges and shelves, says what it has done on its output
and goes on raising until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from address_space import clock
from address_space.conditions import Condition
from address_space.events import Event, EventJournal
from address_space.ports import AuditRecord, Caller, ConditionVerb
from twin_gateway.alarms.machine import Finding
from twin_gateway.alarms.store import ConditionBook
from twin_gateway.security.policy import UserPolicy
from twin_gateway.security.users import User

_PASSWORD = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
_ROLES = {"olga": "Operator", "sven": "Supervisor", "eve": "Engineer", "otto": "Observer"}
OLGA, SVEN, EVE, OTTO = (Caller(name, frozenset({role}), "10.1.1.1:5000") for name, role in _ROLES.items())
PLACE = "dso1/north/PS01/MV1/F01/QA1"
LOW = Finding("Gas is low", 650, value=129e3)


class Audit:
    """Keeps what it is told, and fails when the test says so."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.fails = False

    async def append(self, record: AuditRecord) -> None:
        if self.fails:
            raise OSError("no room")
        self.records.append(record)

    def kinds(self) -> list[str]:
        """Kinds of the records, in order."""
        return [record.kind for record in self.records]


@cache
def people() -> UserPolicy:
    """The real policy over the four of them; it costs a hash of a password to make."""
    return UserPolicy({name: User(password=_PASSWORD, roles=(role,)) for name, role in _ROLES.items()})


class Desk:
    """A book, its events and its audit, on a clock that the test turns."""

    def __init__(
        self, path: Path | None = None, *, most: int = 1000, judged: Callable[[str], bool] = lambda _address: True
    ) -> None:
        self.time = 1_000.0
        self.start = clock.from_unix(1_790_000_000)
        self.events = EventJournal()
        self._cursor = self.events.cursor("test")
        self.audit = Audit()
        self.book = ConditionBook(
            self.events,
            path,
            policy=people(),
            audit=self.audit,
            judged=judged,
            now=lambda: self.start + round((self.time - 1_000.0) * clock.TICKS_PER_SECOND),
            monotonic=lambda: self.time,
            most=most,
        )

    def up(self, address: str = PLACE, code: str = "C04", finding: Finding = LOW) -> Condition:
        """Raise one."""
        self.book.raise_(address, code, finding)
        return self.condition(address, code)

    def condition(self, address: str = PLACE, code: str = "C04") -> Condition:
        """One that is in the book."""
        condition = self.book.get(f"{address}${code}")
        assert condition is not None
        return condition

    async def act(self, verb: ConditionVerb, caller: Caller = OLGA, **more: object) -> int:
        """Do something to the one at `PLACE`; by its newest EventId unless given."""
        arguments = {"event_id": self.condition().event_id} | more
        return await self.book.act(f"{PLACE}$C04", verb, caller, **arguments)  # type: ignore[arg-type]  # as of act

    def told(self) -> list[Event]:
        """Events since the last call."""
        return self._cursor.take()

    def states(self) -> list[str]:
        """Their states."""
        return [event.state for event in self.told()]


async def _until_killed(path: Path) -> None:
    desk = Desk(path)
    await desk.book.open()
    writing = asyncio.create_task(desk.book.run())
    desk.up()
    desk.up(code="C01")
    print("acknowledged", await desk.act(ConditionVerb.ACKNOWLEDGE, comment="on my way"), flush=True)
    print("shelved", await desk.act(ConditionVerb.SHELVE, SVEN, duration=600.0), flush=True)
    for number in range(1_000_000):
        desk.up(f"dso1/north/PS02/MV1/F{number}/QA1", finding=Finding("Gas is low", 650, value=time.time()))
        await asyncio.sleep(0.002)
        if number == 300:
            print("many", flush=True)
    await writing


if __name__ == "__main__":
    asyncio.run(_until_killed(Path(sys.argv[1])))
