"""Condition of switchgear at work: follows operations and sensors, keeps wear and history, tells health (spec 6)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.catalogue import ValueType
from address_space.ingest import values_of
from address_space.journal import Chunk
from address_space.ports import Caller, MethodResult, MethodSpec
from address_space.quality import Quality, StatusCode, TimeFlag
from twin_gateway.functions.contract import TwinContext
from twin_gateway.functions.feeder_view import FeederViews
from twin_gateway.functions.following import Following
from twin_gateway.functions.results import Value
from twin_gateway.functions.rule_watch import UNUSABLE, RuleWatch, Watched
from twin_gateway.functions.slices import Slices, in_slices
from twin_gateway.functions.switchgear_assessment import INDEX_RESULTS, RESULTS, Assessor
from twin_gateway.functions.switchgear_equipment import ROLES, Switchgear, class_of, find_switchgear
from twin_gateway.functions.switchgear_methods import SwitchgearMethods
from twin_gateway.functions.switchgear_nameplates import read_nameplates
from twin_gateway.functions.switchgear_operations import Operations
from twin_gateway.functions.switchgear_settings import SwitchgearSettings
from twin_gateway.functions.switchgear_store import Entry, SwitchgearStore
from twin_gateway.grid.topology import LiveTopology
from twin_gateway.sqlite import opened
from twin_gateway.twin.supervision.rollup import function_of
from twin_gateway.twin.switchgear import gas
from twin_gateway.twin.switchgear.conditions import BLOCKING, SWITCHGEAR_RULES
from twin_gateway.twin.switchgear.nameplate import Nameplate

log = logging.getLogger(__name__)
TICK_S = 1.0
AT_ONCE = 100
PAUSE_S = 0.05
IDLE_PASS_S = 60.0
_FUNCTION = "twHLTH1"
_NO_DEVICE_TIME = int(TimeFlag.RECEIVED | TimeFlag.INVALID | TimeFlag.SUBSTITUTED | TimeFlag.FUTURE)
_FUNCTION_AT = 6


class NameplateError(ValueError):
    """The file of nameplates has errors; the message lists them with their places."""


class SwitchgearCondition:
    """The twin function of spec 6; see `TwinFunction` for the contract.

    Args:
        context: see `TwinContext`.
        settings: see `SwitchgearSettings`.
        mark: `suppressed` (maintenance), `test` or empty for alarms at a place.
        topology: the live topology when another function keeps it.
        tags: texts of the safety tags at an address.
        monotonic, wall: clocks, s.

    Raises:
        NameplateError: the file of nameplates has errors.
    """

    name = "switchgear"

    def __init__(
        self,
        context: TwinContext,
        settings: SwitchgearSettings,
        *,
        mark: Callable[[str], str] = lambda _place: "",
        topology: Callable[[], LiveTopology] | None = None,
        tags: Callable[[str], Sequence[str]] = lambda _address: (),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.context, self.settings = context, settings
        self._mark, self._now, self._wall = mark, monotonic, wall
        self.equipment = find_switchgear(context.table, _nameplates(settings))
        context.results.add(f"{function_of(place, _FUNCTION)}/{name}" for place in self.equipment for name in RESULTS)
        self._at: dict[str, list[Switchgear]] = {}
        for one in self.equipment.values():
            self._at.setdefault(one.place, []).append(one)
            self._at.setdefault(one.bay, []).append(one)
        bays = dict.fromkeys([*context.grid.feeders, *(one.bay for one in self.equipment.values())])
        known = [bay for bay in bays if context.table.tree.find(bay) >= 0]
        self.views = FeederViews(context, known, rated=self._rated, topology=topology, tags=tags)
        self._store = SwitchgearStore(context.data_directory)
        self._methods = SwitchgearMethods(context, self.equipment, self._save)
        self._operations = Operations(context.table, settings.settle)
        self._assessor = Assessor(context.table, self._blocked, self._told, joint_confirm=settings.joint_confirm)
        self._watch = RuleWatch(
            context.table,
            context.alarms,
            SWITCHGEAR_RULES,
            mark=self._mark_of,
            on_change=self._verdict,
            monotonic=monotonic,
        )
        self._roles: dict[int, list[tuple[Switchgear, str]]] = {}
        self._mask: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._verdicts: dict[str, dict[int, Watched]] = {}
        self._watch.scan()  # all of it, while nobody waits
        self._published: dict[str, tuple[Value, int]] = {}

    # ---- contract -------------------------------------------------------------------------------------------------

    @staticmethod
    def misses(address: str) -> bool:
        """See `FollowsPoints`: what it follows of switchgear is found when it starts."""
        parts = address.split("/", _FUNCTION_AT + 1)
        if len(parts) <= _FUNCTION_AT + 1:
            return False
        role = f"{class_of(parts[-2])}/{parts[-1]}"
        return role in ROLES or role == "STMP/Tmp"

    def specs(self) -> Sequence[MethodSpec]:
        """`GetFeederView`, `SetBaseline`, `ResetWear`, all at the area."""
        return (self.views.spec(), *self._methods.specs())

    async def call(self, owner: str, name: str, arguments: Sequence[Any], caller: Caller) -> MethodResult:
        """Run one of them."""
        match name:
            case "GetFeederView":
                return self.views.call(str(arguments[0]), caller)
            case "SetBaseline":
                return await self._methods.set_baseline(str(arguments[0]), caller)
            case "ResetWear":
                return await self._methods.reset_wear(str(arguments[0]), float(arguments[1]), caller)
        return MethodResult(StatusCode.BadMethodInvalid, (), f"there is no method {name}")

    async def run(self) -> None:
        """Follow until cancelled."""
        changes = Following(self.context.table, "switchgear", monotonic=self._now)
        try:
            await self.open()
            await changes.run(self.take, self._watch.renew_all, self.tick, every=TICK_S, rest=PAUSE_S, at_once=AT_ONCE)
        finally:
            changes.close()
            with contextlib.suppress(sqlite3.Error):
                await self._save(list(self.equipment.values()))
            await self._store.close()

    async def open(self) -> None:
        """Read what was kept and what the table has already."""
        alarms, place = self.context.alarms, self.context.place
        kept = await opened(
            self._store, "Wear and history of switchgear", lambda text: alarms.event("G02", place, text, 600)
        )
        slices = Slices()
        for one in self.equipment.values():
            one.restore(kept.get(one.place))
            for role, row in one.rows.items():
                self._roles.setdefault(row, []).append((one, role))
            for row in one.joints.values():
                self._roles.setdefault(row, []).append((one, "STMP/Tmp"))
            await slices.pause()
        self._grow()
        await in_slices(self._watch.renew_all())
        table = self.context.table
        for row, owners in list(self._roles.items()):
            await slices.pause()
            sample = table.sample(row)
            if sample.quality & UNUSABLE or not isinstance(sample.value, int):
                continue
            for one, role in owners:
                if role in ("XCBR/Pos", "XSWI/Pos"):
                    one.position = int(sample.value)
                elif role == "SOPM/MotStrNum":
                    one.starts = float(sample.value)

    # ---- what comes in --------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        size = len(self.context.table)
        if len(self._mask) != size:
            self._mask = np.zeros(size, bool)
            self._mask[list(self._roles)] = True
            self._watch.scan()

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes."""
        if int(chunk.rows.max()) >= len(self._mask):
            self._grow()
        self._watch.take(chunk)
        if chunk.texts is not None or chunk.timestamp_only:
            return
        now = self._now()
        for index in np.nonzero(self._mask[chunk.rows])[0].tolist():
            row, quality = int(chunk.rows[index]), int(chunk.quality[index])
            for one, _role in self._roles[row]:
                one.dirty = True
            if quality & UNUSABLE:
                continue
            kind = ValueType(int(self.context.table.value_type[row]))
            value = values_of(chunk.raw[index : index + 1], kind)[0]
            at = clock.to_unix(int(chunk.source_time[index]))
            timed = not quality & _NO_DEVICE_TIME
            for one, role in self._roles[row]:
                self._operations.sample(one, role, float(value), at, timed=timed, now=now)

    # ---- every second ---------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Count operations, sample, assess what has changed, publish."""
        self._grow()
        now, wall = self._now(), self._wall()
        slices = Slices()
        changed: list[Switchgear] = []
        for one in self.equipment.values():
            self._operations.count(one, now)
            self._take_samples(one, wall)
            await self._find_leak(one, now, wall)
            if one.dirty or now >= one.due:
                one.dirty = False
                one.due = now + IDLE_PASS_S
                self._assess(one, wall)
            if one.unsaved or one.changed:
                changed.append(one)
            await slices.pause()
        await self.views.publish()
        if changed:
            try:
                await self._save(changed)
            except sqlite3.Error as error:
                self.context.alarms.event("G02", self.context.place, f"Switchgear history cannot be kept: {error}", 600)

    def _take_samples(self, one: Switchgear, wall: float) -> None:
        every = self.settings.history_every
        last = one.last("gas")
        if last is None or wall - last.time >= every:
            sample = self._assessor.sample_gas(one)
            if sample is not None:
                one.note("gas", wall, *sample)
        last = one.last("discharge")
        if last is None or wall - last.time >= every:
            level = self._assessor.sample_discharge(one)
            if level is not None:
                one.note("discharge", wall, level)

    async def _find_leak(self, one: Switchgear, now: float, wall: float) -> None:
        data, entries = one.nameplate.gas, one.history.get("gas")
        if data is None or data.limits is None or not entries or now < one.leak_due:
            return
        one.leak_due = now + self.settings.leak_every
        table = np.array([(entry.time, entry.value, entry.more) for entry in entries])
        one.leak = await asyncio.to_thread(_leak_of, table, data.limits, wall)
        one.dirty = True

    def _assess(self, one: Switchgear, wall: float) -> None:
        out = self._assessor.assess(one, wall)
        head = f"{function_of(one.place, _FUNCTION)}/"
        unsure = 0 if out.health.certain else int(Quality.QUESTIONABLE | Quality.PARTIAL)
        self._write(head, {k: v for k, v in out.values.items() if k not in INDEX_RESULTS}, out.quality, out.source_time)
        index = {name: out.values[name] for name in INDEX_RESULTS}
        self._write(head, index, max(out.quality & 3, unsure & 3) | (out.quality | unsure) & ~3, out.source_time)
        for condition in out.conditions:
            address = head + condition.result
            if condition.severity:
                mark = self._mark(one.place) or ("test" if out.quality & Quality.TEST else "")
                self.context.alarms.raise_(
                    condition.code,
                    address,
                    condition.text,
                    condition.severity,
                    marked=mark,
                    value=condition.value,
                    limit=condition.limit,
                )
            else:
                self.context.alarms.clear(condition.code, address)

    def _write(self, head: str, values: Mapping[str, Value], quality: int, source_time: int) -> None:
        new = {
            head + name: value
            for name, value in values.items()
            if self._published.get(head + name, (None, -1)) != (value, quality)
        }
        if new:
            self._published |= {address: (value, quality) for address, value in new.items()}
            self.context.results.write(new, quality, source_time)

    async def _save(self, changed: Sequence[Switchgear]) -> None:
        entries: list[Entry] = []
        for one in changed:
            entries += one.unsaved
            one.unsaved, one.changed = [], False
        wear = {one.place: one.wear for one in changed}
        marks = {(one.place, name): value for one in changed for name, value in one.marks.items()}
        try:
            await self._store.save(wear, marks, entries, self._wall())
        except sqlite3.Error:
            for one in changed:
                one.changed = True
                one.unsaved = [entry for entry in entries if entry.place == one.place][-1000:] + one.unsaved
            raise

    # ---- the devices' own verdicts --------------------------------------------------------------------------------

    def _mark_of(self, watched: Watched) -> str:
        return self._mark(watched.address) or ("test" if watched.quality & Quality.TEST else "")

    def _verdict(self, watched: Watched) -> None:
        parts = watched.address.split("/")
        place = "/".join(parts[:6]) if parts[5] != "_" else "/".join(parts[:5])
        held = self._verdicts.setdefault(place, {})
        if watched.holding:
            held[watched.row] = watched
        else:
            held.pop(watched.row, None)
        for one in self._at.get(place, ()):
            one.dirty = True

    def _holding(self, one: Switchgear) -> list[Watched]:
        return [watched for place in (one.place, one.bay) for watched in self._verdicts.get(place, {}).values()]

    def _blocked(self, one: Switchgear) -> bool:
        for watched in self._holding(one):
            parts = watched.address.split("/")
            if (class_of(parts[6]), "/".join(parts[7:])) in BLOCKING:
                return True
        return False

    def _told(self, one: Switchgear, code: str) -> int:
        rules = [watched.holding[code] for watched in self._holding(one) if code in watched.holding]
        return max((rule.severity for rule in rules), default=0)

    def _rated(self, bay: str) -> float | None:
        rated = [one.nameplate.rated_current for one in self._at.get(bay, ())]
        return min((value for value in rated if value is not None), default=None)


def _leak_of(table: npt.NDArray[np.float64], limits: gas.GasLimits, now: float) -> gas.Leak | None:
    usable = gas.in_equilibrium(table[:, 0], table[:, 2])
    return gas.leak(table[usable, 0], table[usable, 1], limits, now)


def _nameplates(settings: SwitchgearSettings) -> dict[str, Nameplate]:
    if settings.nameplates is None:
        return {}
    found, problems = read_nameplates(settings.nameplates)
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise NameplateError("\n".join(errors))
    return found


def make_switchgear(
    context: TwinContext,
    settings: SwitchgearSettings,
    *,
    mark: Callable[[str], str] = lambda _place: "",
    topology: Callable[[], LiveTopology] | None = None,
    tags: Callable[[str], Sequence[str]] = lambda _address: (),
) -> SwitchgearCondition:
    """The condition of all switchgear and the views of all feeder bays; arguments as of `SwitchgearCondition`.

    Raises:
        NameplateError: the file of nameplates has errors.
    """
    return SwitchgearCondition(context, settings, mark=mark, topology=topology, tags=tags)
