"""Many GOOSE control blocks on one interface that take turns to change: the load of the latency benchmark.

Stream n (from 1) is `STREAM<n>LD0/LLN0$GO$gcb` to 01-0C-CD-01-<n, two octets> with APPID 0x3000 + n and ConfRev 1; its
data set is one measured value. Each change is a state of its own, repeated as the standard says until the next one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from open61850.data import FloatData
from open61850.goose_publisher import GooseControl

from twin_gateway.simulate.goose import address_of, open_sender
from twin_gateway.simulate.goose_publisher import Publisher

_FIRST_REPETITION_MS = 10
_TICK_S = 0.001


class GooseStreams:
    """The streams.

    Args:
        interface: where they are sent.
        streams: how many.
        value: what a member is at the moment of sending.

    Raises:
        OSError: no such interface, or no right to open raw sockets.
    """

    def __init__(self, interface: str, streams: int, value: Callable[[], float]) -> None:
        self._sender: socket.socket = open_sender(interface)
        self._value = value
        source = address_of(interface)
        self._publishers = [
            Publisher(_control(number, source), [FloatData(0.0)], lambda: datetime.now(UTC))
            for number in range(1, streams + 1)
        ]

    def run(self, rate: float) -> None:
        """Change them in turn, `rate` changes a second in all, for ever."""
        began = time.monotonic()
        for publisher in self._publishers:
            publisher.begin(began)
        changes = 0
        while True:
            while changes < rate * (time.monotonic() - began):
                publisher = self._publishers[changes % len(self._publishers)]
                publisher.change([FloatData(self._value())], time.monotonic())
                self._send(publisher)
                changes += 1
            for publisher in self._publishers:
                self._send(publisher)
            time.sleep(_TICK_S)

    def _send(self, publisher: Publisher) -> None:
        for frame in publisher.messages(time.monotonic()):
            self._sender.send(frame)


def _control(number: int, source: str) -> GooseControl:
    high, low = divmod(number, 256)
    return GooseControl(
        f"STREAM{number}LD0/LLN0$GO$gcb",
        f"STREAM{number}LD0/LLN0$ds",
        0x3000 + number,
        f"01:0c:cd:01:{high:02x}:{low:02x}",
        source,
        min_time_ms=_FIRST_REPETITION_MS,
    )
