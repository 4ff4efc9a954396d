"""The command line's `revisions` and `rollback`: which mappings the gateway has run with, and returning to one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from twin_gateway.apply_cli import show_applied

if TYPE_CHECKING:
    from twin_gateway.config import GatewayConfig
    from twin_gateway.restoring import Restoring
    from twin_gateway.revisions import Revision

ConfigOption = Annotated[Path, typer.Option("--config", help="The gateway's configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_GIT_DIGITS = 10


def revisions(config: ConfigOption = Path("gateway.yaml"), as_json: Json = False) -> None:
    """List the mapping revisions that are kept, the newest first, and which of them runs."""
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.revisions import RevisionError, RevisionStore

    try:
        folder = load_config(config).data_directory
        kept = RevisionStore(folder).all()
    except (ConfigError, RevisionError) as error:
        _fail(str(error))
    running = _running(folder)
    newest = next((index for index in reversed(range(len(kept))) if kept[index].hash == running), None)
    if as_json:
        rows = [{**asdict(each), "runs": index == newest} for index, each in enumerate(kept)]
        typer.echo(json.dumps({"running": running, "revisions": rows[::-1]}, indent=2, ensure_ascii=False))
        return
    if not kept:
        typer.echo("no revision is kept yet")
    for index in reversed(range(len(kept))):
        each = kept[index]
        git = each.git.partition("-")
        shown = git[0][:_GIT_DIGITS] + "".join(git[1:]) or "-"
        what = f"{each.devices} devices, {each.points} points"
        mark = "*" if index == newest else " "
        typer.echo(f"{mark} {each.hash}  {each.time}  {each.reason:8}  {each.user:12}  {shown:16}  {what}")
    if running is None:
        typer.echo("no gateway runs")


def rollback(
    revision: Annotated[
        str, typer.Argument(help="How the hash of a revision begins; the one before the running one if none is given.")
    ] = "",
    config: ConfigOption = Path("gateway.yaml"),
    restore: Annotated[
        bool, typer.Option("--restore", help="Also write the kept files back over the originals.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --restore: also where files have been edited; these are put aside.")
    ] = False,
) -> None:
    """Return the running gateway to a kept revision of its mapping files, and say what was done.

    The files themselves stay as they are, unless --restore is given.
    """
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.control import LONG_S, ControlError, ask
    from twin_gateway.restoring import restore as write_back
    from twin_gateway.revisions import RevisionError

    if force and not restore:
        _fail("--force goes with --restore")
    try:
        settings = load_config(config)
        plan, told = None, None
        if restore:
            found, plan = _planned(settings, revision, force=force)
            revision = found.hash
        if plan is None or revision != ask(settings.data_directory, "mapping")["hash"]:
            told = ask(settings.data_directory, "rollback", patience=LONG_S, revision=revision)
    except (ConfigError, ControlError, RevisionError) as error:
        _fail(str(error))
    if told is not None:
        _show(told)
    if plan is None:
        known = told["target"]["hash"] if told is not None else revision
        typer.echo(
            f"the files that {config} names have not been changed: the next start or apply takes them as they are;"
        )
        typer.echo(f"`twin-gateway rollback {known} --restore` writes the kept ones back")
        return
    try:
        for sentence in write_back(plan):
            typer.echo(sentence)
    except OSError as error:
        _fail(f"the kept files cannot be written back: {error}; the gateway runs with them all the same")


def _show(told: Mapping[str, Any]) -> None:
    for problem in told["problems"]:
        typer.echo(problem, err=True)
    show_applied(told)
    typer.echo(f"revision {told['target']['hash']} of {told['target']['time']} runs")


def _planned(settings: GatewayConfig, wanted: str, *, force: bool) -> tuple[Revision, Restoring]:
    """What --restore will write, of which revision; refuses before anything is changed."""
    from twin_gateway.control import ask
    from twin_gateway.restoring import plan_restoring, refuse_edited
    from twin_gateway.revisions import Revision, RevisionStore

    running = Revision(**ask(settings.data_directory, "mapping"))
    store = RevisionStore(settings.data_directory)
    found = store.find(wanted) if wanted else store.before(running.hash)
    plan = plan_restoring(store, found, settings.mappings)
    if not force:
        refuse_edited(plan)
    return found, plan


def _running(folder: Path) -> str | None:
    """The hash of what runs; None when no gateway answers."""
    from twin_gateway.control import ControlError, ask

    try:
        told: dict[str, Any] = ask(folder, "mapping")
    except ControlError:
        return None
    return str(told["hash"])


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
