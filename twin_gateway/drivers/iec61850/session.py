"""One association at work: resolved points, report blocks and polls; made anew on each connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from address_space.point import Batch, TextSample
from address_space.quality import Quality
from twin_gateway.drivers.contract import BoundPoint, Link

from . import services
from .association import Association
from .config import FROM_DEVICE, MODELS, Iec61850Config
from .control import Controllable, Controls, control_model_name, controllable
from .delivered import DeliveredEntries
from .discovery import chunks, object_name, read_constants
from .entries import EntryStore
from .errors import MmsConnectionError, MmsError, MmsTimeout, ModelError, ServiceError
from .model import Model
from .plan import Plan, Signal, leaves
from .points import Reference, Source, resolve, scaling
from .report import ReadDecoder, ReportDecoder
from .reporting import Reporting
from .unmapped import UnmappedMembers

_NOT_MAPPED = int(Quality.INVALID | Quality.CONFIGURATION_ERROR)
_NOT_DELIVERED = int(Quality.INVALID | Quality.FAILURE)
_ABSENT = frozenset({2, 7})
"""Error classes of MMS that say that there is no such variable or no right to it: definition, access."""
_MOST_TOLD = 10_000
_LEAF_SIZE = 24
"""Octets of a leaf in a response; texts are longer, see `_size`."""


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
        delivered: dict[str, DeliveredEntries],
        counter: itertools.count[int],
        told: set[tuple[str, str]],
    ) -> None:
        self.model = model
        self.controls = Controls(association, counter)
        self._association = association
        self._link = link
        self._config = config
        self._told = told
        self._polls: list[ReadDecoder] = []
        self._points: dict[int, BoundPoint] = {}
        self._resolved = _Resolved()
        self._arranging = asyncio.Lock()
        self._reporting = Reporting(
            association,
            model,
            link=link,
            config=config,
            decoder=decoder,
            entries=entries,
            delivered=delivered,
            tell=self._tell,
            read_plan=self._read_all,
        )

    # -- arranging -----------------------------------------------------------------------------------------------

    async def arrange(self, points: Iterable[BoundPoint], *, fresh: Set[int] | None = None) -> None:
        """Deliver these points and no others: take and give back report blocks, poll the rest.

        Args:
            points: all points from now on.
            fresh: rows whose value is wanted at once; None for all.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        async with self._arranging:
            self._points = {point.row: point for point in points}
            self._resolved = await self._resolve(self._points.values())
            for about, text in self._resolved.problems:
                self._tell("G01", text, about)
                self._link.error(text, about)
            self._publish_broken()
            uncovered = {signal.row for signal in self._resolved.signals}
            if self._config.reports:
                uncovered -= await self._reporting.arrange(self._resolved.signals, self._resolved.objects)
            self._arrange_polls(uncovered)
            await asyncio.gather(self._reporting.interrogate(fresh), self.poll(fresh))

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

    @property
    def mapped(self) -> set[str]:
        """The variables of the device whose values points take."""
        return {signal.value for signal in self._resolved.signals}

    async def read_unmapped(self, members: UnmappedMembers) -> None:
        """Read the values of members that no point takes (raises as `poll`, and MmsTimeout)."""
        await members.read(self._association)

    def control_of(self, row: int) -> Controllable | None:
        """The data object that a point commands; None when it cannot be operated."""
        return self._resolved.controls.get(row)

    def _publish_broken(self) -> None:
        rows = [row for row in self._resolved.broken if self._points[row].value_type.name != "STRING"]
        texts = [TextSample(row, "", _NOT_MAPPED) for row in self._resolved.broken if row not in set(rows)]
        if rows or texts:
            self._link.publish(Batch.of(rows, [0.0] * len(rows), _NOT_MAPPED, texts=texts))

    async def scan(self) -> None:
        """Have everything delivered by blocks that do not do so by themselves (raises as `interrogate`)."""
        async with self._arranging:
            await self._reporting.scan()

    async def take_free(self) -> bool:
        """Have blocks deliver that others had before, in place of polls; False when there are none.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        async with self._arranging:
            if not self._reporting.wanting or not await self._reporting.take_free():
                return False
            self._arrange_polls({signal.row for signal in self._resolved.signals} - self._reporting.rows)
            await self._reporting.interrogate(frozenset())
            return True

    async def interrogate(self) -> None:
        """Have every value delivered anew.

        Raises:
            MmsConnectionError, MmsTimeout: the association failed.
        """
        async with self._arranging:
            await asyncio.gather(self._reporting.interrogate(), self.poll())

    def on_report(self, buffer: bytes, start: int, stop: int) -> None:
        """Take a report (called by the association)."""
        self._reporting.intake.on_report(buffer, start, stop)

    def on_read(self) -> None:
        """Publish what the reports that were read at once have brought (called by the association)."""
        self._reporting.intake.on_read()

    # -- polling -------------------------------------------------------------------------------------------------

    def _arrange_polls(self, rows: set[int]) -> None:
        signals = [signal for signal in self._resolved.signals if signal.row in rows]
        objects = dict.fromkeys(self._resolved.objects[signal.row] for signal in signals)
        sizes = [(name, self._size(name)) for name in objects]
        before, self._polls = self._polls, []
        for group in chunks(self._association, sizes):
            kinds = [(name, self.model.type_of(name)) for name in group]
            plan = Plan([(name, kind) for name, kind in kinds if kind is not None], signals)
            for decoder in before:
                plan.remember(decoder.plan)
            self._polls.append(ReadDecoder(plan))

    def _size(self, name: str) -> int:
        kind = self.model.type_of(name)
        if kind is None:
            return 0
        count = len(leaves(name, kind))
        texts = 256 if count == 1 else 0
        return count * _LEAF_SIZE + texts

    async def poll(self, rows: Set[int] | None = None) -> None:
        """Read once what no report block delivers; with rows only what delivers some of them.

        Raises:
            MmsConnectionError: the association is over.
        """
        for decoder in tuple(self._polls):
            if rows is not None and not any(signal.row in rows for signal in decoder.plan.signals):
                continue
            if await self._read_plan(decoder):
                continue
            # the answer may not fit, or one variable spoils it for all: from now on they are asked in halves
            if decoder not in self._polls:
                continue  # arranged anew, or divided by another reading meanwhile
            self._polls.remove(decoder)
            halves = self._halves(decoder)
            self._polls += halves
            for half in halves:
                await self._read_plan(half)

    async def _read_all(self, decoder: ReadDecoder) -> None:
        """Read and publish a plan of any size (raises as `poll`)."""
        waiting = [decoder]
        while waiting:
            of = waiting.pop()
            if not await self._read_plan(of):
                waiting += self._halves(of)

    def _halves(self, decoder: ReadDecoder) -> list[ReadDecoder]:
        members = [(name, kind) for name in decoder.plan.members if (kind := self.model.type_of(name)) is not None]
        middle = len(members) // 2
        halves = [Plan(half, decoder.plan.signals) for half in (members[:middle], members[middle:])]
        for half in halves:
            half.remember(decoder.plan)
        return [ReadDecoder(half) for half in halves]

    async def _read_plan(self, decoder: ReadDecoder) -> bool:
        """Read and publish; False when the device refused it as a whole and it can be divided."""
        names = [object_name(name) for name in decoder.plan.members]
        if not names:
            return True
        try:
            self._reporting.intake.publish(decoder.decode(*await services.read_raw(self._association, names)))
        except MmsConnectionError:
            raise
        except MmsTimeout as error:
            self._link.count("timeouts")
            self._note_all(decoder, f"cannot be read: {error}")
        except MmsError as error:
            if len(names) > 1:
                self._link.count("polls_divided")
                return False
            text = f"{decoder.plan.members[0]} cannot be read"
            self._link.count("poll_errors")
            self._tell("D03", text, "")
            self._note_all(decoder, f"{text}: {error}")
            absent = not isinstance(error, ServiceError) or error.error_class in _ABSENT
            self._reporting.intake.publish(decoder.refused(_NOT_MAPPED if absent else _NOT_DELIVERED))
        return True

    def _note_all(self, decoder: ReadDecoder, text: str) -> None:
        for signal in decoder.plan.signals:
            point = self._points.get(signal.row)
            if point is not None:
                self.note(text, point.address)

    # -- the end -------------------------------------------------------------------------------------------------

    def note(self, text: str, address: str) -> None:
        """Note the last error of a point."""
        self._link.error(text, address)

    def abort(self, reason: str) -> None:
        """End the association at once."""
        self._association.abort(reason)

    def stop(self) -> None:
        """End what runs beside the association."""
        self._reporting.stop()

    async def release(self) -> None:
        """Give all report blocks back, as far as the association still works."""
        await self._reporting.release()

    def _tell(self, code: str, text: str, address: str) -> bool:
        """An event once, not again at every reconnection; False when it was told before."""
        if (address, text) in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add((address, text))
        self._link.event(code, text, severity=600, address=address)
        return True
