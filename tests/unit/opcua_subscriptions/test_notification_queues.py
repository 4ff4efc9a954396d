from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from address_space.opcua.encoding import OVERFLOW_BIT, Values
from address_space.opcua.queues import Queued, join, limit, order_by_slot


def queued(*samples: tuple[int, int]) -> Queued:
    slots = np.array([slot for slot, _ in samples], np.int32)
    raw = np.array([value for _, value in samples], np.uint64)
    times = np.arange(len(samples), dtype=np.int64)
    return Queued(slots, Values(raw, np.zeros(len(samples), np.uint32), times, times))


def cut(samples: Queued, sizes: list[int], oldest: list[bool], cap: int | None = None) -> list[tuple[int, int, bool]]:
    kept, _ = limit(samples, np.array(sizes, np.int32), np.array(oldest), cap)
    rows = zip(kept.slots.tolist(), kept.values.raw.tolist(), kept.values.status.tolist(), strict=True)
    return [(slot, raw, status == OVERFLOW_BIT) for slot, raw, status in rows]


RAMP = queued(*((0, value) for value in range(6)))


def test_discard_oldest_keeps_the_newest_and_marks_the_oldest_of_them() -> None:
    assert cut(RAMP, [3], [True]) == [(0, 3, True), (0, 4, False), (0, 5, False)]


def test_discard_newest_keeps_the_first_and_replaces_the_last_with_the_newest_marked() -> None:
    assert cut(RAMP, [3], [False]) == [(0, 0, False), (0, 1, False), (0, 5, True)]


@pytest.mark.parametrize("oldest", [True, False])
def test_a_queue_of_one_holds_the_newest_without_a_mark(oldest: bool) -> None:
    assert cut(RAMP, [1], [oldest]) == [(0, 5, False)]


def test_a_queue_that_is_just_full_loses_nothing() -> None:
    kept, lost = limit(RAMP, np.array([6], np.int32), np.array([True]))
    assert (len(kept), lost) == (6, 0)
    assert not kept.values.status.any()


def test_only_the_items_that_overflow_are_cut() -> None:
    samples = queued((0, 1), (1, 1), (0, 2), (1, 2), (0, 3))
    assert cut(samples, [2, 2], [True, True]) == [(1, 1, False), (0, 2, True), (1, 2, False), (0, 3, False)]


def test_a_cap_below_the_promised_size_marks_the_loss_even_in_a_single_place() -> None:
    assert cut(RAMP, [4], [True], cap=1) == [(0, 5, True)]


def test_cutting_in_steps_is_cutting_at_once() -> None:
    for oldest in (True, False):
        sizes, policy = np.array([3], np.int32), np.array([oldest])
        first, _ = limit(queued(*((0, value) for value in range(4))), sizes, policy)
        second = queued((0, 4), (0, 5))
        stepwise, _ = limit(join([first, second]), sizes, policy)
        assert stepwise.values.raw.tolist() == [row[1] for row in cut(RAMP, [3], [oldest])]
        assert stepwise.values.status.tolist() == [OVERFLOW_BIT * row[2] for row in cut(RAMP, [3], [oldest])]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=60),
    st.lists(st.integers(1, 5), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_queues_agree_with_one_queue_an_item(slots: list[int], sizes: list[int], oldest: list[bool]) -> None:
    samples = [(slot, number) for number, slot in enumerate(slots)]
    expected: dict[int, list[tuple[int, bool]]] = {}
    for slot, number in samples:
        queue = expected.setdefault(slot, [])
        if len(queue) < sizes[slot]:
            queue.append((number, False))
        elif sizes[slot] == 1:
            queue[:] = [(number, False)]
        elif oldest[slot]:
            del queue[0]
            queue.append((number, False))
            queue[0] = (queue[0][0], True)
        else:
            queue[-1] = (number, True)
    got: dict[int, list[tuple[int, bool]]] = {}
    for slot, raw, marked in cut(queued(*samples), sizes, oldest):
        got.setdefault(slot, []).append((raw, marked))
    assert got == expected


def test_the_order_by_item_is_stable_also_beyond_16_bits() -> None:
    rng = np.random.default_rng(1)
    for high in (10, 1 << 16, 1 << 20):
        slots = rng.integers(0, high, 5000).astype(np.int32)
        assert np.array_equal(order_by_slot(slots), np.argsort(slots, kind="stable"))
