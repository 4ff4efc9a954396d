"""Installs npm packages of peers once; used by the test sessions that need them."""

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
    return node_with(PEER, "node-opcua-client")


def node_with(folder: Path, package: str) -> str:
    """The path of node, with a package of a folder's package.json installed there; skips where that is impossible."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    with (Path(tempfile.gettempdir()) / f"twin-gateway-{folder.name}-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / package / "package.json").exists():
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm cannot install {package}: {done.stderr.strip()[-200:]}")
    return node
