"""Point lines: parameters filled, braces and ranges spread to one line a point, overrides merged over templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twin_gateway.mapping.field_error import kind_of
from twin_gateway.mapping.pattern import PatternError, Scalar, choices, fill, spread, substitute
from twin_gateway.mapping.read import BROKEN, Map, Seq, Source

Layers = tuple[tuple[Source, Map], ...]


@dataclass(slots=True)
class Line:
    """One point line for one address.

    Attributes:
        key: point key without braces.
        source, at: where the line is written; for a line of a template in use, where the template is used.
        fields: field -> value as read.
        layers: (file, mapping) pairs that hold the positions of the fields, the nearest first.
        used: text for hints when the line comes from a template, `used in ps01.yaml:32`.
    """

    key: str
    source: Source
    at: int
    fields: dict[str, Any]
    layers: Layers
    used: str = ""

    def locate(self, name: str, inside: str = "") -> tuple[Source, int]:
        """Where the value of a field (or of a member inside it) is written; the line itself when it is nowhere."""
        return self._find(name, inside, key=False)

    def locate_key(self, name: str, inside: str = "") -> tuple[Source, int]:
        """Where the key of a field (or of a member inside it) is written."""
        return self._find(name, inside, key=True)

    def _find(self, name: str, inside: str, *, key: bool) -> tuple[Source, int]:
        for source, layer in self.layers:
            if name not in layer:
                continue
            if inside:
                inner = layer[name]
                if not isinstance(inner, Map) or inside not in inner:
                    continue
                layer, name = inner, inside
            return source, layer.key_at(name) if key else layer.value_at(name)
        return self.source, self.at


@dataclass(slots=True)
class Drop:
    """`key: null`: the point of the template is not there."""

    key: str
    source: Source
    at: int


@dataclass(slots=True)
class Several:
    """`key: [{…}, {…}]`: several bindings of one address, the best first."""

    key: str
    source: Source
    at: int
    items: list[Line]


AnyLine = Line | Drop | Several


class LineReader:
    """Takes the `points` of one template or entry apart.

    Args:
        source: the file.
        arguments: values of the parameters; empty outside templates.
        trial: the arguments are only examples (see `pattern.fill`).
    """

    def __init__(self, source: Source, arguments: Mapping[str, Scalar], *, trial: bool = False) -> None:
        self.source = source
        self.arguments = arguments
        self.trial = trial

    def read(self, points: Map) -> Iterator[AnyLine]:
        """The lines in order; what cannot be read is reported and left out."""
        marks = points.marks
        source = self.source
        for i, (key, value) in enumerate(points.items()):
            if type(value) is Map and "{" not in key and not _patterned(value):
                yield Line(key, source, marks[2 * i], value, ((source, value),))
            else:
                yield from self._slow(key, marks[2 * i], value, marks[2 * i + 1])

    def _slow(self, key: str, at: int, value: Any, value_at: int) -> Iterator[AnyLine]:
        try:
            text = str(substitute(key, self.arguments))
            names = choices(text) or [text]
        except PatternError as error:
            self.failed(at, error)
            return
        source = self.source
        if value is BROKEN:
            return
        if value is None:
            for name in names:
                yield Drop(name, source, at)
        elif isinstance(value, Map):
            rows = self._rows(value, len(names))
            for name, row in zip(names, rows, strict=False):
                yield Line(name, source, at, row, ((source, value),))
        elif isinstance(value, Seq):
            yield from self._several(names, at, value)
        else:
            hint = "as in {ioa: 1001, type: M_ME_TF_1}, or null to drop a point of the template"
            source.report(value_at, "TG203", f"a point is a mapping of fields, not {kind_of(value)}", hint)

    def _several(self, names: list[str], at: int, value: Seq) -> Iterator[Several]:
        source = self.source
        columns: list[tuple[Map, int, list[dict[str, Any]]]] = []
        for item, mark in zip(value, value.marks, strict=True):
            if isinstance(item, Map):
                columns.append((item, mark, self._rows(item, len(names))))
            elif item is not BROKEN:
                source.report(mark, "TG203", f"a binding is a mapping of fields, not {kind_of(item)}")
        if not value:
            source.report(value.start, "TG203", "a list of bindings holds at least one")
        for i, name in enumerate(names):
            items = [
                Line(name, source, mark, rows[i], ((source, item),)) for item, mark, rows in columns if i < len(rows)
            ]
            if items:
                yield Several(name, source, at, items)

    def _rows(self, value: Map, count: int) -> list[dict[str, Any]]:
        """The fields of each of `count` points; empty when the two sides do not agree."""
        filled = fill(value, self.arguments, self.failed, value.start, trial=self.trial)
        if count == 1 and not any(_spreads(item) for item in filled.values()):
            return [dict(filled)]
        columns: dict[str, list[Any]] = {}
        good = True
        for i, (name, item) in enumerate(filled.items()):
            at = value.marks[2 * i + 1]
            try:
                column = _column(item, count)
            except PatternError as error:
                self.failed(at, error)
                good = False
                continue
            columns[name] = column
        if not good:
            return []
        return [{name: column[i] for name, column in columns.items()} for i in range(count)]

    def failed(self, at: int, error: PatternError) -> None:
        """Report a pattern that is wrong."""
        self.source.report(at, error.code, str(error), error.hint)


def _spreads(item: Any) -> bool:
    """Whether a field may be something else for each point."""
    kind = type(item)
    return kind is Map or (kind is str and ("{" in item or ".." in item))


def _column(item: Any, count: int) -> list[Any]:
    """What one field is for each of `count` points.

    Raises:
        PatternError: when a range or brace list counts differently.
    """
    if type(item) is str and ("{" in item or ".." in item):
        values = spread(item)
        if values is None:
            return [item] * count
        if len(values) != count:
            addresses = f"{count} address{'es' if count != 1 else ''}"
            raise PatternError("TG308", f"{addresses} but {len(values)} values in '{item}'")
        return list(values)
    if isinstance(item, Map):
        inner = {name: _column(part, count) for name, part in item.items()}
        return [{name: column[i] for name, column in inner.items()} for i in range(count)]
    return [item] * count


def _patterned(fields: Map) -> bool:
    """Whether any value needs filling or spreading."""
    for value in fields.values():
        if type(value) is str:
            if "{" in value or ".." in value:
                return True
        elif type(value) is Map:
            if _patterned(value):
                return True
        elif type(value) is Seq and any(type(item) is not str or "{" in item for item in value):
            return True
    return False


def merged(base: Line, over: Line) -> Line:
    """A line with the fields of another over it: field by field, inside `control` too; null takes a field away."""
    fields = dict(base.fields)
    for name, value in over.fields.items():
        below = fields.get(name)
        if value is None:
            fields.pop(name, None)
        elif isinstance(value, dict) and isinstance(below, dict):
            both = {**below, **value}
            fields[name] = {key: item for key, item in both.items() if item is not None}
        else:
            fields[name] = value
    return Line(over.key, over.source, over.at, fields, over.layers + base.layers, base.used)
