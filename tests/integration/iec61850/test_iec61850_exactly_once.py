"""Every buffered event arrives exactly once and in order, whoever dies: the link, the gateway, the server.

The device is libiec61850. Events are numbered; the number is the value of an INS in the data set of a buffered report
block, each with a time of its own. What arrives is counted twice: in the journals of the table (live and late, as long
as the gateway lives) and in the history (which is there after the gateway has been killed).

Cycles: TWIN_CYCLES (1); 20 of them take two minutes.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import time

import pytest
from integration.iec61850.bed import HERE, Bed, Process, libiec61850
from peers.ports import free_port
from peers.waiting import until

from address_space import clock
from twin_gateway.history.service import History
from twin_gateway.history.settings import HistorySettings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyiec61850") is None, reason="pyiec61850-ng is not installed: no independent peer"
)
CYCLES = int(os.environ.get("TWIN_CYCLES", "1"))
REFERENCE = "LD0/XCBR1.OpCnt"
PACE = 0.025


class Cable:
    """A TCP connection that can be cut on both sides, or fall silent while the device still believes in it."""

    def __init__(self, port):
        self.target = port
        self.writers = set()
        self.silent = False
        self.pumps = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()
        for pump in tuple(self.pumps):
            pump.cancel()
        await asyncio.gather(*self.pumps, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.pumps.add(asyncio.current_task())
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        dead = asyncio.Event()
        both = (writer, back)
        self.writers |= {(dead, both)}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, back, dead), self._pump(there, writer, dead))
        if not dead.is_set():
            for each in both:
                each.transport.abort()

    async def _pump(self, reader, writer, dead):
        while data := await reader.read(65_536):
            if not dead.is_set():
                writer.write(data)
        if not dead.is_set():
            raise ConnectionResetError

    def cut(self):
        """Both sides see the end."""
        for _, both in self.writers:
            for each in both:
                each.transport.abort()
        self.writers.clear()

    def silence(self):
        """Nothing goes through any more; the device goes on sending into the void, new connections work."""
        for dead, _ in self.writers:
            dead.set()


class Events:
    """Numbered events of the device, made without end while `going`."""

    def __init__(self, peer):
        self.peer = peer
        self.number = 0
        self.times = {}
        self.base = int(time.time() * 1000) - 120_000
        self.going = asyncio.Event()
        self.going.set()
        self.idle = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            if not self.going.is_set():
                self.idle.set()
                await self.going.wait()
                self.idle.clear()
            await self.make()
            await asyncio.sleep(PACE)

    async def make(self):
        self.number += 1
        at = self.base + 10 * self.number
        self.times[at] = self.number
        await self.peer.tell([
            {"ref": f"{REFERENCE}.t", "kind": "time", "value": at},
            {"ref": f"{REFERENCE}.stVal", "kind": "int", "value": self.number},
        ])  # fmt: skip

    async def pause(self):
        """Make none until `going` is set again; those made are in the device when this returns."""
        self.idle.clear()
        self.going.clear()
        await self.idle.wait()
        await until(lambda: len(self.peer.lines) >= self.expected(), what="events taken by the device")

    def expected(self):
        return self.number - self.before

    before = 0

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Gateway(Process):
    """One life of the gateway."""

    def __init__(self, port, folder):
        super().__init__([HERE / "event_gateway.py", port, folder, REFERENCE])

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(os.sys.executable, *map(str, self.arguments)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.reader = asyncio.create_task(self._read())
        return self

    def said(self):
        return [json.loads(line) for line in self.lines]

    def newest(self):
        return max((line["value"] for line in self.said()[-50:] if "value" in line), default=0)

    def losses(self):
        return [line["event"] for line in self.said() if line.get("event", "").startswith("D08")]

    async def caught_up(self, events):
        wanted = events.number
        await until(lambda: self.newest() >= wanted, what=f"event {wanted} (the newest is {self.newest()})")

    async def has_kept(self, events):
        """Until the history has what came so far: it is then all the same who dies."""
        wanted = events.number
        await until(lambda: self.kept() >= wanted, what=f"event {wanted} in the history")

    def kept(self):
        return max((line["kept"] for line in self.said()[-300:] if "kept" in line), default=0)

    async def end(self):
        self.process.stdin.close()
        await self.process.wait()
        await self.reader

    def arrived(self):
        """Numbers in the order of the journals, live and late; the state that follows a replay is no event."""
        found, last = [], None
        for line in self.said():
            if line.get("value"):
                this = (line["value"], line["time"])
                if not (this == last and not line["late"]):
                    found.append(line["value"])
                last = this
        return found


async def history_of(folder):
    """(number, time in ms) of everything that the history has of the point."""
    bed = Bed(1, folder, only={REFERENCE})
    history = History(bed.table, bed.events, HistorySettings(reserve_mb=0), folder / "history")
    await history.start()
    try:
        address = bed.points[REFERENCE].address
        page = await history.raw(address, 0, 1 << 61, 1 << 20)
        values = page.values
        columns = zip(values.raw, values.source, values.status, strict=True)
        good = [(int(raw), round(clock.to_unix(int(at)) * 1000)) for raw, at, status in columns if raw and not status]
    finally:
        await history.stop()
    return good


async def test_every_buffered_event_arrives_once_and_in_order_whoever_dies(tmp_path):
    port = free_port()
    peer = await libiec61850(port).start()
    lives = []
    async with Cable(port) as cable:
        gateway = await Gateway(cable.port, tmp_path).start()
        await until(lambda: gateway.lines, what="the first state")
        events = Events(peer)
        try:
            for _ in range(CYCLES):
                await asyncio.sleep(0.3)
                await gateway.kill()
                lives.append(gateway)
                await asyncio.sleep(0.2)
                gateway = await Gateway(cable.port, tmp_path).start()
                await gateway.caught_up(events)
                assert gateway.losses() == []

                await events.pause()
                await gateway.has_kept(events)  # with the server goes its buffer
                await peer.kill()
                peer = await libiec61850(port).start()
                events.peer, events.before = peer, events.number
                for _ in range(5):
                    await events.make()  # only the buffer of the new server has them
                events.going.set()
                await gateway.caught_up(events)
                # the buffer of the old one is gone, and nobody knows that it was empty
                await until(lambda life=gateway: len(life.losses()) == 1, what="the loss is told")

                cable.cut()
                await asyncio.sleep(0.2)
                await gateway.caught_up(events)
                cable.silence()  # the device still has the block for the old association: another instance serves
                await asyncio.sleep(0.3)
                await gateway.caught_up(events)
                assert len(gateway.losses()) == 1
            await events.pause()
            await gateway.caught_up(events)
        finally:
            await events.stop()
            await gateway.end()
            await peer.kill()
    lives.append(gateway)
    print(f"{events.number} events, {len(lives)} lives of the gateway, {CYCLES} of the device")
    late = sum(line.get("late", False) for life in lives for line in life.said())
    assert late >= 5 * CYCLES, "what only a buffer had was replayed"
    for life in lives:
        arrived = life.arrived()
        assert arrived == list(range(arrived[0], arrived[-1] + 1)), "once and in order in the journals of each life"
    recorded = await history_of(tmp_path)
    # a gateway that starts records the state that it finds: the last event once more, right behind it; and where a run
    # of the history was cut off, the history itself writes the state with the time of the end, which is no event's
    events_only = [of for of in recorded if of[1] in events.times]
    kept = [of for of, before in zip(events_only, [None, *events_only], strict=False) if of != before]
    assert len(events_only) - len(kept) <= len(lives)
    assert len(recorded) - len(events_only) <= len(lives)
    assert [number for number, _ in kept] == list(range(1, events.number + 1)), "once and in order over all lives"
    assert [events.times[at] for _, at in kept] == [number for number, _ in kept]
