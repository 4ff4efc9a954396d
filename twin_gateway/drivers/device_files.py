"""Files fetched from devices: safe names, limits, resuming, progress; the same for every protocol.

A file arrives as `<name>.part` beside a small record of what it is going to be, and gets its name when it is complete.
What was interrupted goes on a little before where it stopped, if the device still has the same file: there are devices
that send the beginning again, and the octets that are here already show it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from address_space import clock
from twin_gateway.drivers.contract import DeviceFile, Link

FOLDER = "files"
LARGEST = 64 << 20
"""Octets of one file."""
ROOM = 1 << 30
"""Octets of everything that is kept of one link."""
MAX_NAME = 255
"""Characters of the name of a file on a device."""
PROGRESS_S = 1.0
_MAX_PARTS, _MAX_PART = 8, 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]")
_RECORD_SIZE = 4096
_OVERLAP = 4096
"""Octets that are asked for once more when a file goes on, to see whether the device really goes on there."""


class FileRefused(Exception):  # noqa: N818 - named for what happened
    """A file is not taken: its name, its size, the room for it; the message says why in one sentence."""


def safe_path(name: str) -> Path:
    """A relative path for a file of a device: its folders are kept, nothing leads out of them.

    Files that differ only in their ending keep that in common (the parts of a COMTRADE record). What had to be changed
    gets a short hash of the whole name, so that two files never become one.

    Raises:
        FileRefused: there is no name in it.
    """
    if len(name) > MAX_NAME:
        raise FileRefused(f"the name has more than {MAX_NAME} characters")
    asked = [part for part in re.split(r"[/\\]+", name) if part not in {"", "."}]
    if not asked or asked[-1] == "..":
        raise FileRefused(f"{name!r} names no file")
    parts = [_UNSAFE.sub("_", part).lstrip(".")[:_MAX_PART] or "_" for part in asked]
    folders, last = parts[:-1][:_MAX_PARTS], parts[-1]
    stem, dot, ending = last.rpartition(".")
    if not stem:
        stem, dot, ending = last, "", ""
    if [*folders, last] != asked or ending == "part" or last.endswith(".part.json"):
        digest = hashlib.sha256(name.removesuffix(dot + ending).encode()).hexdigest()[:8]
        last = f"{stem}-{digest}{dot}{'part_' if ending == 'part' else ending}"
    return Path(*folders, last)


@dataclass(slots=True)
class Progress:
    """Tells how far a file is, as events of the link, at most one a second."""

    link: Link
    file: DeviceFile
    _next: float = 0.0

    def tell(self, octets: int) -> None:
        """So many octets are here."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PROGRESS_S
        of = f" of {self.file.size} octets, {100 * octets // self.file.size} %" if self.file.size > 0 else " octets"
        self.link.event("file", f"File {self.file.name}: {octets}{of}", severity=100)


class Reception:
    """One file while it is received; made by `FileStore.begin`. Not for two at once.

    Attributes:
        file: what the device says it is.
        octets: how many are here; where the device is to go on when it is resumed.
        resumed: part of it was here before.
    """

    def __init__(self, target: Path, file: DeviceFile, largest: int) -> None:
        self.file = file
        self.octets = 0
        self.resumed = False
        self._tail = b""
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")
        self._largest = largest
        self._stream: IO[bytes] | None = None

    def open(self) -> None:
        """Go on with what is here of the same file, or begin anew (OSError when it cannot be written)."""
        said = {"name": self.file.name, "size": self.file.size, "modified": self.file.modified}
        known: object = None
        try:
            if self._record.stat().st_size <= _RECORD_SIZE:
                known = json.loads(self._record.read_text("utf-8"))
        except (OSError, ValueError):
            known = None  # none, or damaged: anew
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        same = known == said and self.file.modified and self.file.size >= 0
        flags = os.O_RDWR | os.O_CREAT | (0 if same else os.O_TRUNC) | os.O_NOFOLLOW
        stream = os.fdopen(os.open(self._part, flags, 0o600), "r+b")
        self._stream = stream
        here = os.fstat(stream.fileno()).st_size
        if 2 * _OVERLAP < here <= self.file.size:
            beginning = stream.read(_OVERLAP)
            stream.seek(here - _OVERLAP)
            self._tail = stream.read(_OVERLAP)
            # what looks like the beginning would not show that the device begins again
            self.octets = here - _OVERLAP if self._tail != beginning else 0
        self.resumed = self.octets > 0
        if not self.resumed:
            self._tail = b""
        stream.seek(self.octets)
        stream.truncate()
        if not same:
            fresh = self._record.with_name(self._record.name + ".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as to:
                json.dump(said, to)
            fresh.replace(self._record)

    def restart(self) -> None:
        """Forget what is here: the device does not go on where it stopped (OSError when it cannot be written)."""
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.truncate()
            self.octets, self.resumed, self._tail = 0, False, b""

    async def add(self, piece: bytes) -> None:
        """Keep the next octets.

        Raises:
            FileRefused: more than the device has announced, or than is allowed, or not what is here already.
            OSError: they cannot be written.
        """
        end = self.octets + len(piece)
        if end > self._largest:
            raise FileRefused(f"larger than {self._largest} octets")
        if 0 <= self.file.size < end:
            raise FileRefused(f"the device sends more than the {self.file.size} octets that it has announced")
        known = self._tail[: len(piece)]
        if not piece.startswith(known):
            raise FileRefused("the device does not go on where it was asked to")
        self._tail = self._tail[len(known) :]
        if self._stream is not None and piece:
            await asyncio.to_thread(self._write, self._stream, piece)
            self.octets = end

    @staticmethod
    def _write(stream: IO[bytes], piece: bytes) -> None:
        stream.write(piece)
        stream.flush()

    def close(self) -> None:
        """Leave what is here for the next time."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Delete what is here."""
        self.close()
        self._part.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self) -> Path:
        """Give the complete file its name; one of that name that is another record keeps its time in its name.

        Raises:
            FileRefused: it is not complete.
            OSError: it cannot be kept.
        """
        if 0 <= self.file.size != self.octets:
            raise FileRefused(f"{self.octets} octets instead of the {self.file.size} that the device has announced")
        if self._stream is not None:
            os.fsync(self._stream.fileno())
        self.close()
        if self.file.modified:
            changed = clock.to_unix(self.file.modified)
            os.utime(self._part, (changed, changed))
        old = self._target
        if old.is_file() and int(old.stat().st_mtime) != int(self._part.stat().st_mtime):
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(old.stat().st_mtime))
            old.replace(old.with_name(f"{old.stem}.{stamp}{old.suffix}"))
        self._part.replace(self._target)
        self._record.unlink(missing_ok=True)
        return self._target


class FileStore:
    """Where the files of one link are kept.

    Args:
        link: whose files.
        largest, room: limits in octets, of one file and of all.
    """

    def __init__(self, link: Link, *, largest: int = LARGEST, room: int = ROOM) -> None:
        self._link = link
        self._largest, self._room = largest, room

    @property
    def folder(self) -> Path:
        """`<data_directory>/files/<link>`."""
        return self._link.data_directory / FOLDER / safe_path(self._link.name)

    def begin(self, file: DeviceFile) -> Reception:
        """Make room for a file; blocks, call it outside the loop.

        Raises:
            FileRefused: the name or the size are not accepted, or there is no room.
            OSError: it cannot be written.
        """
        target = self.folder / safe_path(file.name)
        if file.size > self._largest:
            raise FileRefused(f"{file.name} has {file.size} octets, the limit is {self._largest}")
        taken = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if taken + max(file.size, 0) > self._room:
            raise FileRefused(f"{taken} octets are kept of this link already, the limit is {self._room}: delete some")
        reception = Reception(target, file, self._largest)
        reception.open()
        return reception
