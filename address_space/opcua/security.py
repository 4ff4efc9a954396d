"""Application certificate of the server, and secrets that clients send encrypted."""

from __future__ import annotations

import datetime
import hmac
import ipaddress
import shutil
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

from address_space.opcua.settings import ServerSettings
from address_space.opcua.trust_check import application_uris, split_chain, to_der
from address_space.opcua.untyped import ua
from address_space.whole_files import sync_directory, write_whole

_VALID_DAYS = 3650
_CERTIFICATE, _KEY, _ISSUERS = "certificate.der", "private_key.pem", "issuers.der"
_COMING, _COMPLETE = "next.part", "next"
"""Folders of an identity on its way to `own`: while it is written, and when all of it is there."""
_PEM = b"-----BEGIN"
"""What a file holds says what it is, not its name."""
LEAST_KEY_BITS = 2048
KEY_BITS = (2048, 3072, 4096)
"""Sizes of keys that all offered security policies take."""
_USAGE = x509.KeyUsage(
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
_EXTENDED_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
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
        issuers: certificates of the authorities up to the root, for certificates of an authority.
    """

    certificate_file: Path
    key_file: Path
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def days_left(self) -> float:
        """Days until the certificate expires."""
        return (self.certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).total_seconds() / 86_400


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate says of the application: ApplicationUri, name, and host names or addresses."""

    application_uri: str
    name: str
    hosts: tuple[str, ...] = ()

    def alternative(self) -> x509.SubjectAlternativeName:
        """SubjectAlternativeName: the URI, the hosts given, and those of this machine."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(self.application_uri)]
        for host in dict.fromkeys((*self.hosts, socket.gethostname(), "localhost", "127.0.0.1")):
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                names.append(x509.DNSName(host))
                continue
            if not address.is_unspecified:
                names.append(x509.IPAddress(address))
        return x509.SubjectAlternativeName(names)

    def subject(self) -> x509.Name:
        """Common name and organisation."""
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, self.name[:64]),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.name[:64]),
            ]
        )


def names_of(settings: ServerSettings) -> Names:
    """What the certificate of a server with these settings says; its URI is made from the host name unless given."""
    uri = settings.application_uri or f"urn:{socket.gethostname()}:{settings.product_name}"
    return Names(uri, settings.product_name, (settings.host, *settings.host_names))


def load_or_make(
    directory: Path, application_uri: str, name: str, hosts: tuple[str, ...], key_bits: int = LEAST_KEY_BITS
) -> ApplicationIdentity:
    """The identity kept in `directory`, made (self-signed) when there is none yet.

    Raises:
        CertificateError: when it cannot be read, is expired, belongs to another application URI, or the key is open to
            other users of the machine.
    """
    certificate_file, key_file = _files(directory)
    _settle(directory)
    if not certificate_file.exists() and not key_file.exists():
        made = make_key(key_bits)
        install(directory, self_signed(made, Names(application_uri, name, hosts)), made)
    try:
        certificate = _certificates(certificate_file)[0]
        issuers_file = directory / "own" / _ISSUERS
        issuers = tuple(_certificates(issuers_file)) if issuers_file.exists() else ()
    except (OSError, ValueError) as error:
        raise CertificateError(f"cannot read the server's certificate and key: {error}") from error
    key = _key_of(directory)
    _check(certificate, key, key_file, application_uri)
    return ApplicationIdentity(certificate_file, key_file, certificate, key, issuers)


def renew(directory: Path, names: Names, *, new_key: bool = False, key_bits: int = LEAST_KEY_BITS) -> x509.Certificate:
    """Make a new self-signed certificate; the former one and its key are kept in `own/former`.

    Raises:
        CertificateError: when there is no usable key and none is to be made.
        OSError: when it cannot be written.
    """
    _settle(directory)
    key = make_key(key_bits) if new_key else _key_of(directory)
    certificate = self_signed(key, names)
    install(directory, certificate, key)
    return certificate


def _certificates(file: Path) -> list[x509.Certificate]:
    octets = file.read_bytes()
    return x509.load_pem_x509_certificates(octets) if _PEM in octets else split_chain(octets)


def _key_of(directory: Path) -> rsa.RSAPrivateKey:
    try:
        octets = _files(directory)[1].read_bytes()
        load = serialization.load_pem_private_key if _PEM in octets else serialization.load_der_private_key
        key = load(octets, None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"cannot read the server's certificate and key: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateError("the server's key is not RSA")
    return key


def make_key(bits: int) -> rsa.RSAPrivateKey:
    """A new RSA key.

    Raises:
        CertificateError: when the security policies do not take keys of this size.
    """
    if bits not in KEY_BITS:
        raise CertificateError(f"keys have {', '.join(map(str, KEY_BITS))} bits, not {bits}")
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def self_signed(key: rsa.RSAPrivateKey, names: Names, days: int = _VALID_DAYS) -> x509.Certificate:
    """A self-signed application instance certificate (Part 6, 6.2.2)."""
    now = datetime.datetime.now(datetime.UTC)
    public, subject = key.public_key(), names.subject()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(names.alternative(), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(_EXTENDED_USAGE, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def signing_request(key: rsa.RSAPrivateKey, names: Names, subject: x509.Name | None = None) -> bytes:
    """A PKCS #10 request (DER) for an application instance certificate."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject or names.subject())
        .add_extension(names.alternative(), critical=False)
        .add_extension(_USAGE, critical=True)
        .add_extension(_EXTENDED_USAGE, critical=False)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.DER)


def install(
    directory: Path,
    certificate: x509.Certificate,
    key: rsa.RSAPrivateKey,
    issuers: tuple[x509.Certificate, ...] = (),
) -> None:
    """Write the identity: whole or not at all, also when the machine stops meanwhile. The former is in `own/former`.

    Raises:
        OSError: when it cannot be written.
    """
    own = directory / "own"
    # One by one: folders on the way to a wanted one would be open to everybody.
    for folder in (directory, own):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _settle(directory)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(own / _COMING / _KEY, secret)
    write_whole(own / _COMING / _CERTIFICATE, to_der(certificate))
    if issuers:
        write_whole(own / _COMING / _ISSUERS, b"".join(to_der(each) for each in issuers))
    if all((own / name).exists() for name in (_CERTIFICATE, _KEY)):
        for name in (_CERTIFICATE, _KEY):
            write_whole(own / "former" / name, (own / name).read_bytes())
    # From here on the new identity counts: what is left to do is done at the next start if need be.
    (own / _COMING).rename(own / _COMPLETE)
    sync_directory(own)
    _settle(directory)


def _settle(directory: Path) -> None:
    """Bring a complete identity in its place, and take away one that never got complete."""
    own = directory / "own"
    complete, coming = own / _COMPLETE, own / _COMING
    if coming.exists():
        shutil.rmtree(coming)
    if complete.exists():
        for name in (_KEY, _CERTIFICATE, _ISSUERS):
            if (complete / name).exists():
                write_whole(own / name, (complete / name).read_bytes())
            else:
                (own / name).unlink(missing_ok=True)
        complete.rename(coming)
        shutil.rmtree(coming)


def _files(directory: Path) -> tuple[Path, Path]:
    return directory / "own" / _CERTIFICATE, directory / "own" / _KEY


def _check(certificate: x509.Certificate, key: rsa.RSAPrivateKey, key_file: Path, application_uri: str) -> None:
    again = "make a new one with: twin-gateway trust renew"
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{key_file} is not the key of the certificate beside it")
    if key_file.stat().st_mode & 0o077:
        raise CertificateError(f"{key_file} can be read by other users; make its mode 0600")
    if certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise CertificateError(f"the server's certificate has expired; {again}")
    if application_uri not in application_uris(certificate):
        former = ", ".join(application_uris(certificate)) or "no application"
        text = f"the server's certificate is not for {application_uri} but for {former}"
        raise CertificateError(f"{text}: keep it with opcua.application_uri, or {again}")


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
    """Whether a certificate sent in a service, or the first of a chain, is the one of the channel."""
    if not sent or not of_channel:
        return False
    return sent.startswith(of_channel)
