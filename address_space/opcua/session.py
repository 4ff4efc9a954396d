"""Sessions: random tokens, activation by the access policy, closing; and the discovery services."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_session import InternalSession, SessionState
from cryptography.exceptions import InvalidSignature

from address_space import languages
from address_space.opcua import session_audit
from address_space.opcua.access import Access
from address_space.opcua.delay import RequestDelay
from address_space.opcua.diagnostics_counts import SessionCounts
from address_space.opcua.identity import authenticate, claim
from address_space.opcua.security import same_certificate
from address_space.opcua.untyped import ua
from address_space.opcua.wire import encode_node_id, pack_u32
from address_space.ports import Caller

if TYPE_CHECKING:
    from address_space.opcua.processor import Handler, Processor, Request
    from address_space.opcua.server import InternalServer

_log = logging.getLogger(__name__)


class Session(InternalSession):
    """One client session.

    Attributes:
        token: AuthenticationToken on the wire, 256 random bits.
        caller: who the client is; None before activation.
        access: rights of the caller; None before activation.
        host: address of the client, without a port.
        name, endpoint_url, client_description: what CreateSession told.
        counts: what it did, for the diagnostics.
        delays: how long requests are under way; `delay` is that of the newest, ticks.
        processor: the connection that serves the session now; None while it has none.
        continuation: unfinished browses, see `address_space.opcua.browse`.
        on_close: called once with DeleteSubscriptions when the session ends.
        on_connection: called when the connection is lost (False) and when another takes over (True).
    """

    def __init__(self, server: InternalServer, processor: Processor) -> None:
        super().__init__(
            server, server.aspace, server.subscription_service, processor.peer, User(UserRole.User), external=True
        )
        server.unregister_external_session(self)
        self.session_id = ua.NodeId(uuid.uuid4(), 1)
        self.auth_token = ua.NodeId(secrets.token_bytes(32), 1)
        self.token = encode_node_id(self.auth_token)
        server.register_external_session(self)
        self.server = server
        self.processor: Processor | None = processor
        self.caller: Caller | None = None
        self.access: Access | None = None
        self.client_certificate = processor.client_certificate
        self.host = processor.peer
        self.name = ""
        self.endpoint_url = ""
        self.client_description: Any = ua.ApplicationDescription()
        self.security = processor.security
        self.continuation: dict[bytes, tuple[int, Iterator[bytes]]] = {}
        self.delays = RequestDelay()
        self.delay = 0
        self.counts = SessionCounts()
        self.on_close: list[Callable[[bool], None]] = []
        self.on_connection: list[Callable[[bool], None]] = []

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return bool(self.state is SessionState.Closed)

    @property
    def rights(self) -> Access:
        """Rights of the caller.

        Raises:
            ServiceError: when the session is not activated.
        """
        if self.access is None:
            raise ServiceError(ua.StatusCodes.BadSessionNotActivated)
        return self.access

    def start(self, requested_timeout_ms: float) -> float:
        """Begin the time-out; returns it in milliseconds."""
        server = self.server
        wanted = requested_timeout_ms if requested_timeout_ms > 0 else server.max_session_timeout_ms
        revised = min(max(wanted, server.min_session_timeout_ms), server.max_session_timeout_ms)
        self.session_timeout = revised / 1000
        self.nonce = secrets.token_bytes(32)
        self.touch()
        self._start_timeout_watchdog()
        return float(revised)

    def activate(self, caller: Caller) -> None:
        """The client is who it says; also when the user changes."""
        self.caller = caller
        self.access = Access(self.server.ports.policy, caller)
        self.user = User(UserRole.User, caller.user or None)
        self.nonce = secrets.token_bytes(32)
        if self.state is SessionState.Created:
            InternalSession._current_connections += 1
        self.state = SessionState.Activated
        self.touch()

    async def close_session(self, delete_subs: bool = True) -> None:
        """End the session."""
        if self.closed:
            return
        self.continuation.clear()
        if asyncio.current_task() is self._timeout_task:
            self.server.counters.sessions_timed_out += 1
            # Part 4, 5.7.2.1: only CloseSession deletes subscriptions; others wait for another session of the client.
            delete_subs = False
        for tell in self.on_close:
            tell(delete_subs)
        await super().close_session(delete_subs)

    async def connection_lost(self) -> None:
        """The connection is gone: an active session with subscriptions waits for another one until its time-out."""
        self.processor = None
        subscriptions = self.server.subscription_service.subscriptions.values()
        if self.is_activated() and any(each.session_id == self.session_id for each in subscriptions):
            for tell in self.on_connection:
                tell(False)
            return
        self.server.counters.sessions_aborted += not self.closed
        await self.close_session(True)


# ---- services --------------------------------------------------------------------------------------------------


def _check_channel(processor: Processor) -> None:
    """A session needs a channel of an offered endpoint; discovery does not."""
    if processor.security not in processor.iserver.offered_security:
        raise ServiceError(ua.StatusCodes.BadSecurityModeInsufficient)


async def create_session(processor: Processor, request: Request) -> None:
    """CreateSession: a new session on the connection."""
    parameters = request.decode(ua.CreateSessionParameters)
    url = parameters.EndpointUrl or ""
    try:
        session, timeout = _new_session(processor, parameters)
    except ServiceError as error:
        session_audit.created(processor, None, error.code, "a session was refused", url=url, timeout=0.0)
        raise
    session_audit.created(processor, session, 0, "a session was made", url=url, timeout=timeout)
    server, crypto = processor.iserver, processor.crypto
    result = ua.CreateSessionResult()
    result.SessionId, result.AuthenticationToken = session.session_id, session.auth_token
    result.RevisedSessionTimeout = timeout
    result.ServerNonce = session.nonce
    result.ServerCertificate = server.certificate_der
    result.MaxRequestMessageSize = server.transport_limits.max_message_size
    wanted = ua.GetEndpointsParameters()
    wanted.EndpointUrl = parameters.EndpointUrl
    result.ServerEndpoints = await server.get_endpoints(wanted, sockname=processor.sockname)
    signed = (crypto.peer_certificate or b"") + (parameters.ClientNonce or b"")
    result.ServerSignature.Signature = crypto.asymmetric_cryptography.signature(signed)
    result.ServerSignature.Algorithm = crypto.AsymmetricSignatureURI
    response = ua.CreateSessionResponse()
    response.Parameters = result
    processor.respond_object(request, response)


def _new_session(processor: Processor, parameters: Any) -> tuple[Session, float]:
    """The session and its time-out in ms, when nothing speaks against it (Part 4, 5.6.2)."""
    server, crypto = processor.iserver, processor.crypto
    _check_channel(processor)
    description = parameters.ClientDescription
    if crypto.Mode != ua.MessageSecurityMode.None_:
        if len(parameters.ClientNonce or b"") < 32:
            raise ServiceError(ua.StatusCodes.BadNonceInvalid)
        if not same_certificate(parameters.ClientCertificate, crypto.peer_certificate):
            raise ServiceError(ua.StatusCodes.BadCertificateInvalid)
        status = server.trust.check_uri(
            crypto.peer_certificate, description.ApplicationUri or "", client=processor.peer
        )
        if status:
            raise ServiceError(status)
    if processor.session is not None and not processor.session.closed:
        raise ServiceError(ua.StatusCodes.BadTooManySessions)
    host = _host(processor)
    of_client = sum(each.host == host for each in server.sessions)
    if len(server.sessions) >= server.limits.max_sessions or of_client >= server.limits.max_sessions_per_client:
        raise ServiceError(ua.StatusCodes.BadTooManySessions)
    session = Session(server, processor)
    session.host, session.client_description = host, description
    session.endpoint_url = (parameters.EndpointUrl or "")[:4096]
    session.name = (parameters.SessionName or "")[:512] or "unnamed"
    processor.session = session
    session.counts.created(parameters)
    server.counters.sessions_made += 1
    return session, session.start(float(parameters.RequestedSessionTimeout or 0))


def _host(processor: Processor) -> str:
    return str(processor.name[0]) if isinstance(processor.name, tuple) else str(processor.name)


async def activate_session(processor: Processor, request: Request) -> None:
    """ActivateSession: the user of a session, also on another connection than the one that made it."""
    server = processor.iserver
    parameters = request.decode(ua.ActivateSessionParameters)
    token = parameters.UserIdentityToken
    who = claim(token)
    session: Session | None = None
    try:
        _check_channel(processor)
        session = _session_of(processor, request)
        _check_signature(processor, session, parameters.ClientSignature)
        nonce = session.nonce
        caller = await authenticate(processor, session, token, parameters.UserTokenSignature, _host(processor))
        if caller is None:
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        if session.nonce is not nonce:
            # Activated over another connection meanwhile: signatures over the former nonce count once.
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        _check_user(processor, session, caller)
    except ServiceError as error:
        server.counters.logins_refused += 1
        name = status_name(error.code)
        server.admission.notice("login of %r from %s refused: %s", who.user or "anonymous", processor.peer, name)
        session_audit.not_activated(processor, session, who, error.code, name)
        raise
    _log.info("login of %r from %s", caller.user or "anonymous", processor.peer)
    await session_audit.activated(processor, session, replace(who, user=caller.user))
    if session.closed or session.nonce is not nonce or processor.transport.is_closing():
        raise ServiceError(ua.StatusCodes.BadSessionClosed)
    former = session.caller
    session.activate(replace(caller, client=processor.peer, session=session.session_id.to_string()))
    if former is not None and (former.user, former.roles) != (caller.user, caller.roles):
        session.continuation.clear()
        server.history.points.forget(session)
        await server.subscription_service.change_user(session)
    session.counts.activated(caller.user, parameters)
    session.rights.language = languages.choose(session.counts.locales)
    _take_over(processor, session)
    response = ua.ActivateSessionResponse()
    response.Parameters.ServerNonce = session.nonce
    processor.respond_object(request, response)


def _check_signature(processor: Processor, session: Session, signature: Any) -> None:
    """That the client holds the key of its certificate, now and for this session."""
    crypto = processor.crypto
    if crypto.Mode == ua.MessageSecurityMode.None_:
        return
    try:
        crypto.asymmetric_cryptography.verify(
            crypto.host_certificate + session.nonce, signature.Signature or b"" if signature is not None else b""
        )
    except InvalidSignature as error:
        raise ServiceError(ua.StatusCodes.BadApplicationSignatureInvalid) from error


def _check_user(processor: Processor, session: Session, caller: Caller) -> None:
    """A session goes on another connection only with its user; and nobody has sessions without end."""
    former = session.caller
    if session.processor is not processor and (former is None or former.user != caller.user):
        raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected)
    if caller.user:
        own = sum(
            each.caller is not None and each.caller.user == caller.user and each is not session
            for each in processor.iserver.sessions
        )
        if own >= processor.iserver.limits.max_sessions_per_user:
            raise ServiceError(ua.StatusCodes.BadTooManySessions)


def status_name(code: int) -> str:
    """Symbolic name of a StatusCode."""
    return str(ua.status_codes.get_name_and_doc(code)[0])


def _session_of(processor: Processor, request: Request) -> Session:
    server = processor.iserver
    session = server.session_of(request.token)
    if session is None or session.closed:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    if session.processor is not processor:
        # Another connection may go on with a session only when it is the same application at the same security.
        own = processor.session
        if own is not None and own is not session and not own.closed:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        if not session.is_activated() or session.security != processor.security:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        if session.client_certificate != processor.client_certificate:
            raise ServiceError(ua.StatusCodes.BadSecurityChecksFailed)
    return session


def _take_over(processor: Processor, session: Session) -> None:
    former = session.processor
    if former is processor:
        return
    if former is not None:
        former.session = None
    session.processor = processor
    processor.session = session
    for tell in session.on_connection:
        tell(True)


async def close_session(processor: Processor, request: Request) -> None:
    """CloseSession."""
    delete_subscriptions = request.reader().boolean()
    session = processor.session
    if session is None or session.closed:
        raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
    await session.close_session(delete_subscriptions)
    processor.respond(request, 476)


def cancel(processor: Processor, request: Request) -> None:
    """Cancel: nothing that waits can be called back; publish requests end with their session."""
    session_audit.cancelled(processor, request.reader().u32())
    processor.respond(request, 482, pack_u32(0))


async def get_endpoints(processor: Processor, request: Request) -> None:
    """GetEndpoints."""
    parameters = request.decode(ua.GetEndpointsParameters)
    response = ua.GetEndpointsResponse()
    response.Endpoints = await processor.iserver.get_endpoints(parameters, sockname=processor.sockname)
    if parameters.ProfileUris:
        response.Endpoints = [each for each in response.Endpoints if each.TransportProfileUri in parameters.ProfileUris]
    processor.respond_object(request, response)


def find_servers(processor: Processor, request: Request) -> None:
    """FindServers: this one."""
    parameters = request.decode(ua.FindServersParameters)
    response = ua.FindServersResponse()
    response.Servers = processor.iserver.find_servers(parameters, sockname=processor.sockname)
    processor.respond_object(request, response)


RAW_HANDLERS: dict[int, Handler] = {
    422: find_servers,
    428: get_endpoints,
    461: create_session,
    467: activate_session,
    473: close_session,
    479: cancel,
}
"""Request type id -> handler."""
