"""Security suites 0 and 1: AES-128-GCM with a 12-octet tag around APDUs, and the proofs of HLS mechanisms 5 and 7.

The AEAD object of `cryptography` is fast but only knows 16-octet tags. A truncated tag is verified by
ciphering the ciphertext (counter mode is its own inverse), ciphering the result again with the associated data and
comparing: two calls of about 1.5 us, where a new cipher context for each message takes 12 us.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twin_gateway.drivers.dlms import suite1
from twin_gateway.drivers.dlms.axdr import read_length, read_octets, write_length
from twin_gateway.drivers.dlms.errors import CounterExhaustedError, MalformedApduError, SecurityError
from twin_gateway.drivers.dlms.suite1 import Agreement, AgreementKeys, SigningKeys

TAG_OCTETS = 12
AUTHENTICATED = 0x10
AUTHENTICATED_ENCRYPTED = 0x30
LAST_COUNTER = 0xFFFFFFFF

GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING = 0xDB, 0xDC, 0xDD

GLO_OF = {0x01: 0x21, 0x08: 0x28, 0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
GLO_OF |= {0x05: 0x25, 0x06: 0x26, 0x0C: 0x2C, 0x0D: 0x2D}
"""Global-key tag of each plain APDU tag."""
DED_OF = {0xC0: 0xD0, 0xC1: 0xD1, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7}
DED_OF |= {0x05: 0x45, 0x06: 0x46, 0x0C: 0x4C, 0x0D: 0x4D}
"""Dedicated-key tag of each plain APDU tag."""
PLAIN_OF_GLO = {glo: plain for plain, glo in GLO_OF.items()} | {0x2E: 0x0E, 0xCA: 0xC2}
PLAIN_OF_DED = {ded: plain for plain, ded in DED_OF.items()} | {0xD2: 0xC2}


def counter_of(apdu: bytes) -> int:
    """Invocation counter of a ciphered APDU, before anything is known of its authenticity.

    Raises:
        MalformedApduError: not a whole ciphered APDU.
    """
    at = 1
    if apdu[:1] in (b"\xdb", b"\xdc"):
        _, at = read_octets(apdu, at)
    elif apdu[:1] == b"\xdd":
        for _ in range(5):
            _, at = read_octets(apdu, at)
        choice = apdu[at : at + 2]
        at += {b"\1\0": 3, b"\1\2": 2}.get(choice, 1)
        if choice == b"\1\2":
            for _ in range(2):
                _, at = read_octets(apdu, at)
    _, at = read_length(apdu, at)
    if at + 5 > len(apdu):
        raise MalformedApduError("ciphered APDU is truncated")
    return int.from_bytes(apdu[at + 1 : at + 5], "big")


class Key:
    """One 128-bit key with its cached cipher; never shows the key itself.

    Raises:
        ValueError: not 16 octets.
    """

    __slots__ = ("_gcm", "fingerprint", "octets")

    def __init__(self, octets: bytes) -> None:
        if len(octets) != 16:
            raise ValueError("a key of security suite 0 has 16 octets (32 hexadecimal digits)")
        self.octets = octets
        self._gcm = AESGCM(octets)
        self.fingerprint = sha256(b"twin-gateway dlms key" + octets).hexdigest()[:16]
        """Tells keys apart in the counter store without giving them away."""

    def __repr__(self) -> str:
        return f"Key({self.fingerprint[:6]})"

    def __reduce__(self) -> str:
        raise TypeError("keys are not pickled")

    def seal(self, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
        """Ciphertext followed by the 12-octet tag."""
        return self._gcm.encrypt(nonce, plain, aad)[:-4]

    def tag(self, nonce: bytes, aad: bytes) -> bytes:
        """The 12-octet GMAC of `aad`."""
        return self._gcm.encrypt(nonce, b"", aad)[:TAG_OCTETS]

    def open(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """The plain text of what seal() made.

        Raises:
            SecurityError: the tag is wrong or missing.
        """
        if len(sealed) < TAG_OCTETS:
            raise SecurityError("ciphered APDU is shorter than its tag")
        plain = self._gcm.encrypt(nonce, sealed[:-TAG_OCTETS], None)[:-16]
        if not hmac.compare_digest(self._gcm.encrypt(nonce, plain, aad)[-16:-4], sealed[-TAG_OCTETS:]):
            raise SecurityError("ciphered APDU fails authentication (wrong key, or altered on the way)")
        return plain


class Counter:
    """Source of invocation counters, never the same twice; see counters.py for the one that survives a crash."""

    __slots__ = ("limit", "value")

    def __init__(self, value: int = 1, limit: int = LAST_COUNTER) -> None:
        self.value = value
        self.limit = limit
        """First counter that may not be used yet."""

    def next(self) -> int:
        """The next counter.

        Raises:
            CounterExhaustedError: nothing is reserved, or the key is used up.
        """
        if self.value >= self.limit:
            raise CounterExhaustedError("no invocation counter is reserved")
        self.value += 1
        return self.value - 1


@dataclass(frozen=True, slots=True)
class Protection:
    """How messages are protected, beside the keys.

    Attributes:
        suite: security suite, 0 or 1; both cipher with AES-128-GCM.
        general: general-glo- and general-ded-ciphering instead of the tags of each service.
        signing: keys of HLS mechanism 7 and of one-pass agreements.
        agreement: keys that agree on a key for each message (general-ciphering); None: the global key.
    """

    suite: int = 0
    general: bool = False
    signing: SigningKeys | None = None
    agreement: AgreementKeys | None = None


_SUITE_0 = Protection()


class Ciphering:
    """Both directions of one association.

    Args:
        title: our system title, 8 octets.
        encryption: global unicast encryption key.
        authentication: authentication key.
        counter: where our invocation counters come from.
        dedicated: key of this association only, or None.
        protection: suite, envelopes and curve keys.

    Attributes:
        peer_title: the meter's system title, known after its association response.
    """

    def __init__(
        self,
        title: bytes,
        encryption: Key,
        authentication: Key,
        counter: Counter,
        dedicated: Key | None = None,
        *,
        protection: Protection = _SUITE_0,
    ) -> None:
        if len(title) != 8:
            raise ValueError("a system title has 8 octets")
        self.title = title
        self.encryption = encryption
        self.authentication = authentication
        self.counter = counter
        self.dedicated = dedicated
        self.protection = protection
        self.peer_title = b""
        self._peer_counters = {"global": -1, "dedicated": -1, "agreed": -1}
        self._control = bytes((AUTHENTICATED_ENCRYPTED | protection.suite,))
        self._aad = self._control + authentication.octets

    def __repr__(self) -> str:
        return f"Ciphering(title={self.title.hex()}, key={self.encryption!r})"

    # --- sending -------------------------------------------------------------------------------------------------

    def _body(self, apdu: bytes, key: Key) -> bytes:
        number = self.counter.next().to_bytes(4, "big")
        return self._control + number + key.seal(self.title + number, apdu, self._aad)

    def protect(self, apdu: bytes, dedicated: bool = False) -> bytes:
        """The APDU authenticated and encrypted, in the envelope of this association.

        Initiate APDUs go under their own glo- tag: before them nothing is agreed.
        """
        initiate = apdu[0] in (0x01, 0x08)
        if self.protection.agreement is not None and not initiate:
            return self.protect_agreed(apdu, self.protection.agreement)
        if self.protection.general and not initiate:
            return self.protect_general(apdu, dedicated)
        return self.protect_specific(apdu, dedicated)

    def protect_specific(self, apdu: bytes, dedicated: bool = False) -> bytes:
        """The APDU under the glo- or ded- tag of its service."""
        key, tags = (self.dedicated, DED_OF) if dedicated and self.dedicated else (self.encryption, GLO_OF)
        body = self._body(apdu, key)
        return bytes((tags[apdu[0]],)) + write_length(len(body)) + body

    def protect_general(self, apdu: bytes, dedicated: bool = False) -> bytes:
        """The APDU under general-glo-ciphering, or general-ded-ciphering with the dedicated key."""
        key, tag = (self.dedicated, GENERAL_DED) if dedicated and self.dedicated else (self.encryption, GENERAL_GLO)
        body = self._body(apdu, key)
        return bytes((tag, 8)) + self.title + write_length(len(body)) + body

    def protect_agreed(self, apdu: bytes, keys: AgreementKeys) -> bytes:
        """The APDU under general-ciphering with a key agreed for it.

        Raises:
            SecurityError: a one-pass agreement without a signing key.
        """
        if keys.scheme is Agreement.ONE_PASS:
            if self.protection.signing is None:
                raise SecurityError("one-pass key agreement needs a signing key")
            once = suite1.ephemeral()
            key, transaction = Key(suite1.derive(once, keys.peer, self.title, self.peer_title)), b"\0"
            point = suite1.point_of(once.public_key())
            data = point + self.protection.signing.sign(point)
        else:
            # The only part of the key that changes: without it a counter that began again would meet the same key.
            transaction = suite1.party_of_static(secrets.token_bytes(8))
            key, data = Key(suite1.derive(keys.own, keys.peer, self.title, transaction, self.peer_title)), b""
        header = transaction + b"\x08" + self.title + b"\x08" + self.peer_title + b"\0\0"
        information = bytes((1, 2, 1, keys.scheme)) + write_length(len(data)) + data
        body = self._body(apdu, key)
        return bytes((GENERAL_CIPHERING,)) + header + information + write_length(len(body)) + body

    # --- receiving -----------------------------------------------------------------------------------------------

    def unprotect(self, apdu: bytes) -> bytes:
        """The plain APDU inside a glo-, ded- or general- ciphered one.

        Raises:
            SecurityError: wrong tag, less protection than authenticated encryption, or a counter that does not rise.
            MalformedApduError: not a ciphered APDU.
        """
        if not apdu:
            raise MalformedApduError("empty APDU")
        tag, at = apdu[0], 1
        expected: int | None = None
        key: Key | None
        if tag in PLAIN_OF_GLO:
            expected, kind, key = PLAIN_OF_GLO[tag], "global", self.encryption
        elif tag in PLAIN_OF_DED:
            expected, kind, key = PLAIN_OF_DED[tag], "dedicated", self.dedicated
        elif tag in (GENERAL_GLO, GENERAL_DED):
            title, at = read_octets(apdu, 1)
            if self.peer_title and title and title != self.peer_title:
                raise SecurityError("ciphered APDU of another system title")
            kind, key = ("dedicated", self.dedicated) if tag == GENERAL_DED else ("global", self.encryption)
        elif tag == GENERAL_CIPHERING:
            kind, key, at = self._general_key(apdu)
        else:
            raise SecurityError(f"unprotected APDU (tag 0x{tag:02x}) in a ciphered association")
        if key is None:
            raise SecurityError("the meter used a dedicated key that was not agreed")
        length, at = read_length(apdu, at)
        if length < 5 + TAG_OCTETS or at + length != len(apdu):
            raise MalformedApduError("ciphered APDU has the wrong length")
        if apdu[at] != self._control[0]:
            raise SecurityError(f"security control 0x{apdu[at]:02x} instead of 0x{self._control.hex()}")
        number = apdu[at + 1 : at + 5]
        counter = int.from_bytes(number, "big")
        if counter <= self._peer_counters[kind]:
            raise SecurityError("invocation counter of the meter does not rise (repeated message)")
        plain = key.open(self.peer_title + number, apdu[at + 5 :], self._aad)
        # Only an authentic message may move the counter on.
        self._peer_counters[kind] = counter
        if not plain or (expected is not None and plain[0] != expected):
            raise MalformedApduError("ciphered APDU holds another service than its tag says")
        return plain

    def _general_key(self, apdu: bytes) -> tuple[str, Key, int]:
        """Kind and key of a general-ciphering APDU, and where its ciphered content begins."""
        transaction, at = read_octets(apdu, 1)
        originator, at = read_octets(apdu, at)
        recipient, at = read_octets(apdu, at)
        for _ in range(2):  # date-time and other information
            _, at = read_octets(apdu, at)
        if originator != self.peer_title or recipient not in (b"", self.title):
            raise SecurityError("ciphered APDU from or for another system title")
        present, choice = apdu[at : at + 1], apdu[at + 1 : at + 2]
        if present == b"\x00":
            return "global", self.encryption, at + 1
        if present != b"\x01":
            raise MalformedApduError("general-ciphering has no key information")
        if choice == b"\x00":
            if apdu[at + 2 : at + 3] != b"\x00":
                raise SecurityError("the meter ciphered with another key than the global unicast key")
            return "global", self.encryption, at + 3
        keys = self.protection.agreement
        if choice != b"\x02" or keys is None:
            raise SecurityError("the meter ciphered with a key that was not agreed")
        scheme, at = read_octets(apdu, at + 2)
        data, at = read_octets(apdu, at)
        if scheme == b"\x02" and not data:
            party = suite1.party_of_static(transaction)
            return "agreed", Key(suite1.derive(keys.own, keys.peer, originator, party, recipient)), at
        signing = self.protection.signing
        if scheme != b"\x01" or signing is None or len(data) != suite1.POINT_OCTETS + suite1.SIGNATURE_OCTETS:
            raise SecurityError("key agreement of a kind that is not supported")
        point = data[: suite1.POINT_OCTETS]
        if not signing.verify(point, data[suite1.POINT_OCTETS :]):
            raise SecurityError("the key of an agreement is not signed by the meter")
        return "agreed", Key(suite1.derive(keys.own, suite1.read_point(point), originator, recipient)), at

    # --- proofs of HLS -------------------------------------------------------------------------------------------

    def challenge_answer(self, challenge: bytes) -> bytes:
        """f(challenge) of HLS mechanism 5: security control, our next counter, GMAC."""
        number = self.counter.next().to_bytes(4, "big")
        return self._plain_control + number + self._gmac(self.title, number, challenge)

    def check_answer(self, answer: bytes, challenge: bytes) -> bool:
        """Whether the peer's f(challenge) is right."""
        if len(answer) != 5 + TAG_OCTETS or answer[:1] != self._plain_control:
            return False
        return hmac.compare_digest(self._gmac(self.peer_title, answer[1:5], challenge), answer[5:])

    @property
    def _plain_control(self) -> bytes:
        return bytes((AUTHENTICATED | self.protection.suite,))

    def _gmac(self, title: bytes, number: bytes, challenge: bytes) -> bytes:
        return self.encryption.tag(title + number, self._plain_control + self.authentication.octets + challenge)

    def sign_challenge(self, received: bytes, sent: bytes) -> bytes:
        """f(challenge) of HLS mechanism 7: our signature of both titles and both challenges.

        Raises:
            SecurityError: no signing key.
        """
        if self.protection.signing is None:
            raise SecurityError("HLS-ECDSA needs a signing key")
        return self.protection.signing.sign(self.title + self.peer_title + received + sent)

    def check_signature(self, signature: bytes, received: bytes, sent: bytes) -> bool:
        """Whether the peer signed; `received` and `sent` as the peer sees them."""
        keys = self.protection.signing
        return keys is not None and keys.verify(self.peer_title + self.title + received + sent, signature)
