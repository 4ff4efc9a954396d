"""What FLISR lets go on beside its rounds: computations, commands, writing; what of it fails is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from twin_gateway.functions.alarms import Alarms

log = logging.getLogger(__name__)


class Beside:
    """Tasks, until they end or FLISR does."""

    def __init__(self, alarms: Alarms, place: str) -> None:
        self._alarms = alarms
        self._place = place
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let something go on beside; a failure is told as an event."""
        task = asyncio.create_task(work, name=f"flisr {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self.tell_failure(task.exception(), task.get_name())

    def tell_failure(self, error: BaseException | None, what: str = "FLISR") -> None:
        """Something of FLISR itself has failed: an event, so that people know."""
        self._alarms.event("G02", self._place, f"{what} failed: {error}", 800)

    async def close(self) -> None:
        """End what goes on beside; commands that have left end in the desk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
