"""What is counted of a session for its diagnostics (Part 5, 12.11 and 12.12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from address_space import clock
from address_space.opcua.untyped import ua

if TYPE_CHECKING:
    from address_space.opcua.processor import Processor

_MOST_USERS, _MOST_LOCALES, _LONGEST = 20, 20, 4096
_CODES = ua.StatusCodes
SECURITY_REFUSALS = frozenset(
    int(code)
    for code in (
        _CODES.BadUserAccessDenied,
        _CODES.BadIdentityTokenInvalid,
        _CODES.BadIdentityTokenRejected,
        _CODES.BadSecurityChecksFailed,
        _CODES.BadSecurityModeInsufficient,
        _CODES.BadApplicationSignatureInvalid,
        _CODES.BadUserSignatureInvalid,
        _CODES.BadNonceInvalid,
        _CODES.BadCertificateInvalid,
        _CODES.BadCertificateUntrusted,
        _CODES.BadCertificateRevoked,
        _CODES.BadCertificateTimeInvalid,
        _CODES.BadSessionIdInvalid,
        _CODES.BadSessionNotActivated,
    )
)
"""ServiceResults that count as refused for security."""
_MECHANISMS = {"UserNameIdentityToken": "UserName", "X509IdentityToken": "X509", "IssuedIdentityToken": "IssuedToken"}


@dataclass(slots=True)
class SessionCounts:
    """One session's part of the diagnostics.

    Attributes:
        server_uri, max_response: as of CreateSession.
        connected: when the session was made, FILETIME ticks.
        last_contact: when its newest request came.
        locales: LocaleIds of the newest ActivateSession.
        users: names of the users it had, oldest first, at most 20.
        mechanism: how the present user proved to be it: `Anonymous`, `UserName`, `X509`.
        requests, errors: by the request's type id.
        unauthorized: requests refused for security.
    """

    server_uri: str = ""
    max_response: int = 0
    connected: int = field(default_factory=clock.now)
    last_contact: int = field(default_factory=clock.now)
    locales: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    mechanism: str = ""
    requests: dict[int, int] = field(default_factory=dict)
    errors: dict[int, int] = field(default_factory=dict)
    unauthorized: int = 0

    def created(self, parameters: Any) -> None:
        """Note the parameters (asyncua's) of CreateSession."""
        self.server_uri = (parameters.ServerUri or "")[:_LONGEST]
        self.max_response = int(parameters.MaxResponseMessageSize)

    def request(self, type_id: int, received: int) -> None:
        """A request has come."""
        requests = self.requests
        requests[type_id] = requests.get(type_id, 0) + 1
        self.last_contact = received

    def refused(self, type_id: int, status: int) -> None:
        """A request was answered with a fault."""
        self.errors[type_id] = self.errors.get(type_id, 0) + 1
        self.unauthorized += status in SECURITY_REFUSALS

    def activated(self, user: str, parameters: Any) -> None:
        """A user has been taken; `parameters` of ActivateSession."""
        if not self.users or self.users[-1] != user:
            self.users = [*self.users, user][-_MOST_USERS:]
        # Part 4, 5.7.3.2: without LocaleIds those of the call before go on.
        given = [locale[:64] for locale in (parameters.LocaleIds or [])[:_MOST_LOCALES] if locale]
        self.locales = given or self.locales
        self.mechanism = _MECHANISMS.get(type(parameters.UserIdentityToken).__name__, "Anonymous")


_SESSION_SERVICES = frozenset({461, 467})
"""CreateSession and ActivateSession."""


def count_refusal(processor: Processor, type_id: int, status: int) -> None:
    """A request is answered with a ServiceFault."""
    counters, security = processor.iserver.counters, status in SECURITY_REFUSALS
    counters.requests_rejected += 1
    counters.requests_security_rejected += security
    if type_id in _SESSION_SERVICES:
        counters.sessions_rejected += 1
        counters.sessions_security_rejected += security
    elif processor.session is not None:
        processor.session.counts.refused(type_id, status)
