"""The command line: run, check, init, user, trust, simulate, inject, demo, bench, resolve."""

from __future__ import annotations

import gc
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from twin_gateway import __version__
from twin_gateway.apply_cli import apply
from twin_gateway.check_cli import check
from twin_gateway.commission_cli import commission
from twin_gateway.editor_cli import explain, fmt
from twin_gateway.export_cli import export_app
from twin_gateway.grid_cli import grid_app
from twin_gateway.history_cli import history_app
from twin_gateway.import_cli import import_app
from twin_gateway.inject_cli import app as inject_app
from twin_gateway.link_cli import capture, links
from twin_gateway.plan_cli import plan
from twin_gateway.revisions_cli import revisions, rollback
from twin_gateway.scl_cli import scl
from twin_gateway.trust_cli import trust_app
from twin_gateway.unmapped_cli import unmapped
from twin_gateway.user_cli import users_app

app = typer.Typer(
    name="twin-gateway",
    help="Protocol gateway and digital-twin addressing service for electric distribution grids.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(users_app, name="user")
app.add_typer(trust_app, name="trust")
app.add_typer(grid_app, name="grid")
app.add_typer(history_app, name="history")
app.add_typer(inject_app, name="inject")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
import_app.command("scl")(scl)
app.command()(apply)
app.command()(rollback)
app.command()(revisions)
app.command()(check)
app.command()(commission)
app.command()(links)
app.command()(capture)
app.command()(explain)
app.command()(plan)
app.command()(unmapped)
app.command()(fmt)

ConfigFile = Annotated[Path, typer.Argument(help="The gateway's configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Entry point of the `twin-gateway` command."""
    app()


def _version(show: bool) -> None:
    if show:
        typer.echo(f"twin-gateway {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Nothing of its own; carries the options that come before a command."""


@app.command()
def run(config: ConfigFile = Path("gateway.yaml")) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Changed users and trust lists count at once, mapping files with `apply` or as `watch` says, others with a restart.
    """
    # As in `run_gateway`: hundreds of modules are loaded, and none is let go.
    gc.disable()
    from twin_gateway.running import run_gateway

    raise typer.Exit(run_gateway(config))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path()) -> None:
    """Write a commented gateway.yaml and an empty folder for mappings."""
    from twin_gateway.config import ConfigError, write_template

    try:
        for made in write_template(folder):
            typer.echo(f"made {made}")
    except ConfigError as error:
        _fail(str(error))


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="OPC UA port.")] = 4840,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to keep the demo's mapping files, to be edited, and data; a temporary folder if not given."
        ),
    ] = None,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
) -> None:
    """A small feeder of simulated devices of all four protocols, a broker and the gateway, until Ctrl-C."""
    from twin_gateway.demo.run import run_demo

    raise typer.Exit(run_demo(port=port, folder=folder, duration=duration))


BENCHES = ("opcua", "mapping", "iec104", "iec61850", "dlms", "coap", "mqtt", "twin", "history", "latency")


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHES)}.")],
    as_json: Json = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Smaller and shorter, to see that it runs; its figures compare with nothing."),
    ] = False,
) -> None:
    """Measure one part on this machine; most take less than a minute, `opcua` and `twin` two; --quick some seconds."""
    if name not in BENCHES:
        _fail(f"there is no bench {name!r}; there are {', '.join(BENCHES)}")
    figures = import_module(f"twin_gateway.bench.{name}").run(quick)
    if quick:
        figures = {"quick": True, **figures}
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for key, value in figures.items():
        typer.echo(f"{key:32} {value:,.3f}" if isinstance(value, float) else f"{key:32} {value}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def simulate(
    context: typer.Context,
    protocol: Annotated[str, typer.Argument(help="iec61850, goose, iec104, dlms, coap or feeder.")],
) -> None:
    """Run a simulated device of one protocol from a file, in this process; `simulate PROTOCOL --help` says more.

    `simulate feeder GRID.yaml --mappings DIR` runs a whole field: the physics of a grid behind all its devices.
    """
    entries = dict.fromkeys(("iec61850", "goose", "iec104", "dlms", "coap", "feeder"), "main") | {"iec104": "command"}
    if protocol not in entries:
        _fail(f"there is no simulator for {protocol!r}; there are {', '.join(entries)}")
    # Matrices of a feeder are small: threads of the linear algebra would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    module = import_module(f"twin_gateway.simulate.{protocol}")
    raise typer.Exit(getattr(module, entries[protocol])(context.args) or 0)


@app.command()
def resolve(
    text: Annotated[str, typer.Argument(help="An address, or an alias `scheme:value`.")],
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = Path("gateway.yaml"),
    as_json: Json = False,
) -> None:
    """Say what an address or alias means by the mapping files, without connecting to anything."""
    from twin_gateway.running import resolve_text

    raise typer.Exit(resolve_text(config, text, as_json=as_json))


def _fail(text: str) -> None:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
