"""A wire that damages what a device sends: octets flipped, cut out, put in, doubled, cut off; streams and datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

_CHUNK = 65_536


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
        self.damaged += 1
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
    """Between a driver and its device on 127.0.0.1; `port` is where the driver goes."""

    def __init__(self, device: int, mutate: Mutator, *, datagrams: bool) -> None:
        self._device, self._mutate, self._datagrams = device, mutate, datagrams
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._endpoint: asyncio.DatagramTransport | None = None
        self.port = 0

    async def __aenter__(self) -> Wire:
        loop = asyncio.get_running_loop()
        if self._datagrams:
            relay = _Relay(self._device, self._mutate)
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
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._device)
            forth = asyncio.create_task(_carry(reader, far_writer, lambda octets: octets))
            back = asyncio.create_task(_carry(far_reader, writer, self._mutate))
            try:
                await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                forth.cancel()
                back.cancel()
                await asyncio.gather(forth, back, return_exceptions=True)
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # the device is gone, or the test ends: the driver sees a connection that ends
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Any) -> None:
    with contextlib.suppress(OSError):
        while octets := await reader.read(_CHUNK):
            writer.write(change(octets))
            await writer.drain()


class _Relay(asyncio.DatagramProtocol):
    """Datagrams of one driver socket, which may change, and one device."""

    def __init__(self, device: int, mutate: Mutator) -> None:
        self._device, self._mutate = ("127.0.0.1", device), mutate
        self._driver: tuple[str, int] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._device:
            if self._driver is not None:
                self._transport.sendto(self._mutate(data), self._driver)
            return
        self._driver = addr
        self._transport.sendto(data, self._device)
