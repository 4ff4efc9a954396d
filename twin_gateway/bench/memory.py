"""Resident memory of this process, for benchmarks."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path


def resident() -> int:
    """Resident memory in octets, after what is free has gone back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * 4096
