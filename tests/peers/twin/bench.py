"""A bench for twin functions: real table, journal, alarms and results; links that do what the test says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from address_space import clock
from address_space.address import parse
from address_space.catalogue import ValueType, classify
from address_space.events import Event, EventJournal
from address_space.point import Batch, Point, PointProfile, TextSample
from address_space.ports import AuditRecord, Caller, Outcome, Right
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.contract import LinkService
from twin_gateway.drivers.link import LinkState
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.results import ResultPoints
from twin_gateway.functions.worker import Worker
from twin_gateway.grid.model import Grid

ENGINEER = Caller("eve", frozenset({"Engineer"}), "bench")


class Audit:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    async def append(self, record: AuditRecord) -> None:
        self.records.append(record)


class Policy:
    """Permits everything but what is in `denied`."""

    def __init__(self) -> None:
        self.denied: set[Right] = set()

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        return right not in self.denied

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        return None

    def anonymous(self, client: str) -> Caller | None:
        return None


class Link:
    """A link that is what the test says."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.state = LinkState.UP
        self.counters: Counter[str] = Counter(connects=1)
        self.reason, self.flapping, self.announces, self.last_change = "", False, True, 0
        self.driver: object = None
        self.way = ""
        self.served: list[LinkService] = []

    async def serve(self, service: LinkService) -> Outcome:
        self.served.append(service)
        return Outcome(StatusCode.Good, text="confirmed", sent=True)


class Bench:
    """Everything that a twin function needs, on a clock of its own.

    Args:
        points: address -> link name.
    """

    def __init__(self, folder: Path, points: Mapping[str, str], grid: Grid | None = None) -> None:
        self.time = 1_000.0
        self.wall = 1_790_000_000.0
        self.table, self.events = PointTable(), EventJournal()
        self.table.add(
            Point(address, PointProfile.of(classify(parse(address))), link, number)
            for number, (address, link) in enumerate(points.items())
        )
        self.links = {name: Link(name, f"dso1/_sys/gw1/_/_/{name}") for name in dict.fromkeys(points.values()) if name}
        self.alarms = Alarms(self.events, monotonic=lambda: self.time)
        self.audit, self.policy = Audit(), Policy()
        self.context = TwinContext(
            self.table,
            self.events,
            self.alarms,
            ResultPoints(self.table),
            Worker(),
            grid or Grid(),
            "dso1/north",
            desk=_NoDesk(),  # type: ignore[arg-type]  # nothing is commanded here
            policy=self.policy,
            audit=self.audit,
            data_directory=folder,
        )
        self._events = self.events.cursor("test")
        self.journal = self.table.journal.cursor("test")

    def write(self, values: Mapping[str, Any], quality: int = 0, source_time: float | None = None) -> None:
        """Deliver values; `source_time` s since 1970, the present of the bench unless given."""
        ticks = clock.from_unix(self.wall if source_time is None else source_time)
        rows, numbers, texts = [], [], []
        for address, value in values.items():
            row = self.table.find(address)
            assert row >= 0, address
            if self.table.value_type[row] == ValueType.STRING:
                texts.append(TextSample(row, str(value), quality, ticks))
            else:
                rows.append(row)
                numbers.append(float(value))
        batch = Batch.of(rows, numbers, quality, ticks, texts=texts)
        self.table.ingest(batch, now=clock.from_unix(self.wall))

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.time += seconds
        self.wall += seconds

    def told(self) -> list[Event]:
        """Events since the last call."""
        return self._events.take()

    def value(self, address: str) -> Any:
        """Value of a point; None when it is not usable."""
        row = self.table.find(address)
        assert row >= 0, address
        return self.table.value(row) if self.table.status[row] & 0xC000_0000 == 0 else None

    def codes(self) -> set[tuple[str, str]]:
        """(code, address) of the active alarms."""
        return {(alarm.code, alarm.address) for alarm in self.alarms.active()}


class _NoDesk:
    def controllable(self, address: str) -> bool:
        return False

    def last_sent(self, address: str) -> None:
        return None


def points(link: str, addresses: Iterable[str]) -> dict[str, str]:
    """Addresses of one link."""
    return dict.fromkeys(addresses, link)
