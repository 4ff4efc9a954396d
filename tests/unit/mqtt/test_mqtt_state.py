"""What waits to be published: coalesced, bounded, in order."""

import numpy as np

from twin_gateway.mqtt.outbox import Message, Outbox
from twin_gateway.mqtt.state import StateQueue


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def queue_of(size: int) -> StateQueue:
    queue = StateQueue()
    queue.grow(size)
    return queue


def test_an_item_that_changes_again_waits_once_and_is_counted():
    queue = queue_of(10)
    queue.mark(rows(3, 4))
    queue.mark(rows(4, 4, 5))
    assert queue.coalesced == 2
    assert queue.take(10).tolist() == [3, 4, 5]
    assert queue.waiting == 0


def test_a_change_after_the_item_was_taken_waits_anew():
    queue = queue_of(10)
    queue.mark(rows(1))
    queue.take(1)
    queue.mark(rows(1))
    assert queue.take(5).tolist() == [1]
    assert queue.coalesced == 0


def test_no_number_of_changes_makes_the_queue_longer_than_its_items():
    queue = queue_of(100)
    random = np.random.default_rng(1)
    for _ in range(300):
        queue.mark(random.integers(0, 100, 50).astype(np.int32))
    assert queue.waiting == 100
    assert sorted(queue.take(1000).tolist()) == list(range(100))
    assert queue.coalesced == 300 * 50 - 100


def test_items_that_did_not_arrive_go_first():
    queue = queue_of(10)
    queue.mark(rows(1, 2, 3))
    taken = queue.take(2)
    queue.mark(rows(7))
    queue.restore(taken)
    assert queue.take(10).tolist() == [1, 2, 3, 7]
    assert queue.coalesced == 0


def test_what_is_due_comes_once_and_not_when_a_change_has_brought_it():
    queue = queue_of(6)
    queue.set_all_due()
    queue.mark(rows(0, 4))
    assert queue.take_due(2).tolist() == [1, 2]
    assert queue.take(10).tolist() == [0, 4]
    assert queue.take_due(10).tolist() == [3, 5]
    assert queue.due == 0
    assert not len(queue.take_due(10))


def test_items_added_later_are_there_to_be_marked():
    queue = queue_of(2)
    queue.set_all_due()
    queue.take_due(10)
    queue.grow(4)
    queue.set_due(rows(2, 3))
    assert queue.due == 2
    queue.mark(rows(3))
    assert queue.take(5).tolist() == [3]
    assert queue.take_due(5).tolist() == [2]


def message(number: int, size: int = 10) -> Message:
    return Message(f"t/{number}", b"x" * size)


def topics(outbox: Outbox) -> list[str]:
    return [outbox.take().topic for _ in range(len(outbox))]


def test_a_full_outbox_drops_the_oldest_and_counts_them():
    outbox = Outbox(3, 1000)
    for number in range(5):
        outbox.put(message(number))
    assert outbox.dropped == 2
    assert topics(outbox) == ["t/2", "t/3", "t/4"]


def test_an_outbox_is_bounded_in_octets_too():
    outbox = Outbox(100, 1000)
    for number in range(5):
        outbox.put(message(number, 400))
    assert outbox.dropped == 3
    assert topics(outbox) == ["t/3", "t/4"]


def test_restored_messages_come_before_newer_ones_in_their_order():
    outbox = Outbox(10, 1000)
    for number in range(4):
        outbox.put(message(number))
    taken = [outbox.take(), outbox.take()]
    outbox.restore(taken)
    assert topics(outbox) == ["t/0", "t/1", "t/2", "t/3"]


def test_restored_messages_do_not_push_newer_ones_out():
    outbox = Outbox(2, 1000)
    outbox.put(message(0))
    taken = [outbox.take()]
    outbox.put(message(1))
    outbox.put(message(2))
    outbox.restore(taken)
    assert outbox.dropped == 1
    assert topics(outbox) == ["t/1", "t/2"]
