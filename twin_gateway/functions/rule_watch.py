"""Watches the points that a table of rules names, and raises and clears what the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from address_space import clock
from address_space.address import function_name
from address_space.catalogue import ValueType
from address_space.ingest import values_of
from address_space.journal import Chunk
from address_space.point import Rows
from address_space.quality import Quality, StatusCode, time_names
from address_space.table import PointTable
from twin_gateway.functions.alarms import Alarms
from twin_gateway.twin.rules import Rule, RuleTable, Value, judge

UNUSABLE = int(
    Quality.INVALID
    | Quality.COMM_LOST
    | Quality.NOT_INITIALISED
    | Quality.NOT_CONFIGURED
    | Quality.OUT_OF_SERVICE
    | Quality.CONFIGURATION_ERROR
)
"""A value with one of these says nothing: what held before goes on."""
_FUNCTION_LEVEL, _DATA_LEVEL = 7, 8


def points_by_data_object(table: PointTable, rows: Rows) -> Iterator[tuple[str, str, str, Rows]]:
    """Groups of rows that are the same data object: (function, its class, data object with its part, rows).

    Costs numpy time for the rows and Python time only for the different kinds of them.
    """
    tree = table.tree
    nodes = table.node[rows]
    parts = [nodes]
    level = tree.level[nodes].astype(np.int64)
    for _ in range(int(level.max(initial=0)) - _FUNCTION_LEVEL):
        above = parts[-1]
        parts.append(np.where(tree.level[above] > _FUNCTION_LEVEL, tree.parent[above], above))
    names = np.stack([tree.name_id[part] for part in parts])
    if not len(rows):
        return
    _, first, inverse = np.unique(np.vstack([names, level]), axis=1, return_index=True, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    for index, group in zip(first, np.split(order, np.cumsum(np.bincount(inverse.ravel()))[:-1]), strict=True):
        node, path = int(nodes[index]), []
        while int(tree.level[node]) > _FUNCTION_LEVEL:
            path.append(tree.name(node))
            node = int(tree.parent[node])
        function = tree.name(node)
        named = function_name(function)
        if path and named is not None:
            yield function, named.ln_class, "/".join(reversed(path)), rows[group]


@dataclass(slots=True)
class Watched:
    """One point under watch.

    Attributes:
        value: last usable value; None before there was one.
        holding: code (or `state:…`) -> rule that holds.
        others: row of the data object beside it, by name.
    """

    row: int
    address: str
    rules: tuple[Rule, ...]
    value: Value | None = None
    quality: int = 0
    holding: dict[str, Rule] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)


class RuleWatch:
    """Follows points through the journal.

    Args:
        table, alarms: where values come from and conditions go.
        rules: the table.
        accept: which addresses are watched.
        mark: `test`, `suppressed` or empty, for the alarms of an address.
        on_change: told which point has other findings than before.
        on_event: told of what happened: (point, rule, source time, new value); True keeps it from being an event.
        on_condition: told of what holds, with every value, and what has ended: (point, rule, whether it holds, source
            time); True keeps it from being an alarm of its own.
        monotonic: clock of the alarms that rising counters hold, s.
    """

    def __init__(
        self,
        table: PointTable,
        alarms: Alarms,
        rules: RuleTable,
        *,
        accept: Callable[[str], bool] = lambda _address: True,
        mark: Callable[[Watched], str] = lambda _watched: "",
        on_change: Callable[[Watched], None] = lambda _watched: None,
        on_event: Callable[[Watched, Rule, int, Value], bool] = lambda *_: False,
        on_condition: Callable[[Watched, Rule, bool, int], bool] = lambda *_: False,
        monotonic: Callable[[], float],
    ) -> None:
        self.points: dict[int, Watched] = {}
        self._table, self._alarms, self._rules = table, alarms, rules
        self._accept, self._mark, self._on_change, self._on_event = accept, mark, on_change, on_event
        self._on_condition, self._now = on_condition, monotonic
        self._mask: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._dependents: dict[int, list[int]] = {}
        self._until: dict[tuple[str, str], float] = {}

    def scan(self) -> int:
        """Take up points that were added since the last scan, with the values they have; returns how many."""
        table, start = self._table, len(self._mask)
        if len(table) == start:
            return 0
        new = np.arange(start, len(table), dtype=np.int32)
        self._mask = np.concatenate([self._mask, np.zeros(len(new), bool)])
        found: list[Watched] = []
        for _function, ln_class, data, rows in points_by_data_object(table, new):
            rules = self._rules.of(ln_class, data)
            if not rules:
                continue
            for row in rows.tolist():
                address = table.address(row)
                if self._accept(address):
                    found.append(Watched(row, address, rules))
        for watched in found:
            self.points[watched.row] = watched
            self._mask[watched.row] = True
            for rule in watched.rules:
                other = table.find(f"{watched.address.rsplit('/', 1)[0]}/{rule.other}") if rule.other else -1
                if other >= 0:
                    watched.others[rule.other] = other
                    self._mask[other] = True
                    self._dependents.setdefault(other, []).append(watched.row)
        for watched in found:
            self.renew(watched)
        return len(found)

    def take(self, chunk: Chunk) -> None:
        """Follow one chunk of changes, every one of them: also what was there for a moment only."""
        inside = chunk.rows < len(self._mask)
        hits = np.nonzero(inside)[0][self._mask[chunk.rows[inside]]]
        for index in hits.tolist():
            row = int(chunk.rows[index])
            watched = self.points.get(row)
            if watched is not None and chunk.status[index] == StatusCode.BadNodeIdUnknown:
                self._forget(watched)
            elif watched is not None:
                if chunk.texts is not None:
                    value: Value = chunk.texts[index]
                else:
                    kind = ValueType(int(self._table.value_type[row]))
                    value = values_of(chunk.raw[index : index + 1], kind)[0]
                self._judge(watched, value, int(chunk.quality[index]), int(chunk.source_time[index]))
            for dependent in self._dependents.get(row, ()):
                if dependent in self.points:
                    self.renew(self.points[dependent])

    def _forget(self, watched: Watched) -> None:
        """A point is retired: whoever did that has ended its alarms."""
        del self.points[watched.row]
        self._mask[watched.row] = watched.row in self._dependents
        if watched.holding:
            watched.holding.clear()
            self._on_change(watched)

    def renew_all(self) -> Iterator[None]:
        """Judge every point by the table, in parts: after changes were lost, or when marks have changed."""
        rows = np.fromiter(self.points, np.int32, len(self.points))
        heard = self._table.quality[rows] & np.uint32(Quality.NOT_INITIALISED) == 0
        retired = ~self._table.is_point(rows)
        for row in rows[heard | retired].tolist():
            watched = self.points.get(row)
            if watched is not None and self._table.is_point(np.array([row], np.int32))[0]:
                self.renew(watched)
            elif watched is not None:
                self._forget(watched)
            yield

    def renew(self, watched: Watched) -> None:
        """Judge one point by what the table says now."""
        sample = self._table.sample(watched.row)
        if sample.value is not None:
            self._judge(watched, sample.value, sample.quality, sample.source_time)

    def remark(self, watched: Watched) -> None:
        """Say again what holds, with the mark it has now."""
        for code, rule in watched.holding.items():
            self._raise(watched, code, rule, 0)

    def tick(self) -> None:
        """Clear what rising counters have held long enough."""
        now = self._now()
        for (code, address), until in tuple(self._until.items()):
            if now >= until:
                del self._until[code, address]
                self._alarms.clear(code, address)

    def _judge(self, watched: Watched, value: Value, quality: int, source_time: int) -> None:
        if quality & UNUSABLE:
            return
        table = self._table
        other: Value | None = None
        for row in watched.others.values():
            other = None if int(table.quality[row]) & UNUSABLE else table.value(row)
        verdicts, happened = judge(watched.rules, value, watched.value, frozenset(watched.holding), other)
        watched.value, watched.quality = value, quality
        before = dict(watched.holding)
        for verdict in verdicts:
            if verdict.rule is not None:
                watched.holding[verdict.code] = verdict.rule
                self._raise(watched, verdict.code, verdict.rule, source_time)
            elif (ended := watched.holding.pop(verdict.code, None)) is not None:
                self._clear(watched, verdict.code, ended, source_time)
        for rule in happened:
            self._happen(watched, rule, value, source_time)
        if watched.holding != before:
            self._on_change(watched)

    def _raise(self, watched: Watched, code: str, rule: Rule, source_time: int) -> None:
        if rule.code and not self._on_condition(watched, rule, True, _usable(source_time)):
            self._alarms.raise_(
                code,
                watched.address,
                rule.text,
                rule.severity,
                delay=rule.delay,
                marked=self._mark(watched),
                value=_shown(watched.value),
                source_time=_usable(source_time),
                time_quality=time_names(watched.quality),
            )

    def _clear(self, watched: Watched, code: str, rule: Rule, source_time: int) -> None:
        time = _usable(source_time)
        if not self._on_condition(watched, rule, False, time):
            self._alarms.clear(
                code,
                watched.address,
                value=_shown(watched.value),
                source_time=time,
                time_quality=time_names(watched.quality),
            )

    def _happen(self, watched: Watched, rule: Rule, value: Value, source_time: int) -> None:
        if self._on_event(watched, rule, source_time, value):
            return
        mark = self._mark(watched)
        time, time_quality = _usable(source_time), time_names(watched.quality)
        if rule.hold:
            self._until[rule.code, watched.address] = self._now() + rule.hold
            self._alarms.raise_(
                rule.code,
                watched.address,
                rule.text,
                rule.severity,
                marked=mark,
                value=_shown(value),
                source_time=time,
                time_quality=time_quality,
            )
            return
        self._alarms.event(
            rule.code,
            watched.address,
            rule.text,
            rule.severity,
            value=value,
            source_time=time,
            time_quality=time_quality,
            details=(("marked", mark),) if mark else (),
        )


def _shown(value: Value | None) -> float | str | None:
    return float(value) if isinstance(value, bool | int) else value


def _usable(source_time: int) -> int:
    """A source time (FILETIME ticks), 0 for one that is none."""
    return source_time if source_time > clock.UNIX_EPOCH_TICKS else 0
