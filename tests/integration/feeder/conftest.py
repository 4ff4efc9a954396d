"""One field of all devices for all tests of it, meters polled every second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.feeder.rig import FieldRig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldRig]:
    made = FieldRig(tmp_path_factory.mktemp("field"), files=("ps01", "rmu", "meters", "sensors"))
    mapping = made.mappings / "meters.yaml"
    mapping.write_text(mapping.read_text("utf-8").replace("poll: 5 s", "poll: 1 s"), "utf-8")
    try:
        made.start()
        yield made
    finally:
        made.stop()
