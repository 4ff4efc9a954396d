"""Password hashes: argon2id in the PHC text form, with the parameters of RFC 9106 for memory-constrained places."""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MEMORY_KIB = 65_536
PASSES = 3
LANES = 4
_LENGTH = 32
MAX_PASSWORD = 1024
"""Longer passwords are refused before they cost memory."""


def hash_password(password: str) -> str:
    """PHC text `$argon2id$…` of a password, with a salt of its own.

    Raises:
        ValueError: when the password is empty or longer than `MAX_PASSWORD` characters.
    """
    if not 0 < len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} characters")
    salt = os.urandom(16)
    derive = Argon2id(salt=salt, length=_LENGTH, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return derive.derive_phc_encoded(password.encode("utf-8"))


def decoy_hash() -> str:
    """A PHC text that no password belongs to; to verify against it takes as long as against a real one."""
    salt, derived = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, _LENGTH))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${derived}"


def verify_password(password: str, phc: str) -> bool:
    """Whether a password belongs to a hash; constant in time for wrong passwords of one hash."""
    if not 0 < len(password) <= MAX_PASSWORD:
        return False
    try:
        Argon2id.verify_phc_encoded(password.encode("utf-8"), phc)
    except InvalidKey:
        return False
    return True
