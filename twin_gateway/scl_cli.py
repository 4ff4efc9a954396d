"""The command line's part for SCL files: `import scl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twin_gateway.engineering.mode import Mode
from twin_gateway.mapping.problem import Problem
from twin_gateway.text_files import replace_text

if TYPE_CHECKING:
    from twin_gateway.engineering.scl_run import Outcome


def scl(
    files: Annotated[list[Path], typer.Argument(help="SCD, CID or ICD files of edition 1, 2 or 2.1.")],
    grid: Annotated[str, typer.Option(help="Level 1 of the addresses.")],
    place: Annotated[
        str, typer.Option(help="Area, where the file's substation section says the site; else area/site, north/PS01.")
    ],
    into: Annotated[
        Path | None, typer.Option(help="Folder for the mapping files; standard output if not given.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="For a mapping file that exists: leave it, put in what is new, or write it anew.")
    ] = Mode.CREATE,
    every: Annotated[
        bool, typer.Option("--all", help="All data objects, not only members of data sets and controls.")
    ] = False,
    templates: Annotated[bool, typer.Option(help="Make templates of places that repeat.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Make a mapping file of each SCL file: places, devices, the data of its data sets, controls.

    What is left out or taken otherwise is told with its line. Exit code 1 when a file has an error; nothing is written
    for that one.
    """
    from twin_gateway.engineering.scl_run import Request, run_import

    if into is not None and not into.is_dir():
        typer.echo(f"error: there is no folder {into}: make it first", err=True)
        raise typer.Exit(1)
    outcomes = []
    for file in files:
        outcome = run_import(file, Request(grid, place, into, mode, every, templates))
        if outcome.target is not None and outcome.text is not None:
            _write(outcome)
        outcomes.append(outcome)
    if as_json:
        typer.echo(json.dumps([_document(outcome) for outcome in outcomes], indent=2, ensure_ascii=False))
    else:
        for outcome in outcomes:
            _tell(outcome)
    raise typer.Exit(1 if any(outcome.text is None for outcome in outcomes) else 0)


def _write(outcome: Outcome) -> None:
    from twin_gateway.engineering.memory import keep

    assert outcome.target is not None and outcome.text is not None  # noqa: S101 - the caller has looked
    try:
        replace_text(outcome.target, outcome.text)
    except OSError as error:
        what, hint = f"cannot be written: {error.strerror or error}", "look at the rights of the folder"
        outcome.problems.append(Problem(str(outcome.target), 1, 1, "TG101", what, hint))
        outcome.text = None
    else:
        outcome.problems += keep(outcome.target, outcome.memory)


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "source": str(outcome.source),
        "target": str(outcome.target) if outcome.target is not None else None,
        "ok": outcome.text is not None,
        "points": outcome.points,
        "added": outcome.added,
        "changed": outcome.changed,
        "problems": [problem.as_json() for problem in outcome.problems],
    }


def _tell(outcome: Outcome) -> None:
    for problem in outcome.problems:
        typer.echo(str(problem), err=True)
    if outcome.text is None:
        count = outcome.errors
        typer.echo(f"{outcome.source}: {count} error{'s' if count != 1 else ''}; nothing is written", err=True)
    elif outcome.target is None:
        typer.echo(outcome.text, nl=False)
    elif outcome.added is None:
        typer.echo(f"made {outcome.target}: {outcome.points} points", err=True)
    else:
        count = len(outcome.added)
        new = f"{count} new point{'s' if count != 1 else ''}, {len(outcome.changed)} changed"
        typer.echo(f"merged into {outcome.target}: {new}", err=True)
