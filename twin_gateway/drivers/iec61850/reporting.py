"""Report blocks at work: which are taken for what, data sets made for them, interrogation, giving them back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from functools import partial
from typing import Any

from address_space import clock
from twin_gateway.drivers.contract import Link

from . import blocks, data_sets
from .association import Association
from .blocks import BlockState
from .config import Iec61850Config
from .delivered import DeliveredEntries
from .entries import Entry, EntryStore
from .errors import MmsConnectionError, MmsError, MmsTimeout
from .intake import Intake, Running, Tell
from .model import Model
from .plan import Plan, Signal
from .report import ReadDecoder, ReportDecoder, Subscription

_QUIET, _QUIET_BEFORE_LAST, _REPLAY_LIMIT = 0.3, 1.0, 5.0
_ANSWER_LIMIT, _ANSWER_AT_LAST = 5.0, 120.0
"""Seconds without a report after which an interrogation counts as not answered, and with reports, but no answer."""


class Reporting:
    """The report blocks of one association.

    Attributes:
        rows: rows that blocks deliver at present.
        wanting: others have blocks that would deliver more.
        intake: of what their reports bring.
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
        self.wanting = False
        self._signals: Sequence[Signal] = ()
        self._objects: Mapping[int, str] = {}
        self._association = association
        self._model = model
        self._link = link
        self._config = config
        self._decoder = decoder
        self._entries = entries
        self._tell = tell
        self._read_plan = read_plan
        self.intake = Intake(
            link=link,
            decoder=decoder,
            entries=entries,
            delivered=delivered,
            tell=tell,
            repair=self._repair,
            renew=association.abort,
        )
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = data_sets.prefix(link.name, str(link.data_directory))
        self._makes = config.data_sets

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
        for name, running in tuple(self.intake.running.items()):
            plan = self._plan(running.state.data_set, signals, covered)
            plan.remember(running.plan)
            running.plan = plan
            if running.plan.signals:
                self._subscribe(running)
                covered |= {signal.row for signal in running.plan.signals}
            else:
                await self._give_back(name)
        self.rows = covered
        self._signals, self._objects = signals, objects
        await self._take_free(first=True)
        return self.rows

    async def take_free(self) -> set[int]:
        """Take blocks that others had when it was tried before; rows that they bring (raises as `arrange`)."""
        before = set(self.rows)
        await self._take_free(first=False)
        return self.rows - before

    async def _take_free(self, *, first: bool) -> None:
        states = await blocks.all_states(self._association, self._model) if self._model.blocks else []
        signals, covered = self._signals, set(self.rows)
        brings = {
            name: {signal.row for signal in self._plan(name, signals, covered).signals}
            for name in dict.fromkeys(state.data_set for state in states)
            if name in self._model.data_sets
        }
        wanting: set[int] = set()
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
            else:
                wanting |= rows
        if self._makes and first:
            await self._delete_left_over()
            covered |= await self._make(states, signals, self._objects, covered)
        self.rows = covered
        self.wanting = bool(wanting - covered)

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
            if name in self.intake.running:
                continue
            last = self._entries.get(name) if state.block.buffered else None
            before = state.data_set
            ours = data_set is not None or data_sets.is_ours(before, self._prefix)
            running = Running(state, plan, last=self._loop.time(), replaying=state.block.buffered)
            running.restore = self._own_of(state, states) if ours else None
            running.known = last is not None and last.entry_id != b""
            if last is not None and any(state.entry_id) and state.entry_id != last.entry_id:
                running.queued = state.entry_id
            self.intake.running[name] = running
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
                del self.intake.running[name]
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

    def _after_enabling(self, running: Running) -> None:
        name, how = running.state.block.name, running.how
        if how.lost and not running.takes_over:
            text = f"{name}: the device does not know the last entry that was taken any more; entries may be lost"
            self.intake.lost(running, text, "buffer_losses")
        if running.state.block.buffered and not how.entries:
            text = f"{name}: its reports have no EntryID; after a loss of the link all of them come again"
            self._tell("D03", text, "")

    def _own_of(self, state: BlockState, states: Sequence[BlockState]) -> str:
        """The data set that a block has of its own; after a crash that is what its other instances have."""
        alike = [state.data_set, *(of.data_set for of in states if of.block.base == state.block.base)]
        return next((name for name in alike if name and not data_sets.is_ours(name, self._prefix)), "")

    def _subscribe(self, running: Running, data_set: str | None = None) -> None:
        state = running.state
        name = state.block.name
        self._decoder.subscribe(Subscription(name, state.report_id or name, data_set or state.data_set, running.plan))

    async def _give_back(self, name: str) -> None:
        running = self.intake.running.pop(name)
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
            some = blocks.spare(states, self._association.local_address, self.intake.running)
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
        used = {running.state.data_set for running in self.intake.running.values()}
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

    async def interrogate(self, rows: Set[int] | None = None) -> None:
        """Have every value of every block delivered anew; with rows, of blocks just taken and of those that bring some.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        some = [
            of
            for of in self.intake.running.values()
            if rows is None or not of.interrogated or any(signal.row in rows for signal in of.plan.signals)
        ]
        await asyncio.gather(*(self._interrogate(running) for running in some))

    async def _interrogate(self, running: Running) -> None:
        if running.replaying and running.waits:
            await self._replayed(running)
        running.interrogated = True
        try:
            if running.how.interrogable:
                await blocks.interrogate(self._association, running.state.block)
                if running.replaying:
                    self._beside(partial(self._answered, running))
                return
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            self._link.count("interrogations_refused")
        running.replaying = False
        await self._read_plan(ReadDecoder(running.plan))

    async def _answered(self, running: Running) -> None:
        """Read what a block does not send although it took the interrogation: nothing of it would ever be live."""
        asked = self._loop.time()
        while running.replaying and self.intake.running.get(running.state.block.name) is running:
            now = self._loop.time()
            if now - max(asked, running.last) >= _ANSWER_LIMIT or now - asked >= _ANSWER_AT_LAST:
                self._link.count("interrogations_unanswered")
                running.replaying = False
                await self._read_plan(ReadDecoder(running.plan))
                return
            await asyncio.sleep(_QUIET)

    def _beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it beside the association; the end of that ends it too."""

        async def guarded() -> None:
            with contextlib.suppress(MmsError):
                await work()

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replayed(self, running: Running) -> None:
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
            *(
                self._interrogate(of)
                for of in tuple(self.intake.running.values())
                if not of.how.scans and not of.replaying
            )
        )

    def _repair(self, running: Running) -> None:
        """Interrogate a block that has lost reports, so that at least the state is right again; one at a time."""
        if running.repairing or running.replaying:
            return

        async def work() -> None:
            try:
                await self._interrogate(running)
            finally:
                running.repairing = False

        running.repairing = True
        self._beside(work)

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End what runs beside the association."""
        for task in tuple(self._tasks):
            task.cancel()

    async def release(self) -> None:
        """Give all blocks back and delete the data sets made, as far as the association still works."""
        with contextlib.suppress(MmsError):
            await asyncio.gather(*(self._give_back(name) for name in tuple(self.intake.running)))
