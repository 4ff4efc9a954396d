"""Who commissions over the control socket: people log in with their password, and act with their own rights."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from address_space.ports import AccessPolicy, Caller, Right
from twin_gateway.commissioning.binding import Binding
from twin_gateway.commissioning.reading import Reading
from twin_gateway.control import ControlError, asking_user

IDLE_S: Final = 8 * 3600.0
"""A session ends when nothing was asked for so long."""
_MOST: Final = 16
_ROLES: Final[Mapping[Right, str]] = {Right.COMMISSION: "Installer", Right.CONFIGURE: "Engineer"}
"""Who is let in; each request asks again, for roles are taken away."""
_SHOWN: Final = 1000


@dataclass(slots=True)
class Session:
    """One person at work.

    Attributes:
        caller: who.
        place: where they work.
        shown: what was shown and is not yet answered, with its binding, by address: that is what is recorded.
        used: monotonic time of the last request.
    """

    caller: Caller
    place: str
    shown: OrderedDict[str, tuple[Reading, Binding]] = field(default_factory=OrderedDict)
    used: float = 0.0

    def show(self, reading: Reading, binding: Binding) -> None:
        """Remember what is shown."""
        self.shown.pop(reading.address, None)
        self.shown[reading.address] = reading, binding
        while len(self.shown) > _SHOWN:
            self.shown.popitem(last=False)


class Sessions:
    """The sessions of people, by the token that each was given; they end with the gateway."""

    def __init__(self, policy: AccessPolicy, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._now = monotonic
        self._open: dict[str, Session] = {}

    async def begin(self, user: str, password: str, place: str) -> tuple[str, Session]:
        """A new session.

        Raises:
            ControlError: wrong password, no right to commission or to approve there, too many sessions of others.
        """
        caller = await self._policy.authenticate(user, password, f"control socket ({asking_user()})")
        if caller is None:
            raise ControlError(
                f"user {user!r} is not let in: unknown, wrong password, or waiting after failed attempts"
            )
        if not any(self._policy.permits(caller, right, place) for right in _ROLES):
            text = "neither commission (role Installer) nor approve command bindings (role Engineer)"
            raise ControlError(f"{user} may {text} at {place}")
        self._tidy()
        if len(self._open) >= _MOST:
            # Whoever lost a terminal is not kept out by what they left open there.
            own = [(each.used, token) for token, each in self._open.items() if each.caller.user == caller.user]
            if not own:
                raise ControlError(f"{_MOST} people commission already")
            del self._open[min(own)[1]]
        token = secrets.token_urlsafe(24)
        session = Session(Caller(caller.user, caller.roles, caller.client, token), place, used=self._now())
        self._open[token] = session
        return token, session

    def of(self, asked: Mapping[str, Any], right: Right | None = None, address: str = "") -> Session:
        """The session of a request.

        Raises:
            ControlError: there is none, or its user may not do this there.
        """
        self._tidy()
        session = self._open.get(str(asked.get("token", "")))
        if session is None:
            raise ControlError("the session has ended; log in again")
        where = address or session.place
        if not any(self._policy.permits(session.caller, each, where) for each in ((right,) if right else _ROLES)):
            role = _ROLES[right] if right else " or ".join(_ROLES.values())
            raise ControlError(f"{session.caller.user} may not do this at {where}: role {role}")
        session.used = self._now()
        return session

    def end(self, asked: Mapping[str, Any]) -> None:
        """End a session."""
        self._open.pop(str(asked.get("token", "")), None)

    def _tidy(self) -> None:
        oldest = self._now() - IDLE_S
        for token in [token for token, session in self._open.items() if session.used < oldest]:
            del self._open[token]
