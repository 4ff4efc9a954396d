"""The alarm rules of the mapping at work: changes of points judged in chunks, conditions raised and cleared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from address_space.catalogue import ValueType, enumeration
from address_space.ingest import occurrences
from address_space.journal import Chunk
from address_space.quality import Quality, time_names
from address_space.table import PointTable
from twin_gateway.alarms.catalogue import alarm_code
from twin_gateway.alarms.entry import Kind
from twin_gateway.alarms.machine import Demands
from twin_gateway.alarms.rules import LIMIT_NAMES, Indices, Levels, Numbers, RuleColumns, numbers
from twin_gateway.functions.alarms import Alarms
from twin_gateway.functions.following import Following
from twin_gateway.functions.slices import in_slices
from twin_gateway.mapping.alarm_rule import LIMITS, AlarmRule

REST_S: Final = 0.05
TICK_S: Final = 1.0
AT_ONCE: Final = 2_000
TOLD_AT_ONCE: Final = 20
_BAD: Final = np.uint32(0x8000_0000)
_LEVELS: Final = {name: level for level, name in LIMIT_NAMES.items() if level}


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a rule was judged by."""

    value: float
    level: int
    source_time: int
    quality: int
    status: int


class RuleAlarms:
    """Follows the table and tells the alarms.

    Values of bad quality are not judged: what holds goes on to hold. What was an alarm before a restart is judged with
    its hysteresis as if there had been none.

    Args:
        rules: address of a point -> its rule; all points are in the table.
        mark: `suppressed` (maintenance), `test` or empty for an address.
    """

    def __init__(
        self,
        table: PointTable,
        alarms: Alarms,
        rules: Mapping[str, AlarmRule],
        *,
        mark: Callable[[str], str] = lambda _address: "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = dict(rules)
        self._table, self._alarms = table, alarms
        self._mark = mark
        self._monotonic = monotonic
        self._addresses: Sequence[str] = tuple(rules)
        self._rules: Sequence[AlarmRule] = tuple(rules.values())
        self._rows = np.array([table.find(address) for address in rules], np.int64)
        self._columns = RuleColumns(self._rules, [table.profile(int(row)).value_type for row in self._rows])
        self._kinds = [_kind(rule) for rule in self._rules]
        self._targets: npt.NDArray[np.int64] = np.full(len(rules), -1, np.int64)
        self._judged = np.zeros(len(rules), np.bool_)
        self._tested = np.zeros(len(rules), np.bool_)
        self._lookup: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._compared: dict[int, list[int]] = {}
        self._waiting: list[tuple[int, _Judged]] = []
        self._standing: dict[int, tuple[_Judged, str]] = {}

    async def run(self) -> None:
        """Judge what the table holds, then all that changes; never returns."""
        following = Following(self._table, "alarm rules", monotonic=self._monotonic)
        try:
            self.resume()
            await in_slices(self.renew())
            await following.run(
                self.take,
                self.renew,
                self.tick,
                every=TICK_S,
                rest=REST_S,
                at_once=AT_ONCE,
                urgent=lambda: bool(self._waiting),
            )
        finally:
            following.close()

    def resume(self) -> None:
        """Begin at the levels that conditions were left at."""
        for number, (address, rule) in enumerate(zip(self._addresses, self._rules, strict=True)):
            condition = self._alarms.book.get(f"{address}${rule.code}")
            if condition is not None and condition.active:
                self._columns.levels[number] = _LEVELS.get(condition.limit, 1)

    def take(self, chunk: Chunk) -> None:
        """Judge a chunk of changes; what follows from it is told by `telling`."""
        if chunk.texts is not None or chunk.timestamp_only:
            return
        self._refresh()
        numbers_of = self._lookup[chunk.rows]
        places = np.flatnonzero(numbers_of >= 0)
        if len(places):
            which = numbers_of[places].astype(np.intp)
            good = chunk.status[places] & _BAD == 0
            which, places = which[good], places[good]
            types = self._table.value_type[chunk.rows[places]]
            values = numbers(chunk.raw[places], types)
            times, qualities, states = chunk.source_time[places], chunk.quality[places], chunk.status[places]
            for part in occurrences(numbers_of[places]):  # what changes twice is judged twice, each time by the last
                self._judge(which[part], values[part], (times[part], qualities[part], states[part]))
        if self._compared:
            touched = {rule for row in chunk.rows.tolist() for rule in self._compared.get(row, ())}
            if touched:
                self._by_table(np.array(sorted(touched), np.intp))
        if len(self._waiting) <= TOLD_AT_ONCE:
            for _ in self.telling():
                pass

    def renew(self) -> Iterator[None]:
        """Judge everything by what the table holds, in parts."""
        self._refresh()
        for start in range(0, len(self._rules), AT_ONCE):
            self._by_table(np.arange(start, min(start + AT_ONCE, len(self._rules)), dtype=np.intp))
            yield
            yield from self.telling()

    def telling(self) -> Iterator[None]:
        """Raise and clear what has been judged, one at a time and in order."""
        waiting, self._waiting = self._waiting, []
        for number, judged in waiting:
            self._tell(number, judged)
            yield

    async def tick(self) -> None:
        """Tell what a large chunk has left to be told, and where maintenance has begun or ended."""
        await in_slices(self.telling())
        await in_slices(self._marking())

    def _marking(self) -> Iterator[None]:
        for number, (judged, mark) in list(self._standing.items()):
            if number in self._standing and self._marked(number, judged) != mark:
                self._tell(number, judged)
            yield

    def _marked(self, number: int, judged: _Judged) -> str:
        return self._mark(self._addresses[number]) or ("test" if judged.quality & Quality.TEST else "")

    # ---- at work --------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        table = self._table
        if len(self._lookup) == len(table):
            return
        lookup = np.full(len(table), -1, np.int32)
        lookup[self._rows] = np.arange(len(self._rows), dtype=np.int32)
        self._compared = {}
        for number in np.flatnonzero(self._columns.compares).tolist():
            target = table.find(self._rules[number].target)
            self._targets[number] = target
            lookup[self._rows[number]] = -1  # judged by the table, when either of the two changes
            for row in (int(self._rows[number]), target):
                self._compared.setdefault(row, []).append(number)
        self._lookup = lookup

    def _by_table(self, which: Indices) -> None:
        rows = self._rows[which]
        good = self._table.status[rows] & _BAD == 0
        which, rows = which[good], rows[good]
        values = numbers(self._table.raw[rows], self._table.value_type[rows])
        table = self._table
        self._judge(which, values, (table.source_time[rows], table.quality[rows], table.status[rows]))

    def _others(self, which: Indices) -> Numbers:
        table, targets = self._table, self._targets[which]
        others = np.full(len(which), np.nan)
        there = np.flatnonzero(targets >= 0)
        rows = targets[there]
        good = table.status[rows] & _BAD == 0
        there, rows = there[good], rows[good]
        others[there] = numbers(table.raw[rows], table.value_type[rows])
        return others

    def _judge(
        self,
        which: Indices,
        values: Numbers,
        columns: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.uint32]],
    ) -> None:
        levels: Levels = self._columns.judge(which, values, self._others(which))
        times, qualities, states = columns
        tested = qualities & np.uint32(Quality.TEST) != 0
        marked = (levels != 0) & (tested != self._tested[which])  # a test has become an alarm, or the other way round
        news = np.flatnonzero((levels != self._columns.levels[which]) | ~self._judged[which] | marked)
        self._columns.levels[which] = levels
        self._judged[which] = True
        self._tested[which] = tested
        for place in news.tolist():
            judged = _Judged(
                float(values[place]), int(levels[place]), int(times[place]), int(qualities[place]), int(states[place])
            )
            self._waiting.append((int(which[place]), judged))

    def _tell(self, number: int, judged: _Judged) -> None:
        rule, address = self._rules[number], self._addresses[number]
        time_quality = time_names(judged.quality)
        value = self._value(number, judged)
        if judged.level == 0:
            self._standing.pop(number, None)
            self._alarms.clear(
                rule.code,
                address,
                f"{self._what(number)}: {self._shown(number, judged.value)} (over)",
                value=value,
                source_time=judged.source_time,
                time_quality=time_quality,
                status=judged.status,
            )
            return
        listed = alarm_code(rule.code)
        outer = abs(judged.level) == 2
        mark = self._marked(number, judged)
        self._standing[number] = judged, mark
        severity = (rule.severity_outer if outer else rule.severity) or listed.severity
        self._alarms.raise_(
            rule.code,
            address,
            self._text(number, judged),
            severity,
            delay=rule.delay or listed.delay,
            marked=mark,
            value=value,
            source_time=judged.source_time,
            time_quality=time_quality,
            limit=LIMIT_NAMES[judged.level] if rule.limits else "",
            status=judged.status,
            kind=self._kinds[number],
        )

    def _what(self, number: int) -> str:
        rule, address = self._rules[number], self._addresses[number]
        return rule.text or self._table.display_name(int(self._rows[number])) or "/".join(address.split("/")[6:])

    def _value(self, number: int, judged: _Judged) -> bool | int | float:
        kind = self._table.profile(int(self._rows[number])).value_type
        if kind is ValueType.DOUBLE:
            return judged.value
        return bool(judged.value) if kind is ValueType.BOOLEAN else int(judged.value)

    def _shown(self, number: int, value: float) -> str:
        profile = self._table.profile(int(self._rows[number]))
        if profile.value_type is ValueType.DOUBLE:
            unit = profile.unit
            return f"{value:.6g}" if unit is None or unit.symbol == "1" else f"{value:.6g} {unit.symbol}"
        if profile.value_type is ValueType.BOOLEAN:
            return "on" if value else "off"
        return dict(enumeration(profile.enumeration)).get(int(value), f"{value:.0f}")

    def _text(self, number: int, judged: _Judged) -> str:
        rule = self._rules[number]
        text = f"{self._what(number)}: {self._shown(number, judged.value)}"
        if rule.limits:
            limit = rule.limits[_PLACE[judged.level]]
            return f"{text} is {'above' if judged.level > 0 else 'below'} {self._shown(number, limit or 0.0)}"
        if rule.target:
            other = float(self._others(np.array([number], np.intp))[0])
            return text if np.isnan(other) else f"{text}, but {self._shown(number, other)} at {rule.target}"
        return f"{text} is not normal"


_PLACE: Final = {-2: LIMITS.index("lolo"), -1: LIMITS.index("lo"), 1: LIMITS.index("hi"), 2: LIMITS.index("hihi")}


def _kind(rule: AlarmRule) -> Kind:
    listed = alarm_code(rule.code)
    demands = Demands(
        listed.acknowledge if rule.acknowledge is None else rule.acknowledge,
        listed.confirm if rule.confirm is None else rule.confirm,
    )
    if rule.limits:
        name = "ExclusiveLimitAlarmType" if rule.exclusive else "NonExclusiveLimitAlarmType"
        return Kind(name, rule.condition_class, demands, limits=rule.limits)
    if not rule.target:
        return Kind("OffNormalAlarmType", rule.condition_class, demands)
    return Kind(
        "DiscrepancyAlarmType",
        rule.condition_class,
        demands,
        target=rule.target,
        tolerance=rule.tolerance,
        expected=rule.delay or listed.delay,
    )
