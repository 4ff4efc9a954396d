"""The journal and the table against naive models, over random histories."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from address_space import clock
from address_space.address import parse
from address_space.catalogue import classify
from address_space.journal import Chunk, Cursor, Journal
from address_space.point import Batch, Point, PointProfile
from address_space.quality import Quality, status_of
from address_space.table import PointTable

NOW = clock.from_unix(1_800_000_000)
CAPACITY = 20


@dataclass
class Item:
    """An item of numbered samples."""

    first: int
    size: int

    def __len__(self) -> int:
        return self.size

    def numbers(self) -> list[int]:
        return list(range(self.first, self.first + self.size))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 25)),
        st.tuples(st.just("burst"), st.integers(60, 90)),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(st.just("limited"), st.integers(0, 3)),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("close"), st.integers(0, 3)),
        st.tuples(st.just("skip"), st.integers(0, 3)),
    ),
    max_size=60,
)


class Reader:
    """A cursor and what a naive reader knows of it."""

    def __init__(self, journal: Journal[Item], at: int) -> None:
        self.woken = 0
        self.cursor: Cursor[Item] = journal.cursor("test", self._wake)
        self.next, self.accounted, self.idle = at, 0, True

    def _wake(self) -> None:
        self.woken += 1

    def take(self, head: int, limit: int | None) -> None:
        lost_before = self.cursor.lost
        items = self.cursor.take(limit)
        lost = self.cursor.lost - lost_before
        got = [number for item in items for number in item.numbers()]
        # Every sample is either read once, in order, or counted as lost; never both, never neither.
        assert got == list(range(self.next + lost, self.next + lost + len(got)))
        self.next += lost + len(got)
        assert self.cursor.position == self.next
        assert self.next <= head
        if limit is None:
            assert self.next == head
        elif len(items) > 1:
            assert len(got) <= limit
        assert bool(got) or self.next == head
        self.idle = self.next == head


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_sample_is_read_once_in_order_or_counted_as_lost(steps: list[tuple[str, int]]) -> None:
    journal: Journal[Item] = Journal(CAPACITY)
    readers: list[Reader] = []
    head = 0
    for step, number in steps:
        if step in {"append", "burst"}:
            for size in [number] if step == "append" else [1] * number:
                waiting = [(reader, reader.woken) for reader in readers if reader.idle]
                journal.append(Item(head, size))
                head += size
                for reader, woken in waiting:
                    assert reader.woken == woken + bool(size)
                    reader.idle = not size
        elif step == "open":
            if len(readers) < 4:
                readers.append(Reader(journal, head))
        elif readers:
            reader = readers[number % len(readers)]
            if step == "close":
                readers.remove(reader)
                reader.cursor.close()
            elif step == "skip":
                reader.cursor.skip()
                reader.next, reader.idle = head, True
            else:
                reader.take(head, None if step == "take" else 7)
        assert journal.head == head
        assert len(journal) <= max(CAPACITY, 25)
        if not readers:
            assert len(journal) == 0
    for reader in readers:
        reader.take(head, None)


NAMES = ("_/MMXU1/TotW", "_/MMXU1/Hz", "QA1/XCBR1/Pos", "_/PTRC1/Tr/phsA", "QA1/XCBR1/OpCnt")
WORDS = (0, int(Quality.QUESTIONABLE), int(Quality.INVALID), int(Quality.TEST), int(Quality.OLD_DATA | 1))
SAMPLES = st.lists(
    st.tuples(
        st.integers(0, len(NAMES) - 1),
        st.one_of(st.integers(0, 3).map(float), st.floats(-1e4, 1e4), st.just(float("nan"))),
        st.sampled_from(WORDS),
        st.integers(-5, 5),
    ),
    min_size=1,
    max_size=12,
)
BATCHES = st.lists(st.one_of(SAMPLES, st.just("lost")), max_size=12)


def table_with(deadband: float) -> PointTable:
    table = PointTable()
    for name in NAMES:
        address = f"dso1/north/PS01/MV1/F05/{name}"
        profile = PointProfile.of(classify(parse(address)))
        table.add([Point(address, replace(profile, deadband=deadband) if "TotW" in name else profile, "rtu1")])
    return table


@settings(max_examples=150, deadline=None)
@given(BATCHES, st.sampled_from([0.0, 5.0]))
def test_who_follows_the_journal_knows_what_the_table_knows(batches: list[object], deadband: float) -> None:
    """A consumer that applies every change has the state of the table, and was told nothing twice."""
    table = table_with(deadband)
    cursor = table.journal.cursor("test")
    known = {row: (int(table.raw[row]), int(table.status[row])) for row in range(len(NAMES))}
    for number, samples in enumerate(batches):
        now = NOW + number * clock.TICKS_PER_SECOND
        if samples == "lost":
            table.link_lost("rtu1", now=now)
        else:
            assert isinstance(samples, list)
            rows, values, words, ages = zip(*samples, strict=True)
            table.ingest(Batch.of(rows, values, words, [now + age for age in ages]), now=now)
        for chunk in cursor.take():
            for row, raw, status in zip(chunk.rows.tolist(), chunk.raw.tolist(), chunk.status.tolist(), strict=True):
                assert (known[row] == (raw, status)) is chunk.timestamp_only, "a change that changes nothing"
                known[row] = (raw, status)
        assert known == {row: (int(table.raw[row]), int(table.status[row])) for row in range(len(NAMES))}


@settings(max_examples=150, deadline=None)
@given(st.lists(SAMPLES, min_size=1, max_size=6))
def test_a_batch_is_the_same_as_its_samples_one_by_one(batches: list[list[tuple[int, float, int, int]]]) -> None:
    together, apart = table_with(5.0), table_with(5.0)
    one, other = together.journal.cursor("test"), apart.journal.cursor("test")
    for samples in batches:
        rows, values, words, ages = zip(*samples, strict=True)
        together.ingest(Batch.of(rows, values, words, [NOW + age for age in ages]), now=NOW)
        for row, value, word, age in samples:
            apart.ingest(Batch.of([row], [value], word, NOW + age), now=NOW)

    chunks = one.take(), other.take()
    for row in range(len(NAMES)):
        assert told(chunks[0], row) == told(chunks[1], row)
        if together.quality[row] & Quality.NOT_INITIALISED:
            continue
        assert together.raw[row] == apart.raw[row]
        assert together.quality[row] == apart.quality[row]
        assert together.source_time[row] == apart.source_time[row]
        assert together.status[row] == apart.status[row] == status_of(int(together.quality[row]))


def told(chunks: list[Chunk], row: int) -> list[tuple[int, int, int]]:
    """What the journal says of one row, in order."""
    return [
        (int(raw), int(status), int(time))
        for chunk in chunks
        if not chunk.timestamp_only
        for at, raw, status, time in zip(chunk.rows, chunk.raw, chunk.status, chunk.source_time, strict=True)
        if at == row
    ]
