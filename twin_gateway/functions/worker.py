"""The compute process: long computations run beside the service, so that the event loop never waits for them."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from twin_gateway.children import bind_to_parent

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class ComputeError(RuntimeError):
    """A computation did not end in its time, or its process died."""


class Worker:
    """One process that computes, started when first needed and again when it has died.

    Functions must be module-level and their arguments picklable: pure computations are. One runs at a time.

    Args:
        nice: how far the process gives way to the service; 0 for what people wait for.
    """

    def __init__(self, *, nice: int = 5) -> None:
        self._nice = nice
        self._executor: ProcessPoolExecutor | None = None
        self._lock = asyncio.Lock()

    async def run(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """The function's result; what it raises is raised here.

        Raises:
            ComputeError: the process died (twice in a row).
        """
        return await self._run(None, function, arguments, named)

    async def run_within(self, seconds: float, function: Callable[..., T], /, *arguments: object) -> T:
        """As `run`, with a limit after which the process is ended.

        Raises:
            ComputeError: it took longer, or the process died.
        """
        return await self._run(seconds, function, arguments, {})

    async def _run(
        self, seconds: float | None, function: Callable[..., T], arguments: tuple[object, ...], named: dict[str, object]
    ) -> T:
        loop = asyncio.get_running_loop()
        async with self._lock:
            for attempt in (1, 2):
                if self._executor is None:
                    context = multiprocessing.get_context("spawn")
                    self._executor = ProcessPoolExecutor(
                        1, mp_context=context, initializer=_settle, initargs=(os.getpid(), self._nice)
                    )
                try:
                    future = self._executor.submit(function, *arguments, **named)
                    # not wait_for: it forgets a cancellation that comes together with the result
                    async with asyncio.timeout(seconds):
                        return await asyncio.wrap_future(future, loop=loop)
                except BrokenProcessPool as error:
                    self._discard()
                    log.warning("the compute process died during %s (attempt %d)", function.__name__, attempt)
                    if attempt == 2:
                        raise ComputeError(f"the compute process died during {function.__name__}") from error
                except TimeoutError as error:
                    self._discard()
                    raise ComputeError(f"{function.__name__} took longer than {seconds:g} s") from error
                except asyncio.CancelledError:
                    self._discard()
                    raise
        raise AssertionError("unreachable")

    def _discard(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            if process.is_alive():
                process.terminate()

    def close(self) -> None:
        """End the process."""
        self._discard()


def _settle(parent: int, nice: int) -> None:
    """In the process: end with the service, and give way to it so far, as it must answer in time.

    One thread for linear algebra (numpy is not imported yet): several threads wait for each other in busy loops when
    the service or others need the cores, which costs more than they gain.
    """
    bind_to_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service ends its processes
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.nice(nice)
