"""Waiting in tests: for what comes at once when the machine is idle and takes its time when it is crowded.

Limits are written as what is generous on an idle machine; here they become what a crowded one may need. A test that
means a time itself (a timer of a protocol, a promise to users) measures it, and uses neither.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 4.0
"""What limits are multiplied with."""
_Found = TypeVar("_Found")


def patient(seconds: float) -> asyncio.Timeout:
    """`asyncio.timeout` of a crowded machine."""
    return asyncio.timeout(PATIENCE * seconds)


async def until(condition: Callable[[], _Found], seconds: float = 15.0, what: str = "the condition") -> _Found:
    """What the condition gives as soon as it is something; the test fails when that does not come about."""
    deadline = time.monotonic() + PATIENCE * seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {PATIENCE * seconds:g} s")
        await asyncio.sleep(0.02)
    return found


def wait_until(
    condition: Callable[[], _Found], seconds: float = 15.0, what: Callable[[], object] | str = "the condition"
) -> _Found:
    """The same for what has no event loop; `what` may be called for what to say then."""
    deadline = time.monotonic() + PATIENCE * seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"did not come about within {PATIENCE * seconds:g} s: {said}")
        time.sleep(0.02)
    return found


def pause(pid: int) -> None:
    """Stop a process; it has stopped when this returns, not a moment later."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    while any((each / "stat").read_text().rpartition(")")[2].split()[0] != "T" for each in threads.iterdir()):
        time.sleep(0.005)
