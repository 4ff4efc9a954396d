"""Every driver under its supervisor on a wire that damages what the device sends: it counts, goes on and recovers.

`TWIN_MUTATION_SECONDS=300` for each protocol, `TWIN_MUTATION_SEED` for another run of chance.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import TYPE_CHECKING, Any

import psutil
from peers.mutating_proxy import Mutator, Wire
from peers.waiting import until

from address_space.events import EventJournal
from address_space.quality import StatusCode
from address_space.table import PointTable
from twin_gateway.drivers.link import Backoff, LinkState, LinkSupervisor

if TYPE_CHECKING:
    from contract.conftest import Bed
else:
    Bed = Any

SECONDS = float(os.environ.get("TWIN_MUTATION_SECONDS", "3"))
SEED = int(os.environ.get("TWIN_MUTATION_SEED", "1"))
SHARE = 0.4
GROWTH_MIB = 24


async def test_a_wire_that_damages_octets_is_survived_with_every_loss_counted(bed: Bed) -> None:
    await bed.start()
    mutate = Mutator(SEED, 0.0)
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: faults.append(str(context)))
    async with Wire(bed.port, mutate, datagrams=bed.case.datagrams) as wire:
        device, table = bed.device(wire.port), PointTable()
        table.add([point.point(device.name) for point in device.points])
        link = LinkSupervisor(
            device.name,
            bed.driver(port=wire.port),
            table=table,
            events=EventJournal(),
            address="dso1/_sys/gw1/_/_/dev",
            data_directory=bed.folder / "data",
            backoff=Backoff(0.05, 0.2, steady=0.0),
        )
        hertz = next(row for row, point in enumerate(device.points) if point.address.endswith("MMXU1/Hz"))
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: link.state is LinkState.UP and table.sample(hertz).status == StatusCode.Good)
            gc.collect()
            before = psutil.Process().memory_info().rss
            mutate.share, end = SHARE, time.monotonic() + SECONDS
            lag = 0.0
            while time.monotonic() < end or mutate.damaged < 3:
                began = time.monotonic()
                await asyncio.sleep(0.02)
                lag = max(lag, time.monotonic() - began)
            mutate.share = 0.0
            link.flapping = False
            await until(lambda: link.state is LinkState.UP and table.sample(hertz).status == StatusCode.Good, 60)
            gc.collect()
            grown = (psutil.Process().memory_info().rss - before) / (1 << 20)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    counted = sum(number for name, number in link.counters.items() if name.endswith(("errors", "losses", "timeouts")))
    told = (
        f"{mutate.damaged} of {mutate.passed} damaged, {grown:.1f} MiB more, longest wait {lag:.2f} s, {link.counters}"
    )
    print(f"{bed.case.protocol}: {told}")
    assert not link.counters["driver_faults"], (link.reason, told)
    assert not faults, faults
    # A datagram of CoAP has no checksum of its own: what is still a payload cannot be told from one.
    assert counted or bed.case.datagrams, told
    assert grown < GROWTH_MIB, told
