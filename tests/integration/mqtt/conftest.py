"""Brokers for the tests of the MQTT mirror, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.mqtt.brokers import Broker, mosquitto


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    brokers: list[Broker] = []

    def make(command: Callable[[Path, int], list[str]] | None = None) -> Broker:
        broker = Broker(tmp_path, command or mosquitto())
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    made = make_broker()
    made.start()
    return made
