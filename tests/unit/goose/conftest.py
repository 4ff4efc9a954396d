"""What the tests of the GOOSE driver share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from unit.goose.goose_bed import SUBSCRIPTION, Bed, Make, Recorder, points

from twin_gateway.drivers.contract import BoundPoint
from twin_gateway.drivers.iec61850.goose.config import SPEC, GooseConfig
from twin_gateway.drivers.iec61850.goose.driver import GooseDriver


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:

        async def build(
            of: list[BoundPoint] | None = None, *, listen: bool = True, scl: str | None = None, **how: Any
        ) -> Bed:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sock"
            subscription = {**SUBSCRIPTION, **how.pop("subscription", {})}
            chosen = {key: value for key, value in subscription.items() if value is not None}
            config = GooseConfig.model_validate(
                {"interface": "lo", "capture": str(path), "scl": scl, "subscriptions": {"trip": chosen}, **how}
            )
            assert not SPEC.check_device(config)
            bed = Bed(path, Recorder(tmp_path), GooseDriver("goose", config, points() if of is None else of))
            server = await asyncio.start_unix_server(bed.serve, path)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            if listen:
                await bed.listen()

            async def end() -> None:
                if bed.task is not None:
                    bed.task.cancel()
                    await asyncio.gather(bed.task, return_exceptions=True)
                if bed.writer is not None:
                    bed.writer.close()

            stack.push_async_callback(end)
            return bed

        yield build
