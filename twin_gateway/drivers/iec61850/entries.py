"""EntryIDs of buffered report control blocks, kept on disk so that a restart loses no entry."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from address_space.whole_files import write_whole

_MAX_FILE = 1 << 20
_MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """The last entry of a block that was taken.

    Attributes:
        entry_id: EntryID octets; empty when the block is ours, but nothing of it has been taken.
        data_set: DatSet of the block then; an EntryID means nothing for another.
        revision: ConfRev of the block then.
        at: when it was delivered, FILETIME ticks of the gateway.
        time: its TimeOfEntry in FILETIME ticks, 0 when not known.
    """

    entry_id: bytes
    data_set: str
    revision: int
    at: int = 0
    time: int = 0


class EntryStore:
    """One small JSON file, replaced as a whole.

    An EntryID goes to disk only when what it stands for is on disk: after a crash the device sends the rest once more.
    `due` says what that is, `write` does it, so that the first runs in the event loop and the second in a thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self._waiting: deque[tuple[int, dict[str, Entry]]] = deque()
        self._written: dict[str, Entry] = {}
        self._claims: dict[str, Entry] = {}
        self._writing = threading.Lock()
        self._load()

    def get(self, block: str) -> Entry | None:
        """The last entry of a block, None when there is none."""
        return self._entries.get(block)

    def put(self, block: str, entry: Entry) -> None:
        """Remember an entry that has just been delivered."""
        self._entries[block] = entry

    def forget(self, block: str) -> None:
        """Forget what means nothing any more."""
        self._entries.pop(block, None)
        self._claims.pop(block, None)

    def due(self, now: int, kept_until: int) -> dict[str, Entry] | None:
        """What may be written by now, None when that is on disk already.

        Args:
            now: ticks; what has been `put` so far was delivered before.
            kept_until: ticks; what was delivered before is on disk.
        """
        if not self._waiting or self._waiting[-1][1] != self._entries:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.pop()  # the disk is far behind: fewer steps, none of them too early
            self._waiting.append((now, dict(self._entries)))
        found: dict[str, Entry] | None = None
        while self._waiting and self._waiting[0][0] < kept_until:
            found = self._waiting.popleft()[1]
        return found if found is not None and found != self._written else None

    def all(self) -> dict[str, Entry]:
        """Everything, for the orderly end of the process."""
        return dict(self._entries)

    def claim(self, block: str, entry: Entry) -> None:
        """Put on disk at once that the buffer of a block is ours from `entry` on (OSError when it cannot).

        An entry without EntryID means: all that it has.
        """
        self._entries.setdefault(block, entry)
        self._claims[block] = replace(entry, entry_id=b"", time=0)
        self.write(self._written)

    def write(self, entries: dict[str, Entry]) -> None:
        """Put them on disk, all or nothing, readable by the service only (OSError when it cannot)."""
        with self._writing:
            self._write({**self._claims, **entries})

    def _write(self, entries: dict[str, Entry]) -> None:
        if entries == self._written:
            return
        text = json.dumps(
            {block: [e.entry_id.hex(), e.data_set, e.revision, e.at, e.time] for block, e in entries.items()},
            separators=(",", ":"),
        )
        write_whole(self._path, text.encode())
        self._written = dict(entries)

    def _load(self) -> None:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                return
            found = json.loads(self._path.read_text("ascii"))
            entries = {
                str(block): Entry(bytes.fromhex(of[0]), str(of[1]), *(int(number) for number in of[2:5]))
                for block, of in found.items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return  # no file yet, or not readable: the device replays its whole buffer
        self._entries, self._written = dict(entries), entries
