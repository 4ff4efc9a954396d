"""node-opcua's NodeSet2 loader in a process of its own, installed by npm when it is first asked for."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

PEER = Path(__file__).parent


def load(*files: str | Path) -> Any:
    """What node-opcua made of NodeSet2 files (`standard` is its own namespace 0); skips where it cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    with (Path(tempfile.gettempdir()) / "twin-gateway-opcua-model-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (PEER / "node_modules" / "node-opcua-address-space" / "package.json").exists():
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=PEER, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm cannot install node-opcua-address-space: {done.stderr.strip()[-200:]}")
    command = [node, str(PEER / "load.js"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
