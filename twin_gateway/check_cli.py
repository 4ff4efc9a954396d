"""The command line's `check`: mapping files as they are written, and with --live as the devices answer to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Mapping files, and folders of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Connect to the devices, and read every point once.")] = False,
    config: Annotated[
        Path, typer.Option(help="With --live: the gateway's configuration; its files unless PATHS are named.")
    ] = Path("gateway.yaml"),
    device: Annotated[str | None, typer.Option(help="With --live: this device only.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=100, help="With --live: time limit for each device.")] = 30.0,
) -> None:
    """Check mapping files: every problem of every file, one line each; exit code 1 when there is an error.

    With --live every point is read from its device: exit code 0 when all is well, 2 with surprises, 1 with an error.
    """
    if live:
        from twin_gateway.engineering.live_run import run_live

        raise typer.Exit(run_live(paths or (), config, device, seconds, as_json=as_json))
    from twin_gateway.mapping.check import run_check

    if not paths:
        typer.echo("error: name mapping files or folders; with --live those of the configuration are taken", err=True)
        raise typer.Exit(1)
    raise typer.Exit(run_check(paths, as_json=as_json))
