"""The command line's `commission`: people look at every point of a place, test its commands, and sign."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer


def commission(
    place: Annotated[str | None, typer.Argument(help="An address or alias; every point at and below it.")] = None,
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = Path("gateway.yaml"),
    user: Annotated[str | None, typer.Option(help="Who signs; your own name unless given.")] = None,
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
    accept_good: Annotated[
        bool, typer.Option("--accept-good", help="Confirm all points with good and fresh values first.")
    ] = False,
    fresh: Annotated[float, typer.Option(min=1, help="With --accept-good: seconds that a value may be old.")] = 300.0,
    sign: Annotated[bool, typer.Option("--sign", help="Sign off what has been said, without walking.")] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="As an engineer: approve the command bindings there as they are.")
    ] = False,
    remark: Annotated[str, typer.Option(help="A sentence for the protocol.")] = "",
    protocol: Annotated[
        list[Path] | None, typer.Option(help="FILE.md or FILE.csv to write; printed unless given.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="The last signed protocol, without walking.")] = False,
    verify: Annotated[Path | None, typer.Option(help="Say whether a protocol file is as it was signed.")] = None,
) -> None:
    """Commission a place with the running gateway: see each point, test its command, sign the protocol.

    Exit code 0: everything there is commissioned; 2: points are open; 1: an error.
    """
    import sqlite3

    from twin_gateway.config import ConfigError
    from twin_gateway.control import ControlError
    from twin_gateway.engineering import commission_run as work

    try:
        if verify is not None:
            raise typer.Exit(work.verify_file(config, verify))
        if place is None:
            raise ControlError("name a place")
        if report:
            raise typer.Exit(work.report(config, place, protocol or ()))
        who = user or getpass.getuser()
        password = _password(who, from_stdin=password_stdin)
        if approve:
            raise typer.Exit(work.approve(config, place, who, password))
        code = work.commission(
            config,
            place,
            who,
            password,
            good=accept_good,
            fresh=fresh,
            sign=sign,
            remark=remark,
            files=protocol or (),
        )
        raise typer.Exit(code)
    except (ConfigError, ControlError, OSError, sqlite3.Error) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _password(user: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return getpass.getpass(f"Password of {user}: ")  # the terminal is silent before it asks
    except (EOFError, KeyboardInterrupt):
        raise typer.Abort from None
