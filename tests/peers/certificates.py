"""Certificates for tests: an authority, what it signs, what it revokes."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files `<name>.pem` and `<name>.key` of a folder."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path

    @property
    def key_file(self) -> Path:
        """File of the key, without a password."""
        return self.file.with_suffix(".key")


def certificate(
    folder: Path, name: str, issuer: Pair | None = None, *, days: float = 100.0, host: str = "127.0.0.1"
) -> Pair:
    """A certificate of a name, valid since two hours and for `days` more; an authority without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer.key
    try:
        san: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        san = x509.DNSName(host)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=max(0.1, -2 * days)))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([san]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is None:
        uses = {use: use in {"key_cert_sign", "crl_sign"} for use in _USES}
        builder = builder.add_extension(x509.KeyUsage(**uses), critical=True)
    made = builder.sign(signer, hashes.SHA256())
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(_PEM))
    none = serialization.NoEncryption()
    file.with_suffix(".key").write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, none))
    return Pair(key, made, file)


def protected_key(pair: Pair, password: bytes) -> Path:
    """The key of a pair in a file with a password."""
    file = pair.file.with_suffix(".protected.key")
    kind = serialization.BestAvailableEncryption(password)
    file.write_bytes(pair.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, kind))
    return file


def revocations(authority: Pair, *revoked: Pair) -> Path:
    """The authority's revocation list."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(now + datetime.timedelta(days=1))
    )
    for pair in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(pair.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - datetime.timedelta(minutes=1)).build())
    file = authority.file.with_suffix(".crl")
    file.write_bytes(builder.sign(authority.key, hashes.SHA256()).public_bytes(_PEM))
    return file
