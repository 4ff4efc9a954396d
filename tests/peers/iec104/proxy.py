"""A wire between the driver and an outstation that can be cut, and that can swallow what it should carry."""

import asyncio
from contextlib import suppress


class Wire:
    """Listens and carries octets to a port of this machine.

    Attributes:
        swallow_up, swallow_down: what goes to the outstation, or comes from it, is read and dropped.
        broken: new connections are closed at once.
        carried: connections so far.
    """

    def __init__(self, target):
        self.target = target
        self.swallow_up = self.swallow_down = self.broken = False
        self.carried = 0
        self._writers, self._tasks = set(), set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        # transports that were aborted close in the next turns of the loop
        await asyncio.sleep(0)

    def cut(self):
        """Lose every connection; what has not been read yet is lost with them."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.swallow_up = self.swallow_down = False

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            if self.broken:
                return
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                return
            self.carried += 1
            self._writers |= {writer, far_writer}
            try:
                await asyncio.gather(
                    self._carry(reader, far_writer, "swallow_up"), self._carry(far_reader, writer, "swallow_down")
                )
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, reader, writer, swallow):
        with suppress(OSError):
            while octets := await reader.read(65_536):
                if not getattr(self, swallow):
                    writer.write(octets)
        writer.transport.abort()
