"""Validation of certificates (Part 4, 6.1.3): a pure function of the certificates, the lists and the time."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

GOOD: Final = 0
INVALID: Final = 0x8012_0000
SECURITY_CHECKS_FAILED: Final = 0x8013_0000
TIME_INVALID: Final = 0x8014_0000
ISSUER_TIME_INVALID: Final = 0x8015_0000
URI_INVALID: Final = 0x8017_0000
USE_NOT_ALLOWED: Final = 0x8018_0000
ISSUER_USE_NOT_ALLOWED: Final = 0x8019_0000
UNTRUSTED: Final = 0x801A_0000
REVOCATION_UNKNOWN: Final = 0x801B_0000
ISSUER_REVOCATION_UNKNOWN: Final = 0x801C_0000
REVOKED: Final = 0x801D_0000
ISSUER_REVOKED: Final = 0x801E_0000
CHAIN_INCOMPLETE: Final = 0x810D_0000
POLICY_CHECK_FAILED: Final = 0x8114_0000

NAMES: Final = {
    GOOD: "Good",
    INVALID: "BadCertificateInvalid",
    SECURITY_CHECKS_FAILED: "BadSecurityChecksFailed",
    TIME_INVALID: "BadCertificateTimeInvalid",
    ISSUER_TIME_INVALID: "BadCertificateIssuerTimeInvalid",
    URI_INVALID: "BadCertificateUriInvalid",
    USE_NOT_ALLOWED: "BadCertificateUseNotAllowed",
    ISSUER_USE_NOT_ALLOWED: "BadCertificateIssuerUseNotAllowed",
    UNTRUSTED: "BadCertificateUntrusted",
    REVOCATION_UNKNOWN: "BadCertificateRevocationUnknown",
    ISSUER_REVOCATION_UNKNOWN: "BadCertificateIssuerRevocationUnknown",
    REVOKED: "BadCertificateRevoked",
    ISSUER_REVOKED: "BadCertificateIssuerRevoked",
    CHAIN_INCOMPLETE: "BadCertificateChainIncomplete",
    POLICY_CHECK_FAILED: "BadCertificatePolicyCheckFailed",
}
"""Symbolic names of the StatusCodes here."""
TOLD: Final = frozenset({TIME_INVALID, ISSUER_TIME_INVALID, USE_NOT_ALLOWED, ISSUER_USE_NOT_ALLOWED, URI_INVALID})
TOLD_OF_LEAF: Final = TOLD | {REVOCATION_UNKNOWN}
"""What a peer whose certificate is trusted so far learns; all else is BadSecurityChecksFailed on the wire."""

_UNKNOWN = frozenset({REVOCATION_UNKNOWN, ISSUER_REVOCATION_UNKNOWN})
LONGEST_CHAIN: Final = 8
ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512, hashes.SHA3_256, hashes.SHA3_384, hashes.SHA3_512)
_LEAST_BITS, _MOST_BITS = 2048, 4096
MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises on certificates that are none, or of a kind that it does not know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a validation.

    Attributes:
        status: 0, or the first check that failed in the order of Part 4, table 100.
        text: what it is about, for the audit and the log; never sent to the peer.
        subject: of the certificate that failed.
    """

    status: int
    text: str = ""
    subject: str = ""

    @property
    def name(self) -> str:
        """Symbolic name of the status."""
        return NAMES.get(self.status, hex(self.status))

    @property
    def told(self) -> int:
        """The StatusCode for the peer, which has not authenticated itself yet."""
        return self.status if self.status in TOLD_OF_LEAF or self.status == GOOD else SECURITY_CHECKS_FAILED


@dataclass(frozen=True, slots=True)
class TrustList:
    """What an administrator trusts.

    Attributes:
        trusted: certificates of applications and authorities that are trusted.
        issuers: certificates of authorities needed for chains, but not trusted by themselves.
        revocations: all revocation lists.
    """

    trusted: tuple[x509.Certificate, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()


def split_chain(der: bytes) -> list[x509.Certificate]:
    """The certificates of a DER certificate or chain (Part 6, 6.2.6): the leaf first.

    Raises:
        ValueError: when it is none, or longer than `LONGEST_CHAIN`.
    """
    chain: list[x509.Certificate] = []
    rest = der
    while rest:
        if len(chain) == LONGEST_CHAIN:
            raise ValueError(f"a chain of more than {LONGEST_CHAIN} certificates")
        size = _der_size(rest)
        try:
            chain.append(x509.load_der_x509_certificate(rest[:size]))
        except MALFORMED as error:
            raise ValueError(f"no certificate: {error}") from error
        rest = rest[size:]
    if not chain:
        raise ValueError("no certificate")
    return chain


def _der_size(data: bytes) -> int:
    if len(data) < 4 or data[0] != 0x30:
        raise ValueError("no DER sequence")
    length = data[1]
    if length < 0x80:
        return 2 + length
    count = length & 0x7F
    size = 2 + count + int.from_bytes(data[2 : 2 + count], "big")
    if not 1 <= count <= 3 or size > len(data):
        raise ValueError("a DER sequence that does not end")
    return size


def validate(
    chain: Sequence[x509.Certificate],
    lists: TrustList,
    now: datetime.datetime,
    *,
    trust_any: bool = False,
    application: bool = True,
) -> Finding:
    """Check a certificate and what it hangs on, in the order of Part 4.

    Args:
        chain: as the peer sent it, its own certificate first.
        lists: what is trusted.
        now: with time zone.
        trust_any: certificates that are in no list pass too; all other checks stand.
        application: an application instance certificate, whose uses are checked; not so of users.
    """
    leaf = chain[0]
    try:
        path, complete = _path(leaf, chain[1:], lists)
        trusted = any(each in lists.trusted for each in path)
        if not complete and not (trust_any and not trusted):
            text = f"the issuer {path[-1].issuer.rfc4514_string()} is not known"
            return Finding(CHAIN_INCOMPLETE, text, _subject(leaf))
        finding = _signatures(path) or _policies(path)
        if finding is None and not trusted and not trust_any:
            finding = Finding(UNTRUSTED, "in no trust list", _subject(leaf))
        finding = finding or _times(path, now) or (_uses(path) if application else None)
        if finding is None and complete:
            finding = _revocations(path, lists, now)
            if finding is not None and trust_any and not trusted and finding.status in _UNKNOWN:
                finding = None
    except MALFORMED as error:
        return Finding(INVALID, f"malformed: {error}", _subject(leaf))
    return finding or Finding(GOOD)


def _path(
    leaf: x509.Certificate, sent: Sequence[x509.Certificate], lists: TrustList
) -> tuple[list[x509.Certificate], bool]:
    """Leaf to root, as far as it is known, and whether it ends at a root."""
    path = [leaf]
    known = (*lists.trusted, *lists.issuers, *sent)
    while not _self_issued(path[-1]):
        if len(path) == LONGEST_CHAIN:
            return path, False
        issuer = _issuer(path[-1], known)
        if issuer is None or issuer in path:
            return path, False
        path.append(issuer)
    return path, True


def _issuer(certificate: x509.Certificate, known: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """That which signed it; of several with the same name the one whose key did."""
    named = [each for each in known if each.subject == certificate.issuer]
    for each in named:
        if signed_by(certificate, each):
            return each
    return named[0] if named else None


def _self_issued(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _signatures(path: Sequence[x509.Certificate]) -> Finding | None:
    for certificate, issuer in zip(path, (*path[1:], path[-1]), strict=True):
        if certificate is issuer and not _self_issued(certificate):
            continue  # its issuer is not known: told as an incomplete chain
        if not signed_by(certificate, issuer):
            return Finding(INVALID, "the signature is not that of its issuer", _subject(certificate))
    return None


def policy_problem(certificate: x509.Certificate) -> str:
    """Why key and hash are not those of the offered security policies; empty when they are (Part 7)."""
    try:
        key = certificate.public_key()
    except MALFORMED as error:
        return f"the key cannot be read: {error}"
    if not isinstance(key, rsa.RSAPublicKey):
        return "the key is not RSA"
    if not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        return f"an RSA key of {key.key_size} bits; the policies ask for {_LEAST_BITS} to {_MOST_BITS}"
    if not isinstance(certificate.signature_hash_algorithm, _HASHES):
        algorithm = certificate.signature_hash_algorithm
        return f"signed with {algorithm.name if algorithm is not None else 'an unknown hash'}; SHA-256 is the least"
    return ""


def _policies(path: Sequence[x509.Certificate]) -> Finding | None:
    for certificate in path:
        problem = policy_problem(certificate)
        if problem:
            return Finding(POLICY_CHECK_FAILED, problem, _subject(certificate))
    return None


def _times(path: Sequence[x509.Certificate], now: datetime.datetime) -> Finding | None:
    for depth, certificate in enumerate(path):
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not first <= now <= last:
            status = ISSUER_TIME_INVALID if depth else TIME_INVALID
            return Finding(status, f"valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}", _subject(certificate))
    return None


def _uses(path: Sequence[x509.Certificate]) -> Finding | None:
    problem = _application_use(path[0])
    if problem:
        return Finding(USE_NOT_ALLOWED, problem, _subject(path[0]))
    for below, certificate in enumerate(path[1:]):
        constraints = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
        if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
            return Finding(ISSUER_USE_NOT_ALLOWED, "it may not sign certificates", _subject(certificate))
        if constraints.path_length is not None and below > constraints.path_length:
            text = f"it may have {constraints.path_length} authorities below, not {below}"
            return Finding(ISSUER_USE_NOT_ALLOWED, text, _subject(certificate))
    return None


def _application_use(certificate: x509.Certificate) -> str:
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None:
        return "no key usage"
    if not (usage.digital_signature and usage.data_encipherment and usage.key_encipherment):
        return "digitalSignature, keyEncipherment and dataEncipherment are needed"
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        return "not for clients (clientAuth)"
    return ""


def _revocations(path: Sequence[x509.Certificate], lists: TrustList, now: datetime.datetime) -> Finding | None:
    for depth, (certificate, issuer) in enumerate(pairwise(path)):
        current = [each for each in lists.revocations if each.issuer == issuer.subject and _signed_list(each, issuer)]
        current = [each for each in current if each.next_update_utc is None or each.next_update_utc >= now]
        if not current:
            status = ISSUER_REVOCATION_UNKNOWN if depth else REVOCATION_UNKNOWN
            text = f"no valid revocation list of {issuer.subject.rfc4514_string()}"
            return Finding(status, text, _subject(certificate))
        for each in current:
            if each.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                status = ISSUER_REVOKED if depth else REVOKED
                text = f"revoked by {issuer.subject.rfc4514_string()}"
                return Finding(status, text, _subject(certificate))
    return None


def _signed_list(revocations: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    return isinstance(key, rsa.RSAPublicKey) and revocations.is_signature_valid(key)


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Application URIs of a certificate (SubjectAlternativeName); empty when it has none or is malformed."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 thumbprint in hexadecimal capitals, by which OPC UA names certificates."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - an identifier, as Part 6 has it


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 fingerprint in hexadecimal capitals."""
    return certificate.fingerprint(hashes.SHA256()).hex().upper()


def to_der(certificate: x509.Certificate) -> bytes:
    """DER of a certificate."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _subject(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return "an unreadable subject"
