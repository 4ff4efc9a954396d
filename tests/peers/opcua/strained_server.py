"""The server in a process of its own, so that its memory, its errors and its delays are its own.

`serve SECONDS... LIMITS` (JSON) runs it: prints the port, then for each line of its standard input what it is like now.
`look PORT ADDRESS` is a good client: it reads a value every few milliseconds until its standard input ends, then prints
how long that took.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import uvloop
from peers.opcua.raw_peer import NULL, RawPeer
from peers.opcua.rig import POSITION, Rig, Users, grid

from address_space.opcua.settings import ServerLimits
from address_space.ports import Caller

errors: list[str] = []


class _AnyHost(Users):
    """Anonymous from all of 127.0.0.0/8, tests need more than one host, who may operate too: calls go all the way."""

    def anonymous(self, client: str) -> Caller | None:
        return Caller("", frozenset({"Observer", "Operator"}), client)


class _Errors(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        errors.append(self.format(record)[-2000:])


async def _serve(options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(repr(context)[-2000:]))
    table = grid(options.get("bays", 200))
    with tempfile.TemporaryDirectory() as directory:
        limits = ServerLimits(**options.get("limits", {}))
        async with Rig(Path(directory), table=table, policy=_AnyHost(), limits=limits) as rig:
            print(json.dumps({"port": rig.server.port}), flush=True)
            changing = loop.create_task(_change(table)) if options.get("changing") else None
            process = psutil.Process()
            while await loop.run_in_executor(None, sys.stdin.readline):
                internal = rig.server.internal
                assert internal is not None
                totals = rig.server.subscription_totals
                state = {
                    "rss": process.memory_info().rss,
                    "connections": rig.server.connections,
                    "sessions": rig.server.sessions,
                    "subscriptions": totals.subscriptions,
                    "queued": totals.queued,
                    "dropped": totals.dropped + totals.lost,
                    "tasks": len(asyncio.all_tasks()),
                    "errors": errors,
                    **{name: getattr(internal.counters, name) for name in type(internal.counters).__slots__},
                }
                print(json.dumps(state), flush=True)
            if changing is not None:
                changing.cancel()


async def _change(table: Any) -> None:
    """All positions change, as fast as the loop has time for."""
    import numpy as np

    from address_space import clock
    from address_space.point import Batch

    rows = np.arange(9, len(table.status), dtype=np.int32)
    values = 1
    while True:
        values ^= 3
        times = np.full(len(rows), clock.now(), np.int64)
        table.ingest(Batch(rows, np.full(len(rows), values, np.float64), np.zeros(len(rows), np.uint32), times))
        await asyncio.sleep(0.01)


def _look(port: int) -> None:
    import struct
    import threading

    node = POSITION.encode()
    wanted = struct.pack("<dIi", 0.0, 2, 1) + struct.pack("<BHi", 3, 2, len(node)) + node
    wanted += struct.pack("<I", 13) + NULL + b"\0\0" + NULL
    peer = RawPeer(port, timeout=20.0, source="127.0.0.2").connect()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print(json.dumps({"looking": True}), flush=True)
    times, wrong = [], 0
    while not ended.is_set():
        began = time.perf_counter()
        answer = peer.call(631, wanted)
        times.append(time.perf_counter() - began)
        wrong += answer[16:20] != b"\0\0\0\0" or answer[28:32] != b"\1\0\0\0" or answer[33:38] != b"\x06\2\0\0\0"
        ended.wait(0.004)
    times.sort()
    figures = {
        "reads": len(times),
        "wrong": wrong,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
        "max_ms": times[-1] * 1000,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, handlers=[_Errors()])
    if sys.argv[1] == "serve":
        uvloop.run(_serve(json.loads(sys.argv[2])))
    else:
        _look(int(sys.argv[2]))
