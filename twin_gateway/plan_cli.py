"""The command line's part for plans: what changed mapping files would do, against other files or a running gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twin_gateway.affected import Affected
    from twin_gateway.engineering.plan import Plan
    from twin_gateway.grid.model import Grid
    from twin_gateway.mapping.model import Mapping
    from twin_gateway.mapping.problem import Problem

CHANGES = 2
"""Exit code for a plan with changes; 0 is none, 1 an error."""


def plan(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="OLD and NEW: mapping files or folders; with --running only what is new, or nothing."),
    ] = None,
    running: Annotated[
        bool, typer.Option("--running", help="Compare with what the running gateway runs with.")
    ] = False,
    config: Annotated[Path, typer.Option(help="The gateway's configuration file, for --running.")] = Path(
        "gateway.yaml"
    ),
    also: Annotated[
        list[Path] | None, typer.Option(help="Files or folders that belong to both, as shared templates.")
    ] = None,
    grid: Annotated[list[Path] | None, typer.Option(help="Grid model; that of the configuration unless given.")] = None,
    detailed: Annotated[bool, typer.Option("--detailed", help="List every point.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what changed mapping files would do: points, devices, links, and what would break. Changes nothing.

    With --running also whose monitored items and which active alarms would be touched.

    Exit code 0: nothing would change; 2: something would; 1: an error.
    """
    from rich.console import Console

    from twin_gateway.affected import affected_document
    from twin_gateway.config import ConfigError
    from twin_gateway.control import ControlError
    from twin_gateway.engineering.plan import as_document, make_plan
    from twin_gateway.engineering.plan_text import as_lines
    from twin_gateway.revisions import RevisionError

    try:
        if running:
            old, new, model = _against_running(config, paths or [], grid or [])
        else:
            old, new, model = _against_files(paths or [], also or [], grid or [])
        found = make_plan(old, new, model)
        affected = _affected(config, found) if running else None
    except (ConfigError, ControlError, RevisionError, _PlanError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        running_document = affected_document(affected) if affected is not None else None
        document = as_document(found) | {"running": running_document}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for line in as_lines(found, affected, detailed=detailed):
            console.print(line)
    raise typer.Exit(CHANGES if found else 0)


class _PlanError(Exception):
    """No plan can be made; the message is a sentence for people."""


def _against_files(
    paths: Sequence[Path], also: Sequence[Path], grid: Sequence[Path]
) -> tuple[Mapping, Mapping, Grid | None]:
    from twin_gateway.mapping.check import as_configured, check_shown

    if len(paths) != 2:
        raise _PlanError(f"name OLD and NEW, a file or folder each, or --running; {len(paths)} given")
    old, new = paths
    before = _sound(f"the old files ({old})", *check_shown(as_configured([old, *also])))
    after = _sound(f"the new files ({new})", *check_shown(as_configured([new, *also])))
    return before, after, _grid(grid, new / "gateway.yaml" if new.is_dir() else None)


def _against_running(config: Path, paths: Sequence[Path], grid: Sequence[Path]) -> tuple[Mapping, Mapping, Grid | None]:
    from twin_gateway.config import load_config
    from twin_gateway.control import ask
    from twin_gateway.mapping.cache import own_folder
    from twin_gateway.mapping.check import as_configured, check_shown
    from twin_gateway.revisions import Revision, RevisionStore

    settings = load_config(config)
    told = Revision(**ask(settings.data_directory, "mapping"))
    store = RevisionStore(settings.data_directory)
    before = _sound(
        f"revision {told.hash}, which runs,", *store.check(told, secrets_required=False, cache=own_folder())
    )
    files = as_configured(paths) if paths else settings.mappings
    after = _sound("the new files", *check_shown(files))
    return before, after, _grid(grid, config)


def _affected(config: Path, plan: Plan) -> Affected:
    """Who would notice: what the running gateway says."""
    from twin_gateway.affected import Affected
    from twin_gateway.config import load_config
    from twin_gateway.engineering.plan_affected import touched_by
    from twin_gateway.plan_request import ask_affected

    if not plan:
        return Affected()
    return ask_affected(load_config(config).data_directory, touched_by(plan))


def _sound(what: str, mapping: Mapping | None, problems: Sequence[Problem]) -> Mapping:
    """A mapping without errors; what is wrong is printed, but for secrets that are not set where plans are made."""
    for problem in problems:
        if problem.code != "TG604":
            typer.echo(str(problem), err=True)
    if mapping is None:
        errors = sum(problem.severity == "error" for problem in problems)
        raise _PlanError(f"{what} cannot be compared: {errors} error{'s' * (errors != 1)}")
    return mapping


def _grid(paths: Sequence[Path], config: Path | None) -> Grid | None:
    """The grid model that is named, else that of a configuration; None when there is none."""
    from twin_gateway.config import load_config
    from twin_gateway.grid.cim import read_cim
    from twin_gateway.grid.yaml_grid import read_grid

    name = "grid"
    if not paths:
        settings = load_config(config) if config is not None and config.is_file() else None
        if settings is None or settings.twin is None or not settings.twin.grid:
            return None
        paths, name = settings.twin.grid, settings.grid
    if all(path.suffix.lower() == ".xml" for path in paths):
        reading = read_cim(paths, grid=name)
        model, problems = reading.grid, reading.problems
    else:
        model, problems = read_grid(paths)
    if model is None:
        for problem in problems:
            typer.echo(str(problem), err=True)
        raise _PlanError("the grid model has errors")
    return model
