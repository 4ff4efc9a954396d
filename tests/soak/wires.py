"""Wires between the gateway and its devices that can be cut, fall silent, be slow, and lose what they carry."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

_CHUNK = 65_536
_REORDERED = 0.5
"""Share of the delay by which datagrams differ in it."""


class Wire:
    """What streams and datagrams have in common.

    Attributes:
        port: where the gateway goes.
        delay: seconds that everything is under way.
        loss: share of datagrams that are lost; of a stream, chance of a break within a second.
    """

    def __init__(self, device: int) -> None:
        self.device = device
        self.port = 0
        self.delay = self.loss = 0.0

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    def silence(self) -> None:
        """Swallow everything of what is connected now or will be, without a word, until `speak`."""
        raise NotImplementedError

    def speak(self) -> None:
        """New connections work again; those from before stay dead."""
        raise NotImplementedError


class _Connection:
    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter], dead: bool) -> None:
        self.writers, self.dead = writers, dead

    def abort(self) -> None:
        for each in self.writers:
            each.transport.abort()


class StreamWire(Wire):
    """Carries TCP connections."""

    def __init__(self, device: int) -> None:
        super().__init__(device)
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._breaker = asyncio.create_task(self._break())

    async def stop(self) -> None:
        self._server.close()
        for task in (self._breaker, *self._tasks):
            task.cancel()
        await asyncio.gather(self._breaker, *self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn of the loop

    def cut(self) -> None:
        """Both ends see a reset."""
        for each in self._connections:
            each.abort()

    def silence(self) -> None:
        self._silent = True
        for each in self._connections:
            each.dead = True

    def speak(self) -> None:
        self._silent = False

    async def _break(self) -> None:
        while True:
            await asyncio.sleep(1)
            if random.random() < self.loss:
                self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.device)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        connection = _Connection((writer, far_writer), self._silent)
        self._connections.add(connection)
        try:
            both = [
                asyncio.create_task(self._carry(reader, far_writer, connection)),
                asyncio.create_task(self._carry(far_reader, writer, connection)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except asyncio.CancelledError:
            pass  # the end of the soak
        finally:
            connection.abort()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)
        sender = asyncio.create_task(self._send(queue, writer, connection))
        try:
            with contextlib.suppress(OSError):
                while octets := await reader.read(_CHUNK):
                    await queue.put((loop.time() + self.delay, octets))
            await queue.put((0.0, b""))
            await sender
        finally:
            sender.cancel()

    async def _send(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                due, octets = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not octets:
                    return
                if not connection.dead:
                    writer.write(octets)
                    await writer.drain()


class DatagramWire(Wire):
    """Carries datagrams between any number of sockets and one device."""

    def __init__(self, device: int) -> None:
        super().__init__(device)
        self._near: Any = None
        self._far: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._silent = False
        self._drops: dict[tuple[int, str], int] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(lambda: _Ear(self._up), local_addr=("127.0.0.1", 0))
        self.port = self._port_of(self._near)
        self._watch = asyncio.create_task(self._watch_drops())

    async def stop(self) -> None:
        self._watch.cancel()
        for each in (self._near, *self._far.values()):
            each.close()
        await asyncio.sleep(0)

    def silence(self) -> None:
        self._silent = True

    def speak(self) -> None:
        self._silent = False

    @property
    def drops(self) -> int:
        """Datagrams that the system has dropped so far because nobody read them in time, on both sides of the wire."""
        return sum(self._drops.values())

    async def _watch_drops(self) -> None:
        while True:
            ports = {self.port, self.device, *(port for _, port in self._far), *map(self._port_of, self._far.values())}
            for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                if port in ports and int(fields[-1]):
                    self._drops[port, fields[9]] = int(fields[-1])  # a socket is known by its inode
            await asyncio.sleep(0.2)

    @staticmethod
    def _port_of(transport: Any) -> int:
        return int(transport.get_extra_info("sockname")[1])

    def _up(self, octets: bytes, source: tuple[str, int]) -> None:
        self._pass(self._forward, octets, source)

    def _forward(self, octets: bytes, source: tuple[str, int]) -> None:
        known = self._far.get(source)
        if known is not None:
            known.sendto(octets)
            return

        async def open_far() -> None:
            loop = asyncio.get_running_loop()
            made, _ = await loop.create_datagram_endpoint(
                lambda: _Ear(lambda back, _: self._pass(self._near.sendto, back, source)),
                remote_addr=("127.0.0.1", self.device),
            )
            if self._far.setdefault(source, made) is not made:
                made.close()
            self._far[source].sendto(octets)

        task = asyncio.get_running_loop().create_task(open_far())
        self._opening = task  # kept so that it is not collected

    def _pass(self, send: Any, octets: bytes, address: tuple[str, int]) -> None:
        if self._silent or (self.loss and random.random() < self.loss):
            return
        if self.delay:
            late = self.delay * random.uniform(1 - _REORDERED, 1 + _REORDERED)
            asyncio.get_running_loop().call_later(late, send, octets, address)
        else:
            send(octets, address)


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, take: Any) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data, addr)
