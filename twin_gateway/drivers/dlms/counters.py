"""Invocation counters that survive a crash: reserved ahead in blocks, on disk before the first of a block is used.

A counter that is used twice with one key breaks AES-GCM, so every rule here errs towards skipping numbers:
a block is written and synced before use, what a crash leaves unused is never used, and nothing goes back.
The file is a journal of lines `check key end`; the highest end of a key is its first unreserved number.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
import time
import zlib
from pathlib import Path
from weakref import WeakValueDictionary

from address_space.whole_files import sync_directory
from twin_gateway.drivers.dlms.ciphering import LAST_COUNTER, Counter, Key
from twin_gateway.drivers.dlms.errors import CounterExhaustedError, DlmsError

_log = logging.getLogger(__name__)

BLOCK = 1000
"""Numbers reserved at a time."""
LOW = 64
"""A new block is reserved when fewer numbers than this are left."""
_LEAST = 4
"""No request takes more numbers than this."""
HIGHEST_HINT = LAST_COUNTER - (1 << 28)
"""A hint above this is refused: it is not authenticated and would leave the key with too few numbers."""
_COMPACT_LINES = 20_000
_SECONDS_OF_2024 = 1_704_067_200


class CounterStoreError(DlmsError):
    """The counter file is damaged or in use by another process; ciphered links must not start."""


def counter_key(title: bytes, key: Key) -> str:
    """Name of a counter: our system title and which encryption key.

    Title and counter are the nonce of the key, so this pair must never see a number twice: not after a meter was
    renamed or moved, and not when several meters or client SAPs share one key and one title.
    """
    return f"{title.hex()}/{key.fingerprint}"


def _line(key: str, end: int) -> bytes:
    body = f"{key} {end}"
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


class CounterStore:
    """The counters of one process in one file.

    Args:
        path: the journal; made when missing, readable by its owner only.

    Raises:
        CounterStoreError: another process holds it, or a line other than a torn last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._file = -1
        self._lines = 0
        self._name_synced = False
        path.parent.mkdir(parents=True, exist_ok=True)
        # The lock has a file of its own: compaction replaces the journal.
        self._open = False
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise CounterStoreError(f"{path} is used by another process") from error
        try:
            self._load()
            self._next.update(self._ends)
            self._rewrite()
            self._sync_name()
        except BaseException:
            if self._file >= 0:
                os.close(self._file)
            os.close(self._lock)
            raise
        self._open = True

    @classmethod
    async def shared(cls, path: Path) -> CounterStore:
        """The one store of this process for a path, opened when nobody uses it yet and closed with its last user.

        Raises:
            CounterStoreError: see the class.
        """
        # Opening waits for the disk twice, which must not hold up the other links.
        store = _shared.get(path)
        return store if store is not None else await asyncio.to_thread(cls._open_shared, path)

    @classmethod
    def _open_shared(cls, path: Path) -> CounterStore:
        with _opening:
            whole = path.resolve()
            store = _shared.get(whole) or cls(path)
            _shared[path] = _shared[whole] = store
            return store

    def close(self) -> None:
        """Gives the file up; counters taken from this store can no longer reserve."""
        if self._open:
            self._open = False
            os.close(self._file)
            os.close(self._lock)

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.close()

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        *lines, torn = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            check, _, body = line.decode("utf-8", "replace").partition(" ")
            key, _, end = body.rpartition(" ")
            if f"{zlib.crc32(body.encode()):08x}" != check or not end.isdigit():
                raise CounterStoreError(
                    f"{self._path}:{number} is damaged; restore the file, or remove it after changing the meters' keys"
                )
            self._ends[key] = max(self._ends.get(key, 0), int(end))
        if torn:
            # Written but never synced, therefore never used.
            _log.warning("%s: an unfinished last line was left by a crash and is ignored", self._path)

    def _rewrite(self) -> None:
        """Writes what is known into a new file, which takes the place of the old one at once."""
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(descriptor, b"".join([_line(key, end) for key, end in self._ends.items()]))
            os.fsync(descriptor)
            fresh.replace(self._path)
        except BaseException:
            os.close(descriptor)
            raise
        # From here on nothing may go to the old file: nobody will ever read it again.
        if self._file >= 0:
            os.close(self._file)
        self._file, self._lines, self._name_synced = descriptor, len(self._ends), False

    def _sync_name(self) -> None:
        """Makes sure that a power failure does not bring the file before the last rewriting back."""
        if not self._name_synced:
            sync_directory(self._path.parent)
            self._name_synced = True

    def counter(self, key: str, first: int | None = None) -> StoredCounter:
        """The counter of a key; `first` is where a key that was never seen starts.

        Unless said, that is the number of seconds since 2024: should the file be lost, the new numbers still lie
        above those that a link used at less than one a second.
        """
        if first is None:
            first = max(1, int(time.time()) - _SECONDS_OF_2024)
        return StoredCounter(self, key, max(first, self._next.get(key, 0)))

    async def take(self, key: str, at_least: int) -> tuple[int, int]:
        """Numbers (start, end) with start >= at_least that nobody else gets, on disk when this returns.

        Raises:
            CounterExhaustedError: the key is used up.
            OSError: the disk failed; nothing may be used then.
        """
        before = self._next.get(key, 0)
        start = max(at_least, before)
        end = start + BLOCK
        if end > LAST_COUNTER:
            raise CounterExhaustedError("the invocation counter of this key is used up; the meter needs a new key")
        self._next[key] = end
        try:
            await self._reserve(key, end)
        except BaseException:
            if self._next[key] == end:
                # Nobody got these numbers, nor any behind them.
                self._next[key] = before
            raise
        return start, end

    async def _reserve(self, key: str, end: int) -> None:
        """Puts a reservation on disk; those that arrive together share one sync."""
        while self._ends.get(key, 0) < end:
            self._pending[key] = max(end, self._pending.get(key, 0))
            if self._waiting is None:
                self._waiting = asyncio.create_task(self._flush())
            # Shielded: a cancelled waiter must not stop the write that others wait for.
            await asyncio.shield(self._waiting)

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(0)
            batch, self._pending = self._pending, {}
            await asyncio.to_thread(self._commit, batch)
        finally:
            self._waiting = None

    def _commit(self, batch: dict[str, int]) -> None:
        rising = {key: end for key, end in batch.items() if end > self._ends.get(key, 0)}
        if not rising:
            return
        if not self._open:
            raise CounterStoreError(f"{self._path} is closed")
        size = os.fstat(self._file).st_size
        try:
            _write(self._file, b"".join([_line(key, end) for key, end in rising.items()]))
            os.fsync(self._file)
        except OSError:
            # Half a line would make everything after it unreadable.
            os.ftruncate(self._file, size)
            raise
        self._sync_name()
        self._ends.update(rising)
        self._lines += len(rising)
        if self._lines > _COMPACT_LINES + 2 * len(self._ends):
            self._compact()

    def _compact(self) -> None:
        try:
            self._rewrite()
            self._sync_name()
        except OSError as error:
            # What was asked for is on disk all the same; the next try comes with as many lines again.
            _log.warning("%s could not be made shorter (%s)", self._path, error)
            self._lines = len(self._ends)


_shared: WeakValueDictionary[Path, CounterStore] = WeakValueDictionary()
_opening = threading.Lock()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class StoredCounter(Counter):
    """An invocation counter whose numbers are on disk before they are used."""

    __slots__ = ("_failing", "_key", "_store")

    def __init__(self, store: CounterStore, key: str, value: int) -> None:
        super().__init__(value, value)
        self._store = store
        self._key = key
        self._failing = False

    @property
    def short(self) -> bool:
        """Whether ensure() has to be awaited before the next exchange."""
        return self.limit - self.value < LOW

    async def ensure(self) -> None:
        """Makes sure that enough numbers for one request are reserved.

        Raises:
            CounterExhaustedError: the key is used up.
            OSError: they could not be written, and those reserved before are nearly used up.
        """
        if self.short:
            try:
                start, end = await self._store.take(self._key, self.value)
            except OSError as error:
                if self.limit - self.value < _LEAST:
                    raise
                if not self._failing:
                    _log.warning(
                        "no invocation counters can be reserved (%s); %d are left", error, self.limit - self.value
                    )
                self._failing = True
                return
            self._failing = False
            if start != self.limit:
                # Not the continuation of what is left: after a hint, or another link had the key meanwhile.
                self.value = start
            self.limit = end

    def forward(self, expected: int) -> bool:
        """Takes a meter's hint that it expects at least `expected`; only ever goes forward.

        Returns:
            Whether the counter moved. False: the hint points back, or so far ahead that it cannot be trusted.
        """
        if not self.value < expected <= HIGHEST_HINT:
            return False
        self.value = expected
        self.limit = max(self.limit, expected)
        return True
