"""A grid file out of CIM RDF/XML: places, equipment and topology, sorted by address; what was left out is told."""

from __future__ import annotations

import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from twin_gateway.engineering.draft import natural
from twin_gateway.grid.cim import read_cim
from twin_gateway.grid.model import Grid
from twin_gateway.grid.write import write_grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.problem import Problem

_WIDTH: Final = 118
_T = TypeVar("_T")


@dataclass(slots=True)
class CimImport:
    """What was made of CIM files.

    Attributes:
        text: the grid file; empty when there is an error.
        problems: what is wrong, simplified or left out, sorted by file and line.
        nodes, equipment: how many.
    """

    text: str = ""
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    equipment: int = 0

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(problem.severity == "error" for problem in self.problems)


def import_cim(paths: Sequence[Path], *, grid: str, area: str = "") -> CimImport:
    """Read the files of one model (or of its profiles) together and make one grid file.

    The same objects give the same text, in whatever order they stand in the files: addresses come from containers,
    names and, where names meet, from the mRID.

    Args:
        paths: RDF/XML files.
        grid: level 1 of all addresses.
        area: level 2; the name of the SubGeographicalRegion unless given.
    """
    reading = read_cim(paths, grid=grid, area=area)
    out = CimImport(problems=list(reading.problems))
    if reading.grid is None:
        return out
    if not reading.grid.nodes and not reading.grid.equipment:
        what = "nothing in the file has a place in a grid model"
        hint = "CDPSM, and the equipment profile (EQ) of CGMES with connectivity nodes, are read"
        out.problems.append(Problem(str(paths[0]), 1, 1, "TG724", what, hint))
        return out
    ordered = _sorted(reading.grid)
    text = "\n".join((*_header(paths, reading.taken, reading.left), write_grid(ordered)))
    out.problems += _read_back(text, str(paths[0]))
    if not out.errors:
        out.text, out.nodes, out.equipment = text, len(ordered.nodes), len(ordered.equipment)
    return out


def _sorted(grid: Grid) -> Grid:
    return Grid(
        _by_address(grid.nodes),
        _by_address(grid.equipment),
        _by_address(grid.indicators),
        _by_address(grid.measurements),
        _by_address(grid.meters),
        _by_address(grid.feeders),
    )


def _by_address(items: dict[str, _T]) -> dict[str, _T]:
    return dict(sorted(items.items(), key=lambda item: natural(item[0])))


def _header(paths: Sequence[Path], taken: Counter[str], left: Counter[str]) -> list[str]:
    """Comments on top: where the model is from, what became part of it and what did not."""
    names = ", ".join(path.name for path in paths)
    texts = [f"Grid model of {names} (CIM RDF/XML). Addresses are of containers and names; mrid is the object's own."]
    for what, counts in (("Taken", taken), ("Left out", left)):
        if counts:
            texts.append(f"{what}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return [f"# {line}" for text in texts for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def _read_back(text: str, source: str) -> list[Problem]:
    """Errors of the text as a grid file: there are none unless the file says what no grid file can."""
    with tempfile.TemporaryDirectory(prefix="twin-gateway-") as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(text, "utf-8")
        _, problems = read_grid([path])
    return [
        Problem(source, 1, 1, problem.code, f"the grid file made of it is not right: {problem.message}", problem.hint)
        for problem in problems
        if problem.severity == "error"
    ]
