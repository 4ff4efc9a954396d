"""The driver contract: one suite, every driver."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from peers.driver_bed import Bed, Recorder
from peers.waiting import patient, until

from address_space.address import parse
from address_space.catalogue import classify
from address_space.ports import Verb
from address_space.quality import Quality, StatusCode
from twin_gateway.drivers.contract import BoundPoint, DeviceCommand, DeviceConfig, Driver, FieldSpec, PointChange
from twin_gateway.drivers.registry import protocol, protocol_names


@contextlib.asynccontextmanager
async def running(driver: Driver, link: Recorder) -> Any:
    """A driver that runs; cancelled at the end, and clean then."""
    task = asyncio.create_task(driver.run(link))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task


def row_of(bed: Bed, name: str) -> int:
    return next(row for row, point in enumerate(bed.device().points) if point.address.endswith(name))


async def test_it_is_up_and_publishes_what_the_device_says_with_its_quality(bed: Bed) -> None:
    await bed.start()
    link = bed.recorder()
    async with running(bed.driver(), link):
        hertz, power = row_of(bed, "MMXU1/Hz"), row_of(bed, "MMXU1/TotW")
        await until(lambda: hertz in link.last and power in link.last and abs(link.last[hertz][0] - 50) < 0.5)
        assert link.ups >= 1
        _value, quality, _time = link.last[hertz]
        assert not quality & (Quality.INVALID | Quality.NOT_INITIALISED | Quality.COMM_LOST)


async def test_it_is_never_up_for_a_peer_that_accepts_and_says_nothing(bed: Bed) -> None:
    kind = socket.SOCK_DGRAM if bed.case.datagrams else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if not bed.case.datagrams:
            silent.listen()
        link = bed.recorder()
        async with running(bed.driver(port=silent.getsockname()[1]), link) as task:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), bed.case.silence)
            assert link.ups == 0
            assert not link.last or all(quality & 3 == Quality.INVALID for _v, quality, _t in link.last.values())
            assert task.done() or bed.case.datagrams


async def test_a_refused_connection_ends_the_run_with_an_os_error(bed: Bed) -> None:
    if bed.case.datagrams:
        pytest.skip("datagrams have no connection that could be refused")
    with pytest.raises(OSError, match=r"\w"):
        await asyncio.wait_for(bed.driver().run(bed.recorder()), 40)


async def test_the_run_ends_when_the_device_is_killed_and_works_again_afterwards(bed: Bed) -> None:
    await bed.start()
    link, driver = bed.recorder(), bed.driver()
    hertz = row_of(bed, "MMXU1/Hz")
    async with running(driver, link) as task:
        await until(lambda: hertz in link.last)
        await bed.kill()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(asyncio.shield(task), bed.case.silence + 40)
        assert task.done()
    await bed.start()
    again = bed.recorder()
    async with running(driver, again):
        await until(lambda: hertz in again.last and again.ups)


async def test_a_device_that_goes_silent_is_noticed(bed: Bed) -> None:
    await bed.start()
    link = bed.recorder()
    async with running(bed.driver(), link) as task:
        await until(lambda: row_of(bed, "MMXU1/Hz") in link.last)
        bed.freeze()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(asyncio.shield(task), bed.case.silence + 40)
        assert task.done()


async def test_cancelling_leaves_no_task_and_no_socket_behind(bed: Bed) -> None:
    await bed.start()
    before = asyncio.all_tasks()
    link = bed.recorder()
    async with running(bed.driver(), link):
        await until(lambda: link.ups)
    await asyncio.sleep(0.2)
    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.01, 0.05])
async def test_it_can_be_cancelled_at_any_moment(bed: Bed, moment: float) -> None:
    await bed.start()
    driver = bed.driver()
    task = asyncio.create_task(driver.run(bed.recorder()))
    await asyncio.sleep(moment)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 40)
    link = bed.recorder()
    async with running(driver, link):
        await until(lambda: link.ups)


async def test_garbage_from_the_peer_ends_the_run_as_a_lost_link_never_as_a_fault(bed: Bed) -> None:
    if bed.case.datagrams:
        pytest.skip("a damaged datagram is dropped and counted; the protocol's own tests show it")

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (1, 3, 64, 3000):
            writer.write(bytes((number * 37 + size) % 256 for number in range(size)))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        link = bed.recorder()
        try:
            await asyncio.wait_for(bed.driver(port=server.sockets[0].getsockname()[1]).run(link), 60)
        except OSError as error:
            assert str(error)
        assert link.ups == 0


async def test_points_are_added_and_removed_without_a_new_connection(bed: Bed) -> None:
    await bed.start()
    hertz, power = row_of(bed, "MMXU1/Hz"), row_of(bed, "MMXU1/TotW")
    points = bed.bound(bed.device())
    later = next(point for point in points if point.row == hertz)
    driver = bed.driver(lambda all_points: [point for point in all_points if point.row != hertz])
    link = bed.recorder()
    async with running(driver, link):
        await until(lambda: power in link.last)
        assert hertz not in link.last
        await driver.update(PointChange(added=[later]))
        await until(lambda: hertz in link.last)
        await driver.update(PointChange(removed=[later]))
        assert link.ups >= 1


async def test_without_an_association_commands_are_refused_and_nothing_is_offered(bed: Bed) -> None:
    driver = bed.driver()
    point = replace(bed.bound(bed.device())[0], control={"model": "direct-normal", "ioa": 4010, "type": "C_DC_NA_1"})
    async with patient(5):
        outcome = await driver.execute(DeviceCommand(Verb.OPERATE, point, 2, "c1", timeout=1))
    assert outcome.status & 0x8000_0000
    assert not outcome.sent
    with pytest.raises(ConnectionError):
        await driver.discover()


def commanded(bed: Bed) -> BoundPoint:
    points = [point for point in bed.bound(bed.device()) if point.control is not None]
    if not points:
        pytest.skip(f"the {bed.case.protocol} device of this suite has nothing to command")
    return points[0]


async def test_a_command_is_good_when_the_device_confirmed_and_the_position_follows(bed: Bed) -> None:
    point = commanded(bed)
    await bed.start()
    driver, link = bed.driver(), bed.recorder()
    async with running(driver, link):
        await until(lambda: point.row in link.last)
        wanted = 1 if link.last[point.row][0] == 2 else 2
        for verb in (Verb.SELECT, Verb.OPERATE):
            if verb is Verb.SELECT and not bed.case.selects:
                continue
            outcome = await driver.execute(DeviceCommand(verb, point, wanted, "c1", timeout=5))
            if verb is Verb.OPERATE:
                assert outcome.status == StatusCode.Good, outcome
                assert outcome.sent
        await until(lambda: link.last[point.row][0] == wanted)


async def test_a_frozen_device_makes_a_command_an_unknown_outcome(bed: Bed) -> None:
    point = commanded(bed)
    if bed.case.protocol == "iec61850":
        pytest.skip("its control model asks the device first, so nothing is sent; its own tests cover the time-out")
    await bed.start()
    driver, link = bed.driver(), bed.recorder()
    async with running(driver, link):
        await until(lambda: point.row in link.last)
        bed.freeze()
        outcome = await driver.execute(DeviceCommand(Verb.OPERATE, point, 1, "c1", timeout=1))
        assert outcome.status & 0x8000_0000
        assert outcome.sent
        assert outcome.status == StatusCode.BadTimeout


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_declares_itself(name: str) -> None:
    spec = protocol(name)
    assert spec.name == name
    assert issubclass(spec.config, DeviceConfig)
    for field in (*spec.point_fields, *spec.control_fields):
        assert isinstance(field, FieldSpec)
        assert field.help, f"{name}.{field.name} has no help for editors"
    module, _, attribute = spec.driver.partition(":")
    assert hasattr(import_module(module), attribute)
    assert spec.config.__doc__
    for data_object in spec.counters:
        assert classify(parse(f"dso1/_sys/gw1/_/_/dev/twLINK1/{data_object}"))
