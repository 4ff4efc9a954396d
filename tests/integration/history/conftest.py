"""A table with some points and a history of it in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from peers.history.grid import HistoryGrid


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HistoryGrid]:
    """One for tests that each take a bay of their own."""
    made = HistoryGrid(tmp_path_factory.mktemp("shared") / "history", bays=6)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make_grid(tmp_path: Path) -> AsyncIterator[Callable[..., HistoryGrid]]:
    made: list[HistoryGrid] = []

    def make(**settings: object) -> HistoryGrid:
        made.append(HistoryGrid(tmp_path / "history", **settings))
        return made[-1]

    yield make
    for each in made:
        await each.stop()
