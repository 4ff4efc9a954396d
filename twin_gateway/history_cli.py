"""The command line's part for the history: what is kept, and the samples of one address as CSV."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twin_gateway.history.offline import OfflineStore

history_app = typer.Typer(help="The history: what is kept, export of an address.", no_args_is_help=True)
ConfigFile = Annotated[Path, typer.Option("--config", help="The gateway's configuration file.")]
_RUNNING = "the gateway is running: only days that are over are read; ask it by OPC UA for the others"


@history_app.command()
def info(
    config: ConfigFile = Path("gateway.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what is kept: days, samples, events, octets, addresses, gaps."""
    from twin_gateway.history.export import overview

    store = _open(config)
    document = overview(store)
    store.close()
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(f"{document['folder']}: {document['addresses']} addresses, {document['octets']:,} octets")
    for name, day in document["days"].items():
        counts = f"{day['samples']:>14,} samples {day['events']:>10,} events {day['octets']:>14,} octets closed"
        typer.echo(f"{name}  {counts}")
    for gap in document["gaps"]:
        typer.echo(f"nothing recorded from {gap['begin']} to {gap['end']}: {gap['reason']}")


@history_app.command()
def export(
    address: Annotated[str, typer.Argument(help="Address of a point.")],
    config: ConfigFile = Path("gateway.yaml"),
    begin: Annotated[datetime | None, typer.Option("--from", help="First source time, UTC.")] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="Source time before which it ends, UTC.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if not given.")] = None,
) -> None:
    """Write the samples of one point as CSV: source time, time of reception, value, StatusCode."""
    from address_space import clock
    from twin_gateway.history.export import write_csv

    store = _open(config)
    start = clock.from_datetime(begin.replace(tzinfo=UTC)) if begin is not None else 0
    stop = clock.from_datetime(end.replace(tzinfo=UTC)) if end is not None else 1 << 62
    try:
        if out is None:
            write_csv(store, address, start, stop, sys.stdout)
        else:
            with out.open("w", newline="", encoding="utf-8") as file:
                count = write_csv(store, address, start, stop, file)
            typer.echo(f"{count} samples in {out}", err=True)
    except (KeyError, OSError) as error:
        why = f"nothing of {address} is kept" if isinstance(error, KeyError) else str(error)
        typer.echo(f"error: {why}", err=True)
        raise typer.Exit(1) from None
    finally:
        store.close()


def _open(path: Path) -> OfflineStore:
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.history.database import HistoryPausedError
    from twin_gateway.history.offline import OfflineStore

    try:
        config = load_config(path)
        store = OfflineStore(config.history.folder or config.data_directory / "history", config.history)
        store.open()
    except (ConfigError, HistoryPausedError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if store.closed_only:
        typer.echo(_RUNNING, err=True)
    return store
