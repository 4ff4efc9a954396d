"""Installs the npm OPC UA client once; used by the test sessions that need it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

PEER = Path(__file__).parent


def node_opcua() -> str:
    """The path of node, with node-opcua-client installed beside this file; skips the test where that is impossible."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    with (Path(tempfile.gettempdir()) / "twin-gateway-opcua-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PEER / "node_modules" / "node-opcua-client" / "package.json").exists():
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=PEER, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm cannot install node-opcua-client: {done.stderr.strip()[-200:]}")
    return node
