"""Free memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import ctypes
from pathlib import Path
from twin_gateway.memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

ctypes.CDLL(None).mallopt(-3, 1 << 25)  # nothing of these sizes has pages of its own
pieces = [b"." * 20_000 for _ in range(4_000)]
stays = pieces[::2]
del pieces
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_pages_that_are_free_between_what_stays_go_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 20_000_000
