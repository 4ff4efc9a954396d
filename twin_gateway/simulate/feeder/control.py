"""The control port: injections as JSON lines over TCP on loopback, one answer a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable

from twin_gateway.simulate.feeder.injections import InjectionError, Injector

log = logging.getLogger(__name__)
_LINE = 1 << 16
_IDLE_S = 3600.0


class ControlPort:
    """Listens for injections.

    Args:
        injector: carries them out.
        done: called after each, so that the devices tell at once what has changed.

    Attributes:
        port: where it listens, once started.
    """

    def __init__(self, injector: Injector, done: Callable[[], None]) -> None:
        self._injector, self._done = injector, done
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen on loopback; 0 takes a free port.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    raw = await reader.readline()
                if not raw:
                    break
                writer.write((json.dumps(await self._answer(raw)) + "\n").encode())
                await writer.drain()
        except (ConnectionError, TimeoutError, ValueError) as error:
            log.info("a client of the control port is gone: %s", error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, raw: bytes) -> dict[str, object]:
        try:
            answer = await self._injector.carry_out(json.loads(raw))
        except (InjectionError, ValueError) as error:
            return {"ok": False, "error": str(error)}
        self._done()
        return {"ok": True, **answer}
