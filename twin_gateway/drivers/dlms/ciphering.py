"""Security suite 0: AES-128-GCM with a 12-octet tag around APDUs, and GMAC for HLS mechanism 5.

The AEAD object of `cryptography` is fast but only knows 16-octet tags. A truncated tag is verified by
ciphering the ciphertext (counter mode is its own inverse), ciphering the result again with the associated data and
comparing: two calls of about 1.5 us, where a new cipher context for each message takes 12 us.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twin_gateway.drivers.dlms.axdr import read_length, write_length
from twin_gateway.drivers.dlms.errors import CounterExhaustedError, MalformedApduError, SecurityError

TAG_OCTETS = 12
AUTHENTICATED = 0x10
AUTHENTICATED_ENCRYPTED = 0x30
LAST_COUNTER = 0xFFFFFFFF

GENERAL_GLO, GENERAL_DED = 0xDB, 0xDC

GLO_OF = {0x01: 0x21, 0x08: 0x28, 0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
"""Global-key tag of each plain APDU tag."""
DED_OF = {0xC0: 0xD0, 0xC1: 0xD1, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7}
"""Dedicated-key tag of each plain APDU tag."""
PLAIN_OF_GLO = {glo: plain for plain, glo in GLO_OF.items()} | {0x2E: 0x0E, 0xCA: 0xC2}
PLAIN_OF_DED = {ded: plain for plain, ded in DED_OF.items()} | {0xD2: 0xC2}


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


class Ciphering:
    """Both directions of one association under suite 0.

    Args:
        title: our system title, 8 octets.
        encryption: global unicast encryption key.
        authentication: authentication key.
        counter: where our invocation counters come from.
        dedicated: key of this association only, or None.

    Attributes:
        peer_title: the meter's system title, known after its association response.
    """

    def __init__(
        self, title: bytes, encryption: Key, authentication: Key, counter: Counter, dedicated: Key | None = None
    ) -> None:
        if len(title) != 8:
            raise ValueError("a system title has 8 octets")
        self.title = title
        self.encryption = encryption
        self.authentication = authentication
        self.counter = counter
        self.dedicated = dedicated
        self.peer_title = b""
        self._peer_counters = {False: -1, True: -1}
        self._aad = b"\x30" + authentication.octets

    def __repr__(self) -> str:
        return f"Ciphering(title={self.title.hex()}, key={self.encryption!r})"

    def _body(self, apdu: bytes, key: Key) -> bytes:
        number = self.counter.next().to_bytes(4, "big")
        return b"\x30" + number + key.seal(self.title + number, apdu, self._aad)

    def protect(self, apdu: bytes, dedicated: bool = False) -> bytes:
        """The APDU under its service-specific glo- (or ded-) tag, authenticated and encrypted."""
        key, tags = (self.dedicated, DED_OF) if dedicated and self.dedicated else (self.encryption, GLO_OF)
        body = self._body(apdu, key)
        return bytes((tags[apdu[0]],)) + write_length(len(body)) + body

    def protect_general(self, apdu: bytes) -> bytes:
        """The APDU under general-glo-ciphering."""
        body = self._body(apdu, self.encryption)
        return b"\xdb\x08" + self.title + write_length(len(body)) + body

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
        if tag in (GENERAL_GLO, GENERAL_DED):
            length, at = read_length(apdu, 1)
            title = apdu[at : at + length]
            if self.peer_title and title and title != self.peer_title:
                raise SecurityError("ciphered APDU of another system title")
            at += length
            dedicated = tag == GENERAL_DED
        elif tag in PLAIN_OF_GLO:
            expected, dedicated = PLAIN_OF_GLO[tag], False
        elif tag in PLAIN_OF_DED:
            expected, dedicated = PLAIN_OF_DED[tag], True
        else:
            raise SecurityError(f"unprotected APDU (tag 0x{tag:02x}) in a ciphered association")
        length, at = read_length(apdu, at)
        if length < 5 + TAG_OCTETS or at + length != len(apdu):
            raise MalformedApduError("ciphered APDU has the wrong length")
        if apdu[at] != AUTHENTICATED_ENCRYPTED:
            raise SecurityError(f"security control 0x{apdu[at]:02x} instead of 0x30")
        number = apdu[at + 1 : at + 5]
        counter = int.from_bytes(number, "big")
        if counter <= self._peer_counters[dedicated]:
            raise SecurityError("invocation counter of the meter does not rise (repeated message)")
        key = self.dedicated if dedicated else self.encryption
        if key is None:
            raise SecurityError("the meter used a dedicated key that was not agreed")
        plain = key.open(self.peer_title + number, apdu[at + 5 :], self._aad)
        # Only an authentic message may move the counter on.
        self._peer_counters[dedicated] = counter
        if not plain or (expected is not None and plain[0] != expected):
            raise MalformedApduError("ciphered APDU holds another service than its tag says")
        return plain

    def challenge_answer(self, challenge: bytes) -> bytes:
        """f(challenge) of HLS mechanism 5: security control, our next counter, GMAC."""
        number = self.counter.next().to_bytes(4, "big")
        return b"\x10" + number + self._gmac(self.title, number, challenge)

    def check_answer(self, answer: bytes, challenge: bytes) -> bool:
        """Whether the peer's f(challenge) is right."""
        if len(answer) != 5 + TAG_OCTETS or answer[0] != AUTHENTICATED:
            return False
        return hmac.compare_digest(self._gmac(self.peer_title, answer[1:5], challenge), answer[5:])

    def _gmac(self, title: bytes, number: bytes, challenge: bytes) -> bytes:
        return self.encryption.tag(title + number, b"\x10" + self.authentication.octets + challenge)
