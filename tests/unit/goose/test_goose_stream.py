"""One GOOSE subscription: what is taken, what was missed, when it is lost."""

from __future__ import annotations

from typing import Any

import pytest
from peers.goose import made

from twin_gateway.drivers.iec61850.goose.frame import frame_of, message_of
from twin_gateway.drivers.iec61850.goose.stream import Expected, Judgement, Stream, Taken

EXPECTED = Expected(
    "F07Q1LD0/LLN0$GO$gcbTrip", bytes.fromhex("010ccd010001"), 0x3001, "F07Q1LD0/LLN0$dsTrip", "trip", 3, 5, None, 1
)
LAST = 0xFFFF_FFFF


def stream(*, simulation: bool = False, expected: Expected = EXPECTED) -> Stream:
    return Stream(expected, simulation=simulation, tolerance=0.1)


def heard(to: Stream, state: int, sequence: int, now: float = 0.0, **how: Any) -> Judgement:
    octets = made(state, sequence, **how)
    frame = frame_of(octets)
    return to.judge(frame, message_of(octets, frame), now)


def test_a_state_and_its_repetitions_are_taken() -> None:
    it = stream()
    assert heard(it, 4, 9).taken is Taken.STATE
    found = heard(it, 4, 10)
    assert (found.taken, found.missed) == (Taken.REPETITION, 0)
    assert it.alive
    found = heard(it, 5, 0)
    assert (found.taken, found.lost, found.missed, found.followed) == (Taken.STATE, 0, 0, True)


def test_repetitions_that_did_not_come_are_counted() -> None:
    it = stream()
    heard(it, 4, 9)
    assert heard(it, 4, 13).missed == 3
    assert heard(it, 5, 2).missed == 2


def test_states_that_did_not_come_are_lost() -> None:
    it = stream()
    heard(it, 4, 9)
    found = heard(it, 8, 0)
    assert (found.taken, found.lost) == (Taken.STATE, 3)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_begin_again_after_their_largest(first: int) -> None:
    it = stream()
    heard(it, LAST, LAST)
    found = heard(it, LAST, first)
    assert (found.taken, found.missed) == (Taken.REPETITION, 0)
    found = heard(it, 1, 0)
    assert (found.taken, found.lost, found.restarted) == (Taken.STATE, 0, False)


def test_a_copy_of_a_message_and_an_older_one_are_not_taken() -> None:
    it = stream()
    heard(it, 4, 9)
    assert heard(it, 4, 9).counter == "duplicate_frames"
    assert heard(it, 4, 8).counter == "disordered_frames"
    assert heard(it, 3, 20).counter == "disordered_frames"
    assert (it.state, it.sequence) == (4, 9)


@pytest.mark.parametrize("before", [(4, 9), (1, 9)])
@pytest.mark.parametrize("sequence", [0, 1])  # IEC 61850-7-2 begins with 1, many publishers with 0
def test_a_publisher_that_begins_anew_is_followed(before: tuple[int, int], sequence: int) -> None:
    it = stream()
    heard(it, *before)
    found = heard(it, 1, sequence)
    assert (found.taken, found.restarted) == (Taken.STATE, True)


@pytest.mark.parametrize("before", [(40, 9), (7, 90)])
def test_a_beginning_that_was_missed_is_believed_to_three_messages_in_order(before: tuple[int, int]) -> None:
    it = stream()
    heard(it, *before, live=4_000_000)
    assert [heard(it, 7, sequence).counter for sequence in (5, 6, 6, 5)] == ["disordered_frames"] * 4
    assert heard(it, *before).counter == "duplicate_frames"
    assert [heard(it, 7, sequence).counter for sequence in (6, 7)] == ["disordered_frames"] * 2
    found = heard(it, 8, 0) if before == (40, 9) else heard(it, 7, 8)
    assert (found.taken, found.restarted, it.alive) == (Taken.STATE, True, True)


def test_older_messages_between_newer_ones_are_no_beginning() -> None:
    it = stream()
    for sequence in range(10, 20):
        assert heard(it, 4, sequence).taken is not Taken.NOT
        assert heard(it, 3, sequence).counter == "disordered_frames"


def test_nobody_is_believed_to_live_for_days() -> None:
    it = stream()
    heard(it, 4, 9, now=0.0, live=0xFFFF_FFFF)
    assert not it.expire(600.0)
    assert it.expire(600.2)


def test_it_is_lost_after_the_time_allowed_to_live_and_not_before() -> None:
    it = stream()
    heard(it, 4, 9, now=10.0, live=500)
    assert not it.expire(10.59)
    assert it.expire(10.61)
    assert not it.alive
    assert not it.expire(11.0)


def test_what_was_missed_during_a_loss_is_counted_afterwards() -> None:
    it = stream()
    heard(it, 4, 9, now=0.0)
    it.expire(10.0)
    found = heard(it, 7, 3, now=20.0)
    assert (found.taken, found.lost, it.alive) == (Taken.STATE, 2, True)
    it.expire(40.0)
    found = heard(it, 7, 9, now=50.0)
    assert (found.taken, found.missed, found.lost) == (Taken.STATE, 5, 0)
    it.expire(90.0)
    assert heard(it, 2, 5, now=100.0).restarted


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"revision": 4}, "ConfRev is 4, expected 3"),
        ({"data_set": "F07Q1LD0/LLN0$dsOther"}, "DatSet"),
        ({"go_id": "other"}, "GoID"),
        ({"values": ()}, "number of members"),
        ({"nds_com": True}, "needs commissioning"),
    ],
)
def test_a_message_of_another_configuration_ends_what_was_alive(how: dict[str, Any], text: str) -> None:
    it = stream()
    heard(it, 4, 9)
    found = heard(it, 4, 10, **how)
    assert found.taken is Taken.MISFIT
    assert text in found.reason
    assert (it.alive, it.misfit) == (False, True)
    assert it.revision == how.get("revision", 3)
    assert heard(it, 4, 11).taken is Taken.STATE
    assert (it.alive, it.misfit) == (True, False)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"destination": "01:0c:cd:01:00:02"}, "01-0C-CD-01-00-02"),
        ({"app_id": 0x3002}, "APPID 0x3002"),
        ({"vlan_id": 6, "vlan_priority": 4}, "VLAN 6"),
    ],
)
def test_a_message_from_elsewhere_is_not_taken_and_changes_nothing(how: dict[str, Any], text: str) -> None:
    it = stream()
    heard(it, 4, 9)
    found = heard(it, 9, 0, **how)
    assert (found.taken, found.counter) == (Taken.NOT, "foreign_frames")
    assert text in found.reason
    assert (it.alive, it.state) == (True, 4)


@pytest.mark.parametrize("vlan", [None, 0, 5])
def test_the_expected_vlan_or_none_at_all_is_taken(vlan: int | None) -> None:
    assert heard(stream(), 1, 0, vlan_id=vlan, vlan_priority=None if vlan is None else 4).taken is Taken.STATE


def test_a_second_publisher_is_not_taken_while_the_first_is_alive() -> None:
    it = stream()
    heard(it, 4, 9, now=0.0)
    found = heard(it, 5, 0, now=0.1, source="02:00:00:00:00:66")
    assert (found.taken, found.counter) == (Taken.NOT, "foreign_frames")
    assert "02-00-00-00-00-66" in found.reason
    it.expire(10.0)
    assert heard(it, 5, 0, now=10.0, source="02:00:00:00:00:66").taken is Taken.STATE


def test_only_the_named_publisher_is_taken() -> None:
    named = Expected(
        EXPECTED.control_block, EXPECTED.destination, 0x3001, None, None, None, None, bytes.fromhex("020000000009"), 1
    )
    it = stream(expected=named)
    assert heard(it, 1, 0).taken is Taken.NOT
    assert heard(it, 1, 0, source="02:00:00:00:00:09").taken is Taken.STATE


def test_simulated_messages_are_not_taken_for_real_ones() -> None:
    it = stream()
    heard(it, 4, 9)
    found = heard(it, 9, 0, simulation=True, source="02:00:00:00:00:77")
    assert (found.taken, found.counter) == (Taken.NOT, "simulated_frames")
    assert (it.alive, it.simulated, it.state) == (True, False, 4)


def test_with_simulation_they_replace_the_real_ones_until_they_end() -> None:
    it = stream(simulation=True)
    heard(it, 4, 9, now=0.0)
    found = heard(it, 90, 3, now=0.1, simulation=True, source="02:00:00:00:00:77")
    assert (found.taken, found.lost, it.simulated) == (Taken.STATE, 0, True)
    assert heard(it, 4, 10, now=0.2).counter == "replaced_frames"
    assert it.expire(1.0)
    found = heard(it, 4, 11, now=1.1)
    assert (found.taken, it.simulated) == (Taken.STATE, False)


def test_a_simulated_message_that_does_not_fit_leaves_the_real_ones_alone() -> None:
    it = stream(simulation=True)
    heard(it, 4, 9)
    assert heard(it, 4, 9, simulation=True, revision=9).taken is Taken.NOT
    assert (it.alive, it.misfit, it.revision) == (True, False, 3)
