"""Until when each profile and log of a meter is known, and which of its last rows; kept on disk over restarts."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from address_space import clock
from address_space.whole_files import write_whole
from twin_gateway.drivers.dlms import obis

_log = logging.getLogger(__name__)

RECENT = 64
"""Rows of a profile remembered one by one, so that one that is read again is not delivered again: with rows every
quarter of an hour, those of sixteen hours. In memory about 13 KiB a profile."""
MOST_RECENT = 2048
"""The same at most, for profiles with many rows an hour."""
RECENT_EVENTS = 256
"""The same of an event log: as many may come within what one reading overlaps another."""


@dataclass(slots=True)
class Position:
    """How far one profile is known.

    Attributes:
        until: everything up to this meter time was read; None before the first reading.
        recent: keys of the rows delivered last, in the order of their delivery.
        limit: how many of them are remembered.
        read: when it was read last, by the gateway's clock; None when that is not known.
    """

    until: datetime | None = None
    recent: dict[str, None] = field(default_factory=dict)
    limit: int = RECENT
    read: datetime | None = None

    def add(self, key: str) -> bool:
        """Remembers a row; whether it is new."""
        if key in self.recent:
            return False
        self.recent[key] = None
        while len(self.recent) > self.limit:
            del self.recent[next(iter(self.recent))]
        return True

    def knows_time(self, moment: datetime) -> bool:
        """Whether a row of this time was delivered already, of whatever content."""
        start = f"{moment.isoformat()} "
        return any(key.startswith(start) for key in self.recent)


def row_key(moment: datetime, cells: object, occurrence: int = 0) -> str:
    """What a row is recognised by: its time, its content, and which of several equal ones it is."""
    digest = blake2b(repr(cells).encode(), digest_size=8).hexdigest()
    return f"{moment.isoformat()} {digest}" + (f"#{occurrence}" if occurrence else "")


def file_of(directory: Path, kind: str, name: str) -> Path:
    """The file of a device for small durable things; `name` may hold anything."""
    return directory / f"dlms-{kind}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json"


def write_json(path: Path, content: Any) -> None:
    """Writes a small file as a whole: the old one stays until the new one is complete; readable by its owner only.

    It outlives the process at once, and a power failure once the system has written it: this is called on the event
    loop, for each push of each meter, where waiting for the disk would hold up all links.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, json.dumps(content).encode(), durable=False)


def keep_json(path: Path, content: Any) -> bool:
    """write_json where a failure costs no more than reading again after a restart; it is logged, False then."""
    try:
        write_json(path, content)
    except OSError as error:
        _log.warning("%s cannot be written (%s); after a restart things are read again", path, error)
        return False
    return True


def read_json(path: Path, loss: str) -> dict[str, Any]:
    """A file of write_json; empty when there is none, or when it is damaged (then `loss` is told)."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        if isinstance(kept, dict):
            return kept
        raise ValueError("not an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s); %s", path, error, loss)
        return {}


class Positions:
    """The positions of one device; a lost file only means reading rows again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Position] = {}
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._dirty = False
        for name, kept in read_json(path, "profiles and logs are read again from their full depth").items():
            try:
                # Before rows were remembered one by one, the time alone was kept.
                text, recent = (kept, []) if isinstance(kept, str) else (kept["until"], kept["recent"])
                read = _moment(kept.get("read")) if isinstance(kept, dict) else None
                self._known[name] = Position(_moment(text), dict.fromkeys(map(str, recent[-MOST_RECENT:])), read=read)
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("%s: the position of %s cannot be used (%s); it is read again", path, name, error)

    def get(self, profile: bytes, limit: int = RECENT) -> Position:
        """The position of a profile, to be changed in place and then kept; `limit` rows are remembered one by one."""
        position = self._known.setdefault(obis.text(profile), Position())
        position.limit = limit
        return position

    def forget(self) -> None:
        """Forgets everything: it is another meter."""
        self._known.clear()
        self.save()

    def delivered(self) -> None:
        """Something was delivered: the positions are to be kept, once that is on disk itself; see flush()."""
        self._dirty = True
        if self._pending is None:
            self._pending = clock.now(), self._content()
            self._dirty = False

    def flush(self, kept_until: int) -> bool:
        """Puts on disk what may be: positions of what was delivered before `kept_until` (ticks).

        Returns:
            Whether something still waits.
        """
        if self._pending is not None and self._pending[0] <= kept_until:
            keep_json(self._path, self._pending[1])
            self._pending = None
            if self._dirty:
                self.delivered()
        return self._pending is not None

    def save(self) -> None:
        """Puts all positions on disk at once."""
        self._pending, self._dirty = None, False
        keep_json(self._path, self._content())

    def _content(self) -> dict[str, Any]:
        return {
            name: {
                "until": at.until.isoformat() if at.until else None,
                "read": at.read.isoformat() if at.read else None,
                "recent": list(at.recent),
            }
            for name, at in self._known.items()
        }


def _moment(text: str | None) -> datetime | None:
    moment = datetime.fromisoformat(text) if text is not None else None
    if moment is not None and moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
