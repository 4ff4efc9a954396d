"""The command line's `apply`: the running gateway changes to the mapping files as they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 20
_KINDS = (
    ("devices_added", "devices added"),
    ("devices_removed", "devices removed"),
    ("reconnected", "links made anew"),
    ("points_added", "points added"),
    ("points_removed", "points removed"),
    ("points_changed", "points changed"),
)


def apply(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Mapping files or folders; those of the configuration if none is given.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", help="The gateway's configuration file.")] = Path("gateway.yaml"),
) -> None:
    """Change the running gateway to its mapping files as they are now, and say what was done.

    Only what differs is touched: other links, sessions and subscriptions go on. Files with an error change nothing.
    """
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.control import LONG_S, ControlError, ask

    try:
        folder = load_config(config).data_directory
        told = ask(folder, "apply", patience=LONG_S, paths=[str(path.resolve()) for path in paths or ()])
    except (ConfigError, ControlError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for problem in told["problems"]:
        typer.echo(problem, err=True)
    if told["applied"] is None:
        typer.echo("error: the mapping files have errors; nothing has changed", err=True)
        raise typer.Exit(1)
    show_applied(told)
    typer.echo(f"revision {told['revision']} runs" if told["revision"] else "the mapping of these files runs")
    if paths:
        typer.echo(f"the next start reads the files that {config} names")


def show_applied(told: Mapping[str, Any]) -> None:
    """Print what a change has done, as the gateway told it."""
    done, counts = told["applied"], told["counts"]
    for key, text in _KINDS:
        _list(text, done[key], counts[key])
    _list("points moved", [f"{before} -> {after}" for before, after in done["moved"]], counts["moved"])
    for sentence in done["restart"]:
        typer.echo(f"needs a restart: {sentence}")
    if not any(counts.values()):
        typer.echo("nothing differs")
    for sentence in told["notes"]:
        typer.echo(f"note: {sentence}")


def _list(text: str, names: Sequence[str], count: int) -> None:
    if not count:
        return
    typer.echo(f"{text}: {count}")
    for name in names[:_SHOWN]:
        typer.echo(f"  {name}")
    if count > _SHOWN:
        typer.echo(f"  and {count - _SHOWN} more")
