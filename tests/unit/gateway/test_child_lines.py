"""Lines of a child process: what cannot be taken is noted and does not end the reading."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from peers.waiting import until

from twin_gateway.children import Child

_PROGRAM = """
import json
print("x" * 200_000)
print("no json")
print(json.dumps({"ready": True}))
print(json.dumps({"value": 7}), flush=True)
input()
"""


async def test_a_line_that_is_too_long_does_not_end_the_reading(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    child = Child("talker", [sys.executable, "-c", _PROGRAM], tmp_path / "log", on_line=lines.append)
    await child.start()
    try:
        await child.wait_ready(20)
        await until(lambda: lines == [{"value": 7}], 5)
    finally:
        await child.end()
    words = (tmp_path / "log").read_text()
    assert "a line of more than 65536 octets on stdout was dropped" in words
    assert "no json" in words
