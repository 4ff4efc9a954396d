"""Ports for test peers."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody listens on and that the system gives to no outgoing connection: a client that tries again and
    again while nobody is there would in the end take it, or even connect to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
