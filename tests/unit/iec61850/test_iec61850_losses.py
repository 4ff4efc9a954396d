"""Sequence numbers and entries that come again: what is missing, what is known."""

import pytest

from address_space.clock import TICKS_PER_SECOND as SECOND
from twin_gateway.drivers.iec61850.delivered import Delivered, DeliveredEntries
from twin_gateway.drivers.iec61850.sequence import Numbering


def missing(*numbers):
    """Sum of what is missing in a run of SqNum or (SqNum, SubSqNum, MoreSegments)."""
    numbering = Numbering()
    total = 0
    for number in numbers:
        sequence, segment, more = number if isinstance(number, tuple) else (number, None, False)
        total += numbering.missing(sequence, segment, more=more)
    return total


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ((0, 1, 2, 3), 0),
        ((1, 2, 3), 0),
        ((7, 8), 0),
        ((0, 2), 1),
        ((0, 1, 5, 6), 3),
        ((254, 255, 0, 1), 0),
        ((65_534, 65_535, 0), 0),
        ((3, 0, 1), 1),
        ((5, 4), 1),
        ((0, (1, 0, True), (1, 1, True), (1, 2, False), 2), 0),
        ((0, (1, 0, True), (1, 2, False), 2), 1),
        ((0, (1, 0, True), 2), 1),
        ((0, (1, 1, False), 2), 1),
        ((0, (1, 0, False), (2, 0, False)), 0),
        (((0, 0, True), (0, 1, False), 1), 0),
    ],
)
def test_missing_reports_and_segments_are_counted(numbers, lost):
    assert missing(*numbers) == lost


def entry(number, block="LD0/LLN0$BR$a01", digest=None, time=None):
    return Delivered(block, bytes((number,)), number * SECOND if time is None else time, digest or number)


def test_entry_that_was_delivered_is_known_however_often_it_comes():
    ring = DeliveredEntries()
    ring.add(entry(1))
    assert ring.knows(entry(1))
    assert ring.knows(entry(1))
    assert not ring.knows(entry(2))


def test_same_contents_under_another_entry_of_the_same_block_are_another_event():
    ring = DeliveredEntries()
    ring.add(entry(1, digest=9))
    assert not ring.knows(entry(2, digest=9, time=SECOND))


def test_entry_id_that_a_restarted_device_gives_again_is_another_event():
    ring = DeliveredEntries()
    ring.add(entry(1))
    assert not ring.knows(entry(1, time=99 * SECOND))


def test_event_of_another_instance_of_the_block_is_recognised_by_its_contents_once():
    ring = DeliveredEntries()
    for number, digest in ((1, 7), (2, 8), (3, 7)):
        ring.add(entry(number, digest=digest, time=SECOND + number))
    other = [entry(number, "LD0/LLN0$BR$a02", digest, SECOND + number) for number, digest in ((4, 7), (5, 8), (6, 7))]
    assert all(ring.knows(of) for of in other)
    assert not ring.knows(entry(7, "LD0/LLN0$BR$a03", 9, SECOND))
    assert all(ring.knows(of) for of in other)
    assert not ring.knows(entry(8, "LD0/LLN0$BR$a02", 7, SECOND + 9))


def test_event_of_another_instance_at_another_time_is_another_event():
    ring = DeliveredEntries()
    ring.add(entry(1, digest=7))
    assert not ring.knows(entry(4, "LD0/LLN0$BR$a02", 7, 60 * SECOND))


def test_only_so_many_entries_are_remembered():
    ring = DeliveredEntries(kept=10)
    for number in range(30):
        ring.add(entry(number))
    assert len(ring) == 10
    assert len(ring._by_digest) == 10
    assert ring.knows(entry(29))
    assert not ring.knows(entry(5))
