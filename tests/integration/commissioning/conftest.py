"""One small field and a gateway over it, each device and the gateway in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.acceptance.feeder import Feeder
from peers.commissioning_bed import Bed


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """The devices; no gateway runs yet."""
    feeder = Feeder(tmp_path_factory.mktemp("field"))
    bed = Bed(feeder)
    bed.write()
    try:
        feeder.start_devices()
        yield bed
    finally:
        feeder.stop()


@pytest.fixture
def alone(field: Bed) -> Bed:
    """No gateway runs."""
    if field.feeder.gateway.running:
        field.feeder.gateway.terminate()
    return field


@pytest.fixture
def running(field: Bed) -> Bed:
    """The gateway runs, all its links are up."""
    if not field.feeder.gateway.running:
        field.feeder.gateway.start()
        field.feeder.settle()
    return field


@pytest.fixture(autouse=True)
def _inside(field: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(field.folder)


@pytest.fixture
def edited(field: Bed) -> Iterator[Callable[[str, str], Path]]:
    """Changes the mapping file; it is as before after the test."""
    before = field.station.read_text()

    def edit(old: str, new: str) -> Path:
        text = field.station.read_text()
        assert text.count(old) == 1, text
        field.station.write_text(text.replace(old, new))
        return field.station

    yield edit
    field.station.write_text(before)
