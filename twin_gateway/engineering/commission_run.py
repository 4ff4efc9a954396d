"""The command `commission`: log in, walk, sign off, and the protocol, printed, written or verified."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

from twin_gateway.commissioning.protocol import verify
from twin_gateway.commissioning.record import State
from twin_gateway.config import ConfigError, load_config
from twin_gateway.control import ControlError
from twin_gateway.engineering.commission_client import Client, kept_protocol, protocol_with
from twin_gateway.engineering.commission_walk import accept_good, refresh, walk
from twin_gateway.text_files import replace_text

OPEN: Final = 2
"""Exit code when points are open still, a protocol has void points, or a file is not one of this gateway's."""
_LARGEST: Final = 64 << 20
_FORMS: Final = {".md": "markdown", ".csv": "csv"}


def check_names(files: Sequence[Path]) -> None:
    """Refuse protocol files of another form, or in no folder, before anything is done.

    Raises:
        ControlError: a name ends otherwise than in .md or .csv, or its folder is not there.
    """
    for path in files:
        if path.suffix.lower() not in _FORMS:
            raise ControlError(f"{path}: the name of a protocol ends in .md or .csv")
        if not path.absolute().parent.is_dir():
            raise ControlError(f"{path}: there is no folder {path.parent}")


def commission(
    config: Path, place: str, user: str, password: str, *, good: bool, fresh: float, sign: bool, remark: str,
    files: Sequence[Path],
) -> int:  # fmt: skip
    """Walk through a place and sign it off; the exit code.

    Raises:
        ControlError, ConfigError: see there.
    """
    check_names(files)
    with Client(load_config(config).data_directory, place, user, password) as client:
        return _commission(client, good=good, fresh=fresh, sign=sign, remark=remark, files=files)


def _commission(client: Client, *, good: bool, fresh: float, sign: bool, remark: str, files: Sequence[Path]) -> int:
    begun = client.begun
    user = begun["user"]
    typer.echo(f"{begun['place']} at gateway {begun['gateway']}: {_points(begun['points'])}")
    if not begun["may"]["record"]:
        raise ControlError(
            f"{user} may not commission there (role Installer); an engineer approves command bindings with --approve"
        )
    if not begun["may"]["command"]:
        typer.echo(f"{user} may not command there: commands cannot be tested (role Operator; Engineer for test mode)")
    left = False
    try:
        if good or not sign:
            typer.echo("reading the devices:")
            refresh(client)
        if good:
            accept_good(client, fresh)
        if not sign:
            walk(client)
    except (typer.Abort, KeyboardInterrupt):
        left = True
        typer.echo("\nleft; what was said is kept, and the same command goes on from here")
    return _sign(client, remark, files, ask=not sign, left=left)


def _sign(client: Client, remark: str, files: Sequence[Path], *, ask: bool, left: bool) -> int:
    points = client.points()
    ready = sum(each["ready"] for each in points)
    open_ = sum(each["state"] != State.COMMISSIONED for each in points) - ready
    typer.echo(f"{ready} ready to be signed off, {open_} open, {len(points) - ready - open_} done")
    if left or not any(each["recorded"] for each in points):
        return OPEN
    if ask and not _agreed(f"Sign off as {client.begun['user']}?"):
        typer.echo("not signed; the same command goes on from here")
        return OPEN
    signed = client.ask("sign", remark=remark)
    states = ", ".join(f"{count} {state}" for state, count in signed["states"].items())
    typer.echo(f"signed off: {_points(signed['signed'])}; now {states}")
    hand_out(client.with_texts(signed), files)
    return OPEN if open_ else 0


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, default=False)
    except typer.Abort:
        typer.echo()
        return False


def approve(config: Path, place: str, user: str, password: str) -> int:
    """Approve all command bindings at and below a place as they are now; the exit code."""
    with Client(load_config(config).data_directory, place, user, password) as client:
        approved = client.ask("approve")["approved"]
    for address in approved:
        typer.echo(f"approved {address}")
    typer.echo(f"{len(approved)} command binding{'s' * (len(approved) != 1)} approved by {user}")
    return 0


def report(config: Path, place: str, files: Sequence[Path]) -> int:
    """Print or write the last protocol of a place, without walking; the exit code."""
    check_names(files)
    found = kept_protocol(load_config(config).data_directory, place)
    hand_out(found, files)
    for address, why in found["void"]:
        typer.echo(f"void since: {address}: {why}", err=True)
    if found["void_count"] > len(found["void"]):
        typer.echo(f"and {found['void_count'] - len(found['void'])} more are void", err=True)
    return OPEN if found["void"] else 0


def hand_out(protocol: dict[str, Any], files: Sequence[Path]) -> None:
    """Write a protocol to files, or print it where none is named.

    Raises:
        ControlError: a file cannot be written.
    """
    if not files:
        sys.stdout.write(f"\n{protocol['markdown']}")
        return
    for path in files:
        try:
            replace_text(path, protocol[_FORMS[path.suffix.lower()]])
        except OSError as error:
            text = f"{path} cannot be written ({error.strerror}); the gateway keeps it: --report writes it too"
            raise ControlError(text) from error
        typer.echo(f"wrote {path}")


def verify_file(config: Path, path: Path) -> int:
    """Say whether a protocol file is as it was signed; the exit code: 1 changed, 2 not one of this gateway's."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ControlError(f"{path} is larger than {_LARGEST >> 20} MiB: this is no protocol")
        found = verify(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise ControlError(f"{path} is no protocol: {error}") from error
    if not found.stated:
        raise ControlError(f"{path} has no digest in its last line: it is no protocol, or has been cut off")
    if not found.unchanged:
        raise ControlError(
            f"{path} has been changed since it was signed: its lines have the digest {found.computed[:16]}…, "
            f"not {found.stated[:16]}…"
        )
    try:
        known = protocol_with(load_config(config).data_directory, found.stated)
    except (ConfigError, ControlError, OSError, sqlite3.Error) as error:
        typer.echo(f"{path}: its lines fit its digest; whether it was signed here is not known: {error}")
        return OPEN
    if known is None:
        typer.echo(f"{path}: its lines fit its digest, but this gateway has signed no such protocol")
        return OPEN
    typer.echo(f"{path} is as {known['user']} signed it for {known['place']} at {known['time']}")
    return 0


def _points(count: int) -> str:
    return f"{count} point{'s' * (count != 1)}"
