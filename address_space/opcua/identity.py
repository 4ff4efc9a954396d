"""Who a client is: user identity tokens of all kinds proved against the channel, then shown to the access policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua.common.utils import ServiceError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from address_space.opcua.endpoints import POLICY_OF_URI, token_policy_uri
from address_space.opcua.security import decrypt_secret
from address_space.opcua.trust_check import policy_problem, split_chain, thumbprint, to_der
from address_space.opcua.trust_store import common_name
from address_space.opcua.untyped import ua
from address_space.ports import Caller

if TYPE_CHECKING:
    from address_space.opcua.processor import Processor
    from address_space.opcua.session import Session

_PSS = "http://opcfoundation.org/UA/SecurityPolicy#Aes256_Sha256_RsaPss"
_codes = ua.StatusCodes


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a client says it is, before that is proved.

    Attributes:
        kind: `anonymous`, `username`, `certificate`, or `other`.
        user: name, or the common name of the certificate with its thumbprint; empty for anonymous.
    """

    kind: str
    user: str = ""


def claim(token: Any) -> Claim:
    """What a UserIdentityToken claims; for the audit, also when it is refused."""
    if isinstance(token, ua.UserNameIdentityToken):
        return Claim("username", (token.UserName or "")[:128])
    if isinstance(token, ua.X509IdentityToken):
        try:
            certificate = split_chain(token.CertificateData or b"")[0]
            return Claim("certificate", f"{common_name(certificate)[:64]} [{thumbprint(certificate)}]")
        except ValueError:
            return Claim("certificate", "an unreadable certificate")
    return Claim("anonymous" if _is_anonymous(token) else "other")


def _is_anonymous(token: Any) -> bool:
    null = isinstance(token, ua.ExtensionObject) and token.TypeId == ua.NodeId(ua.ObjectIds.Null)
    return token is None or null or isinstance(token, ua.AnonymousIdentityToken)


async def authenticate(processor: Processor, session: Session, token: Any, signature: Any, host: str) -> Caller | None:
    """The caller that a token proves; None when the access policy does not know it.

    Raises:
        ServiceError: BadIdentityTokenInvalid, BadIdentityTokenRejected, BadUserSignatureInvalid.
    """
    server = processor.iserver
    policy = server.ports.policy
    if _is_anonymous(token):
        if policy is None:
            return Caller("", frozenset()) if processor.local else None
        return policy.anonymous(host)
    if policy is None:
        raise ServiceError(_codes.BadIdentityTokenRejected)
    if isinstance(token, ua.UserNameIdentityToken):
        password = _password(processor, session, token)
        async with server.authentications:
            return await policy.authenticate(token.UserName or "", password, host)
    if isinstance(token, ua.X509IdentityToken):
        certificate = _certificate(processor, session, token, signature)
        async with server.authentications:
            return await policy.authenticate_certificate(certificate, host)
    raise ServiceError(_codes.BadIdentityTokenRejected)


def _password(processor: Processor, session: Session, token: Any) -> str:
    secret = token.Password or b""
    octets = secret.encode() if isinstance(secret, str) else bytes(secret)
    if token.EncryptionAlgorithm:
        key = processor.iserver.private_key
        if key is None or session.nonce is None:
            raise ServiceError(_codes.BadIdentityTokenRejected)
        octets = decrypt_secret(key, token.EncryptionAlgorithm, octets, session.nonce)
    elif not (processor.encrypted or processor.local):
        # In clear over a channel that does not encrypt: refused, whatever the password is.
        raise ServiceError(_codes.BadIdentityTokenRejected)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ServiceError(_codes.BadIdentityTokenInvalid) from error


def _certificate(processor: Processor, session: Session, token: Any, signature: Any) -> bytes:
    """The user's certificate once the client has proved to hold its key, and nothing speaks against it."""
    server = processor.iserver
    der = bytes(token.CertificateData or b"")
    try:
        certificate = split_chain(der)[0]
    except ValueError as error:
        raise ServiceError(_codes.BadIdentityTokenInvalid) from error
    uri = token_policy_uri(token.PolicyId or "", processor.security[0])
    if not proves(certificate, uri, (server.certificate_der or b"") + (session.nonce or b""), signature):
        raise ServiceError(_codes.BadUserSignatureInvalid)
    # Time, key and revocation; that it belongs to a user is for the access policy to say.
    if server.user_trust.check(der, client=processor.peer, user=claim(token).user):
        raise ServiceError(_codes.BadIdentityTokenRejected)
    return to_der(certificate)


def proves(certificate: x509.Certificate, policy_uri: str, signed: bytes, signature: Any) -> bool:
    """Whether a SignatureData over `signed` was made with the certificate's key by the algorithm of the policy."""
    policy = POLICY_OF_URI.get(policy_uri)
    octets = bytes(signature.Signature or b"") if signature is not None else b""
    if policy is None or policy_problem(certificate) or not octets:
        return False
    if signature.Algorithm and signature.Algorithm != policy.AsymmetricSignatureURI:
        return False
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if policy_uri == _PSS:
        scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)  # noqa: S101 - the policies take no other
    try:
        key.verify(octets, signed, scheme, hashes.SHA256())
    except InvalidSignature:
        return False
    return True
