"""One association at work: resolved points, report blocks, polling; made anew on each connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from address_space.point import Batch, TextSample
from address_space.quality import Quality
from twin_gateway.drivers.contract import BoundPoint, Link

from . import blocks, services
from .association import Association
from .blocks import BlockState, Enabled
from .config import FROM_DEVICE, MODELS, Iec61850Config
from .control import Controllable, Controls, control_model_name, controllable
from .discovery import chunks, object_name, read_constants
from .entries import Entry, EntryStore
from .errors import MmsConnectionError, MmsError, MmsProtocolError, MmsTimeout, ModelError
from .layout import Columns
from .model import Model
from .plan import Plan, Signal, leaves
from .points import Reference, Source, resolve, scaling
from .report import (
    REASON_GENERAL_INTERROGATION,
    REASON_INTEGRITY,
    ReadDecoder,
    Report,
    ReportDecoder,
    Subscription,
    UnknownReport,
)

_NOT_MAPPED = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
_QUIET, _REPLAY_LIMIT = 0.3, 10.0
_LEAF_SIZE = 24
"""Octets of a leaf in a response; texts are longer, see `_size`."""


@dataclass(slots=True)
class _Running:
    """A block that delivers.

    Attributes:
        last: loop time of its last report.
        replaying: entries come from its buffer; nothing is live before the interrogation is answered.
        interrogated: GI has been asked for.
        floor: TimeOfEntry of the answer; older entries were buffered, if they come before `floor_until` (loop time):
            later the device's clock may simply have been set back.
        sequence: SqNum of the last report.
    """

    state: BlockState
    how: Enabled | None
    plan: Plan
    last: float
    replaying: bool
    interrogated: bool = False
    floor: int = 0
    floor_until: float = 0.0
    sequence: int | None = None


@dataclass(slots=True)
class _Resolved:
    """What the points have become in the model of this device."""

    signals: list[Signal] = field(default_factory=list)
    objects: dict[int, str] = field(default_factory=dict)  # row -> what is polled for it
    controls: dict[int, Controllable] = field(default_factory=dict)
    broken: dict[int, BoundPoint] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


class Session:
    """Everything between association and loss of it.

    Attributes:
        model: of the device.
        controls: commands on this association.
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
        counter: itertools.count[int],
        told: set[tuple[str, str]],
    ) -> None:
        self.model = model
        self.controls = Controls(association, counter)
        self._association = association
        self._link = link
        self._config = config
        self._decoder = decoder
        self._entries = entries
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, _Running] = {}
        self._polls: list[ReadDecoder] = []
        self._points: dict[int, BoundPoint] = {}
        self._resolved = _Resolved()
        self._arranging = asyncio.Lock()

    # -- arranging -----------------------------------------------------------------------------------------------

    async def arrange(self, points: Iterable[BoundPoint]) -> None:
        """Deliver these points and no others: take and give back report blocks, poll the rest.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        async with self._arranging:
            self._points = {point.row: point for point in points}
            self._resolved = await self._resolve(self._points.values())
            for about, text in self._resolved.problems:
                self._tell("G01", text, about)
            self._publish_broken()
            uncovered = {signal.row for signal in self._resolved.signals}
            if self._config.reports:
                uncovered -= await self._arrange_blocks()
            self._arrange_polls(uncovered)
            await asyncio.gather(self._interrogate(), self.poll())

    async def _resolve(self, points: Iterable[BoundPoint]) -> _Resolved:
        found = _Resolved()
        sources: dict[int, Source] = {}
        for point in points:
            try:
                sources[point.row] = resolve(self.model, Reference.parse(str(point.fields["ref"])), point.cdc)
            except ModelError as error:
                found.broken[point.row] = point
                found.problems.append((point.address, str(error)))
        wanted = {name for source in sources.values() for _, name in source.constants}
        for row, source in sources.items():
            if source.control is not None and self._points[row].control is not None:
                wanted.add(control_model_name(source.control))
        constants = await read_constants(self._association, wanted)
        for row, source in sources.items():
            self._add(found, self._points[row], source, constants)
        return found

    def _add(
        self, found: _Resolved, point: BoundPoint, source: Source, constants: dict[str, bool | int | float | str]
    ) -> None:
        gain, bias = 1.0, 0.0
        if point.unit is None or source.scaled:
            try:
                gain, bias = scaling(source, constants, point.cdc, point.quantity)
            except ModelError as error:
                found.broken[point.row] = point
                found.problems.append((point.address, str(error)))
                return
        found.signals.append(Signal(point.row, source.value, source.quality, source.time, source.text, gain, bias))
        found.objects[point.row] = source.object
        if point.control is None:
            return
        if source.control is None:
            found.problems.append((point.address, f"{point.fields['ref']} cannot be operated: it has no Oper"))
            return
        try:
            target = controllable(self.model, source.control, constants)
        except ModelError as error:
            found.problems.append((point.address, str(error)))
            return
        target.gain, target.bias = gain, bias
        found.controls[point.row] = target
        mapped = str(point.control.get("model", FROM_DEVICE))
        actual = MODELS[target.model - 1] if target.model else "status-only"
        if mapped not in {FROM_DEVICE, actual}:
            text = f"the mapping says {mapped}, the device {actual}; commands go by the device"
            found.problems.append((point.address, text))

    def control_of(self, row: int) -> Controllable | None:
        """The data object that a point commands; None when it cannot be operated."""
        return self._resolved.controls.get(row)

    def _publish_broken(self) -> None:
        rows = [row for row in self._resolved.broken if self._points[row].value_type.name != "STRING"]
        texts = [TextSample(row, "", _NOT_MAPPED) for row in self._resolved.broken if row not in set(rows)]
        if rows or texts:
            self._link.publish(Batch.of(rows, [0.0] * len(rows), _NOT_MAPPED, texts=texts))

    # -- report blocks -------------------------------------------------------------------------------------------

    async def _arrange_blocks(self) -> set[int]:
        """Rows that report blocks deliver."""
        signals = self._resolved.signals
        covered: set[int] = set()
        for name, running in tuple(self._running.items()):
            running.plan = self._plan(running.state.data_set, signals, covered)
            if running.plan.signals:
                self._subscribe(running)
                covered |= {signal.row for signal in running.plan.signals}
            else:
                await self._give_back(name)
        states = await blocks.all_states(self._association, self.model) if self.model.blocks else []
        brings = {
            name: {signal.row for signal in self._plan(name, signals, covered).signals}
            for name in dict.fromkeys(state.data_set for state in states)
            if name in self.model.data_sets
        }
        while brings:
            # the data set that brings most; one that brings nothing new is not taken
            name = max(brings, key=lambda of: len(brings[of] - covered))
            rows = brings.pop(name) - covered
            if not rows:
                break
            if await self._take_one(states, name, self._plan(name, signals, covered)):
                covered |= rows
        return covered

    def _plan(self, data_set: str, signals: Sequence[Signal], covered: set[int]) -> Plan:
        """What a data set brings of the signals that nothing else delivers."""
        members = []
        for member in self.model.data_sets.get(data_set, ()):
            kind = self.model.type_of(member)
            if kind is None:
                return Plan((), ())  # without the types of all members nothing in it can be found
            members.append((member, kind))
        return Plan(members, [signal for signal in signals if signal.row not in covered])

    async def _take_one(self, states: Sequence[BlockState], data_set: str, plan: Plan) -> bool:
        address = self._association.local_address
        for state in blocks.candidates(states, data_set, address, self._entries.get):
            if state.block.name in self._running:
                continue
            last = self._entries.get(state.block.name) if state.block.buffered else None
            running = _Running(state, None, plan, self._loop.time(), replaying=state.block.buffered)
            self._running[state.block.name] = running
            self._subscribe(running)
            siblings = any(self._entries.get(s.block.name) for s in states if s.block.base == state.block.base)
            try:
                running.how = await blocks.enable(
                    self._association,
                    state,
                    last,
                    integrity=self._config.integrity,
                    reserve=self._config.reserve,
                    purge=not siblings,
                )
            except (MmsConnectionError, MmsTimeout):
                raise
            except MmsError:
                del self._running[state.block.name]
                self._decoder.unsubscribe(state.block.name)
                self._link.count("blocks_refused")
                continue
            self._link.count("blocks_enabled")
            if running.how.lost:
                text = f"{state.block.name}: the device has dropped entries since the last one that was taken"
                self._link.event("D08", text, severity=650)
            return True
        return False

    def _subscribe(self, running: _Running) -> None:
        state = running.state
        name = state.block.name
        self._decoder.subscribe(Subscription(name, state.report_id or name, state.data_set, running.plan))

    async def _give_back(self, name: str) -> None:
        running = self._running.pop(name)
        self._decoder.unsubscribe(name)
        await blocks.release(self._association, running.state.block)

    async def interrogate(self) -> None:
        """Have every value delivered anew.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        async with self._arranging:
            await asyncio.gather(self._interrogate(), self.poll())

    async def _interrogate(self) -> None:
        await asyncio.gather(*(self._interrogate_one(running) for running in tuple(self._running.values())))

    async def _interrogate_one(self, running: _Running) -> None:
        how = running.how
        if running.replaying and how is not None and (how.resumed or how.lost):
            # the interrogation comes after the replay, or the old entries would overtake the new state
            end = self._loop.time() + _REPLAY_LIMIT
            while (  # noqa: ASYNC110 - waits for silence, which no event tells
                self._loop.time() < end and self._loop.time() - running.last < _QUIET
            ):
                await asyncio.sleep(_QUIET / 3)
        running.interrogated = True
        try:
            if how is None or how.interrogable:
                await blocks.interrogate(self._association, running.state.block)
                return
        except (MmsConnectionError, MmsTimeout):
            raise
        except MmsError:
            self._link.count("interrogations_refused")
        running.replaying = False
        await self._read_plan(ReadDecoder(running.plan))

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
            return
        running = self._running.get(str(report.key))
        if running is not None:
            self._take(running, report)

    def _take(self, running: _Running, report: Report) -> None:
        running.last = self._loop.time()
        block = running.state.block
        self._link.count("reports")
        if report.overflow:
            text = f"{block.name}: the buffer of the device has overflowed, entries were lost"
            self._link.event("D08", text, severity=650)
        late = self._late(running, report)
        only_state = report.reasons and not report.reasons & ~(REASON_INTEGRITY | REASON_GENERAL_INTERROGATION)
        if late and only_state:
            # an old integrity scan or interrogation tells of no event: there is nothing to keep
            self._link.count("old_scans")
        else:
            self._publish(report.columns, late=late)
        if report.entry_id is not None and block.buffered:
            self._entries.put(block.name, Entry(report.entry_id, running.state.data_set, running.state.revision))
        if report.sequence is not None:
            self._check_sequence(running, report)
        if report.revision is not None and report.revision != running.state.revision:
            text = f"{block.name}: configuration revision {report.revision} instead of {running.state.revision}"
            self._tell("D03", text, "")

    def _late(self, running: _Running, report: Report) -> bool:
        if not running.replaying:
            return bool(report.entry_time) and running.last < running.floor_until and report.entry_time < running.floor
        if running.interrogated and report.reasons & REASON_GENERAL_INTERROGATION:
            running.replaying = False
            running.floor, running.floor_until = report.entry_time, running.last + _REPLAY_LIMIT
            return False
        return True

    def _check_sequence(self, running: _Running, report: Report) -> None:
        last, running.sequence = running.sequence, report.sequence
        # a report in segments has one number; numbers start again when the counter is full
        if last is None or report.sequence in {0, last, last + 1}:
            return
        self._link.count("reports_missed")

    def _publish(self, columns: Columns, *, late: bool = False) -> None:
        if columns.errors:
            self._link.count("value_errors", columns.errors)
        if len(columns.rows) or columns.texts:
            self._link.publish(Batch(columns.rows, columns.values, columns.quality, columns.times, late, columns.texts))

    # -- polling -------------------------------------------------------------------------------------------------

    def _arrange_polls(self, rows: set[int]) -> None:
        signals = [signal for signal in self._resolved.signals if signal.row in rows]
        objects = dict.fromkeys(self._resolved.objects[signal.row] for signal in signals)
        sizes = [(name, self._size(name)) for name in objects]
        self._polls = []
        for group in chunks(self._association, sizes):
            kinds = [(name, self.model.type_of(name)) for name in group]
            self._polls.append(ReadDecoder(Plan([(name, kind) for name, kind in kinds if kind is not None], signals)))

    def _size(self, name: str) -> int:
        kind = self.model.type_of(name)
        if kind is None:
            return 0
        count = len(leaves(name, kind))
        texts = 256 if count == 1 else 0
        return count * _LEAF_SIZE + texts

    async def poll(self) -> None:
        """Read once what no report block delivers.

        Raises:
            MmsConnectionError: the association is over.
        """
        for decoder in tuple(self._polls):
            await self._read_plan(decoder)

    async def _read_plan(self, decoder: ReadDecoder) -> None:
        names = [object_name(name) for name in decoder.plan.members]
        if not names:
            return
        try:
            self._publish(decoder.decode(*await services.read_raw(self._association, names)))
        except MmsConnectionError:
            raise
        except MmsTimeout:
            self._link.count("timeouts")
        except MmsError as error:
            self._link.count("poll_errors")
            self._tell("D03", f"cannot read {decoder.plan.members[0]} and {len(names) - 1} more: {error}", "")

    # -- the end -------------------------------------------------------------------------------------------------

    async def release(self) -> None:
        """Give all report blocks back, as far as the association still works."""
        with contextlib.suppress(MmsError):
            await asyncio.gather(*(self._give_back(name) for name in tuple(self._running)))

    def _tell(self, code: str, text: str, address: str) -> None:
        """An event once, not again at every reconnection."""
        if (address, text) not in self._told and len(self._told) < 10_000:
            self._told.add((address, text))
            self._link.event(code, text, severity=600, address=address)
