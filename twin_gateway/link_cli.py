"""The command line's part for links: how they do, and what went over the wire lately."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[Path, typer.Option("--config", help="The gateway's configuration file.")]
_DISSECTORS = {"iec104": "iec60870_104", "iec61850": "tpkt", "coap": "coap", "modbus": "mbtcp"}
_DATAGRAMS = frozenset({"coap"})


def links(
    link: Annotated[str | None, typer.Argument(help="Name of a device: its counters and last errors.")] = None,
    config: ConfigFile = Path("gateway.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say how the links of the running gateway do; of one link its counters and the last error of each point."""
    told: list[dict[str, Any]] = _ask(config, "links", link=link)
    if as_json:
        typer.echo(json.dumps(told))
        return
    for each in told:
        state = f"{each['state']}{' (flapping)' if each['flapping'] else ''} since {each['since']}"
        typer.echo(f"{each['link']:24} {each['protocol']:10} {state}  {each['reason']}".rstrip())
        if link is not None:
            for name, value in each["counters"].items():
                typer.echo(f"  {name:30} {value:>14,}")
            for error in each["errors"]:
                typer.echo(f"  {error['time']}  {error['address'] or 'the link'}: {error['text']}")


def capture(
    link: Annotated[str, typer.Argument(help="Name of a device.")],
    config: ConfigFile = Path("gateway.yaml"),
    out: Annotated[Path | None, typer.Option(help="File to write; LINK.pcapng if not given.")] = None,
) -> None:
    """Write what went over the wire of a link lately as a pcapng file, for tshark or Wireshark.

    The running gateway keeps the last 64 KiB of each link. What stands inside TLS is written in the clear, and a
    file may hold passwords of protocols that send them: it can be read by you only.
    """
    told = _ask(config, "capture", link=link)
    path = out or Path(f"{link.replace('/', '_')}.pcapng")
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_bytes(base64.b64decode(told["file"]))
    except OSError as error:
        typer.echo(f"error: {path} cannot be written: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{told['records']} records in {path}; {told['dropped']} older ones had made room")
    kind = "udp" if told["protocol"] in _DATAGRAMS else "tcp"
    name = _DISSECTORS.get(told["protocol"])
    options = "".join(f" -d {kind}.port=={port},{name}" for port in told["ports"]) if name else ""
    typer.echo(f"look at it with: tshark -r {path}{options}")


def _ask(config: Path, what: str, **more: Any) -> Any:
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.control import ControlError, ask

    try:
        return ask(load_config(config).data_directory, what, **more)
    except (ConfigError, ControlError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
