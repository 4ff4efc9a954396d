"""Certificates for tests: authorities, applications, users, revocation lists, each as wrong as it is asked to be."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
DER = serialization.Encoding.DER


@cache
def _key(_name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def key(name: str = "peer", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of this name, made once: keys take long."""
    return _key(name, bits)


@dataclass(frozen=True)
class Pair:
    """A certificate, its key and the application URI in it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    uri: str = ""

    @property
    def der(self) -> bytes:
        """DER of the certificate."""
        return self.certificate.public_bytes(DER)

    def save(self, folder: Path, name: str = "peer", chain: Iterable[Pair] = ()) -> dict[str, str]:
        """Files for the node client: certificate (with the chain) and key, PEM; and the URI."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, secret = folder / f"{name}.pem", folder / f"{name}.key.pem"
        pem = serialization.Encoding.PEM
        certificate.write_bytes(b"".join(each.certificate.public_bytes(pem) for each in (self, *chain)))
        secret.write_bytes(self.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        (folder / f"{name}.der").write_bytes(self.der)
        return {"certificate": str(certificate), "key": str(secret), "uri": self.uri}

    def save_user(self, folder: Path, name: str) -> dict[str, str]:
        """Files for the node client's X.509 user token: certificate in DER, key in PEM."""
        files = self.save(folder, name)
        return {"certificate": str(folder / f"{name}.der"), "key": files["key"]}


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: str, public: Any, days: tuple[float, float]) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    first = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names = (*first, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})


def authority(
    name: str = "authority",
    *,
    issuer: Pair | None = None,
    days: tuple[float, float] = (-1, 30),
    path_length: int | None = None,
) -> Pair:
    """A certificate authority, self-signed or below another."""
    own = key(name)
    issuing = issuer.certificate.subject.rfc4514_string()[3:] if issuer is not None else name
    builder = (
        _builder(name, issuing, own.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True, digital_signature=True), critical=True)
    )
    return Pair(builder.sign(issuer.key if issuer is not None else own, hashes.SHA256()), own)


def application(
    name: str = "peer",
    *,
    issuer: Pair | None = None,
    days: tuple[float, float] = (-1, 30),
    uri: str | None = None,
    bits: int = 2048,
    usage: bool = True,
    client: bool = True,
    digest: hashes.HashAlgorithm | None = None,
    names: bytes | None = None,
) -> Pair:
    """An application instance certificate; `names` is a SubjectAlternativeName of the test's own making."""
    own = key(name, bits)
    told = f"urn:example.org:{name}" if uri is None else uri
    issuing = issuer.certificate.subject.rfc4514_string()[3:] if issuer is not None else name
    wanted = {
        "digital_signature": True,
        "content_commitment": True,
        "key_encipherment": True,
        "data_encipherment": True,
    }
    builder = (
        _builder(name, issuing, own.public_key(), days)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(told), x509.DNSName("localhost")])
            if names is None
            else x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, names),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(**(wanted if usage else {"key_agreement": True})), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
    )
    return Pair(builder.sign(issuer.key if issuer is not None else own, digest or hashes.SHA256()), own, told)


def revocations(issuer: Pair, *revoked: Pair, days: tuple[float, float] = (-1, 30)) -> x509.CertificateRevocationList:
    """A revocation list of an authority."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now + days[0] * DAY)
        .next_update(now + days[1] * DAY)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY / 2).build())
    return builder.sign(issuer.key, hashes.SHA256())
