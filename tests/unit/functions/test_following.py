"""Following the point table: pieces of changes, ticks, and everything anew after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from peers.waiting import until

from address_space.address import parse
from address_space.catalogue import classify
from address_space.journal import Chunk
from address_space.point import Batch, Point, PointProfile
from address_space.table import PointTable
from twin_gateway.functions.following import BATCH, Following

POSITION = "dso1/north/PS01/MV1/F{:02}/QA1/XCBR1/Pos"
TICKS = 134_000_000_000_000_000


class Rig:
    """Twenty positions, and what a follower is told of them."""

    def __init__(self) -> None:
        self.table = PointTable()
        profile = PointProfile.of(classify(parse(POSITION.format(1))))
        self.table.add(Point(POSITION.format(n), profile, "ied", n) for n in range(1, 21))
        self.sizes: list[int] = []
        self.positions: dict[int, int] = {}
        self.ticks = self.renewals = 0
        self.urgent = False

    def write(self, position: int, rows: int = 20) -> None:
        self.table.ingest(Batch.of(list(range(rows)), [float(position)] * rows, 0, TICKS + position), now=TICKS)

    def take(self, chunk: Chunk) -> None:
        self.sizes.append(len(chunk))
        self.positions |= dict(zip(chunk.rows.tolist(), chunk.raw.tolist(), strict=True))

    def renew(self) -> Iterator[None]:
        self.renewals += 1
        yield

    async def tick(self) -> None:
        self.ticks += 1

    def start(self, following: Following, every: float = 60.0) -> asyncio.Task[None]:
        urgent = lambda: self.urgent  # noqa: E731  # the shortest way to say it
        work = following.run(self.take, self.renew, self.tick, every=every, rest=0.0, at_once=8, urgent=urgent)
        return asyncio.create_task(work)


async def ended(task: asyncio.Task[None], following: Following) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    following.close()


async def test_changes_since_the_place_was_taken_come_in_small_pieces() -> None:
    rig = Rig()
    following = Following(rig.table, "test")
    rig.write(2)
    task = rig.start(following)
    await until(lambda: len(rig.positions) == 20)
    assert rig.sizes == [8, 8, 4]
    rig.write(1, rows=3)
    await until(lambda: rig.positions[0] == 1)
    assert rig.sizes[3:] == [3]
    assert rig.renewals == 0
    await ended(task, following)
    assert not rig.table.journal.cursors


async def test_it_ticks_at_the_start_every_so_often_and_when_it_cannot_wait() -> None:
    rig = Rig()
    following = Following(rig.table, "test")
    task = rig.start(following, every=0.02)
    await until(lambda: rig.ticks >= 3)
    await ended(task, following)
    seldom = Following(rig.table, "test")
    rig.ticks = 0
    task = rig.start(seldom)
    await until(lambda: rig.ticks == 1)
    rig.write(1)
    await until(lambda: len(rig.sizes) == 3)
    assert rig.ticks == 1
    rig.urgent = True
    rig.write(2)
    await until(lambda: rig.ticks == 2)
    await ended(task, seldom)


async def test_after_changes_were_lost_everything_is_judged_anew() -> None:
    rig = Rig()
    rig.table.journal.capacity = BATCH
    following = Following(rig.table, "test")
    for n in range(2 * BATCH // 20):
        rig.write(1 + n % 2)
    task = rig.start(following)
    await until(lambda: rig.renewals == 1)
    await ended(task, following)
