"""A CoAP device with very many observed resources that notifies faster than any sensor: the load of the benchmark.

    python -m twin_gateway.simulate.coap_flood RESOURCES

It writes {"port": …}, then waits for lines on stdin: {"rate": notifications a second, "seconds": …} makes it notify all
observers in turn, evenly spread, and answer {"sent": …, "sum": hundredths of all values sent, "seconds": …}; the end
of stdin ends it. The resources are
`/r/0`, `/r/1`, … Only what the benchmark needs is here: plain GET with Observe, answers on the request, notifications
not confirmable.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator

import aiocoap

_TICK = 0.005
_MAX_AGE = b"\x82\x0e\x10"  # option 14 after 12, two octets: 3600 s


class FloodServer:
    """Observers by token, and datagrams for them."""

    def __init__(self, resources: int) -> None:
        self._resources = resources
        self._observers: dict[int, tuple[bytes, tuple[str, int]]] = {}
        self._message_id = 0
        self._number = 1
        self._value = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)

    def answer(self) -> None:
        """Answer every request that waits."""
        while True:
            try:
                datagram, source = self.sock.recvfrom(2048)
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # an observer has gone; what was sent to it is lost
            request = aiocoap.Message.decode(datagram)
            if not request.code.is_request():
                continue
            path = request.opt.uri_path
            number = int(path[1]) if len(path) == 2 and path[0] == "r" and path[1].isdigit() else self._resources
            if number >= self._resources:
                self.sock.sendto(self._head(0x60, 0x84, request.token, request.mid), source)
                continue
            if request.opt.observe == 0:
                self._observers[number] = (request.token, source)
            elif request.opt.observe == 1:
                self._observers.pop(number, None)
                continue
            self.sock.sendto(self._content(0x60, request.token, request.mid, number), source)

    def notify(self, rate: float, seconds: float) -> tuple[int, int, float]:
        """Notify observers in turn. Returns how many notifications, the hundredths of their values, and seconds."""
        turn = self._turn()
        began = time.monotonic()
        sent = total = 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(rate * elapsed)
            while sent < due:
                token, source, number = next(turn)
                self._message_id = self._message_id + 1 & 0xFFFF
                try:
                    self.sock.sendto(self._content(0x50, token, self._message_id, number), source)
                except BlockingIOError:
                    select.select([], [self.sock], [], _TICK)
                    continue
                except ConnectionError:
                    continue  # an error of an earlier datagram; this one has not been sent
                sent += 1
                total += self._value * 100 + number % 100
            self.answer()
            time.sleep(_TICK)
        return sent, total, time.monotonic() - began

    def _turn(self) -> Iterator[tuple[bytes, tuple[str, int], int]]:
        while True:
            for number, (token, source) in list(self._observers.items()):
                yield token, source, number

    def _content(self, kind: int, token: bytes, message_id: int, number: int) -> bytes:
        self._number = self._number + 1 & 0xFFFFFF
        self._value = self._value + 1 & 0xFFFFF
        options = b"\x63" + self._number.to_bytes(3, "big") + b"\x60" + _MAX_AGE
        return self._head(kind, 0x45, token, message_id) + options + b"\xff%d.%02d" % (self._value, number % 100)

    @staticmethod
    def _head(kind: int, code: int, token: bytes, message_id: int) -> bytes:
        return bytes((kind | len(token), code)) + message_id.to_bytes(2, "big") + token


def main(arguments: list[str] | None = None) -> int:
    """Command line: the number of resources."""
    given = sys.argv[1:] if arguments is None else arguments
    server = FloodServer(int(given[0]) if given else 1000)
    print(json.dumps({"port": server.sock.getsockname()[1]}), flush=True)
    while True:
        ready, _, _ = select.select([server.sock, sys.stdin], [], [])
        if server.sock in ready:
            server.answer()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return 0
            order = json.loads(line)
            sent, total, seconds = server.notify(float(order["rate"]), float(order["seconds"]))
            print(json.dumps({"sent": sent, "sum": total, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
