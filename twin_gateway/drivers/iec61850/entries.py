"""EntryIDs of buffered report control blocks, kept on disk so that a restart loses no entry."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """The last entry of a block that was taken.

    Attributes:
        entry_id: EntryID octets.
        data_set: DatSet of the block then; an EntryID means nothing for another.
        revision: ConfRev of the block then.
    """

    entry_id: bytes
    data_set: str
    revision: int


class EntryStore:
    """One small JSON file, replaced as a whole.

    What is written is what was known one `save` earlier: consumers behind the table have had that long to keep it, and
    after a crash the device sends the rest once more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self._earlier: dict[str, Entry] = {}
        self._written: dict[str, Entry] = {}
        self._load()

    def get(self, block: str) -> Entry | None:
        """The last entry of a block, None when there is none."""
        return self._entries.get(block)

    def put(self, block: str, entry: Entry) -> None:
        """Remember an entry; it is on disk after two more `save`."""
        self._entries[block] = entry

    def forget(self, block: str) -> None:
        """Forget what the device does not know any more."""
        self._entries.pop(block, None)

    def save(self, *, final: bool = False) -> None:
        """Write what was known one call ago, or everything when it is the last call (OSError when it cannot)."""
        due = dict(self._entries) if final else self._earlier
        self._earlier = dict(self._entries)
        if due == self._written:
            return
        text = json.dumps(
            {block: [e.entry_id.hex(), e.data_set, e.revision] for block, e in due.items()}, separators=(",", ":")
        )
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._written = due

    def _load(self) -> None:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                return
            found = json.loads(self._path.read_text("ascii"))
            entries = {str(block): Entry(bytes.fromhex(of[0]), str(of[1]), int(of[2])) for block, of in found.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return  # no file yet, or not readable: the device replays its whole buffer
        self._entries, self._earlier, self._written = dict(entries), dict(entries), entries
