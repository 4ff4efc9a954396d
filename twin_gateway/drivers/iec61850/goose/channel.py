"""The gateway's end of the capture: starts the process or connects to its service, and takes its records in slices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, cast

from .frame import MAX_FRAME
from .process import HEAD, Kind

_MODULE = "twin_gateway.drivers.iec61850.goose.process"
_SLICE = 32
_READY_S = 20.0
_END_S = 2.0
_CHANNEL_OCTETS = 1 << 20
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What the capture process gets of the gateway's environment, where secrets may stand."""

Receiver = Callable[[Kind, bytes], None]
"""Takes one record: its kind and its octets."""


class CaptureChannel(asyncio.Protocol):
    """Records of one capture process; `closed` ends with the reason when it does.

    Args:
        receive: called for every record of a frame, in order.
    """

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()

    @staticmethod
    async def open(
        interface: str, streams: Iterable[tuple[bytes, int]], receive: Receiver, *, service: str | None = None
    ) -> CaptureChannel:
        """Start the capture process, or connect to its service, and wait until it listens.

        Args:
            interface: network interface.
            streams: (destination, APPID) of the subscriptions.
            receive: see the class.
            service: Unix socket of the service; None starts a process.

        Raises:
            OSError: it cannot be started, may not open the socket, or is not ready in time.
        """
        channel = CaptureChannel(receive)
        loop = asyncio.get_running_loop()
        request = {"interface": interface, "streams": [(mac.hex(), app_id) for mac, app_id in streams]}
        try:
            async with asyncio.timeout(_READY_S):
                if service is None:
                    await loop.create_unix_connection(lambda: channel, sock=await channel._start())
                else:
                    await loop.create_unix_connection(lambda: channel, service)
                if channel._transport is not None:
                    channel._transport.write(json.dumps(request).encode() + b"\n")
                either: set[asyncio.Future[Any]] = {channel.ready, channel.closed}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if channel.closed.done():
                raise ConnectionError(channel.closed.result())
        except TimeoutError:
            await channel.close()
            raise TimeoutError(f"the capture of {interface} is not ready after {_READY_S:g} s") from None
        except BaseException:
            await channel.close()
            raise
        return channel

    async def _start(self) -> socket.socket:
        mine, theirs = socket.socketpair()
        self._socket = mine
        try:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHANNEL_OCTETS)
            # The end of the socket ends it: it needs neither signals nor to be told.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing from the working directory: it runs with rights
                "-m",
                _MODULE,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={
                    **{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                },
            )
        finally:
            theirs.close()
        mine.setblocking(False)
        return mine

    async def close(self) -> None:
        """Close the channel, which ends the process; what does not end in time is killed."""
        if self._transport is not None:
            self._transport.close()
        elif self._socket is not None:
            self._socket.close()
        if not self.closed.done():
            self.closed.set_result("closed")
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        finally:
            if process.returncode is None:  # cancelled while waiting
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    # ---- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The other end is there."""
        # uvloop's transports are none of asyncio's by class, but do the same.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The capture process has ended."""
        if not self.closed.done():
            self.closed.set_result(f"the capture process ended{f': {exc}' if exc else ''}")

    def data_received(self, data: bytes) -> None:
        """Take records; of many only some at once, so that others have their turn."""
        self._buffer += data
        self._take()

    def _take(self) -> None:
        try:
            self._take_slice()
        except Exception as error:
            # A fault of ours: whoever waits for the end gets it; without this reading would stay paused for ever.
            if not self.closed.done():
                self.closed.set_exception(error)
            if self._transport is not None:
                self._transport.close()

    def _take_slice(self) -> None:
        buffer, at = self._buffer, 0
        for _ in range(_SLICE):
            if self.closed.done() or len(buffer) - at < HEAD.size:
                break
            number, length = HEAD.unpack_from(buffer, at)
            if length > MAX_FRAME + 4:
                self._end(f"a record of {length} octets")
                break
            if len(buffer) - at < HEAD.size + length:
                break
            body = bytes(buffer[at + HEAD.size : at + HEAD.size + length])
            at += HEAD.size + length
            self._record(number, body)
        else:
            # More may be waiting: read nothing until it has been looked at.
            self._pause(True)
            self._loop.call_soon(self._take)
            del buffer[:at]
            return
        del buffer[:at]
        self._pause(False)

    def _pause(self, paused: bool) -> None:
        transport = self._transport
        if paused is self._paused or transport is None or transport.is_closing():
            return
        self._paused = paused
        (transport.pause_reading if paused else transport.resume_reading)()

    def _record(self, number: int, body: bytes) -> None:
        try:
            kind = Kind(number)
        except ValueError:
            self._end(f"a record of kind {number}")
            return
        if kind is Kind.REFUSED:
            self._end(body.decode("utf-8", "replace"))
        elif kind is Kind.READY:
            if not self.ready.done():
                self.ready.set_result(None)
        else:
            self._receive(kind, body)

    def _end(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(f"the capture says: {reason}")
        if self._transport is not None:
            self._transport.close()
