"""Processes that resolve mapping files side by side: started for one check, ended with it, spoken to by pipes."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from twin_gateway.children import bind_to_parent
from twin_gateway.mapping.one_file import FileResult, Resolver, UnforeseenError

_LENGTH: Final = struct.Struct("<Q")
_PROGRAM: Final = "from twin_gateway.mapping.workers import serve; serve()"
_END_S: Final = 5.0
_MOST: Final = 8
"""Processes at most: what they find is taken up by one, and a container may have less memory than cores."""


class WorkerError(Exception):
    """A process did not start or has died."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file to be resolved; `index` is its place in the order of the files."""

    index: int
    path: Path
    name: str
    beside: Path | None


def cores() -> int:
    """How many processes are to work at once."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, _MOST)


def resolve_here(around: bytes, tasks: Sequence[Task]) -> Iterator[tuple[int, FileResult]]:
    """Index and result of each task, one after the other in this process.

    Raises:
        UnforeseenError: a file must be looked at together with the others.
    """
    resolver = Resolver(around)
    for task in tasks:
        yield task.index, resolver.resolve(task.path, task.name, task.beside)


def resolve_beside(around: bytes, tasks: Sequence[Task], processes: int) -> Iterator[tuple[int, FileResult]]:
    """Index and result of each task as they are done, in so many processes. They are ended when the iterator is.

    Raises:
        UnforeseenError: a file must be looked at together with the others.
        WorkerError: a process did not start or has died.
    """
    waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: queue.SimpleQueue[tuple[int, FileResult] | Exception] = queue.SimpleQueue()
    children: list[subprocess.Popen[bytes]] = []
    threads: list[threading.Thread] = []
    try:
        for _ in range(min(processes, len(tasks))):
            waiting.put(None)
            children.append(child := _start())
            threads.append(threading.Thread(target=_drive, args=(child, around, waiting, done), daemon=True))
            threads[-1].start()
        for _ in tasks:
            found = done.get()
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        for child in children:
            child.kill()  # it has nothing to put in order, and may be stopped or deaf
        for child in children:
            child.wait()
        for thread in threads:
            thread.join(_END_S)
        for child in children:
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with suppress(OSError):  # what was still to be told to a process that has died
                        stream.close()


def _start() -> subprocess.Popen[bytes]:
    # Nothing is imported from the directory that people happen to work in, and the main module is not run again.
    arguments = [sys.executable, "-P", "-c", _PROGRAM]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TWIN_GATEWAY_PARENT": str(os.getpid())}
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
    except OSError as error:
        raise WorkerError(f"no process for the check: {error}") from error


def _drive(
    child: subprocess.Popen[bytes],
    around: bytes,
    waiting: queue.SimpleQueue[Task | None],
    done: queue.SimpleQueue[tuple[int, FileResult] | Exception],
) -> None:
    """In a thread: hand tasks to one process until none is left."""
    to, back = child.stdin, child.stdout
    assert to is not None and back is not None  # noqa: S101 - both are pipes
    try:
        _write(to, around)
        while (task := waiting.get()) is not None:
            _write(to, pickle.dumps(task))
            found = pickle.loads(_read(back))  # noqa: S301 - from our own process
            done.put(found if isinstance(found, Exception) else (task.index, found))
    except (OSError, EOFError) as error:
        done.put(WorkerError(f"a process of the check has died: {error}"))
    except Exception as error:  # whatever else it says or does: somebody waits for an answer
        done.put(WorkerError(f"a process of the check does not answer as it should: {error!r}"))


def serve() -> None:
    """In the process: resolve what comes in until nothing does any more."""
    bind_to_parent(int(os.environ.pop("TWIN_GATEWAY_PARENT")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its processes
    take, give = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plug-in prints is no result
    # It makes millions of objects and hardly any cycle; it does not live long.
    import gc  # noqa: PLC0415 - only here

    gc.disable()
    try:
        resolver = Resolver(_read(take))
        while True:
            task: Task = pickle.loads(_read(take))  # noqa: S301 - from our parent
            try:
                result = resolver.resolve(task.path, task.name, task.beside)
                answer = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
            except Exception as error:
                what = error if isinstance(error, UnforeseenError) else UnforeseenError(f"{task.name}: {error!r}")
                answer = pickle.dumps(what)
            _write(give, answer)
    except EOFError:
        return


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    size: int = _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data: Any = stream.read(size)
    if len(data) < size:
        raise EOFError("the pipe has ended")
    return bytes(data)
