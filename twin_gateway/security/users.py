"""The user file: names, argon2id hashes, roles and address scopes; reading, checking and writing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from address_space.address import AddressError, parse

Role = Literal["Observer", "Operator", "Supervisor", "Engineer"]


class UsersError(ValueError):
    """The user file cannot be used; the message says where and what to do."""


class User(BaseModel):
    """One user.

    Attributes:
        password: argon2id hash in PHC form, made with `twin-gateway user add`.
        roles: Observer may look, Operator may also operate, Supervisor may also set automatic modes and remove tags of
            others, Engineer may look and change settings and records, but not operate.
        areas: address prefixes to which the roles are limited; empty means the whole grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    password: str = Field(pattern=r"^\$argon2id\$")
    roles: tuple[Role, ...] = Field(min_length=1)
    areas: tuple[str, ...] = ()

    @field_validator("areas")
    @classmethod
    def _addresses(cls, areas: tuple[str, ...]) -> tuple[str, ...]:
        for area in areas:
            try:
                parse(area)
            except AddressError as error:
                raise ValueError(f"area {area!r}: {error}") from error
        return areas


class _UserFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    users: dict[str, User] = Field(default_factory=dict)


def load_users(path: Path) -> Mapping[str, User]:
    """Users of a file; there is no default user.

    Raises:
        UsersError: when the file is missing, readable by others, or not as it should be.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise UsersError(f"{path} can be read by other users: chmod 600 {path}")
        data = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError as error:
        raise UsersError(f"there is no user file {path}: make one with `twin-gateway user add NAME`") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsersError(f"{path}: {error}") from error
    try:
        return _UserFile.model_validate(data).users
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsersError(f"{path}: {where}: {first['msg']}") from error


def save_users(path: Path, users: Mapping[str, User]) -> None:
    """Write a user file with mode 0600, whole or not at all."""
    data = {"users": {name: user.model_dump(mode="json", exclude_defaults=True) for name, user in users.items()}}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("# Users of the gateway. Passwords are argon2id hashes: `twin-gateway user add NAME`.\n")
        yaml.safe_dump(data, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
