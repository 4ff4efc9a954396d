"""Reading a grid model from YAML files: every problem of every file at once, and the grid when there is none.

```yaml
grid_model: 1
grid: dso1
place: north                          # goes before every key; a key that begins with the grid's name is complete
voltages: {MV1: 12.66 kV}             # line to line, by voltage level (or site/voltage level)
types: {cable: {r: 0.206 ohm/km, x: 0.122 ohm/km, i_max: 300 A}}
equipment:
  PS01/MV1/F01/QA1: {class: Breaker, nodes: [PS01/MV1/_/CN1, L01/MV1/_/CN1]}
  L01/MV1/_/WB1: {class: ACLineSegment, nodes: [L01/MV1/_/CN1, L01/MV1/_/CN2], type: cable, length: 1.2 km}
```
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from address_space.address import Kind
from twin_gateway.grid import attached
from twin_gateway.grid import fields as f
from twin_gateway.grid.check import Located, check_grid
from twin_gateway.grid.gridfile import BEGINS, Field, GridFile, mrid
from twin_gateway.grid.model import CimClass, ConnectivityNode, Equipment, Grid, terminals_of
from twin_gateway.grid.records import ADDRESS, COMMON, RECORDS
from twin_gateway.mapping.field_error import FieldError, kind_of
from twin_gateway.mapping.problem import Problem, did_you_mean
from twin_gateway.mapping.read import BROKEN, MAX_BYTES, MAX_PROBLEMS, Map, Seq, Source, TooManyProblemsError, read_file

MAX_FILES: Final = 10_000
VOLTAGE: Final = f.measure("voltage", "12.66 kV", above=0)
NODE: Final[Mapping[str, f.Reader]] = {"nominal": VOLTAGE, "name": f.text, "mrid": mrid}
"""Fields of a connectivity node."""
_BREAKERS = (CimClass.BREAKER, CimClass.RECLOSER)
_UNSEEN = (CimClass.FUSE, CimClass.JUMPER)


def read_grid(paths: Sequence[Path], *, max_bytes: int = MAX_BYTES) -> tuple[Grid | None, list[Problem]]:
    """Read the files of one grid model together.

    Args:
        paths: YAML files, or folders whose `.yaml` files are all taken.
        max_bytes: limit for one file.

    Returns:
        The grid, None when there is any error; and all problems, sorted by file and line.
    """
    problems: list[Problem] = []
    sources = [read_file(path, max_bytes=max_bytes, begins=BEGINS) for path in _find(paths, problems)]
    files = [GridFile(source) for source in sources if source.root is not None and _headed(source)]
    reader = _Reader(files)
    reader.complete = not problems and len(files) == len(sources) and all(file.usable for file in files)
    grid = reader.run()
    for source in sources:
        problems.extend(source.problems)
        left = source.given_up or source.warnings > MAX_PROBLEMS
        if left:
            what = "so many problems that the rest is left out"
            problems.append(
                Problem(source.name, 1, 1, "TG112", what, severity="error" if source.given_up else "warning")
            )
    problems = sorted(set(problems))
    failed = any(problem.severity == "error" for problem in problems)
    return (None if failed else grid), problems


def _find(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(item for item in path.iterdir() if item.suffix in (".yaml", ".yml") and item.is_file())
        if not inside:
            problems.append(Problem(str(path), 0, 0, "TG101", "no .yaml file in this folder"))
        found.extend(inside)
    if not found and not problems:
        problems.append(Problem("", 0, 0, "TG101", "no file of a grid model is named"))
    if len(found) > MAX_FILES:
        problems.append(Problem(str(found[MAX_FILES]), 0, 0, "TG102", f"more than {MAX_FILES} files"))
    return list(dict.fromkeys(found))[:MAX_FILES]


def _headed(source: Source) -> bool:
    """Whether the content is worth reading: errors that say so are reported by `GridFile`."""
    return source.root is not None and not source.given_up


@dataclass(slots=True)
class _Reader:
    """Collects what all files say."""

    files: list[GridFile]
    complete: bool = True  # every file could be read
    built: bool = True  # and all of its equipment
    grid: Grid = field(default_factory=Grid)
    where: dict[str, Located] = field(default_factory=dict)
    types: dict[str, tuple[GridFile, Map]] = field(default_factory=dict)
    voltages: dict[str, float] = field(default_factory=dict)
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    named: dict[str, Located] = field(default_factory=dict)  # nodes, where first named
    pending: list[Equipment] = field(default_factory=list)

    def run(self) -> Grid:
        """The grid with everything that could be read."""
        for step in (self._voltages, self._types, self._nodes, self._equipment):
            self._each(step)
        self._build()
        for reader in attached.READERS:
            self._each(lambda file, reader=reader: reader(file, self.grid, self.where, self.complete))  # type: ignore[misc]  # bound early on purpose
        if self.complete and self.built:
            with suppress(TooManyProblemsError):
                check_grid(self.grid, self.where)
        return self.grid

    def _each(self, step: Callable[[GridFile], None]) -> None:
        for file in self.files:
            if file.usable and not file.source.given_up:
                try:
                    step(file)
                except TooManyProblemsError:
                    self.complete = False

    def _voltages(self, file: GridFile) -> None:
        for key, at, value, value_at in file.section("voltages"):
            volts = math.nan  # stands for a voltage that is said but cannot be read
            with file.at(value_at):
                volts = VOLTAGE(value)
            with file.at(at):
                # by voltage level of a site, or by its name alone for all of the file's place
                where = file.place(key, Kind.VLEVEL) if "/" in key else f"{file.prefix}\0{key}"
                if self.voltages.setdefault(where, volts) != volts and math.isfinite(volts):
                    raise FieldError("TG705", f"{key} has another voltage elsewhere ({self.voltages[where]:g} V)")

    def _types(self, file: GridFile) -> None:
        for key, at, entry in file.entries("types"):
            if key in self.types:
                other, _ = self.types[key]
                file.source.report(at, "TG708", f"type '{key}' is defined twice", f"first in {other.source.name}")
            else:
                self.types[key] = file, entry

    def _nodes(self, file: GridFile) -> None:
        for key, at, entry in file.entries("nodes"):
            with file.at(at):
                address = file.place(key)
                if address in self.declared:
                    raise FieldError("TG703", f"the node {address} is declared twice")
                values = file.read(file.fields(entry, NODE, "a connectivity node"), NODE)
                self.declared[address] = values or {}
                self.named.setdefault(address, Located(file.source, at))

    def _equipment(self, file: GridFile) -> None:
        for key, at, entry in file.entries("equipment"):
            with file.at(at):
                address = file.place(key)
                if address in self.where:
                    line, _ = self.where[address].source.where(self.where[address].offset)
                    first = f"first in {self.where[address].source.name}:{line}"
                    raise FieldError("TG703", f"{address} occurs twice", first)
                self.where[address] = Located(file.source, at, entry)
                self._one(file, address, at, entry)

    def _one(self, file: GridFile, address: str, at: int, entry: Map) -> None:
        fields = self._with_type(file, entry)
        if fields is None:
            return
        if "class" not in fields:
            raise FieldError("TG202", "the class of the equipment is missing", "class: ACLineSegment")
        value, source, offset = fields["class"]
        try:
            cim_class = CimClass(value)
        except ValueError:
            names = [item.value for item in CimClass]
            hint = did_you_mean(str(value), names) or ", ".join(names)
            source.report(offset, "TG701", f"no class {kind_of(value)} of equipment", hint)
            return
        record = RECORDS[cim_class]
        known = (*COMMON, *record.fields)
        for name in [name for name in fields if name not in known]:
            value, source, offset = fields.pop(name)
            hint = did_you_mean(name, known) or ", ".join(known)
            source.report(offset, "TG201", f"{cim_class} has no field '{name}'", hint)
        nodes = self._terminals(file, cim_class, fields, at)
        readers: dict[str, Callable[[Any], Any]] = {
            name: file.point if reader is ADDRESS else reader  # type: ignore[misc]  # what is not ADDRESS is a reader
            for name, reader in record.fields.items()
        }
        readers |= {"phases": f.phases, "name": f.text, "mrid": mrid}
        values = file.read(fields, readers)
        for name in record.required:
            if name not in fields:
                file.source.report(at, "TG202", f"{cim_class} needs {name}")
                values = None
        if values is None or nodes is None:
            return
        phases = values.get("phases", "ABC")
        if "position" in record.fields:
            self._switch_points(address, cim_class, fields, values)
        try:
            data = record.build(values, phases)
        except FieldError as error:
            file.source.report(at, error.code, str(error), error.hint)
            return
        self.pending.append(
            Equipment(address, cim_class, nodes, data, phases, values.get("name", ""), values.get("mrid", ""))
        )

    @staticmethod
    def _switch_points(address: str, cim_class: CimClass, fields: dict[str, Field], values: dict[str, Any]) -> None:
        """Points of a switch that the file does not name stand below the switch; null says that there is none."""
        node = "XCBR1" if cim_class in _BREAKERS else "XSWI1"
        seen = cim_class not in _UNSEEN
        remote = values.get("remote", cim_class not in (*_UNSEEN, CimClass.GROUND_DISCONNECTOR))
        for name, default in (
            ("position", f"{address}/{node}/Pos" if seen else ""),
            ("command", f"{address}/CSWI1/Pos" if remote else ""),
        ):
            values.setdefault(name, "" if name in fields else default)

    def _with_type(self, file: GridFile, entry: Map) -> dict[str, Field] | None:
        fields = file.fields(entry, _Anything(), "")
        if "type" not in fields:
            return fields
        value, source, offset = fields.pop("type")
        if not isinstance(value, str) or value not in self.types:
            if self.complete or not isinstance(value, str):
                source.report(offset, "TG708", f"no type {kind_of(value)}", did_you_mean(str(value), self.types))
            return None
        other, base = self.types[value]
        return {**other.fields(base, _Anything(), ""), **fields}

    def _terminals(
        self, file: GridFile, cim_class: CimClass, fields: dict[str, Field], at: int
    ) -> tuple[str, ...] | None:
        if ("node" in fields) == ("nodes" in fields):
            what = "node and nodes are both given" if "node" in fields else f"{cim_class} needs node or nodes"
            file.source.report(at, "TG202" if "node" not in fields else "TG201", what, "nodes: [T1, T2]")
            return None
        value, source, offset = fields["node"] if "node" in fields else fields["nodes"]
        if isinstance(value, Map) or value is None:
            source.report(offset, "TG203", f"addresses of nodes expected, not {kind_of(value)}", "nodes: [T1, T2]")
            return None
        items = value if isinstance(value, Seq) else [value]
        marks = value.marks if isinstance(value, Seq) else [offset]
        nodes: list[str] = []
        for item, mark in zip(items, marks, strict=True):
            if item is BROKEN:
                continue
            with file.at(mark, source):
                node = file.place(item)
                nodes.append(node)
                self.named.setdefault(node, Located(source, mark))
        if len(nodes) < len(items):
            return None
        allowed = terminals_of(cim_class)
        if len(nodes) not in allowed:
            wanted = " or ".join(str(count) for count in sorted(allowed))
            source.report(offset, "TG702", f"{cim_class} has {wanted} terminals, not {len(nodes)}")
            return None
        if len(nodes) == 2 and nodes[0] == nodes[1]:
            source.report(offset, "TG702", f"both terminals are at {nodes[0]}")
            return None
        return tuple(nodes)

    def _build(self) -> None:
        """Nodes first, then the equipment between those that are known."""
        for address, located in self.named.items():
            if address in self.where:
                located.source.report(located.offset, "TG703", f"{address} is equipment, not a connectivity node")
                continue
            values = self.declared.get(address, {})
            nominal = values.get("nominal") or self._nominal(address)
            if nominal is None:
                level = address.split("/")[3]
                hint = f"voltages: {{{level}: 20 kV}}"
                located.source.report(located.offset, "TG705", f"the voltage of {level} of {address} is not said", hint)
                continue
            if math.isnan(nominal):
                continue
            node = ConnectivityNode(address, nominal, values.get("name", ""), values.get("mrid", ""))
            self.grid.nodes[address] = node
        self.grid.add(item for item in self.pending if all(node in self.grid.nodes for node in item.nodes))
        self.built = len(self.grid.equipment) == len(self.where)
        self.where = {**self.named, **self.where}

    def _nominal(self, address: str) -> float | None:
        levels = address.split("/")
        own = self.voltages.get("/".join(levels[:4]))
        if own is not None:
            return own
        for end in (3, 2, 1):
            found = self.voltages.get("/".join(levels[:end]) + "\0" + levels[3])
            if found is not None:
                return found
        return None


class _Anything(dict[str, object]):
    """Knows every field: what a class does not have is looked at when the class is known."""

    def __contains__(self, name: object) -> bool:
        return True
