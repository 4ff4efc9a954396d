"""The small FLISR rig as a fixture, with one compute process for all tests: starting one takes longer than a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.flisr.flisr_rig import Rig, build

from twin_gateway.functions.worker import Worker

Make = Callable[..., Awaitable[Rig]]


class KeptWorker(Worker):
    """Left for the end by the functions that use it."""

    def close(self) -> None:
        """Nothing yet."""


@pytest.fixture(scope="session")
def worker() -> Iterator[KeptWorker]:
    made = KeptWorker()
    yield made
    Worker.close(made)


@pytest.fixture
async def make(tmp_path: Path, worker: KeptWorker) -> AsyncIterator[Make]:
    made: list[Rig] = []

    async def one(folder: Path = tmp_path, **settings: Any) -> Rig:
        worker._lock = asyncio.Lock()  # each test has a loop of its own
        made.append(await build(folder, settings.pop("grid", None), worker=worker, **settings))
        return made[-1]

    yield one
    for rig in made:
        await rig.stop()
