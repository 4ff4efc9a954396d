"""Ports for test peers."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_RANGE = range(20_000 + 3_000 * _WORKER, 23_000 + 3_000 * _WORKER)
"""Test processes that run side by side take their ports from ranges of their own."""
_given: set[int] = set()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody listens on and that the system gives to no outgoing connection: a client that tries again and
    again while nobody is there would in the end take it, or even connect to itself.
    """
    while True:
        port = random.choice(_RANGE)
        if port in _given and len(_given) < len(_RANGE) // 2:
            continue
        _given.add(port)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def bound_udp(port: int) -> bool:
    """Whether somebody has this UDP port by now; who has it cannot be asked without sending to it."""
    lines = "".join(Path("/proc/net", table).read_text() for table in ("udp", "udp6")).splitlines()
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines)
