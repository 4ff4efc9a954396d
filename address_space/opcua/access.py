"""What a session's caller may see and do, asked of the access policy and remembered for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from address_space import languages
from address_space.ports import AccessPolicy, Caller, Right

_REMEMBER_SECONDS = 10.0
_REMEMBER_MOST = 100_000


class Access:
    """Rights of one caller.

    Answers are remembered for 10 s, so a change of users or roles reaches running sessions within that time. Without
    a policy a caller may browse and read, nothing else (the server takes only local clients then).
    """

    def __init__(self, policy: AccessPolicy | None, caller: Caller) -> None:
        self.caller = caller
        self.language = languages.DEFAULT
        """LocaleId of the texts that the caller is shown."""
        self._policy = policy
        self._known: dict[tuple[Right, str], bool] = {}
        self._rows: dict[bytes, int] = {}
        self._edition = 0
        self._until = 0.0

    def allows(self, right: Right, address: str) -> bool:
        """Whether the caller has the right on the address; an empty address is the grid object."""
        if self._policy is None:
            return right in {Right.BROWSE, Right.READ}
        now = time.monotonic()
        if now > self._until or len(self._known) > _REMEMBER_MOST:
            self.forget()
            self._until = now + _REMEMBER_SECONDS
        key = (right, address)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._policy.permits(self.caller, right, address)
        return known

    def allows_any(self, rights: Iterable[Right], address: str) -> bool:
        """Whether the caller has at least one of the rights on the address."""
        return any(self.allows(right, address) for right in rights)

    def readable_rows(self, edition: int = 0) -> dict[bytes, int]:
        """Rows of points that are known to be readable, by their NodeId on the wire; the reader fills it in.

        They are forgotten when the table has another `edition`: addresses may stand in other rows then.
        """
        now = time.monotonic()
        if edition != self._edition:
            self._edition = edition
            self._rows.clear()
        if now > self._until or len(self._rows) > _REMEMBER_MOST:
            self.forget()
            self._until = now + _REMEMBER_SECONDS
        return self._rows

    def forget(self) -> None:
        """Ask again; also when rows have another meaning."""
        self._known.clear()
        self._rows.clear()

    def readable(self, addresses: Sequence[str]) -> list[bool] | None:
        """Which of the addresses the caller may read; None for all."""
        if self._policy is None:
            return None
        allows = self.allows
        answers = [allows(Right.READ, address) for address in addresses]
        return None if all(answers) else answers
