"""The link supervisor: up and down, back-off, flapping, log once, commands only on a living link."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from peers.waiting import patient, until

from address_space.address import parse
from address_space.catalogue import ValueType, classify
from address_space.events import EventJournal
from address_space.point import Batch, Point, PointProfile
from address_space.ports import Outcome, Verb
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, DiscoveredPoint, Link, PointChange
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.spread import Spread

POS = "dso1/north/PS01/MV1/F05/QA1/XCBR1/Pos"


class Scripted:
    """A driver whose runs are given one after the other; the last one is repeated."""

    def __init__(self, *runs: Callable[[Link], Awaitable[None]]) -> None:
        self.runs = list(runs)
        self.started: list[float] = []

    async def run(self, link: Link) -> None:
        self.started.append(asyncio.get_running_loop().time())
        run = self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        await run(link)

    async def execute(self, command: DeviceCommand) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(0, command_id=command.command_id)

    async def update(self, change: PointChange) -> None: ...

    async def discover(self) -> Sequence[DiscoveredPoint]:
        return []


async def refused(_link: Link) -> None:
    raise ConnectionRefusedError("connection refused")


async def good(link: Link) -> None:
    link.up()
    link.publish(Batch.of([0], [2]))
    await asyncio.sleep(0.05)
    raise ConnectionResetError("reset by peer")


async def steady(link: Link) -> None:
    link.up()
    link.publish(Batch.of([0], [2]))
    await asyncio.sleep(100)


async def faulty(_link: Link) -> None:
    raise RuntimeError("a bug")


def build(tmp_path: Path, driver: Scripted, backoff: Backoff) -> tuple[LinkSupervisor, PointTable, EventJournal]:
    table, events = PointTable(), EventJournal()
    table.add([Point(POS, PointProfile.of(classify(parse(POS))), "rtu1")])
    link = LinkSupervisor(
        "rtu1",
        driver,
        table=table,
        events=events,
        address="dso1/_sys/gw1/_/_/rtu1",
        data_directory=tmp_path / "d",
        backoff=backoff,
    )
    return link, table, events


async def run_for(link: LinkSupervisor, seconds: float) -> None:
    task = asyncio.create_task(link.run())
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_link_that_is_ended_while_its_driver_fails_has_ended(tmp_path: Path) -> None:
    fails = asyncio.Event()

    async def failing() -> None:
        fails.set()
        raise ConnectionResetError("nobody is there")

    async def grouped(_link: Link) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
                await asyncio.sleep(100)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    link, _, _ = build(tmp_path, Scripted(grouped), Backoff(100.0, 100.0, 100.0))
    task = asyncio.create_task(link.run())
    await fails.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2.0)
    task.cancel()
    assert done
    assert task.cancelled()
    assert link.state is LinkState.STOPPED


async def test_a_driver_whose_tasks_fail_while_it_waits_for_them_is_tried_again(tmp_path: Path) -> None:
    runs = asyncio.Semaphore(0)

    async def failing() -> None:
        runs.release()
        await asyncio.sleep(0)
        raise ConnectionResetError("nobody is there")

    async def grouped(_link: Link) -> None:
        try:
            async with asyncio.TaskGroup() as group:  # on 3.11 it leaves its task's count of cancellations raised
                group.create_task(failing())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    link, _, _ = build(tmp_path, Scripted(grouped, grouped, grouped), Backoff(0.01, 0.01))
    task = asyncio.create_task(link.run())
    async with patient(2):
        for _ in range(3):
            await runs.acquire()
    assert not task.done()
    task.cancel()
    await asyncio.wait({task}, timeout=2.0)
    assert task.cancelled()


async def test_a_lost_link_marks_its_points_and_comes_back_by_itself(tmp_path: Path) -> None:
    driver = Scripted(good, steady)
    link, table, events = build(tmp_path, driver, Backoff(0.05, 0.1))
    cursor = events.cursor("test")
    task = asyncio.create_task(link.run())
    await asyncio.sleep(0.02)
    assert link.state is LinkState.UP
    assert table.sample(0).status == StatusCode.Good
    await asyncio.sleep(0.06)
    assert table.sample(0).status == StatusCode.UncertainNoCommunicationLastUsableValue
    assert link.reason == "reset by peer"
    await asyncio.sleep(0.1)
    assert link.state is LinkState.UP
    assert table.sample(0).status == StatusCode.Good
    assert [event.state for event in cursor.take()] == ["active", "inactive"]
    assert link.counters["losses"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert table.sample(0).status == StatusCode.UncertainNoCommunicationLastUsableValue


async def test_an_unreachable_device_is_reported_once_and_tried_ever_more_slowly(tmp_path: Path) -> None:
    driver = Scripted(refused)
    link, _table, events = build(tmp_path, driver, Backoff(0.02, 0.2))
    cursor = events.cursor("test")
    await run_for(link, 0.6)
    gaps = [b - a for a, b in zip(driver.started, driver.started[1:], strict=False)]
    assert 4 <= len(driver.started) <= 9
    assert gaps[-1] > 2 * gaps[0]
    assert [event.code for event in cursor.take()] == ["D01"]
    assert len(driver.started) - 1 <= link.counters["attempts_failed"] <= len(driver.started)
    assert not link.counters["losses"], "what was never up cannot be lost"


async def test_a_fault_of_the_driver_is_counted_and_does_not_end_the_supervision(tmp_path: Path) -> None:
    driver = Scripted(faulty, steady)
    link, _table, _events = build(tmp_path, driver, Backoff(0.01, 0.01))
    task = asyncio.create_task(link.run())
    await asyncio.sleep(0.1)
    assert link.state is LinkState.UP
    assert link.counters["driver_faults"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_flapping_is_told_once(tmp_path: Path) -> None:
    driver = Scripted(good)
    link, _table, events = build(tmp_path, driver, Backoff(0.005, 0.005))
    cursor = events.cursor("test")
    await run_for(link, 0.9)
    assert link.flapping
    texts = [event.text for event in cursor.take()]
    assert sum("flapping" in text for text in texts) == 1
    assert len(texts) < 2 * link.counters["losses"]


async def test_a_link_that_flapped_and_stays_up_is_told_to_be_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_gateway.drivers.link.FLAP_WINDOW_S", 1.0)
    driver = Scripted(*[good] * 7, steady)
    link, _table, events = build(tmp_path, driver, Backoff(0.001, 0.01, steady=0.0))
    cursor = events.cursor("test")
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.flapping, 5)
        await until(lambda: not link.flapping, 5)
        assert link.state is LinkState.UP
        assert [event.state for event in cursor.take()][-1] == "inactive"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_fault_that_comes_with_every_attempt_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link, _table, _events = build(tmp_path, Scripted(faulty), Backoff(0.005, 0.005))
    await run_for(link, 0.3)
    assert link.counters["driver_faults"] > 2
    assert sum("the driver failed" in record.message for record in caplog.records) == 1


async def test_a_flapping_link_waits_longest_before_each_attempt(tmp_path: Path) -> None:
    driver = Scripted(good)
    link, _table, _events = build(tmp_path, driver, Backoff(0.001, 0.4, steady=0.0))
    await run_for(link, 1.4)
    assert link.flapping
    gaps = [b - a for a, b in zip(driver.started, driver.started[1:], strict=False)]
    assert gaps[0] < 0.3
    assert gaps[-1] > 0.75 * 0.4


async def test_attempts_of_many_links_have_their_turns_in_order_and_not_all_at_once() -> None:
    spread, loop, turns = Spread(500), asyncio.get_running_loop(), list[tuple[float, int]]()

    async def attempt(number: int) -> None:
        await spread.turn()
        turns.append((loop.time(), number))

    began = loop.time()
    await asyncio.gather(*(attempt(number) for number in range(250)))
    assert [number for _, number in turns] == list(range(250))
    assert turns[-1][0] - began > (250 - 0.1 * 500 - 2) / 500
    await asyncio.sleep(0.2)
    rested = loop.time()
    await attempt(250)
    assert loop.time() - rested < 0.1, "who comes alone does not wait"


async def test_no_command_is_queued_for_a_dead_link(tmp_path: Path) -> None:
    link, _table, _events = build(tmp_path, Scripted(refused), Backoff(0.01, 0.01))
    point = BoundPoint(0, POS, "DPC", ValueType.INT32, {}, {})
    outcome = await link.execute(DeviceCommand(Verb.OPERATE, point, 2, "c1"))
    assert (outcome.status, outcome.sent) == (StatusCode.BadNoCommunication, False)


async def test_a_driver_that_never_answers_a_command_becomes_an_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Scripted):
        async def execute(self, command: DeviceCommand) -> Outcome:
            await asyncio.sleep(100)
            raise AssertionError

    monkeypatch.setattr("twin_gateway.drivers.link.LAST_RESORT_S", 0.02)
    link, _table, _events = build(tmp_path, Silent(steady), Backoff(0.01, 0.01))
    task = asyncio.create_task(link.run())
    await asyncio.sleep(0.02)
    point = BoundPoint(0, POS, "DPC", ValueType.INT32, {}, {})
    outcome = await link.execute(DeviceCommand(Verb.OPERATE, point, 2, "c1", timeout=0.05))
    assert (outcome.status, outcome.sent) == (StatusCode.BadTimeout, True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
