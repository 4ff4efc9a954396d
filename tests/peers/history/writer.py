"""A service with a history in a process of its own, to be killed: counts up one point and says what is committed.

Argument: folder. Prints JSON lines with `pid` (of the history process), `value`, `time` and `written`, some fifty a
second.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from peers.history.grid import HistoryGrid

from address_space import clock


async def _count(folder: Path) -> None:
    grid = HistoryGrid(folder)
    await grid.start()
    value = 0
    while True:
        for _ in range(10):
            value += 1
            grid.put(0, float(value))
        counters = grid.history.counters
        line = {"pid": grid.history.pid, "value": value, "time": clock.now(), "written": counters.written}
        print(json.dumps(line), flush=True)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(_count(Path(sys.argv[1])))
