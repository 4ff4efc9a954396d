"""Certificate management by a GDS (Part 12, 7.10, push): the ServerConfiguration object for SecurityAdmins."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from address_space.opcua.auditing import AuditEvent
from address_space.opcua.endpoints import offer
from address_space.opcua.push_files import ACTIVITY_SECONDS, TrustListFile, trust_list_size
from address_space.opcua.security import ApplicationIdentity, install, make_key, names_of, signing_request
from address_space.opcua.security_audit import CERTIFICATE_UPDATED, TRUST_LIST_UPDATED, severity
from address_space.opcua.standard_methods import Results, StandardMethod
from address_space.opcua.trust import end_untrusted
from address_space.opcua.trust_check import application_uris, policy_problem, signed_by, thumbprint, to_der
from address_space.opcua.trust_store import read_certificate
from address_space.opcua.untyped import ua
from address_space.ports import Argument, MethodSpec, Right

if TYPE_CHECKING:
    from address_space.opcua.server import InternalServer
    from address_space.opcua.session import Session

_log = logging.getLogger(__name__)
_codes, _ID = ua.StatusCodes, ua.ObjectIds
_BOOLEAN, _BYTE, _INT32, _UINT32, _UINT64, _STRING, _OCTETS, _NODE_ID = 1, 3, 6, 7, 9, 12, 15, 17
_GROUP = _ID.ServerConfiguration_CertificateGroups_DefaultApplicationGroup
_LIST = _ID.ServerConfiguration_CertificateGroups_DefaultApplicationGroup_TrustList
_TYPE = _ID.RsaSha256ApplicationCertificateType
_KEY_FORMATS = ("PEM", "PFX")
_Run = Callable[..., Awaitable[Results]]
_CLOSE_AFTER_S = 0.5
"""So that the answer to ApplyChanges goes out before the channels that have the former certificate end."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A certificate that waits for ApplyChanges."""

    session: Session
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    issuers: tuple[x509.Certificate, ...]


class Push:
    """What the methods of ServerConfiguration do."""

    def __init__(self, server: InternalServer) -> None:
        self._server = server
        self._pending: _Pending | None = None
        self._requested: tuple[Session, rsa.RSAPrivateKey] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._known: WeakSet[Session] = WeakSet()
        self.file = TrustListFile(
            server.trust.store,
            server.limits.max_trust_list,
            self._trust_list_changed,
            partial(_count_open, server),
        )

    async def run(self, method: _Run, session: Session, arguments: Sequence[Any]) -> Results:
        """Call a method; it goes on to its end and its audit, also when the client is gone."""
        return await asyncio.shield(self._server.keep(self._run(method, session, arguments)))

    async def _run(self, method: _Run, session: Session, arguments: Sequence[Any]) -> Results:
        if session not in self._known:
            self._known.add(session)
            session.on_close.append(lambda _: self._forget(session))
        async with self._one_at_a_time:
            try:
                return await method(session, *(each.Value for each in arguments))
            finally:
                if session.closed:
                    self._forget(session)

    def _forget(self, session: Session) -> None:
        """Files, keys and a certificate that wait end with their session."""
        self.file.forget(session)
        if self._pending is not None and self._pending.session is session:
            self._pending = None
        if self._requested is not None and self._requested[0] is session:
            self._requested = None

    # ---- certificates ----------------------------------------------------------------------------------------------

    async def rejected(self, _session: Session) -> Results:
        """GetRejectedList."""
        contents = await asyncio.to_thread(self._server.trust.store.read)
        found = [to_der(each.certificate) for each in contents.of("rejected")]
        return 0, (ua.Variant(found, ua.VariantType.ByteString, is_array=True),)

    async def certificates(self, _session: Session, group: Any) -> Results:
        """GetCertificates of the one group."""
        if not _is(group, _GROUP, nothing=False):
            return int(_codes.BadInvalidArgument), ()
        types = ua.Variant([ua.NodeId(_TYPE)], ua.VariantType.NodeId, is_array=True)
        return 0, (types, ua.Variant([self._server.certificate_der], ua.VariantType.ByteString, is_array=True))

    async def signing_request(self, session: Session, *arguments: Any) -> Results:
        """CreateSigningRequest: with the present key, or a new one that UpdateCertificate then expects."""
        group, kind, subject, new_key, nonce = arguments
        if not (_is(group, _GROUP) and _is(kind, _TYPE)) or (new_key and len(nonce or b"") < 32):
            return int(_codes.BadInvalidArgument), ()
        try:
            name = x509.Name.from_rfc4514_string(subject) if subject else None
        except ValueError:
            return int(_codes.BadInvalidArgument), ()
        server = self._server
        key = server.private_key
        if new_key:
            key = await asyncio.to_thread(make_key, server.settings.key_bits)
            self._requested = (session, key)
        request = await asyncio.to_thread(signing_request, key, names_of(server.settings), name)
        return 0, (ua.Variant(request, ua.VariantType.ByteString),)

    async def update(self, session: Session, *arguments: Any) -> Results:
        """UpdateCertificate: keeps the certificate for ApplyChanges, when it is one for this server."""
        group, kind, certificate, issuers, key_format, private_key = arguments
        if not (_is(group, _GROUP) and _is(kind, _TYPE)):
            return int(_codes.BadInvalidArgument), ()
        if self._pending is not None and self._pending.session is not session:
            return int(_codes.BadTransactionPending), ()
        if private_key and key_format not in _KEY_FORMATS:
            return int(_codes.BadNotSupported), ()
        try:
            made = read_certificate(certificate or b"")
            chain = tuple(read_certificate(each) for each in issuers or ())
        except (ValueError, UnsupportedAlgorithm):
            return int(_codes.BadCertificateInvalid), ()
        now = datetime.datetime.now(datetime.UTC)
        if (
            policy_problem(made)
            or self._server.application.uri not in application_uris(made)
            or not made.not_valid_before_utc <= now <= made.not_valid_after_utc
        ):
            return int(_codes.BadCertificateInvalid), ()
        key = await asyncio.to_thread(self._key_of, session, made, key_format or "", private_key)
        if key is None or not _chained(made, chain):
            return int(_codes.BadSecurityChecksFailed), ()
        self._pending = _Pending(session, made, key, chain)
        return 0, (ua.Variant(True, ua.VariantType.Boolean),)

    def _key_of(
        self, session: Session, certificate: x509.Certificate, key_format: str, private_key: bytes | None
    ) -> rsa.RSAPrivateKey | None:
        """The key of the certificate: sent with it, made for the signing request, or the present one."""
        candidates: list[Any] = []
        if private_key:
            try:
                if key_format == "PEM":
                    candidates.append(serialization.load_pem_private_key(private_key, None))
                else:
                    candidates.append(pkcs12.load_key_and_certificates(private_key, None)[0])
            except (ValueError, TypeError, UnsupportedAlgorithm):
                return None
        else:
            if self._requested is not None and self._requested[0] is session:
                candidates.append(self._requested[1])
            candidates.append(self._server.private_key)
        for key in candidates:
            if isinstance(key, rsa.RSAPrivateKey) and key.public_key() == certificate.public_key():
                return key
        return None

    async def apply(self, session: Session) -> Results:
        """ApplyChanges: the waiting certificate counts from now on; channels with the former one end."""
        pending = self._pending
        if pending is None or pending.session is not session:
            return int(_codes.BadNothingToDo), ()
        server = self._server
        pki = server.settings.pki_directory
        try:
            await asyncio.to_thread(install, pki, pending.certificate, pending.key, pending.issuers)
        except OSError as error:
            _log.error("the certificate cannot be written, the former one stays: %s", error)
            return int(_codes.BadResourceUnavailable), ()
        self._pending = self._requested = None
        former = server.identity
        assert former is not None  # noqa: S101 - the server serves, so it has one
        identity: ApplicationIdentity = replace(
            former, certificate=pending.certificate, key=pending.key, issuers=pending.issuers
        )
        offer(server, identity)
        await self._audit(
            session,
            CERTIFICATE_UPDATED,
            f"the server's certificate is {thumbprint(pending.certificate)}",
            "certificate.updated",
            {"CertificateGroup": (_NODE_ID, ua.NodeId(_GROUP)), "CertificateType": (_NODE_ID, ua.NodeId(_TYPE))},
        )
        asyncio.get_running_loop().call_later(_CLOSE_AFTER_S, self._close_secured)
        return 0, ()

    def _close_secured(self) -> None:
        for session in self._server.sessions:
            processor = session.processor
            # A client that was quick has the new certificate already.
            secured = session.client_certificate is not None
            if processor is not None and secured and processor.crypto.host_certificate != self._server.certificate_der:
                processor.transport.close()

    async def cancel(self, session: Session) -> Results:
        """CancelChanges."""
        if self._pending is None or self._pending.session is not session:
            return int(_codes.BadNothingToDo), ()
        self._pending = self._requested = None
        return 0, ()

    # ---- what follows ----------------------------------------------------------------------------------------------

    async def _trust_list_changed(self, session: Session, text: str) -> None:
        await self._audit(
            session,
            TRUST_LIST_UPDATED,
            text,
            "trust_list.updated",
            {"TrustListId": (_NODE_ID, ua.NodeId(_LIST))},
        )
        await fill_properties(self._server)
        asyncio.get_running_loop().call_later(_CLOSE_AFTER_S, end_untrusted, self._server)

    async def _audit(
        self, session: Session, event_type: int, text: str, kind: str, fields: dict[str, tuple[int, Any]]
    ) -> None:
        caller = session.caller
        _log.info("%s (%s)", text, caller.user if caller is not None else "")
        event = AuditEvent(
            event_type,
            "Method/ServerConfiguration",
            text,
            user=caller.user if caller is not None else "",
            client=caller.client if caller is not None else "",
            severity=severity(0),
            fields=fields,
        )
        await self._server.security_audit.record(event, kind)


def _is(node_id: Any, number: int, *, nothing: bool = True) -> bool:
    return bool(node_id == ua.NodeId(number) or (nothing and node_id == ua.NodeId()))


def _chained(certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> bool:
    """Whether the issuers sent lead from the certificate upwards; one that is self-signed needs none."""
    if certificate.subject == certificate.issuer:
        return signed_by(certificate, certificate)
    below = certificate
    for issuer in issuers:
        if not signed_by(below, issuer):
            return False
        below = issuer
    return True


# ---- registration ----------------------------------------------------------------------------------------------------

_FILE_HANDLE = Argument("FileHandle", _UINT32)
_GROUP_TYPE = (Argument("CertificateGroupId", _NODE_ID), Argument("CertificateTypeId", _NODE_ID))


def register(server: InternalServer) -> Push:
    """Offer the methods; all for SecurityAdmins on channels that encrypt."""
    push = Push(server)
    file = push.file
    lists = "ServerConfiguration_CertificateGroups_DefaultApplicationGroup_TrustList_"
    trusted = Argument("IsTrustedCertificate", _BOOLEAN)
    methods: list[tuple[int, str, str, tuple[Argument, ...], tuple[Argument, ...], _Run]] = [
        (_LIST, "Open", "FileType_", (Argument("Mode", _BYTE),), (_FILE_HANDLE,), file.open),
        (_LIST, "OpenWithMasks", "TrustListType_", (Argument("Masks", _UINT32),), (_FILE_HANDLE,), _masked(file)),
        (
            _LIST,
            "Read",
            "FileType_",
            (_FILE_HANDLE, Argument("Length", _INT32)),
            (Argument("Data", _OCTETS),),
            file.read,
        ),
        (_LIST, "Write", "FileType_", (_FILE_HANDLE, Argument("Data", _OCTETS)), (), file.write),
        (_LIST, "Close", "FileType_", (_FILE_HANDLE,), (), file.close),
        (_LIST, "GetPosition", "FileType_", (_FILE_HANDLE,), (Argument("Position", _UINT64),), file.position),
        (_LIST, "SetPosition", "FileType_", (_FILE_HANDLE, Argument("Position", _UINT64)), (), file.position),
        (
            _LIST,
            "CloseAndUpdate",
            "TrustListType_",
            (_FILE_HANDLE,),
            (Argument("ApplyChangesRequired", _BOOLEAN),),
            file.close_and_update,
        ),
        (_LIST, "AddCertificate", "TrustListType_", (Argument("Certificate", _OCTETS), trusted), (), file.add),
        (_LIST, "RemoveCertificate", "TrustListType_", (Argument("Thumbprint", _STRING), trusted), (), file.remove),
        (
            _ID.ServerConfiguration,
            "GetRejectedList",
            "ServerConfigurationType_",
            (),
            (Argument("Certificates", _OCTETS, is_list=True),),
            push.rejected,
        ),
        (
            _ID.ServerConfiguration,
            "GetCertificates",
            "ServerConfigurationType_",
            _GROUP_TYPE[:1],
            (Argument("CertificateTypeIds", _NODE_ID, is_list=True), Argument("Certificates", _OCTETS, is_list=True)),
            push.certificates,
        ),
        (
            _ID.ServerConfiguration,
            "CreateSigningRequest",
            "ServerConfigurationType_",
            (
                *_GROUP_TYPE,
                Argument("SubjectName", _STRING),
                Argument("RegeneratePrivateKey", _BOOLEAN),
                Argument("Nonce", _OCTETS),
            ),
            (Argument("CertificateRequest", _OCTETS),),
            push.signing_request,
        ),
        (
            _ID.ServerConfiguration,
            "UpdateCertificate",
            "ServerConfigurationType_",
            (
                *_GROUP_TYPE,
                Argument("Certificate", _OCTETS),
                Argument("IssuerCertificates", _OCTETS, is_list=True),
                Argument("PrivateKeyFormat", _STRING),
                Argument("PrivateKey", _OCTETS),
            ),
            (Argument("ApplyChangesRequired", _BOOLEAN),),
            push.update,
        ),
        (_ID.ServerConfiguration, "ApplyChanges", "ServerConfigurationType_", (), (), push.apply),
        (_ID.ServerConfiguration, "CancelChanges", "ServerConfigurationType_", (), (), push.cancel),
    ]
    for target, name, declared, inputs, outputs, run in methods:
        prefix = lists if target == _LIST else "ServerConfiguration_"
        numbers = frozenset((getattr(_ID, prefix + name), getattr(_ID, declared + name)))
        server.standard_methods.register(
            StandardMethod(
                MethodSpec("", name, inputs, outputs, Right.ADMINISTER),
                frozenset((target,)),
                numbers,
                _calling(push, run),
                encrypted=True,
            )
        )
    return push


def _masked(file: TrustListFile) -> _Run:
    async def run(session: Session, masks: int) -> Results:
        return await file.open(session, 1, masks)

    return run


def _calling(push: Push, method: _Run) -> Callable[[InternalServer, Session, Sequence[Any]], Awaitable[Results]]:
    async def call(_server: InternalServer, session: Session, arguments: Sequence[Any]) -> Results:
        return await push.run(method, session, arguments)

    return call


async def fill_properties(server: InternalServer) -> None:
    """Values of the ServerConfiguration object, of its group and of its trust list.

    Raises:
        OSError: when the trust list cannot be read.
    """
    store = server.trust.store
    size = await asyncio.to_thread(trust_list_size, store)
    changed_at = await asyncio.to_thread(store.updated_at)
    application, types = server.application, ua.VariantType
    group = "ServerConfiguration_CertificateGroups_DefaultApplicationGroup_"
    updated = datetime.datetime.fromtimestamp(changed_at, datetime.UTC).replace(tzinfo=None)
    values: Sequence[tuple[str, Any, Any]] = (
        ("ServerConfiguration_ApplicationUri", application.uri, types.String),
        ("ServerConfiguration_ProductUri", application.product_uri, types.String),
        ("ServerConfiguration_ApplicationType", 0, types.Int32),
        ("ServerConfiguration_ApplicationNames", [ua.LocalizedText(application.name)], types.LocalizedText),
        ("ServerConfiguration_ServerCapabilities", ["NA"], types.String),
        ("ServerConfiguration_SupportedPrivateKeyFormats", list(_KEY_FORMATS), types.String),
        ("ServerConfiguration_MaxTrustListSize", server.limits.max_trust_list, types.UInt32),
        ("ServerConfiguration_MulticastDnsEnabled", False, types.Boolean),
        ("ServerConfiguration_HasSecureElement", False, types.Boolean),
        ("ServerConfiguration_InApplicationSetup", False, types.Boolean),
        (f"{group}CertificateTypes", [ua.NodeId(_TYPE)], types.NodeId),
        (f"{group}TrustList_Writable", True, types.Boolean),
        (f"{group}TrustList_UserWritable", True, types.Boolean),
        (f"{group}TrustList_ActivityTimeout", ACTIVITY_SECONDS * 1000, types.Double),
        (f"{group}TrustList_Size", size, types.UInt64),
        (f"{group}TrustList_LastUpdateTime", updated, types.DateTime),
    )
    for name, value, kind in values:
        _set(server, name, ua.Variant(value, kind, is_array=isinstance(value, list)))


def _set(server: InternalServer, name: str, variant: Any) -> None:
    node_id = ua.NodeId(getattr(_ID, name))
    if node_id in server.aspace:
        attribute = server.aspace[node_id].attributes[ua.AttributeIds.Value]
        now = datetime.datetime.now(datetime.UTC)
        attribute.value = ua.DataValue(variant, ua.StatusCode(0), SourceTimestamp=now)


def _count_open(server: InternalServer, count: int) -> None:
    name = "ServerConfiguration_CertificateGroups_DefaultApplicationGroup_TrustList_OpenCount"
    _set(server, name, ua.Variant(count, ua.VariantType.UInt16))
