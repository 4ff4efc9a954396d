"""The GOOSE driver under its supervisor on a wire that damages frames: each has one verdict, none stops it for good.

Through the capture process and a raw socket where that is permitted, and through a capture service that the test plays.
`TWIN_MUTATION_SECONDS=300` for each of the two, `TWIN_MUTATION_SEED` for another run of chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from open61850.data import BitStringData, BoolData, FloatData, IECData, TimestampData
from open61850.goose import GooseDecodeError, decode_goose_frame
from open61850.goose_publisher import GooseControl
from peers import goose_wire
from peers.mutating_proxy import Mutator
from peers.waiting import PATIENCE, until

from address_space.events import EventJournal
from address_space.table import PointTable
from twin_gateway.drivers.iec61850.goose.process import HEAD, Kind
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor
from twin_gateway.drivers.registry import create_driver
from twin_gateway.mapping.check import check
from twin_gateway.simulate.goose import open_sender
from twin_gateway.simulate.goose_publisher import Publisher

SECONDS = float(os.environ.get("TWIN_MUTATION_SECONDS", "2"))
SEED = int(os.environ.get("TWIN_MUTATION_SEED", "1"))
SHARE = 0.4
STREAMS = 4
TICK_S = 0.005
GROWTH_MIB = 24
LONGEST_WAIT_S = 2.0
SOURCE = "02-00-00-00-00-07"
VERDICTS = (
    "goose_states", "goose_repetitions", "goose_errors", "misfit_frames", "foreign_frames", "simulated_frames",
    "replaced_frames", "unknown_control_blocks", "duplicate_frames", "disordered_frames",
)  # fmt: skip
HEAD_LINES = "mapping: 1\ngrid: dso1\nplace: north/PS01\ndevices:\n  bus:\n    protocol: goose\n    interface: lo\n"

Send = Callable[[bytes], None]


def control(number: int) -> GooseControl:
    ied = f"IED{number}LD0/LLN0"
    return GooseControl(
        f"{ied}$GO${goose_wire.BLOCK}", f"{ied}$ds", 0x3000 + number, goose_wire.address(number),
        SOURCE.replace("-", ":"), go_id=f"g{number}", min_time_ms=5, max_time_ms=40, tal_factor=5,
    )  # fmt: skip


def mapping(extra: str) -> str:
    subscriptions, points = [], []
    for number in range(STREAMS):
        said = control(number)
        subscriptions.append(
            f"      s{number}: {{control_block: {said.gocb_ref}, destination: {said.dst_mac.replace(':', '-')},\n"
            f"        app_id: {said.app_id}, data_set: {said.dat_set}, conf_rev: 1, source: {SOURCE},\n"
            "        members: [LD0/MMXU1.Hz.mag.f, LD0/MMXU1.Hz.q, LD0/MMXU1.Hz.t, LD0/PTRC1.Tr.general]}\n"
        )
        points.append(
            f"          MMXU{number + 1}/Hz: {{subscription: s{number}, ref: LD0/MMXU1.Hz, unit: Hz}}\n"
            f"          LGOS{number + 1}/St: {{subscription: s{number}, item: St}}\n"
        )
    return (
        f"{HEAD_LINES}    tolerance: 200 ms\n    idle: 5 s\n{extra}    subscriptions:\n{''.join(subscriptions)}"
        f"    at:\n      MV1/F07:\n        points:\n{''.join(points)}"
    )


def values(hertz: float) -> list[IECData]:
    now = TimestampData(datetime.now(UTC), 0x0A)
    return [FloatData(hertz), BitStringData(b"\0\0", 3), now, BoolData(hertz > 50)]


@contextlib.asynccontextmanager
async def raw(_folder: Path) -> AsyncIterator[tuple[str, Send]]:
    """The loopback interface."""
    try:
        sender = open_sender("lo")
    except OSError as error:
        pytest.skip(f"raw sockets are not permitted here: {error}")

    def send(frame: bytes) -> None:
        if len(frame) >= 14:  # the kernel sends nothing that has no Ethernet header
            sender.send(frame)

    with sender:
        yield "", send


@contextlib.asynccontextmanager
async def service(folder: Path) -> AsyncIterator[tuple[str, Send]]:
    """A capture service of the test's own, which hands over whatever it is given."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(HEAD.pack(Kind.READY, 0))
        writers.append(writer)
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writers.remove(writer)
        writer.close()

    def send(frame: bytes) -> None:
        for writer in writers:
            writer.write(HEAD.pack(Kind.FRAME, len(frame)) + frame)

    path = folder / "goose.sock"
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield f"    capture: {path}\n", send
        server.close()


def unreadable(frame: bytes) -> bool:
    """Whether another decoder finds no GOOSE message in it either."""
    try:
        return decode_goose_frame(frame) is None
    except GooseDecodeError:
        return True


@pytest.mark.parametrize("wire", [raw, service])
async def test_a_wire_that_damages_frames_is_survived_with_one_verdict_on_each(
    tmp_path: Path, wire: Callable[[Path], contextlib.AbstractAsyncContextManager[tuple[str, Send]]]
) -> None:
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(str(context)))
    async with wire(tmp_path) as (extra, send):
        path = tmp_path / "bus.yaml"
        path.write_text(mapping(extra))
        checked, diagnostics = check([path], environ={})
        assert checked is not None, diagnostics
        (section,) = checked.devices
        table, journal = PointTable(), EventJournal()
        rows = {point.address.removeprefix("dso1/north/PS01/MV1/F07/"): row for row, point in enumerate(section.points)}
        table.add([point.point("bus") for point in section.points])
        driver = create_driver(
            section.spec, "bus", section.config, [point.bound(row) for row, point in enumerate(section.points)]
        )
        link = LinkSupervisor(
            "bus", driver, table=table, events=journal, address="dso1/_sys/gw1/_/_/bus",
            data_directory=tmp_path / "data", backoff=Backoff(0.02, 0.1, steady=0.0),
        )  # fmt: skip
        heard = refused = 0

        def traffic(sent: bool, octets: bytes, keep: Callable[[bool, bytes], None] = link.traffic) -> None:
            nonlocal heard, refused
            heard += 1
            refused += unreadable(octets)
            keep(sent, octets)

        link.traffic = traffic  # type: ignore[method-assign]  # every frame that the driver was given
        mutate = Mutator(SEED, 0.0)
        publishers = [Publisher(control(number), values(50.0), lambda: datetime.now(UTC)) for number in range(STREAMS)]
        for publisher in publishers:
            publisher.begin(time.monotonic())

        def publish() -> None:
            now = time.monotonic()
            for number, publisher in enumerate(publishers):
                publisher.change(values(49.0 + number + now % 1), now)
                for frame in publisher.messages(now):
                    send(mutate(frame))

        def good() -> bool:
            publish()
            shown = [
                (table.sample(rows[f"_/MMXU{n + 1}/Hz"]), table.sample(rows[f"_/LGOS{n + 1}/St"]))
                for n in range(STREAMS)
            ]
            return link.state is LinkState.UP and all(
                hertz.status == 0 and 49 <= float(hertz.value) - n <= 50 and alive.value is True
                for n, (hertz, alive) in enumerate(shown)
            )

        running = asyncio.create_task(link.run())
        try:
            await until(good, what="good values of all streams")
            gc.collect()
            before, longest = psutil.Process().memory_info().rss, 0.0
            mutate.share, end = SHARE, time.monotonic() + SECONDS
            while (began := time.monotonic()) < end:
                publish()
                await asyncio.sleep(TICK_S)
                longest = max(longest, time.monotonic() - began)
            mutate.share = 0.0
            await until(good, 20, "good values of all streams after the damage")
            counters = link.counters
            await until(lambda: sum(counters[name] for name in VERDICTS) == heard, what="a verdict on each frame")
            gc.collect()
            grown = (psutil.Process().memory_info().rss - before) / (1 << 20)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    told = (
        f"{mutate.damaged} of {mutate.passed} damaged, {heard} heard, {refused} unreadable to others, "
        f"{grown:.1f} MiB more, longest wait {longest:.2f} s, {dict(sorted(counters.items()))}"
    )
    print(f"goose {wire.__name__}: {told}")
    assert not problems, problems
    assert not counters["driver_faults"], (link.reason, told)
    assert counters["goose_errors"] >= refused > SECONDS, told
    assert counters["losses"] == 0, (link.reason, told)
    assert grown < GROWTH_MIB, told
    assert longest < PATIENCE * LONGEST_WAIT_S, told
