"""Retained topics of points that are retired: cleared once, unless a new point has the address."""

from __future__ import annotations

import json

import numpy as np
import pytest

from address_space.address import parse
from address_space.catalogue import classify
from address_space.edits import Edit
from address_space.journal import Cursor
from address_space.point import Batch, Point, PointProfile
from address_space.table import PointTable
from twin_gateway.mqtt.lanes import GroupLane, Lane, MetadataLane, PointLane

PLACE = "dso1/north/PS01/MV1/F05"
ADDRESSES = [f"{PLACE}/_/MMXU1/TotW", f"{PLACE}/_/MMXU1/Hz", "dso1/north/PS01/MV1/F06/_/MMXU1/TotW"]


class Mirrored:
    """A table whose lanes follow it as those of the mirror do."""

    def __init__(self) -> None:
        self.table = PointTable()
        self.add(*ADDRESSES)
        self.lanes: dict[str, Lane] = {
            "v": PointLane(self.table, "twin"),
            "g": GroupLane(self.table, "twin", 5),
            "m": MetadataLane(self.table, "twin", "dso1/_sys/gw1", None),
        }
        self._edits: Cursor[Edit] = self.table.edits.cursor("test")
        self._changes = self.table.journal.cursor("test")
        self.broker: dict[str, bytes] = {}
        self.published: list[str] = []
        self.follow()

    def add(self, *addresses: str) -> None:
        rows = self.table.add(Point(text, PointProfile.of(classify(parse(text)))) for text in addresses)
        self.table.ingest(Batch.of(list(rows), [1.0] * len(rows)))

    def retire(self, *addresses: str) -> None:
        self.table.retire(np.array([self.table.find(text) for text in addresses], np.int32))

    def follow(self) -> None:
        for lane in self.lanes.values():
            lane.extend()
        for edit in self._edits.take():
            for lane in self.lanes.values():
                lane.edited(edit)
        for chunk in self._changes.take():
            for kind in "vg":
                self.lanes[kind].changed(chunk.rows)
        self.publish()

    def publish(self) -> None:
        self.published = []
        for lane in self.lanes.values():
            while len(items := lane.queue.take(64)) or len(items := lane.queue.take_due(64)):
                for message in lane.encode(items):
                    self.published.append(message.topic)
                    if message.payload:
                        self.broker[message.topic] = message.payload
                    else:
                        self.broker.pop(message.topic, None)

    def topics(self) -> set[str]:
        return set(self.broker)


@pytest.fixture
def mirrored() -> Mirrored:
    return Mirrored()


def test_value_and_metadata_of_a_retired_point_are_cleared_and_its_place_tells_of_the_others(
    mirrored: Mirrored,
) -> None:
    mirrored.retire(ADDRESSES[1])
    mirrored.follow()
    assert not {f"twin/v/{ADDRESSES[1]}", f"twin/m/{ADDRESSES[1]}"} & mirrored.topics()
    assert f"twin/v/{ADDRESSES[0]}" in mirrored.topics()
    assert list(json.loads(mirrored.broker[f"twin/g/{PLACE}"])) == ["_/MMXU1/TotW"]


def test_a_place_without_points_is_cleared(mirrored: Mirrored) -> None:
    mirrored.retire(*ADDRESSES[:2])
    mirrored.follow()
    assert mirrored.topics() == {f"twin/{kind}/{ADDRESSES[2]}" for kind in "vm"} | {"twin/g/dso1/north/PS01/MV1/F06"}


def test_after_a_reconnection_nothing_is_said_of_what_was_cleared(mirrored: Mirrored) -> None:
    mirrored.retire(*ADDRESSES[:2])
    mirrored.follow()
    for lane in mirrored.lanes.values():
        lane.everything_due()
    mirrored.publish()
    assert {topic.split("/", 2)[2] for topic in mirrored.published} == {ADDRESSES[2], "dso1/north/PS01/MV1/F06"}


def test_what_comes_back_before_it_was_cleared_is_not_cleared(mirrored: Mirrored) -> None:
    before = mirrored.topics()
    mirrored.retire(*ADDRESSES[:2])
    mirrored.add(*ADDRESSES[:2])
    mirrored.follow()
    assert mirrored.topics() == before
    assert list(json.loads(mirrored.broker[f"twin/g/{PLACE}"])) == ["_/MMXU1/TotW", "_/MMXU1/Hz"]
