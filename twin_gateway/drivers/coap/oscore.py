"""OSCORE (RFC 8613) with a pre-established context: keys, and sequence numbers that are never used twice."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import aiocoap
from aiocoap import oscore

from address_space.whole_files import write_whole

from .config import OscoreConfig

RESERVED = 5_000
"""Sequence numbers written down at a time before any of them is used."""
_FORMAT = 1
_LINKS = "links"  # where each link has a folder of its own


class OscoreError(ConnectionError):
    """The context cannot be used, or a response is not protected as it must be; the message says why."""


class SecurityContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # aiocoap has no types
    """Our side of one security context.

    The next sequence number is kept in a file of its own for each master secret and sender: a block of numbers is
    written there, and is on the disk, before the first of them is used. A crash costs the rest of a block, never a
    number twice (RFC 8613 appendix B.1.1). The next block is written in a thread while half of this one is left, so
    that nobody waits for the disk. A device that was given another name goes on where it was.

    We send requests only: what comes back is bound to its request, and notifications must count upwards (7.4.1), which
    the observation checks.
    """

    echo_recovery = None
    id_context: bytes | None

    def __init__(self, config: OscoreConfig, directory: Path) -> None:
        """Derive the keys and take the next sequence number from the file.

        Raises:
            OscoreError: the file says nothing sensible, or another device uses the same context: both would use the
                same numbers with the same key.
            OSError: the file cannot be read.
        """
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id = bytes.fromhex(config.sender_id)
        self.recipient_id = bytes.fromhex(config.recipient_id)
        self.id_context = None if config.id_context is None else bytes.fromhex(config.id_context)
        secret, salt = bytes.fromhex(config.secret.get_secret_value()), bytes.fromhex(config.salt)
        self.derive_keys(salt, secret)
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()
        # Whatever makes the sender key names the file: another secret starts its numbers anew.
        self._file = directory / f"oscore-{sha256(b'twin-gateway' + self.sender_key).hexdigest()[:16]}.json"
        self._writing = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, "oscore")
        same = directory.parent.glob(f"*/{self._file.name}") if directory.parent.name == _LINKS else ()
        self.sender_sequence_number = self._reserved = self._asked = max(map(self._read, {self._file, *same}))
        if _IN_USE.setdefault(self._file.name, self) is not self:
            raise OscoreError("OSCORE: another device section has the same secret and identifiers; each needs its own")

    def reserve(self) -> None:
        """Write down the first numbers; not in the event loop.

        Raises:
            OSError: the file cannot be written.
        """
        self._reserve(self.sender_sequence_number + RESERVED)

    def post_seqnoincrease(self) -> None:
        """A number is about to be used: see that a number beyond it stands in the file."""
        if self.sender_sequence_number > self._reserved:
            self._reserve(self.sender_sequence_number + RESERVED)
        elif self._reserved - self.sender_sequence_number < RESERVED // 2 and self._asked <= self._reserved:
            self._asked = self._reserved + RESERVED
            self._ahead.submit(self._reserve, self._asked)

    def close(self) -> None:
        """Write down how far the numbers were really used, so that none is wasted; not in the event loop.

        Raises:
            OSError: the file cannot be written; then the rest of the block is wasted.
        """
        self._ahead.shutdown()
        try:
            if self.sender_sequence_number < self._reserved:
                self._write(self.sender_sequence_number)
        finally:
            _IN_USE.pop(self._file.name, None)

    def _reserve(self, following: int) -> None:
        with self._writing:
            if following > self._reserved:
                self._write(following)

    def protected(self, message: aiocoap.Message) -> tuple[aiocoap.Message, Any]:
        """The request as it goes over the wire, and what its responses are bound to.

        Raises:
            OscoreError: the sequence numbers are used up, or cannot be written down.
        """
        try:
            outer, bound = self.protect(message)
        except (OSError, oscore.ContextUnavailable) as error:
            raise OscoreError(f"OSCORE: no sequence number can be had: {error}") from error
        return outer, bound

    def opened(self, message: aiocoap.Message, bound: Any) -> aiocoap.Message:
        """The response inside a protected one.

        Raises:
            OscoreError: it is not protected, or not for this request, or not with our keys.
        """
        if message.opt.oscore is None:
            said = message.payload[:80].decode("utf-8", "replace")
            code = int(message.code)
            text = f"the device answers {code >> 5}.{code & 31:02} {said!r} without OSCORE"
            raise OscoreError(f"{text}: are the identifiers, the secret and the context right?")
        try:
            inner, _ = self.unprotect(message, bound)
        except Exception as error:  # the library raises what the damage leads to, IndexError among others
            what = str(error) or type(error).__name__
            raise OscoreError(f"OSCORE: a response that is not the device's: {what}") from error
        return inner

    @staticmethod
    def _read(file: Path) -> int:
        try:
            text = file.read_text("ascii")
        except FileNotFoundError:
            return 0
        try:
            following = json.loads(text)["next"]
        except (ValueError, KeyError, TypeError):
            following = None
        if not isinstance(following, int) or isinstance(following, bool) or following < 0:
            raise OscoreError(f"{file.name} is damaged: agree on a new OSCORE secret, then remove it")
        return following

    def _write(self, following: int) -> None:
        write_whole(self._file, json.dumps({"format": _FORMAT, "next": following}).encode())
        self._reserved = following


_IN_USE: WeakValueDictionary[str, SecurityContext] = WeakValueDictionary()
"""Contexts in use, by the name of their file."""
