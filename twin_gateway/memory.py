"""Memory that is free inside the process goes back to the system.

Messages of all sizes come and go between small things that stay, so free memory lies in pieces all over the heap. glibc
gives back only what lies at its end: without this a busy gateway grows for hours although it holds no more.
"""

from __future__ import annotations

import asyncio
import ctypes

EVERY_S = 60.0


def give_back() -> bool:
    """Give free pages back to the system; whether there were any. Where the C library cannot, it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
    return trim is not None and bool(trim(0))


async def keep_given_back() -> None:
    """Do so every minute, beside the event loop: it takes some milliseconds."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_back)
