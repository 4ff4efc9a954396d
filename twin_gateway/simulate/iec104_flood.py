"""Many 104 outstations in one process that send as fast as the window allows, for benchmarks and load tests.

Each accepted connection is one station with `--points` floats with time tag (M_ME_TF_1) from address 1, `--objects` of
them in an ASDU. It answers a general interrogation with every point, then floods (or sends `--rate` points a second,
none when that is negative).
One line goes to stdout when it listens: {"ready": true, "port": …}. SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import struct
import sys
import time

from twin_gateway.drivers.iec104.apci import Limits
from twin_gateway.drivers.iec104.codec import Asdu, Information, decode, encode
from twin_gateway.drivers.iec104.link import Connection
from twin_gateway.drivers.iec104.times import encode_cp56
from twin_gateway.drivers.iec104.types import AsduError, Cause

_TYPE, _INTERROGATION = 36, 100
_BODIES = 512


class FloodStation:
    """One connection's station."""

    def __init__(self, points: int, objects: int, rate: float, common_address: int, k: int) -> None:
        self._points, self._objects, self._rate, self._common = points, objects, rate, common_address
        self._connection = Connection(
            controlling=False, limits=Limits(k=k, queue=1 << 16), on_asdus=self._on_asdus, on_closed=self._on_closed
        )
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def protocol(self) -> Connection:
        """The protocol of the accepted connection."""
        return self._connection

    def _body(self, cause: Cause) -> bytes:
        tag = encode_cp56(time.time_ns() // 1_000_000)
        parts = []
        for _ in range(self._objects):
            address = self._next % self._points + 1
            parts.append(address.to_bytes(3, "little") + struct.pack("<fB", self._next % 4096, 0) + tag)
            self._next += 1
        return bytes((_TYPE, self._objects, cause, 0)) + struct.pack("<H", self._common) + b"".join(parts)

    def _on_asdus(self, connection: Connection, asdus: list[bytes]) -> None:
        for octets in asdus:
            try:
                asdu = decode(octets, 2026)
            except AsduError:
                continue
            connection.send(encode(asdu._replace(cause=Cause.ACTIVATION_CON)))
            if asdu.type == _INTERROGATION and self._task is None:
                for _ in range(-(-self._points // self._objects)):
                    connection.send(self._body(Cause.INTERROGATED))
                connection.send(
                    encode(Asdu(_INTERROGATION, Cause.ACTIVATION_TERM, self._common, (Information(0, 20),)))
                )
                if self._rate >= 0:
                    self._task = asyncio.get_running_loop().create_task(self._flood(connection))

    def _on_closed(self, _connection: Connection, _reason: str) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _flood(self, connection: Connection) -> None:
        bodies = [self._body(Cause.SPONTANEOUS) for _ in range(_BODIES)]
        began, sent = time.monotonic(), 0
        while True:
            allowed = self._rate * (time.monotonic() - began) / self._objects - sent if self._rate else 1e9
            # Keep a little more than one window waiting: each acknowledgement then sends at once what it allows.
            while connection.waiting < 64 and allowed >= 1:
                if not connection.send(bodies[sent % _BODIES]):
                    break
                sent += 1
                allowed -= 1
            await asyncio.sleep(0.0005)


async def serve(given: argparse.Namespace) -> None:
    """Listen until cancelled."""

    def accept() -> Connection:
        return FloodStation(given.points, given.objects, given.rate, given.common_address, given.k).protocol()

    server = await asyncio.get_running_loop().create_server(accept, given.host, given.port)
    sys.stdout.write(json.dumps({"ready": True, "port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="104 stations that send as fast as the window allows")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=1, choices=range(1, 17))
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--common-address", type=int, default=1)
    parser.add_argument("--k", type=int, default=12)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
