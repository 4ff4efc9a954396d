"""The command line's part for exports: what mapping files say, for spreadsheets, folders and other OPC UA programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from twin_gateway.mapping.model import Mapping

export_app = typer.Typer(help="Write out what mapping files say, for others to read.", no_args_is_help=True)
Paths = Annotated[list[Path], typer.Argument(help="Mapping files, and folders of them.")]
To = Annotated[Path | None, typer.Option(help="File to write, a new one; standard output if not given.")]
Separator = Annotated[str, typer.Option(help="What stands between cells.")]


@export_app.command("csv")
def export_csv_command(
    paths: Paths,
    to: To = None,
    separator: Separator = ";",
    decimal: Annotated[str, typer.Option(help="Decimal sign, . or ,")] = ".",
) -> None:
    """One line a binding; `import csv` makes the same points of those of 104 again."""
    from twin_gateway.engineering.export_list import export_csv

    if len(separator) != 1 or decimal not in (".", ",") or separator in (decimal, '"', "\n", "\r"):
        _fail("the separator is one character, the decimal sign . or , and they differ")
    mapping = _checked(paths)
    alarms = sum(point.alarm is not None for _, point in mapping.points())
    if alarms:
        typer.echo(f"{alarms} alarm rules are not in the list", err=True)
    _write(export_csv(mapping, separator=separator, decimal=decimal), to)


@export_app.command("markdown")
def export_markdown_command(
    paths: Paths,
    to: Annotated[Path | None, typer.Option(help="New file, or a folder for one file a site.")] = None,
) -> None:
    """The point list of each site with boxes to fill in, for the commissioning folder."""
    from twin_gateway.engineering.export_list import export_markdown

    sites = export_markdown(_checked(paths))
    if to is not None and to.is_dir():
        for site, text in sites.items():
            _write(text, to / f"{site.replace('/', '-')}.md")
        return
    _write("\n".join(sites.values()), to)


@export_app.command("opcua-nodeset")
def export_nodeset_command(
    paths: Paths,
    authority: Annotated[str, typer.Option(help="URI of the grid authority, as in gateway.yaml.")],
    to: To = None,
) -> None:
    """A UANodeSet of the address space, with the NodeIds that the gateway gives."""
    from twin_gateway.engineering.export_nodeset import export_nodeset

    _write(export_nodeset(_checked(paths), authority), to)


@export_app.command("scl-mapping")
def export_scl_command(paths: Paths, to: To = None, separator: Separator = ";") -> None:
    """IEC 61850 references, addresses and IEC 60870-5-104 objects (IEC 61850-80-1) side by side."""
    from twin_gateway.engineering.export_scl import export_scl_mapping

    if len(separator) != 1 or separator in ('"', "\n", "\r"):
        _fail("the separator is one character")
    _write(export_scl_mapping(_checked(paths), separator=separator), to)


def _checked(paths: list[Path]) -> Mapping:
    """The mapping; its errors on standard error and exit code 1 when there are any."""
    from twin_gateway.mapping.check import check

    mapping, problems = check(paths, secrets_required=False)
    for problem in problems:
        if problem.severity == "error":
            typer.echo(str(problem), err=True)
    if mapping is None:
        _fail("nothing is written: the mapping files have errors")
    whole = sum(len(device.whole) for device in mapping.devices)
    if whole:
        typer.echo(f"{whole} whole models are known only from their devices: their points are not written", err=True)
    return mapping


def _write(text: str, to: Path | None) -> None:
    if to is None:
        typer.echo(text, nl=False)
        return
    try:
        with to.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        _fail(f"{to} is there already: remove it, or write to another file")
    except OSError as error:
        _fail(f"{to} cannot be written: {error.strerror}")
    typer.echo(f"made {to}", err=True)


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
