"""Services of a link: refused while it is down, not supported where the driver has none; who tells of its losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from address_space.events import EventJournal
from address_space.ports import Outcome
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.contract import (
    DeviceCommand,
    DeviceFile,
    DeviceLine,
    DeviceTable,
    DiscoveredPoint,
    Link,
    LinkService,
    PointChange,
)
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor


class Plain:
    """A driver without services, up for as long as it is let."""

    def __init__(self) -> None:
        self.lose = asyncio.Event()

    async def run(self, link: Link) -> None:
        link.up()
        await self.lose.wait()
        raise ConnectionResetError("reset by peer")

    async def execute(self, command: DeviceCommand) -> Outcome:
        return Outcome(0, command_id=command.command_id)

    async def update(self, change: PointChange) -> None: ...

    async def discover(self) -> Sequence[DiscoveredPoint]:
        return []


class Serving(Plain):
    """The same with services."""

    patience = 0.0

    async def serve(self, service: LinkService) -> Outcome:
        await asyncio.sleep(self.patience)
        return Outcome(StatusCode.Good, text=str(service), sent=True)


@asynccontextmanager
async def running(
    folder: Path, driver: Plain, *, announces: bool = True
) -> AsyncIterator[tuple[LinkSupervisor, EventJournal]]:
    events = EventJournal()
    link = LinkSupervisor(
        "rtu",
        driver,
        table=PointTable(),
        events=events,
        address="dso1/_sys/gw1/_/_/rtu",
        data_directory=folder,
        backoff=Backoff(60.0, 60.0),
    )
    link.announces = announces
    task = asyncio.create_task(link.run())
    while link.state is not LinkState.UP:
        await asyncio.sleep(0.001)
    yield link, events
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_service_is_passed_to_the_driver(tmp_path: Path) -> None:
    async with running(tmp_path, Serving()) as (link, _):
        outcome = await link.serve(LinkService.INTERROGATE)
        assert (outcome.status, outcome.text) == (StatusCode.Good, "interrogate")


async def test_a_driver_without_services_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, Plain()) as (link, _):
        assert (await link.serve(LinkService.SYNCHRONISE)).status == StatusCode.BadNotSupported


async def test_a_link_that_is_down_serves_nothing(tmp_path: Path) -> None:
    driver = Serving()
    async with running(tmp_path, driver) as (link, _):
        driver.lose.set()
        await asyncio.sleep(0.01)
        outcome = await link.serve(LinkService.INTERROGATE)
        assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)


async def test_a_service_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin_gateway.drivers.link.SERVICE_S", 0.01)
    driver = Serving()
    driver.patience = 10.0
    async with running(tmp_path, driver) as (link, _):
        assert (await link.serve(LinkService.INTERROGATE)).status == StatusCode.BadTimeout


@pytest.mark.parametrize(("announces", "count"), [(True, 1), (False, 0)])
async def test_a_loss_is_told_by_the_link_or_by_the_supervision(tmp_path: Path, announces: bool, count: int) -> None:
    driver = Plain()
    async with running(tmp_path, driver, announces=announces) as (_, events):
        cursor = events.cursor("test")
        driver.lose.set()
        await asyncio.sleep(0.01)
        assert len(cursor.take()) == count


class Filing(Plain):
    """A driver whose device has files and lists; a file takes `patience` seconds."""

    patience = 0.0

    async def list_files(self, path: str) -> tuple[Outcome, Sequence[DeviceFile]]:
        return Outcome(StatusCode.Good), [DeviceFile(f"{path}/rec1.dat")]

    async def fetch_file(self, name: str) -> Outcome:
        await asyncio.sleep(self.patience)
        return Outcome(StatusCode.Good, text=f"/data/{name}")

    async def read_table(self, table: DeviceTable, about: str) -> tuple[Outcome, Sequence[DeviceLine]]:
        return Outcome(StatusCode.Good), [DeviceLine(about, str(table))]


async def test_files_and_lists_are_passed_on_and_a_fetched_file_is_an_event(tmp_path: Path) -> None:
    async with running(tmp_path, Filing()) as (link, events):
        cursor = events.cursor("test")
        assert (await link.list_files("A"))[1] == [DeviceFile("A/rec1.dat")]
        assert (await link.read_table(DeviceTable.LOG, "x"))[1] == [DeviceLine("x", "log")]
        assert (await link.fetch_file("rec1.dat")).text == "/data/rec1.dat"
        assert [(event.code, event.text) for event in cursor.take()] == [
            ("file", "File rec1.dat was fetched: /data/rec1.dat")
        ]


async def test_person_is_not_kept_waiting_for_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin_gateway.drivers.link_services.ANSWER_S", 0.01)
    driver = Filing()
    driver.patience = 0.1
    async with running(tmp_path, driver) as (link, events):
        cursor = events.cursor("test")
        outcome = await link.fetch_file("rec1.dat")
        assert (outcome.status, outcome.text) == (
            StatusCode.Good,
            "rec1.dat is being fetched; events tell how far it is",
        )
        assert not cursor.take()
        await asyncio.sleep(0.2)
        assert [event.text for event in cursor.take()] == ["File rec1.dat was fetched: /data/rec1.dat"]


async def test_file_or_list_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin_gateway.drivers.link_services.FETCHING_S", 0.01)
    driver = Filing()
    driver.patience = 10.0
    async with running(tmp_path, driver) as (link, _):
        assert (await link.fetch_file("rec1.dat")).status == StatusCode.BadTimeout


async def test_file_whose_driver_fails_ends_with_an_event_all_the_same(tmp_path: Path) -> None:
    class Torn(Filing):
        async def fetch_file(self, name: str) -> Outcome:
            raise ConnectionResetError("reset by peer")

    async with running(tmp_path, Torn()) as (link, events):
        cursor = events.cursor("test")
        assert (await link.fetch_file("rec1.dat")).status == StatusCode.BadInternalError
        (event,) = cursor.take()
        assert event.text == "File rec1.dat: it could not be fetched: ConnectionResetError: reset by peer"


async def test_files_and_lists_are_refused_where_there_are_none_and_while_the_link_is_down(tmp_path: Path) -> None:
    async with running(tmp_path, Plain()) as (link, _):
        assert (await link.list_files(""))[0].status == StatusCode.BadNotSupported
        assert (await link.fetch_file("x")).status == StatusCode.BadNotSupported
        assert (await link.read_table(DeviceTable.LOGS, ""))[0].status == StatusCode.BadNotSupported
    driver = Filing()
    async with running(tmp_path, driver) as (link, _):
        driver.lose.set()
        while link.state is LinkState.UP:
            await asyncio.sleep(0.001)
        assert (await link.list_files(""))[0].status == StatusCode.BadNoCommunication
        assert (await link.fetch_file("x")).status == StatusCode.BadNoCommunication
        assert (await link.read_table(DeviceTable.LOGS, ""))[0].status == StatusCode.BadNoCommunication


async def test_reason_of_a_link_that_tls_has_ended_is_one_sentence(tmp_path: Path) -> None:
    driver = Plain()

    async def refused(link: Link) -> None:
        link.up()
        await driver.lose.wait()
        text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate revoked (_ssl.c:1006)"
        raise ConnectionError(text)

    driver.run = refused  # type: ignore[method-assign]
    async with running(tmp_path, driver) as (link, _):
        driver.lose.set()
        while link.state is LinkState.UP:
            await asyncio.sleep(0.001)
        assert link.reason == "TLS: the device's certificate is refused: certificate revoked"
