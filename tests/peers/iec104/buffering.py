"""A 104 outstation with an event buffer, written from the standard's public layout and sharing no code with the driver.

It keeps every event until it is acknowledged, repeats the unacknowledged ones from the oldest on when data transfer is
started again, confirms commands, answers interrogations with the present value, and can listen on several ports that
belong to one redundancy group.
"""

import asyncio
import struct
import time
from contextlib import suppress

STARTDT, STARTDT_CON, STOPDT, STOPDT_CON, TESTFR, TESTFR_CON = 0x07, 0x0B, 0x13, 0x23, 0x43, 0x83


def cp56(ms):
    """CP56Time2a of a UTC time in ms."""
    at = time.gmtime(ms // 1000)
    year = at.tm_year % 100
    return struct.pack("<HBBBBB", at.tm_sec * 1000 + ms % 1000, at.tm_min, at.tm_hour, at.tm_mday, at.tm_mon, year)


class _Line:
    """One connection of the group."""

    def __init__(self, station, reader, writer):
        self.station, self.reader, self.writer = station, reader, writer
        self.sent = self.acknowledged = self.received = 0
        self.started = False
        self.flight = []  # whether the frame carried an event

    def unnumbered(self, control):
        self.writer.write(bytes((0x68, 4, control, 0, 0, 0)))

    def send(self, asdu, event=False):
        head = struct.pack("<BBHH", 0x68, 4 + len(asdu), self.sent << 1, self.received << 1)
        self.writer.write(head + asdu)
        self.sent = (self.sent + 1) & 0x7FFF
        self.flight.append(event)

    def confirm(self, number):
        while self.acknowledged != number:
            self.acknowledged = (self.acknowledged + 1) & 0x7FFF
            if self.flight.pop(0):
                self.station.buffer.pop(0)

    def events(self):
        """Send what of the buffer is not in flight, as far as the window allows."""
        while self.started and len(self.flight) < self.station.k and self.flight.count(True) < len(self.station.buffer):
            self.send(self.station.buffer[self.flight.count(True)], True)

    async def run(self):
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                _, length = await self.reader.readexactly(2)
                body = await self.reader.readexactly(length)
                self.frame(body)
                self.events()
                await self.writer.drain()

    def frame(self, body):
        if self.station.mute:
            return
        if body[0] & 3 == 3:
            self.station.controls.append((self.station.lines.index(self), body[0]))
            match body[0]:
                case 0x07:
                    for other in self.station.lines:
                        if other is not self and other.started:  # the standard: only one of a group is started
                            other.started, other.flight = False, [False] * len(other.flight)
                    self.started = True
                    self.unnumbered(STARTDT_CON)
                case 0x13:
                    self.started = False
                    self.unnumbered(STOPDT_CON)
                case 0x43 if self.station.answers_tests:
                    self.unnumbered(TESTFR_CON)
            return
        self.confirm(struct.unpack_from("<H", body, 2)[0] >> 1)
        if body[0] & 1 == 0:
            self.received = (self.received + 1) & 0x7FFF
            self.station.commands.append(body[4:])
            self.answer(body[4:])

    def answer(self, asdu):
        self.send(asdu[:2] + bytes((7,)) + asdu[3:])
        if asdu[0] == 100:
            # the present value, without a time: it is no event
            self.send(bytes((11, 1, 20, 0, 1, 0, 1, 0, 0)) + struct.pack("<hB", self.station.number, 0))
            self.send(asdu[:2] + bytes((10,)) + asdu[3:])


class BufferingStation:
    """The outstation: `record` makes an event, `cut` loses connections as a cut wire does."""

    def __init__(self, ports=1, k=12, ssl=None):
        self.k, self._count, self._ssl = k, ports, ssl
        self.buffer, self.lines, self.controls, self.commands = [], [], [], []
        self.number = 0
        self.answers_tests, self.mute = True, False
        self._servers = []
        self._tasks = set()

    async def __aenter__(self):
        for _ in range(self._count):
            self._servers.append(await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._ssl))
        self.ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        self.port = self.ports[0]
        return self

    async def __aexit__(self, *_):
        for server in self._servers:
            server.close()
        self.cut()
        for task in list(self._tasks):
            with suppress(asyncio.CancelledError):
                await task

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        line = _Line(self, reader, writer)
        line.port = writer.get_extra_info("sockname")[1]
        self.lines.append(line)
        try:
            await line.run()
        finally:
            line.started = False
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def record(self, address=1):
        """A scaled value that counts, with a time tag of its own: events are told apart by value and time."""
        self.number += 1
        ms = time.time_ns() // 1_000_000 + self.number
        head = bytes((35, 1, 3, 0, 1, 0)) + address.to_bytes(3, "little")
        self.buffer.append(head + struct.pack("<hB", self.number, 0) + cp56(ms))
        for line in self.lines:
            line.events()

    def cut(self, line=None):
        for each in [line] if line else self.lines:
            each.started = False
            each.writer.transport.abort()

    @property
    def started(self):
        return [line for line in self.lines if line.started]
