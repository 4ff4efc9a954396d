"""The command line's part for imports: mapping files and grid models out of what engineers already have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from twin_gateway.engineering.mode import Mode
from twin_gateway.live_import_cli import coap, dlms, opcua
from twin_gateway.mapping.problem import Problem
from twin_gateway.text_files import replace_text

import_app = typer.Typer(help="Make mapping files and grid models of what is there already.", no_args_is_help=True)
import_app.command("dlms")(dlms)
import_app.command("coap")(coap)
import_app.command("opcua")(opcua)
Json = Annotated[bool, typer.Option("--json", help="Print what was found as JSON; the text then goes to --to only.")]
To = Annotated[Path | None, typer.Option(help="File to write, a new one; standard output if not given.")]


@import_app.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="The point list, as a spreadsheet program exports it.")],
    column_map: Annotated[
        str, typer.Option("--map", help="A YAML file, or field=column,…; the columns' own names unless given.")
    ] = "",
    grid: Annotated[str, typer.Option(help="Level 1 of the addresses.")] = "",
    place: Annotated[str, typer.Option(help="Area and site, north/PS01, of rows that do not say theirs.")] = "",
    device: Annotated[str, typer.Option(help="Name of the device of rows that do not say theirs.")] = "",
    host: Annotated[str, typer.Option(help="Host of that device.")] = "",
    to: To = None,
    mode: Annotated[
        Mode, typer.Option(help="Where --to is there: leave it, put in what is new, or write it anew.")
    ] = Mode.CREATE,
    partial: Annotated[
        bool, typer.Option("--partial", help="Write the good rows although others have errors.")
    ] = False,
    templates: Annotated[bool, typer.Option(help="Make templates of bays that repeat.")] = True,
    as_json: Json = False,
) -> None:
    """Make a mapping file of a 104 point list; every wrong cell is told with its line and column.

    Nothing is written when there is an error, unless --partial is given. Exit code 1 when there is one.
    """
    from twin_gateway.engineering.column_map import default_map, map_of_text, read_map
    from twin_gateway.engineering.emit import emit
    from twin_gateway.engineering.list_import import import_list
    from twin_gateway.engineering.memory import keep
    from twin_gateway.engineering.merge import Merged, merge, write_anew
    from twin_gateway.engineering.repeat import make_templates

    columns = (
        map_of_text(column_map) if "=" in column_map else read_map(Path(column_map)) if column_map else default_map()
    )
    columns.grid, columns.place = grid or columns.grid, place or columns.place
    columns.device = device or columns.device
    if host and columns.device:
        columns.devices.setdefault(columns.device, {})["host"] = host
    found = import_list(file, columns, every=bool(column_map))
    merging = mode is Mode.MERGE and to is not None and to.exists()
    merged = Merged()
    if found.draft is not None and (partial or not found.errors):
        if to is None:
            if templates:
                make_templates(found.draft)
            merged.text = emit(found.draft)
        else:
            merged = merge(to, found.draft) if merging else write_anew(to, found.draft, templates=templates)
            found.problems += merged.problems
    text = merged.text or ""
    counts = {"points": found.points, "left_out": found.left_out, "faulty": found.faulty, "errors": found.errors}
    if merging:
        counts |= {"added": len(merged.added), "changed": len(merged.changed)}
    _tell(found.problems, counts, as_json=as_json)
    if not as_json:
        rows = f"{found.points} points, {found.left_out} rows left out, {found.faulty} with errors"
        written = "" if text else "; nothing is written" + (" (--partial writes the good rows)" if found.draft else "")
        typer.echo(rows + written, err=True)
    _write(text, to, quiet=as_json, over=mode is not Mode.CREATE)
    if text and to is not None:
        for problem in keep(to, merged.memory):
            typer.echo(str(problem), err=True)
    if text and merging and not as_json:
        typer.echo(f"{len(merged.added)} new points, {len(merged.changed)} changed", err=True)
    raise typer.Exit(1 if found.errors else 0)


@import_app.command("cim")
def import_cim_command(
    files: Annotated[list[Path], typer.Argument(help="CIM RDF/XML files of one model: CDPSM, or profiles of CGMES.")],
    grid: Annotated[str, typer.Option(help="Level 1 of the addresses.")] = "grid",
    area: Annotated[str, typer.Option(help="Level 2; the SubGeographicalRegion's name unless given.")] = "",
    to: To = None,
    mode: Annotated[
        Mode, typer.Option(help="Where --to is there: leave it, put in what is new, or write it anew.")
    ] = Mode.CREATE,
    as_json: Json = False,
) -> None:
    """Make a grid file of CIM: places, equipment and topology; what is left out or simplified is told."""
    from twin_gateway.engineering.cim_import import import_cim
    from twin_gateway.engineering.grid_merge import SECTION, GridMerged, entries_of, merge_grid
    from twin_gateway.engineering.memory import keep_section

    found = import_cim(files, grid=grid, area=area)
    merging = bool(found.text) and mode is Mode.MERGE and to is not None and to.exists()
    merged = GridMerged()
    if merging and to is not None:
        merged = merge_grid(to, found.text)
        found.text = merged.text or ""
        found.problems += merged.problems
    elif found.text and to is not None:
        merged.entries = entries_of(found.text)
    counts = {"nodes": found.nodes, "equipment": found.equipment, "errors": found.errors}
    if merging:
        counts |= {"added": len(merged.added), "changed": len(merged.changed)}
    _tell(found.problems, counts, as_json=as_json)
    if not as_json:
        typer.echo(f"{found.nodes} connectivity nodes, {found.equipment} pieces of equipment", err=True)
    _write(found.text, to, quiet=as_json, over=mode is not Mode.CREATE)
    if found.text and to is not None:
        for problem in keep_section(to, SECTION, merged.entries):
            typer.echo(str(problem), err=True)
    if found.text and merging and not as_json:
        typer.echo(f"{len(merged.added)} new entries, {len(merged.changed)} changed", err=True)
    raise typer.Exit(1 if found.errors else 0)


def _tell(problems: Sequence[Problem], counts: dict[str, int], *, as_json: bool) -> None:
    """The problems on standard error, or everything as one JSON object on standard output."""
    if as_json:
        document = {"ok": not counts["errors"], **counts, "problems": [problem.as_json() for problem in problems]}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for problem in problems:
        typer.echo(str(problem), err=True)


def _write(text: str, to: Path | None, *, quiet: bool, over: bool = False) -> None:
    """Write a new file, or to standard output; over a file that is there only when `over`."""
    if not text:
        return
    if to is None:
        if not quiet:
            typer.echo(text, nl=False)
        return
    if to.exists() and not over:
        typer.echo(f"error: {to} is there already: remove it, or write to another file (or --mode merge)", err=True)
        raise typer.Exit(1)
    try:
        replace_text(to, text)
    except OSError as error:
        typer.echo(f"error: {to} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"made {to}", err=True)
