"""A 104 outstation with an event buffer that keeps a ledger; written from the standard, no code of the driver in it.

Every change is one ASDU M_ME_TF_1 with a time tag. It stays in the buffer until it is acknowledged and is repeated on
the next connection otherwise. An interrogation is answered with untagged values behind the events that waited for it.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections import deque
from contextlib import suppress

import numpy as np
from ledger import Ledger
from pace import TICK_S, begin, obey, ready

K = 64
"""Frames in flight; the gateway is told the same. Of one-object frames 12 would be too few on a busy machine."""
BUFFER = 400_000
_PER_ASDU = 30
_CONTROLS = {0x07: 0x0B, 0x13: 0x23, 0x43: 0x83}


def cp56(ms: int) -> bytes:
    at = time.gmtime(ms // 1000)
    return struct.pack(
        "<HBBBBB", at.tm_sec * 1000 + ms % 1000, at.tm_min, at.tm_hour, at.tm_mday, at.tm_mon, at.tm_year % 100
    )


class Outstation:
    """Its buffer and the connection that data transfer was started on last."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.buffer: deque[bytes] = deque()
        self.line: Line | None = None

    def change(self, points: np.ndarray, tag: int, true: int) -> None:
        numbers = self.ledger.change(points, tag, true)
        time_tag = cp56(tag)
        for point, number in zip(points.tolist(), numbers.tolist(), strict=True):
            address = (point + 1).to_bytes(3, "little")
            self.buffer.append(b"\x24\x01\x03\x00\x01\x00" + address + struct.pack("<fB", number, 0) + time_tag)
        if len(self.buffer) > BUFFER:
            raise SystemExit("the buffer of the outstation is full")
        if self.line is not None:
            self.line.pump()

    def states(self, sent: int) -> list[bytes]:
        """Answers to an interrogation, consistent with the first `sent` events of the buffer: those behind them have
        not happened yet for who reads.
        """
        points = np.arange(len(self.ledger.numbers))
        waiting = np.zeros(len(points), np.uint32)
        for asdu in itertools.islice(self.buffer, sent, None):
            waiting[int.from_bytes(asdu[6:9], "little") - 1] += 1
        numbers = self.ledger.state(points, time.time_ns() // 1_000_000, self.ledger.numbers - waiting)
        found = []
        for first in range(0, len(points), _PER_ASDU):
            some = points[first : first + _PER_ASDU].tolist()
            objects = [(p + 1).to_bytes(3, "little") + struct.pack("<fB", numbers[p], 0) for p in some]
            found.append(bytes((13, len(some), 20, 0, 1, 0)) + b"".join(objects))
        return found


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, station: Outstation) -> None:
        self.station = station
        self.sent = self.acknowledged = self.received = 0
        self.unread = b""
        self.flight: deque[bool] = deque()  # whether a frame carried an event of the buffer
        self.events = 0  # how many of them
        self.answers: deque[tuple[int, bytes]] = deque()  # each behind so many more events
        self.started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.station.line is self:
            self.station.line = None

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while len(self.unread) >= 6 and len(self.unread) >= 2 + self.unread[1]:
            frame, self.unread = self.unread[2 : 2 + self.unread[1]], self.unread[2 + self.unread[1] :]
            self._frame(frame)
        self.pump()

    def _frame(self, frame: bytes) -> None:
        control = frame[0]
        if control & 3 == 3:
            if control not in _CONTROLS:
                return
            self.transport.write(bytes((0x68, 4, _CONTROLS[control], 0, 0, 0)))
            if control == 0x07:
                before = self.station.line
                if before is not None and before is not self:
                    before.transport.abort()
                self.started, self.station.line = True, self
            elif control == 0x13:
                self.started = False
            return
        number = struct.unpack_from("<H", frame, 2)[0] >> 1
        while self.acknowledged != number:
            self.acknowledged = (self.acknowledged + 1) & 0x7FFF
            if self.flight.popleft():
                self.events -= 1
                self.station.buffer.popleft()
        if control & 1 == 0:
            self.received = (self.received + 1) & 0x7FFF
            self._answer(frame[4:])
            # The other side counts on an acknowledgement though nothing may be due to it for long.
            self.transport.write(struct.pack("<BBHH", 0x68, 4, 1, self.received << 1))

    def _answer(self, asdu: bytes) -> None:
        self.answers.append((0, asdu[:2] + b"\x07" + asdu[3:]))
        if asdu[0] == 100:
            behind = len(self.station.buffer) - self.events
            self.answers.append((behind, b""))
            self.answers.append((0, asdu[:2] + b"\x0a" + asdu[3:]))

    def _send(self, asdu: bytes, event: bool) -> None:
        self.transport.write(struct.pack("<BBHH", 0x68, 4 + len(asdu), self.sent << 1, self.received << 1) + asdu)
        self.sent = (self.sent + 1) & 0x7FFF
        self.flight.append(event)

    def pump(self) -> None:
        """Send what waits, as far as the window allows."""
        buffer = self.station.buffer
        while self.started and len(self.flight) < K:
            if self.answers and not self.answers[0][0]:
                asdu = self.answers.popleft()[1]
                if asdu:
                    self._send(asdu, False)
                else:
                    self.answers.extendleft((0, each) for each in reversed(self.station.states(self.events)))
            elif self.events < len(buffer):
                self._send(buffer[self.events], True)
                self.events += 1
                if self.answers:
                    behind, asdu = self.answers[0]
                    self.answers[0] = (behind - 1, asdu)
            else:
                return


async def main() -> None:
    given, ledger, pace = begin()
    station = Outstation(ledger)
    await asyncio.get_running_loop().create_server(lambda: Line(station), "127.0.0.1", given.port)
    obey(pace)
    ready()
    while True:
        points = pace.due()
        if len(points):
            station.change(points, *pace.now())
        await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
