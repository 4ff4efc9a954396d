"""Report blocks at work: which are taken for what, what their reports say, replay and losses, giving them back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from address_space import clock
from address_space.point import Batch
from twin_gateway.drivers.contract import Link

from . import blocks, data_sets
from .association import Association
from .blocks import BlockState, Enabled
from .config import Iec61850Config
from .delivered import Delivered, DeliveredEntries
from .entries import Entry, EntryStore
from .errors import MmsConnectionError, MmsError, MmsProtocolError, MmsTimeout
from .layout import Columns, joined
from .model import Model
from .plan import Plan, Signal
from .report import (
    REASON_GENERAL_INTERROGATION,
    REASON_INTEGRITY,
    ReadDecoder,
    Report,
    ReportDecoder,
    Subscription,
    UnknownReport,
)
from .sequence import Numbering

_ONLY_STATE = REASON_INTEGRITY | REASON_GENERAL_INTERROGATION
_QUIET, _QUIET_BEFORE_LAST, _REPLAY_LIMIT = 0.3, 1.0, 5.0
_FLOOR_HOLDS = 10.0
_TOLD_AGAIN = 5.0
"""Seconds between two events of losses of one block; the counters count each."""

Tell = Callable[[str, str, str], None]
"""Tells an event once: code, text, address."""


@dataclass(slots=True)
class _Running:
    """A block that delivers.

    Attributes:
        known: it was ours before, so that what it lost was ours.
        takes_over: another instance of the block delivered later, so that this one need not have lost what was ours.
        overlap: TimeOfEntry of the last entry that any instance delivered.
        last: loop time of its last report.
        replaying: entries come from its buffer; nothing is live before the interrogation is answered.
        replayed: set when the last entry that it had queued has come.
        queued: EntryID of that entry, empty when it is not known.
        interrogated: GI has been asked for.
        floor: TimeOfEntry of the answer; older entries were buffered, if they come before `floor_until` (loop time):
            later the device's clock may simply have been set back.
        began: a report has come since it was enabled.
        waits: it may have something to replay.
        told: loop time of the last event of a loss.
        repairing: it is interrogated because of a loss.
        restore: DatSet that it had before it was given one of ours; None when it was not.
    """

    state: BlockState
    plan: Plan
    how: Enabled = field(default_factory=Enabled)
    known: bool = False
    takes_over: bool = False
    overlap: int = 0
    last: float = 0.0
    replaying: bool = False
    replayed: asyncio.Event = field(default_factory=asyncio.Event)
    queued: bytes = b""
    interrogated: bool = False
    floor: int = 0
    floor_until: float = 0.0
    numbering: Numbering = field(default_factory=Numbering)
    began: bool = False
    waits: bool = False
    told: float = -_TOLD_AGAIN
    repairing: bool = False
    restore: str | None = None


class Reporting:
    """The report blocks of one association.

    Attributes:
        rows: rows that blocks deliver at present.
    """

    def __init__(
        self,
        association: Association,
        model: Model,
        *,
        link: Link,
        config: Iec61850Config,
        decoder: ReportDecoder,
        entries: EntryStore,
        delivered: dict[str, DeliveredEntries],
        tell: Tell,
        read_plan: Callable[[ReadDecoder], Coroutine[Any, Any, object]],
    ) -> None:
        """Take no block yet.

        Args:
            association: where the blocks are.
            model: of the device.
            link: where samples go.
            config: of the device.
            decoder: of reports.
            entries: EntryIDs, those of earlier associations too.
            delivered: what has been delivered of each buffered block (by its name without number), likewise.
            tell: see `Tell`.
            read_plan: reads what a block cannot be interrogated for.
        """
        self.rows: set[int] = set()
        self._association = association
        self._model = model
        self._link = link
        self._config = config
        self._decoder = decoder
        self._entries = entries
        self._delivered = delivered
        self._tell = tell
        self._read_plan = read_plan
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = data_sets.prefix(link.name, str(link.data_directory))
        self._makes = config.data_sets
        self._columns: list[Columns] = []
        self._late_columns = False
        self._newest: dict[str, tuple[BlockState, bytes, int]] = {}

    # -- arranging -----------------------------------------------------------------------------------------------

    async def arrange(self, signals: Sequence[Signal], objects: Mapping[int, str]) -> set[int]:
        """Take and give back blocks so that they deliver as much as they can; rows that they deliver.

        Args:
            signals: what is wanted.
            objects: what data sets are made of: row -> smallest structure of value, quality and time.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        covered: set[int] = set()
        for name, running in tuple(self._running.items()):
            running.plan = self._plan(running.state.data_set, signals, covered)
            if running.plan.signals:
                self._subscribe(running)
                covered |= {signal.row for signal in running.plan.signals}
            else:
                await self._give_back(name)
        states = await blocks.all_states(self._association, self._model) if self._model.blocks else []
        brings = {
            name: {signal.row for signal in self._plan(name, signals, covered).signals}
            for name in dict.fromkeys(state.data_set for state in states)
            if name in self._model.data_sets
        }
        while brings:
            # the data set that brings most; one that brings nothing new is not taken
            name = max(brings, key=lambda of: len(brings[of] - covered))
            rows = brings.pop(name) - covered
            if not rows:
                break
            address = self._association.local_address
            some = blocks.candidates(states, name, address, self._entries.get)
            if await self._take_one(states, some, self._plan(name, signals, covered)):
                covered |= rows
        if self._makes:
            await self._delete_left_over()
            covered |= await self._make(states, signals, objects, covered)
        self.rows = covered
        return covered

    def _plan(self, data_set: str, signals: Sequence[Signal], covered: set[int]) -> Plan:
        """What a data set brings of the signals that nothing else delivers."""
        members = []
        for member in self._model.data_sets.get(data_set, ()):
            kind = self._model.type_of(member)
            if kind is None:
                return Plan((), ())  # without the types of all members nothing in it can be found
            members.append((member, kind))
        return Plan(members, [signal for signal in signals if signal.row not in covered])

    async def _take_one(
        self, states: Sequence[BlockState], some: Sequence[BlockState], plan: Plan, data_set: str | None = None
    ) -> bool:
        """Enable the first of some blocks that lets itself be enabled, with a data set of ours where one is given."""
        for state in some:
            name, base = state.block.name, state.block.base
            if name in self._running:
                continue
            last = self._entries.get(name) if state.block.buffered else None
            before = state.data_set
            ours = data_set is not None or data_sets.is_ours(before, self._prefix)
            running = _Running(state, plan, last=self._loop.time(), replaying=state.block.buffered)
            running.restore = self._own_of(state, states) if ours else None
            running.known = last is not None and last.entry_id != b""
            if last is not None and any(state.entry_id) and state.entry_id != last.entry_id:
                running.queued = state.entry_id
            self._running[name] = running
            self._subscribe(running, data_set)
            entries = [self._entries.get(s.block.name) for s in states if s.block.base == base]
            running.waits = siblings = any(entries)
            running.overlap = max((of.time for of in entries if of is not None), default=0)
            running.takes_over = any(of.at > (last.at if last else 0) for of in entries if of is not None)
            try:
                await blocks.enable(
                    self._association,
                    state,
                    last,
                    running.how,
                    integrity=self._config.integrity,
                    reserve=self._config.reserve,
                    keep=siblings,
                    data_set=data_set,
                )
            except (MmsConnectionError, MmsTimeout):
                raise
            except MmsError as error:
                del self._running[name]
                self._decoder.unsubscribe(name)
                self._link.count("blocks_refused")
                self._link.error(f"{name} cannot be enabled: {error}")
                with contextlib.suppress(MmsError):
                    await blocks.release(self._association, state.block, before if data_set is not None else None)
                state.data_set = before
                continue
            self._link.count("blocks_enabled")
            if state.block.buffered and last is None:
                await self._claim(state)
            self._after_enabling(running)
            return True
        return False

    async def _claim(self, state: BlockState) -> None:
        """Write down that a buffer is ours from now on, or after a crash what it has would count as nobody's."""
        name = state.block.name
        entry = self._entries.get(name) or Entry(b"", state.data_set, state.revision, clock.now())
        try:
            await asyncio.to_thread(self._entries.claim, name, entry)
        except OSError as error:
            self._link.count("store_errors")
            self._tell("G02", f"cannot keep the entry ids of {self._link.name}: {error}", "")

    def _after_enabling(self, running: _Running) -> None:
        name, how = running.state.block.name, running.how
        if how.lost and not running.takes_over:
            text = f"{name}: the device does not know the last entry that was taken any more; entries may be lost"
            self._lost(running, text, "buffer_losses")
        if running.state.block.buffered and not how.entries:
            text = f"{name}: its reports have no EntryID; after a loss of the link all of them come again"
            self._tell("D03", text, "")

    def _own_of(self, state: BlockState, states: Sequence[BlockState]) -> str:
        """The data set that a block has of its own; after a crash that is what its other instances have."""
        alike = [state.data_set, *(of.data_set for of in states if of.block.base == state.block.base)]
        return next((name for name in alike if name and not data_sets.is_ours(name, self._prefix)), "")

    def _subscribe(self, running: _Running, data_set: str | None = None) -> None:
        state = running.state
        name = state.block.name
        self._decoder.subscribe(Subscription(name, state.report_id or name, data_set or state.data_set, running.plan))

    async def _give_back(self, name: str) -> None:
        running = self._running.pop(name)
        self._decoder.unsubscribe(name)
        await blocks.release(self._association, running.state.block, running.restore)
        if running.restore is not None:
            self._entries.forget(name)
            await self._delete(running.state.data_set)

    # -- data sets of our own ------------------------------------------------------------------------------------

    async def _make(
        self,
        states: Sequence[BlockState],
        signals: Sequence[Signal],
        objects: Mapping[int, str],
        covered: set[int],
    ) -> set[int]:
        """Make data sets for what no other brings, as far as the device lets us; rows that they bring."""
        missing = dict.fromkeys(objects[signal.row] for signal in signals if signal.row not in covered)
        found: set[int] = set()
        for members in data_sets.groups(self._association, missing):
            some = blocks.spare(states, self._association.local_address, self._running)
            if not some:
                break
            node = some[0].block.name.partition("$")[0]
            number = next(n for n in range(1000) if f"{node}${self._prefix}{n}" not in self._model.data_sets)
            name = f"{node}${self._prefix}{number}"
            try:
                await data_sets.define(self._association, name, members)
            except (MmsConnectionError, MmsTimeout):
                raise
            except MmsError as error:
                self._makes = False
                self._link.count("data_sets_refused")
                self._link.error(f"the device makes no data set: {error}; what none of its own has is polled")
                break
            self._model.data_sets[name] = members
            plan = self._plan(name, signals, covered | found)
            if not await self._take_one(states, [s for s in some if s.block.name.startswith(f"{node}$")], plan, name):
                await self._delete(name)
                break
            self._link.count("data_sets_made")
            found |= {signal.row for signal in plan.signals}
        return found

    async def _delete_left_over(self) -> None:
        """Delete what an earlier run of ours could not delete."""
        used = {running.state.data_set for running in self._running.values()}
        for name in tuple(self._model.data_sets):
            if data_sets.is_ours(name, self._prefix) and name not in used:
                await self._delete(name)

    async def _delete(self, data_set: str) -> None:
        try:
            gone = await data_sets.delete(self._association, data_set)
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            gone = False
        if gone:
            self._model.data_sets.pop(data_set, None)

    # -- interrogating -------------------------------------------------------------------------------------------

    async def interrogate(self) -> None:
        """Have every value of every block delivered anew (MmsConnectionError, MmsTimeout: the association failed)."""
        await asyncio.gather(*(self._interrogate(running) for running in tuple(self._running.values())))

    async def _interrogate(self, running: _Running) -> None:
        if running.replaying and running.waits:
            await self._replayed(running)
        running.interrogated = True
        try:
            if running.how.interrogable:
                await blocks.interrogate(self._association, running.state.block)
                return
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            self._link.count("interrogations_refused")
        running.replaying = False
        await self._read_plan(ReadDecoder(running.plan))

    async def _replayed(self, running: _Running) -> None:
        """Wait until the buffer has been replayed, or the old entries would overtake the answer to the interrogation.

        That is when the entry that was queued last has come, or else when none comes any more.
        """
        end = self._loop.time() + _REPLAY_LIMIT
        while self._loop.time() < end and not running.replayed.is_set():
            if self._loop.time() - running.last >= (_QUIET_BEFORE_LAST if running.queued else _QUIET):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.replayed.wait(), _QUIET / 3)

    async def scan(self) -> None:
        """Interrogate those blocks that do not send everything by themselves.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        await asyncio.gather(
            *(self._interrogate(of) for of in tuple(self._running.values()) if not of.how.scans and not of.replaying)
        )

    def _repair(self, running: _Running) -> None:
        """Interrogate a block that has lost reports, so that at least the state is right again; one at a time."""
        if running.repairing or running.replaying:
            return

        async def work() -> None:
            try:
                with contextlib.suppress(MmsError):
                    await self._interrogate(running)
            finally:
                running.repairing = False

        running.repairing = True
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- reports -------------------------------------------------------------------------------------------------

    def on_report(self, buffer: bytes, start: int, stop: int) -> None:
        """Take a report (called by the association)."""
        try:
            report = self._decoder.decode(buffer, start, stop)
        except UnknownReport:
            self._link.count("reports_unknown")
            return
        except MmsProtocolError as error:
            self._link.count("report_errors")
            self._tell("D03", f"a report that cannot be read: {error}", "")
            self._link.error(f"a report that cannot be read: {error}")
            return
        running = self._running.get(str(report.key))
        if running is not None:
            self._take(running, report)

    def _take(self, running: _Running, report: Report) -> None:
        running.last = self._loop.time()
        block = running.state.block
        self._link.count("reports")
        late = self._late(running, report)
        again = self._again(running, report)
        if report.overflow:
            self._overflow(running, covered=again or 0 < report.entry_time <= running.overlap)
        running.began = True
        if again:
            self._link.count("reports_again")
        elif late and report.reasons and not report.reasons & ~_ONLY_STATE:
            # an old integrity scan or interrogation tells of no event: there is nothing to keep
            self._link.count("old_scans")
        else:
            if late != self._late_columns:
                self._publish_columns()
                self._late_columns = late
            self._columns.append(report.columns)
        if report.entry_id is not None and block.buffered and not report.more:
            self._newest[block.name] = running.state, report.entry_id, report.entry_time
            if report.entry_id == running.queued:
                running.replayed.set()
        if report.sequence is not None:
            self._check_sequence(running, report)
        if report.revision is not None and report.revision != running.state.revision:
            text = f"{block.name}: configuration revision {report.revision} instead of {running.state.revision}"
            self._tell("D03", text, "")

    def _late(self, running: _Running, report: Report) -> bool:
        if not running.replaying:
            return bool(report.entry_time) and running.last < running.floor_until and report.entry_time < running.floor
        if running.interrogated and report.reasons & REASON_GENERAL_INTERROGATION:
            running.replaying = bool(report.more)
            running.floor, running.floor_until = report.entry_time, running.last + _FLOOR_HOLDS
            return False
        return True

    def _again(self, running: _Running, report: Report) -> bool:
        """Whether an entry of the buffer has been delivered before; from now on it has."""
        block = running.state.block
        if report.entry_id is None or not block.buffered:
            return False
        entry = Delivered(block.name, report.entry_id, report.entry_time, report.digest)
        ring = self._delivered.get(block.base)
        if ring is None:
            ring = self._delivered[block.base] = DeliveredEntries()
        again = running.replaying and report.reasons & ~_ONLY_STATE != 0 and ring.knows(entry)
        ring.add(entry)
        return again

    def _overflow(self, running: _Running, *, covered: bool) -> None:
        # an instance that takes over has lost nothing of ours when its buffer begins with what has been delivered
        ours = not covered if running.takes_over else running.known and not running.how.lost
        if running.began or ours:
            name = running.state.block.name
            self._lost(running, f"{name}: the buffer of the device has overflowed, entries were lost", "buffer_losses")
        else:
            # what a block lost before it was ours was not ours; what it does not know any more has been told already
            self._link.count("overflows_before")

    def _check_sequence(self, running: _Running, report: Report) -> None:
        missing = running.numbering.missing(report.sequence or 0, report.segment, more=report.more)
        if not missing:
            return
        name = running.state.block.name
        text = f"{name}: {missing} report(s) missing before number {report.sequence}"
        self._lost(running, text, "report_losses", missing)
        self._repair(running)

    def _lost(self, running: _Running, text: str, counter: str, by: int = 1) -> None:
        self._link.count(counter, by)
        if self._loop.time() - running.told < _TOLD_AGAIN:
            return
        running.told = self._loop.time()
        self._link.event("D08", text, severity=650)
        self._link.error(text)

    def on_read(self) -> None:
        """Publish what the reports that were read at once have brought (called by the association)."""
        self._publish_columns()
        for name, (state, entry_id, entry_time) in self._newest.items():
            self._entries.put(name, Entry(entry_id, state.data_set, state.revision, clock.now(), entry_time))
        self._newest.clear()

    def _publish_columns(self) -> None:
        columns, self._columns = self._columns, []
        if columns:
            self.publish(columns[0] if len(columns) == 1 else joined(columns), late=self._late_columns)

    def publish(self, columns: Columns, *, late: bool = False) -> None:
        """Samples of a report or a reading to the table."""
        if columns.errors:
            self._link.count("value_errors", columns.errors)
        if len(columns.rows) or columns.texts:
            self._link.publish(Batch(columns.rows, columns.values, columns.quality, columns.times, late, columns.texts))

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End what runs beside the association."""
        for task in tuple(self._tasks):
            task.cancel()

    async def release(self) -> None:
        """Give all blocks back and delete the data sets made, as far as the association still works."""
        with contextlib.suppress(MmsError):
            await asyncio.gather(*(self._give_back(name) for name in tuple(self._running)))
