"""The access policy: who a caller is and what the roles allow where."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from address_space import clock
from address_space.ports import AuditLog, AuditRecord, Caller, Right
from address_space.quality import StatusCode
from twin_gateway.security.backoff import LoginBackoff
from twin_gateway.security.passwords import decoy_hash, verify_password
from twin_gateway.security.roles import ROLE_RIGHTS, conflict
from twin_gateway.security.users import User, UsersError, certificate_users, load_users

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_LONGEST_NAME = 128
_LOOKS = frozenset({Right.BROWSE, Right.READ})


@dataclass(frozen=True, slots=True)
class _Scope:
    """A role of a user where it counts."""

    role: str
    rights: frozenset[Right]
    areas: tuple[str, ...]

    def covers(self, right: Right, address: str) -> bool:
        if not self.areas:
            return True
        if not address:
            return right in _LOOKS  # the grid object
        return any(
            address == area
            or address.startswith(f"{area}/")
            # To come down to an area one must be able to browse what stands above it.
            or (right is Right.BROWSE and area.startswith(f"{address}/"))
            for area in self.areas
        )


class UserPolicy:
    """The `AccessPolicy` port on a user file.

    Failed logins make the next one wait (`LoginBackoff`); then an attempt is refused without a look at the password.
    Verification runs on a thread of its own, one at a time: argon2id costs 64 MiB each.

    Args:
        users: by name.
        anonymous_observes: clients on this machine may look without a user.
        audit: gets the real reason of each refusal; the session's own record does not tell it.
        path: the user file, for `watch`, and for relative certificate files.
    """

    def __init__(
        self,
        users: Mapping[str, User],
        *,
        anonymous_observes: bool = False,
        audit: AuditLog | None = None,
        path: Path | None = None,
        backoff: LoginBackoff | None = None,
    ) -> None:
        self._path = path
        self._anonymous_observes = anonymous_observes
        self._audit = audit
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="password")
        # Unknown names cost the same time as known ones.
        self._decoy = decoy_hash()
        self._backoff = backoff or LoginBackoff()
        self._users: dict[str, User] = {}
        self._scopes: dict[str, tuple[_Scope, ...]] = {}
        self._certificates: dict[str, str] = {}
        self.replace(users)

    def replace(self, users: Mapping[str, User]) -> None:
        """These are the users from now on; sessions of those who are gone may do nothing any more.

        Raises:
            UsersError: when a certificate file cannot be read; nothing is changed then.
        """
        certificates = certificate_users(users, self._path.parent if self._path is not None else Path())
        self._users, self._certificates = dict(users), certificates
        self._scopes = {
            name: tuple(_Scope(role, ROLE_RIGHTS[role], areas) for role, areas in user.scopes())
            for name, user in users.items()
        }

    async def watch(self) -> None:
        """Follow changes of the user file while the gateway runs; a file with errors changes nothing."""
        path = self._path
        if path is None:
            return
        stamp = await asyncio.to_thread(_stamp, path)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = await asyncio.to_thread(_stamp, path)
            if now == stamp:
                continue
            stamp = now
            try:
                self.replace(await asyncio.to_thread(load_users, path))
                log.info("%d users of the changed user file are taken", len(self._users))
                if self._audit is not None:
                    text = f"{len(self._users)} users"
                    await self._audit.append(AuditRecord(clock.now(), "users.changed", "", "", text=text))
            except UsersError as error:
                log.error("the changed user file is not taken, the former users stay: %s", error)
            except Exception:  # a journal or a file in trouble must not end the watch: users are taken away by it
                log.exception("the changed user file")

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        """The caller of a user name and password; None when refused."""
        host, name = _host(client), user[:_LONGEST_NAME]
        if self._must_wait(host, name):
            return None
        known = self._users.get(user)
        phc = known.password if known is not None and known.password else self._decoy
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._executor, verify_password, password, phc)
        if known is None or not known.password or not matches:
            await self._failed(host, name, client, "unknown user or wrong password")
            return None
        return await self._let_in(user, known, host, client)

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        """The caller of a user certificate (DER) that the user file names; None when it names it nowhere."""
        host, mark = _host(client), sha256(certificate).hexdigest().upper()
        if self._must_wait(host, mark):
            return None
        name = self._certificates.get(mark)
        known = self._users.get(name) if name is not None else None
        if name is None or known is None:
            await self._failed(host, mark, client, "no user has the certificate")
            return None
        return await self._let_in(name, known, host, client)

    def _must_wait(self, host: str, user: str) -> bool:
        # Not audited here: the failure that caused the wait was, and nobody fills the journal by trying on.
        seconds = self._backoff.wait(host, user)
        if seconds > 0:
            log.debug("user %r from %s is not looked at for %.0f s", user, host, seconds)
        return seconds > 0

    async def _failed(self, host: str, user: str, client: str, text: str) -> None:
        self._backoff.failed(host, user)
        seconds = self._backoff.wait(host, user)
        if seconds > 0:
            text = f"{text}; further attempts count in {seconds:.0f} s"
        await self._refuse(user, client, text)

    async def _let_in(self, name: str, user: User, host: str, client: str) -> Caller | None:
        problem = conflict(user.all_roles)
        if problem:
            await self._refuse(name, client, problem)
            return None
        self._backoff.succeeded(host, name)
        return Caller(name, user.all_roles, client)

    def anonymous(self, client: str) -> Caller | None:
        """An observer without a name, only when the configuration allows it and the client is on this machine."""
        if self._anonymous_observes and _is_loopback(client):
            return Caller("", frozenset({"Observer"}), client)
        return None

    def role_rights(self) -> Mapping[str, frozenset[Right]]:
        """Rights of each role by its name."""
        return ROLE_RIGHTS

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        """Whether a role of the caller grants the right, and the address lies in that role's areas.

        Roles count that the caller came with and still has: words given before (the mode of a feeder, kept over a
        restart) do not outlive the role. Somebody without a name may look at most.
        """
        if not caller.user:
            return right in _LOOKS and any(right in ROLE_RIGHTS.get(role, ()) for role in caller.roles)
        return any(
            scope.role in caller.roles and right in scope.rights and scope.covers(right, address)
            for scope in self._scopes.get(caller.user, ())
        )

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _refuse(self, user: str, client: str, text: str) -> None:
        log.warning("user %r from %s refused: %s", user, client, text)
        if self._audit is not None:
            status = int(StatusCode.BadUserAccessDenied)
            await self._audit.append(
                AuditRecord(clock.now(), "credentials.refused", user[:_LONGEST_NAME], client, status=status, text=text)
            )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _host(client: str) -> str:
    """Host part of `host:port` or `[host]:port`; the text itself when it is neither."""
    if client.startswith("["):
        return client[1:].partition("]")[0]
    host, separator, port = client.rpartition(":")
    return host if separator and port.isdigit() and ":" not in host else client


def _is_loopback(client: str) -> bool:
    try:
        return ip_address(_host(client)).is_loopback
    except ValueError:
        return False
