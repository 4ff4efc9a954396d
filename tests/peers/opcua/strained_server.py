"""The server in a process of its own, so that its memory, its errors and its delays are its own.

Its argument is JSON (`bays`, `changing`, `limits`, `subscriptions`). It prints the port, then for each
line of its standard input how it is now.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import uvloop
from peers.opcua.rig import Rig, Users, grid

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
            listener, serving = rig.server._listener, rig.server.internal
            assert serving is not None
            # Sessions with subscriptions outlive their connections: not for long.
            serving.min_session_timeout_ms = 500.0
            subscriptions = serving.subscription_service
            subscriptions.limits = replace(subscriptions.limits, **options.get("subscriptions", {}))
            assert listener is not None
            for each in listener.sockets:
                # What the system keeps of the unread is small, so that what the server keeps is soon seen.
                with socket.socket(fileno=os.dup(each.fileno())) as same:
                    same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
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


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, handlers=[_Errors()])
    uvloop.run(_serve(json.loads(sys.argv[1])))
