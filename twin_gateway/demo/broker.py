"""A broker for the demo: a `mosquitto` of this machine, else the NATS server with its MQTT listener, else none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from twin_gateway.children import Child

_SYSTEM_PLACES = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts mosquitto, which is not on the path of ordinary users."""


def find_program(name: str) -> str | None:
    """A program on the path, beside this Python, or where systems put servers."""
    beside = str(Path(sys.executable).parent)
    places = os.pathsep.join((os.environ.get("PATH", ""), beside, _SYSTEM_PLACES))
    return shutil.which(name, path=places)


def make_broker(folder: Path, port: int, log: Path, environment: Mapping[str, str]) -> Child | None:
    """A broker that listens on loopback without users; None when this machine has none.

    Args:
        folder: takes the configuration and what the broker stores.
        port: where it listens.
        log: of the broker.
        environment: of its process.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if program := find_program("mosquitto"):
        file = folder / "mosquitto.conf"
        # Loopback only and no users: the demo has no secrets. What is retained comes anew from the gateway.
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_dest stderr"]
        # Whoever subscribes to everything with QoS 1 gets thousands of retained messages at once.
        lines.append("max_queued_messages 100000")
        if os.geteuid() == 0:
            # A process that changes its user is no longer ended by the kernel together with its parent.
            lines.append("user root")
        file.write_text("\n".join(lines) + "\n")
        return Child("mosquitto", [program, "-c", file], log, environment=environment)
    if program := find_program("nats-server"):
        file = folder / "nats.conf"
        store = folder / "nats"
        file.write_text(
            f'listen: "127.0.0.1:-1"\nserver_name: demo\njetstream {{ store_dir: "{store}" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{port}" }}\n'
        )
        return Child("nats-server", [program, "-c", file], log, environment=environment)
    return None
