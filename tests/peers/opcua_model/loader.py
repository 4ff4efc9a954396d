"""node-opcua's NodeSet2 loader in a process of its own, installed by npm when it is first asked for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.opcua.install import node_with

PEER = Path(__file__).parent


def load(*files: str | Path) -> Any:
    """What node-opcua made of NodeSet2 files (`standard` is its own namespace 0); skips where it cannot be had."""
    return _run("load.js", *map(str, files))


def nodes_of(uri: str, files: Sequence[Path], identifiers: Sequence[str]) -> Any:
    """What node-opcua made of some nodes of a namespace, by their string identifiers; None for one it has not."""
    return _run("nodes.js", uri, *map(str, files), "--", *identifiers)


def _run(script: str, *words: str) -> Any:
    node = node_with(PEER, "node-opcua-address-space")
    command = [node, str(PEER / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
