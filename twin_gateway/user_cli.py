"""The command line's part for users: add, list and remove them; the gateway takes changes while it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from twin_gateway.security.roles import ROLE_RIGHTS
from twin_gateway.security.users import (
    User,
    UsersError,
    file_fingerprint,
    load_users,
    save_users,
    without_last_administrator,
)

users_app = typer.Typer(help="Users of the gateway.", no_args_is_help=True)
UserFile = Annotated[Path, typer.Option(help="The user file.")]
_LEAST_PASSWORD = 8


@users_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[
        list[str],
        typer.Option(help=f"{', '.join(ROLE_RIGHTS)}; with @ADDRESS only there; may be given twice."),
    ],
    area: Annotated[
        list[str] | None, typer.Option(help="Address the roles are limited to; may be given twice.")
    ] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option(help="Certificate of the user, DER or PEM, with or instead of a password.")
    ] = None,
    file: UserFile = Path("users.yaml"),
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
) -> None:
    """Add a user, or change one. The password is asked for (not with a certificate) and kept as an argon2id hash."""
    from twin_gateway.security.passwords import hash_password

    password = ""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not certificate:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    if (password or not certificate) and len(password) < _LEAST_PASSWORD:
        _fail(f"a password has at least {_LEAST_PASSWORD} characters")
    try:
        users = dict(load_users(file)) if file.exists() else {}
        former = dict(users)
        granted = [each.partition("@") for each in role]
        entry = {
            "password": hash_password(password) if password else "",
            "certificates": [file_fingerprint(path) for path in certificate or ()],
            "roles": [each for each, at, _ in granted if not at],
            "areas": area or [],
            "grants": [{"role": each, "areas": [where]} for each, at, where in granted if at],
        }
        users[name] = User.model_validate(entry)
        _check_administrators(former, users)
        save_users(file, users)
    except ValidationError as error:
        _fail("; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors(include_input=False)))
    except (UsersError, ValueError, OSError) as error:
        _fail(str(error))
    typer.echo(f"user {name} is in {file}; a running gateway lets it in within seconds")


@users_app.command("remove")
def remove_user(
    name: Annotated[str, typer.Argument(help="User name.")],
    file: UserFile = Path("users.yaml"),
) -> None:
    """Remove a user; its sessions may do nothing any more within seconds."""
    try:
        users = dict(load_users(file))
        if name not in users:
            _fail(f"there is no user {name} in {file}")
        rest = {each: user for each, user in users.items() if each != name}
        _check_administrators(users, rest)
        save_users(file, rest)
    except (UsersError, OSError) as error:
        _fail(str(error))
    typer.echo(f"user {name} is gone from {file}")


@users_app.command("list")
def list_users(
    file: UserFile = Path("users.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show users, their roles and where these count; never their passwords."""
    try:
        users = load_users(file)
    except UsersError as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps([_described(name, user) for name, user in sorted(users.items())], ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Users of {file}")
    for column in ("user", "logs in with", "role", "where"):
        table.add_column(column)
    for name, user in sorted(users.items()):
        for number, (role, areas) in enumerate(user.scopes()):
            first = number == 0
            table.add_row(name if first else "", _means(user) if first else "", role, ", ".join(areas) or "everywhere")
    Console().print(table)


def _means(user: User) -> str:
    means = ["password"] if user.password else []
    if user.certificates:
        means.append(f"{len(user.certificates)} certificate{'s' if len(user.certificates) > 1 else ''}")
    return ", ".join(means)


def _described(name: str, user: User) -> dict[str, object]:
    return {
        "user": name,
        "password": bool(user.password),
        "certificates": list(user.certificates),
        "roles": [{"role": role, "areas": list(areas)} for role, areas in user.scopes()],
    }


def _check_administrators(before: Mapping[str, User], after: Mapping[str, User]) -> None:
    if without_last_administrator(before, after):
        raise UsersError("this is the last user with the role SecurityAdmin; give the role to another one first")


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
