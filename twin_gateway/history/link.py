"""The history process as the gateway sees it: started, restarted, spoken to in frames, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

from twin_gateway.history.frames import SIZES, Frame, FrameError, decode, sizes

log = logging.getLogger(__name__)
_BUFFER = 4 << 20
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


class ProcessLink:
    """Keeps one history process running.

    Args:
        arguments: of the process, after the number of its socket.
        began: called with its first frame, `ready`.
        heard: called with every other frame.
        ended: called when it has ended without being told to.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        began: Callable[[Frame], Awaitable[None]],
        heard: Callable[[Frame], None],
        ended: Callable[[], None],
    ) -> None:
        self._arguments = arguments
        self._began, self._heard, self._ended = began, heard, ended
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Of the process; 0 while none runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def start(self) -> None:
        """Start it and keep it running; does not wait for it."""
        self._task = asyncio.create_task(self._keep_running(), name="history process")

    async def stop(self, patience: float) -> None:
        """Tell it to commit what it has received and to end; hear what it says until then."""
        self._stopping = True
        self.send(Frame("stop").encode())
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience if self.pid else 0.0):
                    await asyncio.shield(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._end(1.0)

    async def _keep_running(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            been_ready = False
            try:
                been_ready = await self._listen(await self._launch())
            except (OSError, FrameError) as error:
                log.error("history: %s", error)
            except Exception:  # whatever it said, it is started again
                log.exception("history: what its process said failed")
            await self._end(5.0)
            if self._stopping:
                return
            self._ended()
            await asyncio.sleep(wait)
            wait = _FIRST_WAIT_S if been_ready else min(_LONGEST_WAIT_S, 2 * wait)

    async def _launch(self) -> asyncio.StreamReader:
        mine, theirs = socket.socketpair()
        for end in (mine, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "twin_gateway.history.process",
                str(theirs.fileno()),
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C reaches the whole group; the service ends its processes
                env=_environment(),
            )
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        mine.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=mine)
        return reader

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        """Until it ends; whether it had become ready."""
        been_ready = False
        while True:
            try:
                head, body = sizes(await reader.readexactly(SIZES.size))
                frame = decode(await reader.readexactly(head), await reader.readexactly(body))
            except (asyncio.IncompleteReadError, ConnectionError):
                return been_ready
            if frame.kind == "ready":
                been_ready = True
                await self._began(frame)
            else:
                self._heard(frame)

    async def _end(self, patience: float) -> None:
        """The end of the socket ends it; what does not end in time is killed."""
        process, writer = self._process, self._writer
        if writer is not None:
            writer.close()
        if process is not None:
            try:
                async with asyncio.timeout(patience):
                    await process.wait()
            except TimeoutError:
                log.error("history: the process %d did not end within %g s and is killed", process.pid, patience)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._process = self._writer = None

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send a frame; nothing happens while no process runs."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.writelines(parts)

    async def drain(self) -> None:
        """Wait until the socket has taken most of what was sent."""
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):  # its end is noticed by who listens
                await self._writer.drain()


def _environment() -> dict[str, str]:
    """Of the process: the same modules as here, one thread of linear algebra."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
