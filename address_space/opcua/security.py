"""Application certificate of the server, and secrets that clients send encrypted."""

from __future__ import annotations

import datetime
import hmac
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua.common.utils import ServiceError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from address_space.opcua.untyped import ua

_VALID_DAYS = 3650
_KEY_BITS = 2048
_OAEP = {
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep": hashes.SHA1,
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256": hashes.SHA256,
}


class CertificateError(RuntimeError):
    """The application certificate or its key cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ApplicationIdentity:
    """Certificate and private key of the server.

    Attributes:
        certificate_file: DER.
        key_file: PEM, mode 0600.
    """

    certificate_file: Path
    key_file: Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def load_or_make(directory: Path, application_uri: str, name: str, hosts: tuple[str, ...]) -> ApplicationIdentity:
    """The identity kept in `directory`, made (self-signed) when there is none yet.

    Raises:
        CertificateError: when it cannot be read, is expired, belongs to another application URI, or the key is open to
            other users of the machine.
    """
    certificate_file, key_file = directory / "own" / "certificate.der", directory / "own" / "private_key.pem"
    if not certificate_file.exists() and not key_file.exists():
        _make(certificate_file, key_file, application_uri, name, hosts)
    try:
        certificate = x509.load_der_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read the server's certificate and key: {error}") from error
    _check(certificate, key, key_file, application_uri)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - checked above
    return ApplicationIdentity(certificate_file, key_file, certificate, key)


def _check(certificate: x509.Certificate, key: Any, key_file: Path, application_uri: str) -> None:
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(f"{key_file} is not the key of the certificate beside it")
    if key_file.stat().st_mode & 0o077:
        raise CertificateError(f"{key_file} can be read by other users; make its mode 0600")
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise CertificateError("the server's certificate has expired; remove it and its key to have new ones made")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if application_uri not in names.get_values_for_type(x509.UniformResourceIdentifier):
        raise CertificateError(
            f"the server's certificate is not for {application_uri}; remove it and its key to have new ones made"
        )


def _make(certificate_file: Path, key_file: Path, application_uri: str, name: str, hosts: tuple[str, ...]) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name[:64]), x509.NameAttribute(NameOID.ORGANIZATION_NAME, name[:64])]
    )
    now = datetime.datetime.now(datetime.UTC)
    public = key.public_key()
    alternative: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri)]
    for host in dict.fromkeys((*hosts, socket.gethostname(), "localhost", "127.0.0.1")):
        try:
            alternative.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            alternative.append(x509.DNSName(host))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Never readable by others, not even for a moment: the mode is given when the file is made.
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.DER))


def decrypt_secret(key: Any, algorithm: str, secret: bytes, nonce: bytes) -> bytes:
    """The password of an encrypted UserNameIdentityToken; RSA-OAEP only, the nonce must be the session's.

    Raises:
        ServiceError: BadIdentityTokenInvalid, BadIdentityTokenRejected for other algorithms.
    """
    digest = _OAEP.get(algorithm)
    if digest is None or not isinstance(key, rsa.RSAPrivateKey):
        raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected)
    scheme = padding.OAEP(mgf=padding.MGF1(algorithm=digest()), algorithm=digest(), label=None)
    size = key.key_size // 8
    if not secret or len(secret) % size or len(secret) > 16 * size:
        raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid)
    try:
        plain = b"".join(key.decrypt(secret[start : start + size], scheme) for start in range(0, len(secret), size))
    except ValueError as error:
        raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid) from error
    if len(plain) < 4 + len(nonce):
        raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid)
    length = struct.unpack_from("<I", plain)[0]
    payload = plain[4 : 4 + length]
    if length != len(payload) or not hmac.compare_digest(payload[-len(nonce) :], nonce):
        raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid)
    return payload[: -len(nonce)]


def same_certificate(sent: bytes | None, of_channel: bytes | None) -> bool:
    """Whether a certificate (or chain) sent in a service is the one of the channel."""
    if not sent or not of_channel:
        return False
    return sent.startswith(of_channel) or of_channel.startswith(sent)
