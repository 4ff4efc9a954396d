"""Child processes that never outlive their parent: in sessions of their own, ended by id, bound to who started them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL = 1
_MAX_WAITING = 1 << 18
_LINE_LIMIT = 1 << 16


class ChildError(RuntimeError):
    """A child did not start; the message says which and why."""


def bind_to_parent(parent: int) -> None:
    """In a child process: ask the kernel to end it when its parent dies, also by kill -9; does nothing but on Linux.

    Args:
        parent: process id of the parent, which may have died meanwhile.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _binder() -> Callable[[], None] | None:
    """What a child does before it becomes the program."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent = ctypes.CDLL(None), os.getpid()

    def bind() -> None:
        # Between fork and exec nothing may be imported or loaded.
        library.prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


class Child:
    """One program beside ours, started as often as needed.

    Args:
        name: for people and for the log file.
        arguments: program and arguments.
        log: takes stderr, and stdout where no lines are read.
        on_line: takes each JSON object that comes on stdout; without it stdout goes to the log too.
        environment: of the child.

    Attributes:
        ready: set when it has said that it is ready.
        ready_line: what it said then.
        told, untold: lines written to its stdin, and lines that it was too slow for.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        log: Path,
        *,
        on_line: Callable[[dict[str, Any]], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.told = 0
        self.untold = 0
        self._arguments = [str(argument) for argument in arguments]
        self._log = log
        self._on_line = on_line
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        self.ready_line: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self.running and self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process.

        Raises:
            ChildError: the program cannot be started.
        """
        self.ready.clear()
        pipe = asyncio.subprocess.PIPE
        with self._log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._arguments,
                    stdin=pipe if self._on_line else asyncio.subprocess.DEVNULL,
                    stdout=pipe if self._on_line else log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                    limit=_LINE_LIMIT,
                    preexec_fn=_binder(),
                )
            except OSError as error:
                raise ChildError(f"{self.name} cannot be started: {error}") from error
        if self._on_line is not None:
            self._reader = asyncio.create_task(self._read(self._process), name=f"lines of {self.name}")

    async def wait_ready(self, seconds: float) -> None:
        """Wait for the line that says it is ready.

        Raises:
            ChildError: it ended, or did not become ready in time; with the last lines of its log.
        """
        ready, ended = asyncio.create_task(self.ready.wait()), asyncio.create_task(self.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if not self.ready.is_set():
            what = f"is not ready after {seconds:g} s" if self.running else "ended at once"
            raise ChildError(f"{self.name} {what}:\n{self.last_words()}")

    async def wait(self) -> None:
        """Return when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    def tell(self, lines: Sequence[str]) -> None:
        """Write lines to its stdin; lines that it is too slow for are counted and not told."""
        stdin = self._process.stdin if self._process is not None else None
        if not lines or not self.running or stdin is None:
            return
        if stdin.transport.get_write_buffer_size() > _MAX_WAITING:
            self.untold += len(lines)
            return
        self.told += len(lines)
        # It may end between the question and the writing: the next round sees that.
        with contextlib.suppress(ConnectionError, RuntimeError):
            stdin.write("".join(lines).encode())

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None or self._on_line is None:
            return
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:  # nobody could take it; what follows it is read again
                self._note(f"a line of more than {_LINE_LIMIT} octets on stdout was dropped\n".encode())
                continue
            if not raw:
                return
            try:
                line = json.loads(raw)
            except ValueError:
                line = None
            if not isinstance(line, dict):
                self._note(raw)
            elif line.get("ready"):
                self.ready_line = line
                self.ready.set()
            elif "error" in line:
                self._note(raw)
            else:
                self._on_line(line)

    def _note(self, raw: bytes) -> None:
        with self._log.open("ab") as log:
            log.write(raw)

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 4096))
            text = log.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    async def end(self, patience: float = 5.0) -> None:
        """SIGTERM, and SIGKILL for what is still there after `patience` seconds."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
