"""A wire that damages what a device sends: octets flipped, cut out, put in, doubled, cut off; streams and datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

_CHUNK = 65_536

Judge = Callable[[bytes, bytes], bool]
"""What was sent, what arrives instead -> the receiver must see by now that this is not what the protocol allows."""


class Mutator:
    """Damages some of what passes.

    Attributes:
        share: of the reads that are damaged; 0 lets everything pass.
        passed, damaged: reads so far.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._random = random.Random(seed)
        self.share = share
        self.passed = self.damaged = 0

    def __call__(self, octets: bytes) -> bytes:
        self.passed += 1
        if not octets or self._random.random() >= self.share:
            return octets
        damaged = self._damage(octets)
        self.damaged += damaged != octets
        return damaged

    def _damage(self, octets: bytes) -> bytes:
        chance, out = self._random, bytearray(octets)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            at = chance.randrange(len(out) + 1)
            match chance.randrange(6):
                case 0 | 1 if at < len(out):
                    out[at] ^= 1 << chance.randrange(8)
                case 2 if at < len(out):
                    out[at] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
                case 3:
                    del out[at : at + chance.randrange(1, 9)]
                case 4:
                    out[at:at] = chance.randbytes(chance.randrange(1, 9))
                case _:
                    out[at:] = out[: chance.randrange(len(out) + 1)]
            if not out:
                break
        return bytes(out)


class Wire:
    """Between a driver and its device on 127.0.0.1; `port` is where the driver goes.

    Attributes:
        connections, open: that were made, that stand; none with datagrams.
        unprovoked: connections that ended although nothing on them was damaged.
        told: damages that a judge saw: with streams at most one a connection when `once`.
    """

    def __init__(
        self, device: int, mutate: Mutator, *, datagrams: bool, judge: Callable[[], Judge], once: bool = False
    ) -> None:
        self._device, self._mutate, self._datagrams = device, mutate, datagrams
        self._judge, self._once = judge, once
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._endpoint: asyncio.DatagramTransport | None = None
        self.port = self.connections = self.open = self.unprovoked = self.told = 0

    async def __aenter__(self) -> Wire:
        loop = asyncio.get_running_loop()
        if self._datagrams:
            relay = _Relay(self._device, _Passage(self))
            self._endpoint, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
            self.port = self._endpoint.get_extra_info("sockname")[1]
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        passage = _Passage(self)
        self.connections += 1
        self.open += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._device)
            forth = asyncio.create_task(_carry(reader, far_writer, lambda octets: octets))
            back = asyncio.create_task(_carry(far_reader, writer, passage))
            try:
                await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
                self.unprovoked += not passage.damaged
            finally:
                far_writer.transport.abort()  # before anything is awaited: the end of the test may come in between
                forth.cancel()
                back.cancel()
                await asyncio.gather(forth, back, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the device is gone, or the test ends: the driver sees a connection that ends
        finally:
            self.open -= 1
            writer.transport.abort()
            self._tasks.discard(task)


class _Passage:
    """What a device sends on one connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._judge = wire, wire._judge()
        self.damaged = self.told = 0

    def __call__(self, octets: bytes) -> bytes:
        wire = self._wire
        arriving = wire._mutate(octets)
        self.damaged += arriving != octets
        if self._judge(octets, arriving) and not (wire._once and self.told):
            self.told += 1
            wire.told += 1
        return arriving


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Any) -> None:
    with contextlib.suppress(OSError):
        while octets := await reader.read(_CHUNK):
            writer.write(change(octets))
            await writer.drain()


class _Relay(asyncio.DatagramProtocol):
    """Datagrams of one driver socket, which may change, and one device."""

    def __init__(self, device: int, change: Callable[[bytes], bytes]) -> None:
        self._device, self._change = ("127.0.0.1", device), change
        self._driver: tuple[str, int] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._device:
            if self._driver is not None:
                self._transport.sendto(self._change(data), self._driver)
            return
        self._driver = addr
        self._transport.sendto(data, self._device)
