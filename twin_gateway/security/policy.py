"""The access policy: who a caller is and what the roles allow where."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from address_space import clock
from address_space.ports import AuditLog, AuditRecord, Caller, Right
from address_space.quality import StatusCode
from twin_gateway.security.passwords import hash_password, verify_password
from twin_gateway.security.users import User

log = logging.getLogger(__name__)

_RIGHTS: dict[str, frozenset[Right]] = {
    "Observer": frozenset({Right.BROWSE, Right.READ}),
    "Operator": frozenset({Right.BROWSE, Right.READ, Right.OPERATE}),
    "Supervisor": frozenset({Right.BROWSE, Right.READ, Right.OPERATE, Right.SUPERVISE}),
    "Engineer": frozenset({Right.BROWSE, Right.READ, Right.CONFIGURE}),
}
FAILURES_ALLOWED = 5
FAILURE_WINDOW_S = 60.0
CLIENTS_REMEMBERED = 4096


class UserPolicy:
    """The `AccessPolicy` port on a user file.

    A client with more than five failed logins within a minute is refused without a look at the password until the
    minute is over. Verification runs on a thread of its own, one at a time: argon2id costs 64 MiB each.
    """

    def __init__(
        self, users: Mapping[str, User], *, anonymous_observes: bool = False, audit: AuditLog | None = None
    ) -> None:
        self._users = dict(users)
        self._anonymous_observes = anonymous_observes
        self._audit = audit
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="password")
        # Unknown names cost the same time as known ones.
        self._decoy = hash_password("a password that nobody has")
        self._failures: dict[str, deque[float]] = {}

    async def authenticate(self, user: str, password: str, client: str) -> Caller | None:
        """The caller of a user name and password; None when refused. Every attempt is audited."""
        if self._locked(client):
            await self._record("login.refused", user, client, "too many failed logins, wait a minute")
            return None
        known = self._users.get(user)
        phc = known.password if known is not None else self._decoy
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._executor, verify_password, password, phc)
        if known is None or not matches:
            self._note_failure(client)
            await self._record("login.refused", user, client, "unknown user or wrong password")
            return None
        self._failures.pop(_host(client), None)
        await self._record("login", user, client, "")
        return Caller(user, frozenset(known.roles), client)

    def anonymous(self, client: str) -> Caller | None:
        """An observer without a name, only when the configuration allows it and the client is on this machine."""
        if self._anonymous_observes and _is_loopback(client):
            return Caller("", frozenset({"Observer"}), client)
        return None

    async def authenticate_certificate(self, certificate: bytes, client: str) -> Caller | None:
        """Nobody: users have no certificates yet."""
        await self._record("login.refused", "", client, f"user certificates are not known ({len(certificate)} octets)")
        return None

    def role_rights(self) -> Mapping[str, frozenset[Right]]:
        """Rights of each role by its name."""
        return _RIGHTS

    def permits(self, caller: Caller, right: Right, address: str) -> bool:
        """Whether a role of the caller grants the right, and the address lies in the caller's areas.

        Roles count that the caller came with and still has: words given before (the mode of a feeder, kept over a
        restart) do not outlive the role. Somebody without a name may look at most.
        """
        user = self._users.get(caller.user)
        if user is None and caller.user:
            return False
        roles = caller.roles if user is None else caller.roles & frozenset(user.roles)
        if not any(right in _RIGHTS.get(role, frozenset()) for role in roles):
            return False
        looks = right in {Right.BROWSE, Right.READ}
        if user is None:
            return looks
        if not user.areas:
            return True
        if not address:
            return looks  # the grid object
        return any(
            address == area
            or address.startswith(f"{area}/")
            # To come down to an area one must be able to browse what stands above it.
            or (right is Right.BROWSE and area.startswith(f"{address}/"))
            for area in user.areas
        )

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _locked(self, client: str) -> bool:
        failures = self._failures.get(_host(client))
        if failures is None:
            return False
        while failures and time.monotonic() - failures[0] > FAILURE_WINDOW_S:
            failures.popleft()
        return len(failures) >= FAILURES_ALLOWED

    def _note_failure(self, client: str) -> None:
        host = _host(client)
        if host not in self._failures and len(self._failures) >= CLIENTS_REMEMBERED:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(host, deque(maxlen=FAILURES_ALLOWED)).append(time.monotonic())

    async def _record(self, kind: str, user: str, client: str, text: str) -> None:
        status = StatusCode.Good if kind == "login" else StatusCode.BadUserAccessDenied
        log.log(
            logging.INFO if kind == "login" else logging.WARNING, "%s: user %r from %s %s", kind, user, client, text
        )
        if self._audit is not None:
            record = AuditRecord(clock.now(), kind, user[:128], client, status=int(status), text=text)
            await self._audit.append(record)


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
