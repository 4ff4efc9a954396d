"""Mapping files are edited while the demo runs: add, rescale, move, remove, break, roll back; nobody else notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from peers.acceptance.changes import BATTERY, BAY_POINTS, FORMER, MOVED, RMU, WIND, Scene, Story
from peers.acceptance.changing import PULSE, ChangingDemo
from peers.waiting import wait_until

OVERFLOW = 0x480
"""InfoType DataValue with the overflow bit (Part 4, 7.39)."""
TOUCHED = (RMU, WIND, "dso1/_sys/", "dso1/north/PS01/LV1/_/S1/tw")
COUNTS = {"sessions": 2278, "timed out": 2281, "aborted": 2282, "subscriptions": 2286}
"""Of ServerDiagnosticsSummary: what there has been since the start."""
LIVELY, COMPARED = 12, 6
"""Points whose history is compared with what the client was told, and how many changes of each."""
OWN_SUBSCRIPTIONS = 3
"""That the client makes for what has come: the new device, the moved bay, the point that is back."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What everybody had at one moment."""

    counts: dict[str, int]
    metrics: dict[str, float]
    broker: list[str]
    pulse: int

    @classmethod
    def of(cls, demo: ChangingDemo) -> Standing:
        values = demo.client("read", nodes=[f"i={number}" for number in COUNTS.values()])
        counts = {name: each["value"] for name, each in zip(COUNTS, values, strict=True)}
        return cls(counts, demo.metrics(), demo.broker_log(), demo.client.now[PULSE]["value"])


@dataclass(frozen=True, slots=True)
class Played:
    """The whole story, with what was before and after it."""

    demo: ChangingDemo
    story: Story
    before: Standing
    after: Standing

    def scene(self, name: str) -> Scene:
        return next(scene for scene in self.story.scenes if scene.name == name)

    def told(self, address: str) -> list[dict[str, Any]]:
        return [each for each in self.demo.client.changes if each["address"] == address]

    def kept(self, address: str, start: str, end: str) -> list[tuple[str, Any]]:
        """(source time, value) of what the history has of a point from one time to another."""
        found = self.demo.client("history", nodeId=f"ns=2;s={address}", start=start, end=end)
        return [(each["source"], each["value"]) for each in found["values"] if start <= each["source"] <= end]


def lively(demo: ChangingDemo) -> list[tuple[str, int]]:
    """The addresses that no edit touches with the most changes that have a time of the device, and how many."""
    told = (each["address"] for each in list(demo.client.changes) if each["source"])
    return Counter(address for address in told if not address.startswith(TOUCHED)).most_common(LIVELY)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    demo = ChangingDemo(tmp_path_factory.mktemp("changes"))
    try:
        demo.start()
        before = Standing.of(demo)
        story = Story(demo, planned=("Remove a point",))
        story.play()
        # All edits together take less time than some devices between a few of their values.
        wait_until(lambda: min(count for _, count in lively(demo)) > COMPARED, 60, lambda: lively(demo))
        yield Played(demo, story, before, Standing.of(demo))
    finally:
        demo.stop()


def test_the_counter_that_no_edit_touches_lost_no_notification(played: Played) -> None:
    values = [each["value"] for each in played.told(PULSE)]
    assert values == list(range(values[0], values[0] + len(values)))
    assert played.after.pulse - played.before.pulse > 100
    assert {each["status"] for each in played.told(PULSE)} == {"Good"}


def test_no_notification_message_was_lost_and_no_queue_has_overflowed(played: Played) -> None:
    for numbers in played.demo.client.messages.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not [each for each in played.demo.client.changes if each["code"] & OVERFLOW == OVERFLOW]
    lost = "twin_gateway_lost_changes_total"
    assert played.after.metrics[lost] == played.before.metrics[lost] == 0


def test_items_that_no_edit_touches_were_told_everything_that_history_has(played: Played) -> None:
    for address, _ in lively(played.demo):
        told = [(each["source"], each["value"]) for each in played.told(address) if each["source"]]
        kept = played.kept(address, told[1][0], told[-1][0])
        assert len(kept) > COMPARED / 2
        assert set(kept) <= set(told), address


def test_no_item_that_no_edit_touches_was_told_a_bad_status(played: Played) -> None:
    bad = {
        (each["address"], each["status"])
        for each in played.demo.client.changes
        if not each["address"].startswith(TOUCHED) and each["code"] & 0x8000_0000 and "/tw" not in each["address"]
    }
    assert not bad


def test_no_session_closed_and_no_subscription_was_made_anew(played: Played) -> None:
    assert played.demo.client.events == []
    before, after = played.before.counts, played.after.counts
    assert after == before | {"subscriptions": before["subscriptions"] + OWN_SUBSCRIPTIONS}


def test_no_mqtt_client_was_disconnected(played: Played) -> None:
    assert played.demo.subscriber.running
    more = played.after.broker[len(played.before.broker) :]
    assert not [line for line in more if "connected" in line or "closed" in line], more


def test_no_link_but_that_of_the_new_device_connected(played: Played) -> None:
    def connects(standing: Standing) -> dict[str, float]:
        return {name: each for name, each in standing.metrics.items() if 'what="connects"' in name}

    before, after = connects(played.before), connects(played.after)
    assert len(before) == 66
    assert after == before | {'twin_gateway_link_total{link="rtu-rmu34",what="connects"}': 1}


def test_values_of_the_new_device_come_and_another_scale_shows_by_one_notification(played: Played) -> None:
    values = [(each["value"], each["status"]) for each in played.told(BATTERY)]
    assert values == [(272.0, "Good"), (27.2, "Good")]


@pytest.mark.parametrize("address", [*(f"{FORMER}/{point}" for point in BAY_POINTS), WIND])
def test_what_moved_or_went_told_bad_node_id_unknown_once(played: Played, address: str) -> None:
    statuses = [each["status"] for each in played.told(address)]
    assert statuses.count("BadNodeIdUnknown") == 1
    # The anemometer came back with the rollback, in an item of its own.
    assert address == WIND or statuses[-1] == "BadNodeIdUnknown"


def test_what_moved_says_where_it_went_and_its_old_topics_are_cleared(played: Played) -> None:
    for point in BAY_POINTS:
        assert played.story.resolve(f"was:{FORMER}/{point}") == f"{MOVED}/{point}"
        assert played.story.cleared(f"{FORMER}/{point}")
        assert played.story.topic(f"{MOVED}/{point}")["q"] == "good"


def test_the_plan_of_a_removal_names_the_client(played: Played) -> None:
    plan, applied = played.scene("Remove a point").ran
    assert "Clients that would notice: 1" in plan.output
    assert "monitored items 1 removed" in plan.output
    assert (plan.code, applied.code) == (2, 0)


def test_a_broken_file_changes_nothing_and_is_named_by_line(played: Played) -> None:
    (applied,) = played.scene("Break a file").ran
    assert applied.code == 1
    assert "mappings/demo/rmu34.yaml:18:56: error TG502: unit: no unit 'Volt'" in applied.output
    assert "nothing has changed" in applied.output
    assert played.story.status(f"{MOVED}/{BAY_POINTS[0]}") == "Good"


def test_every_part_of_the_gateway_goes_on(played: Played) -> None:
    assert played.demo.health()["status"] == "ok"
    log = (played.demo.folder / "logs" / "gateway.log").read_text("utf-8")
    assert "Traceback" not in log, log


def test_after_the_rollback_the_files_are_what_runs_and_the_broken_one_is_put_aside(played: Played) -> None:
    _, rollback = played.scene("Roll back").ran
    assert rollback.code == 0, rollback.output
    assert played.demo.files.joinpath("rmu34.yaml").read_text().count("unit: V, scale: 0.1}") == 1
    assert f"{WIND}: {{date" not in played.demo.files.joinpath("sensors.yaml").read_text()
    assert "deadband: 5 A" in (played.demo.files / "rmu34.yaml.before-rollback").read_text()
    assert played.story.status(WIND) == "Good"
