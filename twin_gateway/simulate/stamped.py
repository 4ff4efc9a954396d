"""Devices whose every value says when it was sent, for measuring how long a change is under way.

    python -m twin_gateway.simulate.stamped iec104|iec61850|coap|dlms|goose RATE POINTS

The value is a count of quarters of a millisecond since 1970, modulo 2^23, so that a single-precision float holds it
exactly. One line goes to stdout: {"port": …}. Changes go out evenly, RATE a second, once a client takes them; the end
of stdin ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
import threading
import time
from datetime import UTC, datetime

from open61850.data import BitStringData, FloatData, StructureData, TimestampData

from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.times import encode_cp56
from twin_gateway.drivers.iec104.types import Cause
from twin_gateway.drivers.iec61850.transport import Cotp
from twin_gateway.simulate.coap_flood import FloodServer
from twin_gateway.simulate.dlms_push import PushingMeter, unused_port
from twin_gateway.simulate.goose_streams import GooseStreams
from twin_gateway.simulate.iec104_flood import FloodStation
from twin_gateway.simulate.iec61850_flood import CHANGE, FloodIed

STAMP_MODULO = 1 << 23
STAMPS_A_SECOND = 4000
_TICK_S = 0.001


def stamp() -> int:
    """The present as a value."""
    return time.time_ns() * STAMPS_A_SECOND // 1_000_000_000 % STAMP_MODULO


class StampedStation(FloodStation):
    """A 104 station."""

    def _body(self, cause: Cause) -> bytes:
        address = self._next % self._points + 1
        self._next += 1
        value = struct.pack("<fB", stamp(), 0) + encode_cp56(time.time_ns() // 1_000_000)
        return bytes((36, 1, cause, 0)) + struct.pack("<H", self._common) + address.to_bytes(3, "little") + value

    async def _flood(self, connection: Connection) -> None:
        began, sent = time.monotonic(), 0
        while True:
            while sent < self._rate * (time.monotonic() - began):
                connection.send(self._body(Cause.SPONTANEOUS))
                sent += 1
            await asyncio.sleep(_TICK_S)


class StampedServer(FloodServer):
    """A CoAP device."""

    def _content(self, kind: int, token: bytes, message_id: int, number: int) -> bytes:
        self._number = self._number + 1 & 0xFFFFFF
        options = b"\x63" + self._number.to_bytes(3, "big") + b"\x60" + b"\x82\x0e\x10"
        return self._head(kind, 0x45, token, message_id) + options + b"\xff%d" % stamp()


def _iec104(rate: float, points: int) -> None:
    async def serve() -> None:
        def accept() -> Connection:
            return StampedStation(points, 1, rate, 1, 12).protocol()

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        _ready(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


def _coap(rate: float, points: int) -> None:
    server = StampedServer(points)
    _ready(server.sock.getsockname()[1])

    def run() -> None:
        while len(server._observers) < points:
            server.answer()
            time.sleep(_TICK_S)
        while True:
            server.notify(rate, 3600.0)

    threading.Thread(target=run, daemon=True).start()
    sys.stdin.read()


def _dlms(rate: float, points: int) -> None:
    """Here the gateway listens: the port is where it is to do so, and the changes of all values come in one message."""
    port = unused_port()
    threading.Thread(target=PushingMeter(points, stamp).push, args=(port, rate / points), daemon=True).start()
    _ready(port)
    sys.stdin.read()


def _iec61850(rate: float, points: int) -> None:
    ied = FloodIed()
    simple = ied.numbers("TotW", "Hz")[:points]

    def send(sock: socket.socket, cotp: Cotp) -> None:
        began, sent = time.monotonic(), 0
        while True:
            while sent < rate * (time.monotonic() - began):
                value = StructureData([FloatData(stamp())])
                now = TimestampData(datetime.now(UTC), 0x0A)
                member = StructureData([value, BitStringData(b"\0\0", 3), now])
                sock.sendall(cotp.encode(ied.report(sent, {simple[sent % len(simple)]: member}, CHANGE)))
                sent += 1
            time.sleep(_TICK_S)

    ied.feed(send)
    _ready(ied.port)
    sys.stdin.read()


def _goose(rate: float, points: int) -> None:
    """Multicast on the loopback interface: there is no port, and nobody is waited for."""
    streams = GooseStreams("lo", points, stamp)
    threading.Thread(target=streams.run, args=(rate,), daemon=True).start()
    _ready(0)
    sys.stdin.read()


def _ready(port: int) -> None:
    print(json.dumps({"ready": True, "port": port}), flush=True)


DEVICES = {"iec104": _iec104, "iec61850": _iec61850, "coap": _coap, "dlms": _dlms, "goose": _goose}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="devices whose values say when they were sent")
    parser.add_argument("protocol", choices=sorted(DEVICES))
    parser.add_argument("rate", type=float)
    parser.add_argument("points", type=int)
    given = parser.parse_args(arguments)
    DEVICES[given.protocol](given.rate, given.points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
