"""How long somebody who guesses passwords has to wait: growing, for each client and user, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_REMEMBERED: Final = 4096
"""Clients, users and pairs of them that are remembered; the longest idle are forgotten first."""
FORGOTTEN_AFTER_S: Final = 3600.0
FIRST_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Rule:
    """Failures without a wait, and the longest wait in s."""

    free: int
    longest: float


_PAIR = _Rule(5, 900.0)
_CLIENT = _Rule(20, 900.0)
# Short, or anybody could keep a user out by failing in their name.
_USER = _Rule(20, 60.0)


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last: float = 0.0
    until: float = 0.0


class LoginBackoff:
    """Counts failed logins of (client, user), of a client with any user, and of a user from anywhere.

    Args:
        monotonic: clock, seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def wait(self, client: str, user: str) -> float:
        """Seconds for which attempts are refused without a look at the password; 0 for none."""
        now = self._now()
        longest = 0.0
        for key, _ in self._keys(client, user):
            record = self._records.get(key)
            if record is not None:
                longest = max(longest, record.until - now)
        return longest

    def failed(self, client: str, user: str) -> None:
        """A password or certificate was wrong."""
        now = self._now()
        for key, rule in self._keys(client, user):
            record = self._records.get(key)
            if record is None or now - record.last > FORGOTTEN_AFTER_S:
                record = self._records[key] = _Record()
            self._records.move_to_end(key)
            record.failures += 1
            record.last = now
            more = record.failures - rule.free
            if more >= 0:
                record.until = now + min(FIRST_WAIT_S * 2.0 ** min(more, 16), rule.longest)
        while len(self._records) > MOST_REMEMBERED:
            self._records.popitem(last=False)

    def succeeded(self, client: str, user: str) -> None:
        """The user is in from there; what others failed at from the same client still counts."""
        self._records.pop((client, user), None)

    @staticmethod
    def _keys(client: str, user: str) -> tuple[tuple[tuple[str, str], _Rule], ...]:
        return ((client, user), _PAIR), ((client, ""), _CLIENT), (("", user), _USER)
