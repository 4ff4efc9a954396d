"""Files that cannot be used are put aside under another name, so that a new one can be begun and nothing is lost."""

from __future__ import annotations

from itertools import count
from pathlib import Path

_COMPANIONS = ("", "-wal", "-shm", ".wal")


def set_aside(path: Path, mark: str) -> Path:
    """Rename a file and its journals to `<stem>-<mark>[-<number>]<suffix>`, a name that is free; returns the new path.

    Raises:
        OSError: it cannot be renamed.
    """
    for number in count(1):
        target = path.with_name(f"{path.stem}-{mark}{f'-{number}' if number > 1 else ''}{path.suffix}")
        if not target.exists():
            break
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(target.with_name(target.name + companion))
    return target
