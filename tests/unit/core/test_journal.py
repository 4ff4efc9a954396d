"""Journals and cursors: each reader at its own pace, bounded, losses counted."""

from __future__ import annotations

import time

from address_space.events import Event, EventJournal
from address_space.journal import Journal


def test_each_cursor_reads_everything_once_and_in_order() -> None:
    journal: Journal[str] = Journal()
    journal.append("before")
    first, second = journal.cursor("a"), journal.cursor("b")
    journal.append("xy")
    assert first.take() == ["xy"]
    journal.append("z")
    assert first.take() == ["z"]
    assert second.take() == ["xy", "z"]
    assert second.take() == []
    assert first.lost == second.lost == 0


def test_without_a_reader_nothing_is_kept() -> None:
    journal: Journal[str] = Journal()
    journal.append("abc")
    assert len(journal) == 0
    cursor = journal.cursor("a")
    for _ in range(200):
        journal.append("abc")
        cursor.take()
    assert len(journal) <= 3 * 65
    cursor.close()
    assert len(journal) == 0


def test_a_slow_reader_loses_the_oldest_and_the_loss_is_counted() -> None:
    journal: Journal[str] = Journal(capacity=10)
    slow, quick = journal.cursor("slow"), journal.cursor("quick")
    seen = []
    for number in range(8):
        journal.append(f"{number}" * 3)
        seen += quick.take()
    assert seen == [f"{number}" * 3 for number in range(8)]
    kept = slow.take()
    assert slow.lost + sum(len(item) for item in kept) == 24
    assert slow.lost > 0
    assert kept[-1] == "777"
    assert len(journal) <= 10
    assert quick.lost == 0


def test_a_limit_gives_whole_items_and_leaves_the_rest() -> None:
    journal: Journal[str] = Journal()
    cursor = journal.cursor("a")
    for item in ("aaa", "bb", "c"):
        journal.append(item)
    assert cursor.take(4) == ["aaa"]
    assert cursor.pending == 3
    assert cursor.take(1) == ["bb"]
    assert cursor.take() == ["c"]


def test_a_reader_far_behind_reads_in_small_parts_without_looking_at_all_that_waits() -> None:
    journal: Journal[str] = Journal()
    cursor = journal.cursor("a")
    for _ in range(30_000):
        journal.append("x")
    began = time.process_time()
    assert sum(len(cursor.take(8)) for _ in range(3_750)) == 30_000
    assert time.process_time() - began < 2.0


def test_what_a_slow_reader_has_left_behind_goes_in_parts_as_more_comes() -> None:
    journal: Journal[str] = Journal()
    slow, quick = journal.cursor("slow"), journal.cursor("quick")
    for _ in range(2000):
        journal.append("x")
    slow.skip()
    quick.skip()
    journal.append("y")
    assert 1500 < len(journal) < 2000, "whoever appends does not wait for all of it to go"
    for _ in range(10):
        journal.append("z")
    assert len(journal) < 100
    assert slow.take() == quick.take() == ["y", *"z" * 10]
    for cursor in (slow, quick):
        cursor.close()
    assert len(journal) == 0


def test_a_full_journal_makes_room_at_once() -> None:
    journal: Journal[str] = Journal(capacity=2000)
    reader = journal.cursor("slow")
    for _ in range(2000):
        journal.append("x")
    journal.append("y" * 1900)
    assert len(journal) == 2000
    assert [len(item) for item in reader.take()] == [1] * 100 + [1900]
    assert reader.lost == 1900


def test_a_reader_is_woken_once_until_it_has_read_all() -> None:
    journal: Journal[str] = Journal()
    calls: list[int] = []
    cursor = journal.cursor("a", lambda: calls.append(1))
    journal.append("a")
    journal.append("b")
    assert len(calls) == 1
    cursor.take()
    journal.append("c")
    assert len(calls) == 2


def test_skipping_goes_to_the_head() -> None:
    journal: Journal[str] = Journal()
    cursor = journal.cursor("a")
    journal.append("a")
    cursor.skip()
    assert cursor.pending == 0
    assert cursor.lost == 0


def test_events_are_numbered_and_timed() -> None:
    events = EventJournal()
    cursor = events.cursor("a")
    first = events.append(Event("D01", "Link a is down"))
    second = events.append(Event("D01", "Link b is down", source_time=5))
    assert (first.id, second.id) == (1, 2)
    assert first.source_time == first.received > 0
    assert first.time_quality == "rx"
    assert second.source_time == 5
    assert second.time_quality is None
    assert [event.text for event in cursor.take()] == ["Link a is down", "Link b is down"]
    assert events.total == 2
