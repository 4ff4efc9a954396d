"""What the tests of changes of the running mapping share; others have beds of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from peers.mapping_bed import MappingBed, working


@pytest_asyncio.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MappingBed]:
    async for each in working(tmp_path, monkeypatch):
        yield each
