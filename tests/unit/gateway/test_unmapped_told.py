"""What is told of things that no point takes: once when it begins, and whether the device was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from peers.waiting import until

from address_space.events import EventJournal
from address_space.ports import Outcome
from address_space.table import PointTable
from twin_gateway import unmapped
from twin_gateway.coap_directory import make_directory
from twin_gateway.drivers.coap.directory import DIRECTORY
from twin_gateway.drivers.coap.directory_settings import DirectorySettings
from twin_gateway.drivers.contract import DeviceCommand, DiscoveredPoint, Link, LinkLost, PointChange, Stray
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.strays import StrayBook
from twin_gateway.link_reports import LinkReports
from twin_gateway.unmapped import UnmappedNotice


class Listing:
    """A driver with a list, which has to ask its device for it."""

    def __init__(self, *, down: str = "") -> None:
        self.strays = StrayBook()
        self.down = down
        self.unanswered = ""

    async def run(self, link: Link) -> None:
        if self.down:
            raise LinkLost(self.down)
        link.up()
        await asyncio.sleep(100)

    async def execute(self, command: DeviceCommand) -> Outcome:
        return Outcome(0, command_id=command.command_id)

    async def update(self, change: PointChange) -> None: ...

    async def discover(self) -> Sequence[DiscoveredPoint]:
        return []

    @property
    def unmapped_count(self) -> int:
        return len(self.strays)

    @property
    def unmapped_dropped(self) -> int:
        return self.strays.dropped

    def unmapped(self) -> Sequence[Stray]:
        return self.strays.list()

    async def read_unmapped(self) -> None:
        if self.unanswered:
            raise LinkLost(self.unanswered)
        self.strays.note("/t", "unmapped resource", {"path": "/t"})


@asynccontextmanager
async def running(folder: Path, driver: Listing) -> AsyncIterator[LinkSupervisor]:
    link = LinkSupervisor(
        "sensor",
        driver,
        table=PointTable(),
        events=EventJournal(),
        address="dso1/_sys/gw1/_/_/sensor",
        data_directory=folder,
        backoff=Backoff(100.0, 100.0),
    )
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.state is LinkState.UP or link.counters["attempts_failed"])
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked(link: LinkSupervisor, name: str | None = "sensor") -> list[dict[str, object]]:
    handler = LinkReports([link], lambda: {"sensor": "coap"}).handlers["unmapped"]
    found: list[dict[str, object]] = await handler({"link": name})
    return found


async def test_a_link_that_is_named_is_asked_and_one_that_cannot_be_says_why(tmp_path: Path) -> None:
    driver = Listing()
    async with running(tmp_path, driver) as link:
        assert await asked(link, None) == []
        (told,) = await asked(link)
        assert [stray["fields"] for stray in told["strays"]] == [{"path": "/t"}]  # type: ignore[attr-defined]  # JSON
        assert told["not_asked"] == ""
        driver.unanswered = "no answer in time"
        (told,) = await asked(link)
        assert told["not_asked"] == "no answer in time"


async def test_a_link_that_is_down_has_not_been_asked(tmp_path: Path) -> None:
    async with running(tmp_path, Listing(down="nobody listens")) as link:
        (told,) = await asked(link)
        assert told["strays"] == []
        assert told["not_asked"] == "the link is down: nobody listens"


def test_a_list_that_fills_again_within_the_hour_is_told_when_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, now = Listing(), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    link = LinkSupervisor(
        "sensor", driver, table=PointTable(), events=EventJournal(), address="a", data_directory=tmp_path
    )
    told: list[str] = []
    monkeypatch.setattr(link, "event", lambda code, text, **_: told.append(text))
    notice = UnmappedNotice(link)
    driver.strays.note(1, "unmapped resource", {"path": "/a"})
    assert [notice.count(), notice.count()] == [1, 1]
    driver.strays.forget(lambda key: True)
    assert notice.count() == 0
    driver.strays.note(2, "unmapped resource", {"path": "/b"})
    now[0] += unmapped.AGAIN_S / 2
    assert notice.count() == 1
    assert len(told) == 1
    now[0] += unmapped.AGAIN_S / 2
    assert notice.count() == 1
    assert len(told) == 2
    assert "path /b" in told[1]


def test_what_a_device_offers_beyond_the_list_takes_no_room_from_what_came() -> None:
    book = StrayBook(3)
    book.note("came", "unknown meter", {"host": "10.0.0.1"})
    for name in "abcd":
        book.note(name, "unmapped object", {"obis": name}, counts=False)
    assert ["came" in book, "a" in book, "b" in book, "c" in book, book.dropped] == [True, True, True, False, 2]
    book.note("later", "unknown meter", {"host": "10.0.0.2"})
    assert ("later" in book, len(book)) == (True, 3)


def test_links_of_an_endpoint_are_told_by_their_targets_and_steer_no_terminal() -> None:
    events = EventJournal()
    cursor = events.cursor("endpoints")
    made = make_directory(DirectorySettings(), events, "g/_sys/gw/_/_")
    links = b'</x\x1b[2J>;target="/y"'
    DIRECTORY.register({"ep": "told-by-links"}, links, ("10.0.0.1", 5683))
    try:
        (stray,) = [each for each in made.unmapped() if each.fields["endpoint"] == "told-by-links"]
        assert [link["target"] for link in stray.fields["links"]] == ["/x\x1b[2J"]
        (event,) = cursor.take()
        assert event.text.endswith("it offers /x?[2J")
    finally:
        DIRECTORY.told = None
        DIRECTORY.remove(next(each.location for each in DIRECTORY if each.name == "told-by-links"), ("10.0.0.1", 5683))
