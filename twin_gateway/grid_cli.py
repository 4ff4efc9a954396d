"""The command line's part for grid models: check them, and make YAML of CIM."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from twin_gateway.grid.model import Grid
from twin_gateway.grid.write import write_grid
from twin_gateway.grid.yaml_grid import read_grid
from twin_gateway.mapping.problem import Problem

grid_app = typer.Typer(help="Grid models: check them, make YAML of CIM.", no_args_is_help=True)
Files = Annotated[list[Path], typer.Argument(help="YAML files and folders, or CIM RDF/XML files.")]


@grid_app.command()
def check(
    paths: Files,
    name: Annotated[str, typer.Option(help="Level 1 of the addresses that CIM files are given.")] = "grid",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Check a grid model: every problem, one line each; exit code 1 when there is an error."""
    grid, problems, left = _read(paths, name)
    counts = Counter(str(item.cim_class) for item in grid.equipment.values()) if grid is not None else Counter()
    if as_json:
        document = {
            "ok": grid is not None,
            "equipment": dict(counts),
            "left_out": dict(left),
            "problems": [problem.as_json() for problem in problems],
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(problems)
        if grid is not None:
            found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            typer.echo(f"ok: {len(grid.nodes)} connectivity nodes, {found}")
    raise typer.Exit(grid is None)


@grid_app.command()
def convert(
    paths: Files,
    to: Annotated[Path | None, typer.Option(help="YAML file to write; standard output if not given.")] = None,
    name: Annotated[str, typer.Option(help="Level 1 of the addresses that CIM files are given.")] = "grid",
) -> None:
    """Make the YAML grid model of CIM files; what is left out is said on standard error."""
    grid, problems, left = _read(paths, name)
    _print(problems, err=True)
    for kind, count in sorted(left.items()):
        typer.echo(f"left out: {count} {kind}", err=True)
    if grid is None:
        raise typer.Exit(1)
    text = write_grid(grid)
    if to is None:
        typer.echo(text, nl=False)
        return
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        typer.echo(f"error: {to} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"made {to}")


def _read(paths: Sequence[Path], name: str) -> tuple[Grid | None, list[Problem], Counter[str]]:
    cim = [path for path in paths if path.suffix.lower() == ".xml"]
    if cim and len(cim) == len(paths):
        from twin_gateway.grid.cim import read_cim

        reading = read_cim(cim, grid=name)
        return reading.grid, reading.problems, reading.left
    grid, problems = read_grid([path for path in paths if path not in cim])
    return grid, problems, Counter()


def _print(problems: Sequence[Problem], *, err: bool = False) -> None:
    for problem in problems:
        typer.echo(str(problem), err=err)
