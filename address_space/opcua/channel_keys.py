"""Symmetric keys of a secure channel: derived by P_SHA256, whole chunks signed by HMAC-SHA256, encrypted by AES-CBC."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SIGNATURE: Final = 32
"""Octets of an HMAC-SHA256."""
NONCE: Final = 32
"""Octets of client and server nonce of all policies offered here."""
_BLOCK = 16
_SIGNING_KEY = 32
_PADDING = tuple(bytes((size,)) * (size + 1) for size in range(_BLOCK))
"""PaddingSize and padding for each number of padding octets."""

_URI = "http://opcfoundation.org/UA/SecurityPolicy#"
ENCRYPTING_KEYS: Final = {
    f"{_URI}Basic256Sha256": 32,
    f"{_URI}Aes128_Sha256_RsaOaep": 16,
    f"{_URI}Aes256_Sha256_RsaPss": 32,
}
"""Policy URI -> octets of its AES key (Part 7, 6.6.161, 6.6.165, 6.6.166); all sign with 32 octets by HMAC-SHA256."""


class ChunkError(Exception):
    """A chunk was not made with these keys, or somebody has changed it."""


def derive(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 (RFC 5246, 5; Part 6, 6.7.5): `size` octets of keying material."""
    made, step = b"", seed
    while len(made) < size:
        step = hmac.digest(secret, step, "sha256")
        made += hmac.digest(secret, step + seed, "sha256")
    return made[:size]


class ChannelKeys:
    """The keys of one direction of a channel.

    Args:
        policy: URI of the security policy, one of `ENCRYPTING_KEYS`.
        secret: nonce of the side that receives with these keys.
        seed: nonce of the side that sends with them.
        encrypts: whether the mode is SignAndEncrypt; else chunks are only signed.
    """

    __slots__ = ("_cipher", "_signing", "overhead")

    def __init__(self, policy: str, secret: bytes, seed: bytes, *, encrypts: bool) -> None:
        size = ENCRYPTING_KEYS[policy]
        material = derive(secret, seed, _SIGNING_KEY + size + _BLOCK)
        self._signing = material[:_SIGNING_KEY]
        key, vector = material[_SIGNING_KEY : _SIGNING_KEY + size], material[_SIGNING_KEY + size :]
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(vector)) if encrypts else None
        self.overhead = SIGNATURE + (_BLOCK if encrypts else 0)
        """Octets that a chunk may grow by: signature, PaddingSize and padding."""

    def size_of(self, size: int) -> int:
        """Octets on the wire of so many octets of sequence header and body."""
        if self._cipher is None:
            return size + SIGNATURE
        return (size + SIGNATURE) // _BLOCK * _BLOCK + _BLOCK

    def secure(self, head: bytes, plain: bytes) -> bytes:
        """A whole chunk: `head` (message and security header, sizes filled in) in clear, `plain` secured."""
        cipher = self._cipher
        if cipher is None:
            signed = head + plain
            return signed + hmac.digest(self._signing, signed, "sha256")
        padded = plain + _PADDING[-(len(plain) + SIGNATURE + 1) % _BLOCK]
        signature = hmac.digest(self._signing, head + padded, "sha256")
        encryptor = cipher.encryptor()
        return b"".join((head, encryptor.update(padded), encryptor.update(signature)))

    def open(self, chunk: bytes, start: int) -> bytes:
        """What of a whole chunk stood secured from `start` on, signature checked, without padding.

        Raises:
            ChunkError: when signature or padding are wrong.
        """
        cipher = self._cipher
        if cipher is None:
            if len(chunk) - start < SIGNATURE:
                raise ChunkError("no room for a signature")
            signed = memoryview(chunk)[:-SIGNATURE]
            if not hmac.compare_digest(hmac.digest(self._signing, signed, "sha256"), chunk[-SIGNATURE:]):
                raise ChunkError("the signature is wrong")
            return chunk[start:-SIGNATURE]
        size = len(chunk) - start
        if size < SIGNATURE + _BLOCK or size % _BLOCK:
            raise ChunkError("no whole blocks")
        plain = cipher.decryptor().update(memoryview(chunk)[start:])
        signature = hmac.digest(self._signing, chunk[:start] + plain[:-SIGNATURE], "sha256")
        if not hmac.compare_digest(signature, plain[-SIGNATURE:]):
            raise ChunkError("the signature is wrong")
        end = len(plain) - SIGNATURE
        # More than one block of padding is allowed; some pad to the size of the key.
        padding = plain[end - 1] + 1
        if padding > end or plain[end - padding : end] != plain[end - 1 : end] * padding:
            raise ChunkError("the padding is wrong")
        return plain[: end - padding]
