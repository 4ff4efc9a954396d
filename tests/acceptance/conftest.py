"""One feeder of processes for all acceptance tests, brought back to order before each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peers.acceptance.feeder import OBSERVER, OPERATOR, Feeder
from peers.acceptance.processes import OpcUaClient


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feeder]:
    feeder = Feeder(tmp_path_factory.mktemp("feeder"))
    try:
        feeder.start()
        yield feeder
    finally:
        feeder.stop()


@pytest.fixture
def feeder(running: Feeder) -> Feeder:
    """The feeder with everything running and all links up, whatever the test before did to it."""
    for process in (running.broker, running.gateway, *running.devices.values()):
        if not process.running:
            process.start()
    running.settle(45)
    return running


@pytest.fixture(scope="module")
def watching(running: Feeder) -> Iterator[OpcUaClient]:
    """A client without a user that subscribes to every point there is."""
    client = running.client("anonymous")
    client.watch(client.addresses())
    yield client
    client.leave()


@pytest.fixture(scope="module")
def operator(running: Feeder) -> Iterator[OpcUaClient]:
    client = running.client("operator", **OPERATOR)
    yield client
    client.leave()


@pytest.fixture(scope="module")
def observer(running: Feeder) -> Iterator[OpcUaClient]:
    client = running.client("observer", **OBSERVER)
    yield client
    client.leave()
