"""Elliptic curves of security suite 1 (P-256): signatures of HLS mechanism 7, and agreed keys of general-ciphering.

Signatures travel as r and s, public keys as x and y, 32 octets each. Keys are derived by the concatenation function of
NIST SP 800-56A with SHA-256, as IEC 62056-5-3 lays it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from twin_gateway.drivers.dlms.axdr import write_length
from twin_gateway.drivers.dlms.errors import SecurityError

_AES_GCM_128 = bytes.fromhex("60857405080300")
"""AlgorithmID of the derived key."""
SIGNATURE_OCTETS = POINT_OCTETS = 64


class Agreement(IntEnum):
    """Key agreement schemes of the agreed-key choice."""

    ONE_PASS = 1
    STATIC = 2


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Our signing key and the meter's public one; never shown."""

    own: ec.EllipticCurvePrivateKey = field(repr=False)
    peer: ec.EllipticCurvePublicKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 of the message: r and s."""
        r, s = decode_dss_signature(self.own.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the meter signed the message."""
        if len(signature) != SIGNATURE_OCTETS:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self.peer.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class AgreementKeys:
    """Our key agreement key and the meter's public one; `scheme` is what our messages use."""

    own: ec.EllipticCurvePrivateKey = field(repr=False)
    peer: ec.EllipticCurvePublicKey = field(repr=False)
    scheme: Agreement = Agreement.ONE_PASS


def derive(
    own: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey, first: bytes, second: bytes, more: bytes = b""
) -> bytes:
    """The 16 octets of a key that both sides derive (party infos and supplementary information as the scheme says)."""
    return concatenated(own.exchange(ec.ECDH(), peer), first + second + more)


def concatenated(shared: bytes, information: bytes) -> bytes:
    """The key from a shared secret: the leftmost 16 octets of SHA-256 of counter, secret and what both sides know."""
    return sha256(b"\0\0\0\1" + shared + _AES_GCM_128 + information).digest()[:16]


def party_of_static(transaction: bytes) -> bytes:
    """PartyVInfo of the static unified model: the transaction id with its length."""
    return write_length(len(transaction)) + transaction


def ephemeral() -> ec.EllipticCurvePrivateKey:
    """A key for one message."""
    return ec.generate_private_key(ec.SECP256R1())


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """The octets x and y of a public key."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def read_point(point: bytes) -> ec.EllipticCurvePublicKey:
    """The public key with these x and y.

    Raises:
        SecurityError: not a point of the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError as error:
        raise SecurityError("the key of an agreement is no point of curve P-256") from error


def load_private(path: str) -> ec.EllipticCurvePrivateKey:
    """A private key from a PEM file without password.

    Raises:
        OSError: the file cannot be read or holds no key of curve P-256.
    """
    try:
        key = load_pem_private_key(Path(path).read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OSError(f"{path} is no PEM file with a private key without password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OSError(f"{path}: suite 1 needs a key of curve P-256")
    return key


def load_public(path: str) -> ec.EllipticCurvePublicKey:
    """A public key from a PEM file, or that of the certificate in it.

    The certificate is trusted because the operator named it: no chain is followed.

    Raises:
        OSError: the file cannot be read or holds no key of curve P-256.
    """
    data = Path(path).read_bytes()
    try:
        key = x509.load_pem_x509_certificate(data).public_key() if b"CERTIFICATE" in data else load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OSError(f"{path} is no PEM file with a public key or certificate") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OSError(f"{path}: suite 1 needs a key of curve P-256")
    return key
