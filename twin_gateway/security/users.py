"""The user file: names, argon2id hashes, certificates, roles and address scopes; reading, checking and writing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from address_space.address import AddressError, parse
from address_space.whole_files import write_whole
from twin_gateway.security.roles import SECURITY_ADMIN, Role, conflict

MAX_FILE_SIZE = 4 << 20
_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


class UsersError(ValueError):
    """The user file cannot be used; the message says where and what to do."""


def _check_areas(areas: tuple[str, ...]) -> tuple[str, ...]:
    for area in areas:
        try:
            parse(area)
        except AddressError as error:
            raise ValueError(f"area {area!r}: {error}") from error
    return areas


class Grant(BaseModel):
    """One role at and below some addresses; nowhere else, whatever `User.areas` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    areas: tuple[str, ...] = Field(min_length=1)

    @field_validator("areas")
    @classmethod
    def _addresses(cls, areas: tuple[str, ...]) -> tuple[str, ...]:
        return _check_areas(areas)


class User(BaseModel):
    """One user.

    Attributes:
        password: argon2id hash in PHC form, made with `twin-gateway user add`; empty for none.
        certificates: SHA-256 fingerprints in hexadecimal, or certificate files (relative to the user file).
        roles: see `twin_gateway.security.roles`.
        areas: address prefixes to which these roles are limited; empty means the whole grid.
        grants: further roles, each with areas of its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    password: str = Field(default="", pattern=r"^(\$argon2id\$.*)?$")
    certificates: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    areas: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()

    @field_validator("areas")
    @classmethod
    def _addresses(cls, areas: tuple[str, ...]) -> tuple[str, ...]:
        return _check_areas(areas)

    @model_validator(mode="after")
    def _whole(self) -> User:
        if not self.password and not self.certificates:
            raise ValueError("a user has a password or a certificate")
        if not self.all_roles:
            raise ValueError("a user has at least one role")
        problem = conflict(self.all_roles)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def all_roles(self) -> frozenset[str]:
        """Roles anywhere."""
        return frozenset((*self.roles, *(grant.role for grant in self.grants)))

    def scopes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each role with its areas; none for the whole grid."""
        return (*((role, self.areas) for role in self.roles), *((grant.role, grant.areas) for grant in self.grants))


class _UserFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    users: dict[str, User] = Field(default_factory=dict)


def load_users(path: Path) -> Mapping[str, User]:
    """Users of a file; there is no default user.

    Raises:
        UsersError: when the file is missing, readable by others, or not as it should be.
    """
    try:
        status = path.stat()
        if status.st_mode & 0o077:
            raise UsersError(f"{path} can be read by other users: chmod 600 {path}")
        if status.st_size > MAX_FILE_SIZE:
            raise UsersError(f"{path} is larger than {MAX_FILE_SIZE >> 20} MiB: this is no user file")
        data = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError as error:
        raise UsersError(f"there is no user file {path}: make one with `twin-gateway user add NAME`") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsersError(f"{path}: {error}") from error
    try:
        users = _UserFile.model_validate(data).users
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsersError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    certificate_users(users, path.parent)
    return users


def certificate_users(users: Mapping[str, User], folder: Path) -> dict[str, str]:
    """SHA-256 fingerprint of each user certificate -> user name.

    Args:
        users: by name.
        folder: where relative certificate files are.

    Raises:
        UsersError: when a file cannot be read, or two users have the same certificate.
    """
    owners: dict[str, str] = {}
    for name, user in users.items():
        for text in user.certificates:
            mark = text.replace(":", "").upper()
            if not _FINGERPRINT.fullmatch(mark):
                mark = file_fingerprint(folder / text)
            if owners.setdefault(mark, name) != name:
                raise UsersError(f"{name} and {owners[mark]} have the same certificate {text}")
    return owners


def file_fingerprint(path: Path) -> str:
    """SHA-256 fingerprint of a certificate file, DER or PEM.

    Raises:
        UsersError: when it cannot be read.
    """
    try:
        data = path.read_bytes()
        pem = data.lstrip().startswith(b"-----BEGIN")
        certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
    except (OSError, ValueError) as error:
        raise UsersError(f"the certificate {path} cannot be read: {error}") from error
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def without_last_administrator(before: Mapping[str, User], after: Mapping[str, User]) -> bool:
    """Whether a change takes away the last user with the role SecurityAdmin."""

    def some(users: Mapping[str, User]) -> bool:
        return any(SECURITY_ADMIN in user.all_roles for user in users.values())

    return some(before) and not some(after)


def save_users(path: Path, users: Mapping[str, User]) -> None:
    """Write a user file with mode 0600, whole or not at all."""
    data = {"users": {name: user.model_dump(mode="json", exclude_defaults=True) for name, user in users.items()}}
    head = "# Users of the gateway. Passwords are argon2id hashes: `twin-gateway user add NAME`.\n"
    write_whole(path, (head + yaml.safe_dump(data, sort_keys=True)).encode())
