"""Measures how long the callbacks of the event loop hold it up: thread CPU time of each, and the worst by name.

CPU time of the loop's thread, not time of day: what other processes and threads take from the machine is no fault of
the callback, and a test that counted it would fail by chance. A callback that sleeps or waits without computing is not
seen (nothing here may do that; linters look for it). A measurement of the tests' coverage rests meanwhile: it would
be counted two and three times over.

with LoopWatch() as watch:           # every asyncio loop of this thread but uvloop
    ...
assert watch.worst.cpu < 0.020, watch.report()
"""

from __future__ import annotations

import asyncio
import asyncio.events
import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

KEPT = 20
_LIBRARY = str(Path(asyncio.__file__).parent.parent)
_WORTH_NAMING_S = 0.002


@dataclass(frozen=True, slots=True)
class Held:
    """One callback.

    Attributes:
        cpu: s of CPU that it took.
        collecting: s of it in the garbage collector.
        name: task, coroutine and the lines between which it ran, or the function.
    """

    cpu: float
    collecting: float
    name: str

    @property
    def own(self) -> float:
        """s of CPU without the garbage collector, whose turn comes to whoever makes the next object."""
        return self.cpu - self.collecting

    def __str__(self) -> str:
        collecting = f" (garbage {1e3 * self.collecting:.1f})" if self.collecting > 1e-4 else ""
        return f"{1e3 * self.cpu:6.1f} ms{collecting}  {self.name}"


_NONE = Held(0.0, 0.0, "")


class LoopWatch(AbstractContextManager["LoopWatch"]):
    """Measures while it is entered.

    Attributes:
        calls: callbacks measured.
        total: s of CPU of all of them.
    """

    def __init__(self) -> None:
        self.calls, self.total = 0, 0.0
        self._worst: list[Held] = []
        self._run: Callable[[Any], None] | None = None
        self._collecting = self._collect_start = 0.0
        self._thread = threading.get_ident()
        self._trace: Callable[..., Any] | None = None

    @property
    def worst(self) -> Held:
        """The one that took longest."""
        return max(self._worst, key=lambda held: held.cpu, default=_NONE)

    @property
    def worst_own(self) -> Held:
        """The one that took longest by itself."""
        return max(self._worst, key=lambda held: held.own, default=_NONE)

    def report(self, count: int = KEPT) -> str:
        """The worst callbacks, a line each."""
        lines = [str(held) for held in sorted(self._worst, key=lambda held: -held.cpu)[:count]]
        return "\n".join([f"{self.calls} callbacks, {self.total:.2f} s of CPU", *lines])

    def clear(self) -> None:
        """Forget what was measured."""
        self.calls, self.total = 0, 0.0
        self._worst.clear()

    def __enter__(self) -> LoopWatch:
        self._trace = sys.gettrace()
        sys.settrace(None)
        run = self._run = asyncio.events.Handle._run  # type: ignore[attr-defined]  # private, and the only place
        watch = self

        def measured(handle: Any) -> None:
            if threading.get_ident() != watch._thread:
                run(handle)
                return
            callback, before = handle._callback, _place(handle._callback)
            watch._collecting = 0.0
            start = time.thread_time()
            run(handle)
            cpu = time.thread_time() - start
            watch.calls += 1
            watch.total += cpu
            if cpu > _WORTH_NAMING_S:
                watch._note(Held(cpu, watch._collecting, f"{_name(callback)} {before} .. {_place(callback)}"))

        asyncio.events.Handle._run = measured  # type: ignore[attr-defined]  # see above
        gc.callbacks.append(self._collected)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.events.Handle._run = self._run  # type: ignore[attr-defined]  # see above
        gc.callbacks.remove(self._collected)
        sys.settrace(self._trace)

    def _note(self, held: Held) -> None:
        self._worst.append(held)
        if len(self._worst) > 4 * KEPT:
            self._worst = sorted(self._worst, key=lambda held: -held.cpu)[:KEPT]

    def _collected(self, phase: str, _info: dict[str, int]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collect_start = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._collect_start


def _task(callback: Any) -> asyncio.Task[Any] | None:
    owner = getattr(callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None


def _name(callback: Any) -> str:
    task = _task(callback)
    if task is None:
        return str(getattr(callback, "__qualname__", None) or repr(callback))
    coroutine = task.get_coro()
    return f"[{task.get_name()}] {getattr(coroutine, '__qualname__', coroutine)}"


def _place(callback: Any) -> str:
    """Function and line where a task stands now; the innermost that is no part of the language's library."""
    task = _task(callback)
    at: Any = task.get_coro() if task is not None else None
    place = ""
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "ag_frame", None) or getattr(at, "gi_frame", None)
        if frame is not None and (not place or not _library(frame.f_code.co_filename)):
            place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        at = getattr(at, "cr_await", None) or getattr(at, "ag_await", None) or getattr(at, "gi_yieldfrom", None)
    return place


def _library(file: str) -> bool:
    return file.startswith(_LIBRARY) and "site-packages" not in file
